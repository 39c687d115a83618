//! A ring: its degree, its chain of primes, and everything precomputed for them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use rayon::prelude::*;
use thiserror::Error;

use crate::basis::{Basis, Prime};
use crate::convert::BasisConverter;
use crate::crt::MixedRadix;
use crate::galois::{Permutation, is_galois_element};
use crate::kernels::Isa;
use crate::modulus::Modulus;
use crate::ntt::{MAX_LOG_N, MIN_LOG_N, NttTable};
use crate::pool::Pool;

/// Most primes that a chain may have, special primes included.
pub const MAX_PRIMES: usize = 256;

/// Freed polynomial buffers that a ring keeps for reuse, by default: 1 GiB.
pub const DEFAULT_POOL_BYTES: usize = 1 << 30;

/// Why a ring cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RingError {
    /// The ring degree is not supported.
    #[error("ring degree 2^{log_n} is outside 2^{MIN_LOG_N} to 2^{MAX_LOG_N}")]
    DegreeOutOfRange {
        /// log2 of the degree asked for.
        log_n: u32,
    },
    /// The modulus does not fit the arithmetic.
    #[error("modulus {modulus} is not an odd number from 3 to 2^50 - 1")]
    ModulusOutOfRange {
        /// The modulus asked for.
        modulus: u64,
    },
    /// The modulus has no negacyclic transform of this size.
    #[error("modulus {modulus} is not a prime that is 1 modulo 2^{}", log_n + 1)]
    NotAnNttPrime {
        /// The modulus asked for.
        modulus: u64,
        /// log2 of the degree asked for.
        log_n: u32,
    },
    /// A prime stands twice in the chain.
    #[error("prime {modulus} stands twice in the chain")]
    RepeatedPrime {
        /// The prime.
        modulus: u64,
    },
    /// No ciphertext prime, or more primes than supported.
    #[error(
        "a chain of {q} ciphertext primes and {p} special primes is not one of 1 to {MAX_PRIMES}"
    )]
    ChainLength {
        /// Number of ciphertext primes.
        q: usize,
        /// Number of special primes.
        p: usize,
    },
}

/// `Z[X]/(X^N + 1)` modulo the primes `q_0 .. q_L` and the special primes `p_0 .. p_{k-1}`.
///
/// Shared by reference count; every polynomial holds its ring.
#[derive(Debug)]
pub struct Ring {
    log_n: u32,
    isa: Isa,
    q: Vec<NttTable>,
    p: Vec<NttTable>,
    pool: Arc<Pool>,
    subrings: Mutex<BTreeMap<(Prime, u32), Arc<NttTable>>>,
    permutations: Mutex<BTreeMap<usize, Arc<Permutation>>>,
    converters: Mutex<BTreeMap<(Basis, Basis), Arc<BasisConverter>>>,
    radices: Mutex<BTreeMap<Basis, Arc<MixedRadix>>>,
}

impl Ring {
    /// The ring of degree `2^log_n` with ciphertext primes `q` and special primes `p` (which may be none).
    ///
    /// # Errors
    /// If the degree is outside 2^10 to 2^17, a modulus is no prime below 2^50 that is 1 modulo 2N,
    /// a prime repeats, or there is no ciphertext prime or more than [`MAX_PRIMES`] primes.
    pub fn new(log_n: u32, q: &[u64], p: &[u64]) -> Result<Arc<Self>, RingError> {
        Self::with_isa(log_n, q, p, Isa::detect())
    }

    /// As [`Self::new`], on a given instruction set. Results do not depend on it.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_isa(log_n: u32, q: &[u64], p: &[u64], isa: Isa) -> Result<Arc<Self>, RingError> {
        if q.is_empty() || q.len().saturating_add(p.len()) > MAX_PRIMES {
            return Err(RingError::ChainLength { q: q.len(), p: p.len() });
        }
        let mut sorted: Vec<u64> = q.iter().chain(p).copied().collect();
        sorted.sort_unstable();
        if let Some(pair) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(RingError::RepeatedPrime { modulus: pair[0] });
        }
        let table = |&prime: &u64| NttTable::with_isa(prime, log_n, isa);
        Ok(Arc::new(Self {
            log_n,
            isa,
            q: q.par_iter().map(table).collect::<Result<_, _>>()?,
            p: p.par_iter().map(table).collect::<Result<_, _>>()?,
            pool: Pool::new(DEFAULT_POOL_BYTES),
            subrings: Mutex::default(),
            permutations: Mutex::default(),
            converters: Mutex::default(),
            radices: Mutex::default(),
        }))
    }

    /// `log2 N`.
    pub const fn log_n(&self) -> u32 {
        self.log_n
    }

    /// N, the number of coefficients.
    pub const fn degree(&self) -> usize {
        1 << self.log_n
    }

    /// The instruction set of the kernels.
    pub const fn isa(&self) -> Isa {
        self.isa
    }

    /// The basis of all ciphertext primes.
    pub const fn full_q(&self) -> Basis {
        Basis::q(self.q.len())
    }

    /// The basis of all primes.
    pub const fn full_qp(&self) -> Basis {
        Basis::qp(self.q.len(), self.p.len())
    }

    /// Whether every prime of `basis` belongs to this ring.
    pub const fn has(&self, basis: Basis) -> bool {
        self.full_qp().contains(basis)
    }

    /// The transform modulo a prime of the chain.
    ///
    /// # Panics
    /// If the chain has no such prime.
    pub fn table(&self, prime: Prime) -> &NttTable {
        match prime {
            Prime::Q(i) => &self.q[i],
            Prime::P(i) => &self.p[i],
        }
    }

    /// The transform modulo a prime of the chain of the subring of size `2^log_size` ([`NttTable::subring`]);
    /// computed once per prime and size.
    ///
    /// # Panics
    /// If the chain has no such prime, or there is no such subring.
    pub fn subring_table(&self, prime: Prime, log_size: u32) -> Arc<NttTable> {
        let mut cache = self.subrings.lock().unwrap_or_else(PoisonError::into_inner);
        let made = || Arc::new(self.table(prime).subring(log_size, self.isa));
        Arc::clone(cache.entry((prime, log_size)).or_insert_with(made))
    }

    /// A prime of the chain.
    ///
    /// # Panics
    /// If the chain has no such prime.
    pub fn modulus(&self, prime: Prime) -> Modulus {
        self.table(prime).modulus()
    }

    /// The moduli of a basis, in the order of its limbs.
    ///
    /// # Panics
    /// If the basis has a prime that the chain lacks.
    pub fn moduli(&self, basis: Basis) -> impl Iterator<Item = Modulus> {
        basis.primes().map(|prime| self.modulus(prime))
    }

    /// The product of the primes of `divisor` modulo each prime of `basis`, in the order of the limbs.
    ///
    /// The factors `P mod q_i` of a key-switching key are `product_mod(Basis::p(k), Basis::q(l))`.
    pub fn product_mod(&self, divisor: Basis, basis: Basis) -> Vec<u64> {
        self.moduli(basis)
            .map(|m| {
                let factors = self.moduli(divisor).map(|f| m.reduce_u64(f.value()));
                factors.fold(1, |product, factor| m.mul(product, factor))
            })
            .collect()
    }

    /// The pool that the polynomials of this ring take their buffers from.
    pub const fn pool(&self) -> &Arc<Pool> {
        &self.pool
    }

    /// The permutation of the slots that the automorphism `X -> X^g` is in evaluation form; computed once per `g`.
    ///
    /// # Panics
    /// If `g` is even or not below 2N.
    pub fn permutation(&self, g: usize) -> Arc<Permutation> {
        assert!(is_galois_element(g, self.log_n), "{g} is no Galois element for 2^{}", self.log_n);
        let mut cache = self.permutations.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(cache.entry(g).or_insert_with(|| Arc::new(Permutation::new(g, self.log_n))))
    }

    /// The constants that lead from residues over a basis to integers; computed once per basis.
    ///
    /// # Panics
    /// If the basis has a prime that the chain lacks.
    pub(crate) fn mixed_radix(&self, basis: Basis) -> Arc<MixedRadix> {
        let mut cache = self.radices.lock().unwrap_or_else(PoisonError::into_inner);
        let made = || Arc::new(MixedRadix::new(self.isa, self.moduli(basis).collect()));
        Arc::clone(cache.entry(basis).or_insert_with(made))
    }

    /// The constants that convert from one basis to another; computed once per pair.
    ///
    /// # Panics
    /// If a basis is empty, has a prime that the chain lacks, or shares one with the other.
    pub fn converter(&self, from: Basis, to: Basis) -> Arc<BasisConverter> {
        let mut cache = self.converters.lock().unwrap_or_else(PoisonError::into_inner);
        let made = || Arc::new(BasisConverter::new(self, from, to));
        Arc::clone(cache.entry((from, to)).or_insert_with(made))
    }
}
