//! Runs a plan on a backend.
//!
//! Instructions run in the plan's order; neighbours that do not depend on each other run side by
//! side, as many as there are threads. Otherwise threads are the backend's business.
//! A ciphertext is dropped as soon as the plan frees its register, so the memory of a run is that
//! of the registers in use, plus the results of the instruction at hand.
//! The executor trusts neither the plan nor the backend: a register that holds nothing, a constant
//! of the wrong kind and a result of another type than declared are errors, never panics.
//! What lies inside a constant (that a transform's offsets are below its width, say) is checked
//! where plans are read.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use heplan_ir::ckks::{CtType, Op, Plain};
use heplan_ir::constants::Constant;
use heplan_ir::entity::{ConstId, RegId};
use heplan_ir::plan::{Inst, Plan};
use heplan_ir::transform::LinearTransform;
use rayon::prelude::*;

use crate::backend::{Backend, PlainRef};
use crate::error::{RunError, RunErrorKind, Ty};

/// Where a run stands.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// Index of the instruction.
    pub index: usize,
    /// Number of instructions.
    pub total: usize,
    /// The instruction.
    pub inst: &'a Inst,
    /// Labels of the ONNX nodes behind it; may be empty.
    pub origin: &'a str,
}

impl Step<'_> {
    fn error(&self, kind: RunErrorKind) -> RunError {
        RunError::at(kind, self.index, self.inst, self.origin)
    }
}

/// How many of the first instructions do not read what another of them writes: at least one, at
/// most `most`.
fn side_by_side(insts: &[Inst], most: usize) -> usize {
    let alone = |inst: &Inst| inst.op.runs_alone();
    let mut written: Vec<RegId> = Vec::new();
    for (i, inst) in insts.iter().enumerate() {
        let mut touched = inst.op.operands().into_iter().chain(inst.results.iter().copied());
        let depends = touched.any(|register| written.contains(&register));
        if i > 0 && (i == most || alone(inst) || alone(&insts[0]) || depends) {
            return i;
        }
        written.extend(&inst.results);
    }
    insts.len()
}

/// Watches a run: progress bars, profiles, traces of values.
pub trait Observer<B: Backend> {
    /// Called before an instruction.
    fn before(&mut self, step: Step<'_>) {
        let _ = step;
    }

    /// Called after an instruction that succeeded, with its results and the time it took, side
    /// by side with others or not.
    fn after(&mut self, step: Step<'_>, results: &[B::Ct], elapsed: Duration) {
        let _ = (step, results, elapsed);
    }
}

/// Watches nothing.
impl<B: Backend> Observer<B> for () {}

/// Runs one plan, any number of times.
#[derive(Clone, Copy, Debug)]
pub struct Executor<'a> {
    plan: &'a Plan,
    cancel: Option<&'a AtomicBool>,
}

impl<'a> Executor<'a> {
    /// An executor of `plan`.
    pub fn new(plan: &'a Plan) -> Self {
        Self { plan, cancel: None }
    }

    /// Stops between two instructions once `flag` is set.
    #[must_use]
    pub fn cancel_on(self, flag: &'a AtomicBool) -> Self {
        Self { cancel: Some(flag), ..self }
    }

    /// Runs the plan on `inputs`: one vector per input of the plan, one ciphertext per ciphertext
    /// of its layout. The outputs come back in the same form.
    ///
    /// # Errors
    /// If the inputs do not fit the plan, if the plan contradicts itself, if the backend refuses
    /// an instruction or computes a type that the plan does not declare, or on cancellation.
    pub fn run<B: Backend>(
        &self,
        backend: &B,
        inputs: Vec<Vec<B::Ct>>,
        observer: &mut impl Observer<B>,
    ) -> Result<Vec<Vec<B::Ct>>, RunError> {
        let inputs = self.accept(backend, inputs)?;
        let mut run = Run { plan: self.plan, backend, inputs, registers: self.registers() };
        let total = self.plan.insts.len();
        let threads = rayon::current_num_threads();
        let mut rest = self.plan.insts.as_slice();
        while !rest.is_empty() {
            let (group, after) = rest.split_at(side_by_side(rest, threads));
            let steps: Vec<Step<'_>> = (total - rest.len()..)
                .zip(group)
                .map(|(index, inst)| {
                    let origin = self.plan.origins.get(inst.origin as usize);
                    Step { index, total, inst, origin: origin.map_or("", String::as_str) }
                })
                .collect();
            if self.cancel.is_some_and(|c| c.load(Ordering::Relaxed)) {
                return Err(steps[0].error(RunErrorKind::Cancelled));
            }
            steps.iter().for_each(|step| observer.before(*step));
            let found = run.execute_all(group);
            for (step, Outcome { results, elapsed }) in steps.iter().zip(found) {
                let results = results.map_err(|kind| step.error(kind))?;
                run.check(&results, step.inst).map_err(|kind| step.error(kind))?;
                observer.after(*step, &results, elapsed);
                run.store(results, step.inst).map_err(|kind| step.error(kind))?;
            }
            rest = after;
        }
        run.outputs()
    }

    /// Empty registers; their number is bounded by what instructions write, whatever the plan says.
    fn registers<Ct>(&self) -> Vec<Option<Ct>> {
        let written: usize = self.plan.insts.iter().map(|i| i.results.len()).sum();
        std::iter::repeat_with(|| None).take(self.plan.registers.min(written)).collect()
    }

    /// Checks numbers and types of the inputs.
    fn accept<B: Backend>(
        &self,
        backend: &B,
        inputs: Vec<Vec<B::Ct>>,
    ) -> Result<Vec<Vec<Option<B::Ct>>>, RunError> {
        let refuse = |text| Err(RunError::outside(RunErrorKind::Inputs(text)));
        let wanted = &self.plan.inputs;
        if inputs.len() != wanted.len() {
            return refuse(format!("{} inputs for a plan of {}", inputs.len(), wanted.len()));
        }
        for (parts, (port, ty)) in inputs.iter().zip(wanted) {
            let (name, count) = (&port.name, port.layout.ciphertexts());
            if parts.len() != count {
                return refuse(format!(
                    "input {name:?} has {} ciphertexts, the plan takes {count}",
                    parts.len()
                ));
            }
            if let Some(found) = parts.iter().map(|x| backend.ct_type(x)).find(|found| found != ty)
            {
                return refuse(format!(
                    "input {name:?} is {}, the plan takes {}",
                    Ty(&found),
                    Ty(ty)
                ));
            }
        }
        Ok(inputs.into_iter().map(|parts| parts.into_iter().map(Some).collect()).collect())
    }
}

/// What one instruction gave.
struct Outcome<Ct> {
    results: Result<Vec<Ct>, RunErrorKind>,
    elapsed: Duration,
}

/// One run in progress.
struct Run<'a, B: Backend> {
    plan: &'a Plan,
    backend: &'a B,
    /// Inputs that no instruction has loaded yet.
    inputs: Vec<Vec<Option<B::Ct>>>,
    registers: Vec<Option<B::Ct>>,
}

impl<B: Backend> Run<'_, B> {
    /// Executes instructions that do not depend on each other, and times each.
    fn execute_all(&mut self, group: &[Inst]) -> Vec<Outcome<B::Ct>> {
        let start = Instant::now();
        if let [Inst { op: Op::Input { input, part }, .. }] = group {
            let results = self.load(*input, *part).map(|ct| vec![ct]);
            return vec![Outcome { results, elapsed: start.elapsed() }];
        }
        let timed = |inst: &Inst| {
            let start = Instant::now();
            let results = self.execute(inst);
            Outcome { results, elapsed: start.elapsed() }
        };
        match group {
            [one] => vec![timed(one)],
            several => several.par_iter().map(timed).collect(),
        }
    }

    fn execute(&self, inst: &Inst) -> Result<Vec<B::Ct>, RunErrorKind> {
        let backend = self.backend;
        let one = |result: Result<B::Ct, B::Error>| match result {
            Ok(ct) => Ok(vec![ct]),
            Err(e) => Err(RunErrorKind::Backend(Box::new(e))),
        };
        match &inst.op {
            Op::Input { .. } => {
                Err(malformed("an input is loaded beside other instructions".into()))
            }
            Op::Linear { xs, transform, scales } => {
                let xs: Vec<&B::Ct> = xs.iter().map(|&x| self.get(x)).collect::<Result<_, _>>()?;
                backend
                    .linear(&xs, self.transform(*transform)?, *transform, scales)
                    .map_err(|e| RunErrorKind::Backend(Box::new(e)))
            }
            Op::Rotate { x, by } => one(backend.rotate(self.get(*x)?, *by)),
            Op::RotateAdd { x, by, y } => {
                one(backend.rotate_add(self.get(*x)?, *by, self.get(*y)?))
            }
            Op::Add { a, b } => one(backend.add(self.get(*a)?, self.get(*b)?)),
            Op::Sub { a, b } => one(backend.sub(self.get(*a)?, self.get(*b)?)),
            Op::AddPlain { x, plain } => one(backend.add_plain(self.get(*x)?, self.plain(*plain)?)),
            Op::MulPlain { x, plain, scale } => {
                one(backend.mul_plain(self.get(*x)?, self.plain(*plain)?, scale))
            }
            Op::Mul { a, b } => one(backend.mul(self.get(*a)?, self.get(*b)?)),
            Op::Relinearise { x } => one(backend.relinearise(self.get(*x)?)),
            Op::Rescale { x } => one(backend.rescale(self.get(*x)?)),
            Op::ModDown { x } => one(backend.mod_down(self.get(*x)?)),
            Op::DropLevel { x, level } => one(backend.drop_level(self.get(*x)?, *level)),
            Op::Bootstrap { x, scale } => one(backend.bootstrap(self.get(*x)?, scale)),
        }
    }

    /// Takes an input ciphertext; each is loaded once.
    fn load(&mut self, input: u32, part: u32) -> Result<B::Ct, RunErrorKind> {
        self.inputs
            .get_mut(input as usize)
            .and_then(|parts| parts.get_mut(part as usize)?.take())
            .ok_or_else(|| {
                malformed(format!("part {part} of input {input} is missing or loaded twice"))
            })
    }

    fn get(&self, register: RegId) -> Result<&B::Ct, RunErrorKind> {
        let slot = self.registers.get(register.index()).and_then(Option::as_ref);
        slot.ok_or_else(|| malformed(format!("register {register} is read but holds nothing")))
    }

    fn plain(&self, plain: Plain) -> Result<PlainRef<'_>, RunErrorKind> {
        match plain {
            Plain::Scalar(value) => Ok(PlainRef::Scalar(value)),
            Plain::Vector(id) => match self.plan.consts.get(id) {
                Some(Constant::Vector(v)) => Ok(PlainRef::Vector(v)),
                _ => Err(malformed(format!("constant {id} is not a vector"))),
            },
        }
    }

    fn transform(&self, id: ConstId) -> Result<&Arc<LinearTransform>, RunErrorKind> {
        match self.plan.consts.get(id) {
            Some(Constant::Transform(t)) => Ok(t),
            _ => Err(malformed(format!("constant {id} is not a transform"))),
        }
    }

    /// That results are as many and of the type that the plan declares.
    fn check(&self, results: &[B::Ct], inst: &Inst) -> Result<(), RunErrorKind> {
        if results.len() != inst.results.len() {
            let (found, declared) = (results.len(), inst.results.len());
            return Err(malformed(format!("{found} results for {declared} registers")));
        }
        results.iter().try_for_each(|ct| self.expect(ct, &inst.ty))
    }

    fn expect(&self, ct: &B::Ct, declared: &CtType) -> Result<(), RunErrorKind> {
        let found = self.backend.ct_type(ct);
        if found == *declared {
            return Ok(());
        }
        Err(RunErrorKind::Type { declared: Box::new(declared.clone()), found: Box::new(found) })
    }

    /// Writes results, after dropping what the instruction read for the last time.
    fn store(&mut self, results: Vec<B::Ct>, inst: &Inst) -> Result<(), RunErrorKind> {
        let registers = &mut self.registers;
        let mut set = |r: RegId, value| match registers.get_mut(r.index()) {
            Some(slot) => {
                *slot = value;
                Ok(())
            }
            None => Err(malformed(format!("register {r} is out of range"))),
        };
        inst.results.iter().zip(results).try_for_each(|(&r, ct)| set(r, Some(ct)))?;
        inst.frees.iter().try_for_each(|&r| set(r, None))
    }

    /// The outputs; registers that several outputs share are copied.
    fn outputs(self) -> Result<Vec<Vec<B::Ct>>, RunError> {
        let output = |(port, ty, registers): &(_, CtType, Vec<RegId>)| {
            let port: &heplan_ir::slots::Port = port;
            if registers.len() != port.layout.ciphertexts() {
                return Err(malformed(format!(
                    "output {:?} has {} registers for {} ciphertexts",
                    port.name,
                    registers.len(),
                    port.layout.ciphertexts()
                )));
            }
            let take = |&r: &RegId| {
                let ct = self.get(r)?;
                self.expect(ct, ty)?;
                Ok(ct.clone())
            };
            registers.iter().map(take).collect()
        };
        self.plan.outputs.iter().map(output).collect::<Result<_, _>>().map_err(RunError::outside)
    }
}

fn malformed(text: String) -> RunErrorKind {
    RunErrorKind::Malformed(text)
}
