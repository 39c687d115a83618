//! Arithmetic modulo one prime in eight lanes. Ranges are those of the module's text.

use super::vector::Vector;
use crate::modulus::Modulus;

/// `2^52 - 1`.
const MASK: u64 = (1 << 52) - 1;

/// A fixed factor `w` as `[w 2^52 mod q, that times q^-1 mod 2^52]`.
pub(super) type FactorWords = [u64; 2];

/// `q^-1 mod 2^52`, by Newton's iteration, which doubles the number of correct bits.
pub(super) const fn inverse_modulo_2_52(q: u64) -> u64 {
    // Right to three bits for every odd q.
    let mut inverse = q;
    let mut bits = 3;
    while bits < 52 {
        inverse = inverse.wrapping_mul(2u64.wrapping_sub(q.wrapping_mul(inverse)));
        bits *= 2;
    }
    inverse & MASK
}

/// The form of a fixed factor.
pub(super) fn factor_words(q: Modulus, w: u64) -> FactorWords {
    scaled_factor_words(q, [q.reduce_u64(1 << 52), 0], w)
}

/// The form of `s` times the factor of the given form.
pub(super) fn scaled_factor_words(q: Modulus, words: FactorWords, s: u64) -> FactorWords {
    let w = q.mul(words[0], s);
    [w, w.wrapping_mul(inverse_modulo_2_52(q.value())) & MASK]
}

/// A fixed factor in every lane, or one in each.
#[derive(Clone, Copy)]
pub(super) struct Factor<V> {
    w: V,
    companion: V,
}

impl<V: Vector> Factor<V> {
    #[inline(always)]
    pub(super) fn splat(words: &FactorWords) -> Self {
        Self { w: V::splat(words[0]), companion: V::splat(words[1]) }
    }
}

/// A modulus with its constants in every lane.
#[derive(Clone, Copy)]
pub(super) struct Field<V> {
    pub(super) zero: V,
    pub(super) q: V,
    pub(super) two_q: V,
    minus_q: V,
    /// `q^-1 mod 2^52`.
    inverse: V,
    /// `floor(2^52 / q)`.
    reciprocal: V,
}

impl<V: Vector> Field<V> {
    #[inline(always)]
    pub(super) fn new(modulus: Modulus) -> Self {
        let q = modulus.value();
        Self {
            zero: V::splat(0),
            q: V::splat(q),
            two_q: V::splat(2 * q),
            minus_q: V::splat(q.wrapping_neg()),
            inverse: V::splat(inverse_modulo_2_52(q)),
            reciprocal: V::splat((1 << 52) / q),
        }
    }

    /// Factors whose companions are not stored: half the bytes for one more product.
    #[inline(always)]
    pub(super) fn factor(self, w: V) -> Factor<V> {
        Factor { w, companion: self.zero.madd_low(w, self.inverse) }
    }

    /// `y w mod q` in `(-q, q)` for `y < 2^52`, as a number of two's complement.
    #[inline(always)]
    pub(super) fn mul_signed(self, y: V, factor: Factor<V>) -> V {
        let m = self.zero.madd_low(y, factor.companion);
        let high = self.zero.madd_high(y, factor.w);
        high.sub(self.zero.madd_high(m, self.q))
    }

    /// `y w mod q` in `(0, 2q)` for `y < 2^52`: what [`Self::mul_signed`] gives, plus q.
    #[inline(always)]
    pub(super) fn mul_lazy(self, y: V, factor: Factor<V>) -> V {
        let m = self.zero.madd_low(y, factor.companion);
        let high = self.zero.madd_high(y, factor.w);
        high.sub(self.minus_q.madd_high(m, self.q))
    }

    /// [`Self::mul_lazy`] four times in lockstep.
    #[inline(always)]
    pub(super) fn mul_lazy_4(self, y: [V; 4], factors: [Factor<V>; 4]) -> [V; 4] {
        let (mut m, mut high) = (y, y);
        for i in 0..4 {
            m[i] = self.zero.madd_low(y[i], factors[i].companion);
            high[i] = self.zero.madd_high(y[i], factors[i].w);
        }
        for i in 0..4 {
            high[i] = high[i].sub(self.minus_q.madd_high(m[i], self.q));
        }
        high
    }

    /// `y w mod q` in `[0, q)` for `y < 2^52`.
    #[inline(always)]
    pub(super) fn mul(self, y: V, factor: Factor<V>) -> V {
        self.lift(self.mul_signed(y, factor))
    }

    /// `x + y w` and `x - y w` modulo q, each within q of `x`, for `y < 2^52`.
    #[inline(always)]
    pub(super) fn cross(self, x: V, y: V, factor: Factor<V>) -> (V, V) {
        let twice = x.add(x);
        let m = self.zero.madd_low(y, factor.companion);
        let sum = x.madd_high(y, factor.w).sub(self.zero.madd_high(m, self.q));
        (sum, twice.sub(sum))
    }

    /// [`Self::cross`] on four pairs in lockstep: a processor that looks ahead too little finds them side by side.
    #[inline(always)]
    pub(super) fn cross_4(self, x: &mut [V; 4], y: &mut [V; 4], factors: [Factor<V>; 4]) {
        let (mut twice, mut m) = ([self.zero; 4], [self.zero; 4]);
        for i in 0..4 {
            m[i] = self.zero.madd_low(y[i], factors[i].companion);
            twice[i] = x[i].add(x[i]);
            x[i] = x[i].madd_high(y[i], factors[i].w);
        }
        for i in 0..4 {
            x[i] = x[i].sub(self.zero.madd_high(m[i], self.q));
            y[i] = twice[i].sub(x[i]);
        }
    }

    /// `a b 2^-52 mod q` in `(0, 2q)` for `a b < 2^52 q`.
    #[inline(always)]
    pub(super) fn mul_montgomery(self, a: V, b: V) -> V {
        let low = self.zero.madd_low(a, b);
        let m = self.zero.madd_low(low, self.inverse);
        self.zero.madd_high(a, b).sub(self.minus_q.madd_high(m, self.q))
    }

    /// Maps `[-q, q)` to `[0, q)`.
    #[inline(always)]
    pub(super) fn lift(self, x: V) -> V {
        x.min(x.add(self.q))
    }

    /// Maps `[-2q, 2q]` to `[0, 2q]`.
    #[inline(always)]
    pub(super) fn lift_2(self, x: V) -> V {
        x.min(x.add(self.two_q))
    }

    /// Maps `[0, 2q)` to `[0, q)`.
    #[inline(always)]
    pub(super) fn reduce_once(self, x: V) -> V {
        x.min(x.sub(self.q))
    }

    /// Maps `[0, 4q]` to `[0, 2q]`.
    #[inline(always)]
    pub(super) fn reduce_once_2(self, x: V) -> V {
        x.min(x.sub(self.two_q))
    }

    /// `x mod q` in `[0, 2q)` for `x < 2^52`: Barrett's quotient is at most one short, two with its own rounding.
    #[inline(always)]
    pub(super) fn reduce_lazy(self, x: V) -> V {
        let quotient = self.zero.madd_high(x, self.reciprocal);
        x.sub(self.zero.madd_low(quotient, self.q))
    }

    /// `x mod q` in `[0, q)` for `x < 2^52`.
    #[inline(always)]
    pub(super) fn reduce(self, x: V) -> V {
        self.reduce_once(self.reduce_lazy(x))
    }

    /// `2^52 high + low mod q` in `[0, q)`, where `high + low / 2^52 < 2^52`;
    /// `two_52` is the factor `2^52 mod q`.
    #[inline(always)]
    pub(super) fn reduce_wide(self, high: V, low: V, two_52: Factor<V>) -> V {
        let high = self.mul_lazy(high.add(low.above_52()), two_52);
        let low = self.reduce_lazy(low.and(V::splat(MASK)));
        self.reduce_once(self.reduce_once_2(high.add(low)))
    }
}
