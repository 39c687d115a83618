//! Times of the kernels, one thread.

use criterion::{Criterion, criterion_group, criterion_main};

fn empty(_c: &mut Criterion) {}

criterion_group!(benches, empty);
criterion_main!(benches);
