//! Operations on ciphertexts, for both levels that have them.

use super::cursor::Cursor;
use super::{Name, ParseError, common};
use crate::ckks::{Op, Plain};
use crate::constants::ConstPool;
use crate::parameters::Parameters;

/// `rotate %0 {by = 29}`; `frees` is one more attribute where it is not empty.
pub(super) fn print<V: Name>(
    op: &Op<V>,
    frees: &[V],
    consts: &ConstPool,
    parameters: &Parameters,
) -> String {
    let scale = |s| common::scale(s, parameters);
    let plain = |p: &Plain| match p {
        Plain::Scalar(v) => format!("{v:?}"),
        Plain::Vector(id) => common::constant(consts, *id),
    };
    let mut attributes: Vec<String> = Vec::new();
    let head = match op {
        Op::Input { input, part } => {
            attributes.push(format!("part = {part}"));
            format!("input {input}")
        }
        Op::Linear { xs, transform, scales } => {
            attributes.push(format!("scales = [{}]", common::commas(scales.iter().map(scale))));
            format!("linear {}, {}", common::constant(consts, *transform), common::commas(xs))
        }
        Op::Rotate { x, by } => {
            attributes.push(format!("by = {by}"));
            format!("rotate {x}")
        }
        Op::RotateAdd { x, by, y } => {
            attributes.push(format!("by = {by}"));
            format!("rotate_add {x}, {y}")
        }
        Op::Add { a, b } => format!("add {a}, {b}"),
        Op::Sub { a, b } => format!("sub {a}, {b}"),
        Op::AddPlain { x, plain: p } => format!("add_plain {x}, {}", plain(p)),
        Op::MulPlain { x, plain: p, scale: s } => {
            attributes.push(format!("scale = {}", scale(s)));
            format!("mul_plain {x}, {}", plain(p))
        }
        Op::Mul { a, b } => format!("mul {a}, {b}"),
        Op::Relinearise { x } => format!("relinearise {x}"),
        Op::Rescale { x } => format!("rescale {x}"),
        Op::ModDown { x } => format!("mod_down {x}"),
        Op::DropLevel { x, level } => {
            attributes.push(format!("level = {level}"));
            format!("drop_level {x}")
        }
        Op::Bootstrap { x, scale: s } => {
            attributes.push(format!("scale = {}", scale(s)));
            format!("bootstrap {x}")
        }
    };
    if !frees.is_empty() {
        attributes.push(format!("frees = [{}]", common::commas(frees)));
        attributes.sort();
    }
    let block = if attributes.is_empty() {
        String::new()
    } else {
        format!(" {{{}}}", attributes.join(", "))
    };
    head + &block
}

/// The attributes of one operation, read in sorted order.
struct Attributes<V> {
    frees: Vec<V>,
    first: bool,
}

impl<V: Name> Attributes<V> {
    /// Moves to the value of `key`; `frees` may come anywhere.
    fn key(&mut self, c: &mut Cursor<'_>, key: &str) -> Result<(), ParseError> {
        self.maybe_frees(c)?;
        if self.first { c.open(key) } else { c.attribute(key) }?;
        self.first = false;
        Ok(())
    }

    fn maybe_frees(&mut self, c: &mut Cursor<'_>) -> Result<(), ParseError> {
        let mut ahead = c.clone();
        let there = ahead.eat(if self.first { "{" } else { "," }) && ahead.eat_word("frees");
        if there {
            ahead.expect("=")?;
            ahead.expect("[")?;
            self.frees = ahead.list("]", Cursor::name)?;
            self.first = false;
            *c = ahead;
        }
        Ok(())
    }

    fn finish(mut self, c: &mut Cursor<'_>) -> Result<Vec<V>, ParseError> {
        self.maybe_frees(c)?;
        if !self.first {
            c.expect("}")?;
        }
        Ok(self.frees)
    }
}

/// The operation and the registers that it frees.
pub(super) fn parse<V: Name>(
    c: &mut Cursor<'_>,
    parameters: &Parameters,
) -> Result<(Op<V>, Vec<V>), ParseError> {
    let before = c.clone();
    let mut at = Attributes { frees: Vec::new(), first: true };
    let op = match c.word()? {
        "input" => {
            let input = c.number()?;
            at.key(c, "part")?;
            Op::Input { input, part: c.number()? }
        }
        "linear" => parse_linear(c, &mut at, parameters)?,
        "rotate" => {
            let x = c.name()?;
            at.key(c, "by")?;
            Op::Rotate { x, by: c.number()? }
        }
        "rotate_add" => {
            let (x, y) = pair(c)?;
            at.key(c, "by")?;
            Op::RotateAdd { x, by: c.number()?, y }
        }
        "add" => {
            let (a, b) = pair(c)?;
            Op::Add { a, b }
        }
        "sub" => {
            let (a, b) = pair(c)?;
            Op::Sub { a, b }
        }
        "mul" => {
            let (a, b) = pair(c)?;
            Op::Mul { a, b }
        }
        "add_plain" => {
            let (x, plain) = plain(c)?;
            Op::AddPlain { x, plain }
        }
        "mul_plain" => {
            let (x, plain) = plain(c)?;
            at.key(c, "scale")?;
            Op::MulPlain { x, plain, scale: common::parse_scale(c, parameters)? }
        }
        "relinearise" => Op::Relinearise { x: c.name()? },
        "rescale" => Op::Rescale { x: c.name()? },
        "mod_down" => Op::ModDown { x: c.name()? },
        "drop_level" => {
            let x = c.name()?;
            at.key(c, "level")?;
            Op::DropLevel { x, level: c.number()? }
        }
        "bootstrap" => {
            let x = c.name()?;
            at.key(c, "scale")?;
            Op::Bootstrap { x, scale: common::parse_scale(c, parameters)? }
        }
        _ => return Err(before.fail("an operation on ciphertexts")),
    };
    Ok((op, at.finish(c)?))
}

fn parse_linear<V: Name>(
    c: &mut Cursor<'_>,
    at: &mut Attributes<V>,
    parameters: &Parameters,
) -> Result<Op<V>, ParseError> {
    let transform = c.constant()?;
    let mut xs = Vec::new();
    while c.eat(",") {
        xs.push(c.name()?);
    }
    at.key(c, "scales")?;
    c.expect("[")?;
    let scales = c.list("]", |c| common::parse_scale(c, parameters))?;
    Ok(Op::Linear { xs, transform, scales })
}

fn pair<V: Name>(c: &mut Cursor<'_>) -> Result<(V, V), ParseError> {
    let a = c.name()?;
    c.expect(",")?;
    Ok((a, c.name()?))
}

fn plain<V: Name>(c: &mut Cursor<'_>) -> Result<(V, Plain), ParseError> {
    let x = c.name()?;
    c.expect(",")?;
    let constant = c.clone().eat("#");
    let plain = if constant { Plain::Vector(c.constant()?) } else { Plain::Scalar(c.number()?) };
    Ok((x, plain))
}
