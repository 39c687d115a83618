//! Loops over one limb, one file or folder per instruction set, one dispatch.
//!
//! [`scalar`] is the specification: every other set computes the same words, bit for bit, and the tests here hold it to that.
//! All inputs and outputs are residues in `[0, q)`; lazier ranges exist only inside a kernel, where its text states them.
//! Moduli are primes with a transform, so above `2^11`.
//! Limbs have a multiple of 16 words; operands of one call have equal lengths.
//! This is the only folder with `unsafe`: vector loads and stores, and calls that an [`Isa`] proves allowed.
//! Nothing here allocates, spawns threads or knows what a polynomial is.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512ifma;
mod isa;
mod scalar;
#[cfg(test)]
mod tests;

pub use isa::Isa;

use crate::modulus::Modulus;
#[cfg(doc)]
use crate::{bits, gaussian, sampling};
use isa::Kind;

/// Twiddle factors of one prime, in the form that the kernels of one instruction set read.
#[derive(Debug)]
pub(crate) enum Twiddles {
    /// For [`scalar`].
    Scalar(scalar::Twiddles),
    /// For [`avx2`]; made only where an [`Isa`] proves that the processor has it.
    #[cfg(target_arch = "x86_64")]
    Avx2(avx2::Twiddles),
    /// For [`avx512ifma`]; made only where an [`Isa`] proves that the processor has it.
    #[cfg(target_arch = "x86_64")]
    Avx512Ifma(avx512ifma::Twiddles),
    /// For the model of [`avx512ifma`].
    #[cfg(all(test, target_arch = "x86_64"))]
    Modelled(avx512ifma::Twiddles),
}

/// Dispatches a transform by the kind of its twiddle factors.
macro_rules! transform {
    ($twiddles:expr, $name:ident($q:ident, $($arg:ident),*)) => {
        match $twiddles {
            Self::Scalar(t) => scalar::$name($q, t, $($arg),*),
            // SAFETY: these twiddles exist only if the processor has AVX2 and FMA.
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(t) => unsafe { avx2::$name($q, t, $($arg),*) },
            // SAFETY: these twiddles exist only if the processor has AVX-512 F, DQ, IFMA and VBMI.
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Ifma(t) => unsafe { avx512ifma::native::$name($q, t, $($arg),*) },
            #[cfg(all(test, target_arch = "x86_64"))]
            Self::Modelled(t) => avx512ifma::modelled::$name($q, t, $($arg),*),
        }
    };
}

impl Twiddles {
    /// `roots[i] = psi^brv(i)` and `inverse_roots[i] = psi^-brv(i)` for the bit reversal of `log_n` bits.
    pub(crate) fn new(isa: Isa, q: Modulus, roots: &[u64], inverse_roots: &[u64]) -> Self {
        match isa.kind() {
            Kind::Scalar => Self::Scalar(scalar::Twiddles::new(q, roots, inverse_roots)),
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => {
                // SAFETY: this `Isa` exists only if the processor has AVX2 and FMA.
                Self::Avx2(unsafe { avx2::Twiddles::new(q, roots, inverse_roots) })
            }
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512Ifma => {
                Self::Avx512Ifma(avx512ifma::Twiddles::new(q, roots, inverse_roots))
            }
            #[cfg(all(test, target_arch = "x86_64"))]
            Kind::Modelled => Self::Modelled(avx512ifma::Twiddles::new(q, roots, inverse_roots)),
        }
    }

    /// In-place negacyclic transform: natural order in, bit-reversed order out.
    pub(crate) fn forward(&self, q: Modulus, a: &mut [u64]) {
        transform!(self, forward(q, a));
    }

    /// `a = (b - forward(a)) * s` for one residue `s`.
    pub(crate) fn forward_sub_from_mul_scalar(&self, q: Modulus, a: &mut [u64], b: &[u64], s: u64) {
        transform!(self, forward_sub_from_mul_scalar(q, a, b, s));
    }

    /// `a = forward(origin)`, or what the ending says.
    ///
    /// AVX-512 reads centred residues in its first pass and the minuend in its last one; elsewhere each has a loop of its own.
    pub(crate) fn forward_from(
        &self,
        isa: Isa,
        q: Modulus,
        a: &mut [u64],
        origin: Origin<'_>,
        ending: Ending<'_>,
    ) {
        match self {
            // SAFETY: these twiddles exist only if the processor has AVX-512 F, DQ, IFMA and VBMI.
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Ifma(t) => unsafe {
                avx512ifma::native::forward_from(q, t, a, origin, ending);
            },
            #[cfg(all(test, target_arch = "x86_64"))]
            Self::Modelled(t) => avx512ifma::modelled::forward_from(q, t, a, origin, ending),
            _ => {
                match origin {
                    Origin::Centred(from, src) => reduce_centred(isa, from, q, a, src),
                    Origin::Combined(terms, carried) => {
                        linear_combination(isa, q, a, terms, carried);
                    }
                }
                match ending {
                    Ending::Plain => self.forward(q, a),
                    Ending::From(b, s) => self.forward_sub_from_mul_scalar(q, a, b, s),
                    Ending::Into(b, s) => {
                        self.forward_sub_from_mul_scalar(q, a, b, s);
                        b.copy_from_slice(a);
                    }
                }
            }
        }
    }

    /// The inverse of [`Self::forward`].
    pub(crate) fn inverse(&self, q: Modulus, a: &mut [u64]) {
        transform!(self, inverse(q, a));
    }

    /// `a = inverse(a) * s` for one residue `s`.
    pub(crate) fn inverse_scaled(&self, q: Modulus, a: &mut [u64], s: u64) {
        transform!(self, inverse_scaled(q, a, s));
    }

    /// `a = inverse(src) * s` for one residue `s`.
    pub(crate) fn inverse_from(&self, q: Modulus, a: &mut [u64], src: &[u64], s: u64) {
        match self {
            // SAFETY: these twiddles exist only if the processor has AVX-512 F, DQ, IFMA and VBMI.
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Ifma(t) => unsafe { avx512ifma::native::inverse_from(q, t, a, src, s) },
            #[cfg(all(test, target_arch = "x86_64"))]
            Self::Modelled(t) => avx512ifma::modelled::inverse_from(q, t, a, src, s),
            _ => {
                a.copy_from_slice(src);
                self.inverse_scaled(q, a, s);
            }
        }
    }
}

/// Where a transform finds its coefficients if they do not stand in place.
#[derive(Clone, Copy)]
pub(crate) enum Origin<'a> {
    /// What [`reduce_centred`] makes of residues modulo another prime.
    Centred(Modulus, &'a [u64]),
    /// The [`linear_combination`] of terms, and the factor of what the first one carries.
    Combined(&'a [(&'a [u64], u64)], u64),
}

/// What becomes of a transform.
pub(crate) enum Ending<'a> {
    /// It stays.
    Plain,
    /// With `(b, s)`, `(b - transform) * s` takes its place.
    From(&'a [u64], u64),
    /// With `(b, s)`, `b = (b - transform) * s`, and its own place holds nothing of use.
    Into(&'a mut [u64], u64),
}

/// Declares kernels that every instruction set has under the same name, and dispatches to them.
macro_rules! dispatch {
    ($($(#[$doc:meta])* fn $name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $result:ty)?;)*) => {$(
        $(#[$doc])*
        pub(crate) fn $name(isa: Isa, $($arg: $type),*) $(-> $result)? {
            match isa.kind() {
                Kind::Scalar => scalar::$name($($arg),*),
                // SAFETY: this `Isa` exists only if the processor has AVX2 and FMA.
                #[cfg(target_arch = "x86_64")]
                Kind::Avx2 => unsafe { avx2::$name($($arg),*) },
                // SAFETY: this `Isa` exists only if the processor has AVX-512 F, DQ, IFMA and VBMI.
                #[cfg(target_arch = "x86_64")]
                Kind::Avx512Ifma => unsafe { avx512ifma::native::$name($($arg),*) },
                #[cfg(all(test, target_arch = "x86_64"))]
                Kind::Modelled => avx512ifma::modelled::$name($($arg),*),
            }
        }
    )*};
}

/// The largest modulus whose residues [`pack`] takes and [`packed_sums`] adds: four products and a carry fit a word.
pub(crate) const LARGEST_PACKED: u64 = (1 << 31) - 1;

/// The bit from which on a word carries a small number besides a residue.
const CARRY: u32 = 52;

/// Eight permutations of eight words.
pub(crate) type Lanes = [[u64; 8]; 8];

dispatch! {
    /// `a += b`.
    fn add_assign(q: Modulus, a: &mut [u64], b: &[u64]);

    /// `a -= b`.
    fn sub_assign(q: Modulus, a: &mut [u64], b: &[u64]);

    /// `a = -a`.
    fn neg_assign(q: Modulus, a: &mut [u64]);

    /// `a += s` for one residue `s`.
    fn add_scalar_assign(q: Modulus, a: &mut [u64], s: u64);

    /// `out = a * b`, element by element.
    fn mul(q: Modulus, out: &mut [u64], a: &[u64], b: &[u64]);

    /// `a *= b`, element by element.
    fn mul_assign(q: Modulus, a: &mut [u64], b: &[u64]);

    /// `acc += a * b`, element by element.
    fn mul_add_assign(q: Modulus, acc: &mut [u64], a: &[u64], b: &[u64]);

    /// `a *= s` for one residue `s`.
    fn mul_scalar_assign(q: Modulus, a: &mut [u64], s: u64);

    /// `acc += s * b` for one residue `s`.
    fn mul_scalar_add_assign(q: Modulus, acc: &mut [u64], b: &[u64], s: u64);

    /// `out = (a - out) * s` for one residue `s`.
    fn sub_from_mul_scalar(q: Modulus, out: &mut [u64], a: &[u64], s: u64);

    /// `out = sum of a * b` over the pairs, element by element. At most 2^20 pairs.
    fn inner_product(q: Modulus, out: &mut [u64], pairs: &[(&[u64], &[u64])]);

    /// `outs[i] = sum of a * b[i]` over the triples, or `outs[i] +=` it if they are not `fresh`, element by element:
    /// each `a` is read once. At most 2^20 triples.
    ///
    /// All `a` may be shorter by the same power of two: every word then stands for so many in a row.
    fn inner_products(
        q: Modulus,
        outs: [&mut [u64]; 2],
        triples: &[(&[u64], [&[u64]; 2])],
        fresh: bool,
    );

    /// [`inner_products`], where the residues of every `b[i]` are packed to `q.bits()` bits each ([`bits::pack_words`]).
    fn narrow_products(
        q: Modulus,
        outs: [&mut [u64]; 2],
        triples: &[(&[u64], [&[u64]; 2])],
        fresh: bool,
    );

    /// `out = sum of s * (src mod 2^52)` over the terms, plus `carried * floor(src / 2^52)` of the first one;
    /// each `s` and `carried` a residue, each word of `src` any number modulo 2^52 below 2^50. At most 2^20 terms.
    fn linear_combination(q: Modulus, out: &mut [u64], terms: &[(&[u64], u64)], carried: u64);

    /// `out = src mod q`, where `src` holds residues modulo `from`, read as their centred representatives.
    fn reduce_centred(from: Modulus, q: Modulus, out: &mut [u64], src: &[u64]);

    /// `out[8 b + i] = src[8 (sources[b] / 8) + lanes[sources[b] % 8][i]]`.
    ///
    /// In every row of `lanes` either the first four or the last four are below four, and the others are not.
    fn permute(out: &mut [u64], src: &[u64], sources: &[u32], lanes: &Lanes);

    /// Asks for words that are soon to be read.
    fn prefetch(words: &[u64]);

    /// `out = src mod q`, for `-q < src < q`.
    fn lift(q: Modulus, out: &mut [u64], src: &[i64]);

    /// [`lift`] of shorter words.
    fn lift_short(q: Modulus, out: &mut [u64], src: &[i32]);

    /// [`bits::pack_words`], of numbers of at least eight bits; the words after the last entry are unspecified.
    fn pack_narrow(out: &mut [u64], a: &[u64], width: u32);

    /// `first += 2^52 floor(first * weight + sum of src * weight + 1/2)`, the sum over the others, in f64, added in that
    /// order without fusing, for words below 2^50 and sums in `[0, 2^12 - 1/2)`.
    ///
    /// The order is part of the specification: every instruction set rounds alike.
    fn carry_rounded_sum(first: &mut [u64], weight: f64, others: &[(&[u64], f64)]);

    /// Two residues of at most 32 bits to a word: word `4 i + k` is `a[8 i + k] + 2^32 a[8 i + 4 + k]` for `k < 4`.
    /// `out` has half the words of `a`.
    fn pack(out: &mut [u64], a: &[u64]);

    /// `sums[h] += sum of a * b[h]` over the triples, as words modulo `2^64`; all `a` and `b` are [`pack`]ed,
    /// and all `a` may be shorter as those of [`inner_products`].
    fn packed_sums(sums: [&mut [u64]; 2], triples: &[(&[u64], [&[u64]; 2])]);

    /// `a = a mod q` for any words and a modulus up to [`LARGEST_PACKED`].
    fn reduce_words(q: Modulus, a: &mut [u64]);

    /// Of as many numbers as `out` has words, packed to `width` bits each, those below [`sampling::uniform_bound`], in their
    /// order and modulo q; gives their number, and the other words of `out` are unspecified.
    ///
    /// A multiple of eight of them, `width` that of the modulus or up to three bits more, and after them a window of bytes
    /// ([`bits::packed_words`]).
    fn accept(q: Modulus, out: &mut [u64], packed: &[u64], width: u32) -> usize;

    /// What [`gaussian::sample`] makes of every word; in no time that depends on it.
    fn gaussian(words: &mut [u64]);
}
