//! Text of the `plan` level.

use super::common::{
    commas, ct_type, input, line, parameters, parse_ct_type, parse_inputs, parse_origin,
    parse_parameters, parse_port, port, quote,
};
use super::cursor::{Cursor, Lines};
use super::render::Line;
use super::{ParseError, ops};
use crate::ckks::CtType;
use crate::constants::ConstPool;
use crate::entity::RegId;
use crate::features::Features;
use crate::parameters::Parameters;
use crate::plan::{Inst, KeyKind, KeySpec, Plan};
use crate::slots::Port;
use crate::tail::Answer;
use crate::verify::Location;

impl Plan {
    pub(super) fn text_lines(&self) -> Vec<Line> {
        let params = &self.parameters;
        let plain = |text| Line { at: None, text };
        let mut out = vec![
            Line::new(Location::Whole, format!("plan {} {{", quote(&self.name))),
            plain(parameters(params)),
            plain(format!("  precision {:?}", self.precision_bits)),
            plain(format!("  registers {}", self.registers)),
        ];
        for (i, key) in self.keys.iter().enumerate() {
            let kind = match key.kind {
                KeyKind::Relinearise => "relinearise".to_owned(),
                KeyKind::Rotate(by) => format!("rotate {by}"),
                KeyKind::Conjugate => "conjugate".to_owned(),
                KeyKind::ToSparse => "to_sparse".to_owned(),
                KeyKind::FromSparse => "from_sparse".to_owned(),
            };
            let text = format!("  key {kind} {{level = {}}}", key.level);
            out.push(Line::new(Location::Key(i), text));
        }
        for (i, (of, ty)) in self.inputs.iter().enumerate() {
            let text = format!("{} : {}", input(i, of), ct_type(ty, params));
            out.push(Line::new(Location::Input(i), text));
        }
        for (i, inst) in self.insts.iter().enumerate() {
            let label = self.origins.get(inst.origin as usize).map_or("", String::as_str);
            let op = ops::print(&inst.op, &inst.frees, &self.consts, params);
            let (results, ty) = (commas(&inst.results), ct_type(&inst.ty, params));
            let text = line(&results, &op, &ty, label);
            out.push(Line::new(Location::Inst(i), text));
        }
        for (i, (of, ty, regs)) in self.outputs.iter().enumerate() {
            let (name, ty) = (quote(&of.name), ct_type(ty, params));
            let text = format!("  output {name} = {} : {} : {ty}", commas(regs), port(of));
            out.push(Line::new(Location::Output(i), text));
        }
        for answer in &self.answers {
            out.push(plain(format!("  answer {}", quote(&answer.to_text()))));
        }
        for features in &self.features {
            out.push(plain(format!("  features {}", quote(&features.to_text()))));
        }
        out.push(Line::closing());
        out
    }

    /// Reads the text form; constants are found in `consts` by their hashes.
    ///
    /// # Errors
    /// With the line and what was expected there. Invariants are the verifier's business.
    pub fn parse(text: &str, consts: &ConstPool) -> Result<Self, ParseError> {
        let mut lines = Lines::new(text, consts);
        let mut head = lines.next();
        head.expect("plan")?;
        let name = head.string()?;
        head.expect("{")?;
        head.end()?;
        let parameters = parse_parameters(&mut lines)?;
        let precision_bits = field(&mut lines, "precision")?;
        let registers = field(&mut lines, "registers")?;
        let keys = parse_keys(&mut lines)?;
        let inputs = parse_inputs(&mut lines, |c, port| {
            c.expect(":")?;
            Ok((port, parse_ct_type(c, &parameters)?))
        })?;
        let mut origins = vec![String::new()];
        let mut insts = Vec::new();
        while lines.before(&["output"]) {
            insts.push(parse_inst(&mut lines.next(), &parameters, &mut origins)?);
        }
        let mut outputs = Vec::new();
        while let Some(c) = lines.next_if("output") {
            outputs.push(parse_output(c, &parameters)?);
        }
        let mut answers = Vec::new();
        while let Some(c) = lines.next_if("answer") {
            answers.push(parse_answer(c)?);
        }
        let mut features = Vec::new();
        while let Some(mut c) = lines.next_if("features") {
            let text = c.string()?;
            let found = Features::from_text(&text).map_err(|_| c.fail("features in RON"))?;
            c.end()?;
            features.push(found);
        }
        lines.finish()?;
        let consts = consts.clone();
        Ok(Self {
            name,
            parameters,
            keys,
            insts,
            registers,
            inputs,
            outputs,
            consts,
            origins,
            precision_bits,
            answers,
            features,
        })
    }
}

fn parse_answer(mut c: Cursor<'_>) -> Result<Answer, ParseError> {
    let text = c.string()?;
    let answer = Answer::from_text(&text).map_err(|_| c.fail("an answer in RON"))?;
    c.end()?;
    Ok(answer)
}

/// A line with a word and a number.
fn field<T: std::str::FromStr>(lines: &mut Lines<'_>, word: &str) -> Result<T, ParseError> {
    let mut c = lines.next();
    c.expect(word)?;
    let value = c.number()?;
    c.end()?;
    Ok(value)
}

fn parse_keys(lines: &mut Lines<'_>) -> Result<Vec<KeySpec>, ParseError> {
    let mut keys = Vec::new();
    while let Some(mut c) = lines.next_if("key") {
        let kind = if c.eat_word("relinearise") {
            KeyKind::Relinearise
        } else if c.eat_word("conjugate") {
            KeyKind::Conjugate
        } else if c.eat_word("to_sparse") {
            KeyKind::ToSparse
        } else if c.eat_word("from_sparse") {
            KeyKind::FromSparse
        } else {
            c.expect("rotate")?;
            KeyKind::Rotate(c.number()?)
        };
        c.open("level")?;
        let level = c.number()?;
        c.expect("}")?;
        c.end()?;
        keys.push(KeySpec { kind, level });
    }
    Ok(keys)
}

fn parse_inst(
    c: &mut Cursor<'_>,
    parameters: &Parameters,
    origins: &mut Vec<String>,
) -> Result<Inst, ParseError> {
    if !c.at_name::<RegId>() {
        return Err(c.fail("a register, an output"));
    }
    let results = c.list("=", Cursor::name)?;
    let (op, frees) = ops::parse(c, parameters)?;
    c.expect(":")?;
    let ty = parse_ct_type(c, parameters)?;
    let before = c.clone();
    let label = parse_origin(c)?;
    let at = origins.iter().position(|o| *o == label).unwrap_or_else(|| {
        origins.push(label);
        origins.len() - 1
    });
    let origin = u32::try_from(at).map_err(|_| before.fail("fewer origins"))?;
    Ok(Inst { op, results, ty, frees, origin })
}

fn parse_output(
    mut c: Cursor<'_>,
    parameters: &Parameters,
) -> Result<(Port, CtType, Vec<RegId>), ParseError> {
    let name = c.string()?;
    c.expect("=")?;
    let registers = c.list(":", Cursor::name)?;
    let port = parse_port(name, &mut c)?;
    c.expect(":")?;
    let ty = parse_ct_type(&mut c, parameters)?;
    c.end()?;
    Ok((port, ty, registers))
}
