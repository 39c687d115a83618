//! Times of the operations that a plan is made of, on one thread and on all.
#![allow(missing_docs, reason = "criterion's macros declare what is undocumented")]
#![allow(clippy::unwrap_used, reason = "a bench stops at the first thing that fails")]

#[path = "../tests/common/mod.rs"]
mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Setup, parameters, random};
use criterion::{Criterion, criterion_group, criterion_main};
use heplan_ckks::evaluator::linear::PreparedTransform;
use heplan_ir::scale::Scale;
use heplan_ir::transform::{Diagonal, LinearTransform, Split};

fn on_threads(c: &mut Criterion, name: &str, mut f: impl FnMut() + Send) {
    for threads in [1, 2] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let name = format!("{name}, {threads} threads");
        c.bench_function(&name, |b| b.iter(|| pool.install(&mut f)));
    }
}

fn arithmetic(c: &mut Criterion) {
    let chain = [40, 40, 40, 40, 40, 40, 40, 40];
    let setup = Setup::new(&parameters(14, &chain, &[40, 40], 2), [1]);
    let x = setup.encrypt(&random(setup.width(), 1), &Scale::pow2(40), 7, 1);
    let square = setup.evaluator.mul(&x, &x).unwrap();
    on_threads(c, "rotate 2^14", || drop(setup.evaluator.rotate(&x, 1).unwrap()));
    on_threads(c, "relinearise 2^14", || drop(setup.evaluator.relinearise(&square).unwrap()));
    on_threads(c, "rescale 2^14", || drop(setup.evaluator.rescale(&x).unwrap()));
}

fn linear(c: &mut Criterion) {
    let parameters = parameters(13, &[34, 28, 28, 28, 28, 28], &[34], 1);
    for period in [4096, 1024] {
        let width = parameters.width();
        let diagonal = |offset: u32| Diagonal {
            output: 0,
            input: 0,
            offset,
            slots: (0..period).collect(),
            values: random(period as usize, u64::from(offset)).iter().map(|&v| v as f32).collect(),
        };
        let diagonals = (0..64).map(diagonal).collect();
        let period = period as usize;
        let t = LinearTransform { width, period, inputs: 1, outputs: 1, diagonals };
        let t = Arc::new(t);
        let split = Split { modulus: 16, shift: 0 };
        let (babies, giants) = split.steps(&t);
        let setup = Setup::new(&parameters, babies.union(&giants).copied());
        let x = setup.encrypt(&random(width, 1), &Scale::pow2(28), 5, 1);
        let scales = [Scale::pow2(28)];
        let prepare = |budget| PreparedTransform::new(&setup.context, &t, split, &scales, budget);
        for (name, prepared) in [("first", prepare(0)), ("repeated", prepare(1 << 30))] {
            let prepared = prepared.unwrap();
            let name = format!("linear 2^13, 64 diagonals of period {period}, {name}");
            on_threads(c, &name, || drop(setup.evaluator.linear(&[&x], &prepared).unwrap()));
        }
    }
}

criterion_group! {
    name = evaluator;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(800));
    targets = arithmetic, linear
}
criterion_main!(evaluator);
