//! Times of every operation at every shape on every instruction set that this processor has, each with its ratio to the
//! floor. One thread, processor time.
//!
//! `cargo bench -p heplan-ckks -- b/avx2/rotate` runs what matches; the whole takes an hour and a dozen gigabytes.
//! Shapes, operations and floors are those of `heplan bench`, which measures the same within a minute.
#![allow(missing_docs, reason = "criterion's macros declare what is undocumented")]
#![allow(clippy::print_stdout, reason = "the ratio to the floor is what the bench is for")]

use std::cell::OnceCell;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use heplan_ckks::measure::shape::SHAPES;
use heplan_ckks::measure::{Bench, Budget, Clock, Kernels, Operation, Shape, Work};
use heplan_lattice::Isa;

/// How long the kernels of a shape are timed.
const KERNELS: Budget = Budget(Duration::from_millis(300));

fn measured(c: &mut Criterion, shape: &Shape, isa: Isa) {
    // Made when the first operation is not filtered out.
    let made: OnceCell<(Bench, Kernels)> = OnceCell::new();
    let make = || {
        let bench = Bench::new(shape, isa).expect("shapes are sound");
        let kernels = bench.kernels(KERNELS).expect("one thread");
        (bench, kernels)
    };
    let mut group = c.benchmark_group(format!("{}/{isa}", shape.name));
    for operation in Operation::ALL {
        let (mut run, mut times) = (None, Vec::new());
        group.bench_function(operation.name(), |b| {
            let bench = &made.get_or_init(make).0;
            let run =
                run.get_or_insert_with(|| bench.prepare(operation).expect("operands are sound"));
            b.iter_custom(|count| {
                let (done, time) = Clock::Process.time(|| (0..count).try_for_each(|_| run()));
                done.expect("operations fit their operands");
                times.push(time.as_secs_f64() / count as f64);
                time
            });
        });
        times.sort_by(f64::total_cmp);
        if let (Some(median), Some((_, kernels))) = (times.get(times.len() / 2), made.get()) {
            let floor = Work::of(operation, shape).seconds(kernels);
            println!("{}/{isa}/{operation}: {:.2} times the floor", shape.name, median / floor);
        }
    }
    group.finish();
}

fn all(c: &mut Criterion) {
    rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .use_current_thread()
        .build_global()
        .expect("no other pool has been started");
    for shape in SHAPES {
        Isa::available().into_iter().for_each(|isa| measured(c, &shape, isa));
    }
}

fn short() -> Criterion {
    Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(100))
        .measurement_time(Duration::from_millis(400))
        .without_plots()
}

criterion_group! { name = benches; config = short(); targets = all }
criterion_main!(benches);
