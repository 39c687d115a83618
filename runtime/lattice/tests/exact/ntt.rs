//! The transform against its definition.

use heplan_lattice::{Basis, Form, Isa, NttTable, Ring, RingError, primes};

use crate::support::{negacyclic, power, random, ring};

/// Bits of `i` reversed, one by one.
fn reversed(i: usize, bits: u32) -> u64 {
    (0..bits).fold(0, |r, b| (r << 1) | ((i >> b) & 1) as u64)
}

#[test]
fn slots_are_values_at_odd_powers_of_the_smallest_root() {
    for log_n in [10, 11] {
        let n = 1u64 << log_n;
        for q in primes::ntt_primes_below(1 << 50, log_n).take(1).chain([primes_small(log_n)]) {
            for isa in Isa::available() {
                let table = NttTable::with_isa(q, log_n, isa).unwrap();
                let psi = table.root();
                assert_eq!(power(psi, n, q), q - 1, "a primitive 2N-th root");
                assert!((2..psi.min(5000)).all(|x| power(x, n, q) != q - 1), "the smallest one");
                let a: Vec<u64> = (0..n).map(|i| power(i + 3, 5, q)).collect();
                let mut values = a.clone();
                table.forward(&mut values);
                for j in [0, 1, 2, 3, 4, 7, 8, 500, n as usize - 1] {
                    let point = power(psi, 2 * reversed(j, log_n) + 1, q);
                    let value = a.iter().rev().fold(0u128, |sum, &c| {
                        (sum * u128::from(point) + u128::from(c)) % u128::from(q)
                    });
                    assert_eq!(u128::from(values[j]), value, "slot {j} modulo {q} on {isa}");
                }
                table.inverse(&mut values);
                assert_eq!(values, a, "{isa}");
            }
        }
    }
}

fn primes_small(log_n: u32) -> u64 {
    primes::ntt_primes_from(3, log_n).next().unwrap()
}

#[test]
fn pointwise_products_are_negacyclic_products() {
    let ring = ring(10, 3, 1);
    let basis = Basis::qp(3, 1);
    let a = random(&ring, basis, Form::Coefficient, 1);
    let b = random(&ring, basis, Form::Coefficient, 2);
    let (mut fa, mut fb) = (a.clone(), b.clone());
    fa.to_evaluation();
    fb.to_evaluation();
    let mut product = fa.mul(&fb);
    product.to_coefficient();
    for (i, q) in ring.moduli(basis).enumerate() {
        assert_eq!(product.limb(i), negacyclic(a.limb(i), b.limb(i), q.value()));
    }
}

#[test]
fn every_size_inverts_itself() {
    for log_n in 10..=17 {
        let q = primes::ntt_primes_below(1 << 50, log_n).next().unwrap();
        for isa in Isa::available() {
            let table = NttTable::with_isa(q, log_n, isa).unwrap();
            for fill in [0, 1, q - 1] {
                let a = vec![fill; 1 << log_n];
                let mut values = a.clone();
                table.forward(&mut values);
                assert!(values.iter().all(|&v| v < q));
                table.inverse(&mut values);
                assert_eq!(values, a, "2^{log_n} on {isa}");
            }
        }
    }
}

#[test]
fn bad_rings_are_refused() {
    let q = primes::ntt_primes_below(1 << 40, 12).next().unwrap();
    let other = primes::ntt_primes_below(1 << 40, 10).find(|q| q % (1 << 13) != 1).unwrap();
    assert_eq!(Ring::new(9, &[q], &[]).unwrap_err(), RingError::DegreeOutOfRange { log_n: 9 });
    assert_eq!(Ring::new(18, &[q], &[]).unwrap_err(), RingError::DegreeOutOfRange { log_n: 18 });
    assert_eq!(Ring::new(12, &[], &[q]).unwrap_err(), RingError::ChainLength { q: 0, p: 1 });
    let repeated = RingError::RepeatedPrime { modulus: q };
    assert_eq!(Ring::new(12, &[q], &[q]).unwrap_err(), repeated);
    let not_ntt = RingError::NotAnNttPrime { modulus: other, log_n: 12 };
    assert_eq!(Ring::new(12, &[other], &[]).unwrap_err(), not_ntt);
    assert!(matches!(Ring::new(12, &[u64::MAX], &[]), Err(RingError::ModulusOutOfRange { .. })));
    let composite = 3 * ((1 << 13) + 1);
    assert!(Ring::new(12, &[composite], &[]).is_err());
}
