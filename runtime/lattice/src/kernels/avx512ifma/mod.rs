//! AVX-512 with IFMA, the product of 52 bits: residues travel as integers, eight to a register.
//!
//! A product by a fixed factor `w` is Montgomery's (Math. Comp. 44, 1985) with radix `2^52`:
//! for `W = w 2^52 mod q` and `m = y W q^-1 mod 2^52` the lower halves of `y W` and `m q` are equal,
//! so `y w = floor(y W / 2^52) - floor(m q / 2^52)` modulo q, within `(-q, q)`, for every `y < 2^52`.
//! `W q^-1 mod 2^52` is known ahead: three multiplications and a subtraction, without a mask or a carry.
//! Where a result must not be negative, q is added for nothing: it stands ready in the register that the last
//! multiplication adds to.
//!
//! [`vector`] says what the kernels need of a register; they are written against that alone.
//! Nothing here branches on a residue or uses it as an index.

mod field;
mod forward;
mod inverse;
#[cfg(test)]
mod model;
mod narrow;
mod pointwise;
mod random;
mod short;
mod sums;
mod twiddles;
mod vector;
mod zmm;

pub(super) use twiddles::Twiddles;

/// The kernels on one kind of vector; `$feature` lists what the callers of each must have made sure of.
macro_rules! entry_points {
    ($module:ident, $vector:path $(, #[$feature:meta])?) => {
        pub(in super::super) mod $module {
            use super::super::{Ending, Lanes, Origin};
            use super::{Twiddles, forward, inverse, narrow, pointwise, random, short, sums};
            use crate::modulus::Modulus;

            entry_points! { $vector $(, #[$feature])?;
                forward::forward(q: Modulus, t: &Twiddles, a: &mut [u64]);
                forward::forward_sub_from_mul_scalar(
                    q: Modulus,
                    t: &Twiddles,
                    a: &mut [u64],
                    b: &[u64],
                    s: u64
                );
                forward::forward_from(
                    q: Modulus,
                    t: &Twiddles,
                    a: &mut [u64],
                    origin: Origin<'_>,
                    ending: Ending<'_>
                );
                inverse::inverse(q: Modulus, t: &Twiddles, a: &mut [u64]);
                inverse::inverse_scaled(q: Modulus, t: &Twiddles, a: &mut [u64], s: u64);
                inverse::inverse_from(
                    q: Modulus,
                    t: &Twiddles,
                    a: &mut [u64],
                    src: &[u64],
                    s: u64
                );
                pointwise::add_assign(q: Modulus, a: &mut [u64], b: &[u64]);
                pointwise::sub_assign(q: Modulus, a: &mut [u64], b: &[u64]);
                pointwise::neg_assign(q: Modulus, a: &mut [u64]);
                pointwise::add_scalar_assign(q: Modulus, a: &mut [u64], s: u64);
                pointwise::mul(q: Modulus, out: &mut [u64], a: &[u64], b: &[u64]);
                pointwise::mul_assign(q: Modulus, a: &mut [u64], b: &[u64]);
                pointwise::mul_add_assign(q: Modulus, acc: &mut [u64], a: &[u64], b: &[u64]);
                pointwise::mul_scalar_assign(q: Modulus, a: &mut [u64], s: u64);
                pointwise::mul_scalar_add_assign(q: Modulus, acc: &mut [u64], b: &[u64], s: u64);
                pointwise::sub_from_mul_scalar(q: Modulus, out: &mut [u64], a: &[u64], s: u64);
                pointwise::reduce_centred(from: Modulus, q: Modulus, out: &mut [u64], src: &[u64]);
                pointwise::permute(out: &mut [u64], src: &[u64], sources: &[u32], lanes: &Lanes);
                pointwise::prefetch(words: &[u64]);
                pointwise::lift(q: Modulus, out: &mut [u64], src: &[i64]);
                pointwise::lift_short(q: Modulus, out: &mut [u64], src: &[i32]);
                narrow::pack_narrow(out: &mut [u64], a: &[u64], width: u32);
                sums::inner_product(q: Modulus, out: &mut [u64], pairs: &[(&[u64], &[u64])]);
                sums::inner_products(
                    q: Modulus,
                    outs: [&mut [u64]; 2],
                    triples: &[(&[u64], [&[u64]; 2])],
                    fresh: bool
                );
                sums::narrow_products(
                    q: Modulus,
                    outs: [&mut [u64]; 2],
                    triples: &[(&[u64], [&[u64]; 2])],
                    fresh: bool
                );
                sums::linear_combination(
                    q: Modulus,
                    out: &mut [u64],
                    terms: &[(&[u64], u64)],
                    carried: u64
                );
                sums::carry_rounded_sum(first: &mut [u64], weight: f64, others: &[(&[u64], f64)]);
                short::pack(out: &mut [u64], a: &[u64]);
                short::packed_sums(sums: [&mut [u64]; 2], triples: &[(&[u64], [&[u64]; 2])]);
                short::reduce_words(q: Modulus, a: &mut [u64]);
                random::accept(
                    q: Modulus,
                    out: &mut [u64],
                    packed: &[u64],
                    width: u32
                ) -> usize;
                random::gaussian(words: &mut [u64]);
            }
        }
    };
    ($vector:path; $($file:ident::$name:ident($($arg:ident: $type:ty),*) $(-> $result:ty)?;)*) => {$(
        pub(in super::super::super) fn $name($($arg: $type),*) $(-> $result)? {
            $file::$name::<$vector>($($arg),*)
        }
    )*};
    ($vector:path, #[$feature:meta]; $($file:ident::$name:ident($($arg:ident: $type:ty),*) $(-> $result:ty)?;)*) => {$(
        #[$feature]
        pub(in super::super::super) fn $name($($arg: $type),*) $(-> $result)? {
            $file::$name::<$vector>($($arg),*)
        }
    )*};
}

entry_points!(native, super::zmm::Zmm, #[target_feature(enable = "avx512f,avx512dq,avx512ifma,avx512vbmi")]);
#[cfg(test)]
entry_points!(modelled, super::model::Model);
