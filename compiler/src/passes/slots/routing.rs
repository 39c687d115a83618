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
        // An uneven period winds through all slots.
        let unfolded = |l: &Layout| if l.period.is_power_of_two() { l.period } else { l.width };
        let widest = inputs.map(unfolded).max().unwrap_or(1);
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

/// The way of entries from one layout to another.
#[derive(Clone, Copy, Debug)]
pub(super) struct Route {
    bits: u32,
    input_period: usize,
    output_period: usize,
    uneven: Option<Uneven>,
}

/// What an input period that is no power of two makes of a route.
///
/// Let `g` be the greatest common divisor of the periods `L` and `P`. The slots `to + m·P`, which the
/// folds add up, stand before `L/g` different elements of the input, `g` apart: so an entry finds one
/// of them whose offset is below `g`, and there are `g` offsets instead of `min(L, P)`.
#[derive(Clone, Copy, Debug)]
struct Uneven {
    /// The greatest common divisor.
    divisor: i64,
    /// `L/g`, less than the number of slots `to + m·P`.
    turns: i64,
    /// The inverse of `P/g` modulo `L/g`.
    inverse: i64,
}

impl Uneven {
    /// `None` if the output has too few copies of a place for every element to stand before one.
    fn new(input: usize, output: &Layout) -> Option<Self> {
        let divisor = gcd(input, output.period);
        let (turns, step) = (input / divisor, output.period / divisor);
        let inverse = (1..turns).find(|m| step * m % turns == 1)?;
        let copies = output.width / output.period;
        (output.ciphertexts() == 1 && turns < copies).then(|| Self {
            divisor: signed(divisor),
            turns: signed(turns),
            inverse: signed(inverse),
        })
    }
}

impl Route {
    /// The route between two layouts; `None` if there is none: a map writes only periods that are
    /// powers of two, and reads others only into outputs that are short enough.
    pub(super) fn between(input: &Layout, output: &Layout) -> Option<Self> {
        let uneven = match input.period.is_power_of_two() {
            true => None,
            false => Some(Uneven::new(input.period, output)?),
        };
        output.period.is_power_of_two().then_some(Self {
            bits: output.width.trailing_zeros(),
            input_period: input.period,
            output_period: output.period,
            uneven,
        })
    }

    /// Routes an entry from input place `from` to output place `to`.
    ///
    /// The partial sum that takes the entry is chosen so that the offset is the residue of least
    /// magnitude modulo the smaller period (or the least one, for an uneven period); every entry is
    /// then counted exactly once by the fold.
    pub(super) fn landing(&self, from: u32, to: u32) -> Landing {
        let mask = (1 << self.bits) - 1;
        let (source, target) = (from & mask, to & mask);
        let difference = i64::from(source) - i64::from(target);
        let (offset, copy) = match self.uneven {
            Some(Uneven { divisor, turns, inverse }) => {
                let offset = difference.rem_euclid(divisor);
                (offset, ((difference - offset) / divisor * inverse).rem_euclid(turns))
            }
            None => self.even(difference),
        };
        Landing {
            output: to >> self.bits,
            input: from >> self.bits,
            offset: (offset as u32) & mask,
            slot: target + (copy as u32) * narrow(self.output_period),
        }
    }

    /// Offset and copy of the output's place between periods that are powers of two, whose quotients
    /// and residues are shifts and masks.
    fn even(&self, difference: i64) -> (i64, i64) {
        let delta = centred(difference, self.input_period);
        let offset = centred(delta, self.input_period.min(self.output_period));
        let copy = if self.input_period > self.output_period {
            ((delta - offset) >> self.output_period.trailing_zeros())
                & (signed(self.input_period / self.output_period) - 1)
        } else {
            0
        };
        (offset, copy)
    }
}

/// The greatest common divisor of two positive numbers.
fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
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
        for (pi, po) in [(64, 8), (8, 64), (16, 16), (32, 4), (64, 64), (12, 4), (20, 8), (9, 4)] {
            let (input, output) = (layout(4, pi / 4, pi), layout(4, 1, po));
            let route = Route::between(&input, &output).unwrap();
            for from in input.places() {
                for to in output.places() {
                    let l = route.landing(from as u32, to as u32);
                    let source = l.slot as usize + l.offset as usize;
                    assert_eq!(source % pi, from, "periods {pi} and {po}");
                    assert_eq!(l.slot as usize % po, to);
                    assert!(pi.is_power_of_two() || source < 64, "the last copy may be incomplete");
                }
            }
        }
    }

    #[test]
    fn an_uneven_period_needs_few_offsets_and_room() {
        // 784 elements into 128 of 8192 slots: 16 offsets take what 128 take at the period 1024.
        let wide = |elements, period| Layout { width: 8192, ..layout(elements, 1, period) };
        let output = wide(128, 128);
        let offsets = |input: &Layout| {
            let route = Route::between(input, &output).unwrap();
            let places = |l: &Layout| l.places().into_iter().map(narrow).collect::<Vec<_>>();
            let mut offsets: Vec<u32> = places(input)
                .iter()
                .flat_map(|&from| {
                    places(&output).into_iter().map(move |to| route.landing(from, to))
                })
                .map(|l| l.offset)
                .collect();
            offsets.sort_unstable();
            offsets.dedup();
            offsets.len()
        };
        assert_eq!(offsets(&wide(784, 1024)), 128);
        assert_eq!(offsets(&wide(784, 784)), 16);
        assert!(
            Route::between(&wide(784, 785), &output).is_none(),
            "785 turns need as many copies"
        );
        assert!(
            Route::between(&wide(100, 128), &wide(100, 100)).is_none(),
            "only inputs are uneven"
        );
    }
}
