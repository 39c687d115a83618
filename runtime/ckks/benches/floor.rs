//! Times of the operations of a plan against their floor: the transforms, products and conversions that none can do without,
//! at the measured speed of our own kernels.
//!
//! `cargo bench -p heplan-ckks --bench floor -- a b c` measures those shapes on one thread; a number sets the threads.
#![allow(clippy::unwrap_used, reason = "a bench stops at the first thing that fails")]
#![allow(clippy::print_stdout, reason = "the table is what it is for")]

#[path = "../tests/common/mod.rs"]
mod common;

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{Setup, parameters, random};
use heplan_ckks::evaluator::linear::PreparedTransform;
use heplan_ir::plan::{KeyKind, KeySpec};
use heplan_ir::scale::Scale;
use heplan_ir::transform::{Diagonal, LinearTransform, Split};
use heplan_lattice::{Basis, Form, Poly, Prime, Seed, sampling};

/// A parameter set of a peer, with primes that our security bound allows.
struct Shape {
    name: &'static str,
    log_n: u32,
    q: Vec<u32>,
    p: Vec<u32>,
    digit: usize,
}

fn shapes() -> Vec<Shape> {
    let chain = |first: u32, rest: u32, len: usize| {
        let mut chain = vec![rest; len];
        chain[0] = first;
        chain
    };
    let shape = |name, log_n, q, p, digit| Shape { name, log_n, q, p, digit };
    vec![
        shape("a", 13, chain(46, 40, 4), vec![46], 1),
        shape("b", 14, chain(46, 40, 7), vec![46; 3], 3),
        shape("b7", 14, chain(46, 40, 7), vec![46], 1),
        shape("c", 15, chain(49, 44, 16), vec![48; 3], 3),
        shape("c16", 15, chain(49, 44, 16), vec![48], 1),
        shape("d", 16, chain(49, 44, 30), vec![49; 6], 6),
    ]
}

/// The least of many runs, in microseconds: other work on the machine only ever adds.
fn least<T>(mut f: impl FnMut() -> T) -> f64 {
    let (start, mut best) = (Instant::now(), f64::MAX);
    let mut runs = 0;
    while runs < 3 || (start.elapsed() < Duration::from_millis(250) && runs < 2000) {
        let begin = Instant::now();
        black_box(f());
        best = best.min(begin.elapsed().as_secs_f64() * 1e6);
        runs += 1;
    }
    best
}

/// Times of one limb.
struct Limb {
    forward: f64,
    inverse: f64,
    product: f64,
    convert: f64,
}

impl Limb {
    fn measure(setup: &Setup) -> Self {
        let ring = setup.context.ring();
        let table = ring.table(Prime::Q(0));
        let mut a = sampling::uniform(ring, Basis::q(1), &Seed::new([1; 32]));
        let b = sampling::uniform(ring, Basis::q(1), &Seed::new([2; 32]));
        let mut out = Poly::zero(ring, Basis::q(1), Form::Evaluation);
        Self {
            forward: least(|| table.forward(a.limb_mut(0))),
            inverse: least(|| table.inverse(a.limb_mut(0))),
            product: least(|| out.set_inner_product(&[(&a, &b); 4])) / 4.0,
            convert: least(|| a.mul_residues_assign(&[12345])),
        }
    }

    /// L + [d(L+K) - L] + 2(K+L) transforms and 2d(L+K) products; a conversion costs a product by a constant per pair.
    fn rotation(&self, l: usize, k: usize, digit: usize) -> f64 {
        let d = l.div_ceil(digit);
        let inverse = l + 2 * k;
        let forward = d * (l + k) - l + 2 * l;
        let converted = (d * (l + k) - l) * digit + 2 * l * k;
        inverse as f64 * self.inverse
            + forward as f64 * self.forward
            + (2 * d * (l + k)) as f64 * self.product
            + converted as f64 * self.convert
    }

    fn rescale(&self, l: usize) -> f64 {
        2.0 * (self.inverse + (l - 1) as f64 * (self.forward + 2.0 * self.convert))
    }
}

fn matrix(width: usize, count: u32) -> Arc<LinearTransform> {
    let diagonal = |offset: u32| Diagonal {
        output: 0,
        input: 0,
        offset,
        slots: (0..1024).collect(),
        values: random(1024, u64::from(offset)).iter().map(|&v| v as f32).collect(),
    };
    let diagonals = (0..count).map(diagonal).collect();
    Arc::new(LinearTransform { width, period: 1024, inputs: 1, outputs: 1, diagonals })
}

fn measure(shape: &Shape) {
    let parameters = parameters(shape.log_n, &shape.q, &shape.p, shape.digit);
    let (l, k) = (shape.q.len(), shape.p.len());
    let steps: Vec<u32> = (1..=8).chain([16, 32, 48]).collect();
    let setup = Setup::new(&parameters, steps.iter().copied());
    let limb = Limb::measure(&setup);
    let top = setup.top();
    let scale = Scale::pow2(40);
    let values = random(setup.width(), 1);
    let x = setup.encrypt(&values, &scale, top, 1);
    let square = setup.evaluator.mul(&x, &x).unwrap();
    let e = &setup.evaluator;
    let encoder = setup.context.encoder();
    let plain = encoder.encode(&values, &scale).unwrap();
    println!(
        "shape {}: forward {:.1} inverse {:.1} product {:.1} constant {:.1}",
        shape.name, limb.forward, limb.inverse, limb.product, limb.convert
    );
    let row = |name: &str, time: f64, floor: f64| {
        let ratio = if floor > 0.0 { format!("{:.2}", time / floor) } else { String::new() };
        println!("{:>4} {name:<16} {time:>10.0} us  floor {floor:>10.0}  {ratio}", shape.name);
    };
    let switch = limb.rotation(l, k, shape.digit);
    row("rotate", least(|| e.rotate(&x, 1).unwrap()), switch);
    let d = l.div_ceil(shape.digit);
    let decompose = l as f64 * limb.inverse + (d * (l + k) - l) as f64 * limb.forward;
    let eight: Vec<u32> = (1..=8).collect();
    row(
        "8 hoisted",
        least(|| e.rotate_many(&x, &eight).unwrap()),
        8.0 * switch - 7.0 * decompose,
    );
    let tensor = 4.0 * l as f64 * limb.product;
    row("mul + relin", least(|| e.relinearise(&e.mul(&x, &x).unwrap()).unwrap()), switch + tensor);
    row("relinearise", least(|| e.relinearise(&square).unwrap()), switch);
    row("rescale", least(|| e.rescale(&x).unwrap()), limb.rescale(l));
    row("add", least(|| e.add(&x, &x).unwrap()), 0.0);
    let evaluations = l as f64 * limb.forward;
    row("encode", least(|| encoder.encode(&values, &scale).unwrap()), 0.0);
    row("encode to ring", {
        least(|| encoder.encode(&values, &scale).unwrap().to_evaluations(setup.context.ring(), Basis::q(l)))
    }, evaluations);
    row("mul vector", least(|| e.mul_vector(&x, &values, &scale).unwrap()), evaluations);
    let seed = Seed::new([9; 32]);
    row("encrypt", least(|| setup.secret.encrypt(&plain, &scale, top, &seed)), evaluations);
    row("decrypt", least(|| setup.secret.decrypt(&x)), l as f64 * limb.inverse);
    let spec = KeySpec { kind: KeyKind::Rotate(1), level: top };
    row("galois key", least(|| setup.secret.evaluation_key(spec, &[7; 32])), {
        (d * (l + k)) as f64 * limb.forward
    });
    row("expand key", {
        least(|| setup.secret.evaluation_key(spec, &[7; 32]).expand(&setup.context))
    }, 0.0);
    let t = matrix(setup.width(), 64);
    let split = Split { modulus: 16, shift: 0 };
    let _ = split;
    for (name, budget) in [("linear 64 cold", 0), ("linear 64 warm", 1 << 30)] {
        let split = Split { modulus: 8, shift: 0 };
        let few: Arc<LinearTransform> = Arc::new(LinearTransform {
            diagonals: t.diagonals.iter().filter(|d| d.offset < 8 || matches!(d.offset / 8, 2 | 4 | 6)).cloned().collect(),
            ..(*t).clone()
        });
        let scales = [Scale::pow2(40)];
        let made = PreparedTransform::new(&setup.context, &few, split, &scales, budget).unwrap();
        row(name, least(|| e.linear(&[&x], &made).unwrap()), 0.0);
    }
}

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let threads = wanted.iter().find_map(|a| a.parse().ok()).unwrap_or(1);
    let named = |s: &Shape| wanted.iter().any(|w| w == s.name);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| shapes().iter().filter(|s| named(s)).for_each(measure));
}
