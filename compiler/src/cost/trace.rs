//! The allocations of a run, instruction by instruction.
//!
//! What a run holds are buffers of a pool (`lattice::pool`), which gives a freed buffer to the next taker that it is not
//! too large for, and gives none back to the system. So the most that a run holds is no sum of what lives at one time: the
//! buffers of a few sizes add up. They are followed here as the evaluator takes them, on so many threads.

use std::collections::{BTreeMap, BTreeSet};

use heplan_ir::ckks::{CtType, Op, Plain};
use heplan_ir::constants::ConstPool;
use heplan_ir::parameters::Parameters;
use heplan_ir::plan::{KeyKind, required_keys};
use heplan_ir::transform::LinearTransform;

use super::{LinearShape, Place, bytes_of_key};

/// Bytes of a word of a buffer.
const WORD: u64 = 8;
/// Words that align a buffer.
const ALIGNMENT_WORDS: u64 = 8;
/// Words between limbs that are read together.
const PADDING_WORDS: u64 = 16;
/// Primes below this are kept two residues to a word.
const PACKED_BELOW: u64 = 1 << 31;
/// Slots of a block of the weights of a linear map, and bytes of the blocks that are evaluated at a time.
const BLOCK: u64 = 1 << 9;
const NEAR_BYTES: u64 = 1 << 19;
/// Coefficients of the smallest subring.
const SMALLEST_SUBRING: usize = 1 << 10;
/// Bytes of expanded keys that a run keeps at most.
const KEPT_KEY_BYTES: u64 = 1 << 30;
/// Bytes of encoded diagonals that a backend keeps.
const KEPT_DIAGONAL_BYTES: u64 = 1 << 30;
/// Scales below this have encoded coefficients of half a word.
const TINY_SCALE_BITS: f64 = 31.0;

/// One instruction, whatever its values are called.
pub(super) struct Step<'a, V> {
    pub(super) op: &'a Op<V>,
    pub(super) ty: &'a CtType,
    pub(super) results: Vec<V>,
    /// Values that nothing reads after it.
    pub(super) frees: Vec<V>,
}

/// The most bytes of buffers, keys and encoded diagonals that a run of these steps holds.
pub(super) fn most_bytes<V: Copy + Ord>(
    steps: &[Step<'_, V>],
    parameters: &Parameters,
    consts: &ConstPool,
    threads: usize,
) -> u64 {
    let ops = || steps.iter().map(|s| (s.op, s.ty.level));
    let levels: BTreeMap<KeyKind, usize> =
        required_keys(ops(), consts, parameters).into_iter().map(|k| (k.kind, k.level)).collect();
    let keys: Vec<BTreeSet<KeyKind>> = ops()
        .map(|op| required_keys([op], consts, parameters).into_iter().map(|k| k.kind).collect())
        .collect();
    let (mut last_use, mut again) = (BTreeMap::new(), BTreeSet::new());
    for (i, kinds) in keys.iter().enumerate() {
        for &kind in kinds {
            if last_use.insert(kind, i).is_some() {
                again.insert(kind);
            }
        }
    }
    let sizes = Sizes { parameters, consts };
    let words = again.iter().map(|kind| sizes.expanded_key(levels[kind]).iter().sum::<u64>());
    let rereads = words.sum::<u64>() * WORD > KEPT_KEY_BYTES;
    let mut run = Run {
        sizes,
        threads,
        levels,
        last_use,
        rereads,
        pool: Pool::default(),
        values: BTreeMap::new(),
        keys: BTreeMap::new(),
        encoded: 0,
        peak: 0,
    };
    let mut at = 0;
    while at < steps.len() {
        let group = side_by_side(&steps[at..], threads);
        run.group(at, &steps[at..at + group], &keys[at..at + group]);
        at += group;
    }
    run.peak
}

/// How many of the first steps the executor runs side by side.
fn side_by_side<V: Copy + Ord>(steps: &[Step<'_, V>], most: usize) -> usize {
    let alone = |step: &Step<'_, V>| step.op.runs_alone();
    let mut written: BTreeSet<V> = BTreeSet::new();
    for (i, step) in steps.iter().enumerate() {
        let mut touched = step.op.operands().into_iter().chain(step.results.iter().copied());
        let depends = touched.any(|value| written.contains(&value));
        if i > 0 && (i == most || alone(step) || alone(&steps[0]) || depends) {
            return i;
        }
        written.extend(&step.results);
    }
    steps.len()
}

/// Freed buffers by their words, and the words of all buffers there are.
#[derive(Default)]
struct Pool {
    free: BTreeMap<u64, usize>,
    words: u64,
}

impl Pool {
    /// The words of the buffer that is taken for so many: the smallest that is free and up to half as large again, or a
    /// new one.
    fn take(&mut self, words: u64) -> u64 {
        let Some((&found, count)) = self.free.range_mut(words..=words + words / 2).next() else {
            self.words += words + ALIGNMENT_WORDS;
            return words;
        };
        *count -= 1;
        if *count == 0 {
            self.free.remove(&found);
        }
        found
    }

    fn take_all(&mut self, words: &[u64]) -> Vec<u64> {
        words.iter().map(|&w| self.take(w)).collect()
    }

    /// Buffers that go back to the system.
    fn lose_all(&mut self, buffers: impl IntoIterator<Item = u64>) {
        self.words -= buffers.into_iter().map(|words| words + ALIGNMENT_WORDS).sum::<u64>();
    }

    fn give_all(&mut self, buffers: impl IntoIterator<Item = u64>) {
        for words in buffers {
            *self.free.entry(words).or_default() += 1;
        }
    }
}

/// A run under way.
struct Run<'a, V> {
    sizes: Sizes<'a>,
    threads: usize,
    /// The level that each key reaches, and the step that uses it last.
    levels: BTreeMap<KeyKind, usize>,
    last_use: BTreeMap<KeyKind, usize>,
    /// Whether keys that are used again have no room to be kept expanded.
    rereads: bool,
    pool: Pool,
    values: BTreeMap<V, Vec<u64>>,
    /// Expanded keys.
    keys: BTreeMap<KeyKind, Vec<u64>>,
    /// Bytes of encoded diagonals.
    encoded: u64,
    peak: u64,
}

impl<V: Copy + Ord> Run<'_, V> {
    /// Steps side by side: each holds scratch of its own, and every thread that of one task.
    fn group(&mut self, first: usize, steps: &[Step<'_, V>], keys: &[BTreeSet<KeyKind>]) {
        let (mut packed, mut packed_keys) = (0, Vec::new());
        let (mut scratches, mut own, mut results) = (Vec::new(), Vec::new(), Vec::new());
        let mut tasks: Vec<Vec<u64>> = Vec::new();
        for (i, (step, keys)) in steps.iter().zip(keys).enumerate() {
            let at_once = match step.op {
                Op::Bootstrap { .. } => self.sizes.bootstrap_keys(),
                _ => u64::MAX,
            };
            let (read, once) = self.fetch(first + i, keys, at_once, &mut packed_keys);
            packed += read;
            if let Op::Linear { transform, scales, .. } = step.op {
                let transform = self.sizes.consts.transform(*transform);
                let largest = scales.iter().map(|s| s.log2()).fold(0.0, f64::max);
                let encoded = self.sizes.encoded_bytes(transform, largest);
                // What has no room to be kept is there while it is used.
                let kept = self.encoded + encoded <= KEPT_DIAGONAL_BYTES;
                *if kept { &mut self.encoded } else { &mut packed } += encoded;
            }
            let scratch = self.sizes.scratch(step.op, step.ty, once);
            own.push(self.pool.take_all(&scratch.own));
            results.push(if scratch.late { Vec::new() } else { self.results(step, &scratch) });
            tasks.extend(scratch.tasks.iter().cloned());
            scratches.push(scratch);
        }
        for task in tasks {
            let of_all: Vec<u64> =
                (0..self.threads).flat_map(|_| self.pool.take_all(&task)).collect();
            self.pool.give_all(of_all);
        }
        let held = scratches.iter().zip(own).zip(&mut results);
        for (step, ((scratch, own), results)) in steps.iter().zip(held) {
            self.pool.give_all(own);
            if scratch.late {
                *results = self.results(step, scratch);
            }
        }
        self.peak = self.peak.max(self.pool.words * WORD + self.encoded + packed);
        self.pool.lose_all(packed_keys);
        for (step, results) in steps.iter().zip(results) {
            for (&value, buffers) in step.results.iter().zip(results) {
                let overwritten = self.values.insert(value, buffers);
                self.pool.give_all(overwritten.into_iter().flatten());
            }
            for value in &step.frees {
                let buffers = self.values.remove(value);
                self.pool.give_all(buffers.into_iter().flatten());
            }
        }
        for kind in keys.iter().flatten() {
            if self.last_use[kind] < first + steps.len() {
                let buffers = self.keys.remove(kind);
                self.pool.give_all(buffers.into_iter().flatten());
            }
        }
    }

    fn results(&mut self, step: &Step<'_, V>, scratch: &Scratch) -> Vec<Vec<u64>> {
        step.results.iter().map(|_| self.pool.take_all(&scratch.result)).collect()
    }

    /// Reads keys: those that a later step uses again are expanded and kept. The bytes of those that are read now beside the
    /// pool, of which no more than `at_once` are there at one time, and whether one is used packed.
    ///
    /// Where keys are read once, they take buffers of the pool, which go back to the system afterwards: those that are used
    /// packed when the step is done.
    fn fetch(
        &mut self,
        step: usize,
        keys: &BTreeSet<KeyKind>,
        at_once: u64,
        used_packed: &mut Vec<u64>,
    ) -> (u64, bool) {
        let (mut packed, mut once) = (0, false);
        for &kind in keys {
            if self.keys.contains_key(&kind) {
                continue;
            }
            let level = self.levels[&kind];
            let expanded = self.sizes.expanded_key(level);
            let bytes: u64 = expanded.iter().sum::<u64>() * WORD;
            let kept: u64 = self.keys.values().flatten().map(|w| *w * WORD).sum();
            let mut read = bytes_of_key(self.sizes.parameters, level);
            let taken = (!self.rereads).then(|| self.pool.take(read / WORD));
            if taken.is_some() {
                read = 0;
            }
            if self.last_use[&kind] > step && kept + bytes <= KEPT_KEY_BYTES {
                let buffers = self.pool.take_all(&expanded);
                self.keys.insert(kind, buffers);
                self.peak = self.peak.max(self.pool.words * WORD + self.encoded + packed + read);
                self.pool.lose_all(taken);
            } else {
                packed = (packed + read).min(at_once);
                used_packed.extend(taken);
                once = true;
            }
        }
        (packed, once)
    }
}

/// The buffers of one operation, in words.
#[derive(Default)]
struct Scratch {
    /// Of each result.
    result: Vec<u64>,
    /// Whether results take the places of scratch, one after the other.
    late: bool,
    /// Held from its begin to its end.
    own: Vec<u64>,
    /// Held by every thread while it is at one prime, for each width of primes.
    tasks: Vec<Vec<u64>>,
}

/// How large things are.
struct Sizes<'a> {
    parameters: &'a Parameters,
    consts: &'a ConstPool,
}

impl Sizes<'_> {
    fn n(&self) -> u64 {
        self.parameters.n() as u64
    }

    /// Words of a limb that is read far more often than written.
    fn limb(&self, packed: bool) -> u64 {
        (if packed { self.n() / 2 } else { self.n() }) + PADDING_WORDS
    }

    fn is_packed(prime: u64) -> bool {
        prime < PACKED_BELOW
    }

    /// Words of a limb of an expanded key: as narrow as its prime, and a register more to be read from.
    fn key_limb(&self, prime: u64) -> u64 {
        let narrow = (self.n() * u64::from(prime.ilog2() + 1)).div_ceil(64) + 8;
        if Self::is_packed(prime) { self.limb(true) } else { narrow + PADDING_WORDS }
    }

    /// The kinds of primes up to a level and of the special ones, packed or not, each with the largest.
    fn widths(&self, level: usize) -> BTreeMap<bool, u64> {
        let primes = self.parameters.q()[..=level].iter().chain(self.parameters.p());
        let mut largest = BTreeMap::new();
        for &q in primes {
            let of_kind = largest.entry(Self::is_packed(q)).or_insert(q);
            *of_kind = q.max(*of_kind);
        }
        largest
    }

    fn expanded_key(&self, level: usize) -> Vec<u64> {
        let primes = self.parameters.q()[..=level].iter().chain(self.parameters.p());
        let halves = 2 * self.parameters.digits(level) as u64;
        primes.map(|&q| halves * self.key_limb(q)).collect()
    }

    fn encoded_bytes(&self, transform: &LinearTransform, scale_bits: f64) -> u64 {
        let shape = LinearShape::of(transform, self.parameters.batch());
        if shape.scalar {
            return 0;
        }
        let coefficient = if scale_bits < TINY_SCALE_BITS { WORD / 2 } else { WORD };
        2 * coefficient * (shape.diagonals * shape.period) as u64
    }

    /// The buffers of an operation; `once` says that it reads a key which is not expanded.
    fn scratch<V: Copy>(&self, op: &Op<V>, ty: &CtType, once: bool) -> Scratch {
        let n = self.n();
        let at = Place::of(self.parameters, ty.level);
        let (limbs, special) = (at.limbs() as u64, at.special as u64);
        let extended = if ty.extended { special + 1 } else { 0 };
        let result = vec![(limbs + extended) * n; usize::from(ty.degree) + 1];
        let plain = Scratch { result: result.clone(), ..Scratch::default() };
        let cut = limbs * n;
        match op {
            Op::Linear { transform, .. } => {
                let transform = self.consts.transform(*transform);
                Scratch { result, ..self.linear(transform, ty.level + 1, once) }
            }
            Op::Rotate { .. } | Op::RotateAdd { .. } if ty.extended => Scratch {
                own: vec![limbs * n, (special + 1) * n, cut],
                tasks: self.switches(ty.level, once),
                ..plain
            },
            Op::Rotate { .. } | Op::RotateAdd { .. } | Op::Relinearise { .. } => Scratch {
                own: vec![cut, special * 2 * n],
                tasks: self.switches(ty.level, once),
                ..plain
            },
            Op::AddPlain { plain: Plain::Vector(_), .. }
            | Op::MulPlain { plain: Plain::Vector(_), .. }
            | Op::Mul { .. } => Scratch { own: vec![limbs * n], ..plain },
            Op::Rescale { .. } => Scratch { own: vec![n; result.len()], ..plain },
            Op::Bootstrap { .. } => Scratch { own: self.bootstrap(), ..plain },
            Op::ModDown { .. } => Scratch { own: vec![(special + 1) * n; 2], ..plain },
            Op::Input { .. }
            | Op::Add { .. }
            | Op::Sub { .. }
            | Op::AddPlain { .. }
            | Op::MulPlain { .. }
            | Op::DropLevel { .. } => plain,
        }
    }

    /// The most bytes of keys that a bootstrap reads at one time: those of a group of butterflies.
    fn bootstrap_keys(&self) -> u64 {
        let Some(bootstrap) = self.parameters.bootstrap() else { return 0 };
        bootstrap.baby_steps as u64 * bytes_of_key(self.parameters, bootstrap.max_level())
    }

    /// The polynomials of a bootstrap: the sums of a group's giant steps, its operand, the digits of that and its result.
    fn bootstrap(&self) -> Vec<u64> {
        let Some(bootstrap) = self.parameters.bootstrap() else { return Vec::new() };
        let top = self.parameters.q().len() + self.parameters.p().len();
        let stages = bootstrap.stages(self.parameters.log_n());
        let sums = stages.iter().map(|stage| 2 * stage.giant_steps).max().unwrap_or(0);
        vec![top as u64 * self.n(); sums + 5]
    }

    /// What a thread holds of a key switch: raised digits, and the limbs of a key that is not expanded.
    fn switches(&self, level: usize, once: bool) -> Vec<Vec<u64>> {
        let digits = self.parameters.digits(level) as u64;
        let task = |(packed, largest)| {
            let key = once.then(|| 2 * digits * self.key_limb(largest));
            [digits * self.limb(packed), 3 * self.n()].into_iter().chain(key).collect()
        };
        self.widths(level).into_iter().map(task).collect()
    }

    /// A linear map of operands at a level.
    fn linear(&self, transform: &LinearTransform, level: usize, once: bool) -> Scratch {
        let (n, batch) = (self.n(), self.parameters.batch());
        let limbs = level as u64 + 1;
        let shape = LinearShape::of(transform, batch);
        let sums = vec![limbs * n; 2 * shape.outputs];
        // Every sum that does not stay extended is divided by a prime, and is then done with.
        let divided = vec![(limbs - 1) * n, (limbs - 1) * n, n];
        let late = !shape.extended();
        if shape.scalar {
            return Scratch { own: sums, late, tasks: vec![divided], ..Scratch::default() };
        }
        let rotations: BTreeSet<(u32, u32)> =
            transform.diagonals.iter().map(|d| (d.input, d.offset)).collect();
        let own = match shape.extended() {
            true => vec![limbs * n; shape.inputs],
            false => sums,
        };
        let size = (2 * shape.period).clamp(SMALLEST_SUBRING, self.parameters.n()) as u64;
        let task = |(packed, switches): (bool, Vec<u64>)| {
            let times = n / size;
            let words = BLOCK / times / if packed && times < 8 { 2 } else { 1 };
            let stride = if times == 1 { words + PADDING_WORDS } else { words };
            let each = n / BLOCK * stride;
            let capacity = (NEAR_BYTES / (each * WORD)).max(1);
            let rotated = 2 * rotations.len() as u64 * self.limb(packed);
            [rotated, 2 * n, capacity * each, n].into_iter().chain(switches).collect()
        };
        let switches = self.switches(level, once);
        let tasks = self.widths(level).into_keys().zip(switches).map(task);
        let tasks = tasks.chain(late.then_some(divided)).collect();
        Scratch { own, late, tasks, ..Scratch::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn freed_buffers_serve_takers_that_are_not_much_smaller() {
        let mut pool = Pool::default();
        let first = pool.take(1000);
        assert_eq!((first, pool.words), (1000, 1000 + ALIGNMENT_WORDS));
        pool.give_all([first]);
        // Two thirds of it are enough, less is not, and what is in use serves nobody.
        assert_eq!(pool.take(667), 1000);
        assert_eq!(pool.take(667), 667);
        pool.give_all([1000, 667]);
        assert_eq!(pool.take(400), 400);
        assert_eq!(pool.words, 1000 + 667 + 400 + 3 * ALIGNMENT_WORDS);
    }
}
