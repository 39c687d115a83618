//! Limb-wise arithmetic against wide integers, and its independence of threads and instruction sets.

use heplan_lattice::weighted::{Term, scalar_sums};
use heplan_lattice::{Basis, Form, Isa, Poly, Ring};

use crate::support::{random, ring};

#[test]
fn operations_agree_with_wide_integers() {
    let ring = ring(10, 4, 2);
    let basis = Basis::qp(3, 2);
    let wider = ring.full_qp();
    let a = random(&ring, basis, Form::Evaluation, 1);
    let b = random(&ring, wider, Form::Evaluation, 2);
    let c = random(&ring, wider, Form::Evaluation, 3);
    let check = |out: &Poly, f: &dyn Fn(u128, u128, u128, u128) -> u128| {
        for (limb, prime) in basis.primes().enumerate() {
            let q = u128::from(ring.modulus(prime).value());
            let (b, c) = (b.limb_of(prime), c.limb_of(prime));
            for i in 0..ring.degree() {
                let [x, y, z] = [a.limb(limb)[i], b[i], c[i]].map(u128::from);
                assert_eq!(u128::from(out.limb(limb)[i]), f(x, y, z, q) % q, "{prime:?} {i}");
            }
        }
    };
    check(&a.add(&b), &|x, y, _, _| x + y);
    check(&a.sub(&b), &|x, y, _, q| x + q - y);
    check(&a.mul(&b), &|x, y, _, _| x * y);
    let change = |f: &dyn Fn(&mut Poly)| {
        let mut out = a.clone();
        f(&mut out);
        out
    };
    check(&change(&|p| p.neg_assign()), &|x, _, _, q| q - x);
    check(&change(&|p| p.mul_assign(&b)), &|x, y, _, _| x * y);
    check(&change(&|p| p.set_mul(&b, &c)), &|_, y, z, _| y * z);
    check(&change(&|p| p.mul_add_assign(&b, &c)), &|x, y, z, _| x + y * z);
    check(&change(&|p| p.mul_integer_assign(-5)), &|x, _, _, q| x * (q - 5));
    check(&change(&|p| p.mul_integer_add_assign(&b, 9)), &|x, y, _, _| x + 9 * y);
    check(&change(&|p| p.add_integer_assign(-1)), &|x, _, _, q| x + q - 1);
    check(&change(&|p| p.set_inner_product(&[])), &|_, _, _, _| 0);
    check(&change(&|p| p.set_inner_product(&[(&b, &c), (&c, &c), (&b, &b)])), &|_, y, z, _| {
        y * z + z * z + y * y
    });
    let many = [(&b, &c); 37];
    check(&change(&|p| p.set_inner_product(&many)), &|_, y, z, q| y * z % q * 37);
    for terms in [0, 2, 37] {
        let triples = vec![(&b, [&c, &a]); terms];
        let (mut first, mut second) = (a.clone(), a.clone());
        Poly::set_inner_products([&mut first, &mut second], &triples);
        check(&first, &|_, y, z, q| y * z % q * terms as u128);
        check(&second, &|x, y, _, q| y * x % q * terms as u128);
    }
}

#[test]
fn constants_add_alike_in_both_forms() {
    let ring = ring(10, 2, 0);
    let a = random(&ring, Basis::q(2), Form::Coefficient, 1);
    let mut coefficients = a.clone();
    coefficients.add_integer_assign(-123_456_789_012_345);
    let mut values = a;
    values.to_evaluation();
    values.add_integer_assign(-123_456_789_012_345);
    values.to_coefficient();
    assert_eq!(values, coefficients);
}

#[test]
fn words_are_checked_on_the_way_in() {
    let ring = ring(10, 2, 0);
    let a = random(&ring, Basis::q(2), Form::Evaluation, 1);
    let form = Form::Evaluation;
    assert_eq!(Poly::from_words(&ring, Basis::q(2), form, a.words()).as_ref(), Some(&a));
    assert_eq!(Poly::from_words(&ring, Basis::q(3), form, a.words()), None);
    assert_eq!(Poly::from_words(&ring, Basis::q(1), form, a.words()), None);
    let mut words = a.words().to_vec();
    words[1024] = ring.moduli(Basis::q(2)).nth(1).unwrap().value();
    assert_eq!(Poly::from_words(&ring, Basis::q(2), form, &words), None);
}

/// One computation with everything in it.
fn everything(ring: &std::sync::Arc<Ring>) -> Poly {
    let a = random(ring, ring.full_q(), Form::Evaluation, 1);
    let key = random(ring, ring.full_qp(), Form::Evaluation, 2);
    let digits = a.decompose(2, ring.full_qp().p_limbs());
    let mut sum = Poly::zero(ring, ring.full_qp(), Form::Evaluation);
    let pairs: Vec<(&Poly, &Poly)> = digits.iter().map(|d| (d, &key)).collect();
    sum.set_inner_product(&pairs);
    sum.mod_down().automorphism(5).mul(&a).rescale()
}

#[test]
fn results_do_not_depend_on_threads_or_instruction_set() {
    let reference = everything(&ring(13, 5, 2)).words().to_vec();
    for threads in [1, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        assert!(pool.install(|| everything(&ring(13, 5, 2)).words() == reference));
    }
    let primes = |ring: &Ring, basis| ring.moduli(basis).map(|q| q.value()).collect::<Vec<_>>();
    let shape = ring(13, 5, 2);
    let (q, p) = (primes(&shape, shape.full_q()), primes(&shape, Basis::p(2)));
    for isa in Isa::available() {
        let ring = Ring::with_isa(13, &q, &p, isa).unwrap();
        assert!(everything(&ring).words() == reference, "{isa}");
    }
}

#[test]
fn debug_and_drop_keep_secrets() {
    let ring = ring(10, 1, 0);
    let secret = random(&ring, Basis::q(1), Form::Evaluation, 1).into_secret();
    assert!(secret.clone().is_secret());
    assert!(secret.restrict(Basis::q(1)).is_secret());
    assert!(secret.automorphism(3).is_secret());
    assert!(!format!("{secret:?}").contains(&secret.limb(0)[0].to_string()));
}

#[test]
fn sums_of_numbers_times_pairs_agree_with_wide_integers() {
    let ring = ring(10, 3, 1);
    let basis = Basis::q(2);
    let polys: Vec<Poly> =
        (0..6).map(|i| random(&ring, Basis::q(3), Form::Evaluation, 20 + i)).collect();
    let sources: Vec<[&Poly; 2]> = polys.chunks(2).map(|p| [&p[0], &p[1]]).collect();
    let term = |source: usize, factor: i128| Term { source, factor };
    let sums = [
        vec![term(0, 3), term(2, -(1 << 90)), term(1, i128::from(i64::MIN))],
        Vec::new(),
        vec![term(2, -1)],
    ];
    let found = scalar_sums(&ring, basis, &sources, &sums);
    for (terms, pair) in sums.iter().zip(&found) {
        for (half, poly) in pair.iter().enumerate() {
            for (limb, prime) in basis.primes().enumerate() {
                let q = i128::from(ring.modulus(prime).value());
                for i in 0..ring.degree() {
                    let product = |t: &Term| {
                        let x = i128::from(sources[t.source][half].limb_of(prime)[i]);
                        x * t.factor.rem_euclid(q) % q
                    };
                    let want = terms.iter().map(product).sum::<i128>() % q;
                    assert_eq!(i128::from(poly.limb(limb)[i]), want, "{prime:?} {i}");
                }
            }
        }
    }
}
