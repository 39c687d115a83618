//! Matrix times encrypted vector, for measurements: baby steps over extended diagonals, giant steps by Horner's rule, then
//! folds, and one division in the end.
//!
//! The vector lies in `period` slots, a power of two, and repeats; a matrix of `rows` (a power of two) has one diagonal
//! per row. Slot `t` of the transform sums the products of row `t mod rows` with a part of the columns, and rotations by
//! `rows·2^i` add the parts (the hybrid method of Juvekar, Vaikuntanathan and Chandrakasan, ePrint 2018/073).

use heplan_ir::transform::{Diagonal, LinearTransform};

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

    /// The rotation of a giant step.
    pub const fn giant(&self) -> u32 {
        self.spacing as u32
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
    pub fn rotations(&self) -> Vec<u32> {
        (1..self.giant()).chain([self.giant()]).chain(self.folds()).collect()
    }

    /// The diagonals of the matrix whose entry in row `i` and column `j` is `entry(i, j)`, for so many slots: one result
    /// per giant step, to be rotated by that many times [`Self::giant`].
    pub fn transform(&self, width: usize, entry: impl Fn(usize, usize) -> f32) -> LinearTransform {
        let diagonal = |offset: usize| {
            let (giant, baby) = (offset / self.spacing, offset % self.spacing);
            // What the giant step brings to slot `t` lies in the slot that many places on.
            let from = |t: usize| (t + self.period() - giant * self.spacing) % self.period();
            let column = |t: usize| (from(t) + offset) % self.period();
            let slots = (0..self.period()).filter(|&t| column(t) < self.columns);
            let (slots, values) =
                slots.map(|t| (t as u32, entry(from(t) % self.rows, column(t)))).unzip();
            Diagonal { output: giant as u32, input: 0, offset: baby as u32, slots, values }
        };
        LinearTransform {
            width,
            period: self.period(),
            inputs: 1,
            outputs: self.giants() + 1,
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
            let results = transform.apply(&[&x]);
            let plus = |y: &[f64], z: &[f64], by: u32| -> Vec<f64> {
                (0..width).map(|t| y[t] + z[(t + by as usize) % width]).collect()
            };
            let zero = vec![0.0; width];
            let horner = |sum: Vec<f64>, y: &Vec<f64>| plus(y, &sum, matrix.giant());
            let mut y = results.iter().rev().fold(zero, horner);
            for by in matrix.folds() {
                y = plus(&y, &y, by);
            }
            for (t, found) in y.iter().enumerate() {
                let row = t % matrix.rows;
                let wanted: f64 =
                    vector.iter().enumerate().map(|(j, x)| f64::from(entry(row, j)) * x).sum();
                assert_eq!(*found, wanted, "{} slot {t}", matrix.name);
            }
            assert_eq!(transform.steps().len(), matrix.babies());
            assert_eq!(matrix.rotations().len(), matrix.babies() + 1 + matrix.folds().len());
        }
    }
}
