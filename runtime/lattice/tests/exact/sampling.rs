//! Samplers at fixed seeds: determinism, ranges, moments, and distance from their distributions.

use heplan_lattice::gaussian::{BOUND, SIGMA};
use heplan_lattice::sampling::{
    gaussian, gaussian_coefficients, sparse_ternary, ternary, ternary_coefficients, uniform,
    uniform_limb,
};
use heplan_lattice::{Basis, Form, Prime, Ring, Seed, primes};

use rand_chacha::{ChaCha8Rng, ChaCha20Rng};
use rand_core::{Rng, SeedableRng};

use crate::support::{ring, seed};

const SAMPLES: usize = 1 << 18;

/// Pearson's statistic of observed counts against probabilities.
fn chi_square(counts: &[(f64, f64)]) -> f64 {
    let total: f64 = counts.iter().map(|(count, _)| count).sum();
    counts.iter().map(|(count, p)| (count - total * p).powi(2) / (total * p)).sum()
}

#[test]
fn seeds_derive_apart() {
    let root = seed(1);
    let derived = [
        root.derive("a", &[]),
        root.derive("a", &[0]),
        root.derive("a", &[0, 0]),
        root.derive("b", &[]),
        root.derive("", &[]),
        seed(2).derive("a", &[]),
    ];
    for (i, a) in derived.iter().enumerate() {
        assert_eq!(derived.iter().position(|b| a == b), Some(i));
    }
    assert_eq!(root.derive("a", &[3]), Seed::new([1; 32]).derive("a", &[3]));
    assert_eq!(format!("{root:?}"), "Seed(..)");
}

#[test]
fn uniform_limbs_stand_alone() {
    let ring = ring(10, 4, 2);
    let whole = uniform(&ring, ring.full_qp(), &seed(3));
    let part = uniform(&ring, Basis::qp(2, 1), &seed(3));
    assert_eq!(whole.restrict(Basis::qp(2, 1)), part);
    let mut limb = vec![0; 1024];
    uniform_limb(ring.modulus(Prime::P(1)), Prime::P(1), &seed(3), &mut limb);
    assert_eq!(whole.limb_of(Prime::P(1)), limb);
    assert_ne!(whole.limb(0), uniform(&ring, Basis::q(1), &seed(4)).limb(0));
}

/// Batches of 512 numbers of `width` bits, each batch from a byte on, by another implementation of the stream.
fn numbers(key: [u8; 32], width: usize) -> impl Iterator<Item = u64> {
    let mut stream = ChaCha8Rng::from_seed(key);
    std::iter::repeat_with(move || {
        let mut bytes = vec![0; 64 * width];
        stream.fill_bytes(&mut bytes);
        let bit = move |i: usize| u64::from(bytes[i / 8] >> (i % 8) & 1);
        (0..512).map(move |n| (0..width).fold(0, |x, k| x | bit(n * width + k) << k))
    })
    .flatten()
}

#[test]
fn uniform_limbs_are_the_accepted_numbers_of_their_stream() {
    // Primes below and above a power of two take numbers of their own width and of up to three bits more.
    let q: Vec<u64> = primes::ntt_primes_below(1 << 40, 11).take(2).collect();
    let above: Vec<u64> = primes::ntt_primes_from(1 << 40, 11).take(1).collect();
    let ring = Ring::new(11, &q, &above).unwrap();
    for (prime, counters, width) in
        [(Prime::Q(0), [0, 0], 40), (Prime::Q(1), [0, 1], 40), (Prime::P(0), [1, 0], 43)]
    {
        let q = ring.modulus(prime).value();
        let key = *seed(9).derive("packed uniform limb", &counters).as_bytes();
        let largest = (1u64 << width) - (1u64 << width) % q;
        let accepted = numbers(key, width).filter(|&x| x < largest);
        let expected: Vec<u64> = accepted.map(|x| x % q).take(2048).collect();
        let mut limb = vec![0; 2048];
        uniform_limb(ring.modulus(prime), prime, &seed(9), &mut limb);
        assert_eq!(limb, expected);
    }
}

#[test]
fn uniform_residues_fill_their_range_evenly() {
    let ring = ring(17, 2, 0);
    for (limb, q) in [0, 1].map(|i| (i, ring.modulus(Prime::Q(i)))) {
        let poly = uniform(&ring, Basis::q(2), &seed(5));
        let mut counts = [0.0; 64];
        for &x in poly.limb(limb) {
            assert!(x < q.value());
            counts[(u128::from(x) * 64 / u128::from(q.value())) as usize] += 1.0;
        }
        let pairs = counts.map(|c| (c, 1.0 / 64.0));
        // 63 degrees of freedom: the probability of exceeding 130 is 10^-6.
        assert!(chi_square(&pairs) < 130.0);
        // One value in 2^17 draws repeats rarely when there are 2^30 of them.
        let mut low: Vec<u64> = poly.limb(limb).to_vec();
        low.sort_unstable();
        assert!(low.windows(2).filter(|w| w[0] == w[1]).count() < 40);
    }
}

#[test]
fn secrets_are_the_words_of_numbered_streams() {
    // By another implementation of the stream: 4096 coefficients from each.
    let key = *seed(6).derive("ternary", &[]).as_bytes();
    let mut expected = Vec::new();
    for number in 0..3 {
        let mut stream = ChaCha20Rng::from_seed(key);
        stream.set_stream(number);
        expected.extend((0..4096).map(|_| ((u128::from(stream.next_u64()) * 3) >> 64) as i64 - 1));
    }
    assert_eq!(*ternary_coefficients(expected.len(), &seed(6)), expected);
}

#[test]
fn ternary_values_are_equally_likely() {
    let c = ternary_coefficients(SAMPLES, &seed(6));
    let counts = [-1, 0, 1].map(|v| (c.iter().filter(|&&x| x == v).count() as f64, 1.0 / 3.0));
    assert_eq!(counts.iter().map(|c| c.0).sum::<f64>(), SAMPLES as f64);
    // 2 degrees of freedom: the probability of exceeding 27 is 10^-6.
    assert!(chi_square(&counts) < 27.0);
}

#[test]
fn gaussian_has_its_moments_tail_and_shape() {
    let c = gaussian_coefficients(SAMPLES, &seed(7));
    let n = SAMPLES as f64;
    let mean = c.iter().map(|&x| x as f64).sum::<f64>() / n;
    let variance = c.iter().map(|&x| (x * x) as f64).sum::<f64>() / n;
    assert!(mean.abs() < 5.0 * SIGMA / n.sqrt(), "{mean}");
    assert!((variance / (SIGMA * SIGMA) - 1.0).abs() < 5.0 * (2.0 / n).sqrt(), "{variance}");
    assert!(c.iter().all(|x| x.abs() <= BOUND));
    assert!(BOUND as f64 >= 6.0 * SIGMA);
    // More than 5 standard deviations: probability 5.7 * 10^-7, so fewer than 4 in 2^18 draws.
    assert!(c.iter().filter(|x| x.abs() as f64 > 5.0 * SIGMA).count() < 4);

    let rho = |k: i64| (-(k as f64).powi(2) / (2.0 * SIGMA * SIGMA)).exp();
    let total: f64 = (-60..=60).map(rho).sum();
    let mut cells: Vec<(f64, f64)> = (-10..=10)
        .map(|k| (c.iter().filter(|&&x| x == k).count() as f64, rho(k) / total))
        .collect();
    let inside: (f64, f64) = cells.iter().fold((0.0, 0.0), |s, c| (s.0 + c.0, s.1 + c.1));
    cells.push((n - inside.0, 1.0 - inside.1));
    // 21 degrees of freedom: the probability of exceeding 66 is 10^-6.
    assert!(chi_square(&cells) < 66.0, "{}", chi_square(&cells));
}

#[test]
fn secret_polynomials_are_the_same_integers_for_every_prime() {
    let ring = ring(10, 3, 1);
    for poly in [
        ternary(&ring, ring.full_qp(), &seed(8)),
        gaussian(&ring, ring.full_qp(), &seed(8)),
        sparse_ternary(&ring, ring.full_qp(), 32, &seed(8)),
    ] {
        assert!(poly.is_secret());
        assert_eq!(poly.form(), Form::Coefficient);
        let first: Vec<i64> =
            poly.limb(0).iter().map(|&x| ring.modulus(Prime::Q(0)).centred(x)).collect();
        for (limb, q) in poly.limbs().zip(ring.moduli(ring.full_qp())) {
            assert!(limb.iter().zip(&first).all(|(&x, &c)| q.centred(x) == c));
        }
        assert!(first.iter().all(|c| c.abs() <= BOUND));
    }
}

#[test]
fn sparse_secrets_have_exactly_their_weight_everywhere() {
    let ring = ring(10, 1, 0);
    let mut places = [(0.0, 0.25); 4];
    let mut signs = [0; 2];
    for tag in 0..200 {
        let poly = sparse_ternary(&ring, Basis::q(1), 32, &seed(tag));
        let q = ring.modulus(Prime::Q(0));
        let c: Vec<i64> = poly.limb(0).iter().map(|&x| q.centred(x)).collect();
        assert_eq!(c.iter().filter(|&&x| x != 0).count(), 32);
        for (i, &x) in c.iter().enumerate().filter(|(_, x)| **x != 0) {
            places[i / 256].0 += 1.0;
            signs[usize::from(x > 0)] += 1;
        }
    }
    // 3 degrees of freedom: the probability of exceeding 30 is 10^-6.
    assert!(chi_square(&places) < 30.0);
    assert!((signs[0] as f64 - 3200.0).abs() < 5.0 * 40.0);
}
