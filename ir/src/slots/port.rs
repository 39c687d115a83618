//! Packing a port's tensor into slots and back: the client's half of every layout.

use super::Port;

impl Port {
    /// Number of elements of the tensor.
    pub fn elements(&self) -> usize {
        self.layout.elements()
    }

    /// The slots of every ciphertext (`width` each) for a tensor in row-major order: elements
    /// divided by the factor, and by what makes up for the parts of the ciphertext that are left out, at their places in every periodic copy, zeros elsewhere.
    ///
    /// # Panics
    /// If `tensor` has another number of elements than the layout.
    pub fn pack(&self, tensor: &[f64]) -> Vec<Vec<f64>> {
        self.pack_batch(&[tensor], 1)
    }

    /// The slots of every ciphertext (`width·batch` each) for up to `batch` tensors, as
    /// [`pack`](Self::pack) for each: slot `t` of tensor `b` is slot `t·batch + b`.
    ///
    /// Lanes beyond the tensors hold copies of the last one, which every polynomial of the plan can
    /// bear if it can bear that one; zeros might lie outside a function's range.
    ///
    /// # Panics
    /// If there is no tensor or more than `batch`, or one has another number of elements than the
    /// layout.
    pub fn pack_batch(&self, tensors: &[&[f64]], batch: usize) -> Vec<Vec<f64>> {
        let fits = tensors.iter().all(|t| t.len() == self.elements());
        assert!(fits, "one number per element of the layout");
        assert!((1..=batch).contains(&tensors.len()), "at least one tensor, at most one per lane");
        let (width, period) = (self.layout.width, self.layout.period);
        let divisor = self.factor * self.compact.divisor();
        let mut slots = vec![vec![0.0; width * batch]; self.layout.ciphertexts()];
        for (element, place) in self.layout.places().into_iter().enumerate() {
            let part = &mut slots[place / width];
            for copy in (place % width..width).step_by(period) {
                for (lane, slot) in part[copy * batch..][..batch].iter_mut().enumerate() {
                    *slot = tensors[lane.min(tensors.len() - 1)][element] / divisor;
                }
            }
        }
        slots
    }

    /// The tensor in row-major order from the slots of every ciphertext: elements read at their
    /// places (the first copy), multiplied by the factor.
    ///
    /// # Panics
    /// If there are fewer ciphertexts or slots than the layout has.
    pub fn unpack(&self, slots: &[Vec<f64>]) -> Vec<f64> {
        self.unpack_lane(slots, 0, 1)
    }

    /// The tensor in lane `lane` of ciphertexts that `batch` samples share, as
    /// [`unpack`](Self::unpack).
    ///
    /// # Panics
    /// If there are fewer ciphertexts or slots than the layout has, or no such lane.
    pub fn unpack_lane(&self, slots: &[Vec<f64>], lane: usize, batch: usize) -> Vec<f64> {
        assert!(lane < batch, "lane {lane} of {batch}");
        let width = self.layout.width;
        let read = |place: usize| slots[place / width][place % width * batch + lane] * self.factor;
        self.layout.places().into_iter().map(read).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::{Axis, Layout};
    use crate::slots::Compact;
    use proptest::prelude::*;

    fn port(layout: Layout, factor: f64) -> Port {
        let shape = vec![layout.elements()];
        Port { name: "x".into(), shape, layout, factor, range: (-1.0, 1.0), compact: Compact::NONE }
    }

    /// Layouts with gaps, offsets and strides in any order, in one ciphertext or several.
    fn layouts() -> impl Strategy<Value = Layout> {
        let axes = prop::collection::vec((1usize..5, 1usize..3), 1..4).prop_shuffle();
        let uneven = prop_oneof![Just(0usize), 1usize..9];
        let shape = (axes, 0usize..6, 0u32..3, 3u32..7, uneven);
        shape.prop_map(|(sizes, offset, spare, log_width, uneven)| {
            let mut stride = 1;
            let mut axes: Vec<Axis> = sizes
                .into_iter()
                .map(|(size, gap)| {
                    let axis = Axis { size, stride: stride * gap };
                    stride *= size * gap;
                    axis
                })
                .collect();
            axes.reverse();
            let mut layout = Layout { axes, offset, period: 1, width: 1 << log_width };
            let period = layout.extent().next_power_of_two() << spare;
            layout.period = period.min(layout.width);
            if uneven > 0 && layout.extent() + uneven <= layout.width {
                layout.period = layout.extent() + uneven;
            }
            layout
        })
    }

    proptest! {
        #[test]
        fn unpack_undoes_pack(layout in layouts(), exponent in -3i32..4) {
            prop_assert_eq!(layout.problems(layout.elements()), Vec::<String>::new());
            let port = port(layout.clone(), 2f64.powi(exponent));
            let tensor: Vec<f64> = (0..port.elements()).map(|e| 1.0 + e as f64).collect();
            let slots = port.pack(&tensor);
            prop_assert_eq!(slots.len(), layout.ciphertexts());
            prop_assert_eq!(port.unpack(&slots), tensor);
            // Every copy is complete, and everything else is zero.
            for part in &slots {
                for t in 0..layout.width {
                    prop_assert_eq!(part[t], part[t % layout.period]);
                }
            }
            let full: usize = slots.iter().flatten().filter(|&&v| v != 0.0).count();
            let copies = |place: usize| (layout.width - place % layout.width).div_ceil(layout.period);
            prop_assert_eq!(full, layout.places().into_iter().map(copies).sum::<usize>());
        }
    }

    proptest! {
        /// Every lane of a batch is the tensor packed alone; spare lanes are the last one.
        #[test]
        fn lanes_are_samples(layout in layouts(), log_batch in 0u32..4, count in 1usize..9) {
            let (port, batch) = (port(layout, 0.5), 1 << log_batch);
            let count = count.min(batch);
            let tensors: Vec<Vec<f64>> = (0..count)
                .map(|b| (0..port.elements()).map(|e| (1 + e * 16 + b) as f64).collect())
                .collect();
            let refs: Vec<&[f64]> = tensors.iter().map(Vec::as_slice).collect();
            let slots = port.pack_batch(&refs, batch);
            for lane in 0..batch {
                let tensor = &tensors[lane.min(count - 1)];
                let alone = port.pack(tensor);
                for (shared, alone) in slots.iter().zip(&alone) {
                    let found: Vec<f64> =
                        shared.iter().skip(lane).step_by(batch).copied().collect();
                    prop_assert_eq!(&found, alone);
                }
                prop_assert_eq!(&port.unpack_lane(&slots, lane, batch), tensor);
            }
        }
    }

    #[test]
    fn two_ciphertexts_hold_what_one_cannot() {
        let port = port(Layout::row_major(6, 4), 2.0);
        let slots = port.pack(&[2.0, 4.0, 6.0, 8.0, 10.0, 12.0]);
        assert_eq!(slots, [[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 0.0, 0.0]]);
    }
}
