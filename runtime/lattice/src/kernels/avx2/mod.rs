//! AVX2 and FMA: residues travel as f64, four to a register.
//!
//! A product `x w` modulo `q < 2^50` takes one rounded product `h`, its exact error `l`, a rounded quotient `c`
//! and the exact `h - c q` (van der Hoeven, Lecerf, Quintin: "Modular SIMD arithmetic in Mathemagix", 2014, section 3).
//! Every intermediate is an integer below `2^53`, so nothing is lost; only the choice of `c` may be one off.
//!
//! With `|x| <= k q` and `|w| <= m q`, three roundings of relative size `2^-53` move `c` by at most `3 k m q 2^-53`
//! from `x w / q`, so the result is at most `(1/2 + 3 k m q 2^-53) q`: `7/8 q` for two residues of 50 bits,
//! `11/16 q` if one of them is centred.
//!
//! Short moduli have transforms and sums of products of their own ([`short`]), on integers.

mod arithmetic;
mod ntt;
mod pointwise;
mod portable;
mod short;
mod uneven;

pub(super) use pointwise::{
    add_assign, add_scalar_assign, carry_rounded_sum, inner_product, inner_products,
    linear_combination, mul, mul_add_assign, mul_assign, mul_scalar_add_assign, mul_scalar_assign,
    neg_assign, permute, prefetch, reduce_centred, sub_assign, sub_from_mul_scalar,
};

pub(super) use portable::{accept, gaussian, lift, lift_short, narrow_products, pack_narrow};
pub(super) use short::{pack, packed_sums, reduce_words};

use crate::modulus::Modulus;

/// Twiddle factors of one prime, for the transform that suits its size.
#[derive(Debug)]
pub(crate) enum Twiddles {
    /// Four residues to a register.
    Long(ntt::Twiddles),
    /// Eight residues to a register.
    Short(short::Twiddles),
}

impl Twiddles {
    #[target_feature(enable = "avx2,fma")]
    pub(super) fn new(q: Modulus, roots: &[u64], inverse_roots: &[u64]) -> Self {
        if q.value() <= short::LARGEST_OF_TRANSFORMS {
            Self::Short(short::Twiddles::new(q, roots, inverse_roots))
        } else {
            Self::Long(ntt::Twiddles::new(q, roots, inverse_roots))
        }
    }
}

/// Declares the transforms; the specification of each is the function of `scalar` of that name.
macro_rules! transforms {
    ($($name:ident($($arg:ident: $type:ty),*);)*) => {$(
        #[target_feature(enable = "avx2,fma")]
        pub(super) fn $name(q: Modulus, twiddles: &Twiddles, a: &mut [u64] $(, $arg: $type)*) {
            match twiddles {
                Twiddles::Long(t) => ntt::$name(q, t, a $(, $arg)*),
                Twiddles::Short(t) => short::$name(q, t, a $(, $arg)*),
            }
        }
    )*};
}

transforms! {
    forward();
    forward_sub_from_mul_scalar(b: &[u64], s: u64);
    inverse();
    inverse_scaled(s: u64);
}
