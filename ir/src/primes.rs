//! NTT-friendly primes: `q ≡ 1 (mod 2N)`, at most [`MAX_PRIME_BITS`] bits.

/// Primes have at most this many bits, so that one AVX-512 IFMA multiply or one pair of f64 FMAs
/// carries a modular product.
pub const MAX_PRIME_BITS: u32 = 50;

/// Whether `n` is prime: Miller and Rabin's test, exact with the twelve smallest prime bases below
/// 2^64, with seven below 341,550,071,728,321 and with 2, 7 and 61 below 4,759,123,141 (Jaeschke,
/// Mathematics of Computation 61, 1993).
pub fn is_prime(n: u64) -> bool {
    const BASES: [u64; 12] = [2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37];
    if n < 2 {
        return false;
    }
    if let Some(&p) = BASES.iter().find(|&&p| n.is_multiple_of(p)) {
        return n == p;
    }
    let twos = (n - 1).trailing_zeros();
    let odd = (n - 1) >> twos;
    let bases: &[u64] = if n < 4_759_123_141 {
        &[2, 7, 61]
    } else if n < 341_550_071_728_321 {
        &BASES[..7]
    } else {
        &BASES
    };
    bases.iter().all(|&a| {
        let mut x = pow_mod(a, odd, n);
        if x == 0 || x == 1 || x == n - 1 {
            return true;
        }
        (1..twos).any(|_| {
            x = mul_mod(x, x, n);
            x == n - 1
        })
    })
}

/// The NTT primes for ring dimension `2^log_n` in order of their distance from `2^bits`, nearest
/// first, alternating around it, so that a chain taken from the front drifts least.
///
/// Ends where candidates leave `2^(bits - 1) .. 2^(bits + 1)` or exceed [`MAX_PRIME_BITS`].
pub fn near_power(bits: u32, log_n: u32) -> impl Iterator<Item = u64> {
    let step = 1u64 << (log_n + 1);
    let centre = 1u64 << bits;
    let limit = (1u64 << MAX_PRIME_BITS).min(centre << 1);
    (0..centre / step)
        .flat_map(move |k| [centre + 1 + k * step, (centre + 1).saturating_sub((k + 1) * step)])
        .filter(move |&q| q > centre >> 1 && q < limit && is_prime(q))
}

fn mul_mod(a: u64, b: u64, n: u64) -> u64 {
    if n < 1 << MAX_PRIME_BITS {
        // The quotient in floating point is off by one at most, and so is the remainder by n.
        let quotient = (a as f64 * b as f64 / n as f64) as u64;
        let rest = a.wrapping_mul(b).wrapping_sub(quotient.wrapping_mul(n)).cast_signed();
        return rest.rem_euclid(n.cast_signed()).cast_unsigned();
    }
    u64::try_from(u128::from(a) * u128::from(b) % u128::from(n)).expect("a remainder of a u64")
}

fn pow_mod(mut a: u64, mut e: u64, n: u64) -> u64 {
    let mut out = 1;
    a %= n;
    while e > 0 {
        if e & 1 == 1 {
            out = mul_mod(out, a, n);
        }
        a = mul_mod(a, a, n);
        e >>= 1;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_trial_division() {
        let naive =
            |n: u64| n >= 2 && (2..).take_while(|d| d * d <= n).all(|d| !n.is_multiple_of(d));
        assert!((0..5000).all(|n| is_prime(n) == naive(n)));
        assert!(is_prime(61) && is_prime(0xffff_ffff_ffff_ffc5) && !is_prime(3_215_031_751));
        // The least numbers that fewer bases take for primes.
        assert!(!is_prime(4_759_123_141) && !is_prime(341_550_071_728_321));
    }

    #[test]
    fn products_of_residues_are_exact() {
        let exact = |a: u64, b: u64, n: u64| (u128::from(a) * u128::from(b) % u128::from(n)) as u64;
        let top = (1u64 << MAX_PRIME_BITS) - 1;
        for n in [3, 65_537, (1 << 30) - 35, (1 << 49) + 9, top - 26, top] {
            let residues = [0, 1, 2, n / 3, n / 2, n - 2, n - 1].map(|x| x % n);
            for (a, b) in residues.iter().flat_map(|a| residues.map(|b| (*a, b))) {
                assert_eq!(mul_mod(a, b, n), exact(a, b, n), "{a} times {b} modulo {n}");
            }
        }
    }

    #[test]
    fn primes_alternate_around_the_power() {
        let found: Vec<u64> = near_power(30, 13).take(6).collect();
        assert!(found.iter().all(|q| q % (1 << 14) == 1));
        assert!(found.windows(2).all(|w| w[0].abs_diff(1 << 30) <= w[1].abs_diff(1 << 30)));
    }
}
