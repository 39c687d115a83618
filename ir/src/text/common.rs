//! What several levels share: strings, shapes, ports, parameters, types, exact scales.

use std::fmt::{Display, Write as _};

use super::ParseError;
use super::cursor::{Cursor, Lines};
use crate::bootstrap::Bootstrap;
use crate::ckks::CtType;
use crate::constants::ConstPool;
use crate::entity::ConstId;
use crate::layout::{Axis, Layout};
use crate::origin::{Node, OriginTable};
use crate::parameters::{Parameters, ParametersLiteral};
use crate::scale::Scale;
use crate::slots::{Compact, Port};

/// A quoted string on one line.
pub(super) fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => {
                // Writing to a string cannot fail.
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out + "\""
}

/// `  %1 = rotate %0 {by = 29} : ct<…> @ "label"`, in columns of fixed width, so that a longer line
/// does not move the others.
pub(super) fn line(results: &str, op: &str, ty: &str, label: &str) -> String {
    let left = format!("  {results} = {op}");
    format!("{left:<52} : {ty:<28} @ {}", quote(label))
}

/// Items with commas between them.
pub(super) fn commas<T: Display>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|i| i.to_string()).collect::<Vec<_>>().join(", ")
}

/// A constant's hash, or what is wrong with its id.
pub(super) fn constant(consts: &ConstPool, id: ConstId) -> String {
    match consts.get(id) {
        Some(_) => consts.hash(id).to_string(),
        None => format!("#missing_{id}"),
    }
}

pub(super) fn shape(dims: &[usize]) -> String {
    format!("real[{}]", commas(dims))
}

pub(super) fn parse_shape(c: &mut Cursor<'_>) -> Result<Vec<usize>, ParseError> {
    c.expect("real")?;
    c.expect("[")?;
    c.list("]", Cursor::number)
}

/// `real[1, 10] {factor = …, layout = …, range = […]}`, with what is left out where that is something.
pub(super) fn port(port: &Port) -> String {
    let Port { shape: dims, layout, factor, range, compact, .. } = port;
    let (lo, hi) = range;
    let Compact { rotations, conjugate } = compact;
    let left_out = match *compact {
        Compact::NONE => String::new(),
        _ => format!("compact = [{rotations}, {}], ", u8::from(*conjugate)),
    };
    format!(
        "{} {{{left_out}factor = {factor:?}, layout = {layout}, range = [{lo:?}, {hi:?}]}}",
        shape(dims)
    )
}

pub(super) fn parse_port(name: String, c: &mut Cursor<'_>) -> Result<Port, ParseError> {
    let shape = parse_shape(c)?;
    let mut ahead = c.clone();
    let compact = match ahead.open("compact") {
        Ok(()) => {
            let compact = parse_compact(&mut ahead)?;
            ahead.attribute("factor")?;
            *c = ahead;
            compact
        }
        Err(_) => {
            c.open("factor")?;
            Compact::NONE
        }
    };
    let factor = c.number()?;
    c.attribute("layout")?;
    let layout = parse_layout(c)?;
    c.attribute("range")?;
    c.expect("[")?;
    let lo = c.number()?;
    c.expect(",")?;
    let hi = c.number()?;
    c.expect("]")?;
    c.expect("}")?;
    Ok(Port { name, shape, layout, factor, range: (lo, hi), compact })
}

/// `[2, 1]`: halvings by rotations, and whether there is one by conjugation.
fn parse_compact(c: &mut Cursor<'_>) -> Result<Compact, ParseError> {
    c.expect("[")?;
    let rotations = c.number()?;
    c.expect(",")?;
    let conjugate = c.number::<u8>()? != 0;
    c.expect("]")?;
    Ok(Compact { rotations, conjugate })
}

fn parse_layout(c: &mut Cursor<'_>) -> Result<Layout, ParseError> {
    c.expect("[")?;
    let axes = c.list("]", |c| {
        let size = c.number()?;
        c.expect(":")?;
        Ok(Axis { size, stride: c.number()? })
    })?;
    let offset = if c.eat("+") { c.number()? } else { 0 };
    c.expect("/")?;
    let period = c.number()?;
    c.expect("of")?;
    Ok(Layout { axes, offset, period, width: c.number()? })
}

/// `input 0 "image" : …`.
pub(super) fn input(index: usize, of: &Port) -> String {
    format!("  input {index} {} : {}", quote(&of.name), port(of))
}

/// The input lines, each with what `more` reads after the port.
pub(super) fn parse_inputs<T>(
    lines: &mut Lines<'_>,
    mut more: impl FnMut(&mut Cursor<'_>, Port) -> Result<T, ParseError>,
) -> Result<Vec<T>, ParseError> {
    let mut out = Vec::new();
    while let Some(mut c) = lines.next_if("input") {
        let before = c.clone();
        if c.number::<usize>()? != out.len() {
            return Err(before.fail(format!("input {}", out.len())));
        }
        let name = c.string()?;
        c.expect(":")?;
        let port = parse_port(name, &mut c)?;
        out.push(more(&mut c, port)?);
        c.end()?;
    }
    Ok(out)
}

/// `parameters {…}`, primes in full; the numbers of a bootstrapping in the order of its fields.
pub(super) fn parameters(of: &Parameters) -> String {
    let ParametersLiteral { log_n, q, p, digit_size } = of.literal();
    let (p, q) = (commas(p), commas(q));
    let batch = if of.batch() == 1 { String::new() } else { format!("batch = {}, ", of.batch()) };
    let bootstrap = of
        .bootstrap()
        .map_or(String::new(), |b| format!("bootstrap = [{}], ", commas(b.numbers())));
    format!(
        "  parameters {{{batch}{bootstrap}digit_size = {digit_size}, log_n = {log_n}, p = [{p}], q = [{q}]}}"
    )
}

pub(super) fn parse_parameters(lines: &mut Lines<'_>) -> Result<Parameters, ParseError> {
    let mut c = lines.next();
    c.expect("parameters")?;
    let before = c.clone();
    let (mut batch, mut bootstrap) = (1, None);
    c.expect("{")?;
    if c.eat_key("batch") {
        batch = c.number()?;
        c.expect(",")?;
    }
    if c.eat_key("bootstrap") {
        bootstrap = Some(parse_bootstrap(&mut c)?);
        c.expect(",")?;
    }
    c.key("digit_size")?;
    let digit_size = c.number()?;
    c.attribute("log_n")?;
    let log_n = c.number()?;
    c.attribute("p")?;
    c.expect("[")?;
    let p = c.list("]", Cursor::number)?;
    c.attribute("q")?;
    c.expect("[")?;
    let q = c.list("]", Cursor::number)?;
    c.expect("}")?;
    c.end()?;
    let literal = ParametersLiteral { log_n, q, p, digit_size };
    let checked =
        Parameters::new(literal).and_then(|p| p.with_batch(batch)).and_then(|p| match bootstrap {
            Some(bootstrap) => p.with_bootstrap(bootstrap),
            None => Ok(p),
        });
    checked.map_err(|e| before.fail(format!("sound parameters ({e})")))
}

fn parse_bootstrap(c: &mut Cursor<'_>) -> Result<Bootstrap, ParseError> {
    let before = c.clone();
    c.expect("[")?;
    let numbers: Vec<usize> = c.list("]", Cursor::number)?;
    let numbers = numbers.try_into().map_err(|_| before.fail("seven numbers"))?;
    Ok(Bootstrap::from_numbers(numbers))
}

/// `30`, or `30.0003 (2^60 q3^-1)`.
pub(super) fn scale(of: &Scale, parameters: &Parameters) -> String {
    let (exponent, powers) = of.parts();
    if powers.is_empty() {
        return exponent.to_string();
    }
    let mut factors = Vec::new();
    if exponent != 0 {
        factors.push(format!("2^{exponent}"));
    }
    for (prime, power) in powers {
        let name = match parameters.q().iter().position(|q| q == prime) {
            Some(i) => format!("q{i}"),
            None => prime.to_string(),
        };
        factors.push(if *power == 1 { name } else { format!("{name}^{power}") });
    }
    format!("{of} ({})", factors.join(" "))
}

pub(super) fn parse_scale(
    c: &mut Cursor<'_>,
    parameters: &Parameters,
) -> Result<Scale, ParseError> {
    let before = c.clone();
    let log2: f64 = c.number()?;
    if !c.eat("(") {
        let whole = log2.fract() == 0.0 && log2.abs() <= f64::from(u16::MAX);
        return if whole { Ok(Scale::pow2(log2 as i32)) } else { Err(before.fail("a scale")) };
    }
    let mut exponent: i32 = 0;
    let mut powers = Vec::new();
    while !c.eat(")") {
        if c.eat("2^") {
            exponent = c.number()?;
            continue;
        }
        let prime = if c.eat("q") {
            let index: usize = c.number()?;
            *parameters.q().get(index).ok_or_else(|| before.fail("primes of the chain"))?
        } else {
            c.number()?
        };
        let power = if c.eat("^") { c.number()? } else { 1 };
        powers.push((prime, power));
    }
    let small = |n: &i32| n.unsigned_abs() < 1 << 16;
    if !small(&exponent) || !powers.iter().all(|p| small(&p.1)) {
        return Err(before.fail("a scale with small exponents"));
    }
    Ok(Scale::from_parts(exponent, powers))
}

/// `ct<level = 4, scale = 30>`, with the degree where it is not 1, and `extended` where it is.
pub(super) fn ct_type(ty: &CtType, parameters: &Parameters) -> String {
    let degree = if ty.degree == 1 { String::new() } else { format!("degree = {}, ", ty.degree) };
    let extended = if ty.extended { "extended, " } else { "" };
    format!("ct<{degree}{extended}level = {}, scale = {}>", ty.level, scale(&ty.scale, parameters))
}

pub(super) fn parse_ct_type(
    c: &mut Cursor<'_>,
    parameters: &Parameters,
) -> Result<CtType, ParseError> {
    c.expect("ct<")?;
    let mut degree = 1;
    if c.eat_word("degree") {
        c.expect("=")?;
        degree = c.number()?;
        c.expect(",")?;
    }
    let extended = c.eat_word("extended");
    if extended {
        c.expect(",")?;
    }
    c.expect("level")?;
    c.expect("=")?;
    let level = c.number()?;
    c.expect(",")?;
    c.expect("scale")?;
    c.expect("=")?;
    let scale = parse_scale(c, parameters)?;
    c.expect(">")?;
    Ok(CtType { level, scale, degree, extended })
}

/// ` @ "label"` at the end of a line.
pub(super) fn parse_origin(c: &mut Cursor<'_>) -> Result<String, ParseError> {
    c.expect("@")?;
    let label = c.string()?;
    c.end()?;
    Ok(label)
}

impl OriginTable {
    /// The origin with this label: a node of its own that carries the whole label as its name.
    pub fn labelled(&mut self, label: &str) -> crate::entity::OriginId {
        if label.is_empty() {
            return Self::none();
        }
        self.node(Node { index: 0, name: label.to_owned(), op: String::new() })
    }
}
