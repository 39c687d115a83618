//! Maxima and minima of encrypted elements, as tournaments: `max(a, b) = (a + b)/2 + |a - b|/2`.
//!
//! A round halves every group at the depth of one absolute value. Windows of pools are taken one
//! axis after the other, which shares the rounds of overlapping windows.

use heplan_ir::function::Function;
use heplan_ir::matrix::SparseMatrix;

use super::array::{elements, strides};
use super::context::{Emitted, Fault, NodeCx, Operand, Secret, column, non_zeros, one};
use super::pool::kernel;
use super::window::{spatial, window};

/// The largest (`sign = 1`) or smallest (`-1`) element of every group of positions in `x`; no
/// group is empty.
pub(super) fn of_groups(
    cx: &mut NodeCx<'_>,
    x: &Secret,
    mut groups: Vec<Vec<usize>>,
    shape: Vec<usize>,
    sign: f64,
) -> Result<Secret, Fault> {
    let longest = groups.iter().map(Vec::len).max().unwrap_or(0);
    non_zeros(groups.len(), longest)?;
    let mut x = x.clone();
    while groups.iter().any(|g| g.len() > 1) {
        let mut pairs: Vec<(usize, usize)> = Vec::new();
        // Per winner its pair, or the one who waits.
        let mut winners: Vec<Result<usize, usize>> = Vec::new();
        for group in &mut groups {
            let first = winners.len();
            for pair in group.chunks(2) {
                match *pair {
                    [a, b] if a != b => {
                        winners.push(Ok(pairs.len()));
                        pairs.push((a, b));
                    }
                    _ => winners.push(Err(pair[0])),
                }
            }
            *group = (first..winners.len()).collect();
        }
        x = round(cx, &x, &pairs, &winners, sign)?;
    }
    let source: Vec<Option<u32>> = groups.iter().map(|g| Some(column(g[0]))).collect();
    cx.gather(&x, shape, &source, 0.0)
}

fn round(
    cx: &mut NodeCx<'_>,
    x: &Secret,
    pairs: &[(usize, usize)],
    winners: &[Result<usize, usize>],
    sign: f64,
) -> Result<Secret, Fault> {
    let difference = cx.matrix(x, vec![1, pairs.len()], 2, None, |r, row| {
        row.extend([(column(pairs[r].0), 1.0), (column(pairs[r].1), -1.0)]);
    })?;
    let size = cx.function(&difference, Function::Abs);
    let rows = winners.len();
    let sums = SparseMatrix::from_rows(rows, elements(&x.shape)?, |r, row| match winners[r] {
        Ok(p) => row.extend([(column(pairs[p].0), 0.5), (column(pairs[p].1), 0.5)]),
        Err(e) => row.push((column(e), 1.0)),
    });
    let halves = SparseMatrix::from_rows(rows, pairs.len(), |r, row| {
        row.extend(winners[r].ok().map(|p| (column(p), 0.5 * sign)));
    });
    Ok(cx.affine(vec![(x.id, sums), (size.id, halves)], None, vec![1, rows]))
}

/// `MaxPool`: axis by axis; padding takes no part.
pub(super) fn max_pool(cx: &mut NodeCx<'_>) -> Emitted {
    let x = cx.secret(0)?;
    let kernel = kernel(cx)?;
    let axes = window(cx, &x.shape, &kernel, cx.attr_int("ceil_mode", 0)? != 0)?;
    let mut y = x;
    for (i, along) in axes.iter().enumerate() {
        let mut shape = y.shape.clone();
        shape[i + 2] = along.output;
        let count = elements(&shape)?;
        non_zeros(count, along.kernel)?;
        let (old, new) = (strides(&y.shape), strides(&shape));
        let inner = new[i + 2];
        let mut groups = Vec::with_capacity(count);
        for r in 0..count {
            let (outer, at, rest) = (r / inner / along.output, r / inner % along.output, r % inner);
            let base = outer * old[i + 2] * along.input + rest;
            let taps = (0..along.kernel).filter_map(|t| along.at(at, t));
            let group: Vec<usize> = taps.map(|p| base + p * old[i + 2]).collect();
            if group.is_empty() {
                return Err(super::context::fault(
                    heplan_ir::diagnostic::Code::UnsupportedMode,
                    format!("window {at} of axis {} holds padding only", i + 2),
                ));
            }
            groups.push(group);
        }
        y = of_groups(cx, &y, groups, shape, 1.0)?;
    }
    Ok(vec![Operand::Secret(y), Operand::LeftOut("the positions of maxima")])
}

/// `GlobalMaxPool`.
pub(super) fn global_max_pool(cx: &mut NodeCx<'_>) -> Emitted {
    let x = cx.secret(0)?;
    let inner = elements(spatial(&x.shape)?)?;
    let shape: Vec<usize> =
        x.shape.iter().enumerate().map(|(i, &d)| if i < 2 { d } else { 1 }).collect();
    let planes = elements(&x.shape[..2])?;
    let groups = (0..planes).map(|p| (p * inner..(p + 1) * inner).collect()).collect();
    one(of_groups(cx, &x, groups, shape, 1.0)?)
}
