//! Automorphisms against substitution.

use heplan_lattice::galois::inverse_element;
use heplan_lattice::{Basis, Form, conjugation_element, galois_element};

use crate::support::{random, ring};

#[test]
fn both_forms_substitute_the_same_power() {
    let ring = ring(10, 2, 1);
    let (n, basis) = (ring.degree(), Basis::qp(2, 1));
    let a = random(&ring, basis, Form::Coefficient, 1);
    let elements = [1, 3, 5, 25, 1023, galois_element(-1, 10), conjugation_element(10)];
    for g in elements {
        let image = a.automorphism(g);
        for (limb, q) in ring.moduli(basis).enumerate() {
            for i in 0..n {
                let k = (i * g) % (2 * n);
                let c = a.limb(limb)[i];
                let expected = if k < n || c == 0 { c } else { q.value() - c };
                assert_eq!(image.limb(limb)[k % n], expected);
            }
        }
        let mut values = a.clone();
        values.to_evaluation();
        let mut permuted = values.automorphism(g);
        permuted.to_coefficient();
        assert_eq!(permuted, image, "element {g}");
    }
}

#[test]
fn elements_are_powers_of_five() {
    for log_n in [10, 14, 17] {
        let order = 2usize << log_n;
        let mut element = 1;
        for step in 0..200 {
            assert_eq!(galois_element(step, log_n), element);
            assert_eq!(galois_element(-step, log_n), inverse_element(element, log_n));
            assert_eq!(element * inverse_element(element, log_n) % order, 1);
            element = element * 5 % order;
        }
        assert_eq!(galois_element(1 << (log_n - 1), log_n), 1);
        assert_eq!(conjugation_element(log_n), order - 1);
    }
}
