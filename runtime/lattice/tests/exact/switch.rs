//! Base conversion, ModUp, ModDown and rescale against exact division of big integers.

use dashu_int::IBig;
use heplan_lattice::{Basis, Form, Poly};

use crate::support::{centre, integers, modulo, product, random, ring, round_div};

#[test]
fn conversion_gives_the_centred_integer() {
    let ring = ring(10, 7, 3);
    for (from, to) in [
        (Basis::q(1), Basis::qp(7, 3)),
        (Basis::digit(2..5), Basis::qp(7, 3)),
        (Basis::q(7), Basis::p(3)),
        (Basis::p(3), Basis::q(7)),
        (Basis::run(5..7, 3), Basis::q(5)),
    ] {
        let source = random(&ring, from, Form::Coefficient, 4);
        let mut target = Poly::zero(&ring, to, Form::Coefficient);
        let limbs: Vec<&[u64]> = source.limbs().collect();
        let mut out: Vec<&mut [u64]> = target.limbs_mut().map(|(_, limb)| limb).collect();
        ring.converter(from, to).convert(&ring, &limbs, &mut out);
        for (i, x) in integers(&source).iter().enumerate() {
            for (limb, q) in target.limbs().zip(ring.moduli(to)) {
                let expected = modulo(x, &IBig::from(q.value()));
                assert_eq!(IBig::from(limb[i]), expected, "{from} to {to} at {i}");
            }
        }
    }
}

#[test]
fn conversion_is_exact_at_the_edges() {
    let ring = ring(10, 3, 1);
    // Zero, small numbers of both signs, and with one source prime the largest of both signs.
    let small = [0, 1, -1, 2, -2, 1 << 60, -(1 << 60), i64::MAX, i64::MIN];
    let coefficients: Vec<i64> = (0..1024).map(|i| small[i % small.len()]).collect();
    let source = Poly::from_i64(&ring, Basis::q(3), &coefficients);
    let mut out = [vec![0u64; 1024]];
    let limbs: Vec<&[u64]> = source.limbs().collect();
    let [limb] = &mut out;
    ring.converter(Basis::q(3), Basis::p(1)).convert(&ring, &limbs, &mut [limb]);
    let p = ring.moduli(Basis::p(1)).next().unwrap();
    assert!(out[0].iter().zip(&coefficients).all(|(&r, &c)| r == p.reduce_i64(c)));

    let q = ring.moduli(Basis::q(1)).next().unwrap().value();
    let edges = [0, 1, q / 2 - 1, q / 2, q / 2 + 1, q - 2, q - 1];
    let source: Vec<u64> = (0..1024).map(|i| edges[i % edges.len()]).collect();
    let [limb] = &mut out;
    ring.converter(Basis::q(1), Basis::p(1)).convert(&ring, &[&source], &mut [limb]);
    for (&r, &x) in out[0].iter().zip(&source) {
        let centred = if x > q / 2 { x as i64 - q as i64 } else { x as i64 };
        assert_eq!(r, p.reduce_i64(centred));
    }
}

#[test]
fn digits_are_centred_and_recombine() {
    let ring = ring(10, 5, 2);
    for (level, digit_limbs) in [(5, 2), (4, 2), (3, 1), (5, 5)] {
        let mut a = random(&ring, Basis::q(level), Form::Evaluation, 5);
        let digits = a.decompose(digit_limbs, 2);
        assert_eq!(digits.len(), level.div_ceil(digit_limbs));
        a.to_coefficient();
        let x = integers(&a);
        for (d, mut digit) in digits.into_iter().enumerate() {
            assert_eq!(digit.basis(), Basis::qp(level, 2));
            digit.to_coefficient();
            let range = d * digit_limbs..((d + 1) * digit_limbs).min(level);
            let modulus = product(&ring, Basis::digit(range));
            for (value, x) in integers(&digit).iter().zip(&x) {
                assert_eq!(*value, centre(x, &modulus));
            }
        }
    }
}

#[test]
fn division_rounds_to_the_nearest() {
    let ring = ring(10, 6, 3);
    for (basis, to) in [
        (Basis::q(6), Basis::q(5)),
        (Basis::q(2), Basis::q(1)),
        (Basis::qp(6, 3), Basis::q(6)),
        (Basis::qp(2, 1), Basis::q(2)),
        (Basis::qp(6, 3), Basis::q(4)),
        (Basis::q(6), Basis::q(2)),
    ] {
        let a = random(&ring, basis, Form::Coefficient, 6);
        let divisor = product(&ring, basis) / product(&ring, to);
        let in_coefficients = a.divide_and_round(to);
        let quotient = product(&ring, to);
        for (got, x) in integers(&in_coefficients).iter().zip(integers(&a)) {
            assert_eq!(*got, centre(&round_div(&x, &divisor), &quotient), "{basis} to {to}");
        }
        let mut values = a.clone();
        values.to_evaluation();
        let mut in_values = values.divide_and_round(to);
        assert_eq!(in_values.form(), Form::Evaluation);
        in_values.to_coefficient();
        assert_eq!(in_values, in_coefficients);
    }
}

#[test]
fn rescale_and_mod_down_are_that_division() {
    let ring = ring(11, 3, 2);
    let a = random(&ring, Basis::q(3), Form::Evaluation, 7);
    assert_eq!(a.rescale(), a.divide_and_round(Basis::q(2)));
    let b = random(&ring, Basis::qp(3, 2), Form::Evaluation, 8);
    assert_eq!(b.mod_down(), b.divide_and_round(Basis::q(3)));
}

#[test]
fn factors_of_p_vanish_in_mod_down() {
    let ring = ring(10, 3, 2);
    let a = random(&ring, Basis::qp(3, 2), Form::Evaluation, 9);
    let mut multiple = a.clone();
    multiple.mul_residues_assign(&ring.product_mod(Basis::p(2), Basis::qp(3, 2)));
    assert_eq!(multiple.mod_down(), a.restrict(Basis::q(3)));
}
