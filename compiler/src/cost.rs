//! What operations cost: seconds of one core, bytes of keys and of ciphertexts.
//!
//! Every ciphertext operation is a number of limb operations (number-theoretic transforms and
//! pointwise products over one prime), which grow as `N log N` and `N`; [`Costs`] holds the
//! seconds of each. The model ranks choices and fills the report; no plan depends on it for
//! being right. Counts follow the key switching of Han and Ki (ePrint 2019/688) and the double
//! hoisting of Bossuat et al. (ePrint 2020/1203).

use std::collections::BTreeSet;

use heplan_ir::ckks::{Graph, Op, Plain};
use heplan_ir::constants::ConstPool;
use heplan_ir::entity::ValueId;
use heplan_ir::parameters::Parameters;
use heplan_ir::plan::{KeyKind, KeySpec, required_keys};
use heplan_ir::transform::{LinearTransform, Split};

/// Seconds of the elementary operations on one core.
///
/// The defaults were measured on a server processor, one thread.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Costs {
    /// One number-theoretic transform of one limb, per `N·log2 N`. The default is 48 µs at 2^14.
    pub ntt: f64,
    /// One modular product with accumulation, per coefficient. The default is 7 µs at 2^14.
    pub product: f64,
    /// One modular addition, per coefficient. The default is 2.6 µs at 2^14.
    pub addition: f64,
    /// Complex transform and rounding of one plaintext, per `N·log2 N`. The default is 390 µs at
    /// 2^14.
    pub encode: f64,
}

impl Default for Costs {
    fn default() -> Self {
        let (n, log_n) = (16384.0, 14.0);
        Self {
            ntt: 48e-6 / (n * log_n),
            product: 7e-6 / n,
            addition: 2.6e-6 / n,
            encode: 390e-6 / (n * log_n),
        }
    }
}

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
}

impl Place {
    /// A level of a parameter set.
    pub fn of(parameters: &Parameters, level: usize) -> Self {
        let (digit_size, special) = (parameters.digit_size(), parameters.p().len());
        Self { log_n: parameters.log_n(), level, digit_size, special }
    }

    /// Bytes of a ciphertext of `degree + 1` polynomials.
    pub fn ciphertext_bytes(&self, degree: u8) -> u64 {
        self.limbs() as u64 * (u64::from(degree) + 1) * (8u64 << self.log_n)
    }

    fn limbs(&self) -> usize {
        self.level + 1
    }

    fn digits(&self) -> usize {
        self.limbs().div_ceil(self.digit_size)
    }

    fn n(&self) -> f64 {
        (1u64 << self.log_n) as f64
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
    /// Distinct pairs of an output and a non-zero giant step.
    pub giants: usize,
    /// Plaintext diagonals.
    pub diagonals: usize,
    /// Slots after which diagonals repeat: they are transformed at this size.
    pub period: usize,
}

impl LinearShape {
    /// The shape of a transform under a split.
    pub fn of(transform: &LinearTransform, split: Split) -> Self {
        let (mut babies, mut giants) = (BTreeSet::new(), BTreeSet::new());
        for d in &transform.diagonals {
            let (baby, giant) = split.of(d.offset, transform.width);
            babies.extend((baby != 0).then_some((d.input, baby)));
            giants.extend((giant != 0).then_some((d.output, giant)));
        }
        Self {
            inputs: transform.inputs,
            outputs: transform.outputs,
            babies: babies.len(),
            giants: giants.len(),
            diagonals: transform.diagonals.len(),
            period: transform.period,
        }
    }
}

impl Costs {
    /// Digit decomposition and raising to the extended basis.
    pub fn decompose(&self, at: &Place) -> f64 {
        let (limbs, wide) = (at.limbs(), at.limbs() + at.special);
        // Every limb goes back once, and every digit forward over the limbs that it lacks.
        let transforms = limbs + (at.digits() * wide - limbs);
        self.ntts(at, transforms) + self.products(at, limbs * wide)
    }

    /// Inner product of a decomposition with a key, in the extended basis.
    pub fn inner_product(&self, at: &Place) -> f64 {
        self.products(at, 2 * at.digits() * (at.limbs() + at.special))
    }

    /// Division of one polynomial by the special modulus.
    pub fn mod_down(&self, at: &Place) -> f64 {
        let (limbs, special) = (at.limbs(), at.special);
        self.ntts(at, limbs + special) + self.products(at, limbs * (special + 1))
    }

    /// One key switch.
    pub fn key_switch(&self, at: &Place) -> f64 {
        self.decompose(at) + self.inner_product(at) + 2.0 * self.mod_down(at)
    }

    /// One rotation.
    pub fn rotate(&self, at: &Place) -> f64 {
        self.key_switch(at) + self.additions(at, 2 * at.limbs())
    }

    /// Product of two ciphertexts, not relinearised.
    pub fn multiply(&self, at: &Place) -> f64 {
        self.products(at, 4 * at.limbs())
    }

    /// Rescale of a ciphertext of `degree + 1` polynomials.
    pub fn rescale(&self, at: &Place, degree: u8) -> f64 {
        let polynomials = usize::from(degree) + 1;
        self.ntts(at, polynomials * at.limbs()) + self.products(at, polynomials * at.limbs())
    }

    /// Sum of ciphertexts of `degree + 1` polynomials.
    pub fn add(&self, at: &Place, degree: u8) -> f64 {
        self.additions(at, (usize::from(degree) + 1) * at.limbs())
    }

    /// Encoding of one plaintext that repeats after `period` slots, over `limbs` primes.
    pub fn encode(&self, at: &Place, period: usize, limbs: usize) -> f64 {
        let size = 2.0 * period.max(1) as f64;
        self.encode * size * size.log2() + self.ntts(at, limbs)
    }

    /// A linear map with double hoisting, without the encoding of its diagonals.
    pub fn linear(&self, at: &Place, shape: &LinearShape) -> f64 {
        let wide = at.limbs() + at.special;
        let decompositions = if shape.babies == 0 { 0 } else { shape.inputs };
        decompositions as f64 * self.decompose(at)
            + shape.babies as f64 * self.inner_product(at)
            + self.products(at, 2 * wide * shape.diagonals)
            + shape.giants as f64
                * (self.mod_down(at) + self.decompose(at) + self.inner_product(at))
            + shape.outputs as f64 * 2.0 * self.mod_down(at)
    }

    /// Encoding of all diagonals of a linear map in the extended basis.
    pub fn linear_encode(&self, at: &Place, shape: &LinearShape) -> f64 {
        shape.diagonals as f64 * self.encode(at, shape.period, at.limbs() + at.special)
    }

    /// Seconds of one operation on operands at `at`, and those of encoding its plaintexts.
    pub fn op<V: Copy>(
        &self,
        op: &Op<V>,
        at: &Place,
        degree: u8,
        consts: &ConstPool,
    ) -> (f64, f64) {
        let encode = |plain: &Plain| match plain {
            Plain::Scalar(_) => 0.0,
            Plain::Vector(_) => self.encode(at, 1 << (at.log_n - 1), at.limbs()),
        };
        match op {
            Op::Input { .. } | Op::DropLevel { .. } => (0.0, 0.0),
            Op::Linear { transform, split, .. } => {
                let shape = LinearShape::of(consts.transform(*transform), *split);
                (self.linear(at, &shape), self.linear_encode(at, &shape))
            }
            Op::Rotate { .. } => (self.rotate(at), 0.0),
            Op::Add { .. } | Op::Sub { .. } => (self.add(at, degree), 0.0),
            Op::AddPlain { plain, .. } => (self.additions(at, at.limbs()), encode(plain)),
            Op::MulPlain { plain, .. } => (self.products(at, 2 * at.limbs()), encode(plain)),
            Op::Mul { .. } => (self.multiply(at), 0.0),
            Op::Relinearise { .. } => (self.key_switch(at), 0.0),
            Op::Rescale { .. } => (self.rescale(at, degree), 0.0),
        }
    }

    fn ntts(&self, at: &Place, count: usize) -> f64 {
        count as f64 * self.ntt * at.n() * f64::from(at.log_n)
    }

    fn products(&self, at: &Place, count: usize) -> f64 {
        count as f64 * self.product * at.n()
    }

    fn additions(&self, at: &Place, count: usize) -> f64 {
        count as f64 * self.addition * at.n()
    }
}

/// What a whole graph costs.
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize)]
pub struct Cost {
    /// Seconds of one core for the ciphertext operations.
    pub seconds: f64,
    /// Seconds of one core for encoding the plaintexts, each once.
    pub encode_seconds: f64,
    /// Bytes of all evaluation keys in their file.
    pub key_bytes: u64,
    /// Bytes of the ciphertexts that live at the same time, at most, in the graph's order.
    pub peak_bytes: u64,
    /// Rotations, baby and giant steps of linear maps included.
    pub rotations: usize,
    /// Ciphertext products.
    pub products: usize,
    /// Relinearisations.
    pub relinearisations: usize,
    /// Rescales.
    pub rescales: usize,
    /// Plaintext diagonals of all linear maps.
    pub diagonals: usize,
    /// Rotation keys.
    pub rotation_keys: usize,
}

/// The cost of a graph under the given costs.
///
/// # Panics
/// If a constant is missing or of the wrong kind; a verified graph has none such.
pub fn plan_cost(graph: &Graph, costs: &Costs) -> Cost {
    let specs = required_keys(graph.insts.iter().map(|i| (&i.op, i.ty.level)), &graph.consts);
    let mut cost = Cost {
        key_bytes: key_bytes(&specs, &graph.parameters),
        rotation_keys: specs.iter().filter(|k| k.kind != KeyKind::Relinearise).count(),
        peak_bytes: peak_bytes(graph),
        ..Cost::default()
    };
    for inst in &graph.insts {
        let rescale = matches!(inst.op, Op::Rescale { .. });
        let relinearise = matches!(inst.op, Op::Relinearise { .. });
        let at = Place::of(&graph.parameters, inst.ty.level + usize::from(rescale));
        let (seconds, encode) = costs.op(&inst.op, &at, inst.ty.degree, &graph.consts);
        cost.seconds += seconds;
        cost.encode_seconds += encode;
        cost.rescales += usize::from(rescale);
        cost.relinearisations += usize::from(relinearise);
        cost.products += usize::from(matches!(inst.op, Op::Mul { .. }));
        cost.rotations += usize::from(matches!(inst.op, Op::Rotate { .. }));
        if let Op::Linear { transform, split, .. } = &inst.op {
            let shape = LinearShape::of(graph.consts.transform(*transform), *split);
            cost.rotations += shape.babies + shape.giants;
            cost.diagonals += shape.diagonals;
        }
    }
    cost
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

fn peak_bytes(graph: &Graph) -> u64 {
    let mut last: Vec<Option<usize>> = vec![None; graph.values];
    for (i, inst) in graph.insts.iter().enumerate() {
        inst.op.operands().iter().for_each(|x| last[x.index()] = Some(i));
    }
    graph.outputs.iter().flat_map(|o| &o.1).for_each(|v| last[v.index()] = None);
    let kept: BTreeSet<ValueId> = graph.outputs.iter().flat_map(|o| o.1.clone()).collect();
    let mut bytes_of = vec![0u64; graph.values];
    let (mut live, mut peak) = (0u64, 0u64);
    for (i, inst) in graph.insts.iter().enumerate() {
        let place = Place::of(&graph.parameters, inst.ty.level);
        for r in &inst.results {
            bytes_of[r.index()] = place.ciphertext_bytes(inst.ty.degree);
            live += bytes_of[r.index()];
        }
        peak = peak.max(live);
        let dead: BTreeSet<ValueId> = inst
            .op
            .operands()
            .into_iter()
            .chain(inst.results.iter().copied())
            .filter(|v| !kept.contains(v) && last[v.index()].is_none_or(|l| l == i))
            .collect();
        live -= dead.iter().map(|v| bytes_of[v.index()]).sum::<u64>();
    }
    peak
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::passes::ckks::parameters::candidates;

    #[test]
    fn a_key_switch_is_counted_by_limbs() {
        let unit = Costs { ntt: 1.0, product: 0.0, addition: 0.0, encode: 0.0 };
        let at = Place { log_n: 1, level: 3, digit_size: 2, special: 2 };
        // Four inverse transforms, two digits raised to six limbs of which four are there already,
        // and twice two inverse and four forward transforms of the division by P.
        assert_eq!(unit.key_switch(&at) / 2.0, f64::from(4 + (12 - 4) + 2 * 6));
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
    fn costs_grow_with_the_level_and_keep_their_default_in_a_file() {
        let costs = Costs::default();
        let at = |level| Place { log_n: 14, level, digit_size: 2, special: 2 };
        assert!((costs.ntt * 16384.0 * 14.0 - 48e-6).abs() < 1e-12);
        assert!((1..9).all(|l| costs.rotate(&at(l)) < costs.rotate(&at(l + 1))));
        let shape =
            LinearShape { inputs: 1, outputs: 1, babies: 7, giants: 7, diagonals: 64, period: 64 };
        let many = 14.0 * costs.rotate(&at(5));
        assert!(costs.linear(&at(5), &shape) < many, "hoisting is cheaper than rotating");
    }
}
