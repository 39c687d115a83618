//! The `.keyparams` file: what a client needs of a plan, as RON that people can read.
//!
//! ```text
//! // heplan key parameters of "mnist", for `heplan keygen`. …
//! (
//!     format: 1,
//!     plan: "5f0c…",
//!     …
//! )
//! // checksum 3b1e…
//! ```
//!
//! The last line holds the BLAKE3 hash of everything before it, so that a cut or changed file is
//! noticed. Numbers survive exactly: scales as exponents, floats in their shortest form.
//! It never holds a weight. Reading treats the text as hostile.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::bootstrap::Bootstrap;
use crate::ckks::{CtType, rules};
use crate::constants::ConstPool;
use crate::container::{FileError, Kind, Problem, looks_like, read_file, write_atomic};
use crate::features::{self, Features};
use crate::layout::{Axis, Layout};
use crate::parameters::{Parameters, ParametersLiteral};
use crate::plan::{KeyKind, KeyParams, KeySpec, key_problems};
use crate::scale::{self, Scale};
use crate::slots::{Compact, Port};
use crate::tail::{self, Answer};
use crate::verify::{Errors, Location, check_ports};

/// The version of this text form. Files say the version that first had all they hold, so that the
/// same key parameters give the same bytes.
const FORMAT: u32 = 4;
/// A file beyond this is none of ours: a manifest has thousands of keys, not millions.
const MAX_BYTES: usize = 16 << 20;
const START: &str = "// heplan key parameters";
const CHECKSUM: &str = "// checksum ";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    format: u32,
    plan: String,
    name: String,
    precision_bits: f64,
    parameters: ParametersLiteral,
    /// Samples per ciphertext; since version 2.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    batch: usize,
    /// How ciphertexts are bootstrapped; since version 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bootstrap: Option<Bootstrap>,
    inputs: Vec<PortText>,
    outputs: Vec<PortText>,
    /// What the client makes of the outputs; left out where they are the answers themselves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    answers: Vec<Answer>,
    /// Ranges of the elements of inputs; since version 4.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    features: Vec<Features>,
    /// The level up to which the relinearisation key is needed, if it is.
    relinearise: Option<usize>,
    /// (steps, level) of every rotation key, by steps.
    rotations: Vec<(u32, usize)>,
    /// The level of the conjugation key; since version 3, as those that follow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    conjugate: Option<usize>,
    /// The level of the key to the sparse secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    to_sparse: Option<usize>,
    /// The level of the key from the sparse secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    from_sparse: Option<usize>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PortText {
    name: String,
    shape: Vec<usize>,
    layout: LayoutText,
    factor: f64,
    range: (f64, f64),
    /// What fresh ciphertexts leave out; since version 3.
    #[serde(default, skip_serializing_if = "is_whole")]
    compact: Compact,
    ciphertext: TypeText,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LayoutText {
    /// (size, stride), most significant first.
    axes: Vec<(usize, usize)>,
    offset: usize,
    period: usize,
    width: usize,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TypeText {
    level: usize,
    scale: ScaleText,
    degree: u8,
}

/// `2^exponent · Π prime^power`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ScaleText {
    exponent: i32,
    primes: Vec<(u64, i32)>,
}

impl KeyParams {
    /// The file's text; equal key parameters give equal bytes.
    pub fn to_text(&self) -> String {
        let level = |kind| self.keys.iter().find(|k| k.kind == kind).map(|k| k.level);
        let file = File {
            format: self.format(),
            plan: hex(&self.plan),
            name: self.name.clone(),
            precision_bits: self.precision_bits,
            parameters: self.parameters.literal().clone(),
            batch: self.parameters.batch(),
            bootstrap: self.parameters.bootstrap().cloned(),
            inputs: self.inputs.iter().map(port_text).collect(),
            outputs: self.outputs.iter().map(port_text).collect(),
            answers: self.answers.clone(),
            features: self.features.clone(),
            relinearise: level(KeyKind::Relinearise),
            rotations: self.keys.iter().filter_map(rotation).collect(),
            conjugate: level(KeyKind::Conjugate),
            to_sparse: level(KeyKind::ToSparse),
            from_sparse: level(KeyKind::FromSparse),
        };
        let config = ron::ser::PrettyConfig::new().new_line("\n").depth_limit(3);
        let body = ron::ser::to_string_pretty(&file, config).expect("plain data serialises");
        let mut text = format!(
            "{START} of {:?}, for `heplan keygen`.\n\
             // For the client: no weights, only what keys and data need. The last line is a \
             checksum; a changed file is refused.\n{body}\n",
            self.name
        );
        let hash = blake3::hash(text.as_bytes());
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{CHECKSUM}{}", hash.to_hex());
        text
    }

    /// The version that first had all that these key parameters hold.
    fn format(&self) -> u32 {
        let mut steps = self.answers.iter().flat_map(|answer| &answer.steps);
        let standings = steps.any(|step| matches!(step, tail::Step::OneVsRest { .. }));
        if standings || !self.features.is_empty() {
            return 4;
        }
        let compact = self.inputs.iter().any(|(port, _)| port.compact != Compact::NONE);
        match (compact || self.parameters.bootstrap().is_some(), self.parameters.batch()) {
            (true, _) => 3,
            (false, 1) => 1,
            (false, _) => 2,
        }
    }

    /// Reads the file's bytes.
    ///
    /// # Errors
    /// If it is another kind of file, cut, changed, newer, or says something that cannot be.
    pub fn from_text(bytes: &[u8]) -> Result<Self, Problem> {
        let wanted = Kind::KeyParams;
        if bytes.is_empty() {
            return Err(Problem::Empty(wanted));
        }
        if let Some(found) = Kind::of(bytes).filter(|k| *k != wanted) {
            return Err(Problem::WrongKind { found, wanted });
        }
        let foreign = || Problem::Foreign { found: looks_like(bytes), wanted };
        if bytes.len() > MAX_BYTES || !START.as_bytes().starts_with(prefix(bytes, START.len())) {
            return Err(foreign());
        }
        let text = std::str::from_utf8(bytes)
            .map_err(|_| Problem::Changed { part: "the text (it is not UTF-8)".into() })?;
        let end = text.rfind(CHECKSUM).filter(|&at| text[..at].ends_with('\n'));
        let (body, line) = text.split_at(end.ok_or(Problem::CutText)?);
        let hash = line.strip_prefix(CHECKSUM).and_then(|l| l.strip_suffix('\n'));
        let hash = hash.ok_or(Problem::CutText)?;
        if hash.len() < 64 {
            return Err(Problem::CutText);
        }
        if hash != blake3::hash(body.as_bytes()).to_hex().as_str() {
            return Err(Problem::Changed { part: "the text".into() });
        }
        let file = ron::from_str::<File>(body).map_err(|e| unreadable(body, &e))?;
        file.checked()
    }

    /// Reads a `.keyparams` file.
    ///
    /// # Errors
    /// With the file's name, as [`from_text`](Self::from_text).
    pub fn read(path: &Path) -> Result<Self, FileError> {
        Self::from_text(&read_file(path)?).map_err(|p| p.of(path))
    }

    /// Writes a `.keyparams` file, atomically.
    ///
    /// # Errors
    /// With the file's name, if it cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), FileError> {
        write_atomic(path, None, |w| w.write_all(self.to_text().as_bytes()))
    }
}

fn one() -> usize {
    1
}

fn is_one(batch: &usize) -> bool {
    *batch == 1
}

fn is_whole(compact: &Compact) -> bool {
    *compact == Compact::NONE
}

fn prefix(bytes: &[u8], n: usize) -> &[u8] {
    &bytes[..bytes.len().min(n)]
}

/// A sound checksum over something unreadable: a newer format, or a bug.
fn unreadable(body: &str, error: &ron::error::SpannedError) -> Problem {
    #[derive(Deserialize)]
    struct Version {
        format: u32,
    }
    match ron::from_str::<Version>(body) {
        Ok(Version { format }) if format > FORMAT => newer(format),
        _ => Problem::Invalid(error.to_string()),
    }
}

fn newer(format: u32) -> Problem {
    let found = u16::try_from(format).unwrap_or(u16::MAX);
    Problem::Newer { found, known: FORMAT as u16 }
}

impl File {
    fn checked(self) -> Result<KeyParams, Problem> {
        if self.format > FORMAT {
            return Err(newer(self.format));
        }
        let invalid = |what: String| Problem::Invalid(what);
        let plan = unhex(&self.plan)
            .ok_or_else(|| invalid(format!("the plan id {:?} is not 32 bytes", self.plan)))?;
        let parameters = Parameters::new(self.parameters)
            .and_then(|p| p.with_batch(self.batch))
            .and_then(|p| match self.bootstrap {
                Some(bootstrap) => p.with_bootstrap(bootstrap),
                None => Ok(p),
            })
            .map_err(|e| invalid(format!("the parameters are refused: {e}")))?;
        let of_version_3 = [
            (KeyKind::Conjugate, self.conjugate),
            (KeyKind::ToSparse, self.to_sparse),
            (KeyKind::FromSparse, self.from_sparse),
        ];
        let inputs = ports(self.inputs, &parameters).map_err(invalid)?;
        let outputs = ports(self.outputs, &parameters).map_err(invalid)?;
        let params = KeyParams {
            plan,
            name: self.name,
            parameters,
            keys: keys(self.relinearise, self.rotations, of_version_3),
            inputs,
            outputs,
            answers: self.answers,
            features: self.features,
            precision_bits: self.precision_bits,
        };
        match params.problems().into_iter().next() {
            Some(problem) => Err(invalid(problem)),
            None => Ok(params),
        }
    }
}

impl KeyParams {
    /// Breaches of what every plan's key parameters hold, in words.
    fn problems(&self) -> Vec<String> {
        let width = self.parameters.width();
        let mut errors = Errors::default();
        check_ports(self.inputs.iter().map(|p| &p.0), width, Location::Input, &mut errors);
        check_ports(self.outputs.iter().map(|p| &p.0), width, Location::Output, &mut errors);
        let consts = ConstPool::default();
        let rules =
            rules::Rules { parameters: &self.parameters, consts: &consts, inputs: Vec::new() };
        let inputs = self.inputs.iter().enumerate().map(|(i, p)| (Location::Input(i), p));
        let outputs = self.outputs.iter().enumerate().map(|(i, p)| (Location::Output(i), p));
        for (at, (port, ty)) in inputs.chain(outputs) {
            errors.extend(at, &port.name, rules.check_type(ty));
            if ty.degree != 1 {
                errors.add(at, &port.name, format!("degree is {}, not 1", ty.degree));
            }
        }
        for (i, message) in key_problems(&self.keys, &self.parameters) {
            errors.add(Location::Key(i), "", message);
        }
        let sizes: Vec<usize> = self.outputs.iter().map(|p| p.0.elements()).collect();
        for (name, message) in tail::problems(&self.answers, &sizes) {
            errors.add(Location::Whole, &name, message);
        }
        let sizes: Vec<usize> = self.inputs.iter().map(|p| p.0.elements()).collect();
        for message in features::problems(&self.features, &sizes) {
            errors.add(Location::Whole, &self.name, message);
        }
        if !self.precision_bits.is_finite() {
            let message = format!("precision of {} bits", self.precision_bits);
            errors.add(Location::Whole, &self.name, message);
        }
        errors.finish().iter().map(ToString::to_string).collect()
    }
}

fn rotation(key: &KeySpec) -> Option<(u32, usize)> {
    match key.kind {
        KeyKind::Rotate(by) => Some((by, key.level)),
        _ => None,
    }
}

fn keys(
    relinearise: Option<usize>,
    rotations: Vec<(u32, usize)>,
    others: [(KeyKind, Option<usize>); 3],
) -> Vec<KeySpec> {
    let rotations = rotations.into_iter().map(|(by, level)| (KeyKind::Rotate(by), level));
    let all = relinearise.map(|level| (KeyKind::Relinearise, level)).into_iter().chain(rotations);
    let others = others.into_iter().filter_map(|(kind, level)| Some((kind, level?)));
    all.chain(others).map(|(kind, level)| KeySpec { kind, level }).collect()
}

fn port_text((port, ty): &(Port, CtType)) -> PortText {
    let (exponent, primes) = ty.scale.parts();
    PortText {
        name: port.name.clone(),
        shape: port.shape.clone(),
        layout: LayoutText {
            axes: port.layout.axes.iter().map(|a| (a.size, a.stride)).collect(),
            offset: port.layout.offset,
            period: port.layout.period,
            width: port.layout.width,
        },
        factor: port.factor,
        range: port.range,
        compact: port.compact,
        ciphertext: TypeText {
            level: ty.level,
            scale: ScaleText { exponent, primes: primes.to_vec() },
            degree: ty.degree,
        },
    }
}

fn ports(list: Vec<PortText>, parameters: &Parameters) -> Result<Vec<(Port, CtType)>, String> {
    let port = |p: PortText| {
        let TypeText { level, scale, degree } = p.ciphertext;
        let scale: Scale = scale::checked(scale.exponent, &scale.primes, parameters)
            .ok_or(format!("the scale of {:?} is not one of these primes", p.name))?;
        let axes = p.layout.axes.into_iter().map(|(size, stride)| Axis { size, stride }).collect();
        let LayoutText { offset, period, width, .. } = p.layout;
        let layout = Layout { axes, offset, period, width };
        let PortText { name, shape, factor, range, compact, .. } = p;
        let port = Port { name, shape, layout, factor, range, compact };
        Ok((port, CtType { level, scale, degree, extended: false }))
    };
    list.into_iter().map(port).collect()
}

/// Bytes as lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut s, b| {
        // Writing to a string cannot fail.
        let _ = write!(s, "{b:02x}");
        s
    })
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    let digit = |b: u8| char::from(b).to_digit(16).filter(|_| !b.is_ascii_uppercase());
    let mut out = [0; 32];
    if digits.len() != 64 {
        return None;
    }
    for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok()?;
    }
    Some(out)
}

#[cfg(test)]
mod tests;
