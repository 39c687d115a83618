//! `heplan decrypt`: an answer to an array.

use std::io::{self, Cursor, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::builder::BoolishValueParser;
use clap::{ArgAction, Args};
use heplan_ckks::client::Sharing;
use heplan_ckks::files::ciphertexts::CiphertextFile;
use heplan_ckks::randomness::os_seed;
use heplan_compiler::data::{write_npy, write_npy_words};
use heplan_ir::container::write_atomic;
use heplan_ir::slots::Port;
use heplan_ir::tail::{self, Answer};

use super::encrypt::client;
use crate::ui::{Outcome, Ui};
use crate::{format, interrupt, writing};

const LONG_ABOUT: &str = "\
Decrypts an answer with the client's secret key.

  heplan decrypt -k client.key -i output.enc

writes output.npy (float32, batch on the first axis), or an .npz with one array per output where \
the model has several. Class labels that are words are written as strings.

Decrypted numbers carry the noise of the encryption in their last bits. Whoever collects many of \
them together with the ciphertexts can learn about the secret key from that noise. So keep the \
numbers to yourself, or use --share, which rounds them to the precision that the plan reaches, \
before you hand them on.";

/// Options of `heplan decrypt`.
#[derive(Debug, Args)]
#[command(about = "Decrypt an answer (client)", long_about = LONG_ABOUT)]
pub(crate) struct Options {
    /// The client's secret key
    #[arg(short, long, value_name = "FILE", env = "HEPLAN_KEY", hide_env_values = true)]
    #[arg(default_value = "client.key")]
    pub(crate) key: PathBuf,

    /// The encrypted answer
    #[arg(short, long, value_name = "FILE", env = "HEPLAN_INPUT", hide_env_values = true)]
    pub(crate) input: PathBuf,

    /// The array to write [default: the input's name with .npy]
    #[arg(short, long, value_name = "FILE", env = "HEPLAN_OUTPUT", hide_env_values = true)]
    pub(crate) output: Option<PathBuf>,

    /// Round away the noise so that the numbers may be handed on; with BITS, keep that many bits
    /// of the output range, at most those that the plan reaches
    #[arg(long, value_name = "BITS", env = "HEPLAN_SHARE", hide_env_values = true)]
    #[arg(num_args = 0..=1, default_missing_value = "auto")]
    #[arg(value_parser = share)]
    pub(crate) share: Option<Share>,

    /// Write float64 instead of float32
    #[arg(long, env = "HEPLAN_DOUBLE", hide_env_values = true)]
    #[arg(action = ArgAction::SetTrue, value_parser = BoolishValueParser::new())]
    pub(crate) double: bool,
}

/// To how many bits of the output range shared numbers are rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Share {
    /// As many as the plan reaches with certainty.
    Auto,
    /// This many, or what the plan reaches if that is less.
    Bits(u32),
}

fn share(text: &str) -> Result<Share, String> {
    match text.parse() {
        Ok(bits @ 1..=40) => Ok(Share::Bits(bits)),
        _ if ["auto", "1", "true", "yes", "on"].contains(&text) => Ok(Share::Auto),
        _ => Err("give a number of bits from 1 to 40, or `auto`".to_owned()),
    }
}

/// Bits between the noise that is added and the noise that it hides.
const FLOODING_BITS: f64 = 4.0;

/// `answers[sample][output]`: the elements of each output.
type Answers = Vec<Vec<Vec<f64>>>;

/// Decrypts the answer and writes it.
pub(crate) fn run(options: &Options, ui: &Ui) -> anyhow::Result<Outcome> {
    let output = options.output.as_deref();
    let (_, outcome) =
        write(&options.key, &options.input, output, options.share, options.double, ui)?;
    Ok(outcome)
}

/// Decrypts `input` with `key`, writes the arrays and hands them back.
pub(crate) fn write(
    key: &Path,
    input: &Path,
    output: Option<&Path>,
    share: Option<Share>,
    double: bool,
    ui: &Ui,
) -> anyhow::Result<(Answers, Outcome)> {
    let client = client(key)?;
    let file = CiphertextFile::open(input)?;
    let ports: Vec<&Port> = client.keyparams().outputs.iter().map(|(port, _)| port).collect();
    let answers = &client.keyparams().answers;
    let names = named(&ports, answers);
    let default = || writing::decrypted_path(input, names.len());
    let output = output.map_or_else(default, Path::to_path_buf);
    writing::check_target(&output, &[key, input])?;
    let started = Instant::now();
    let step = ui.step("decrypting", 0);
    let bits = share.map(|s| shared_bits(s, client.keyparams().precision_bits));
    let randomness = os_seed()?;
    let sharing = match bits {
        Some(bits) => Sharing::Flooded { bits, randomness: &randomness },
        None => Sharing::Private,
    };
    let mut found = client.decrypt(&file, None, &sharing)?;
    for text in implausible(&ports, &found) {
        ui.warn(&text);
    }
    if let Some(bits) = bits {
        round(&mut found, &ports, bits);
    }
    let found: Answers = found.into_iter().map(|sample| tail::apply(answers, sample)).collect();
    let bytes = encode(&names, &found, double)?;
    interrupt::while_writing(&output, || write_atomic(&output, None, |w| w.write_all(&bytes)))?;
    step.end();
    let mut outcome = Outcome::new();
    outcome.insert("decrypt_seconds".to_owned(), started.elapsed().as_secs_f64().into());
    outcome.insert("samples".to_owned(), found.len().into());
    outcome.insert("plan".to_owned(), format::id(&client.keyparams().plan).into());
    outcome.insert("precision_bits".to_owned(), client.keyparams().precision_bits.into());
    if let Some(bits) = bits {
        outcome.insert("shared_bits".to_owned(), bits.into());
        ui.say(&format!("kept {bits:.0} bits of the output range"));
    }
    ui.wrote(&mut outcome, "output", &output, "");
    Ok((found, outcome))
}

/// How far an answer may lie outside what calibration saw, in ranges, before it is suspicious.
const FAR: f64 = 2.0;

/// Answers so far outside the calibrated outputs that the polynomials have probably left their
/// ranges on the way, or a ciphertext its modulus: nothing else shows that after the fact.
fn implausible(ports: &[&Port], answers: &Answers) -> Vec<String> {
    let mut found = Vec::new();
    for (s, sample) in answers.iter().enumerate() {
        for (port, values) in ports.iter().zip(sample) {
            let (low, high) = port.range;
            let reach = FAR * (high - low).max(port.factor * 1e-6);
            if values.iter().any(|&x| !(low - reach..=high + reach).contains(&x)) {
                found.push(format!(
                    "output {:?} of sample {s} lies far outside what calibration saw ({low:.4} to \
                     {high:.4}); do not trust it: the input was probably unlike the calibration set",
                    port.name
                ));
            }
        }
    }
    found
}

/// How many bits a shared answer keeps: those asked for, as far as the plan's own noise stays
/// hidden under them.
fn shared_bits(share: Share, reached: f64) -> f64 {
    let most = (reached - FLOODING_BITS).floor().max(1.0);
    match share {
        Share::Auto => most,
        Share::Bits(bits) => most.min(f64::from(bits)),
    }
}

/// Rounds every element to a multiple of `2^-bits` of its output's unit.
fn round(answers: &mut Answers, ports: &[&Port], bits: f64) {
    for (port, tensor) in answers.iter_mut().flat_map(|sample| ports.iter().zip(sample)) {
        let unit = port.factor.abs() * 2f64.powf(-bits);
        tensor.iter_mut().for_each(|x| *x = (*x / unit).round() * unit);
    }
}

/// An `.npy`, or an `.npz` where there are several outputs; the samples are the first axis.
fn encode(names: &[Named<'_>], answers: &Answers, double: bool) -> io::Result<Vec<u8>> {
    let mut arrays = arrays(names, answers, double)?;
    match arrays.as_mut_slice() {
        [(_, bytes)] => Ok(std::mem::take(bytes)),
        several => archive(several),
    }
}

/// Name and shape of an array, and the words that its elements are places in, if it is in words.
type Named<'a> = (&'a str, &'a [usize], Option<&'a [String]>);

/// What is written: the client's answers, or the outputs where there are none.
fn named<'a>(ports: &[&'a Port], answers: &'a [Answer]) -> Vec<Named<'a>> {
    if answers.is_empty() {
        return ports.iter().map(|p| (p.name.as_str(), p.shape.as_slice(), None)).collect();
    }
    answers.iter().map(|a| (a.name.as_str(), a.shape.as_slice(), a.words())).collect()
}

/// One `.npy` per tensor.
fn arrays<'a>(
    names: &[Named<'a>],
    samples: &[Vec<Vec<f64>>],
    double: bool,
) -> io::Result<Vec<(&'a str, Vec<u8>)>> {
    let array = |(i, (name, shape, words)): (usize, &Named<'a>)| {
        let data: Vec<f64> = samples.iter().flat_map(|sample| sample[i].iter().copied()).collect();
        let (mut bytes, shape) = (Vec::new(), batched(shape, samples.len()));
        match words {
            Some(words) => {
                let word = |place: &f64| words.get(*place as usize).map_or("", String::as_str);
                let data: Vec<&str> = data.iter().map(word).collect();
                write_npy_words(&mut bytes, &shape, &data)?;
            }
            None => write_npy(&mut bytes, &shape, &data, double)?,
        }
        Ok((*name, bytes))
    };
    names.iter().enumerate().map(array).collect()
}

/// An `.npz` with one array per port; the samples are the first axis.
pub(crate) fn archive_of(ports: &[&Port], samples: &[Vec<Vec<f64>>]) -> io::Result<Vec<u8>> {
    archive(&arrays(&named(ports, &[]), samples, true)?)
}

fn archive(arrays: &[(&str, Vec<u8>)]) -> io::Result<Vec<u8>> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let options =
        zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (name, bytes) in arrays {
        zip.start_file(format!("{}.npy", name.replace('/', "_")), options)?;
        zip.write_all(bytes)?;
    }
    let mut cursor = zip.finish()?;
    cursor.flush()?;
    cursor.rewind()?;
    Ok(cursor.into_inner())
}

/// The shape of `samples` tensors: they share the batch axis where there is one.
fn batched(shape: &[usize], samples: usize) -> Vec<usize> {
    match shape.split_first() {
        Some((1, rest)) => [&[samples], rest].concat(),
        _ if samples == 1 => shape.to_vec(),
        _ => [&[samples], shape].concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_share_the_batch_axis() {
        assert_eq!(batched(&[1, 10], 3), [3, 10]);
        assert_eq!(batched(&[1, 10], 1), [1, 10]);
        assert_eq!(batched(&[4, 2], 1), [4, 2]);
        assert_eq!(batched(&[4, 2], 3), [3, 4, 2]);
    }

    #[test]
    fn a_shared_answer_never_keeps_more_than_the_plan_reaches() {
        assert_eq!(shared_bits(Share::Auto, 14.7), 10.0);
        assert_eq!(shared_bits(Share::Bits(30), 14.7), 10.0);
        assert_eq!(shared_bits(Share::Bits(6), 14.7), 6.0);
    }
}
