//! Invariants of the `plan` level.
//!
//! - A register holds a ciphertext before it is read, and is not read after it was freed.
//! - An instruction writes distinct registers, each empty, read by the same instruction, or holding
//!   a result that nothing has read: a value in use is never lost by being overwritten.
//! - It frees distinct registers that hold something (a result that nothing reads is one).
//! - Every instruction follows the typing rules of [`Op`] exactly.
//! - Each part of an input is read at most once, with the type that the input declares; declared
//!   types of inputs and outputs are types of their own right, of degree 1, not extended.
//! - At the end every output register is live with the output's type, one per ciphertext.
//! - The keys are exactly those that the instructions need, up to exactly the level of their use,
//!   sorted by kind.
//! - There are no more registers than results; ports and constants are sound, constants are
//!   transforms and vectors; entry 0 of the origins is empty and every origin exists; the
//!   precision is finite; the client's answers fit the outputs.

use std::collections::BTreeMap;

use super::{Inst, KeyKind, KeySpec, Plan, keys};
use crate::ckks::rules::{Rules, show};
use crate::ckks::verify::check_part;
use crate::ckks::{CtType, Op};
use crate::constants::Constant;
use crate::entity::RegId;
use crate::features;
use crate::tail;
use crate::verify::{Errors, Location, VerifierError, check_constants, check_ports};

/// What a register holds at a point of the plan.
#[derive(Clone, Copy)]
struct Held<'a> {
    ty: &'a CtType,
    /// Whether an instruction has read it.
    read: bool,
}

type Registers<'a> = Vec<Option<Held<'a>>>;

impl Plan {
    /// Every breach of the level's invariants; empty for a sound plan.
    pub fn verify(&self) -> Vec<VerifierError> {
        let mut errors = Errors::default();
        self.verify_header(&mut errors);
        if self.registers > self.insts.iter().map(|i| i.results.len()).sum() {
            let message = format!("{} registers, more than results", self.registers);
            errors.add(Location::Whole, &self.name, message);
            return errors.finish();
        }
        let registers = self.verify_insts(&mut errors);
        self.verify_outputs(&registers, &mut errors);
        if errors.is_empty() {
            self.verify_manifest(&mut errors);
        }
        errors.finish()
    }

    fn rules(&self) -> Rules<'_> {
        let inputs = self.inputs.iter().map(|i| &i.0).collect();
        Rules { parameters: &self.parameters, consts: &self.consts, inputs }
    }

    fn verify_header(&self, errors: &mut Errors) {
        check_constants(&self.consts, errors);
        for (id, constant) in self.consts.iter() {
            if !matches!(constant, Constant::Transform(_) | Constant::Vector(_)) {
                let message = "a plan holds transforms and vectors only";
                errors.add(Location::Constant(id.index()), "", message);
            }
        }
        let width = self.parameters.width();
        check_ports(self.inputs.iter().map(|i| &i.0), width, Location::Input, errors);
        check_ports(self.outputs.iter().map(|o| &o.0), width, Location::Output, errors);
        let inputs = self.inputs.iter().map(|i| (&i.0, &i.1)).enumerate();
        let outputs = self.outputs.iter().map(|o| (&o.0, &o.1)).enumerate();
        let inputs = inputs.map(|(i, p)| (Location::Input(i), p));
        let outputs = outputs.map(|(i, p)| (Location::Output(i), p));
        for (at, (port, ty)) in inputs.chain(outputs) {
            errors.extend(at, &port.name, self.rules().check_type(ty));
            if ty.degree != 1 || ty.extended {
                errors.add(at, &port.name, format!("{} is no type of a port", show(ty)));
            }
        }
        for (i, message) in keys::problems(&self.keys, &self.parameters) {
            errors.add(Location::Key(i), "", message);
        }
        let sizes: Vec<usize> = self.outputs.iter().map(|o| o.0.elements()).collect();
        for (name, message) in tail::problems(&self.answers, &sizes) {
            errors.add(Location::Whole, &name, message);
        }
        let sizes: Vec<usize> = self.inputs.iter().map(|i| i.0.elements()).collect();
        for message in features::problems(&self.features, &sizes) {
            errors.add(Location::Whole, &self.name, message);
        }
        if self.origins.first().is_none_or(|o| !o.is_empty()) {
            errors.add(Location::Whole, &self.name, "entry 0 of the origins is not empty");
        }
        if !self.precision_bits.is_finite() {
            let message = format!("precision of {} bits", self.precision_bits);
            errors.add(Location::Whole, &self.name, message);
        }
    }

    fn verify_insts<'a>(&'a self, errors: &mut Errors) -> Registers<'a> {
        let rules = self.rules();
        let mut registers: Registers<'_> = vec![None; self.registers];
        let mut read: BTreeMap<u32, (&CtType, Vec<u32>)> = BTreeMap::new();
        for (i, inst) in self.insts.iter().enumerate() {
            let at = Location::Inst(i);
            let context = self.origins.get(inst.origin as usize).map_or("", String::as_str);
            if inst.origin as usize >= self.origins.len() {
                errors.add(at, "", format!("origin {} does not exist", inst.origin));
            }
            let sources = inst.op.operands();
            let mut operands = Vec::new();
            for &r in &sources {
                match registers.get_mut(r.index()) {
                    Some(Some(held)) => {
                        held.read = true;
                        operands.push((r, held.ty));
                    }
                    _ => errors.add(at, context, format!("{r} holds nothing")),
                }
            }
            if operands.len() == sources.len() {
                let found = rules.check(&inst.op, &operands, inst.results.len(), &inst.ty);
                errors.extend(at, context, found);
            }
            if let Op::Input { input, part } = inst.op {
                let declared = self.inputs.get(input as usize).map_or(&inst.ty, |p| &p.1);
                let seen = read.entry(input).or_insert((declared, Vec::new()));
                errors.extend(at, context, check_part(seen, &inst.ty, part));
            }
            errors.extend(at, context, write(inst, &sources, &mut registers));
        }
        registers
    }

    fn verify_outputs(&self, registers: &Registers<'_>, errors: &mut Errors) {
        if self.outputs.is_empty() {
            errors.add(Location::Whole, &self.name, "there is no output");
        }
        for (i, (port, ty, results)) in self.outputs.iter().enumerate() {
            let at = Location::Output(i);
            let sound = port.problems(self.parameters.width()).is_empty();
            let parts = if sound { port.layout.ciphertexts() } else { results.len() };
            if results.len() != parts || results.is_empty() {
                let message = format!("{} registers for {parts} ciphertexts", results.len());
                errors.add(at, &port.name, message);
            }
            for r in results {
                match registers.get(r.index()).copied().flatten() {
                    None => errors.add(at, &port.name, format!("{r} holds nothing at the end")),
                    Some(found) if found.ty != ty => {
                        let (found, wanted) = (show(found.ty), show(ty));
                        let message = format!("{r} is {found}, not the declared {wanted}");
                        errors.add(at, &port.name, message);
                    }
                    Some(_) => {}
                }
            }
        }
    }

    /// Keys against instructions; levels of operands equal those of results wherever keys serve.
    fn verify_manifest(&self, errors: &mut Errors) {
        let ops = self.insts.iter().map(|i| (&i.op, i.ty.level));
        let needed = keys::required_keys(ops, &self.consts, &self.parameters);
        let level_in =
            |keys: &[KeySpec], kind: KeyKind| keys.iter().find(|k| k.kind == kind).map(|k| k.level);
        for (i, key) in self.keys.iter().enumerate() {
            let message = match level_in(&needed, key.kind) {
                None => format!("{} is never used", key.kind),
                Some(level) if level != key.level => {
                    format!("{} is used up to level {level}, not {}", key.kind, key.level)
                }
                Some(_) => continue,
            };
            errors.add(Location::Key(i), "", message);
        }
        for key in needed.iter().filter(|k| level_in(&self.keys, k.kind).is_none()) {
            let message = format!("{} up to level {} is missing", key.kind, key.level);
            errors.add(Location::Whole, &self.name, message);
        }
    }
}

/// Carries out the writes and frees of an instruction, and lists their breaches.
fn write<'a>(inst: &'a Inst, sources: &[RegId], registers: &mut Registers<'a>) -> Vec<String> {
    let mut out = Vec::new();
    for (i, r) in inst.results.iter().enumerate() {
        let count = registers.len();
        let Some(register) = registers.get_mut(r.index()) else {
            out.push(format!("{r} of {count} registers"));
            continue;
        };
        if inst.results[..i].contains(r) {
            out.push(format!("{r} is written twice"));
        } else if register.is_some_and(|held| held.read) && !sources.contains(r) {
            out.push(format!("{r} is overwritten while it holds a value"));
        }
        *register = Some(Held { ty: &inst.ty, read: false });
    }
    for r in &inst.frees {
        match registers.get_mut(r.index()) {
            Some(register @ Some(_)) => *register = None,
            _ => out.push(format!("{r} is freed but holds nothing")),
        }
    }
    out
}
