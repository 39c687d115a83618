//! Random polynomials from seeds: uniform, ternary, and Gaussian error.
//!
//! A [`Seed`] is 32 bytes. Everything drawn from one comes from ChaCha streams keyed by seeds derived from it,
//! so the same seed gives the same polynomial on every machine, whatever the number of threads.
//! Secrets and errors come from 20 rounds. Public uniform polynomials come from 8, which no published attack distinguishes
//! (the best reach 7; Aumasson, Fischer, Khazaei, Meier, Rechberger, FSE 2008, and their successors).
//! The seed of a secret is a secret: it is wiped on drop and never shown.
//! Secret samplers take a fixed number of stream words per coefficient and neither branch on them nor index by them.

use std::fmt;
use std::sync::Arc;

use rayon::prelude::*;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::basis::{Basis, Prime};
use crate::bits;
use crate::kernels::{self, Isa};
use crate::modulus::Modulus;
use crate::poly::{Form, Poly};
use crate::ring::Ring;
use crate::stream::Stream;

/// 32 bytes that a stream of randomness is expanded from.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Seed([u8; 32]);

impl Seed {
    /// A seed from its bytes.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes, for a file that may hold them.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// A seed for one purpose: BLAKE3 keyed with this seed over the label and the counters.
    ///
    /// Different labels or counters give independent seeds; lengths go in, so no two inputs run together.
    #[must_use]
    pub fn derive(&self, label: &str, counters: &[u64]) -> Self {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(b"heplan seed v1");
        hasher.update(&(label.len() as u64).to_le_bytes());
        hasher.update(label.as_bytes());
        hasher.update(&(counters.len() as u64).to_le_bytes());
        for counter in counters {
            hasher.update(&counter.to_le_bytes());
        }
        let derived = Self(*hasher.finalize().as_bytes());
        hasher.zeroize();
        derived
    }
}

/// Never the bytes: they may be secret.
impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seed(..)")
    }
}

/// A uniform polynomial, taken to be in evaluation form.
///
/// Limb by limb from a stream of its own, keyed by the seed and the prime's place in the chain:
/// the limb of a prime does not depend on the basis, so a key of a low level is a part of the key of a high one,
/// and one limb can be expanded alone by [`uniform_limb`].
/// For public randomness: rejection makes the number of words drawn depend on their values.
///
/// # Panics
/// If the ring lacks a prime of the basis.
pub fn uniform(ring: &Arc<Ring>, basis: Basis, seed: &Seed) -> Poly {
    let mut poly = Poly::scratch(ring, basis, Form::Evaluation);
    poly.for_each_limb_mut(|q, prime, limb| uniform_limb(q, prime, seed, limb));
    poly
}

/// The limb of `prime` of the polynomial that [`uniform`] gives for `seed`.
///
/// The stream is read as numbers of a fixed width ([`bits`]).
/// Numbers from the largest multiple of `q` on are rejected, the others reduced.
/// The width is that of `q` and up to three bits more, where fewer would reject more than a fifth.
pub fn uniform_limb(q: Modulus, prime: Prime, seed: &Seed, limb: &mut [u64]) {
    let (kind, index) = match prime {
        Prime::Q(i) => (0, i),
        Prime::P(i) => (1, i),
    };
    let seed = seed.derive("packed uniform limb", &[kind, index as u64]);
    let mut stream = Stream::public(&seed);
    let (isa, width) = (Isa::detect(), uniform_width(q));
    let mut packed = [0; bits::packed_words(NUMBERS, bits::MAX_WIDTH)];
    let mut last = [0; NUMBERS];
    let mut filled = 0;
    while filled < limb.len() {
        let missing = limb.len() - filled;
        let count = missing.next_multiple_of(8).min(NUMBERS);
        let packed = &mut packed[..bits::packed_words(count, width)];
        packed.fill(0);
        stream.fill(packed, bits::packed_len(count, width));
        if count <= missing {
            filled += kernels::accept(isa, q, &mut limb[filled..][..count], packed, width);
        } else {
            let accepted = kernels::accept(isa, q, &mut last[..count], packed, width).min(missing);
            limb[filled..][..accepted].copy_from_slice(&last[..accepted]);
            filled += accepted;
        }
    }
}

/// The width of the numbers that residues of `q` are drawn as.
fn uniform_width(q: Modulus) -> u32 {
    let wide_enough = |&width: &u32| uniform_bound(q, width) >= (1u64 << width) / 5 * 4;
    let widest = q.bits() + 3;
    (q.bits()..widest).find(wide_enough).unwrap_or(widest)
}

/// The bound below which numbers of `width` bits are accepted: a multiple of `q`.
pub(crate) const fn uniform_bound(q: Modulus, width: u32) -> u64 {
    (1 << width) / q.value() * q.value()
}

/// Numbers that are drawn from a public stream at once.
const NUMBERS: usize = 2048;

/// Coefficients that come from one stream of a secret; the next have the next stream of the same key.
const STREAM_WORDS: usize = 1 << 12;

/// N coefficients, each uniform in `{-1, 0, 1}` up to a bias below `2^-63`.
pub fn ternary_coefficients(n: usize, seed: &Seed) -> Zeroizing<Vec<i64>> {
    signed_coefficients(n, &seed.derive("ternary", &[]), |words| {
        for word in words {
            // The high word of 3 * word is uniform in 0..3 without rejection.
            *word = (((u128::from(*word) * 3) >> 64) as u64).wrapping_sub(1);
        }
    })
}

/// N coefficients of the discrete Gaussian of [`crate::gaussian`].
pub fn gaussian_coefficients(n: usize, seed: &Seed) -> Zeroizing<Vec<i64>> {
    signed_coefficients(n, &seed.derive("gaussian", &[]), |words| {
        kernels::gaussian(Isa::detect(), words);
    })
}

/// N words of streams, each replaced by the bits of a signed number.
fn signed_coefficients(
    n: usize,
    seed: &Seed,
    sample: impl Fn(&mut [u64]) + Sync,
) -> Zeroizing<Vec<i64>> {
    let mut coefficients = Zeroizing::new(vec![0i64; n]);
    coefficients.par_chunks_mut(STREAM_WORDS).enumerate().for_each(|(number, run)| {
        let words = bytemuck::cast_slice_mut(run);
        Stream::secret(seed, number as u32).fill(words, size_of_val(&*words));
        sample(words);
    });
    coefficients
}

/// A uniform ternary polynomial in coefficient form, marked secret.
///
/// # Panics
/// If the ring lacks a prime of the basis.
pub fn ternary(ring: &Arc<Ring>, basis: Basis, seed: &Seed) -> Poly {
    Poly::from_small(ring, basis, &ternary_coefficients(ring.degree(), seed)).into_secret()
}

/// A Gaussian error polynomial in coefficient form, marked secret.
///
/// # Panics
/// If the ring lacks a prime of the basis.
pub fn gaussian(ring: &Arc<Ring>, basis: Basis, seed: &Seed) -> Poly {
    Poly::from_small(ring, basis, &gaussian_coefficients(ring.degree(), seed)).into_secret()
}

/// A ternary polynomial with exactly `weight` non-zero coefficients, signs uniform, positions uniform, marked secret.
///
/// Each position is chosen by sorting random keys with a network whose comparisons depend on N only.
/// `weight` above N counts as N. Two positions get equal keys with probability below `N^2 / 2^64`,
/// which leaves the weight exact and the bias negligible.
///
/// # Panics
/// If the ring lacks a prime of the basis.
pub fn sparse_ternary(ring: &Arc<Ring>, basis: Basis, weight: usize, seed: &Seed) -> Poly {
    let n = ring.degree();
    let mut words = Zeroizing::new(vec![0; 2 * n]);
    let bytes = size_of_val(&words[..]);
    Stream::secret(&seed.derive("sparse ternary", &[weight as u64]), 0).fill(&mut words, bytes);
    // The first `weight` positions hold signs; sorting by random keys shuffles them.
    let keyed = words.as_chunks().0.iter().enumerate().map(|(i, &[key, word])| {
        let sign = 1 - 2 * (word & 1) as i64;
        (key, if i < weight { sign } else { 0 })
    });
    let mut keyed = Zeroizing::new(keyed.collect::<Vec<(u64, i64)>>());
    bitonic_sort(&mut keyed);
    let coefficients = Zeroizing::new(keyed.iter().map(|&(_, c)| c).collect::<Vec<i64>>());
    Poly::from_i64(ring, basis, &coefficients).into_secret()
}

/// Batcher's bitonic network over a power of two of pairs, ascending by key, without branches on them.
fn bitonic_sort(pairs: &mut [(u64, i64)]) {
    let n = pairs.len();
    let mut block = 2;
    while block <= n {
        let mut distance = block / 2;
        while distance > 0 {
            for i in (0..n).filter(|i| i & distance == 0) {
                let j = i + distance;
                let ((ka, va), (kb, vb)) = (pairs[i], pairs[j]);
                let descending = u64::from(i & block != 0);
                let wrong = (u64::from(ka > kb) ^ descending).wrapping_neg();
                let (dk, dv) = ((ka ^ kb) & wrong, (va ^ vb) & wrong as i64);
                pairs[i] = (ka ^ dk, va ^ dv);
                pairs[j] = (kb ^ dk, vb ^ dv);
            }
            distance /= 2;
        }
        block *= 2;
    }
}
