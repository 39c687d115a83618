//! What operations cost: seconds of one core, bytes of keys and of ciphertexts.
//!
//! Every ciphertext operation is so much of a few elementary ones ([`Work`]), whose seconds are [`Costs`]: measured by
//! `heplan bench --costs`, fitted by [`Costs::fitted`], stored in files and with the compiler ([`Measurement`]). The
//! model ranks choices and fills the report; no plan depends on it for being right.

mod bootstrap;
mod file;
mod fit;
mod memory;
mod trace;
mod work;

use std::collections::BTreeSet;

use heplan_ir::ckks::{self, CtType, Graph, Op, Plain};
use heplan_ir::constants::ConstPool;
use heplan_ir::parameters::Parameters;
use heplan_ir::plan::{Inst, KeyKind, KeySpec, Plan, required_keys};
use heplan_ir::transform::LinearTransform;

pub use file::Measurement;
pub use fit::Observation;
pub use memory::{least_bytes, plan_peak_bytes};
pub use work::{Costs, Work};

/// Where an operation happens: everything that its cost depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Base-2 logarithm of the ring dimension.
    pub log_n: u32,
    /// Level of the operands; a ciphertext polynomial has `level + 1` limbs.
    pub level: usize,
    /// Ciphertext primes per key-switching digit.
    pub digit_size: usize,
    /// Number of special primes.
    pub special: usize,
    /// Ciphertext primes that are long.
    pub long: usize,
    /// Special primes that are long.
    pub long_special: usize,
}

/// Limbs by the size of their primes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limbs {
    /// Modulo long primes.
    pub long: usize,
    /// Modulo short primes.
    pub short: usize,
}

impl std::ops::Mul<usize> for Limbs {
    type Output = Self;

    fn mul(self, times: usize) -> Self {
        Self { long: self.long * times, short: self.short * times }
    }
}

impl Place {
    /// A level of a parameter set.
    pub fn of(parameters: &Parameters, level: usize) -> Self {
        let (digit_size, special) = (parameters.digit_size(), parameters.p().len());
        let long = |primes: &[u64]| primes.iter().filter(|&&q| !Self::is_short(q)).count();
        Self {
            log_n: parameters.log_n(),
            level,
            digit_size,
            special,
            long: long(&parameters.q()[..=level]),
            long_special: long(parameters.p()),
        }
    }

    /// Whether a prime is short: four residues fit 32 bits, so that twice as many are at work at a
    /// time.
    pub const fn is_short(q: u64) -> bool {
        q < 1 << 30
    }

    /// The limbs of the ciphertext primes.
    pub fn own_limbs(&self) -> Limbs {
        Limbs { long: self.long, short: self.limbs() - self.long }
    }

    /// The limbs of the ciphertext and special primes.
    pub fn wide_limbs(&self) -> Limbs {
        let own = self.own_limbs();
        let short = own.short + self.special - self.long_special;
        Limbs { long: own.long + self.long_special, short }
    }

    /// Bytes of a ciphertext of `degree + 1` polynomials.
    pub fn ciphertext_bytes(&self, degree: u8) -> u64 {
        self.limbs() as u64 * (u64::from(degree) + 1) * (8u64 << self.log_n)
    }

    /// Ciphertext primes.
    pub fn limbs(&self) -> usize {
        self.level + 1
    }

    /// Ciphertext and special primes.
    pub fn wide(&self) -> usize {
        self.limbs() + self.special
    }

    /// Key-switching digits.
    pub fn digits(&self) -> usize {
        self.limbs().div_ceil(self.digit_size)
    }

    /// The ring dimension.
    pub fn degree(&self) -> usize {
        1 << self.log_n
    }

    fn n(&self) -> f64 {
        self.degree() as f64
    }
}

/// What the cost of a linear map depends on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinearShape {
    /// Ciphertexts that it reads.
    pub inputs: usize,
    /// Ciphertexts that it writes.
    pub outputs: usize,
    /// Distinct pairs of an input and a non-zero baby step.
    pub babies: usize,
    /// Plaintext diagonals.
    pub diagonals: usize,
    /// Slots of a ciphertext after which diagonals repeat: they are transformed at this size.
    pub period: usize,
    /// Whether every diagonal is a number, and nothing rotates.
    pub scalar: bool,
}

impl LinearShape {
    /// The shape of a transform for `batch` samples per ciphertext.
    pub fn of(transform: &LinearTransform, batch: usize) -> Self {
        let rotating = transform.diagonals.iter().filter(|d| d.offset != 0);
        let babies: BTreeSet<(u32, u32)> = rotating.map(|d| (d.input, d.offset)).collect();
        Self {
            inputs: transform.inputs,
            outputs: transform.outputs,
            babies: babies.len(),
            diagonals: transform.diagonals.len(),
            period: if transform.period == 1 { 1 } else { transform.period * batch },
            scalar: transform.width == 1,
        }
    }

    /// Whether the results stay extended.
    pub fn extended(&self) -> bool {
        self.babies > 0
    }
}

/// The work of one operation: at every run, and once more when it runs for the first time.
fn work_of<V: Copy>(
    op: &Op<V>,
    ty: &CtType,
    consts: &ConstPool,
    parameters: &Parameters,
) -> (Work, Work) {
    let (batch, degree) = (parameters.batch(), ty.degree);
    let divides = matches!(op, Op::Rescale { .. } | Op::Linear { .. });
    let at = &Place::of(parameters, ty.level + usize::from(divides));
    let above = || Place::of(parameters, ty.level + 1);
    let width = 1 << (at.log_n - 1);
    let vector = Work::encode(width) + Work::evaluate(at, width, at.own_limbs());
    let encode = |plain: &Plain| match plain {
        Plain::Scalar(_) => Work::default(),
        Plain::Vector(_) => vector,
    };
    let every_run = match op {
        Op::Input { .. } | Op::DropLevel { .. } => Work::default(),
        Op::Linear { transform, .. } => {
            let shape = LinearShape::of(consts.transform(*transform), batch);
            let rescales = if shape.extended() { 0 } else { shape.outputs };
            let rescaled = Work::rescale(at, degree) * rescales as f64;
            if shape.scalar {
                return (Work::weighted_sums(at, &shape) + rescaled, Work::default());
            }
            let diagonal =
                Work::encode(shape.period) + Work::evaluate(at, shape.period, at.wide_limbs());
            return (Work::linear(at, &shape) + rescaled, diagonal * shape.diagonals as f64);
        }
        // Where its rotation is made a sum reads one operand more: too little to count.
        Op::Rotate { .. } | Op::RotateAdd { .. } => rotation(ty, parameters),
        Op::Add { .. } | Op::Sub { .. } => sum(ty, parameters),
        Op::AddPlain { plain, .. } => Work::additions(at, at.limbs()) + encode(plain),
        Op::MulPlain { plain, .. } => Work::multiply_plain(at) + encode(plain),
        Op::Mul { .. } => Work::multiply(at),
        Op::Relinearise { .. } => Work::relinearise(at),
        Op::Rescale { .. } => Work::rescale(at, degree),
        Op::ModDown { .. } => Work::divide(&above()) * 2.0,
        Op::Bootstrap { .. } => return bootstrap::work(parameters),
    };
    (every_run, Work::default())
}

/// The work of a rotation whose result has a type.
fn rotation(ty: &CtType, parameters: &Parameters) -> Work {
    let at = |level| Place::of(parameters, level);
    match ty.extended {
        true => Work::rotate_extended(&at(ty.level), &at(ty.level + 1)),
        false => Work::rotate(&at(ty.level)),
    }
}

/// The work of a sum or difference of a type.
fn sum(ty: &CtType, parameters: &Parameters) -> Work {
    let at = |level| Place::of(parameters, level);
    match ty.extended {
        true => Work::additions(&at(ty.level), 2 * at(ty.level + 1).wide()),
        false => Work::add(&at(ty.level), ty.degree),
    }
}

/// The work of one bootstrap under parameters that have one.
pub fn bootstrap_work(parameters: &Parameters) -> Work {
    bootstrap::work(parameters).0
}

/// How much longer operations take within a plan than when one is measured over and over: operands
/// come from memory. Measured on whole models, where it is 1.1 to 1.35.
const WITHIN_A_PLAN: f64 = 1.23;

/// Predicted seconds of one core for one instruction, keys and diagonals at hand.
///
/// # Panics
/// If a constant is missing or of the wrong kind; a verified plan has none such.
pub fn seconds(inst: &Inst, plan: &Plan, costs: &Costs) -> f64 {
    let work = work_of(&inst.op, &inst.ty, &plan.consts, &plan.parameters).0;
    costs.seconds(&work) * WITHIN_A_PLAN
}

/// What a whole graph costs.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct Cost {
    /// Seconds of one core for one run, keys and diagonals at hand.
    pub seconds: f64,
    /// Seconds of one core that the first run takes beyond that: diagonals are encoded and evaluated.
    pub encode_seconds: f64,
    /// Seconds of one core that the first run takes beyond that: keys are expanded.
    pub expand_seconds: f64,
    /// Seconds of one core that the first run takes beyond that: its memory is touched.
    pub fresh_seconds: f64,
    /// Bytes of all evaluation keys in their file.
    pub key_bytes: u64,
    /// Bytes of one run's inputs as the client sends them.
    pub input_bytes: u64,
    /// Bytes that one run holds at most, in the graph's order.
    pub peak_bytes: u64,
    /// Rotations, baby and giant steps of linear maps included.
    pub rotations: usize,
    /// Ciphertext products.
    pub products: usize,
    /// Relinearisations.
    pub relinearisations: usize,
    /// Rescales.
    pub rescales: usize,
    /// Bootstraps.
    pub bootstraps: usize,
    /// Plaintext diagonals of all linear maps.
    pub diagonals: usize,
    /// Rotation keys.
    pub rotation_keys: usize,
}

impl Cost {
    /// Seconds of one core for the first run of a process.
    pub fn first_seconds(&self) -> f64 {
        self.seconds + self.encode_seconds + self.expand_seconds + self.fresh_seconds
    }
}

/// The cost of a graph under the given costs.
///
/// # Panics
/// If a constant is missing or of the wrong kind; a verified graph has none such.
pub fn plan_cost(graph: &Graph, costs: &Costs) -> Cost {
    let specs = required_keys(
        graph.insts.iter().map(|i| (&i.op, i.ty.level)),
        &graph.consts,
        &graph.parameters,
    );
    let mut cost = Cost {
        key_bytes: key_bytes(&specs, &graph.parameters),
        rotation_keys: specs.iter().filter(|k| matches!(k.kind, KeyKind::Rotate(_))).count(),
        input_bytes: input_bytes(graph),
        peak_bytes: memory::peak_bytes(graph),
        ..Cost::default()
    };
    let key = |k: &KeySpec| Work::expand_key(&Place::of(&graph.parameters, k.level));
    cost.fresh_seconds = costs.seconds(&Work::fresh(cost.peak_bytes));
    cost.expand_seconds = specs.iter().map(|k| costs.seconds(&key(k))).sum();
    for inst in &graph.insts {
        let relinearise = matches!(inst.op, Op::Relinearise { .. });
        let (work, first) = work_of(&inst.op, &inst.ty, &graph.consts, &graph.parameters);
        cost.seconds += costs.seconds(&work) * WITHIN_A_PLAN;
        cost.encode_seconds += costs.seconds(&first);
        cost.rescales += usize::from(matches!(inst.op, Op::Rescale { .. }));
        cost.relinearisations += usize::from(relinearise);
        cost.products += usize::from(matches!(inst.op, Op::Mul { .. }));
        cost.bootstraps += usize::from(matches!(inst.op, Op::Bootstrap { .. }));
        let rotates = matches!(inst.op, Op::Rotate { .. } | Op::RotateAdd { .. });
        cost.rotations += usize::from(rotates);
        if let Op::Linear { transform, .. } = &inst.op {
            let transform = graph.consts.transform(*transform);
            let shape = LinearShape::of(transform, graph.parameters.batch());
            cost.rotations += shape.babies;
            cost.diagonals += shape.diagonals;
        }
    }
    cost
}

/// Bytes of all fresh ciphertexts of a graph.
fn input_bytes(graph: &Graph) -> u64 {
    let fresh = |inst: &ckks::Inst| match inst.op {
        // The first part tells for all of an input.
        Op::Input { input, part: 0 } => {
            let bits = graph.parameters.packed_bits_at(inst.ty.level);
            graph.inputs.get(input as usize).map(|p| p.fresh_bytes(graph.parameters.n(), bits))
        }
        _ => None,
    };
    graph.insts.iter().filter_map(fresh).sum()
}

/// Bytes of the evaluation keys of a manifest as a file holds them.
pub fn key_bytes(specs: &[KeySpec], parameters: &Parameters) -> u64 {
    specs.iter().map(|k| bytes_of_key(parameters, k.level)).sum()
}

/// Bytes of one evaluation key that reaches up to a level: per digit one polynomial over all primes
/// up to the level and the special ones, each coefficient in as many bits as its prime has; the
/// other half is a seed.
pub fn bytes_of_key(parameters: &Parameters, level: usize) -> u64 {
    let primes = parameters.q()[..=level].iter().chain(parameters.p());
    let bits: u64 = primes.map(|&q| u64::from(u64::BITS - q.leading_zeros())).sum();
    parameters.digits(level) as u64 * bits * parameters.n() as u64 / 8 + SEED_BYTES
}

const SEED_BYTES: u64 = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::passes::ckks::parameters::candidates;

    #[test]
    fn a_key_switch_is_counted_by_limbs() {
        let at = Place { log_n: 1, level: 3, digit_size: 2, special: 2, long: 4, long_special: 2 };
        let work = Work::key_switch(&at);
        // Four inverse transforms, two digits raised to six limbs of which two are there already,
        // and twice two inverse and four forward transforms of the division by P.
        assert_eq!(work.transform / 2.0, f64::from(4 + (12 - 4) + 2 * 6));
        // Two digits of two primes to the four others, and twice the two special primes to four.
        assert_eq!(work.convert / 2.0, f64::from(2 * 2 * 4 + 2 * 2 * 4));
        assert_eq!(work.key_product / 2.0, f64::from(2 * 2 * 6));
    }

    #[test]
    fn keys_are_packed_and_cover_the_levels_of_their_use() {
        let set = candidates(13, 5, 27, 3).remove(0);
        assert_eq!((set.digit_size(), set.p().len()), (1, 1));
        let bits = |q: &[u64]| q.iter().map(|&q| (q as f64).log2().ceil()).sum::<f64>();
        for level in 0..=5 {
            let limbs = bits(&set.q()[..=level]) + bits(set.p());
            let expected = 1024.0 * limbs * (level + 1) as f64 + 32.0;
            assert_eq!(bytes_of_key(&set, level) as f64, expected);
        }
    }

    #[test]
    fn costs_grow_with_the_level_and_hoisting_saves() {
        let costs = Costs::default();
        let at = |level| {
            let (long, long_special) = (1, 2);
            Place { log_n: 14, level, digit_size: 2, special: 2, long, long_special }
        };
        let rotate = |level| costs.seconds(&Work::rotate(&at(level)));
        assert!((1..9).all(|l| rotate(l) < rotate(l + 1)));
        let shape = LinearShape {
            inputs: 1,
            outputs: 1,
            babies: 7,
            diagonals: 64,
            period: 64,
            scalar: false,
        };
        let linear = costs.seconds(&Work::linear(&at(5), &shape));
        assert!(linear < 64.0 * rotate(5), "steps are fewer than diagonals");
        let hoisted = costs.seconds(&Work::rotate_many(&at(5), 8));
        assert!(hoisted < 8.0 * rotate(5), "hoisting is cheaper than rotating");
    }

    #[test]
    fn first_runs_pay_for_the_memory_that_they_touch() {
        let costs = Costs::default();
        let touched = costs.seconds(&Work::fresh(100 << 20));
        assert!((0.01..0.2).contains(&touched), "{touched} s for 100 MiB");
        let cost = Cost { seconds: 1.0, fresh_seconds: touched, ..Cost::default() };
        assert_eq!(cost.first_seconds(), 1.0 + touched);
    }
}
