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

/// A layout with every element's place at hand.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    /// The layout.
    pub(super) layout: Layout,
    places: Vec<u32>,
}

impl Placed {
    /// Works out the places.
    pub(super) fn new(layout: Layout) -> Self {
        let places = layout.places().into_iter().map(narrow).collect();
        Self { layout, places }
    }

    /// Other elements in the same ciphertexts, with the same period.
    pub(super) fn with_places(&self, places: Vec<u32>) -> Self {
        Self { layout: self.layout.clone(), places }
    }

    /// The place of an element.
    pub(super) fn place(&self, element: usize) -> u32 {
        self.places[element]
    }
}

/// Routes an entry from input place `from` (of layout `input`) to output place `to`.
///
/// The partial sum that takes the entry is chosen so that the offset is the residue of least
/// magnitude modulo the smaller period; every entry is then counted exactly once by the fold.
pub(super) fn route(input: &Layout, output: &Layout, from: u32, to: u32) -> Landing {
    let mask = narrow(output.width) - 1;
    let bits = output.width.trailing_zeros();
    let (source, target) = (from & mask, to & mask);
    let delta = centred(i64::from(source) - i64::from(target), input.period);
    let offset = centred(delta, input.period.min(output.period));
    // Periods are powers of two, so quotients and residues are shifts and masks.
    let copy = if input.period > output.period {
        ((delta - offset) >> output.period.trailing_zeros())
            & (signed(input.period / output.period) - 1)
    } else {
        0
    };
    Landing {
        output: to >> bits,
        input: from >> bits,
        offset: (offset as u32) & mask,
        slot: target + (copy as u32) * narrow(output.period),
    }
}

/// The representative of `x` modulo `period`, a power of two, in `-period/2 ≤ r < period/2`.
fn centred(x: i64, period: usize) -> i64 {
    let period = signed(period);
    let half = period / 2;
    ((x + half) & (period - 1)) - half
}

fn signed(x: usize) -> i64 {
    i64::try_from(x).expect("places fit 32 bits")
}

fn narrow(x: usize) -> u32 {
    u32::try_from(x).expect("places fit 32 bits")
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
                    let l = route(&input, &output, from as u32, to as u32);
                    assert_eq!((l.slot as usize + l.offset as usize) % pi, from);
                    assert_eq!(l.slot as usize % po, to);
                }
            }
        }
    }
}
