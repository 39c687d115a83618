//! `heplan keygen`: a client's keys for a plan.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::bail;
use clap::builder::BoolishValueParser;
use clap::{ArgAction, Args};
use heplan_ckks::client::Client;
use heplan_ckks::files::secret_key::SecretKeyFile;
use heplan_ckks::randomness::os_seed;
use heplan_ir::keyparams;
use heplan_ir::plan::KeyParams;

use crate::ui::{Outcome, Ui};
use crate::{format, interrupt, writing};

const LONG_ABOUT: &str = "\
Makes a client's keys for a plan.

  heplan keygen -i model.keyparams -o client.key

writes client.key, the secret key (mode 0600: whoever has it reads your inputs and outputs, so it \
never leaves you), and client.key.pub, the evaluation keys, which go to the model owner: they let \
the plan run on your ciphertexts and reveal nothing of them. Keys fit the plan that the key \
parameters came with and no other.";

/// Options of `heplan keygen`.
#[derive(Debug, Args)]
#[command(about = "Make a client's keys for a plan (client)", long_about = LONG_ABOUT)]
pub(crate) struct Options {
    /// The key parameters (.keyparams) that came from the model owner
    #[arg(short, long, value_name = "FILE", env = "HEPLAN_INPUT", hide_env_values = true)]
    #[arg(alias = "keyparams")]
    pub(crate) input: PathBuf,

    /// The secret key to write; the evaluation keys go to FILE.pub
    #[arg(short, long, value_name = "FILE", env = "HEPLAN_OUTPUT", hide_env_values = true)]
    #[arg(default_value = "client.key")]
    pub(crate) output: PathBuf,

    /// Replace a key that is there: what was encrypted under it can never be read again
    #[arg(long, env = "HEPLAN_FORCE", hide_env_values = true)]
    #[arg(action = ArgAction::SetTrue, value_parser = BoolishValueParser::new())]
    pub(crate) force: bool,
}

/// Makes the keys and writes both files.
pub(crate) fn run(options: &Options, ui: &Ui) -> anyhow::Result<Outcome> {
    let key = &options.output;
    if !options.force && key.try_exists().unwrap_or(true) {
        bail!(
            "{} is there already, and what was encrypted under it could not be read without it; \
             -o names another file, --force replaces it",
            key.display()
        );
    }
    write(&options.input, key, ui)
}

/// Makes keys for `input` and writes `key` and the evaluation keys beside it.
pub(crate) fn write(input: &Path, key: &Path, ui: &Ui) -> anyhow::Result<Outcome> {
    let public = writing::public_path(key);
    for target in [key, &public] {
        writing::check_target(target, &[input])?;
    }
    let keyparams = KeyParams::read(input)?;
    let started = Instant::now();
    let randomness = os_seed()?;
    let seed = randomness.derive("secret key", &[]);
    let client = Client::new(keyparams.clone(), &seed)?;
    let file = SecretKeyFile { keyparams: keyparams.clone(), seed };
    let total = keyparams.keys.len() as u64;
    let step = ui.step("making evaluation keys", total);
    let mut made = 0;
    interrupt::while_writing(&public, || {
        client.write_evaluation_keys(&public, |_| {
            step.at(made);
            made += 1;
        })
    })?;
    step.end();
    // Evaluation keys are worth nothing without their secret key: both or neither.
    if let Err(error) = interrupt::while_writing(key, || {
        file.write(key, None, &randomness.derive("secret key file", &[]))
    }) {
        let _missing = std::fs::remove_file(&public);
        return Err(error);
    }
    let mut outcome = Outcome::new();
    outcome.insert("plan".to_owned(), keyparams::hex(&keyparams.plan).into());
    outcome.insert("id".to_owned(), format::id(&client.id()).into());
    outcome.insert("keygen_seconds".to_owned(), started.elapsed().as_secs_f64().into());
    outcome.insert("keys".to_owned(), total.into());
    ui.wrote(&mut outcome, "key", key, "secret: stays with you");
    ui.wrote(&mut outcome, "public", &public, "goes to the model owner");
    Ok(outcome)
}
