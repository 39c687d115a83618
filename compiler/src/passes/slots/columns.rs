//! Equal columns: elements that a matrix always reads together are summed before it.
//!
//! A pool that was fused into the map after it leaves a matrix in which all columns of one window
//! are equal. `M = M'·P`, where `P` sums each window and `M'` has one column per window: where the
//! windows have one shape in the slots, `P` is a few rotations and additions and no level, and `M'`
//! has a quarter of the diagonals (for a 2×2 window). The factors are read off the matrix itself, so
//! it does not matter which operator made it.

use std::collections::BTreeMap;

use heplan_ir::matrix::SparseMatrix;

use super::routing::Placed;

/// A matrix as a sum over windows and a smaller matrix.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pooled {
    /// One column per window.
    pub(super) matrix: SparseMatrix,
    /// The columns of every window, all windows of one size, at least 2.
    windows: Vec<Vec<usize>>,
}

/// `count` copies of a ciphertext, each rotated by `step` more than the one before, are summed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// Rotation between two copies.
    pub(super) step: u32,
    /// Copies, at least 2.
    pub(super) count: u32,
}

impl Run {
    /// The rotations of the sum, by doubling: each rotates the sum so far, or the original, and
    /// adds it. `(true, by)` stands for `s + rot(s, by)`, `(false, by)` for `x + rot(s, by)`.
    pub(super) fn additions(self) -> Vec<(bool, u32)> {
        let mut out = Vec::new();
        let mut copies = 1;
        for bit in (0..self.count.ilog2()).rev() {
            out.push((true, copies * self.step));
            copies *= 2;
            if self.count >> bit & 1 == 1 {
                out.push((false, self.step));
                copies += 1;
            }
        }
        out
    }
}

impl Pooled {
    /// Finds the windows of `matrix`, if all its columns that are not zero fall into windows of
    /// equal columns of one size.
    pub(super) fn of(matrix: &SparseMatrix) -> Option<Self> {
        let windows = windows(matrix)?;
        let mut window_of = vec![usize::MAX; matrix.cols];
        for (w, columns) in windows.iter().enumerate() {
            columns.iter().for_each(|&c| window_of[c] = w);
        }
        let size = windows[0].len();
        let mut exact = true;
        let pooled = SparseMatrix::from_rows(matrix.rows, windows.len(), |r, row| {
            let mut of_window: BTreeMap<usize, (f64, usize)> = BTreeMap::new();
            for (c, v) in matrix.row(r) {
                let seen = of_window.entry(window_of[c]).or_insert((v, 0));
                exact &= seen.0.to_bits() == v.to_bits();
                seen.1 += 1;
            }
            exact &= of_window.values().all(|&(_, n)| n == size);
            row.extend(of_window.iter().map(|(&w, &(v, _))| (w as u32, v)));
        });
        exact.then_some(Self { matrix: pooled, windows })
    }

    /// The windows as sums of rotated copies: the places of the sums and the copies, if all windows
    /// have one shape in these places.
    pub(super) fn sums(&self, input: &Placed) -> Option<(Placed, Vec<Run>)> {
        if !input.layout.period.is_power_of_two() {
            // The last copy is incomplete, and a window may reach beyond it.
            return None;
        }
        let width = input.layout.width as u32;
        let mut shape: Option<Vec<u32>> = None;
        let mut anchors = Vec::with_capacity(self.windows.len());
        for window in &self.windows {
            let mut places: Vec<u32> = window.iter().map(|&c| input.place(c)).collect();
            places.sort_unstable();
            let (first, last) = (places[0], *places.last().expect("a window has members"));
            let shifts: Vec<u32> = places.iter().map(|p| p - first).collect();
            if first / width != last / width || shape.as_ref().is_some_and(|s| *s != shifts) {
                return None;
            }
            shape = Some(shifts);
            anchors.push(first);
        }
        Some((input.with_places(anchors), runs(shape?)?))
    }
}

/// Groups equal columns by a fingerprint; [`Pooled::of`] checks that they are equal.
fn windows(matrix: &SparseMatrix) -> Option<Vec<Vec<usize>>> {
    let mut prints = vec![(0u64, 0usize); matrix.cols];
    for (r, c, v) in matrix.entries() {
        let word = v.to_bits() ^ (r as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mixed = (prints[c].0 ^ word).wrapping_mul(0xff51_afd7_ed55_8ccd);
        prints[c] = (mixed ^ (mixed >> 32), prints[c].1 + 1);
    }
    let mut groups: BTreeMap<(u64, usize), Vec<usize>> = BTreeMap::new();
    for (c, &print) in prints.iter().enumerate().filter(|p| p.1.1 > 0) {
        groups.entry(print).or_default().push(c);
    }
    let size = groups.values().next()?.len();
    let alike = size > 1 && groups.values().all(|g| g.len() == size);
    alike.then(|| {
        let mut out: Vec<Vec<usize>> = groups.into_values().collect();
        out.sort_unstable();
        out
    })
}

/// Writes a set of shifts that starts at 0 as a sum of runs, if it is one.
fn runs(mut shifts: Vec<u32>) -> Option<Vec<Run>> {
    let mut out = Vec::new();
    while shifts.len() > 1 {
        let step = shifts[1];
        let count =
            (1..).take_while(|k| shifts.binary_search(&(k * step)).is_ok()).count() as u32 + 1;
        let (run, starts) = (2..=count)
            .rev()
            .filter(|&count| (shifts.len() as u32).is_multiple_of(count))
            .find_map(|count| Some((Run { step, count }, starts(&shifts, step, count)?)))?;
        out.push(run);
        shifts = starts;
    }
    Some(out)
}

/// The first members of the runs that partition `shifts`.
fn starts(shifts: &[u32], step: u32, count: u32) -> Option<Vec<u32>> {
    let mut rest: std::collections::BTreeSet<u32> = shifts.iter().copied().collect();
    let mut out = Vec::new();
    while let Some(&first) = rest.first() {
        for k in 0..count {
            if !rest.remove(&(first + k * step)) {
                return None;
            }
        }
        out.push(first);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_sum_what_the_windows_hold() {
        for (height, width, count) in [(2, 2, 4), (3, 3, 9), (7, 7, 49), (1, 5, 5), (4, 6, 24)] {
            let shifts: Vec<u32> =
                (0..height).flat_map(|y| (0..width).map(move |x| 28 * y + x)).collect();
            assert_eq!(shifts.len(), count);
            let mut slots: Vec<f64> = (0..256).map(|i| f64::from(i * i % 101)).collect();
            let want: f64 = shifts.iter().map(|&s| slots[s as usize]).sum();
            for run in runs(shifts).unwrap() {
                let (x, rotate) = (slots.clone(), |s: &[f64], by: u32| {
                    (0..256).map(|t| s[(t + by as usize) % 256]).collect::<Vec<f64>>()
                });
                for (doubled, by) in run.additions() {
                    let base = if doubled { slots.clone() } else { x.clone() };
                    slots = base.iter().zip(rotate(&slots, by)).map(|(a, b)| a + b).collect();
                }
            }
            assert_eq!(slots[0], want, "{height}x{width}");
        }
    }

    #[test]
    fn an_irregular_window_is_not_a_sum_of_runs() {
        assert_eq!(runs(vec![0, 1, 5, 7]), None);
    }

    #[test]
    fn equal_columns_are_found_and_unequal_ones_refused() {
        let pool = |r: usize| [(4 * r) as u32, (4 * r + 1) as u32];
        let matrix = SparseMatrix::from_rows(3, 16, |r, row| {
            for w in 0..4 {
                row.extend(pool(w).map(|c| (c, 0.3 * (r + 1) as f64 - 0.1 * w as f64)));
            }
        });
        let pooled = Pooled::of(&matrix).unwrap();
        assert_eq!((pooled.matrix.rows, pooled.matrix.cols), (3, 4));
        let x: Vec<f64> = (0..16).map(|i| f64::from(i * 7 % 5)).collect();
        let sums: Vec<f64> = pooled.windows.iter().map(|w| w.iter().map(|&c| x[c]).sum()).collect();
        for (a, b) in matrix.apply(&x).iter().zip(pooled.matrix.apply(&sums)) {
            assert!((a - b).abs() < 1e-12);
        }
        let mut odd = matrix.clone();
        odd.val[0] += 1e-9;
        assert_eq!(Pooled::of(&odd), None);
    }
}
