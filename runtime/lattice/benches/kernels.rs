//! Times of the kernels on one thread, on every instruction set that this processor has.
//!
//! `cargo bench -p heplan-lattice -- ntt` runs one group; the whole takes about a minute.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use heplan_lattice::{Basis, Form, Isa, NttTable, Poly, Ring, Seed, primes, sampling};

/// A ring with primes of 50 bits.
fn ring(log_n: u32, q: usize, p: usize, isa: Isa) -> Arc<Ring> {
    let chain: Vec<u64> = primes::ntt_primes_below(1 << 50, log_n).take(q + p).collect();
    Ring::with_isa(log_n, &chain[..q], &chain[q..], isa).expect("the chain is a valid one")
}

fn random(ring: &Arc<Ring>, basis: Basis, tag: u8) -> Poly {
    sampling::uniform(ring, basis, &Seed::new([tag; 32]))
}

fn transforms(c: &mut Criterion) {
    let mut group = c.benchmark_group("ntt");
    for log_n in 13..=16 {
        let q = primes::ntt_primes_below(1 << 50, log_n).next().expect("there are such primes");
        for isa in Isa::available() {
            let table = NttTable::with_isa(q, log_n, isa).expect("the prime fits");
            let mut limb: Vec<u64> = (0..1u64 << log_n).map(|i| i * i % q).collect();
            group.bench_function(BenchmarkId::new(format!("forward/{isa}"), log_n), |b| {
                b.iter(|| table.forward(black_box(&mut limb)));
            });
            group.bench_function(BenchmarkId::new(format!("inverse/{isa}"), log_n), |b| {
                b.iter(|| table.inverse(black_box(&mut limb)));
            });
        }
    }
    group.finish();
}

fn pointwise(c: &mut Criterion) {
    let mut group = c.benchmark_group("limb of 2^14");
    for isa in Isa::available() {
        let ring = ring(14, 1, 0, isa);
        let [mut a, b, d] = [1, 2, 3].map(|tag| random(&ring, Basis::q(1), tag));
        group.bench_function(format!("add/{isa}"), |t| t.iter(|| a.add_assign(black_box(&b))));
        group.bench_function(format!("mul/{isa}"), |t| t.iter(|| a.set_mul(black_box(&b), &d)));
        group.bench_function(format!("mul_add/{isa}"), |t| {
            t.iter(|| a.mul_add_assign(black_box(&b), &d));
        });
        group.bench_function(format!("inner product of 4/{isa}"), |t| {
            t.iter(|| a.set_inner_product(black_box(&[(&b, &d); 4])));
        });
        group.bench_function(format!("automorphism/{isa}"), |t| {
            t.iter(|| a.set_automorphism(black_box(&b), 5));
        });
    }
    group.finish();
}

fn switching(c: &mut Criterion) {
    let mut group = c.benchmark_group("switch");
    // (log N, ciphertext primes, special primes, primes per digit).
    for (log_n, q, p, digit) in [(13, 4, 1, 1), (14, 8, 2, 2), (15, 14, 3, 3)] {
        for isa in Isa::available() {
            let ring = ring(log_n, q, p, isa);
            let values = random(&ring, Basis::q(q), 1);
            let mut coefficients = values.clone();
            coefficients.to_coefficient();
            let mut raised = Poly::zero(&ring, Basis::qp(q, p), Form::Evaluation);
            let shape = format!("{isa}/2^{log_n}, {q} q, {p} p, digits of {digit}");
            group.bench_function(format!("mod_up/{shape}"), |b| {
                b.iter(|| raised.set_mod_up_digit(&values, black_box(&coefficients), 0..digit));
            });
            group.bench_function(format!("mod_down/{shape}"), |b| {
                b.iter(|| black_box(&raised).mod_down());
            });
            group.bench_function(format!("rescale/{shape}"), |b| {
                b.iter(|| black_box(&values).rescale());
            });
        }
    }
    group.finish();
}

fn samplers(c: &mut Criterion) {
    let mut group = c.benchmark_group("sampling");
    let ring = ring(14, 1, 0, Isa::detect());
    let seed = Seed::new([1; 32]);
    group.bench_function("uniform", |b| b.iter(|| sampling::uniform(&ring, Basis::q(1), &seed)));
    group.bench_function("ternary", |b| b.iter(|| sampling::ternary(&ring, Basis::q(1), &seed)));
    group.bench_function("gaussian", |b| b.iter(|| sampling::gaussian(&ring, Basis::q(1), &seed)));
    group.finish();
}

fn short() -> Criterion {
    Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(400))
        .without_plots()
}

fn all(c: &mut Criterion) {
    // One thread: these are times of kernels, not of the machine.
    rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build_global()
        .expect("no other pool has been started");
    transforms(c);
    pointwise(c);
    switching(c);
    samplers(c);
}

criterion_group! { name = benches; config = short(); targets = all }
criterion_main!(benches);
