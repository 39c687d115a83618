//! The inverse transform in radix 4, the passes of [`super::forward`] backwards.
//!
//! Gentleman–Sande butterflies: `(x + y, (x - y) w)`. What comes in as the second operand is the *negative* of `y`,
//! in `[0, 2q]` like everything else, so that the difference, which is multiplied, is a sum without a sign,
//! and the sum, which is not, is a difference in `[-2q, 2q]`, lifted to `[0, 2q]` by one addition and one minimum.
//! A block with an odd number, the second operand of the next stage, therefore leaves with the opposite sign:
//! its difference has its operands exchanged, its factor in the table is negated.
//! The first three stages, within registers, come before this arrangement and cost one operation more.

use super::field::{Factor, FactorWords, Field, scaled_factor_words};
use super::forward::{BLOCK, RUNS_AHEAD, Tail};
use super::twiddles::{Half, Twiddles};
use super::vector::{Vector, Words, each, octets, octets_mut};
use crate::modulus::Modulus;

/// In-place transform; the specification is `scalar::inverse`.
#[inline(always)]
pub(super) fn inverse<V: Vector>(q: Modulus, t: &Twiddles, a: &mut [u64]) {
    let transform = Transform { f: Field::<V>::new(q), half: &t.inverse };
    transform.run(octets_mut(a), None, [&t.inverse_n, &t.inverse_n_root]);
}

/// In-place transform times `s`, which comes with the `1/N` of the last stage.
#[inline(always)]
pub(super) fn inverse_scaled<V: Vector>(q: Modulus, t: &Twiddles, a: &mut [u64], s: u64) {
    let transform = Transform { f: Field::<V>::new(q), half: &t.inverse };
    let scaled = [t.inverse_n, t.inverse_n_root].map(|words| scaled_factor_words(q, words, s));
    transform.run(octets_mut(a), None, [&scaled[0], &scaled[1]]);
}

/// Transform of `src` times `s`.
#[inline(always)]
pub(super) fn inverse_from<V: Vector>(
    q: Modulus,
    t: &Twiddles,
    a: &mut [u64],
    src: &[u64],
    s: u64,
) {
    let transform = Transform { f: Field::<V>::new(q), half: &t.inverse };
    let scaled = [t.inverse_n, t.inverse_n_root].map(|words| scaled_factor_words(q, words, s));
    transform.run(octets_mut(a), Some(octets(src)), [&scaled[0], &scaled[1]]);
}

/// Everything that an inverse transform needs but the limb.
#[derive(Clone, Copy)]
struct Transform<'a, V> {
    f: Field<V>,
    half: &'a Half,
}

/// The sign with which a block leaves a stage.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sign {
    /// Blocks with even numbers.
    Plus,
    /// Blocks with odd numbers.
    Minus,
}

use Sign::{Minus, Plus};

impl<V: Vector> Transform<'_, V> {
    #[inline(always)]
    fn run(self, a: &mut [Words], src: Option<&[Words]>, last: [&FactorWords; 2]) {
        if a.len().trailing_zeros().is_multiple_of(2) {
            self.run_with(a, src, last, Tail::Five);
        } else {
            self.run_with(a, src, last, Tail::Six);
        }
    }

    #[inline(always)]
    fn run_with(self, a: &mut [Words], src: Option<&[Words]>, last: [&FactorWords; 2], head: Tail) {
        let len = a.len();
        let mut block = len;
        while block > BLOCK {
            block /= 4;
        }
        for start in (0..len).step_by(block) {
            let end = start + block;
            let from = src.map(|src| &src[start..end]);
            match head {
                Tail::Five => self.first_5(&mut a[start..end], from, start),
                Tail::Six => self.first_6(&mut a[start..end], from, start),
            }
            let mut size = 4 * head as usize;
            while size < len {
                // A larger block is due when its last part is done.
                let due = if size <= block { block } else { size };
                if end.is_multiple_of(due) {
                    let first = (len + end - due) / size;
                    for (g, part) in a[end - due..end].chunks_exact_mut(size).enumerate() {
                        self.pass(part, first + g);
                    }
                }
                size *= 4;
            }
        }
        self.last(a, last);
    }

    /// `(x + y, (x - y) w)` with the given sign, from `x` and `-y` in `[0, 2q]` and with a factor of that sign.
    #[inline(always)]
    fn cross(self, x: V, minus_y: V, w: Factor<V>, sign: Sign) -> (V, V) {
        let sum = if sign == Plus { x.sub(minus_y) } else { minus_y.sub(x) };
        (self.f.lift_2(sum), self.f.mul_lazy(x.add(minus_y), w))
    }

    /// Two stages over a block with factor number `root`.
    #[inline(always)]
    fn pass(self, block: &mut [Words], root: usize) {
        if root.is_multiple_of(2) {
            self.signed_pass(block, root, Plus);
        } else {
            self.signed_pass(block, root, Minus);
        }
    }

    #[inline(always)]
    fn signed_pass(self, block: &mut [Words], root: usize, sign: Sign) {
        let roots = &self.half.outer;
        let w0 = Factor::splat(&roots[root]);
        let w1 = Factor::splat(&roots[2 * root]);
        let w2 = Factor::splat(&roots[2 * root + 1]);
        let quarter = block.len() / 4;
        let (ab, cd) = block.split_at_mut(2 * quarter);
        let (a, b) = ab.split_at_mut(quarter);
        let (c, d) = cd.split_at_mut(quarter);
        for (((a, b), c), d) in a.iter_mut().zip(b).zip(c).zip(d) {
            let (x, y) = self.cross(V::load(a), V::load(b), w1, Plus);
            let (z, t) = self.cross(V::load(c), V::load(d), w2, Minus);
            let (x, z) = self.cross(x, z, w0, sign);
            let (y, t) = self.cross(y, t, w0, sign);
            x.store(a);
            y.store(b);
            z.store(c);
            t.store(d);
        }
    }

    /// The last two stages, with the factors `1/N` and `w/N` at the end.
    #[inline(always)]
    fn last(self, a: &mut [Words], [n, root]: [&FactorWords; 2]) {
        let f = self.f;
        let (n, root) = (Factor::splat(n), Factor::splat(root));
        let w1 = Factor::splat(&self.half.outer[2]);
        let w2 = Factor::splat(&self.half.outer[3]);
        let quarter = a.len() / 4;
        let (ab, cd) = a.split_at_mut(2 * quarter);
        let (a, b) = ab.split_at_mut(quarter);
        let (c, d) = cd.split_at_mut(quarter);
        for (((a, b), c), d) in a.iter_mut().zip(b).zip(c).zip(d) {
            let (x, y) = self.cross(V::load(a), V::load(b), w1, Plus);
            let (z, t) = self.cross(V::load(c), V::load(d), w2, Minus);
            f.mul(x.sub(z).add(f.two_q), n).store(a);
            f.mul(y.sub(t).add(f.two_q), n).store(b);
            f.mul(x.add(z), root).store(c);
            f.mul(y.add(t), root).store(d);
        }
    }

    /// The first five stages on runs of 64 words from register number `start` on, read in place or from elsewhere.
    #[inline(always)]
    fn first_5(self, block: &mut [Words], from: Option<&[Words]>, start: usize) {
        let from = from.map(|words| words.as_chunks::<8>().0);
        let (groups, _) = block.as_chunks_mut::<8>();
        let first = start / 8;
        let (w16, _) = self.half.outer[2 * (self.half.inner.len() + first)..].as_chunks::<2>();
        for (i, (group, w16)) in groups.iter_mut().zip(w16).enumerate() {
            let (x, y) = self.first_64(Self::read(group, from, i), first + i, w16);
            store_64(group, x, y);
        }
    }

    /// The first six stages on runs of 64 words from register number `start` on, two runs at a time.
    #[inline(always)]
    fn first_6(self, block: &mut [Words], from: Option<&[Words]>, start: usize) {
        let from = from.map(|words| words.as_chunks::<8>().0);
        let (groups, _) = block.as_chunks_mut::<16>();
        let (first, inner) = (start / 8, self.half.inner.len());
        let (w32, _) = self.half.outer[inner + first..].as_chunks::<2>();
        let (w16, _) = self.half.outer[2 * (inner + first)..].as_chunks::<4>();
        for (i, (group, (w32, w16))) in groups.iter_mut().zip(w32.iter().zip(w16)).enumerate() {
            let (groups, _) = group.as_chunks_mut::<8>();
            let (w16, _) = w16.as_chunks::<2>();
            let [group, next] = groups else { continue };
            let number = 2 * i;
            let read = Self::read(group, from, number);
            let (mut x, mut y) = self.first_64(read, first + number, &w16[0]);
            self.cross_4(&mut x, &mut y, [Factor::splat(&w32[0]); 4], [Plus; 4]);
            store_64(group, x, y);
            let read = Self::read(next, from, number + 1);
            let (mut x, mut y) = self.first_64(read, first + number + 1, &w16[1]);
            self.cross_4(&mut x, &mut y, [Factor::splat(&w32[1]); 4], [Minus; 4]);
            store_64(next, x, y);
        }
    }

    /// Run number `i` of 64 words of what is transformed: what is here, or from elsewhere.
    #[inline(always)]
    fn read<'a>(here: &'a [Words; 8], from: Option<&'a [[Words; 8]]>, i: usize) -> &'a [Words; 8] {
        let Some(from) = from else { return here };
        V::prefetch_at(from, i + RUNS_AHEAD);
        &from[i]
    }

    /// The stages of half-lengths 1 to 16 on run number `number` of 64 words: the first four registers and the last four.
    #[inline(always)]
    fn first_64(
        self,
        group: &[Words; 8],
        number: usize,
        w16: &[FactorWords; 2],
    ) -> ([V; 4], [V; 4]) {
        let f = self.f;
        let w = &self.half.inner[number];
        V::prefetch_at(&self.half.inner, number + RUNS_AHEAD);
        let [a, b, c, d, e, g, h, k] = group;
        // The second register of each pair is the second operand of half-length 8: negative from the start.
        let mut x = each!(words in [a, c, e, h] => V::load(words));
        let mut y = each!(words in [b, d, g, k] => f.q.sub(V::load(words)));

        separate_4(&mut x, &mut y);
        for ((x, y), w) in x.iter_mut().zip(&mut y).zip(self.half.ones(f, w)) {
            // The sum of two residues needs no reduction yet.
            let difference = x.sub(*y).add(f.q);
            (*x, *y) = (x.add(*y), f.mul_lazy(difference, w));
        }
        separate_4(&mut x, &mut y);
        self.cross_unsigned_4(&mut x, &mut y, w.twos(f));
        separate_4(&mut x, &mut y);
        self.cross_unsigned_4(&mut x, &mut y, w.fours(f));
        separate_4(&mut x, &mut y);
        self.cross_4(&mut x, &mut y, w.eights(f), [Plus, Minus, Plus, Minus]);
        let [v, w] = [Factor::splat(&w16[0]), Factor::splat(&w16[1])];
        (x, y) = ([x[0], y[0], x[2], y[2]], [x[1], y[1], x[3], y[3]]);
        self.cross_4(&mut x, &mut y, [v, v, w, w], [Plus, Plus, Minus, Minus]);
        ([x[0], x[1], y[0], y[1]], [x[2], x[3], y[2], y[3]])
    }

    /// Four butterflies.
    #[inline(always)]
    fn cross_4(self, x: &mut [V; 4], y: &mut [V; 4], w: [Factor<V>; 4], signs: [Sign; 4]) {
        let (mut sums, mut multiplicands) = (*x, *x);
        for i in 0..4 {
            sums[i] = if signs[i] == Plus { x[i].sub(y[i]) } else { y[i].sub(x[i]) };
            multiplicands[i] = x[i].add(y[i]);
        }
        for i in 0..4 {
            x[i] = self.f.lift_2(sums[i]);
        }
        *y = self.f.mul_lazy_4(multiplicands, w);
    }

    /// Four times `(x + y, (x - y) w)` from `x` and `y`, all in `[0, 2q]`.
    #[inline(always)]
    fn cross_unsigned_4(self, x: &mut [V; 4], y: &mut [V; 4], w: [Factor<V>; 4]) {
        let f = self.f;
        let mut differences = *x;
        for i in 0..4 {
            differences[i] = x[i].sub(y[i]).add(f.two_q);
            x[i] = f.reduce_once_2(x[i].add(y[i]));
        }
        *y = f.mul_lazy_4(differences, w);
    }
}

#[inline(always)]
fn separate_4<V: Vector>(x: &mut [V; 4], y: &mut [V; 4]) {
    for (x, y) in x.iter_mut().zip(y) {
        (*x, *y) = V::separate(*x, *y);
    }
}

#[inline(always)]
fn store_64<V: Vector>(group: &mut [Words; 8], low: [V; 4], high: [V; 4]) {
    for (words, x) in group.iter_mut().zip(low.into_iter().chain(high)) {
        x.store(words);
    }
}
