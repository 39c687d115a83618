//! Arrays in NumPy's files, written and read without any code of the project.

use std::fs::File;
use std::path::Path;

use ndarray::{Array, ArrayD, Ix1, IxDyn};
use ndarray_npy::{NpzReader, NpzWriter, ReadNpyExt, WriteNpyExt};

/// Writes float32 as `.npy`.
pub(crate) fn write_npy(path: &Path, shape: &[usize], data: &[f32]) {
    let array = Array::from_shape_vec(IxDyn(shape), data.to_vec()).expect("sizes fit");
    array.write_npy(File::create(path).expect("writable")).expect("written");
}

/// Reads an `.npy` of float32.
pub(crate) fn read_npy(path: &Path) -> ArrayD<f32> {
    let file = File::open(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    ArrayD::<f32>::read_npy(file).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Writes an `.npz` of float32 arrays.
pub(crate) fn write_npz(path: &Path, arrays: &[(&str, &[usize], &[f32])]) {
    let mut npz = NpzWriter::new_compressed(File::create(path).expect("writable"));
    for (name, shape, data) in arrays {
        let array = Array::from_shape_vec(IxDyn(shape), data.to_vec()).expect("sizes fit");
        npz.add_array(*name, &array).expect("written");
    }
    npz.finish().expect("finished");
}

/// One array of an `.npz` of float32.
pub(crate) fn read_npz(path: &Path, name: &str) -> ArrayD<f32> {
    let mut npz = NpzReader::new(File::open(path).expect("exists")).expect("an npz");
    let found = npz.by_name::<ndarray::OwnedRepr<f32>, IxDyn>(name);
    found.unwrap_or_else(|e| panic!("{name} in {}: {e}", path.display()))
}

/// The labels of a test set; empty where it has none.
pub(crate) fn labels(path: &Path) -> Vec<i64> {
    let mut npz = NpzReader::new(File::open(path).expect("exists")).expect("an npz");
    npz.by_name::<ndarray::OwnedRepr<i64>, Ix1>("y").map(|y| y.to_vec()).unwrap_or_default()
}

/// Numbers that look random, in [-1, 1), the same on every machine (a linear congruence).
pub(crate) fn numbers(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2) + 1;
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// The position of the largest number.
pub(crate) fn argmax(scores: &[f64]) -> usize {
    let best = scores.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
    best.map_or(0, |(i, _)| i)
}
