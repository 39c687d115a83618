//! `heplan demo`: the whole story on a bundled digit.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::{Args, CommandFactory, FromArgMatches};
use heplan_compiler::data::{Archive, write_npy};
use serde_json::json;

use super::compile::{self, Wishes};
use super::{decrypt, encrypt, keygen, run as evaluate};
use crate::digit;
use crate::format::{self, Table};
use crate::ui::{Outcome, Ui};

const LONG_ABOUT: &str = "\
Recognises a handwritten digit that the recogniser never sees: compiles a bundled network, makes \
keys, encrypts the digit, runs the network on the ciphertext, decrypts the answer, and shows it \
beside the float model's.

  heplan demo
  heplan demo --digit 3 --keep demo-files";

/// Options of `heplan demo`.
#[derive(Debug, Args)]
#[command(about = "The whole story on a bundled digit", long_about = LONG_ABOUT)]
pub(crate) struct Options {
    /// Which digit to recognise
    #[arg(long, value_name = "0-9", env = "HEPLAN_DIGIT", hide_env_values = true)]
    #[arg(default_value = "7", value_parser = clap::value_parser!(u8).range(0..=9))]
    pub(crate) digit: u8,

    /// Keep every file in this folder
    #[arg(long, value_name = "DIR", env = "HEPLAN_KEEP", hide_env_values = true)]
    pub(crate) keep: Option<PathBuf>,
}

const MODEL: &[u8] = include_bytes!("../../demo/mnist.onnx");
const CALIBRATION: &[u8] = include_bytes!("../../demo/calibration.npz");
const DIGITS: &[u8] = include_bytes!("../../demo/digits.npz");

/// Rows and columns of a digit.
const SIDE: usize = 28;
const CLASSES: usize = 10;

/// Walks through the five commands and shows what comes out.
pub(crate) fn run(options: &Options, ui: &Ui) -> anyhow::Result<Outcome> {
    let temporary = tempfile::tempdir().context("cannot make a temporary folder")?;
    let folder = match &options.keep {
        Some(folder) => {
            fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
            folder.as_path()
        }
        None => temporary.path(),
    };
    let at = |name: &str| folder.join(name);
    fs::write(at("model.onnx"), MODEL).with_context(|| folder.display().to_string())?;
    fs::write(at("calibration.npz"), CALIBRATION)?;
    fs::write(at("digits.npz"), DIGITS)?;
    let (pixels, float) = sample(&at("digits.npz"), options.digit)?;
    let mut input = Vec::new();
    write_npy(&mut input, &[1, 1, SIDE, SIDE], &pixels, false)?;
    fs::write(at("input.npy"), input)?;

    ui.say("A handwritten digit, which only its owner sees:\n");
    ui.say(&format!("{}\n", digit::draw(&pixels, SIDE, SIDE)));
    let told = walk(folder, ui)?;
    ui.say(&format!("{}\n", told.steps.render()));
    ui.say(&scores(&told.answer, &float));
    let found = largest(&told.answer);
    ui.say(&format!("\nThe digit is a {found}. The float model says {}.", largest(&float)));
    let spread = float.iter().fold(f64::MIN, |a, &b| a.max(b))
        - float.iter().fold(f64::MAX, |a, &b| a.min(b));
    let error = float.iter().zip(&told.answer).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    let bits = (spread / error.max(f64::MIN_POSITIVE)).log2();
    ui.say(&format!(
        "Security: 128 bits. Achieved precision: {bits:.1} bits of the scores' range \
         (largest error {error:.1e})."
    ));
    if options.keep.is_some() {
        ui.say(&format!("Every file is in {}.", folder.display()));
    }
    let mut outcome = told.json;
    outcome.insert("digit".to_owned(), options.digit.into());
    outcome.insert("answer".to_owned(), found.into());
    outcome.insert("scores".to_owned(), json!(told.answer));
    outcome.insert("float_scores".to_owned(), json!(float));
    outcome.insert("achieved_bits".to_owned(), bits.into());
    outcome.insert("security_bits".to_owned(), 128.into());
    Ok(outcome)
}

/// What the five steps gave.
struct Told {
    steps: Table,
    answer: Vec<f64>,
    json: Outcome,
}

/// The five commands in `folder`, each timed.
fn walk(folder: &Path, ui: &Ui) -> anyhow::Result<Told> {
    let at = |name: &str| folder.join(name);
    let (key, plan) = (at("client.key"), at("model.plan"));
    let silent = ui.silent();
    let mut steps = Table::new(&["who", "step", ">time", "files"]);
    let mut json = Outcome::new();
    let mut note = |who: &str, step: &str, taken: Duration, files: &[&str]| {
        let sized = files.iter().map(|name| {
            let bytes = fs::metadata(at(name)).map_or(0, |m| m.len());
            format!("{name} {}", format::bytes(bytes))
        });
        let sized: Vec<String> = sized.collect();
        steps.row([who.to_owned(), step.to_owned(), format::time(taken), sized.join(", ")]);
        json.insert(format!("{step}_seconds"), taken.as_secs_f64().into());
        for name in files {
            json.insert((*name).to_owned(), crate::ui::file(&at(name)));
        }
    };
    let clock = Instant::now();
    let wishes = default_wishes()?;
    compile::write(&at("model.onnx"), &at("calibration.npz"), &plan, &wishes, &silent)?;
    note("model owner", "compile", clock.elapsed(), &["model.plan", "model.keyparams"]);
    let clock = Instant::now();
    keygen::write(&at("model.keyparams"), &key, &silent)?;
    note("client", "keygen", clock.elapsed(), &["client.key", "client.key.pub"]);
    let clock = Instant::now();
    encrypt::write(&key, &at("input.npy"), &at("input.enc"), false, &silent)?;
    note("client", "encrypt", clock.elapsed(), &["input.enc"]);
    let clock = Instant::now();
    let public = at("client.key.pub");
    evaluate::write(&plan, &public, &at("input.enc"), &at("output.enc"), None, &silent)?;
    note("model owner", "run", clock.elapsed(), &["output.enc"]);
    let clock = Instant::now();
    let (answers, _) =
        decrypt::write(&key, &at("output.enc"), Some(&at("output.npy")), None, false, &silent)?;
    note("client", "decrypt", clock.elapsed(), &["output.npy"]);
    let answer = answers.into_iter().flatten().next().unwrap_or_default();
    Ok(Told { steps, answer, json })
}

/// The options that `heplan compile` has when none is given.
fn default_wishes() -> anyhow::Result<Wishes> {
    #[derive(Debug, clap::Parser)]
    struct Nothing {
        #[command(flatten)]
        wishes: Wishes,
    }
    let command = Nothing::command().mut_args(|arg| arg.env(None::<&str>));
    let matches = command.try_get_matches_from(["demo"])?;
    Ok(Nothing::from_arg_matches(&matches)?.wishes)
}

/// The pixels of a bundled digit and the float model's scores.
fn sample(digits: &Path, digit: u8) -> anyhow::Result<(Vec<f64>, Vec<f64>)> {
    let archive = Archive::read(digits)?;
    let row = |name: &str, length: usize| -> anyhow::Result<Vec<f64>> {
        let array = archive.get(name).context("the bundled digits lack an array")?;
        let start = usize::from(digit) * length;
        let row = array.data.get(start..start + length).context("the bundled digits are cut")?;
        Ok(row.to_vec())
    };
    Ok((row("x", SIDE * SIDE)?, row("out", CLASSES)?))
}

/// Ten scores beside those of the float model, with bars.
fn scores(found: &[f64], float: &[f64]) -> String {
    let low = float.iter().fold(f64::MAX, |a, &b| a.min(b));
    let high = float.iter().fold(f64::MIN, |a, &b| a.max(b));
    let mut table = Table::new(&["digit", ">encrypted", ">float", ">difference", ""]);
    for (class, (f, w)) in found.iter().zip(float).enumerate() {
        table.row([
            class.to_string(),
            format!("{f:.4}"),
            format!("{w:.4}"),
            format!("{:+.1e}", f - w),
            digit::bar((f - low) / (high - low), 24),
        ]);
    }
    table.render()
}

fn largest(scores: &[f64]) -> usize {
    let best = scores.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
    best.map_or(0, |(class, _)| class)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bundled_digits_are_what_their_places_say() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("digits.npz");
        fs::write(&path, DIGITS).expect("written");
        for digit in 0..10 {
            let (pixels, float) = sample(&path, digit).expect("a digit");
            assert_eq!((pixels.len(), largest(&float)), (SIDE * SIDE, usize::from(digit)));
        }
    }

    #[test]
    fn the_demo_asks_for_what_compile_asks_for() {
        let wishes = default_wishes().expect("defaults");
        let recommended = heplan_compiler::options::Options::recommended();
        assert_eq!(wishes.options().expect("no file"), recommended);
    }
}
