//! Primes `q = 1 mod 2N`, the moduli for which the negacyclic transform of size N exists.
//!
//! This module finds and checks primes; which of them make a chain is the parameters' decision, not taken here.

use crate::modulus::{MAX_BITS, Modulus};

/// Witnesses that make Miller–Rabin's test exact below 3.3 * 10^24 (Sorenson and Webster, 2015).
const WITNESSES: [u64; 13] = [2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41];

/// Whether `n` is prime. Exact; `false` for every `n >= 2^50`, which no modulus may reach.
pub fn is_prime(n: u64) -> bool {
    if WITNESSES.contains(&n) {
        return true;
    }
    let Ok(m) = Modulus::new(n) else { return false };
    if WITNESSES.iter().any(|&w| n.is_multiple_of(w)) {
        return false;
    }
    let twos = (n - 1).trailing_zeros();
    let odd = (n - 1) >> twos;
    WITNESSES.iter().all(|&w| {
        let mut x = m.pow(w % n, odd);
        if x == 1 || x == n - 1 {
            return true;
        }
        for _ in 1..twos {
            x = m.mul(x, x);
            if x == n - 1 {
                return true;
            }
        }
        false
    })
}

/// The primes `q = 1 mod 2^(log_n + 1)` with `q < bound`, largest first.
///
/// `log_n` is clamped so that the step is at most `2^49`; nothing above `2^50` is returned.
pub fn ntt_primes_below(bound: u64, log_n: u32) -> impl Iterator<Item = u64> {
    let step = 1u64 << (log_n + 1).min(MAX_BITS - 1);
    let bound = bound.min(1 << MAX_BITS);
    // The largest k with k * step + 1 < bound.
    let first = bound.saturating_sub(2) / step;
    (1..=first).rev().map(move |k| k * step + 1).filter(|&q| is_prime(q))
}

/// The primes `q = 1 mod 2^(log_n + 1)` with `q >= bound`, smallest first, up to `2^50`.
pub fn ntt_primes_from(bound: u64, log_n: u32) -> impl Iterator<Item = u64> {
    let step = 1u64 << (log_n + 1).min(MAX_BITS - 1);
    let first = bound.saturating_sub(1).div_ceil(step).max(1);
    (first..(1u64 << MAX_BITS) / step).map(move |k| k * step + 1).filter(|&q| is_prime(q))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_trial_division() {
        for n in 0..20_000u64 {
            let by_trial = n >= 2 && (2..).take_while(|d| d * d <= n).all(|d| !n.is_multiple_of(d));
            assert_eq!(is_prime(n), by_trial, "{n}");
        }
    }

    #[test]
    fn strong_pseudoprimes_are_composite() {
        // Psi values of Jaeschke (1993): composites that pass for the first 2, 3, 4 and 5 prime bases.
        for n in [1_373_653, 25_326_001, 3_215_031_751, 2_152_302_898_747] {
            assert!(!is_prime(n), "{n}");
        }
    }

    #[test]
    fn ntt_primes_have_the_form_asked_for() {
        let below: Vec<u64> = ntt_primes_below(1 << 50, 16).take(20).collect();
        assert!(below.windows(2).all(|w| w[0] > w[1]));
        assert!(below.iter().all(|q| q % (1 << 17) == 1 && *q < 1 << 50));
        let from: Vec<u64> = ntt_primes_from(1 << 40, 13).take(20).collect();
        assert!(from.windows(2).all(|w| w[0] < w[1]));
        assert!(from.iter().all(|q| q % (1 << 14) == 1 && *q >= 1 << 40));
        assert_eq!(ntt_primes_below(12289, 11).next(), None);
        assert_eq!(ntt_primes_below(12290, 11).next(), Some(12289));
        assert_eq!(ntt_primes_from(12289, 11).next(), Some(12289));
    }
}
