//! Invariants of the `ckks` level.
//!
//! - Values are numbered densely in the order of definition, and `values` counts them.
//! - Every operand is defined before its user, and every instruction follows the typing rules of
//!   [`Op`](super::Op) exactly: level, exact scale, degree, number of results, constants.
//! - Each part of an input is read at most once; the parts of one input have one type.
//! - Every output exists, with one value per ciphertext of its layout, all of one type of degree 1, not extended.
//! - Ports and constants are sound; origins exist.

use std::collections::BTreeMap;

use super::rules::{Rules, show};
use super::{CtType, Graph, Op};
use crate::entity::ValueId;
use crate::verify::{Errors, Location, VerifierError, check_constants, check_ports};

impl Graph {
    /// Every breach of the level's invariants; empty for a sound graph.
    pub fn verify(&self) -> Vec<VerifierError> {
        let mut errors = Errors::default();
        check_constants(&self.consts, &mut errors);
        let width = self.parameters.width();
        check_ports(&self.inputs, width, Location::Input, &mut errors);
        check_ports(self.outputs.iter().map(|o| &o.0), width, Location::Output, &mut errors);
        let types = self.verify_insts(&mut errors);
        self.verify_outputs(&types, &mut errors);
        errors.finish()
    }

    fn verify_insts<'a>(&'a self, errors: &mut Errors) -> Vec<&'a CtType> {
        let inputs = self.inputs.iter().collect();
        let rules = Rules { parameters: &self.parameters, consts: &self.consts, inputs };
        let mut types: Vec<&CtType> = Vec::new();
        let mut read: BTreeMap<u32, (&CtType, Vec<u32>)> = BTreeMap::new();
        for (i, inst) in self.insts.iter().enumerate() {
            let at = Location::Inst(i);
            let context = self.origins.get_label(inst.origin).unwrap_or_default();
            if inst.origin.index() >= self.origins.len() {
                errors.add(at, "", format!("origin {} does not exist", inst.origin));
            }
            let mut operands = Vec::new();
            for v in inst.op.operands() {
                match types.get(v.index()) {
                    Some(ty) => operands.push((v, *ty)),
                    None => errors.add(at, &context, format!("{v} is not defined before its use")),
                }
            }
            if operands.len() == inst.op.operands().len() {
                let found = rules.check(&inst.op, &operands, inst.results.len(), &inst.ty);
                errors.extend(at, &context, found);
            }
            if let Op::Input { input, part } = inst.op {
                let seen = read.entry(input).or_insert((&inst.ty, Vec::new()));
                errors.extend(at, &context, check_part(seen, &inst.ty, part));
            }
            for &v in &inst.results {
                if v != ValueId::new(types.len()) {
                    let wanted = ValueId::new(types.len());
                    errors.add(at, &context, format!("result {v} should be {wanted}"));
                }
                types.push(&inst.ty);
            }
        }
        if types.len() != self.values {
            let message = format!("{} values counted, {} defined", self.values, types.len());
            errors.add(Location::Whole, &self.name, message);
        }
        types
    }

    fn verify_outputs(&self, types: &[&CtType], errors: &mut Errors) {
        if self.outputs.is_empty() {
            errors.add(Location::Whole, &self.name, "there is no output");
        }
        for (i, (port, values)) in self.outputs.iter().enumerate() {
            let at = Location::Output(i);
            let parts = if port.problems(self.parameters.width()).is_empty() {
                port.layout.ciphertexts()
            } else {
                values.len()
            };
            if values.len() != parts || values.is_empty() {
                let message = format!("{} values for {parts} ciphertexts", values.len());
                errors.add(at, &port.name, message);
            }
            let found: Vec<Option<&&CtType>> =
                values.iter().map(|v| types.get(v.index())).collect();
            for (v, ty) in values.iter().zip(&found) {
                match ty {
                    None => errors.add(at, &port.name, format!("{v} does not exist")),
                    Some(ty) if ty.degree != 1 || ty.extended => {
                        errors.add(at, &port.name, format!("{v} is {}", show(ty)));
                    }
                    Some(_) => {}
                }
            }
            if found.windows(2).any(|w| w[0] != w[1]) {
                errors.add(at, &port.name, "its values have different types");
            }
        }
    }
}

/// Breaches of one input instruction, given the type and the parts of those before it.
pub(crate) fn check_part(seen: &mut (&CtType, Vec<u32>), ty: &CtType, part: u32) -> Vec<String> {
    let mut out = Vec::new();
    if seen.1.contains(&part) {
        out.push(format!("part {part} is read twice"));
    }
    seen.1.push(part);
    if seen.0 != ty {
        out.push(format!("other parts of the input are {}", show(seen.0)));
    }
    if ty.degree != 1 || ty.extended {
        out.push(format!("a fresh ciphertext is {}", show(ty)));
    }
    out
}
