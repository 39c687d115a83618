//! Divides offsets by a modulus: the quotients are giant steps, the remainders baby steps.

use std::borrow::Cow;

use pulp::{Arch, NullaryFnOnce};

/// Offsets as signed numbers, increasing.
pub(super) fn signed(offsets: &[u32], width: usize) -> Vec<i32> {
    let half = i64::try_from(width / 2).expect("widths are at most 2^16");
    let signed = |&d: &u32| {
        let d = i64::from(d);
        (if d < half { d } else { d - 2 * half }) as i32
    };
    let mut offsets: Vec<i32> = offsets.iter().map(signed).collect();
    offsets.sort_unstable();
    offsets
}

/// Counts distinct steps by stamping, so that no memory is cleared between candidates.
pub(super) struct Divider<'a> {
    /// Signed, increasing.
    offsets: Cow<'a, [i32]>,
    width: i32,
    mark: Vec<u32>,
    stamp: u32,
    /// The quotient of every offset by the modulus, and what the division leaves of it, shifted.
    all: Vec<i32>,
    rest: Vec<i32>,
    quotients: Vec<i32>,
    remainders: Vec<i32>,
}

impl<'a> Divider<'a> {
    /// For signed, increasing offsets.
    pub(super) fn new(offsets: impl Into<Cow<'a, [i32]>>, width: usize) -> Self {
        let offsets = offsets.into();
        let zeros = || vec![0; offsets.len()];
        let (all, rest) = (zeros(), zeros());
        Self {
            offsets,
            width: i32::try_from(width).expect("widths are at most 2^16"),
            mark: vec![0; width],
            stamp: 0,
            all,
            rest,
            quotients: Vec::new(),
            remainders: Vec::new(),
        }
    }

    /// The offsets.
    pub(super) fn offsets(&self) -> &[i32] {
        &self.offsets
    }

    /// Distinct quotients of the last division, increasing.
    pub(super) fn quotients(&self) -> &[i32] {
        &self.quotients
    }

    /// Distinct remainders of the last division less its shift, once they were found.
    pub(super) fn remainders(&self) -> &[i32] {
        &self.remainders
    }

    /// Divides the offsets, with a shift, by a modulus.
    pub(super) fn divide(&mut self, modulus: u32, shift: u32) {
        // Numbers are made positive by a multiple of the modulus, and stay below 2^18. The quotient
        // of one and a half unit is half a modulus-th away from any integer, which is more than
        // what f32 rounds off it in two steps of 2^-24.
        let m = modulus as i32;
        let turns = self.width / m + 1;
        let (bias, reciprocal) = (shift as i32 + turns * m, 1.0 / m as f32);
        let (offsets, all, rest) = (&self.offsets[..], &mut self.all[..], &mut self.rest[..]);
        Arch::new().dispatch(Division { offsets, all, rest, m, turns, bias, reciprocal });
        self.quotients.clear();
        self.quotients.extend(&self.all);
        self.quotients.dedup();
    }

    /// Finds the distinct remainders of the last division, which was by these.
    pub(super) fn find_remainders(&mut self, modulus: u32, shift: u32) {
        self.remainders.clear();
        self.stamp += 1;
        let stamp = self.stamp;
        let mark = &mut self.mark[..modulus as usize];
        let new = |&&r: &&i32| std::mem::replace(&mut mark[r as usize], stamp) != stamp;
        self.remainders.extend(self.rest.iter().filter(new).map(|&r| r - shift as i32));
    }
}

/// The arithmetic of a division, inlined into what has the vector instructions.
struct Division<'a> {
    offsets: &'a [i32],
    all: &'a mut [i32],
    rest: &'a mut [i32],
    m: i32,
    turns: i32,
    bias: i32,
    reciprocal: f32,
}

impl NullaryFnOnce for Division<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let parts = self.all.iter_mut().zip(self.rest);
        for (&d, (quotient, rest)) in self.offsets.iter().zip(parts) {
            let x = d + self.bias;
            let whole = ((x as f32 + 0.5) * self.reciprocal) as i32;
            (*quotient, *rest) = (whole - self.turns, x - whole * self.m);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn division_by_a_reciprocal_is_exact() {
        let width = 1 << 16;
        let offsets: Vec<u32> = (0..width).collect();
        let mut divider = Divider::new(signed(&offsets, width as usize), width as usize);
        for modulus in [1, 2, 3, 7, 10, 127, 1000, 1023, 4099, 32_767, 65_535, 65_536] {
            for shift in [0, modulus / 2] {
                divider.divide(modulus, shift);
                let (m, shift) = (modulus as i32, shift as i32);
                for (i, &d) in divider.offsets.iter().enumerate() {
                    let exact = ((d + shift).div_euclid(m), (d + shift).rem_euclid(m));
                    assert_eq!((divider.all[i], divider.rest[i]), exact, "{d} by {modulus}");
                }
                assert!(divider.quotients.is_sorted());
            }
        }
    }
}
