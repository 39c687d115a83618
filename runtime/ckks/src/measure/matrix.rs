//! Matrix times encrypted vector, for measurements: baby and giant steps over extended diagonals, then folds.
//!
//! The vector lies in `period` slots, a power of two, and repeats; a matrix of `rows` (a power of two) has one diagonal
//! per row. Slot `t` of the transform sums the products of row `t mod rows` with a part of the columns, and rotations by
//! `rows·2^i` add the parts (the hybrid method of Juvekar, Vaikuntanathan and Chandrakasan, ePrint 2018/073).

use heplan_ir::transform::{Diagonal, LinearTransform, Split};

/// A dense matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Matrix {
    /// The name of the operation.
    pub name: &'static str,
    /// Rows, a power of two.
    pub rows: usize,
    /// Columns.
    pub columns: usize,
    /// Spacing of the giant steps.
    spacing: usize,
}

impl Matrix {
    /// 128 rows and 784 columns: the first layer of many a network on MNIST.
    pub const WIDE: Self = Self { name: "linear_128x784", rows: 128, columns: 784, spacing: 16 };

    /// 1024 rows and as many columns.
    pub const SQUARE: Self =
        Self { name: "linear_1024x1024", rows: 1024, columns: 1024, spacing: 32 };

    /// Slots after which the vector repeats.
    pub const fn period(&self) -> usize {
        self.columns.next_power_of_two()
    }

    /// Plaintext diagonals.
    pub const fn diagonals(&self) -> usize {
        self.rows
    }

    /// Baby steps that rotate.
    pub const fn babies(&self) -> usize {
        self.spacing - 1
    }

    /// Giant steps that rotate.
    pub const fn giants(&self) -> usize {
        self.rows / self.spacing - 1
    }

    /// Rotations that sum the parts of a row.
    pub fn folds(&self) -> Vec<u32> {
        let steps = std::iter::successors(Some(self.rows), |step| Some(2 * step));
        steps.take_while(|&step| step < self.period()).map(|step| step as u32).collect()
    }

    /// Every rotation that needs a key.
    pub fn rotations(&self, width: usize) -> Vec<u32> {
        let offsets = (0..self.rows as u32).map(|o| self.split().of(o, width));
        let mut all: Vec<u32> = offsets.flat_map(|(b, g)| [b, g]).chain(self.folds()).collect();
        all.retain(|&step| step != 0);
        all.sort_unstable();
        all.dedup();
        all
    }

    /// The schedule.
    pub fn split(&self) -> Split {
        Split { modulus: self.spacing as u32, shift: 0 }
    }

    /// The diagonals of the matrix whose entry in row `i` and column `j` is `entry(i, j)`, for so many slots.
    pub fn transform(&self, width: usize, entry: impl Fn(usize, usize) -> f32) -> LinearTransform {
        let diagonal = |offset: usize| {
            let column = |t: usize| (t + offset) % self.period();
            let slots = (0..self.period()).filter(|&t| column(t) < self.columns);
            let (slots, values) =
                slots.map(|t| (t as u32, entry(t % self.rows, column(t)))).unzip();
            Diagonal { output: 0, input: 0, offset: offset as u32, slots, values }
        };
        LinearTransform {
            width,
            period: self.period(),
            inputs: 1,
            outputs: 1,
            diagonals: (0..self.rows).map(diagonal).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folded_diagonals_are_the_dense_product() {
        let entry = |i: usize, j: usize| ((i * 37 + j * 11) % 23) as f32 - 11.0;
        for matrix in [Matrix::WIDE, Matrix::SQUARE] {
            let width = 2048;
            let vector: Vec<f64> = (0..matrix.columns).map(|j| (j % 7) as f64 - 3.0).collect();
            let slot = |t: usize| vector.get(t % matrix.period()).copied().unwrap_or(5.0);
            let x: Vec<f64> = (0..width).map(slot).collect();
            let transform = matrix.transform(width, entry);
            let mut y = transform.apply(&[&x]).remove(0);
            for by in matrix.folds() {
                y = (0..width).map(|t| y[t] + y[(t + by as usize) % width]).collect();
            }
            for (t, found) in y.iter().enumerate() {
                let row = t % matrix.rows;
                let wanted: f64 =
                    vector.iter().enumerate().map(|(j, x)| f64::from(entry(row, j)) * x).sum();
                assert_eq!(*found, wanted, "{} slot {t}", matrix.name);
            }
            let (babies, giants) = matrix.split().steps(&transform);
            assert_eq!((babies.len(), giants.len()), (matrix.babies(), matrix.giants()));
            let keys = matrix.babies() + matrix.giants() + matrix.folds().len();
            assert_eq!(matrix.rotations(width).len(), keys);
        }
    }
}
