//! Text of the `slots` level.

use super::common::{
    commas, constant, input, line, parse_inputs, parse_origin, parse_port, port, quote,
};
use super::cursor::{Cursor, Lines};
use super::render::Line;
use super::{Name as _, ParseError};
use crate::constants::ConstPool;
use crate::entity::ValueId;
use crate::slots::{Graph, Inst, Op};
use crate::verify::Location;

impl Graph {
    pub(super) fn text_lines(&self) -> Vec<Line> {
        let head = format!("slots {} {{width = {}}} {{", quote(&self.name), self.width);
        let mut out = vec![Line::new(Location::Whole, head)];
        let inputs = self.inputs.iter().enumerate();
        out.extend(inputs.map(|(i, p)| Line::new(Location::Input(i), input(i, p))));
        for (i, inst) in self.insts.iter().enumerate() {
            let label = self.origins.get_label(inst.origin).unwrap_or_default();
            let (op, results) = (self.op_text(&inst.op), commas(&inst.results));
            let text = line(&results, &op, &format!("vec<{}>", self.width), &label);
            out.push(Line::new(Location::Inst(i), text));
        }
        for (i, (of, values)) in self.outputs.iter().enumerate() {
            let text = format!("  output {} = {} : {}", quote(&of.name), commas(values), port(of));
            out.push(Line::new(Location::Output(i), text));
        }
        out.push(Line::closing());
        out
    }

    fn op_text(&self, op: &Op) -> String {
        let hash = |id| constant(&self.consts, id);
        match op {
            Op::Input { input, part } => format!("input {input} {{part = {part}}}"),
            Op::Linear { xs, transform } => {
                format!("linear {}, {}", hash(*transform), commas(xs))
            }
            Op::Rotate { x, by } => format!("rotate {x} {{by = {by}}}"),
            Op::Add { a, b } => format!("add {a}, {b}"),
            Op::AddConst { x, constant } => format!("add_const {}, {x}", hash(*constant)),
            Op::Product { a, b } => format!("product {a}, {b}"),
            Op::Polynomial { x, polynomials } => {
                format!("polynomial {}, {x}", hash(*polynomials))
            }
            Op::Bootstrap { x } => format!("bootstrap {x}"),
        }
    }

    /// Reads the text form; constants are found in `consts` by their hashes.
    ///
    /// # Errors
    /// With the line and what was expected there. Invariants are the verifier's business.
    pub fn parse(text: &str, consts: &ConstPool) -> Result<Self, ParseError> {
        let mut lines = Lines::new(text, consts);
        let mut head = lines.next();
        head.expect("slots")?;
        let mut graph = Self { name: head.string()?, consts: consts.clone(), ..Self::default() };
        head.open("width")?;
        graph.width = head.number()?;
        head.expect("}")?;
        head.expect("{")?;
        head.end()?;
        graph.inputs = parse_inputs(&mut lines, |_, port| Ok(port))?;
        while lines.before(&["output"]) {
            let mut c = lines.next();
            let results = parse_results(&mut c, &mut graph.values)?;
            let op = parse_op(&mut c)?;
            c.expect(":")?;
            c.expect(&format!("vec<{}>", graph.width))?;
            let origin = graph.origins.labelled(&parse_origin(&mut c)?);
            graph.insts.push(Inst { op, results, origin });
        }
        while let Some(mut c) = lines.next_if("output") {
            let name = c.string()?;
            c.expect("=")?;
            let values = c.list(":", Cursor::name)?;
            graph.outputs.push((parse_port(name, &mut c)?, values));
            c.end()?;
        }
        lines.finish()?;
        Ok(graph)
    }
}

/// `%3, %4 =`: results, which continue the numbering.
pub(super) fn parse_results(
    c: &mut Cursor<'_>,
    values: &mut usize,
) -> Result<Vec<ValueId>, ParseError> {
    let before = c.clone();
    if !c.at_name::<ValueId>() {
        return Err(before.fail("a value, an output"));
    }
    let results: Vec<ValueId> = c.list("=", Cursor::name)?;
    for v in &results {
        if v.index() != *values {
            return Err(before.fail(format!("result {}", ValueId::at(*values))));
        }
        *values += 1;
    }
    Ok(results)
}

fn parse_op(c: &mut Cursor<'_>) -> Result<Op, ParseError> {
    let before = c.clone();
    Ok(match c.word()? {
        "input" => {
            let input = c.number()?;
            c.open("part")?;
            let part = c.number()?;
            c.expect("}")?;
            Op::Input { input, part }
        }
        "linear" => {
            let transform = c.constant()?;
            let mut xs = Vec::new();
            while c.eat(",") {
                xs.push(c.name()?);
            }
            Op::Linear { xs, transform }
        }
        "rotate" => {
            let x = c.name()?;
            c.open("by")?;
            let by = c.number()?;
            c.expect("}")?;
            Op::Rotate { x, by }
        }
        "add" => {
            let a = c.name()?;
            c.expect(",")?;
            Op::Add { a, b: c.name()? }
        }
        "product" => {
            let a = c.name()?;
            c.expect(",")?;
            Op::Product { a, b: c.name()? }
        }
        "add_const" => {
            let constant = c.constant()?;
            c.expect(",")?;
            Op::AddConst { x: c.name()?, constant }
        }
        "polynomial" => {
            let polynomials = c.constant()?;
            c.expect(",")?;
            Op::Polynomial { x: c.name()?, polynomials }
        }
        "bootstrap" => Op::Bootstrap { x: c.name()? },
        _ => return Err(before.fail("an operation on slots")),
    })
}
