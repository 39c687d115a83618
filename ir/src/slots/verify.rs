//! Invariants of the `slots` level.
//!
//! - Values are numbered densely in the order of definition, and `values` counts them; only
//!   `Linear` defines several, one per output of its transform.
//! - Every operand is defined before its user.
//! - The width is a power of two; transforms, vectors and ports have it.
//! - A `Linear` has one operand per input of its transform.
//! - A `Rotate` turns by `0 < by < width`.
//! - A `Polynomial` has one series, or one class per slot.
//! - Each part of an input is read at most once; every output has one value per ciphertext of its
//!   layout.
//! - Ports and constants are sound; origins exist.

use super::{Graph, Inst, Op};
use crate::constants::Constant;
use crate::entity::{ConstId, ValueId};
use crate::verify::{Errors, Location, VerifierError, check_constants, check_ports};

impl Graph {
    /// Every breach of the level's invariants; empty for a sound graph.
    pub fn verify(&self) -> Vec<VerifierError> {
        let mut errors = Errors::default();
        if !self.width.is_power_of_two() {
            let message = format!("width {} is not a power of two", self.width);
            errors.add(Location::Whole, &self.name, message);
        }
        check_constants(&self.consts, &mut errors);
        check_ports(&self.inputs, self.width, Location::Input, &mut errors);
        let outputs = self.outputs.iter().map(|o| &o.0);
        check_ports(outputs, self.width, Location::Output, &mut errors);
        self.verify_insts(&mut errors);
        self.verify_outputs(&mut errors);
        errors.finish()
    }

    fn verify_insts(&self, errors: &mut Errors) {
        let mut defined = 0;
        let mut read: Vec<(u32, u32)> = Vec::new();
        for (i, inst) in self.insts.iter().enumerate() {
            let at = Location::Inst(i);
            let context = self.origins.get_label(inst.origin).unwrap_or_default();
            if inst.origin.index() >= self.origins.len() {
                errors.add(at, "", format!("origin {} does not exist", inst.origin));
            }
            for x in inst.op.operands().iter().filter(|x| x.index() >= defined) {
                errors.add(at, &context, format!("{x} is not defined before its use"));
            }
            if let Op::Input { input, part } = inst.op {
                if read.contains(&(input, part)) {
                    errors.add(at, &context, format!("part {part} is read twice"));
                }
                read.push((input, part));
            }
            errors.extend(at, &context, self.inst_problems(inst));
            for &v in &inst.results {
                let wanted = ValueId::new(defined);
                if v != wanted {
                    errors.add(at, &context, format!("result {v} should be {wanted}"));
                }
                defined += 1;
            }
        }
        if defined != self.values {
            let message = format!("{} values counted, {defined} defined", self.values);
            errors.add(Location::Whole, &self.name, message);
        }
    }

    fn inst_problems(&self, inst: &Inst) -> Vec<String> {
        let mut out = Vec::new();
        let mut results = 1;
        match &inst.op {
            Op::Input { input, part } => match self.inputs.get(*input as usize) {
                None => out.push(format!("input {input} of {}", self.inputs.len())),
                Some(port) if port.problems(self.width).is_empty() => {
                    let parts = port.layout.ciphertexts();
                    if *part as usize >= parts {
                        out.push(format!("part {part} of {parts} ciphertexts"));
                    }
                }
                Some(_) => {}
            },
            Op::Linear { xs, transform } => {
                results = self.check_linear(xs, *transform, &mut out);
            }
            Op::Rotate { by, .. } => {
                if *by == 0 || *by as usize >= self.width {
                    out.push(format!("rotation by {by} in a width of {}", self.width));
                }
            }
            Op::AddConst { constant, .. } => match self.consts.get(*constant) {
                Some(Constant::Vector(v)) if v.len() == self.width => {}
                Some(Constant::Vector(v)) => {
                    out.push(format!("vector of {} slots in a width of {}", v.len(), self.width));
                }
                _ => out.push(format!("{constant} is not a vector")),
            },
            Op::Polynomial { polynomials, .. } => match self.consts.get(*polynomials) {
                Some(Constant::Polynomials(p)) => out.extend(p.misfit(self.width)),
                _ => out.push(format!("{polynomials} is not a polynomial set")),
            },
            Op::Add { .. } | Op::Product { .. } | Op::Bootstrap { .. } => {}
        }
        if inst.results.len() != results {
            out.push(format!("{} results instead of {results}", inst.results.len()));
        }
        out
    }

    /// Checks a linear map and returns its number of results.
    fn check_linear(&self, xs: &[ValueId], transform: ConstId, out: &mut Vec<String>) -> usize {
        let Some(Constant::Transform(t)) = self.consts.get(transform) else {
            out.push(format!("{transform} is not a transform"));
            return 1;
        };
        if t.width != self.width {
            out.push(format!("transform of width {} in a width of {}", t.width, self.width));
        }
        if xs.len() != t.inputs {
            out.push(format!("{} operands for {} inputs", xs.len(), t.inputs));
        }
        t.outputs
    }

    fn verify_outputs(&self, errors: &mut Errors) {
        if self.outputs.is_empty() {
            errors.add(Location::Whole, &self.name, "there is no output");
        }
        for (i, (port, values)) in self.outputs.iter().enumerate() {
            let at = Location::Output(i);
            let sound = port.problems(self.width).is_empty();
            let parts = if sound { port.layout.ciphertexts() } else { values.len() };
            if values.len() != parts || values.is_empty() {
                let message = format!("{} values for {parts} ciphertexts", values.len());
                errors.add(at, &port.name, message);
            }
            for v in values.iter().filter(|v| v.index() >= self.values) {
                errors.add(at, &port.name, format!("{v} does not exist"));
            }
        }
    }
}
