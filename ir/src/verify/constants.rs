//! Invariants of constants.
//!
//! - A matrix has `rows + 1` row starts that begin at 0, never fall and end at the number of
//!   entries; within a row columns strictly increase and lie below `cols`; values are finite and
//!   not zero.
//! - A vector is not empty and finite.
//! - A polynomial set has at least one series; no series is empty; coefficients are finite;
//!   classes index the series, and are absent only when there is one series.
//! - A transform has a width and a period that are powers of two, `period ≤ width ≤ 2^16`, at least
//!   one input and output; its diagonals strictly increase by (output, input, offset), each within
//!   range and not empty; slots strictly increase below the period, one finite value for each.

use super::{Errors, Location};
use crate::constants::{ConstPool, Constant};
use crate::matrix::SparseMatrix;
use crate::series::PolynomialSet;
use crate::transform::{Diagonal, LinearTransform};

/// The widest ciphertext: half the largest ring dimension.
const MAX_WIDTH: usize = 1 << (*crate::parameters::LOG_N.end() - 1);

/// Checks every constant of a pool, each once.
pub(crate) fn check_constants(consts: &ConstPool, errors: &mut Errors) {
    for (id, constant) in consts.iter() {
        let found = problems(constant);
        if !found.is_empty() {
            let hash = consts.hash(id).to_string();
            errors.extend(Location::Constant(id.index()), &hash, found);
        }
    }
}

fn problems(constant: &Constant) -> Vec<String> {
    match constant {
        Constant::Matrix(m) => m.problems(),
        Constant::Vector(v) if v.is_empty() => vec!["vector is empty".into()],
        Constant::Vector(v) => not_finite(v).into_iter().collect(),
        Constant::Polynomials(p) => p.problems(),
        Constant::Transform(t) => t.problems(),
    }
}

fn not_finite(values: &[f64]) -> Option<String> {
    let at = values.iter().position(|v| !v.is_finite())?;
    Some(format!("entry {at} is {}", values[at]))
}

impl SparseMatrix {
    /// Breaches of its invariants, in words; empty for a sound matrix.
    pub fn problems(&self) -> Vec<String> {
        let (start, nnz) = (&self.start, self.val.len());
        let rising = start.windows(2).all(|w| w[0] <= w[1]);
        if start.len() != self.rows + 1
            || start.first() != Some(&0)
            || start.last() != Some(&nnz)
            || self.col.len() != nnz
            || !rising
        {
            return vec![format!("row starts do not fit {} rows and {nnz} entries", self.rows)];
        }
        let mut out: Vec<String> = not_finite(&self.val).into_iter().collect();
        if let Some(at) = self.val.iter().position(|&v| v == 0.0) {
            out.push(format!("entry {at} is a stored zero"));
        }
        let unsorted = |w: &[usize]| {
            let row = &self.col[w[0]..w[1]];
            row.windows(2).any(|c| c[0] >= c[1])
                || row.last().is_some_and(|&c| c as usize >= self.cols)
        };
        if let Some(r) = start.windows(2).position(unsorted) {
            out.push(format!("columns of row {r} do not increase below {}", self.cols));
        }
        out
    }
}

impl PolynomialSet {
    /// Breaches of its invariants, in words; empty for a sound set.
    pub fn problems(&self) -> Vec<String> {
        let mut out = Vec::new();
        if self.series.is_empty() {
            out.push("polynomial set is empty".into());
        }
        for (i, s) in self.series.iter().enumerate() {
            if s.coefficients.is_empty() {
                out.push(format!("series {i} is empty"));
            }
            out.extend(not_finite(&s.coefficients).map(|m| format!("series {i}: {m}")));
        }
        if let Some(c) = self.class.iter().find(|&&c| c as usize >= self.series.len()) {
            out.push(format!("class {c} of {} series", self.series.len()));
        }
        if self.class.is_empty() && self.series.len() > 1 {
            out.push(format!("{} series but no classes", self.series.len()));
        }
        out
    }
}

impl PolynomialSet {
    /// The breach if its classes are not those of a tensor or ciphertext of `size` elements.
    pub(crate) fn misfit(&self, size: usize) -> Option<String> {
        (!self.class.is_empty() && self.class.len() != size)
            .then(|| format!("{} classes for {size} elements", self.class.len()))
    }
}

impl LinearTransform {
    /// Breaches of its invariants, in words; empty for a sound transform.
    pub fn problems(&self) -> Vec<String> {
        let mut out = Vec::new();
        let (width, period) = (self.width, self.period);
        if !width.is_power_of_two()
            || !period.is_power_of_two()
            || period > width
            || width > MAX_WIDTH
        {
            out.push(format!(
                "width {width} and period {period} must be powers of two up to {MAX_WIDTH}"
            ));
        }
        if self.inputs == 0 || self.outputs == 0 {
            out.push(format!("{} inputs and {} outputs", self.inputs, self.outputs));
        }
        let key = |d: &Diagonal| (d.output, d.input, d.offset);
        if let Some(i) = self.diagonals.windows(2).position(|w| key(&w[0]) >= key(&w[1])) {
            out.push(format!("diagonal {} is not after the one before it", i + 1));
        }
        let faults = self.diagonals.iter().enumerate();
        out.extend(
            faults.filter_map(|(i, d)| {
                self.diagonal_problem(d).map(|m| format!("diagonal {i}: {m}"))
            }),
        );
        out
    }

    fn diagonal_problem(&self, d: &Diagonal) -> Option<String> {
        if d.output as usize >= self.outputs
            || d.input as usize >= self.inputs
            || d.offset as usize >= self.width
        {
            let (output, input, offset) = (d.output, d.input, d.offset);
            return Some(format!("output {output}, input {input} or offset {offset} out of range"));
        }
        if d.slots.is_empty() || d.slots.len() != d.values.len() {
            return Some(format!("{} slots and {} values", d.slots.len(), d.values.len()));
        }
        if d.slots.windows(2).any(|w| w[0] >= w[1]) {
            return Some("slots do not increase".into());
        }
        let last = d.slots.last().map_or(0, |&s| s as usize);
        if last >= self.period {
            return Some(format!("slot {last} lies outside the period {}", self.period));
        }
        let bad = d.values.iter().find(|v| !v.is_finite())?;
        Some(format!("a value is {bad}"))
    }
}
