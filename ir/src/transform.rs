//! Linear maps between slots, as their non-zero generalised diagonals.

use std::collections::BTreeSet;

/// One non-zero diagonal: `y_output[t] += value(t) · x_input[(t + offset) mod width]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Diagonal {
    /// Which output ciphertext.
    pub output: u32,
    /// Which input ciphertext.
    pub input: u32,
    /// Rotation (to the left) that brings the input under the output, `0 ≤ offset < width`.
    pub offset: u32,
    /// Slots below the transform's period that carry a value, strictly increasing.
    pub slots: Vec<u32>,
    /// Their values, which repeat every `period` slots.
    pub values: Vec<f32>,
}

/// A linear map from the slots of `inputs` ciphertexts to those of `outputs`.
///
/// Slots that no diagonal reaches become zero.
#[derive(Clone, Debug, PartialEq)]
pub struct LinearTransform {
    /// Slots of one ciphertext, a power of two.
    pub width: usize,
    /// Diagonal values repeat with this period, a power of two, at most `width`.
    pub period: usize,
    /// Number of input ciphertexts.
    pub inputs: usize,
    /// Number of output ciphertexts.
    pub outputs: usize,
    /// Sorted by (output, input, offset), no two alike, none empty.
    pub diagonals: Vec<Diagonal>,
}

impl LinearTransform {
    /// The distinct offsets, increasing.
    pub fn offsets(&self) -> BTreeSet<u32> {
        self.diagonals.iter().map(|d| d.offset).collect()
    }

    /// The distinct offsets that rotate: the steps of its rotation keys.
    pub fn steps(&self) -> BTreeSet<u32> {
        self.offsets().into_iter().filter(|&offset| offset != 0).collect()
    }

    /// Whether any diagonal rotates its input.
    pub fn rotates(&self) -> bool {
        self.diagonals.iter().any(|d| d.offset != 0)
    }

    /// The map applied in the clear: the specification of every backend's `linear`.
    ///
    /// # Panics
    /// If `xs` has not `inputs` vectors of `width` slots.
    pub fn apply(&self, xs: &[&[f64]]) -> Vec<Vec<f64>> {
        assert_eq!(xs.len(), self.inputs, "one vector per input");
        let mut out = vec![vec![0.0; self.width]; self.outputs];
        for d in &self.diagonals {
            let (x, y) = (xs[d.input as usize], &mut out[d.output as usize]);
            for copy in (0..self.width).step_by(self.period) {
                for (&s, &v) in d.slots.iter().zip(&d.values) {
                    let t = copy + s as usize;
                    y[t] += f64::from(v) * x[(t + d.offset as usize) & (self.width - 1)];
                }
            }
        }
        out
    }
}
