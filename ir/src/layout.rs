//! Layouts: where each element of a tensor lives in the slots of its ciphertexts.

use std::fmt;

/// One factor of a layout: `size` consecutive index values, `stride` slots apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Axis {
    /// How many index values.
    pub size: usize,
    /// Slots between two consecutive ones.
    pub stride: usize,
}

/// An injective map from the elements of a tensor to slots, repeated with a period.
///
/// The flat (row-major) index of an element is written in the mixed radix of the axes' sizes, most
/// significant first, and its *place* is `offset + Σ digit·stride`.
/// Place `g` is slot `g mod width` of ciphertext `g / width`.
/// A tensor axis may be split into several layout axes, which is how channels are multiplexed into
/// the gaps that a strided convolution leaves.
///
/// **Invariants** ([`Layout::problems`] lists breaches): the sizes multiply to the number of
/// elements; places are distinct; `width` is a power of two; with one ciphertext `period` is at most
/// `width`, above every place, and the content repeats every `period` slots (if that does not divide
/// `width`, which only layouts of inputs do, the last copy is incomplete);
/// with several ciphertexts `period = width`, meaning no repetition.
///
/// What a slot without an element holds is decided by the operation that wrote it; no reader may
/// rely on it, except that its magnitude is bounded like that of an element.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Layout {
    /// Most significant first.
    pub axes: Vec<Axis>,
    /// Place of element 0.
    pub offset: usize,
    /// Slots after which the content repeats.
    pub period: usize,
    /// Slots of one ciphertext.
    pub width: usize,
}

impl Layout {
    /// Consecutive slots in row-major order, repeated with the smallest period that holds them.
    pub fn row_major(elements: usize, width: usize) -> Self {
        let period = elements.next_power_of_two().min(width);
        Self { axes: vec![Axis { size: elements, stride: 1 }], offset: 0, period, width }
    }

    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.axes.iter().map(|a| a.size).product()
    }

    /// The place of the element with flat index `element`.
    pub fn place(&self, element: usize) -> usize {
        let mut rest = element;
        let mut place = self.offset;
        for axis in self.axes.iter().rev() {
            place += rest % axis.size * axis.stride;
            rest /= axis.size;
        }
        place
    }

    /// Every element's place, in order.
    pub fn places(&self) -> Vec<usize> {
        (0..self.elements()).map(|e| self.place(e)).collect()
    }

    /// One past the largest place.
    pub fn extent(&self) -> usize {
        self.offset + 1 + self.axes.iter().map(|a| (a.size - 1) * a.stride).sum::<usize>()
    }

    /// Number of ciphertexts.
    pub fn ciphertexts(&self) -> usize {
        self.extent().div_ceil(self.width)
    }

    /// Number of ciphertexts, or `None` where a hostile file says what cannot be.
    pub(crate) fn checked_ciphertexts(&self) -> Option<usize> {
        self.last()?.checked_div(self.width)?.checked_add(1)
    }

    /// The largest place, unless it overflows or an axis is empty.
    fn last(&self) -> Option<usize> {
        self.axes.iter().try_fold(self.offset, |n, a| {
            a.size.checked_sub(1)?.checked_mul(a.stride)?.checked_add(n)
        })
    }

    /// Breaches of the invariants, in words; empty for a sound layout.
    ///
    /// Sizes and strides of a hostile file are checked without overflow and before any allocation.
    pub fn problems(&self, elements: usize) -> Vec<String> {
        let mut out = Vec::new();
        let total = self.axes.iter().try_fold(1usize, |n, a| n.checked_mul(a.size));
        if total != Some(elements) || elements == 0 {
            out.push(format!("axes hold {total:?} elements, the tensor {elements}"));
        }
        if !self.width.is_power_of_two() || !(1..=self.width).contains(&self.period) {
            out.push(format!(
                "width {} must be a power of two, period {} a number up to it",
                self.width, self.period
            ));
        }
        match self.last() {
            None => out.push("extent overflows".into()),
            Some(last) if last >= self.period && self.period != self.width => {
                out.push(format!("place {last} lies outside the period {}", self.period));
            }
            Some(last) if last >> 32 != 0 => out.push(format!("place {last} is too large")),
            Some(_) => {}
        }
        if out.is_empty() {
            let mut places = self.places();
            places.sort_unstable();
            if places.windows(2).any(|w| w[0] == w[1]) {
                out.push("two elements share a place".into());
            }
        }
        out
    }
}

impl fmt::Display for Layout {
    /// `[6:1024, 14:56, 14:2] + 3 / 8192 of 16384`: axes as size:stride, offset, period, width.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[")?;
        for (i, a) in self.axes.iter().enumerate() {
            let sep = if i == 0 { "" } else { ", " };
            write!(f, "{sep}{}:{}", a.size, a.stride)?;
        }
        write!(f, "]")?;
        if self.offset != 0 {
            write!(f, " + {}", self.offset)?;
        }
        write!(f, " / {} of {}", self.period, self.width)
    }
}
