//! Matrix times encrypted vector, for measurements: baby steps over extended diagonals, giant steps by Horner's rule, then
//! folds, and one division in the end.
//!
//! Slot `t` of the transform sums the products of row `t mod rows` (a power of two) with a part of the columns, and
//! rotations by `rows·2^i` add the parts (the hybrid method of Juvekar, Vaikuntanathan and Chandrakasan, ePrint 2018/073).
//! The vector repeats after as many slots as it has entries. If their number is a power of two, a row meets the same columns
//! in every repetition, and has one diagonal for each of its products in the first. If it is not, every repetition
//! brings a row to other columns, and together they need only as many diagonals as fill the slots: the way in which the
//! compiler lays out the inputs of a model.

use heplan_ir::transform::{Diagonal, LinearTransform};

/// What a giant step costs, in baby steps.
const GIANT_STEP: f64 = 2.0;

/// A dense matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Matrix {
    /// The name of the operation.
    pub name: &'static str,
    /// Rows, a power of two.
    pub rows: usize,
    /// Columns.
    pub columns: usize,
}

/// One product of the transform: slots that multiply what an offset brings to them.
struct Places {
    /// Row and column by slot.
    slots: Vec<(usize, usize, usize)>,
}

/// A matrix in the slots of a ciphertext.
pub struct Placed {
    matrix: Matrix,
    width: usize,
    /// Slots after which the diagonals repeat, a power of two.
    pub period: usize,
    /// By offset.
    diagonals: Vec<Places>,
    /// Spacing of the giant steps.
    spacing: usize,
}

impl Matrix {
    /// 128 rows and 784 columns: the first layer of many a network on MNIST.
    pub const WIDE: Self = Self { name: "linear_128x784", rows: 128, columns: 784 };

    /// 1024 rows and as many columns.
    pub const SQUARE: Self = Self { name: "linear_1024x1024", rows: 1024, columns: 1024 };

    /// The schedule for so many slots, a power of two that holds the vector.
    pub fn placed(self, width: usize) -> Placed {
        let Self { rows, columns, .. } = self;
        let period = if columns.is_power_of_two() { columns } else { width };
        let mut missing = vec![true; rows * columns];
        let mut left = missing.len();
        let mut diagonals = Vec::new();
        while left > 0 {
            let offset = diagonals.len();
            let mut places = Places { slots: Vec::new() };
            // Without repetitions that differ nothing lies beyond the last slot.
            for slot in (0..period).filter(|slot| period < width || slot + offset < width) {
                let (row, column) = (slot % rows, (slot + offset) % columns);
                if std::mem::take(&mut missing[row * columns + column]) {
                    places.slots.push((slot, row, column));
                    left -= 1;
                }
            }
            diagonals.push(places);
        }
        let cost = |spacing: usize| {
            (spacing - 1) as f64 + GIANT_STEP * (diagonals.len().div_ceil(spacing) - 1) as f64
        };
        let powers = (0..=diagonals.len().ilog2()).map(|log| 1usize << log);
        let spacing = powers.min_by(|&a, &b| cost(a).total_cmp(&cost(b))).unwrap_or(1);
        Placed { matrix: self, width, period, diagonals, spacing }
    }
}

impl Placed {
    /// Plaintext diagonals.
    pub fn diagonals(&self) -> usize {
        self.diagonals.len()
    }

    /// Baby steps that rotate.
    pub fn babies(&self) -> usize {
        self.spacing.min(self.diagonals()) - 1
    }

    /// The rotation of a giant step.
    pub fn giant(&self) -> u32 {
        self.spacing as u32
    }

    /// Giant steps that rotate.
    pub fn giants(&self) -> usize {
        self.diagonals().div_ceil(self.spacing) - 1
    }

    /// Rotations that sum the parts of a row.
    pub fn folds(&self) -> Vec<u32> {
        let steps = std::iter::successors(Some(self.matrix.rows), |step| Some(2 * step));
        steps.take_while(|&step| step < self.period).map(|step| step as u32).collect()
    }

    /// Every rotation that needs a key.
    pub fn rotations(&self) -> Vec<u32> {
        let giant = (self.giants() > 0).then(|| self.giant());
        (1..=self.babies() as u32).chain(giant).chain(self.folds()).collect()
    }

    /// The diagonals of the matrix whose entry in row `i` and column `j` is `entry(i, j)`: one result per giant step, to be
    /// rotated by that many times [`Self::giant`].
    pub fn transform(&self, entry: impl Fn(usize, usize) -> f32) -> LinearTransform {
        let diagonal = |(offset, places): (usize, &Places)| {
            let (giant, baby) = (offset / self.spacing, offset % self.spacing);
            // What the giant step brings to a slot lies that many places on.
            let value = |&(slot, row, column): &(usize, usize, usize)| {
                (((slot + giant * self.spacing) % self.period) as u32, entry(row, column))
            };
            let mut values: Vec<(u32, f32)> = places.slots.iter().map(value).collect();
            values.sort_unstable_by_key(|&(slot, _)| slot);
            let (slots, values) = values.into_iter().unzip();
            Diagonal { output: giant as u32, input: 0, offset: baby as u32, slots, values }
        };
        LinearTransform {
            width: self.width,
            period: self.period,
            inputs: 1,
            outputs: self.giants() + 1,
            diagonals: self.diagonals.iter().enumerate().map(diagonal).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folded_diagonals_are_the_dense_product() {
        let entry = |i: usize, j: usize| ((i * 37 + j * 11) % 23) as f32 - 11.0;
        for (matrix, width) in
            [2048, 4096, 8192].into_iter().flat_map(|w| [(Matrix::WIDE, w), (Matrix::SQUARE, w)])
        {
            let placed = matrix.placed(width);
            let vector: Vec<f64> = (0..matrix.columns).map(|j| (j % 7) as f64 - 3.0).collect();
            let x: Vec<f64> = vector.iter().copied().cycle().take(width).collect();
            let transform = placed.transform(entry);
            let results = transform.apply(&[&x]);
            let plus = |y: &[f64], z: &[f64], by: u32| -> Vec<f64> {
                (0..width).map(|t| y[t] + z[(t + by as usize) % width]).collect()
            };
            let zero = vec![0.0; width];
            let horner = |sum: Vec<f64>, y: &Vec<f64>| plus(y, &sum, placed.giant());
            let mut y = results.iter().rev().fold(zero, horner);
            for by in placed.folds() {
                y = plus(&y, &y, by);
            }
            for (t, found) in y.iter().enumerate() {
                let row = t % matrix.rows;
                let wanted: f64 =
                    vector.iter().enumerate().map(|(j, x)| f64::from(entry(row, j)) * x).sum();
                assert_eq!(*found, wanted, "{} slot {t} of {width}", matrix.name);
            }
            assert_eq!(transform.steps().len(), placed.babies());
            let turning = usize::from(placed.giants() > 0);
            assert_eq!(placed.rotations().len(), placed.babies() + turning + placed.folds().len());
        }
        // Sixteen products for each of 128 rows in each of 64 parts would be all that there are.
        assert_eq!(Matrix::WIDE.placed(8192).diagonals(), 16);
    }
}
