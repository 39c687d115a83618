//! Integers in and out of RNS.

use dashu_int::IBig;
use heplan_lattice::crt::F64_BOUND;
use heplan_lattice::{Basis, Form, Poly};
use proptest::prelude::*;

use crate::support::{integers, random, ring};

/// The relative distance of `got` from the integer `exact`.
fn relative_error(got: f64, exact: &IBig) -> f64 {
    // In units of 2^-120 of the exact value, by integers only.
    if *exact == IBig::ZERO {
        return got.abs();
    }
    let (mantissa, exponent) = decompose(got);
    let scaled = IBig::from(mantissa) << 120usize;
    let (left, right) = if exponent >= 0 {
        (scaled << exponent as usize, exact << 120usize)
    } else {
        (scaled, exact << (120 + exponent.unsigned_abs() as usize))
    };
    let shift =
        if exponent >= 0 { IBig::ONE } else { IBig::ONE << exponent.unsigned_abs() as usize };
    let difference = left - right;
    let ratio = (difference / (exact * shift)).to_string();
    ratio.parse::<f64>().unwrap().abs() * 2f64.powi(-120)
}

fn decompose(x: f64) -> (i64, i32) {
    let bits = x.to_bits();
    let mantissa = (bits & ((1 << 52) - 1)) | (1 << 52);
    let exponent = ((bits >> 52) & 0x7ff) as i32 - 1075;
    (if x < 0.0 { -(mantissa as i64) } else { mantissa as i64 }, exponent)
}

#[test]
fn large_coefficients_have_the_precision_of_a_double() {
    for limbs in [1, 2, 5, 20] {
        let ring = ring(10, limbs, 0);
        let a = random(&ring, Basis::q(limbs), Form::Coefficient, 1);
        for (got, exact) in a.centred_f64().iter().zip(integers(&a)) {
            assert!(relative_error(*got, &exact) < 2f64.powi(-52), "{got} for {exact}");
        }
    }
}

#[test]
fn small_coefficients_are_exact_under_a_modulus_of_800_bits() {
    let ring = ring(10, 20, 0);
    let bits: u32 = ring.moduli(Basis::q(20)).map(|q| q.bits()).sum();
    assert!(bits >= 800);
    let edges = [0, 1, -1, 2, i128::from(i64::MAX), i128::from(i64::MIN), 1 << 100, -(1 << 100)];
    let c: Vec<i128> = (0..1024).map(|i| edges[i % edges.len()] * (1 + i as i128 / 64)).collect();
    let a = Poly::from_i128(&ring, Basis::q(20), &c);
    assert_eq!(a.centred_i128().as_ref(), Some(&c));
    let as_f64: Vec<f64> = c.iter().map(|&x| x as f64).collect();
    assert_eq!(a.centred_f64(), as_f64);
    let exact: Vec<IBig> = c.iter().map(|&x| IBig::from(x)).collect();
    assert_eq!(integers(&a), exact);
}

#[test]
fn integers_beyond_the_limit_are_refused() {
    let ring = ring(10, 4, 0);
    let mut c = vec![0i128; 1024];
    c[17] = 1 << 126;
    let a = Poly::from_i128(&ring, Basis::q(4), &c);
    assert_eq!(a.centred_i128(), Some(c.clone()));
    c[17] = -(1 << 126) - 1;
    let a = Poly::from_i128(&ring, Basis::q(4), &c);
    let near: Vec<f64> = a.centred_f64();
    assert_eq!(near[17], -(2f64.powi(126)));
    c[17] = i128::MAX;
    assert_eq!(Poly::from_i128(&ring, Basis::q(4), &c).centred_i128(), None);
    let uniform = random(&ring, Basis::q(4), Form::Coefficient, 3);
    assert_eq!(uniform.centred_i128(), None);
}

#[test]
fn numbers_that_do_not_fit_are_refused() {
    let ring = ring(10, 2, 0);
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, F64_BOUND, -F64_BOUND, f64::MAX] {
        let mut c = vec![0.0; 1024];
        c[1023] = bad;
        assert_eq!(Poly::from_f64(&ring, Basis::q(2), &c), None, "{bad}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn doubles_round_to_the_nearest_integer(
        mantissas in proptest::collection::vec(any::<i64>(), 32),
        exponents in proptest::collection::vec(-80..56i32, 32),
    ) {
        let ring = ring(10, 4, 0);
        let mut c: Vec<f64> = mantissas
            .iter()
            .zip(&exponents)
            .map(|(&m, &e)| m as f64 * 2f64.powi(e))
            .filter(|x| x.abs() < F64_BOUND)
            .collect();
        c.extend([0.5, 1.5, 2.5, -0.5, -1.5, 0.49999999999999994, -0.0, 4503599627370495.5]);
        c.extend([1.0e-300, -1.0e-300, F64_BOUND * (1.0 - 2f64.powi(-53)), 2f64.powi(80), -2f64.powi(40)]);
        c.resize(1024, 0.0);
        let poly = Poly::from_f64(&ring, Basis::q(4), &c).unwrap();
        for (got, &x) in integers(&poly).iter().zip(&c) {
            let rounded = x.round_ties_even() as i128;
            prop_assert_eq!(got, &IBig::from(rounded), "{}", x);
        }
    }
}
