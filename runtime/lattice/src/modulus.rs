//! One prime of the chain: arithmetic of single residues modulo an odd `q < 2^50`.
//!
//! Every function takes residues in `[0, q)` and returns residues in `[0, q)` unless its text says otherwise.
//! No function here branches on the value of a residue or looks it up in a table, because residues of secrets pass through;
//! the exceptions are [`Modulus::pow`], which branches on the exponent, and what is built on it.
//! The bound of 50 bits is what lets one AVX-512 IFMA product or one pair of f64 operations carry a product;
//! loops over whole limbs live in `kernels`, not here.

use crate::RingError;

/// Moduli lie below `2^MAX_BITS`.
pub const MAX_BITS: u32 = 50;

/// An odd modulus `3 <= q < 2^50` with the constants of its reductions.
///
/// Barrett's reduction is used throughout (P. Barrett, CRYPTO 1986), and Shoup's for fixed factors
/// (D. Harvey, "Faster arithmetic for number-theoretic transforms", 2014).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Modulus {
    value: u64,
    /// Bit length `b` of `q`.
    bits: u32,
    /// `floor(2^64 / q)`.
    barrett_64: u64,
    /// `floor(2^(2b) / q)`, below `2^(b+1)`.
    barrett_product: u64,
    /// `2^64 mod q`.
    two_64: u64,
}

impl Modulus {
    /// Checks that `q` is odd and `3 <= q < 2^50`.
    ///
    /// # Errors
    /// [`RingError::ModulusOutOfRange`] if it is not.
    pub fn new(q: u64) -> Result<Self, RingError> {
        if q < 3 || q.is_multiple_of(2) || q >> MAX_BITS != 0 {
            return Err(RingError::ModulusOutOfRange { modulus: q });
        }
        let bits = 64 - q.leading_zeros();
        let product = (1u128 << (2 * bits)) / u128::from(q);
        Ok(Self {
            value: q,
            bits,
            // q is odd, so floor((2^64 - 1) / q) = floor(2^64 / q).
            barrett_64: u64::MAX / q,
            barrett_product: product as u64,
            two_64: ((1u128 << 64) % u128::from(q)) as u64,
        })
    }

    /// The modulus itself.
    #[inline]
    pub const fn value(self) -> u64 {
        self.value
    }

    /// Number of bits of the modulus.
    #[inline]
    pub const fn bits(self) -> u32 {
        self.bits
    }

    /// Maps `[0, 2q)` to `[0, q)`.
    #[inline]
    pub const fn reduce_once(self, a: u64) -> u64 {
        let (difference, borrow) = a.overflowing_sub(self.value);
        difference.wrapping_add(self.value & (borrow as u64).wrapping_neg())
    }

    /// `a + b mod q`.
    #[inline]
    pub const fn add(self, a: u64, b: u64) -> u64 {
        self.reduce_once(a + b)
    }

    /// `a - b mod q`.
    #[inline]
    pub const fn sub(self, a: u64, b: u64) -> u64 {
        let (difference, borrow) = a.overflowing_sub(b);
        difference.wrapping_add(self.value & (borrow as u64).wrapping_neg())
    }

    /// `-a mod q`.
    #[inline]
    pub const fn neg(self, a: u64) -> u64 {
        self.sub(0, a)
    }

    /// `a * b mod q`, for any `a`, `b` with `a * b < q * 2^bits` (so also one factor below `2^bits`, the other reduced).
    #[inline]
    pub const fn mul(self, a: u64, b: u64) -> u64 {
        let x = a as u128 * b as u128;
        let high = (x >> (self.bits - 1)) as u64;
        // The estimate is at most 2 below floor(x / q).
        let quotient = ((high as u128 * self.barrett_product as u128) >> (self.bits + 1)) as u64;
        let r = (x as u64).wrapping_sub(quotient.wrapping_mul(self.value));
        self.reduce_once(self.reduce_once(r))
    }

    /// `floor(w * 2^64 / q)`, the companion of a fixed factor `w` in `[0, q)` for [`Self::mul_shoup`].
    #[inline]
    pub const fn shoup(self, w: u64) -> u64 {
        (((w as u128) << 64) / self.value as u128) as u64
    }

    /// `a * w mod q` for any 64-bit `a`, where `w_shoup = self.shoup(w)`.
    #[inline]
    pub const fn mul_shoup(self, a: u64, w: u64, w_shoup: u64) -> u64 {
        self.reduce_once(self.mul_shoup_lazy(a, w, w_shoup))
    }

    /// As [`Self::mul_shoup`], but the result lies in `[0, 2q)`.
    #[inline]
    pub const fn mul_shoup_lazy(self, a: u64, w: u64, w_shoup: u64) -> u64 {
        let quotient = ((a as u128 * w_shoup as u128) >> 64) as u64;
        a.wrapping_mul(w).wrapping_sub(quotient.wrapping_mul(self.value))
    }

    /// `a mod q` for any 64-bit `a`.
    #[inline]
    pub const fn reduce_u64(self, a: u64) -> u64 {
        let quotient = ((a as u128 * self.barrett_64 as u128) >> 64) as u64;
        self.reduce_once(a.wrapping_sub(quotient.wrapping_mul(self.value)))
    }

    /// `a mod q` for any 128-bit `a`.
    #[inline]
    pub const fn reduce_u128(self, a: u128) -> u64 {
        let high = self.reduce_u64((a >> 64) as u64);
        self.add(self.mul(high, self.two_64), self.reduce_u64(a as u64))
    }

    /// `a mod q` in `[0, q)` for a signed `a`.
    #[inline]
    pub const fn reduce_i64(self, a: i64) -> u64 {
        let sign = (a >> 63) as u64;
        let residue = self.reduce_u64(a.unsigned_abs());
        // Negate under the mask of the sign; `sub` maps 0 to 0.
        let negated = self.neg(residue);
        (residue & !sign) | (negated & sign)
    }

    /// `a mod q` for `-q < a < q`.
    #[inline]
    pub const fn lift(self, a: i64) -> u64 {
        (a as u64).wrapping_add(self.value & (a >> 63) as u64)
    }

    /// `a mod q` in `[0, q)` for a signed `a`.
    #[inline]
    pub const fn reduce_i128(self, a: i128) -> u64 {
        let sign = (a >> 127) as u64;
        let residue = self.reduce_u128(a.unsigned_abs());
        let negated = self.neg(residue);
        (residue & !sign) | (negated & sign)
    }

    /// The representative of `a` in `(-q/2, q/2)`.
    #[inline]
    pub const fn centred(self, a: u64) -> i64 {
        let above = (((self.value >> 1).wrapping_sub(a)) >> 63).wrapping_neg();
        a as i64 - (self.value & above) as i64
    }

    /// `a^e mod q`. Branches on `e`.
    pub const fn pow(self, a: u64, e: u64) -> u64 {
        let mut base = a;
        let mut e = e;
        let mut result = 1 % self.value;
        while e > 0 {
            if e & 1 == 1 {
                result = self.mul(result, base);
            }
            base = self.mul(base, base);
            e >>= 1;
        }
        result
    }

    /// The inverse of `a`, by Fermat's little theorem: `q` must be prime and `a` not zero.
    pub const fn inv(self, a: u64) -> u64 {
        self.pow(a, self.value - 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MODULI: [u64; 6] = [3, 97, 0x1fff_ffff, (1 << 49) + 1, 0x3_ffff_ffe5_ffff, (1 << 50) - 1];

    #[test]
    fn rejects_even_small_and_large() {
        for q in [0, 1, 2, 4, 1 << 50, (1 << 50) + 1, u64::MAX] {
            assert!(Modulus::new(q).is_err(), "{q}");
        }
    }

    #[test]
    fn edges_agree_with_wide_division() {
        for q in MODULI {
            let m = Modulus::new(q).unwrap();
            for a in [0, 1, q / 2, q / 2 + 1, q - 1] {
                for b in [0, 1, q / 2, q - 1] {
                    check(m, a, b);
                }
            }
            for a in [0, 1, q, q + 1, 2 * q - 1, u64::MAX, u64::MAX - 1] {
                assert_eq!(m.reduce_u64(a), a % q);
            }
            for a in [0, u128::MAX, u128::MAX - 1, u128::from(u64::MAX) + 1] {
                assert_eq!(u128::from(m.reduce_u128(a)), a % u128::from(q));
            }
            for a in [i64::MIN, -1, 0, 1, i64::MAX] {
                assert_eq!(m.reduce_i64(a) as i128, i128::from(a).rem_euclid(i128::from(q)));
            }
            for a in [1 - q as i64, -1, 0, 1, q as i64 - 1] {
                assert_eq!(i128::from(m.lift(a)), i128::from(a).rem_euclid(i128::from(q)));
            }
            for a in [i128::MIN, -1, 0, 1, i128::MAX] {
                assert_eq!(i128::from(m.reduce_i128(a)), a.rem_euclid(i128::from(q)));
            }
        }
    }

    fn check(m: Modulus, a: u64, b: u64) {
        let (q, wa, wb) = (u128::from(m.value()), u128::from(a), u128::from(b));
        assert_eq!(u128::from(m.mul(a, b)), wa * wb % q);
        assert_eq!(u128::from(m.add(a, b)), (wa + wb) % q);
        assert_eq!(u128::from(m.sub(a, b)), (wa + q - wb) % q);
        assert_eq!(u128::from(m.neg(a)), (q - wa) % q);
        assert_eq!(u128::from(m.mul_shoup(a, b, m.shoup(b))), wa * wb % q);
        let centred = m.centred(a);
        assert_eq!(i128::from(centred).rem_euclid(q as i128), wa as i128);
        assert!(2 * centred.unsigned_abs() < m.value());
    }

    proptest! {
        #[test]
        fn residues_agree_with_wide_division(i in 0..MODULI.len(), a: u64, b: u64, c: u128) {
            let m = Modulus::new(MODULI[i]).unwrap();
            check(m, a % MODULI[i], b % MODULI[i]);
            prop_assert_eq!(m.reduce_u64(a), a % MODULI[i]);
            prop_assert_eq!(u128::from(m.reduce_u128(c)), c % u128::from(MODULI[i]));
        }
    }

    #[test]
    fn inverse_times_itself_is_one() {
        let prime = crate::primes::ntt_primes_below(1 << 50, 13).next().unwrap();
        let m = Modulus::new(prime).unwrap();
        for a in [1, 2, 12345, m.value() - 1] {
            assert_eq!(m.mul(a, m.inv(a)), 1);
        }
    }
}
