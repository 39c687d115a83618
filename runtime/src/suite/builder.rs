//! Builds plans by hand while computing what they should give, slot by slot.

use std::collections::BTreeMap;
use std::sync::Arc;

use heplan_ir::ckks::{CtType, Op, Plain};
use heplan_ir::constants::{ConstPool, Constant};
use heplan_ir::entity::RegId;
use heplan_ir::layout::Layout;
use heplan_ir::parameters::{Parameters, ParametersLiteral};
use heplan_ir::plan::{Inst, KeyKind, KeySpec, Plan};
use heplan_ir::primes::near_power;
use heplan_ir::scale::Scale;
use heplan_ir::slots::{Compact, Port};
use heplan_ir::transform::LinearTransform;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

use super::Case;
use crate::typing;

const WELL_TYPED: &str = "cases of the suite are well typed";

/// A register with what it should hold.
#[derive(Clone, Debug)]
pub(super) struct Value {
    pub(super) register: RegId,
    pub(super) ty: CtType,
    pub(super) slots: Vec<f64>,
}

/// One plan under construction; every value has a register of its own.
pub(super) struct Builder {
    plan: Plan,
    inputs: Vec<Vec<f64>>,
    keys: BTreeMap<KeyKind, usize>,
    rng: ChaCha8Rng,
}

impl Builder {
    pub(super) fn new(parameters: &Parameters) -> Self {
        let plan = Plan {
            name: String::new(),
            parameters: parameters.clone(),
            keys: Vec::new(),
            insts: Vec::new(),
            registers: 0,
            inputs: Vec::new(),
            outputs: Vec::new(),
            consts: ConstPool::default(),
            origins: vec![String::new()],
            answers: Vec::new(),
            features: Vec::new(),
            precision_bits: 0.0,
        };
        let rng = ChaCha8Rng::from_seed([1; 32]);
        Self { plan, inputs: Vec::new(), keys: BTreeMap::new(), rng }
    }

    pub(super) fn width(&self) -> usize {
        self.plan.parameters.width()
    }

    /// The prime that a rescale at `level` divides by, as a scale.
    pub(super) fn prime(&self, level: usize) -> Scale {
        Scale::prime(self.plan.parameters.q()[level])
    }

    /// Uniform numbers in [-1, 1].
    pub(super) fn random(&mut self, count: usize) -> Vec<f64> {
        (0..count).map(|_| f64::from(self.rng.next_u32()) / 2_147_483_647.5 - 1.0).collect()
    }

    /// A new input of random slots.
    pub(super) fn input(&mut self, level: usize, scale: Scale) -> Value {
        self.compact_input(level, scale, Compact::NONE)
    }

    /// A new input of random slots that repeat as often as `compact` says, made whole.
    pub(super) fn compact_input(&mut self, level: usize, scale: Scale, compact: Compact) -> Value {
        let period = self.width() >> compact.rotations;
        let once = self.random(period);
        let slots: Vec<f64> =
            (0..self.width()).map(|t| once[t % period] / compact.divisor()).collect();
        let index = self.inputs.len();
        let ty = CtType::new(level, scale);
        let port = Port { compact, ..self.port(format!("x{index}"), period) };
        self.plan.inputs.push((port, ty.clone()));
        self.inputs.push(slots.clone());
        let input = u32::try_from(index).expect("few inputs");
        let fresh = self.push(Op::Input { input, part: 0 }, ty, slots);
        let steps: Vec<u32> = compact.steps(self.width()).collect();
        steps.into_iter().fold(fresh, |x, by| {
            let turned = self.rotate(&x, by as usize);
            self.add(&x, &turned)
        })
    }

    pub(super) fn add(&mut self, a: &Value, b: &Value) -> Value {
        let ty = typing::add(&a.ty, &b.ty).expect(WELL_TYPED);
        let slots = (0..self.width()).map(|t| a.slots[t] + b.slots[t]).collect();
        self.push(Op::Add { a: a.register, b: b.register }, ty, slots)
    }

    pub(super) fn sub(&mut self, a: &Value, b: &Value) -> Value {
        let ty = typing::add(&a.ty, &b.ty).expect(WELL_TYPED);
        let slots = (0..self.width()).map(|t| a.slots[t] - b.slots[t]).collect();
        self.push(Op::Sub { a: a.register, b: b.register }, ty, slots)
    }

    pub(super) fn add_scalar(&mut self, x: &Value, c: f64) -> Value {
        let slots = x.slots.iter().map(|v| v + c).collect();
        let op = Op::AddPlain { x: x.register, plain: Plain::Scalar(c) };
        self.push(op, x.ty.clone(), slots)
    }

    pub(super) fn add_vector(&mut self, x: &Value, v: Vec<f64>) -> Value {
        let slots = (0..self.width()).map(|t| x.slots[t] + v[t]).collect();
        let plain = Plain::Vector(self.plan.consts.add_vector(v));
        self.push(Op::AddPlain { x: x.register, plain }, x.ty.clone(), slots)
    }

    pub(super) fn mul_scalar(&mut self, x: &Value, c: f64, scale: Scale) -> Value {
        let slots = x.slots.iter().map(|v| v * c).collect();
        let ty = typing::mul_plain(&x.ty, &scale).expect(WELL_TYPED);
        self.push(Op::MulPlain { x: x.register, plain: Plain::Scalar(c), scale }, ty, slots)
    }

    pub(super) fn mul_vector(&mut self, x: &Value, v: Vec<f64>, scale: Scale) -> Value {
        let slots = (0..self.width()).map(|t| x.slots[t] * v[t]).collect();
        let ty = typing::mul_plain(&x.ty, &scale).expect(WELL_TYPED);
        let plain = Plain::Vector(self.plan.consts.add_vector(v));
        self.push(Op::MulPlain { x: x.register, plain, scale }, ty, slots)
    }

    pub(super) fn mul(&mut self, a: &Value, b: &Value) -> Value {
        let ty = typing::mul(&a.ty, &b.ty).expect(WELL_TYPED);
        let slots = (0..self.width()).map(|t| a.slots[t] * b.slots[t]).collect();
        self.push(Op::Mul { a: a.register, b: b.register }, ty, slots)
    }

    pub(super) fn relinearise(&mut self, x: &Value) -> Value {
        let ty = typing::relinearise(&x.ty).expect(WELL_TYPED);
        self.key(KeyKind::Relinearise, ty.level);
        self.push(Op::Relinearise { x: x.register }, ty, x.slots.clone())
    }

    pub(super) fn rescale(&mut self, x: &Value) -> Value {
        let ty = typing::rescale(&x.ty, &self.plan.parameters).expect(WELL_TYPED);
        self.push(Op::Rescale { x: x.register }, ty, x.slots.clone())
    }

    pub(super) fn mod_down(&mut self, x: &Value) -> Value {
        let ty = typing::mod_down(&x.ty).expect(WELL_TYPED);
        self.push(Op::ModDown { x: x.register }, ty, x.slots.clone())
    }

    /// Product, relinearised and rescaled.
    pub(super) fn product(&mut self, a: &Value, b: &Value) -> Value {
        let raw = self.mul(a, b);
        let linear = self.relinearise(&raw);
        self.rescale(&linear)
    }

    pub(super) fn drop_level(&mut self, x: &Value, level: usize) -> Value {
        let ty = typing::drop_level(&x.ty, level).expect(WELL_TYPED);
        self.push(Op::DropLevel { x: x.register, level }, ty, x.slots.clone())
    }

    pub(super) fn rotate(&mut self, x: &Value, by: usize) -> Value {
        let width = self.width();
        let steps = u32::try_from(by).expect("a rotation up to the width");
        let ty = typing::rotate(&x.ty, steps, width).expect(WELL_TYPED);
        self.key(KeyKind::rotation(steps, width), ty.level);
        let slots = (0..width).map(|t| x.slots[(t + by) % width]).collect();
        self.push(Op::Rotate { x: x.register, by: steps }, ty, slots)
    }

    pub(super) fn rotate_add(&mut self, x: &Value, by: usize, y: &Value) -> Value {
        let width = self.width();
        let steps = u32::try_from(by).expect("a rotation up to the width");
        let turned = typing::rotate(&x.ty, steps, width).expect(WELL_TYPED);
        let ty = typing::add(&y.ty, &turned).expect(WELL_TYPED);
        self.key(KeyKind::rotation(steps, width), ty.level);
        let slots = (0..width).map(|t| y.slots[t] + x.slots[(t + by) % width]).collect();
        self.push(Op::RotateAdd { x: x.register, by: steps, y: y.register }, ty, slots)
    }

    pub(super) fn linear(
        &mut self,
        xs: &[&Value],
        transform: LinearTransform,
        scales: Vec<Scale>,
    ) -> Vec<Value> {
        let types: Vec<&CtType> = xs.iter().map(|x| &x.ty).collect();
        let parameters = &self.plan.parameters;
        let ty = typing::linear(&types, &transform, &scales, parameters).expect(WELL_TYPED);
        transform.steps().into_iter().for_each(|by| self.key(KeyKind::Rotate(by), ty.level + 1));
        let slots: Vec<&[f64]> = xs.iter().map(|x| x.slots.as_slice()).collect();
        let results = transform.apply(&slots);
        let transform = self.plan.consts.add(Constant::Transform(Arc::new(transform)));
        let xs = xs.iter().map(|x| x.register).collect();
        let registers: Vec<RegId> = results.iter().map(|_| self.register()).collect();
        let op = Op::Linear { xs, transform, scales };
        self.inst(op, registers.clone(), ty.clone());
        let value = |(register, slots)| Value { register, ty: ty.clone(), slots };
        registers.into_iter().zip(results).map(value).collect()
    }

    /// Ends the plan; every slot of the outputs must be right to `bits` bits.
    pub(super) fn finish(mut self, name: &str, outputs: &[&Value], bits: f64) -> Case {
        self.plan.name = name.to_owned();
        self.plan.keys = self.keys.iter().map(|(&kind, &level)| KeySpec { kind, level }).collect();
        for (i, value) in outputs.iter().enumerate() {
            let output =
                (self.port(format!("y{i}"), self.width()), value.ty.clone(), vec![value.register]);
            self.plan.outputs.push(output);
        }
        self.free_dead_registers();
        let expected = outputs.iter().map(|v| v.slots.clone()).collect();
        Case { name: name.to_owned(), plan: self.plan, inputs: self.inputs, expected, bits }
    }

    /// Frees every register after its last use; one that nothing reads, after its definition.
    fn free_dead_registers(&mut self) {
        let outputs = self.plan.outputs.iter().flat_map(|o| o.2.clone());
        let mut live: std::collections::BTreeSet<RegId> = outputs.collect();
        for inst in self.plan.insts.iter_mut().rev() {
            let mut used = [inst.op.operands(), inst.results.clone()].concat();
            used.retain(|&r| live.insert(r));
            inst.frees = used;
        }
    }

    fn key(&mut self, kind: KeyKind, level: usize) {
        let reaches = self.keys.entry(kind).or_insert(level);
        *reaches = level.max(*reaches);
    }

    fn port(&self, name: String, elements: usize) -> Port {
        let layout = Layout::row_major(elements, self.width());
        let (shape, compact) = (vec![elements], Compact::NONE);
        Port { name, shape, layout, factor: 1.0, range: (-1.0, 1.0), compact }
    }

    fn register(&mut self) -> RegId {
        self.plan.registers += 1;
        RegId::new(self.plan.registers - 1)
    }

    fn push(&mut self, op: Op<RegId>, ty: CtType, slots: Vec<f64>) -> Value {
        let register = self.register();
        self.inst(op, vec![register], ty.clone());
        Value { register, ty, slots }
    }

    fn inst(&mut self, op: Op<RegId>, results: Vec<RegId>, ty: CtType) {
        self.plan.insts.push(Inst { op, results, ty, frees: Vec::new(), origin: 0 });
    }
}

/// Parameters of ring dimension 2^13: ciphertext primes of `first` and then three times `scale`
/// bits, `special` primes of `special_bits` bits, which is also the length of a digit.
pub(super) fn parameters(first: u32, scale: u32, special: usize, special_bits: u32) -> Parameters {
    const LOG_N: u32 = 13;
    let mut p: Vec<u64> = near_power(special_bits, LOG_N).take(special).collect();
    let mut q: Vec<u64> =
        near_power(first, LOG_N).filter(|prime| !p.contains(prime)).take(1).collect();
    q.extend(near_power(scale, LOG_N).take(3));
    p.sort_unstable();
    let literal = ParametersLiteral { log_n: LOG_N, q, p, digit_size: special };
    Parameters::new(literal).expect("the suite's parameters are secure")
}
