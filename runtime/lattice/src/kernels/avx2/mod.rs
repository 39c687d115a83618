//! AVX2 and FMA: residues travel as f64, four to a register.
//!
//! A product `x w` modulo `q < 2^50` takes one rounded product `h`, its exact error `l`, a rounded quotient `c`
//! and the exact `h - c q` (van der Hoeven, Lecerf, Quintin: "Modular SIMD arithmetic in Mathemagix", 2014, section 3).
//! Every intermediate is an integer below `2^53`, so nothing is lost; only the choice of `c` may be one off.
//!
//! With `|x| <= k q` and `|w| <= m q`, three roundings of relative size `2^-53` move `c` by at most `3 k m q 2^-53`
//! from `x w / q`, so the result is at most `(1/2 + 3 k m q 2^-53) q`: `7/8 q` for two residues of 50 bits,
//! `11/16 q` if one of them is centred.

mod arithmetic;
mod ntt;
mod pointwise;

pub(super) use ntt::{Twiddles, forward, forward_sub_from_mul_scalar, inverse, inverse_scaled};
pub(super) use pointwise::{
    add_assign, add_scalar_assign, inner_product, inner_product_add, inner_products,
    linear_combination, mul, mul_add_assign, mul_assign, mul_scalar_add_assign, mul_scalar_assign,
    neg_assign, reduce_centred, rounded_sum, sub_assign, sub_from_mul_scalar,
};
