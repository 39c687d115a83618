//! CKKS parameters, which cannot exist below 128 bits of security.

use thiserror::Error;

use crate::bootstrap::{Bootstrap, BootstrapError};
use crate::plan::{KeyKind, KeySpec};
use crate::primes::{MAX_PRIME_BITS, is_prime};

/// Smallest and largest `log2 N` that the system runs.
pub const LOG_N: std::ops::RangeInclusive<u32> = 12..=17;

/// Standard deviation of the error distribution.
pub const ERROR_DEVIATION: f64 = 3.19;

/// The largest `log2(QP)` at 128 bits of classical security for uniform ternary secrets and error
/// deviation 3.19: "Security Guidelines for Implementing Homomorphic Encryption", ePrint 2024/463.
///
/// `None` outside 2^10 … 2^17.
pub fn max_log_qp(log_n: u32) -> Option<f64> {
    const BOUND: [f64; 8] = [26.0, 53.0, 106.0, 214.0, 430.0, 868.0, 1747.0, 3523.0];
    BOUND.get(log_n.checked_sub(10)? as usize).copied()
}

/// Unchecked parameters: what a file or a search proposes.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParametersLiteral {
    /// Base-2 logarithm of the ring dimension.
    pub log_n: u32,
    /// Ciphertext primes `q_0, …, q_L`; rescaling drops the last first.
    pub q: Vec<u64>,
    /// Special primes, used in key switching only.
    pub p: Vec<u64>,
    /// Ciphertext primes per key-switching digit.
    pub digit_size: usize,
}

/// Checked, immutable parameters.
///
/// There is no way to make them for a set whose `log2(QP)` exceeds [`max_log_qp`].
///
/// **Samples in one ciphertext.** `batch` samples share a ciphertext by interleaving: slot `t` of
/// sample `b` is slot `t·batch + b` of the ciphertext. A rotation of the ciphertext by `d·batch`
/// slots keeps every sample in its lane and rotates each by `d`, modulo `width`. So whatever is
/// planned for one sample in `width` slots holds for all of them, and everything but the encoding
/// of vectors and the Galois element of a rotation is the same for every `batch`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameters {
    literal: ParametersLiteral,
    batch: usize,
    bootstrap: Option<Bootstrap>,
}

/// Why a parameter set is refused.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum ParametersError {
    /// The ring is not supported.
    #[error("ring dimension 2^{0} is outside 2^12 … 2^17")]
    Dimension(u32),
    /// No ciphertext or special prime, or more than 255 of them.
    #[error("{0} ciphertext primes and {1} special primes: between 1 and 255 of each are needed")]
    Count(usize, usize),
    /// Digits of no prime, or longer than the chain.
    #[error("a digit of {0} primes does not fit a chain of {1}")]
    DigitSize(usize, usize),
    /// Not a prime that the number-theoretic transform can use.
    #[error("{0} is not a prime of at most 50 bits that is 1 modulo {1}")]
    NotNttPrime(u64, u64),
    /// A prime occurs twice.
    #[error("prime {0} occurs twice")]
    Repeated(u64),
    /// Key switching would drown the message: the special modulus must not be smaller than the
    /// largest digit by more than 2^8.
    #[error("special primes of {p:.1} bits are too small for a digit of {digit:.1} bits")]
    SpecialTooSmall {
        /// Bits of the special modulus.
        p: f64,
        /// Bits of the largest digit.
        digit: f64,
    },
    /// Samples that cannot share a ciphertext.
    #[error(
        "{batch} samples in a ciphertext of {slots} slots; a power of two up to that is possible"
    )]
    Batch {
        /// Samples per ciphertext.
        batch: usize,
        /// Slots of a ciphertext.
        slots: usize,
    },
    /// A bootstrapping that these parameters cannot have.
    #[error(transparent)]
    Bootstrap(#[from] BootstrapError),
    /// Below 128 bits of security.
    #[error(
        "a modulus of {found:.2} bits at ring dimension 2^{log_n} is below 128-bit security (at most {bound} bits)"
    )]
    Insecure {
        /// Base-2 logarithm of the ring dimension.
        log_n: u32,
        /// `log2(QP)` of the set.
        found: f64,
        /// The largest that is secure.
        bound: f64,
    },
}

impl Parameters {
    /// Checks a literal.
    ///
    /// # Errors
    /// The first breach found, the security bound among them.
    pub fn new(literal: ParametersLiteral) -> Result<Self, ParametersError> {
        let ParametersLiteral { log_n, q, p, digit_size } = &literal;
        if !LOG_N.contains(log_n) {
            return Err(ParametersError::Dimension(*log_n));
        }
        if !(1..=255).contains(&q.len()) || !(1..=255).contains(&p.len()) {
            return Err(ParametersError::Count(q.len(), p.len()));
        }
        if *digit_size == 0 || *digit_size > q.len() {
            return Err(ParametersError::DigitSize(*digit_size, q.len()));
        }
        let cyclotomic = 2u64 << log_n;
        let ntt = |&&x: &&u64| x >> MAX_PRIME_BITS == 0 && x % cyclotomic == 1 && is_prime(x);
        if let Some(&x) = q.iter().chain(p).find(|x| !ntt(x)) {
            return Err(ParametersError::NotNttPrime(x, cyclotomic));
        }
        let mut all: Vec<u64> = q.iter().chain(p).copied().collect();
        all.sort_unstable();
        if let Some(w) = all.windows(2).find(|w| w[0] == w[1]) {
            return Err(ParametersError::Repeated(w[0]));
        }
        let digit = q.chunks(*digit_size).map(log2_product).fold(0.0, f64::max);
        if log2_product(p) + 8.0 < digit {
            return Err(ParametersError::SpecialTooSmall { p: log2_product(p), digit });
        }
        let found = log2_product(&all);
        let bound = max_log_qp(*log_n).ok_or(ParametersError::Dimension(*log_n))?;
        if found > bound {
            return Err(ParametersError::Insecure { log_n: *log_n, found, bound });
        }
        Ok(Self { literal, batch: 1, bootstrap: None })
    }

    /// The same parameters for `batch` samples per ciphertext.
    ///
    /// # Errors
    /// Unless `batch` is a power of two up to the number of slots, and one where ciphertexts are
    /// bootstrapped.
    pub fn with_batch(self, batch: usize) -> Result<Self, ParametersError> {
        let slots = self.slots();
        if !batch.is_power_of_two() || batch > slots {
            return Err(ParametersError::Batch { batch, slots });
        }
        if batch != 1 && self.bootstrap.is_some() {
            return Err(BootstrapError::Batch(batch).into());
        }
        Ok(Self { batch, ..self })
    }

    /// The same parameters with a bootstrapping.
    ///
    /// # Errors
    /// As [`Bootstrap::check`].
    pub fn with_bootstrap(self, bootstrap: Bootstrap) -> Result<Self, ParametersError> {
        bootstrap.check(&self)?;
        Ok(Self { bootstrap: Some(bootstrap), ..self })
    }

    /// How ciphertexts are bootstrapped, if they are.
    pub fn bootstrap(&self) -> Option<&Bootstrap> {
        self.bootstrap.as_ref()
    }

    /// Base-2 logarithm of the ring dimension.
    pub fn log_n(&self) -> u32 {
        self.literal.log_n
    }

    /// The ring dimension `N`.
    pub fn n(&self) -> usize {
        1 << self.literal.log_n
    }

    /// Slots of a ciphertext, `N/2`.
    pub fn slots(&self) -> usize {
        self.n() / 2
    }

    /// Samples per ciphertext.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Slots of each sample in a ciphertext: `slots / batch`. The `width` of layouts, transforms and
    /// rotations.
    pub fn width(&self) -> usize {
        self.slots() / self.batch
    }

    /// Ciphertext primes, `q_0` first.
    pub fn q(&self) -> &[u64] {
        &self.literal.q
    }

    /// Special primes.
    pub fn p(&self) -> &[u64] {
        &self.literal.p
    }

    /// Ciphertext primes per key-switching digit.
    pub fn digit_size(&self) -> usize {
        self.literal.digit_size
    }

    /// The highest level, `q().len() - 1`.
    pub fn max_level(&self) -> usize {
        self.literal.q.len() - 1
    }

    /// The keys that a bootstrap needs; none where there is none.
    pub fn bootstrap_keys(&self) -> Vec<KeySpec> {
        self.bootstrap().map_or_else(Vec::new, |b| b.keys(self.log_n()))
    }

    /// The keys in the order in which a bootstrap asks for them; none where there is none.
    pub fn bootstrap_key_order(&self) -> Vec<KeyKind> {
        self.bootstrap().map_or_else(Vec::new, |b| b.key_order(self.log_n()))
    }

    /// The level of a fresh ciphertext, and of a refreshed one.
    pub fn fresh_level(&self) -> usize {
        self.bootstrap().map_or(self.max_level(), |b| b.output_level)
    }

    /// Number of key-switching digits at a level.
    pub fn digits(&self, level: usize) -> usize {
        (level + 1).div_ceil(self.literal.digit_size)
    }

    /// Bits by which the product of the special primes exceeds the largest digit: each of them
    /// halves the noise of a key switch, until that of rounding prevails.
    pub fn special_margin_bits(&self) -> f64 {
        let digits = self.literal.q.chunks(self.literal.digit_size);
        log2_product(&self.literal.p) - digits.map(log2_product).fold(0.0, f64::max)
    }

    /// `log2(QP)`, the sum of the real logarithms of all primes.
    pub fn log_qp(&self) -> f64 {
        log2_product(&self.literal.q) + log2_product(&self.literal.p)
    }

    /// `log2(q_0 ⋯ q_level)`.
    pub fn log_q_at(&self, level: usize) -> f64 {
        log2_product(&self.literal.q[..=level])
    }

    /// Bits of one coefficient modulo the primes up to a level, as files hold it.
    pub fn packed_bits_at(&self, level: usize) -> u64 {
        let bits = |q: &u64| u64::from(u64::BITS - q.leading_zeros());
        self.literal.q[..=level].iter().map(bits).sum()
    }

    /// The unchecked form, for files.
    pub fn literal(&self) -> &ParametersLiteral {
        &self.literal
    }
}

fn log2_product(primes: &[u64]) -> f64 {
    primes.iter().map(|&q| (q as f64).log2()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::primes::near_power;

    fn literal(log_n: u32, levels: usize, bits: u32) -> ParametersLiteral {
        let mut primes = near_power(bits, log_n);
        let q = primes.by_ref().take(levels).collect();
        ParametersLiteral { log_n, q, p: primes.take(1).collect(), digit_size: 1 }
    }

    #[test]
    fn the_bound_holds_by_real_logarithms() {
        assert!(Parameters::new(literal(13, 6, 30)).is_ok());
        assert!(matches!(
            Parameters::new(literal(13, 7, 30)),
            Err(ParametersError::Insecure { log_n: 13, .. })
        ));
    }

    #[test]
    fn samples_share_the_slots() {
        let set = Parameters::new(literal(13, 2, 40)).unwrap();
        assert_eq!((set.batch(), set.width(), set.slots()), (1, 4096, 4096));
        for batch in [1, 2, 64, 4096] {
            let set = set.clone().with_batch(batch).unwrap();
            assert_eq!((set.batch(), set.width() * batch, set.slots()), (batch, 4096, 4096));
        }
        for batch in [0, 3, 4095, 8192] {
            let refused = set.clone().with_batch(batch);
            assert_eq!(refused, Err(ParametersError::Batch { batch, slots: 4096 }));
        }
    }

    #[test]
    fn composites_repeats_and_foreign_primes_are_refused() {
        let good = literal(13, 3, 40);
        let mut bad = good.clone();
        bad.q[1] = bad.q[0];
        assert!(matches!(Parameters::new(bad), Err(ParametersError::Repeated(_))));
        let mut bad = good.clone();
        bad.q[1] += 2 << 13;
        assert!(matches!(Parameters::new(bad), Err(ParametersError::NotNttPrime(..))));
        let mut bad = good;
        bad.digit_size = 2;
        assert!(matches!(Parameters::new(bad), Err(ParametersError::SpecialTooSmall { .. })));
    }
}
