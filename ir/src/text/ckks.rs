//! Text of the `ckks` level.

use super::common::{
    commas, ct_type, input, line, parameters, parse_ct_type, parse_inputs, parse_origin,
    parse_parameters, parse_port, port, quote,
};
use super::cursor::{Cursor, Lines};
use super::render::Line;
use super::slots::parse_results;
use super::{ParseError, ops};
use crate::ckks::{Graph, Inst};
use crate::constants::ConstPool;
use crate::origin::OriginTable;
use crate::verify::Location;

impl Graph {
    pub(super) fn text_lines(&self) -> Vec<Line> {
        let params = &self.parameters;
        let mut out = vec![
            Line::new(Location::Whole, format!("ckks {} {{", quote(&self.name))),
            Line { at: None, text: parameters(params) },
        ];
        let inputs = self.inputs.iter().enumerate();
        out.extend(inputs.map(|(i, p)| Line::new(Location::Input(i), input(i, p))));
        for (i, inst) in self.insts.iter().enumerate() {
            let label = self.origins.get_label(inst.origin).unwrap_or_default();
            let op = ops::print(&inst.op, &[], &self.consts, params);
            let (results, ty) = (commas(&inst.results), ct_type(&inst.ty, params));
            let text = line(&results, &op, &ty, &label);
            out.push(Line::new(Location::Inst(i), text));
        }
        for (i, (of, values)) in self.outputs.iter().enumerate() {
            let text = format!("  output {} = {} : {}", quote(&of.name), commas(values), port(of));
            out.push(Line::new(Location::Output(i), text));
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
        head.expect("ckks")?;
        let name = head.string()?;
        head.expect("{")?;
        head.end()?;
        let parameters = parse_parameters(&mut lines)?;
        let inputs = parse_inputs(&mut lines, |_, port| Ok(port))?;
        let (mut insts, mut values) = (Vec::new(), 0);
        let mut origins = OriginTable::default();
        while lines.before(&["output"]) {
            let mut c = lines.next();
            let results = parse_results(&mut c, &mut values)?;
            let (op, _) = ops::parse(&mut c, &parameters)?;
            c.expect(":")?;
            let ty = parse_ct_type(&mut c, &parameters)?;
            let origin = origins.labelled(&parse_origin(&mut c)?);
            insts.push(Inst { op, results, ty, origin });
        }
        let mut outputs = Vec::new();
        while let Some(mut c) = lines.next_if("output") {
            let name = c.string()?;
            c.expect("=")?;
            let values = c.list(":", Cursor::name)?;
            outputs.push((parse_port(name, &mut c)?, values));
            c.end()?;
        }
        lines.finish()?;
        let consts = consts.clone();
        Ok(Self { name, parameters, insts, inputs, outputs, consts, origins, values })
    }
}
