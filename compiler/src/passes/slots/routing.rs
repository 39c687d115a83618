//! How the entries of a matrix travel between two layouts: the offset, the slot, the fold.
//!
//! This is the one place that knows the arithmetic of periods; the search counts with it and the
//! lowering builds diagonals with it, so what was counted is what is built.

use heplan_ir::layout::Layout;

/// Where one matrix entry lands among the diagonals of a transform.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Landing {
    /// Output ciphertext.
    pub(super) output: u32,
    /// Ciphertext within the input tensor.
    pub(super) input: u32,
    /// Rotation, `0 ≤ offset < width`.
    pub(super) offset: u32,
    /// Slot of the output, below the unfolded period.
    pub(super) slot: u32,
}

/// The periods of a transform from tensors with some periods to one with the period `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Folding {
    /// Period of the transform's output before the folds.
    pub(super) unfolded: usize,
    /// Period of the output.
    pub(super) period: usize,
}

impl Folding {
    /// The folding between these layouts.
    pub(super) fn between<'a>(inputs: impl Iterator<Item = &'a Layout>, output: &Layout) -> Self {
        let widest = inputs.map(|l| l.period).max().unwrap_or(1);
        Self { unfolded: widest.max(output.period), period: output.period }
    }

    /// The rotations that fold partial sums, each to be followed by an addition.
    pub(super) fn rotations(self) -> impl Iterator<Item = usize> {
        std::iter::successors(Some(self.period), |p| Some(p * 2))
            .take_while(move |&p| p < self.unfolded)
    }
}

/// Routes an entry from input place `from` (of layout `input`) to output place `to`.
///
/// The partial sum that takes the entry is chosen so that the offset is the residue of least
/// magnitude modulo the smaller period; every entry is then counted exactly once by the fold.
pub(super) fn route(input: &Layout, output: &Layout, from: usize, to: usize) -> Landing {
    let width = output.width;
    let (source, target) = (from % width, to % width);
    let delta = signed_residue(source, target, input.period);
    let small = input.period.min(output.period);
    let offset = centred(delta, small);
    let copy = if input.period > output.period {
        let copies = signed(input.period / output.period);
        ((delta - offset) / signed(output.period)).rem_euclid(copies)
    } else {
        0
    };
    Landing {
        output: narrow(to / width),
        input: narrow(from / width),
        offset: narrow_signed(offset.rem_euclid(signed(width))),
        slot: narrow_signed(signed(target) + copy * signed(output.period)),
    }
}

/// `from - to` modulo `period`, as the representative of least magnitude.
fn signed_residue(from: usize, to: usize, period: usize) -> i64 {
    centred(signed(from) - signed(to), period)
}

/// The representative of `x` modulo `period` in `-period/2 ≤ r < period/2`.
fn centred(x: i64, period: usize) -> i64 {
    let period = signed(period);
    let r = x.rem_euclid(period);
    if 2 * r < period || period == 1 { r } else { r - period }
}

fn signed(x: usize) -> i64 {
    i64::try_from(x).expect("places fit 32 bits")
}

fn narrow(x: usize) -> u32 {
    u32::try_from(x).expect("places fit 32 bits")
}

fn narrow_signed(x: i64) -> u32 {
    u32::try_from(x).expect("a residue of the width")
}

#[cfg(test)]
mod tests {
    use super::*;
    use heplan_ir::layout::Axis;

    fn layout(elements: usize, stride: usize, period: usize) -> Layout {
        Layout { axes: vec![Axis { size: elements, stride }], offset: 0, period, width: 64 }
    }

    #[test]
    fn the_slot_plus_the_offset_is_a_copy_of_the_source() {
        for (pi, po) in [(64, 8), (8, 64), (16, 16), (32, 4), (64, 64)] {
            let (input, output) = (layout(4, pi / 4, pi), layout(4, 1, po));
            for from in input.places() {
                for to in output.places() {
                    let l = route(&input, &output, from, to);
                    assert_eq!((l.slot as usize + l.offset as usize) % pi, from);
                    assert_eq!(l.slot as usize % po, to);
                }
            }
        }
    }
}
