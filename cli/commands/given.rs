//! What is said about a model's inputs: lengths of open axes, and values that are public.

use std::path::{Path, PathBuf};

use clap::Args;
use heplan_compiler::data::read_array;
use heplan_compiler::import::{Options, Public};

/// Options about a model's inputs; shared by all commands that read a model.
#[derive(Debug, Args)]
pub(crate) struct Given {
    /// The length of a symbolic axis of the model's inputs; may be repeated
    #[arg(long, value_name = "NAME=N", env = "HEPLAN_DIM", hide_env_values = true)]
    #[arg(value_parser = dimension, value_delimiter = ',')]
    pub(crate) dim: Vec<(String, usize)>,

    /// An input that is not encrypted: its value, the same for every run, becomes part of the
    /// plan; may be repeated
    #[arg(long, value_name = "NAME=FILE", env = "HEPLAN_PUBLIC_INPUT", hide_env_values = true)]
    #[arg(value_parser = public, value_delimiter = ',')]
    pub(crate) public_input: Vec<(String, PathBuf)>,
}

impl Given {
    /// The files of public values.
    pub(crate) fn files(&self) -> impl Iterator<Item = &Path> {
        self.public_input.iter().map(|(_, file)| file.as_path())
    }

    /// As the importer takes them.
    ///
    /// # Errors
    /// If a file cannot be read or holds no finite numbers.
    pub(crate) fn import_options(&self, encrypted_tail: bool) -> anyhow::Result<Options> {
        let mut options = Options {
            dimensions: self.dim.iter().cloned().collect(),
            encrypted_tail,
            ..Options::default()
        };
        for (name, file) in &self.public_input {
            let (shape, data) = read_array(file)?;
            options.public.insert(name.clone(), Public { shape, data });
        }
        Ok(options)
    }
}

fn dimension(text: &str) -> Result<(String, usize), String> {
    let parts = text.split_once('=').map(|(name, n)| (name, n.parse()));
    match parts {
        Some((name, Ok(n @ 1..))) if !name.is_empty() => Ok((name.to_owned(), n)),
        _ => Err("give NAME=N with N of at least 1".to_owned()),
    }
}

fn public(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, file)) if !name.is_empty() && !file.is_empty() => {
            Ok((name.to_owned(), file.into()))
        }
        _ => Err("give NAME=FILE with an .npy of the input's value".to_owned()),
    }
}
