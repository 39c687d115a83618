//! Times of the kernels on one thread, on every instruction set that this processor has.
//!
//! `cargo bench -p heplan-lattice -- ntt` runs one group; the whole takes a few minutes.

use std::hint::black_box;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use heplan_lattice::{Basis, Form, Isa, NttTable, Poly, Ring, Seed, primes, sampling};

/// The sizes of single limbs.
const LOG_N: RangeInclusive<u32> = 12..=16;

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
    // Nearly 50 bits, where sums are reduced before every stage of the transform, and the size of most primes.
    for (log_n, bits) in LOG_N.flat_map(|log_n| [(log_n, 50), (log_n, 45)]) {
        let q = primes::ntt_primes_below(1 << bits, log_n).next().expect("there are such primes");
        for isa in Isa::available() {
            let table = NttTable::with_isa(q, log_n, isa).expect("the prime fits");
            let ring = Ring::with_isa(log_n, &[q], &[], isa).expect("the prime fits");
            let minuend = random(&ring, Basis::q(1), 1);
            let mut poly = random(&ring, Basis::q(1), 2);
            let (_, limb) = poly.limbs_mut().next().expect("there is a limb");
            let shape = format!("2^{log_n}, {bits} bits");
            let id = |name: &str| BenchmarkId::new(format!("{name}/{isa}"), &shape);
            group.bench_function(id("forward"), |b| b.iter(|| table.forward(black_box(limb))));
            group.bench_function(id("inverse"), |b| b.iter(|| table.inverse(black_box(limb))));
            group.bench_function(id("inverse_scaled"), |b| {
                b.iter(|| table.inverse_scaled(black_box(limb), 3));
            });
            group.bench_function(id("forward_sub_from_mul_scalar"), |b| {
                b.iter(|| table.forward_sub_from_mul_scalar(black_box(limb), minuend.limb(0), 3));
            });
        }
    }
    group.finish();
}

fn pointwise(c: &mut Criterion) {
    let mut group = c.benchmark_group("limb");
    for (log_n, isa) in
        LOG_N.flat_map(|log_n| Isa::available().into_iter().map(move |i| (log_n, i)))
    {
        let ring = ring(log_n, 1, 0, isa);
        let [mut a, b, d] = [1, 2, 3].map(|tag| random(&ring, Basis::q(1), tag));
        let mut other = d.clone();
        let mut bench = |name: &str, f: &mut dyn FnMut(&mut Poly)| {
            let id = BenchmarkId::new(format!("{name}/{isa}"), format!("2^{log_n}"));
            group.bench_function(id, |t| t.iter(|| f(black_box(&mut a))));
        };
        bench("add", &mut |a| a.add_assign(&b));
        bench("sub", &mut |a| a.sub_assign(&b));
        bench("neg", &mut |a| a.neg_assign());
        bench("add_scalar", &mut |a| a.add_integer_assign(3));
        bench("mul", &mut |a| a.set_mul(&b, &d));
        bench("mul_assign", &mut |a| a.mul_assign(&b));
        bench("mul_add", &mut |a| a.mul_add_assign(&b, &d));
        bench("mul_scalar", &mut |a| a.mul_integer_assign(3));
        bench("mul_scalar_add", &mut |a| a.mul_integer_add_assign(&b, 3));
        bench("inner_product of 4", &mut |a| a.set_inner_product(&[(&b, &d); 4]));
        bench("inner_products of 4", &mut |a| {
            Poly::set_inner_products([a, &mut other], &[(&b, [&d, &b]); 4]);
        });
        bench("automorphism", &mut |a| a.set_automorphism(&b, 5));
    }
    group.finish();
}

/// One limb converted to another prime, from one prime (`reduce_centred`) and from three
/// (`mul_scalar` three times, `carry_rounded_sum`, `linear_combination`).
fn conversions(c: &mut Criterion) {
    let mut group = c.benchmark_group("convert");
    for (log_n, isa) in
        LOG_N.flat_map(|log_n| Isa::available().into_iter().map(move |i| (log_n, i)))
    {
        let ring = ring(log_n, 4, 0, isa);
        for sources in [1, 3] {
            let converter = ring.converter(Basis::q(sources), Basis::run(3..4, 0));
            let source = random(&ring, Basis::q(sources), 1);
            let source: Vec<&[u64]> = (0..sources).map(|i| source.limb(i)).collect();
            let mut target = random(&ring, Basis::q(1), 2);
            let (_, target) = target.limbs_mut().next().expect("there is a limb");
            let id = BenchmarkId::new(format!("{sources} to 1/{isa}"), format!("2^{log_n}"));
            group.bench_function(id, |b| {
                b.iter(|| converter.convert(&ring, black_box(&source), &mut [&mut *target]));
            });
        }
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
        .warm_up_time(Duration::from_millis(50))
        .measurement_time(Duration::from_millis(200))
        .without_plots()
}

fn all(c: &mut Criterion) {
    // One thread: these are times of kernels, not of the machine.
    rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .use_current_thread()
        .build_global()
        .expect("no other pool has been started");
    transforms(c);
    pointwise(c);
    conversions(c);
    switching(c);
    samplers(c);
}

criterion_group! { name = benches; config = short(); targets = all }
criterion_main!(benches);
