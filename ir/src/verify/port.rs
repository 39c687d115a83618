//! Invariants of ports.
//!
//! - The name is not empty and no two ports of one side share it.
//! - The shape's product is the layout's number of elements; the layout is sound
//!   ([`Layout::problems`](crate::layout::Layout::problems)), as wide as the ciphertexts, and
//!   reaches at most [`MAX_PLACES`] places.
//! - The factor is finite and positive; the range is finite and in order.
//! - An input leaves out no more of its ciphertexts than its slots repeat; an output leaves out nothing.

use super::{Errors, Location};
use crate::slots::{Compact, Port};

/// The largest extent of a port's layout: bounds what a hostile file can make a reader allocate.
pub const MAX_PLACES: usize = 1 << 24;

/// Checks the ports of one side of a graph of ciphertexts of `width` slots.
pub(crate) fn check_ports<'a>(
    ports: impl IntoIterator<Item = &'a Port>,
    width: usize,
    at: fn(usize) -> Location,
    errors: &mut Errors,
) {
    let mut names: Vec<&str> = Vec::new();
    for (i, port) in ports.into_iter().enumerate() {
        errors.extend(at(i), &port.name, port.problems(width));
        if port.name.is_empty() {
            errors.add(at(i), "", "name is empty");
        }
        if names.contains(&port.name.as_str()) {
            errors.add(at(i), &port.name, "another port has the same name");
        }
        if matches!(at(i), Location::Output(_)) && port.compact != Compact::NONE {
            errors.add(at(i), &port.name, "an output leaves out nothing");
        }
        names.push(&port.name);
    }
}

impl Port {
    /// Breaches of its invariants, in words; empty for a sound port of ciphertexts of `width`
    /// slots. Safe on hostile numbers.
    pub fn problems(&self, width: usize) -> Vec<String> {
        let mut out = Vec::new();
        let (lo, hi) = self.range;
        if !self.factor.is_finite() || self.factor <= 0.0 {
            out.push(format!("factor {} is not a positive number", self.factor));
        }
        if !lo.is_finite() || !hi.is_finite() || lo > hi {
            out.push(format!("range {lo} to {hi} is not an interval"));
        }
        let layout = &self.layout;
        if layout.width != width {
            out.push(format!("layout of width {}, ciphertexts of {width} slots", layout.width));
        }
        let most = self.most_rotations();
        if self.compact.rotations > most {
            let rotations = self.compact.rotations;
            out.push(format!("{rotations} halvings, the layout repeats for {most}"));
        }
        let elements = self.shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
        let last = layout.axes.iter().try_fold(layout.offset, |n, a| {
            a.size.checked_sub(1)?.checked_mul(a.stride)?.checked_add(n)
        });
        match (elements, last) {
            (Some(elements), Some(last)) if elements <= MAX_PLACES && last < MAX_PLACES => {
                out.extend(layout.problems(elements));
            }
            _ => out.push(format!(
                "shape {:?} or layout {layout} exceeds {MAX_PLACES} places",
                self.shape
            )),
        }
        out
    }
}
