//! `heplan inspect`: what a file is and what it holds.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::bail;
use clap::builder::BoolishValueParser;
use clap::{ArgAction, Args};
use heplan_ckks::context::Context;
use heplan_ckks::files::ciphertexts::CiphertextFile;
use heplan_ckks::files::evaluation_keys::EvaluationKeysFile;
use heplan_ckks::files::secret_key::SecretKeyFile;
use heplan_ckks::keys::store::KeySource;
use heplan_ir::ckks::CtType;
use heplan_ir::container::{Kind, Problem, SectionReader, read_file};
use heplan_ir::keyparams;
use heplan_ir::parameters::{Parameters, max_log_qp};
use heplan_ir::plan::{KeyParams, KeySpec, Plan};
use heplan_ir::slots::{Compact, Port};
use heplan_ir::tail::{Answer, Step};
use serde_json::{Value, json};

use crate::format::{self, Table};
use crate::ui::{self, Outcome, Ui};

const LONG_ABOUT: &str = "\
Shows what a file is: a plan, key parameters, a key, evaluation keys or a ciphertext.

  heplan inspect model.plan
  heplan inspect --text model.plan | less

In words by default; --text prints a plan's instructions one per line, --ron prints key parameters \
(of a .keyparams file, or those that a plan implies) in RON. Secrets are never printed. The whole \
file is checked, so `inspect` also tells whether a copy is intact.";

/// Options of `heplan inspect`.
#[derive(Debug, Args)]
#[command(about = "Show what a file is and holds", long_about = LONG_ABOUT)]
pub(crate) struct Options {
    /// A .plan, .keyparams, .key, .key.pub or .enc file
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,

    /// The instructions of a plan, one per line
    #[arg(long, env = "HEPLAN_TEXT", hide_env_values = true, conflicts_with = "ron")]
    #[arg(action = ArgAction::SetTrue, value_parser = BoolishValueParser::new())]
    pub(crate) text: bool,

    /// Key parameters in RON
    #[arg(long, env = "HEPLAN_RON", hide_env_values = true)]
    #[arg(action = ArgAction::SetTrue, value_parser = BoolishValueParser::new())]
    pub(crate) ron: bool,
}

/// Shows the file in the form that was asked for.
pub(crate) fn run(options: &Options, ui: &Ui) -> anyhow::Result<Outcome> {
    let path = options.file.as_path();
    let start = read_file(path)?;
    let Some(kind) = Kind::of(&start) else { bail!(unknown(&start, path)) };
    let Described { text, mut json } = match kind {
        Kind::Plan => plan(&Plan::read(path)?, options),
        Kind::KeyParams => key_parameters(&KeyParams::read(path)?, options),
        Kind::SecretKey => secret_key(path, options)?,
        Kind::EvaluationKeys => evaluation_keys(path)?,
        Kind::Ciphertext => ciphertext(path)?,
    };
    if options.text && kind != Kind::Plan {
        bail!("{}: is {kind}; --text shows plans", path.display());
    }
    let readable = [Kind::Plan, Kind::KeyParams, Kind::SecretKey].contains(&kind);
    if options.ron && !readable {
        bail!("{}: is {kind}, which holds no key parameters for --ron", path.display());
    }
    if !(options.text || options.ron) {
        let size = format::bytes(start.len() as u64);
        ui.show(&format!("{} is {kind} ({size}), intact", path.display()));
    }
    ui.show(text.trim_end());
    json.insert("file".to_owned(), ui::file(path));
    json.insert("kind".to_owned(), kind.to_string().into());
    Ok(json)
}

/// What a file holds.
struct Described {
    text: String,
    json: Outcome,
}

fn unknown(start: &[u8], path: &Path) -> anyhow::Error {
    if start.is_empty() {
        anyhow::anyhow!("{}: is empty", path.display())
    } else if start.starts_with(b"heplan") {
        Problem::Changed { part: "the header".into() }.of(path).into()
    } else {
        anyhow::anyhow!("{}: is no file of heplan, or its beginning was changed", path.display())
    }
}

fn object(value: Value) -> Outcome {
    match value {
        Value::Object(map) => map,
        _ => Outcome::new(),
    }
}

fn plan(plan: &Plan, options: &Options) -> Described {
    let keyparams = plan.keyparams();
    if options.text {
        return Described { text: plan.to_string(), json: plan_json(plan) };
    }
    if options.ron {
        return Described { text: keyparams.to_text(), json: plan_json(plan) };
    }
    let mut text = described(&keyparams);
    let mut table = Table::new(&["instruction", ">count"]);
    for (name, count) in super::explain::mnemonics(plan.insts.iter()) {
        table.row([name.to_owned(), count.to_string()]);
    }
    let _ = write!(
        text,
        "\n{} instructions over {} registers, {} constants\n\n{}",
        plan.insts.len(),
        plan.registers,
        plan.consts.len(),
        table.render()
    );
    Described { text, json: plan_json(plan) }
}

fn plan_json(plan: &Plan) -> Outcome {
    let mut json = keyparams_json(&plan.keyparams());
    json.insert("instructions".to_owned(), plan.insts.len().into());
    json.insert("registers".to_owned(), plan.registers.into());
    json
}

fn key_parameters(keyparams: &KeyParams, options: &Options) -> Described {
    let text = if options.ron { keyparams.to_text() } else { described(keyparams) };
    Described { text, json: keyparams_json(keyparams) }
}

fn secret_key(path: &Path, options: &Options) -> anyhow::Result<Described> {
    let protected = SecretKeyFile::is_protected(path)?;
    // The key parameters lie beside the secret and need no passphrase.
    let sections = SectionReader::open(path, Kind::SecretKey)?;
    let mut found = None;
    for id in sections.ids() {
        let content = sections.section(id)?;
        if Kind::of(&content) == Some(Kind::KeyParams) {
            found = Some(KeyParams::from_text(&content).map_err(|p| p.of(path))?);
        }
    }
    let Some(keyparams) = found else {
        bail!(Problem::Invalid("it has no key parameters".into()).of(path));
    };
    if options.ron {
        return Ok(Described { text: keyparams.to_text(), json: keyparams_json(&keyparams) });
    }
    let mut json = keyparams_json(&keyparams);
    json.insert("protected".to_owned(), protected.into());
    let mut text = String::from("the secret itself is not shown\n");
    if !protected {
        let id = SecretKeyFile::read(path, None)?.id();
        let _ = writeln!(text, "key        {}", format::short_id(&id));
        json.insert("key".to_owned(), format::id(&id).into());
    }
    text += &described(&keyparams);
    Ok(Described { text, json })
}

fn evaluation_keys(path: &Path) -> anyhow::Result<Described> {
    let file = EvaluationKeysFile::open(path)?;
    let header = file.header().clone();
    let source = file.into_source(&Context::new(&header.parameters)?)?;
    for spec in &header.keys {
        source.load(spec.kind)?;
    }
    let text = format!(
        "plan       {}\nkey        {}\n{}\n{}\n",
        format::short_id(&header.plan),
        format::short_id(&header.key),
        parameters(&header.parameters),
        keys(&header.keys)
    );
    let json = json!({
        "plan": format::id(&header.plan),
        "key": format::id(&header.key),
        "keys": header.keys.len(),
        "log_n": header.parameters.log_n(),
    });
    Ok(Described { text, json: object(json) })
}

fn ciphertext(path: &Path) -> anyhow::Result<Described> {
    let file = CiphertextFile::open(path)?;
    // Every section's checksum, without keys or parameters.
    let sections = SectionReader::open(path, Kind::Ciphertext)?;
    for id in sections.ids() {
        sections.section(id)?;
    }
    let header = file.header();
    let mut text = format!(
        "plan       {}\nkey        {}\n{} of {} sample(s)\n",
        format::short_id(&header.plan),
        format::short_id(&header.key),
        header.direction.name(),
        header.samples
    );
    if header.batch > 1 {
        let _ = writeln!(text, "{} in each ciphertext", header.batch);
    }
    for port in &header.ports {
        let _ = writeln!(
            text,
            "  {:?}: {} in {} ciphertext(s){}",
            port.name,
            format::shape(&port.shape),
            port.parts,
            sent(port.compact)
        );
    }
    let json = json!({
        "plan": format::id(&header.plan),
        "key": format::id(&header.key),
        "direction": header.direction.name(),
        "samples": header.samples,
        "batch": header.batch,
        "request": keyparams::hex(&header.request),
    });
    Ok(Described { text, json: object(json) })
}

/// What is sent of fresh ciphertexts, if not all.
fn sent(compact: Compact) -> String {
    match compact {
        Compact::NONE => String::new(),
        _ => format!(", 1 of {} coefficients sent", compact.divisor()),
    }
}

/// Key parameters in words.
fn described(k: &KeyParams) -> String {
    let mut text = format!(
        "model      {:?}\nplan       {}\nprecision  {:.1} bits of the output range, in simulation\n{}\n{}\n",
        k.name,
        format::short_id(&k.plan),
        k.precision_bits,
        parameters(&k.parameters),
        keys(&k.keys)
    );
    let ports = |title: &str, ports: &[(Port, CtType)], text: &mut String| {
        for (port, ty) in ports {
            let _ = writeln!(
                text,
                "{title} {:?}: {}, calibrated from {} to {}; {} ciphertext(s) at level {}, scale 2^{}{}",
                port.name,
                format::shape(&port.shape),
                port.range.0,
                port.range.1,
                port.layout.ciphertexts(),
                ty.level,
                ty.scale,
                sent(port.compact)
            );
        }
    };
    ports("input ", &k.inputs, &mut text);
    ports("output", &k.outputs, &mut text);
    for features in &k.features {
        let name = k.inputs.get(features.input).map_or("", |(port, _)| port.name.as_str());
        let _ = writeln!(text, "ranges of {} elements of {name:?}", features.ranges.len());
    }
    for answer in &k.answers {
        let steps: Vec<&str> = answer.steps.iter().map(Step::name).collect();
        let from = k.outputs.get(answer.from).map_or("", |(port, _)| port.name.as_str());
        let how = if steps.is_empty() { "nothing more".to_owned() } else { steps.join(", ") };
        let shape = format::shape(&answer.shape);
        let _ = writeln!(text, "answer {:?}: {shape}, from {from:?} by {how}", answer.name);
    }
    text
}

fn parameters(p: &Parameters) -> String {
    let samples = match p.batch() {
        1 => String::new(),
        batch => format!("\nsamples    {batch} in each ciphertext"),
    };
    format!(
        "ring       2^{}, {} ciphertext primes and {} special ones, {:.1} bits; 128-bit security allows {:.0}{samples}",
        p.log_n(),
        p.q().len(),
        p.p().len(),
        p.log_qp(),
        max_log_qp(p.log_n()).unwrap_or(0.0)
    )
}

fn keys(keys: &[KeySpec]) -> String {
    let highest = keys.iter().map(|k| k.level).max().unwrap_or(0);
    format!("keys       {} evaluation keys, up to level {highest}", keys.len())
}

fn keyparams_json(k: &KeyParams) -> Outcome {
    let port = |(p, ty): &(Port, CtType)| {
        json!({
            "name": p.name,
            "shape": p.shape,
            "range": [p.range.0, p.range.1],
            "ciphertexts": p.layout.ciphertexts(),
            "level": ty.level,
            "halvings": p.compact.halvings(),
        })
    };
    let answer = |a: &Answer| {
        let steps: Vec<&str> = a.steps.iter().map(Step::name).collect();
        json!({ "name": a.name, "shape": a.shape, "from": a.from, "steps": steps })
    };
    object(json!({
        "plan": format::id(&k.plan),
        "name": k.name,
        "precision_bits": k.precision_bits,
        "log_n": k.parameters.log_n(),
        "log_qp": k.parameters.log_qp(),
        "batch": k.parameters.batch(),
        "keys": k.keys.len(),
        "inputs": k.inputs.iter().map(port).collect::<Vec<_>>(),
        "outputs": k.outputs.iter().map(port).collect::<Vec<_>>(),
        "answers": k.answers.iter().map(answer).collect::<Vec<_>>(),
        "features": k.features,
    }))
}
