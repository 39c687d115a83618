//! Text of the `tensor` level.

use super::common::{commas, constant, line, parse_origin, parse_shape, quote, shape};
use super::cursor::{Cursor, Lines};
use super::render::Line;
use super::{Name as _, ParseError};
use crate::constants::ConstPool;
use crate::entity::ValueId;
use crate::function::Function;
use crate::tensor::{Graph, Op, Value};
use crate::verify::Location;

impl Graph {
    pub(super) fn text_lines(&self) -> Vec<Line> {
        let mut out = vec![Line::new(Location::Whole, format!("tensor {} {{", quote(&self.name)))];
        for (i, value) in self.values.iter().enumerate() {
            let label = self.origins.get_label(value.origin).unwrap_or_default();
            let (op, ty) = (self.op_text(&value.op), shape(&value.shape));
            let text = line(&ValueId::at(i).to_string(), &op, &ty, &label);
            out.push(Line::new(Location::Inst(i), text));
        }
        for (i, (name, id)) in self.outputs.iter().enumerate() {
            let text = format!("  output {} = {id}", quote(name));
            out.push(Line::new(Location::Output(i), text));
        }
        out.push(Line::closing());
        out
    }

    fn op_text(&self, op: &Op) -> String {
        let hash = |id| constant(&self.consts, id);
        match op {
            Op::Input { name } => format!("input {}", quote(name)),
            Op::Affine { terms, bias } => {
                let terms = terms.iter().map(|(x, m)| format!("{} * {x}", hash(*m)));
                let bias = bias.map_or(String::new(), |b| format!(" {{bias = {}}}", hash(b)));
                format!("affine {}{bias}", commas(terms))
            }
            Op::Product { a, b } => format!("product {a}, {b}"),
            Op::Function { x, function } => {
                let parameters: Vec<String> =
                    function.parameters().iter().map(|(k, v)| format!("{k} = {v:?}")).collect();
                let block = if parameters.is_empty() {
                    String::new()
                } else {
                    format!(" {{{}}}", parameters.join(", "))
                };
                format!("{} {x}{block}", function.name())
            }
            Op::Polynomial { x, polynomials } => {
                format!("polynomial {}, {x}", hash(*polynomials))
            }
        }
    }

    /// Reads the text form; constants are found in `consts` by their hashes.
    ///
    /// # Errors
    /// With the line and what was expected there. Invariants are the verifier's business.
    pub fn parse(text: &str, consts: &ConstPool) -> Result<Self, ParseError> {
        let mut lines = Lines::new(text, consts);
        let mut head = lines.next();
        head.expect("tensor")?;
        let mut graph = Self { name: head.string()?, consts: consts.clone(), ..Self::default() };
        head.expect("{")?;
        head.end()?;
        while lines.before(&["output"]) {
            let mut c = lines.next();
            if c.clone().eat("}") {
                return Err(c.fail("an output"));
            }
            let before = c.clone();
            if c.name::<ValueId>()?.index() != graph.values.len() {
                return Err(before.fail(ValueId::at(graph.values.len()).to_string()));
            }
            c.expect("=")?;
            let op = parse_op(&mut c)?;
            c.expect(":")?;
            let shape = parse_shape(&mut c)?;
            let origin = graph.origins.labelled(&parse_origin(&mut c)?);
            graph.values.push(Value { op, shape, origin });
        }
        while let Some(mut c) = lines.next_if("output") {
            let name = c.string()?;
            c.expect("=")?;
            graph.outputs.push((name, c.name()?));
            c.end()?;
        }
        lines.finish()?;
        Ok(graph)
    }
}

fn parse_op(c: &mut Cursor<'_>) -> Result<Op, ParseError> {
    let before = c.clone();
    Ok(match c.word()? {
        "input" => Op::Input { name: c.string()? },
        "affine" => {
            let mut terms = Vec::new();
            while c.clone().eat("#") {
                let matrix = c.constant()?;
                c.expect("*")?;
                terms.push((c.name()?, matrix));
                if !c.eat(",") {
                    break;
                }
            }
            let mut bias = None;
            if c.clone().eat("{") {
                c.open("bias")?;
                bias = Some(c.constant()?);
                c.expect("}")?;
            }
            Op::Affine { terms, bias }
        }
        "product" => {
            let a = c.name()?;
            c.expect(",")?;
            Op::Product { a, b: c.name()? }
        }
        "polynomial" => {
            let polynomials = c.constant()?;
            c.expect(",")?;
            Op::Polynomial { x: c.name()?, polynomials }
        }
        name => {
            let x = c.name()?;
            Op::Function { x, function: parse_function(name, c, &before)? }
        }
    })
}

fn parse_function(
    name: &str,
    c: &mut Cursor<'_>,
    before: &Cursor<'_>,
) -> Result<Function, ParseError> {
    let mut given: Vec<(&str, f64)> = Vec::new();
    if c.eat("{") {
        given = c.list("}", |c| {
            let key = c.word()?;
            c.expect("=")?;
            Ok((key, c.number()?))
        })?;
    }
    let find = |key: &str| given.iter().find(|g| g.0 == key).map(|g| g.1);
    let function = Function::from_name(name, find).filter(|f| f.parameters().len() == given.len());
    function.ok_or_else(|| before.fail("an operation on tensors with its parameters"))
}
