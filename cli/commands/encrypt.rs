//! `heplan encrypt`: an input array to a ciphertext.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::bail;
use clap::builder::BoolishValueParser;
use clap::{ArgAction, Args};
use heplan_ckks::client::Client;
use heplan_ckks::files::secret_key::SecretKeyFile;
use heplan_ckks::randomness::os_seed;
use heplan_compiler::data::{InputSpec, Samples};
use heplan_ir::features::Features;
use heplan_ir::slots::Port;

use crate::ui::{Outcome, Ui};
use crate::{format, interrupt, writing};

const LONG_ABOUT: &str = "\
Encrypts an input for a plan, with the client's secret key.

  heplan encrypt -k client.key -i input.npy

writes input.enc, which goes to the model owner. The input is an .npy array of float32, float64 or \
integers in the model's input shape; with more samples on its first axis the whole batch is \
encrypted. Where the model has several inputs, give an .npz with one array per input, named like it.

Polynomials that replace activations are good only where the calibration set was: an input outside \
the calibrated range is reported with how far outside it is, and refused with --strict; so is an \
element far outside its own range, where elements differ in scale as the columns of a table do.";

/// Options of `heplan encrypt`.
#[derive(Debug, Args)]
#[command(about = "Encrypt an input (client)", long_about = LONG_ABOUT)]
pub(crate) struct Options {
    /// The client's secret key
    #[arg(short, long, value_name = "FILE", env = "HEPLAN_KEY", hide_env_values = true)]
    #[arg(default_value = "client.key")]
    pub(crate) key: PathBuf,

    /// The input: .npy, or .npz for a model with several inputs
    #[arg(short, long, value_name = "FILE", env = "HEPLAN_INPUT", hide_env_values = true)]
    pub(crate) input: PathBuf,

    /// The ciphertext to write [default: the input's name with .enc]
    #[arg(short, long, value_name = "FILE", env = "HEPLAN_OUTPUT", hide_env_values = true)]
    pub(crate) output: Option<PathBuf>,

    /// Refuse an input outside the calibrated range instead of warning
    #[arg(long, env = "HEPLAN_STRICT", hide_env_values = true)]
    #[arg(action = ArgAction::SetTrue, value_parser = BoolishValueParser::new())]
    pub(crate) strict: bool,
}

/// Encrypts the input and writes the ciphertext.
pub(crate) fn run(options: &Options, ui: &Ui) -> anyhow::Result<Outcome> {
    let output = options.output.clone().unwrap_or_else(|| writing::encrypted_path(&options.input));
    write(&options.key, &options.input, &output, options.strict, ui)
}

/// Encrypts `input` under `key` and writes `output`.
pub(crate) fn write(
    key: &Path,
    input: &Path,
    output: &Path,
    strict: bool,
    ui: &Ui,
) -> anyhow::Result<Outcome> {
    writing::check_target(output, &[key, input])?;
    let client = client(key)?;
    let ports: Vec<&Port> = client.keyparams().inputs.iter().map(|(port, _)| port).collect();
    let samples = samples(input, &ports)?;
    for (i, (port, tensors)) in ports.iter().zip(&samples.inputs).enumerate() {
        let features = client.keyparams().features.iter().find(|features| features.input == i);
        let single = || features.and_then(|features| element_outside(port, features, tensors));
        let Some(finding) = outside(port, tensors).or_else(single) else { continue };
        if strict {
            bail!("{}: {finding}", input.display());
        }
        ui.warn(&format!("{}: {finding}; the answer may be wrong", input.display()));
    }
    let started = Instant::now();
    let step = ui.step("encrypting", 0);
    let batch: Vec<Vec<Vec<f64>>> = (0..samples.len()).map(|s| samples.sample(s)).collect();
    let encrypted = client.encrypt(&batch, &os_seed()?)?;
    interrupt::while_writing(output, || encrypted.write(output))?;
    step.end();
    let mut outcome = Outcome::new();
    outcome.insert("encrypt_seconds".to_owned(), started.elapsed().as_secs_f64().into());
    outcome.insert("samples".to_owned(), samples.len().into());
    outcome.insert("plan".to_owned(), format::id(&client.keyparams().plan).into());
    ui.wrote(&mut outcome, "output", output, "goes to the model owner");
    Ok(outcome)
}

/// The client whose secret key a file holds.
pub(crate) fn client(key: &Path) -> anyhow::Result<Client> {
    let file = SecretKeyFile::read(key, None)?;
    Ok(Client::new(file.keyparams.clone(), &file.seed)?)
}

/// The tensors of a file for these inputs.
fn samples(input: &Path, ports: &[&Port]) -> anyhow::Result<Samples> {
    let spec = |p: &&Port| InputSpec { name: p.name.clone(), shape: p.shape.clone() };
    let specs: Vec<InputSpec> = ports.iter().map(spec).collect();
    let samples = Samples::read(input, &specs);
    samples.map_err(|found| {
        let texts = found.iter().map(|d| format!("{} ({})", d.message, d.way_out()));
        anyhow::anyhow!("{}: {}", input.display(), texts.collect::<Vec<_>>().join("; "))
    })
}

/// How far elements lie outside the calibrated range, in words, if one does.
fn outside(port: &Port, tensors: &[Vec<f64>]) -> Option<String> {
    let (low, high) = port.range;
    // Rounding to float32 on the way may move a number by its last bit.
    let slack = 1e-6 * (high - low).abs().max(low.abs()).max(high.abs());
    let all = || tensors.iter().flatten().copied();
    let beyond = |x: f64| (low - x).max(x - high);
    let count = all().filter(|&x| beyond(x) > slack).count();
    let worst = all().max_by(|a, b| beyond(*a).total_cmp(&beyond(*b)))?;
    if count == 0 {
        return None;
    }
    let by = beyond(worst);
    let share = if high > low { by / (high - low) * 100.0 } else { f64::INFINITY };
    Some(format!(
        "input {:?} holds {count} number(s) outside the calibrated range {low} to {high}; the \
         farthest, {worst}, by {by:.3e} ({share:.1} % of the range)",
        port.name
    ))
}

/// How far single elements lie outside what calibration saw of them, in words, if one does.
fn element_outside(port: &Port, features: &Features, tensors: &[Vec<f64>]) -> Option<String> {
    let elements = tensors.iter().flat_map(|tensor| tensor.iter().enumerate());
    let beyond = |(i, &x): (usize, &f64)| Some((features.beyond(i, x)?, i, x));
    let found: Vec<(f64, usize, f64)> = elements.filter_map(beyond).collect();
    let &(times, i, x) = found.iter().max_by(|a, b| a.0.total_cmp(&b.0))?;
    let (low, high) = features.ranges[i];
    Some(format!(
        "input {:?} holds {} number(s) far outside what calibration saw of their element; the farthest, \
         {x} at element {i}, lies {times:.1} spans beyond its {low} to {high}",
        port.name,
        found.len()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use heplan_ir::layout::Layout;
    use heplan_ir::slots::Compact;

    #[test]
    fn what_lies_outside_is_counted_and_measured() {
        let layout = Layout::row_major(3, 8);
        let port = Port {
            name: "x".to_owned(),
            shape: vec![1, 3],
            layout,
            factor: 1.0,
            range: (-1.0, 1.0),
            compact: Compact::NONE,
        };
        let ranges = vec![(-1.0, 1.0), (0.0, 0.125), (0.5, 0.5)];
        let features = Features { input: 0, ranges };
        let text = element_outside(&port, &features, &[vec![0.0, 0.1, 0.5], vec![1.0, 1.125, 0.0]]);
        let text = text.expect("element 1 of the second sample is far outside");
        assert!(text.contains("1 number(s)") && text.contains("1.125 at element 1"), "{text}");
        assert_eq!(element_outside(&port, &features, &[vec![1.5, 0.2, 0.0]]), None);
        assert_eq!(outside(&port, &[vec![-1.0, 0.0, 1.0 + 1e-9]]), None);
        let text = outside(&port, &[vec![0.0, 3.0, 0.0], vec![-1.5, 0.0, 0.0]]).expect("outside");
        assert!(text.contains("2 number(s)") && text.contains("3, by 2.000e0 (100.0 %"), "{text}");
    }
}
