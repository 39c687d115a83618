//! The negacyclic number-theoretic transform of one limb: `Z_q[X]/(X^N + 1)` to its N values at the odd powers of a root.
//!
//! Slot `j` of the evaluation form holds the value at `psi^(2 brv(j) + 1)`,
//! where `psi` is the smallest primitive 2N-th root of unity modulo q and `brv` reverses `log_n` bits.
//! This order is part of every file that holds evaluations: it is the same on every instruction set.

use std::iter;

use crate::RingError;
use crate::kernels::{Ending, Isa, Origin, Twiddles};
use crate::modulus::Modulus;
use crate::primes::is_prime;

/// Smallest supported `log2 N`.
pub const MIN_LOG_N: u32 = 10;
/// Largest supported `log2 N`.
pub const MAX_LOG_N: u32 = 17;

/// The transform modulo one prime.
#[derive(Debug)]
pub struct NttTable {
    modulus: Modulus,
    log_n: u32,
    root: u64,
    twiddles: Twiddles,
}

impl NttTable {
    /// The transform of size `2^log_n` modulo `q` on the fastest instruction set of this processor.
    ///
    /// # Errors
    /// If `log_n` is outside 10..=17, or `q` is no prime below 2^50 that is 1 modulo 2N.
    pub fn new(q: u64, log_n: u32) -> Result<Self, RingError> {
        Self::with_isa(q, log_n, Isa::detect())
    }

    /// As [`Self::new`], on a given instruction set.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_isa(q: u64, log_n: u32, isa: Isa) -> Result<Self, RingError> {
        if !(MIN_LOG_N..=MAX_LOG_N).contains(&log_n) {
            return Err(RingError::DegreeOutOfRange { log_n });
        }
        let modulus = Modulus::new(q)?;
        if q % (2 << log_n) != 1 || !is_prime(q) {
            return Err(RingError::NotAnNttPrime { modulus: q, log_n });
        }
        let root = smallest_root(modulus, log_n);
        let roots = bit_reversed_powers(modulus, root, log_n);
        let inverse_roots = bit_reversed_powers(modulus, modulus.inv(root), log_n);
        let twiddles = Twiddles::new(isa, modulus, &roots, &inverse_roots);
        Ok(Self { modulus, log_n, root, twiddles })
    }

    /// The transform of the subring of polynomials in `X^g`, `g = N / 2^log_size`, as polynomials of `2^log_size`
    /// coefficients in that power.
    ///
    /// Its root is `psi^g`, so that the full transform of such a polynomial repeats every value `g` times:
    /// slot `j` of the full one is slot `j / g` of this one.
    ///
    /// # Panics
    /// If `log_size` is outside 10 to `log2 N`.
    pub fn subring(&self, log_size: u32, isa: Isa) -> Self {
        assert!((MIN_LOG_N..=self.log_n).contains(&log_size), "no subring of size 2^{log_size}");
        let modulus = self.modulus;
        let root = modulus.pow(self.root, 1 << (self.log_n - log_size));
        let roots = bit_reversed_powers(modulus, root, log_size);
        let inverse_roots = bit_reversed_powers(modulus, modulus.inv(root), log_size);
        let twiddles = Twiddles::new(isa, modulus, &roots, &inverse_roots);
        Self { modulus, log_n: log_size, root, twiddles }
    }

    /// The prime.
    pub const fn modulus(&self) -> Modulus {
        self.modulus
    }

    /// `psi`: the smallest primitive 2N-th root of unity, or for a [`Self::subring`] the power of that of the whole ring.
    pub const fn root(&self) -> u64 {
        self.root
    }

    /// `log2 N`.
    pub const fn log_n(&self) -> u32 {
        self.log_n
    }

    /// Coefficients to evaluations, in place. Residues in `[0, q)` in and out.
    ///
    /// # Panics
    /// If `a` has not N elements.
    pub fn forward(&self, a: &mut [u64]) {
        assert_eq!(a.len(), 1 << self.log_n, "a limb has N residues");
        self.twiddles.forward(self.modulus, a);
    }

    /// `a = (b - forward(a)) * s`, all residues in `[0, q)`: the end of a division by primes,
    /// without another pass over the limb.
    ///
    /// # Panics
    /// If `a` or `b` has not N elements.
    pub fn forward_sub_from_mul_scalar(&self, a: &mut [u64], b: &[u64], s: u64) {
        assert_eq!(a.len(), 1 << self.log_n, "a limb has N residues");
        assert_eq!(b.len(), a.len(), "a limb has N residues");
        self.twiddles.forward_sub_from_mul_scalar(self.modulus, a, b, s);
    }

    /// `a = forward(origin)`, or what the ending makes of it: what a conversion between bases gives is transformed as it is
    /// read.
    pub(crate) fn forward_from(
        &self,
        isa: Isa,
        a: &mut [u64],
        origin: Origin<'_>,
        ending: Ending<'_>,
    ) {
        assert_eq!(a.len(), 1 << self.log_n, "a limb has N residues");
        let fits = |limb: &[u64]| limb.len() == a.len();
        let sources = match origin {
            Origin::Centred(_, src) => fits(src),
            Origin::Combined(terms, _) => terms.iter().all(|(src, _)| fits(src)),
        };
        let minuend = match &ending {
            Ending::Plain => true,
            Ending::From(b, _) => fits(b),
            Ending::Into(b, _) => fits(b),
        };
        assert!(sources && minuend, "a limb has N residues");
        self.twiddles.forward_from(isa, self.modulus, a, origin, ending);
    }

    /// Evaluations to coefficients, in place. Residues in `[0, q)` in and out.
    ///
    /// # Panics
    /// If `a` has not N elements.
    pub fn inverse(&self, a: &mut [u64]) {
        assert_eq!(a.len(), 1 << self.log_n, "a limb has N residues");
        self.twiddles.inverse(self.modulus, a);
    }

    /// `a = inverse(a) * s` for a residue `s`, at the price of [`Self::inverse`]: the factor comes with its `1/N`.
    ///
    /// # Panics
    /// If `a` has not N elements.
    pub fn inverse_scaled(&self, a: &mut [u64], s: u64) {
        assert_eq!(a.len(), 1 << self.log_n, "a limb has N residues");
        self.twiddles.inverse_scaled(self.modulus, a, s);
    }

    /// `a = inverse(src) * s`; what `a` held does not matter.
    ///
    /// # Panics
    /// If `a` or `src` has not N elements.
    pub fn inverse_from(&self, a: &mut [u64], src: &[u64], s: u64) {
        assert_eq!(a.len(), 1 << self.log_n, "a limb has N residues");
        assert_eq!(src.len(), a.len(), "a limb has N residues");
        self.twiddles.inverse_from(self.modulus, a, src, s);
    }
}

/// The smallest of the N primitive 2N-th roots of unity modulo the prime `q = 1 mod 2N`.
fn smallest_root(q: Modulus, log_n: u32) -> u64 {
    let order = 2u64 << log_n;
    // x^((q-1)/2N) is primitive exactly if its N-th power is -1: the case for every quadratic non-residue x.
    let mut root = (2..q.value())
        .map(|x| q.pow(x, (q.value() - 1) / order))
        .find(|&r| q.pow(r, order / 2) == q.value() - 1)
        .expect("half of all residues modulo a prime are non-residues");
    // The others are its odd powers.
    let square = q.mul(root, root);
    let mut smallest = root;
    for _ in 1..order / 2 {
        root = q.mul(root, square);
        smallest = smallest.min(root);
    }
    smallest
}

/// `base^brv(i)` for `i` in `0..2^log_n`.
fn bit_reversed_powers(q: Modulus, base: u64, log_n: u32) -> Vec<u64> {
    let mut powers = vec![0; 1 << log_n];
    let ascending = iter::successors(Some(1), |&power| Some(q.mul(power, base)));
    for (i, power) in (0..1usize << log_n).zip(ascending) {
        powers[bit_reverse(i, log_n)] = power;
    }
    powers
}

/// Reverses the lowest `bits` bits of `i`; `bits` is at least 1.
pub(crate) const fn bit_reverse(i: usize, bits: u32) -> usize {
    i.reverse_bits() >> (usize::BITS - bits)
}
