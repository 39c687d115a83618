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

/// How a transform's offsets split into baby and giant steps.
///
/// With the offset `d` read as a signed number in `-width/2 ≤ d < width/2`,
/// `baby = ((d + shift) mod modulus) - shift` and `giant = d - baby`.
/// `modulus = width` means that every offset is a baby step.
/// The transform is evaluated as `Σ_g rot_g( Σ_b rot_{-g}(diag_{g+b}) ⊙ rot_b(x) )`
/// (Halevi and Shoup, ePrint 2014/873 and 2018/244).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Split {
    /// Spacing of the giant steps, `1 ..= width`.
    pub modulus: u32,
    /// How far baby steps reach to the right, `0 ≤ shift < modulus`.
    pub shift: u32,
}

impl Split {
    /// The `(baby, giant)` steps of an offset, each in `0 .. width`.
    pub fn of(self, offset: u32, width: usize) -> (u32, u32) {
        let width = i64::try_from(width).expect("widths are at most 2^16");
        let offset = i64::from(offset);
        let signed = if offset < width / 2 { offset } else { offset - width };
        let (modulus, shift) = (i64::from(self.modulus), i64::from(self.shift));
        let baby = (signed + shift).rem_euclid(modulus) - shift;
        let step = |s: i64| u32::try_from(s.rem_euclid(width)).expect("a residue of the width");
        (step(baby), step(signed - baby))
    }

    /// The distinct non-zero baby steps, then giant steps, of a transform.
    pub fn steps(self, transform: &LinearTransform) -> (BTreeSet<u32>, BTreeSet<u32>) {
        let pairs = transform.offsets().into_iter().map(|d| self.of(d, transform.width));
        let (mut babies, mut giants) = (BTreeSet::new(), BTreeSet::new());
        for (b, g) in pairs {
            babies.extend((b != 0).then_some(b));
            giants.extend((g != 0).then_some(g));
        }
        (babies, giants)
    }
}
