//! Sparse matrices over the elements of flattened tensors.

/// A sparse matrix in compressed rows: the linear part of an `Affine` node.
///
/// Rows are output elements, columns input elements, both in row-major (C) order of their tensors.
/// Within a row, columns strictly increase and no stored value is zero.
#[derive(Clone, Debug, PartialEq)]
pub struct SparseMatrix {
    /// Number of rows.
    pub rows: usize,
    /// Number of columns.
    pub cols: usize,
    /// `rows + 1` positions into `col` and `val`.
    pub start: Vec<usize>,
    /// Column of each stored entry.
    pub col: Vec<u32>,
    /// Value of each stored entry.
    pub val: Vec<f64>,
}

impl SparseMatrix {
    /// Builds a matrix row by row; `fill` pushes the `(column, value)` entries of a row in any
    /// order, duplicates add up and zeros are dropped.
    pub fn from_rows(
        rows: usize,
        cols: usize,
        mut fill: impl FnMut(usize, &mut Vec<(u32, f64)>),
    ) -> Self {
        let mut out = Self {
            rows,
            cols,
            start: Vec::with_capacity(rows + 1),
            col: Vec::new(),
            val: Vec::new(),
        };
        out.start.push(0);
        let mut row: Vec<(u32, f64)> = Vec::new();
        for r in 0..rows {
            row.clear();
            fill(r, &mut row);
            out.push_row(&mut row);
            if r == rows / 16 {
                // Rows are alike: one reservation, not many that copy what is there.
                let more = out.val.len().saturating_mul(rows - r) / (r + 1);
                out.col.reserve(more);
                out.val.reserve(more);
            }
        }
        out
    }

    /// The identity of the given size.
    pub fn identity(n: usize) -> Self {
        Self::diagonal(&vec![1.0; n])
    }

    /// The diagonal matrix with these values (zeros dropped).
    pub fn diagonal(values: &[f64]) -> Self {
        Self::from_rows(values.len(), values.len(), |r, row| row.push((index(r), values[r])))
    }

    /// The matrix that copies: `y[r] = x[source(r)]`, or 0 where `source` gives none.
    pub fn gather(rows: usize, cols: usize, source: impl Fn(usize) -> Option<usize>) -> Self {
        Self::from_rows(rows, cols, |r, row| row.extend(source(r).map(|c| (index(c), 1.0))))
    }

    /// Number of stored entries.
    pub fn nnz(&self) -> usize {
        self.val.len()
    }

    /// The entries of row `r`.
    pub fn row(&self, r: usize) -> impl Iterator<Item = (usize, f64)> + '_ {
        let span = self.start[r]..self.start[r + 1];
        self.col[span.clone()].iter().map(|&c| c as usize).zip(self.val[span].iter().copied())
    }

    /// Every entry as `(row, column, value)`, row by row.
    pub fn entries(&self) -> impl Iterator<Item = (usize, usize, f64)> + '_ {
        (0..self.rows).flat_map(|r| self.row(r).map(move |(c, v)| (r, c, v)))
    }

    /// `M·x`.
    ///
    /// # Panics
    /// If `x` has not `cols` elements.
    pub fn apply(&self, x: &[f64]) -> Vec<f64> {
        assert_eq!(x.len(), self.cols, "vector length must match the columns");
        (0..self.rows).map(|r| self.row(r).map(|(c, v)| v * x[c]).sum()).collect()
    }

    /// `self · other`: first `other`, then `self`.
    ///
    /// # Panics
    /// If the inner dimensions differ.
    #[must_use]
    pub fn compose(&self, other: &Self) -> Self {
        assert_eq!(self.cols, other.rows, "inner dimensions must match");
        if self.is_identity() {
            return other.clone();
        }
        if other.is_identity() {
            return self.clone();
        }
        let mut dense = vec![0.0; other.cols];
        let mut seen = vec![false; other.cols];
        let mut touched: Vec<u32> = Vec::new();
        Self::from_rows(self.rows, other.cols, |r, row| {
            let own = self.start[r]..self.start[r + 1];
            if own.len() == 1 {
                // A row that is selected, perhaps scaled, stays in order.
                let (k, v) = (self.col[own.start] as usize, self.val[own.start]);
                row.extend(other.row(k).map(|(c, w)| (index(c), v * w)));
                return;
            }
            for (k, v) in self.row(r) {
                for (c, w) in other.row(k) {
                    if !seen[c] {
                        seen[c] = true;
                        touched.push(index(c));
                    }
                    dense[c] += v * w;
                }
            }
            for c in touched.drain(..) {
                row.push((c, dense[c as usize]));
                dense[c as usize] = 0.0;
                seen[c as usize] = false;
            }
        })
    }

    /// `self + other`.
    ///
    /// # Panics
    /// If the dimensions differ.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        assert_eq!((self.rows, self.cols), (other.rows, other.cols), "dimensions must match");
        Self::from_rows(self.rows, self.cols, |r, row| {
            // Both rows are in order, and so is what comes of them.
            let (mut a, mut b) = (self.row(r).peekable(), other.row(r).peekable());
            while let Some(&(c, v)) = a.peek() {
                row.extend(std::iter::from_fn(|| b.next_if(|e| e.0 < c)).map(entry));
                row.push((index(c), v + b.next_if(|e| e.0 == c).map_or(0.0, |e| e.1)));
                a.next();
            }
            row.extend(b.map(entry));
        })
    }

    /// Multiplies row `r` by `factor[r]`.
    #[must_use]
    pub fn scale_rows(&self, factor: &[f64]) -> Self {
        Self::from_rows(self.rows, self.cols, |r, row| {
            row.extend(self.row(r).map(|(c, v)| (index(c), v * factor[r])));
        })
    }

    /// Multiplies column `c` by `factor[c]`.
    #[must_use]
    pub fn scale_cols(&self, factor: &[f64]) -> Self {
        Self::from_rows(self.rows, self.cols, |r, row| {
            row.extend(self.row(r).map(|(c, v)| (index(c), v * factor[c])));
        })
    }

    /// Whether it is exactly the identity.
    pub fn is_identity(&self) -> bool {
        self.rows == self.cols
            && self.nnz() == self.rows
            && self.entries().all(|(r, c, v)| r == c && v == 1.0)
    }

    fn push_row(&mut self, row: &mut [(u32, f64)]) {
        // What most rows are: in order, each column once.
        if row.windows(2).all(|w| w[0].0 < w[1].0) {
            let stored = row.iter().filter(|e| e.1 != 0.0);
            self.col.extend(stored.clone().map(|e| e.0));
            self.val.extend(stored.map(|e| e.1));
            self.start.push(self.val.len());
            return;
        }
        row.sort_unstable_by_key(|e| e.0);
        let mut i = 0;
        while i < row.len() {
            let c = row[i].0;
            let mut sum = 0.0;
            while i < row.len() && row[i].0 == c {
                sum += row[i].1;
                i += 1;
            }
            if sum != 0.0 {
                self.col.push(c);
                self.val.push(sum);
            }
        }
        self.start.push(self.val.len());
    }
}

fn entry((column, value): (usize, f64)) -> (u32, f64) {
    (index(column), value)
}

fn index(i: usize) -> u32 {
    u32::try_from(i).expect("tensors have fewer than 2^32 elements")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compose_is_apply_after_apply() {
        let a =
            SparseMatrix::from_rows(2, 3, |r, row| row.extend([(0, 1.0 + r as f64), (2, -1.0)]));
        let b = SparseMatrix::from_rows(3, 2, |r, row| row.extend([(0, r as f64), (1, 2.0)]));
        let x = [0.5, -3.0];
        assert_eq!(a.compose(&b).apply(&x), a.apply(&b.apply(&x)));
        let swap = SparseMatrix::from_rows(2, 3, |r, row| row.push((1 - r as u32, 2.0)));
        assert_eq!(swap.compose(&b).apply(&x), swap.apply(&b.apply(&x)));
        for (outer, inner) in [(SparseMatrix::identity(2), &a), (a.clone(), &b)] {
            assert_eq!(SparseMatrix::identity(2).compose(&outer), outer);
            assert!(outer.compose(inner).problems().is_empty());
        }
        assert_eq!(a.compose(&SparseMatrix::identity(3)), a);
    }

    #[test]
    fn a_sum_applies_as_the_sum_of_what_both_give() {
        type Row = &'static [(u32, f64)];
        let row = |entries: Row| {
            SparseMatrix::from_rows(1, 6, |_, row| row.extend(entries.iter().copied()))
        };
        let a = row(&[(1, 2.0), (2, 1.0), (4, -1.0)]);
        let sums: [(Row, &[u32]); 4] = [
            (&[], &[1, 2, 4]),
            (&[(0, 1.0), (2, 0.5), (5, 3.0)], &[0, 1, 2, 4, 5]),
            (&[(1, -2.0), (3, 1.0)], &[2, 3, 4]),
            (&[(1, -2.0), (2, -1.0), (4, 1.0)], &[]),
        ];
        for (other, columns) in sums {
            let (b, x) = (row(other), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
            for sum in [a.plus(&b), b.plus(&a)] {
                assert_eq!(sum.apply(&x)[0], a.apply(&x)[0] + b.apply(&x)[0]);
                assert_eq!((sum.col.as_slice(), sum.problems()), (columns, Vec::new()));
            }
        }
    }
}
