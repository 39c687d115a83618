//! The forward transform in radix 4: two stages for each time that a limb is read and written, five or six at the end.
//!
//! Cooley–Tukey butterflies. A product lies in `(-q, q)`, so a stage moves a value by less than q either way;
//! [`Ranges`] lifts the values far enough above zero, and folds them back before they reach `2^52`.
//! A pass works on blocks; blocks too large for the nearest cache are finished one after another, depth first.

use super::super::{Ending, Origin};
use super::field::{Factor, Field, factor_words};
use super::pointwise::Centred;
use super::sums::linear_combination;
use super::twiddles::{Half, Inner, Laziness, Twiddles};
use super::vector::{Vector, Words, octets, octets_mut};
use crate::modulus::Modulus;

/// Registers in a block that is transformed pass by pass: 32 KiB, within the nearest cache.
pub(super) const BLOCK: usize = 1 << 9;

/// What happens to a value before a product is added to it and taken from it.
#[derive(Clone, Copy)]
enum Before {
    Nothing,
    /// Adds a multiple of q.
    Raise,
    /// Maps `[0, 2 fold)` to `[0, fold)`, then adds a multiple of q.
    Fold,
}

/// The stages that are done together at the small end, by the registers in a block of theirs.
#[derive(Clone, Copy)]
pub(super) enum Tail {
    /// Where `log2 N` is odd.
    Five = 4,
    /// Where `log2 N` is even.
    Six = 8,
}

/// How values stay in `[0, 2^52)`.
#[derive(Clone, Copy)]
struct Ranges<V> {
    fold: V,
    raise: V,
    /// In the first stage.
    first: Before,
    /// In every other one of the further stages.
    outer: Before,
    /// In the stages between those.
    inner: Before,
}

impl<V: Vector> Ranges<V> {
    #[inline(always)]
    fn new(q: Modulus, fold: u64, raise: u64, [first, outer, inner]: [Before; 3]) -> Self {
        let multiple = |k: u64| V::splat(k * q.value());
        Self { fold: multiple(fold), raise: multiple(raise), first, outer, inner }
    }

    #[inline(always)]
    fn prepare(self, x: V, before: Before) -> V {
        match before {
            Before::Nothing => x,
            Before::Raise => x.add(self.raise),
            Before::Fold => x.min(x.sub(self.fold)).add(self.raise),
        }
    }
}

/// In-place transform; the specification is `scalar::forward`.
#[inline(always)]
pub(super) fn forward<V: Vector>(q: Modulus, t: &Twiddles, a: &mut [u64]) {
    transform::<V>(q, t, a, None, Ending::Plain);
}

/// `a = (b - transform of a) s`, without another pass over the limb.
#[inline(always)]
pub(super) fn forward_sub_from_mul_scalar<V: Vector>(
    q: Modulus,
    t: &Twiddles,
    a: &mut [u64],
    b: &[u64],
    s: u64,
) {
    transform::<V>(q, t, a, None, Ending::From(b, s));
}

/// `a =` the transform of what the origin stands for, or what the ending says. Centred residues and endings take no pass over
/// the limb of their own.
#[inline(always)]
pub(super) fn forward_from<V: Vector>(
    q: Modulus,
    t: &Twiddles,
    a: &mut [u64],
    origin: Origin<'_>,
    ending: Ending<'_>,
) {
    match origin {
        Origin::Centred(from, src) => {
            transform::<V>(q, t, a, Some((Centred::new(from, q), octets(src))), ending);
        }
        // The first pass reads its values at four places, too many streams of words if they are sums of several limbs.
        Origin::Combined(terms, carried) => {
            linear_combination::<V>(q, a, terms, carried);
            transform::<V>(q, t, a, None, ending);
        }
    }
}

/// Residues of another modulus, to be reduced where the first pass reads them.
type Elsewhere<'a, V> = (Centred<V>, &'a [Words]);

/// How many runs of 64 words ahead their factors are asked for, and what else comes from further away than the limb.
pub(super) const RUNS_AHEAD: usize = 4;

/// Where the first pass finds its values.
trait Source<V>: Copy {
    /// The value at a register, in which `here` stands.
    fn value(self, register: usize, here: &Words) -> V;
}

/// In place.
#[derive(Clone, Copy)]
struct Here;

impl<V: Vector> Source<V> for Here {
    #[inline(always)]
    fn value(self, _: usize, here: &Words) -> V {
        V::load(here)
    }
}

impl<V: Vector> Source<V> for Elsewhere<'_, V> {
    #[inline(always)]
    fn value(self, register: usize, _: &Words) -> V {
        self.0.reduce(V::load(&self.1[register]))
    }
}

/// [`Ending`], as the last pass reads it.
enum End<'a, V> {
    Plain,
    From(&'a [Words], Factor<V>),
    Into(&'a mut [Words], Factor<V>),
}

impl<'a, V: Vector> End<'a, V> {
    #[inline(always)]
    fn new(q: Modulus, ending: Ending<'a>) -> Self {
        let factor = |s| Factor::splat(&factor_words(q, s));
        match ending {
            Ending::Plain => Self::Plain,
            Ending::From(b, s) => Self::From(octets(b), factor(s)),
            Ending::Into(b, s) => Self::Into(octets_mut(b), factor(s)),
        }
    }
}

#[inline(always)]
fn transform<V: Vector>(
    q: Modulus,
    t: &Twiddles,
    a: &mut [u64],
    origin: Option<Elsewhere<'_, V>>,
    ending: Ending<'_>,
) {
    use Before::{Fold, Nothing, Raise};
    let mut end = End::new(q, ending);
    let log_n = u64::from(a.len().trailing_zeros());
    let f = Field::<V>::new(q);
    match t.laziness {
        // A stage for each bit of the length: from `[0, q)` within `[0, (2 log N + 1) q)`.
        Laziness::Never => {
            let ranges = Ranges::new(q, 0, log_n, [Raise, Nothing, Nothing]);
            Transform { f, half: &t.forward, ranges }.run(a, origin, &mut end);
        }
        // From `[2q, 6q)` two stages lead to `[0, 8q)`.
        Laziness::Pairs => {
            let ranges = Ranges::new(q, 4, 2, [Fold, Fold, Nothing]);
            Transform { f, half: &t.forward, ranges }.run(a, origin, &mut end);
        }
        // From `[q, 3q)` one stage leads to `[0, 4q)`.
        Laziness::Each => {
            let ranges = Ranges::new(q, 2, 1, [Fold, Fold, Fold]);
            Transform { f, half: &t.forward, ranges }.run(a, origin, &mut end);
        }
    }
}

/// Everything that a forward transform needs but the limb.
#[derive(Clone, Copy)]
struct Transform<'a, V> {
    f: Field<V>,
    half: &'a Half,
    ranges: Ranges<V>,
}

impl<V: Vector> Transform<'_, V> {
    #[inline(always)]
    fn run(self, a: &mut [u64], origin: Option<Elsewhere<'_, V>>, end: &mut End<'_, V>) {
        let a = octets_mut(a);
        let before = self.ranges.first;
        match origin {
            Some(elsewhere) => self.pass_from(elsewhere, a, 1, before),
            None => self.pass(a, 1, before),
        }
        if a.len().trailing_zeros().is_multiple_of(2) {
            self.run_with(a, Tail::Five, end);
        } else {
            self.run_with(a, Tail::Six, end);
        }
    }

    /// All stages but the first two.
    #[inline(always)]
    fn run_with(self, a: &mut [Words], tail: Tail, end: &mut End<'_, V>) {
        let len = a.len();
        let mut block = len;
        while block > BLOCK {
            block /= 4;
        }
        for start in (0..len).step_by(block) {
            let mut size = len / 4;
            while size > tail as usize {
                // A larger block is due when its first part is.
                let due = if size <= block { block } else { size };
                if start.is_multiple_of(due) {
                    let first = (len + start) / size;
                    for (g, part) in a[start..start + due].chunks_exact_mut(size).enumerate() {
                        self.pass(part, first + g, self.ranges.outer);
                    }
                }
                size /= 4;
            }
            self.last(&mut a[start..start + block], start, tail, end);
        }
    }

    /// Two stages over a block with factor number `root`.
    #[inline(always)]
    fn pass(self, block: &mut [Words], root: usize, outer: Before) {
        self.pass_from(Here, block, root, outer);
    }

    /// [`Self::pass`] on the values of a source.
    #[inline(always)]
    fn pass_from<S: Source<V>>(self, source: S, block: &mut [Words], root: usize, outer: Before) {
        let roots = &self.half.outer;
        let w0 = Factor::splat(&roots[root]);
        let w1 = Factor::splat(&roots[2 * root]);
        let w2 = Factor::splat(&roots[2 * root + 1]);
        let inner = self.ranges.inner;
        let quarter = block.len() / 4;
        let (ab, cd) = block.split_at_mut(2 * quarter);
        let (a, b) = ab.split_at_mut(quarter);
        let (c, d) = cd.split_at_mut(quarter);
        for (i, (((a, b), c), d)) in a.iter_mut().zip(b).zip(c).zip(d).enumerate() {
            let [j, k, l] = [i + quarter, i + 2 * quarter, i + 3 * quarter];
            let (x, z) = self.cross(source.value(i, a), source.value(k, c), w0, outer);
            let (y, t) = self.cross(source.value(j, b), source.value(l, d), w0, outer);
            let (x, y) = self.cross(x, y, w1, inner);
            let (z, t) = self.cross(z, t, w2, inner);
            x.store(a);
            y.store(b);
            z.store(c);
            t.store(d);
        }
    }

    /// The last five stages, or six, on runs of 64 words from register number `start` on.
    #[inline(always)]
    fn last(self, block: &mut [Words], start: usize, stages: Tail, end: &mut End<'_, V>) {
        let (groups, _) = block.as_chunks_mut::<8>();
        let inners = &self.half.inner;
        let first = start / 8;
        let w32 = &self.half.outer[inners.len() + first..];
        let (w16, _) = self.half.outer[2 * (inners.len() + first)..].as_chunks::<2>();
        let factors = w32.iter().zip(w16).zip(&inners[first..]);
        let Ranges { outer, inner, .. } = self.ranges;
        for (number, (group, ((w32, w16), last))) in groups.iter_mut().zip(factors).enumerate() {
            V::prefetch_at(inners, first + number + RUNS_AHEAD);
            let [a, b, c, d, e, f, g, h] = group;
            let (mut p, mut q) = (
                [V::load(a), V::load(b), V::load(c), V::load(d)],
                [V::load(e), V::load(f), V::load(g), V::load(h)],
            );
            let before = match stages {
                Tail::Five => [outer, inner, outer, inner, outer],
                Tail::Six => {
                    self.cross_4(&mut p, &mut q, [Factor::splat(w32); 4], outer);
                    [inner, outer, inner, outer, inner]
                }
            };
            let [v, w] = [Factor::splat(&w16[0]), Factor::splat(&w16[1])];
            (p, q) = ([p[0], p[1], q[0], q[1]], [p[2], p[3], q[2], q[3]]);
            self.cross_4(&mut p, &mut q, [v, v, w, w], before[0]);
            (p, q) = ([p[0], q[0], p[2], q[2]], [p[1], q[1], p[3], q[3]]);
            self.last_16(&mut p, &mut q, last, before);
            self.finish(p, q, group, start + 8 * number, end);
        }
    }

    /// The stages of half-lengths 8, 4, 2 and 1 on four runs of 16 words.
    ///
    /// One interleaving before each stage within registers brings the partners into the same lanes of two,
    /// with the factors in the order of the table; a fourth one restores the order.
    #[inline(always)]
    fn last_16(self, x: &mut [V; 4], y: &mut [V; 4], w: &Inner, before: [Before; 5]) {
        let f = self.f;
        self.cross_4(x, y, w.eights(f), before[1]);
        interleave_4(x, y);
        self.cross_4(x, y, w.fours(f), before[2]);
        interleave_4(x, y);
        self.cross_4(x, y, w.twos(f), before[3]);
        interleave_4(x, y);
        self.cross_4(x, y, self.half.ones(f, w), before[4]);
        interleave_4(x, y);
    }

    /// From `[0, 2^52)` to what the caller wants in `[0, q)`, for the registers from number `first` on,
    /// those with even numbers and those with odd ones; they stand in `group`.
    #[inline(always)]
    fn finish(
        self,
        x: [V; 4],
        y: [V; 4],
        group: &mut [Words; 8],
        first: usize,
        end: &mut End<'_, V>,
    ) {
        let f = self.f;
        let difference =
            |b: &Words, x: V, s| f.mul(V::load(b).add(f.two_q).sub(f.reduce_lazy(x)), s);
        let values = [x[0], y[0], x[1], y[1], x[2], y[2], x[3], y[3]];
        match end {
            End::Plain => {
                for (x, word) in values.into_iter().zip(group) {
                    f.reduce(x).store(word);
                }
            }
            End::From(b, s) => {
                V::prefetch_at(b.as_chunks::<8>().0, first / 8 + RUNS_AHEAD);
                for ((x, word), b) in values.into_iter().zip(group).zip(&b[first..first + 8]) {
                    difference(b, x, *s).store(word);
                }
            }
            End::Into(b, s) => {
                V::prefetch_at(b.as_chunks::<8>().0, first / 8 + RUNS_AHEAD);
                for (x, b) in values.into_iter().zip(&mut b[first..first + 8]) {
                    difference(b, x, *s).store(b);
                }
            }
        }
    }

    /// Four butterflies in lockstep.
    #[inline(always)]
    fn cross_4(self, x: &mut [V; 4], y: &mut [V; 4], w: [Factor<V>; 4], before: Before) {
        for x in &mut *x {
            *x = self.ranges.prepare(*x, before);
        }
        self.f.cross_4(x, y, w);
    }

    #[inline(always)]
    fn cross(self, x: V, y: V, w: Factor<V>, before: Before) -> (V, V) {
        self.f.cross(self.ranges.prepare(x, before), y, w)
    }
}

#[inline(always)]
fn interleave_4<V: Vector>(x: &mut [V; 4], y: &mut [V; 4]) {
    for (x, y) in x.iter_mut().zip(y) {
        (*x, *y) = V::interleave(*x, *y);
    }
}
