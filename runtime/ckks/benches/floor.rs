//! Times of the operations of a plan against their floor: the transforms, products and conversions that none can do without,
//! at the measured speed of our own kernels.
//!
//! `cargo bench -p heplan-ckks --bench floor -- a b c` measures those shapes on one thread; a number sets the threads, and
//! longer words pick operations by how their names begin.
#![allow(clippy::unwrap_used, reason = "a bench stops at the first thing that fails")]
#![allow(clippy::print_stdout, reason = "the table is what it is for")]

#[path = "../tests/common/mod.rs"]
mod common;

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{Setup, parameters, random};
use heplan_ckks::evaluator::linear::{Keep, PreparedTransform};
use heplan_ir::plan::{KeyKind, KeySpec};
use heplan_ir::scale::Scale;
use heplan_ir::transform::{Diagonal, LinearTransform};
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

fn matrix(width: usize, offsets: impl Iterator<Item = u32>) -> Arc<LinearTransform> {
    let diagonal = |offset: u32| Diagonal {
        output: 0,
        input: 0,
        offset,
        slots: (0..1024).collect(),
        values: random(1024, u64::from(offset)).iter().map(|&v| v as f32).collect(),
    };
    let diagonals = offsets.map(diagonal).collect();
    Arc::new(LinearTransform { width, period: 1024, inputs: 1, outputs: 1, diagonals })
}

fn measure(shape: &Shape, only: &[String]) {
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
    let row = |name: &str, floor: f64, run: &mut dyn FnMut()| {
        if !only.is_empty() && !only.iter().any(|o| name.starts_with(o.as_str())) {
            return;
        }
        let time = least(run);
        let ratio = if floor > 0.0 { format!("{:.2}", time / floor) } else { String::new() };
        println!("{:>4} {name:<16} {time:>10.0} us  floor {floor:>10.0}  {ratio}", shape.name);
    };
    let switch = limb.rotation(l, k, shape.digit);
    let d = l.div_ceil(shape.digit);
    let decompose = l as f64 * limb.inverse + (d * (l + k) - l) as f64 * limb.forward;
    let eight: Vec<u32> = (1..=8).collect();
    let tensor = 4.0 * l as f64 * limb.product;
    let evaluations = l as f64 * limb.forward;
    let seed = Seed::new([9; 32]);
    let spec = KeySpec { kind: KeyKind::Rotate(1), level: top };
    let ring = setup.context.ring();
    row("rotate", switch, &mut || drop(e.rotate(&x, 1)));
    let floor = 8.0 * switch - 7.0 * decompose;
    row("hoisted 8", floor, &mut || drop(e.rotate_many(&x, &eight)));
    row("mul and relin", switch + tensor, &mut || drop(e.mul_relinearised(&x, &x)));
    row("relinearise", switch, &mut || drop(e.relinearise(&square)));
    row("with rescale", switch, &mut || drop(e.relinearise_and_rescale(&square)));
    row("rescale", limb.rescale(l), &mut || drop(e.rescale(&x)));
    row("add", 0.0, &mut || drop(e.add(&x, &x)));
    row("encode", 0.0, &mut || drop(encoder.encode(&values, &scale)));
    row("evaluate", evaluations, &mut || drop(plain.to_evaluations(ring, Basis::q(l))));
    row("mul vector", evaluations, &mut || drop(e.mul_vector(&x, &values, &scale)));
    row("encrypt", evaluations, &mut || drop(setup.secret.encrypt(&plain, &scale, top, &seed)));
    row("decrypt", l as f64 * limb.inverse, &mut || drop(setup.secret.decrypt(&x)));
    let made = (d * (l + k)) as f64 * limb.forward;
    row("galois key", made, &mut || drop(setup.secret.evaluation_key(spec, &[7; 32])));
    let key = setup.secret.evaluation_key(spec, &[7; 32]).pack(&setup.context);
    row("key expansion", 0.0, &mut || drop(key.expand()));
    let t = matrix(setup.width(), 0..32);
    let scales = [Scale::pow2(40)];
    let keeps = [Keep::Nothing, Keep::Encoded, Keep::Evaluated(top)];
    for (name, keep) in ["linear 32 cold", "linear 32 warm", "linear 32 hot"].into_iter().zip(keeps)
    {
        let made = PreparedTransform::new(&setup.context, &t, &scales, keep).unwrap();
        row(name, 0.0, &mut || drop(e.linear(&[&x], &made)));
    }
}

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let threads = wanted.iter().find_map(|a| a.parse().ok()).unwrap_or(1);
    let named = |s: &Shape| wanted.iter().any(|w| w == s.name);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    let only: Vec<String> = wanted.iter().filter(|w| w.len() > 3).cloned().collect();
    pool.install(|| shapes().iter().filter(|s| named(s)).for_each(|s| measure(s, &only)));
}
