//! `GridSample` with a constant grid: every output element is a weighted sum of its neighbours.

use heplan_ir::diagnostic::Code;

use super::array::{elements, strides};
use super::context::{Emitted, Fault, NodeCx, column, fault, non_zeros, one};
use super::resize::cubic;

/// What lies outside of the image.
#[derive(Clone, Copy, PartialEq)]
enum Padding {
    Zeros,
    Border,
    Reflection,
}

/// How a place is read.
#[derive(Clone, Copy)]
struct Reader {
    padding: Padding,
    align: bool,
    /// 0 for the nearest, 1 for linear, 2 for cubic.
    reach: u8,
}

/// `GridSample`.
pub(super) fn grid_sample(cx: &mut NodeCx<'_>) -> Emitted {
    let x = cx.secret(0)?;
    let (grid_shape, grid) = cx.weights(1)?;
    let &[batch, channels, ref inner @ ..] = x.shape.as_slice() else {
        return Err(fault(Code::ShapeMismatch, format!("input of shape {:?}", x.shape)));
    };
    let rank = inner.len();
    let fits = grid_shape.len() == rank + 2
        && grid_shape[0] == batch
        && grid_shape[rank + 1] == rank
        && rank > 0;
    if !fits {
        let message = format!("grid of shape {grid_shape:?} for input {:?}", x.shape);
        return Err(fault(Code::ShapeMismatch, message));
    }
    let reader = reader(cx)?;
    let out = &grid_shape[1..=rank];
    let area: usize = out.iter().product();
    let shape = [&[batch, channels], out].concat();
    elements(&shape)?;
    let taps = (2 * usize::from(reader.reach)).max(1).pow(rank as u32);
    non_zeros(batch * channels * area, taps)?;
    let steps = strides(inner);
    let plane: usize = inner.iter().product();
    let point = |n: usize, at: usize| -> Vec<(usize, f64)> {
        let given = &grid[(n * area + at) * rank..][..rank];
        let mut entries = vec![(0, 1.0)];
        for axis in 0..rank {
            // The grid names the last axis first.
            let along = along(given[rank - 1 - axis], inner[axis], reader);
            let step = steps[axis];
            entries = entries
                .iter()
                .flat_map(|&(p, w)| along.iter().map(move |&(q, v)| (p + q * step, w * v)))
                .collect();
        }
        entries
    };
    let mut known: Vec<Vec<(usize, f64)>> = Vec::with_capacity(batch * area);
    for n in 0..batch {
        known.extend((0..area).map(|at| point(n, at)));
    }
    one(cx.matrix(&x, shape, taps, None, |r, row| {
        let (n, at) = (r / (channels * area), r % area);
        let first = r / area * plane;
        row.extend(known[n * area + at].iter().map(|&(p, w)| (column(first + p), w)));
    })?)
}

fn reader(cx: &NodeCx<'_>) -> Result<Reader, Fault> {
    let reach = match cx.attr_text("mode", "linear")?.as_str() {
        "nearest" => 0,
        "linear" | "bilinear" => 1,
        "cubic" | "bicubic" => 2,
        other => return Err(fault(Code::BadNode, format!("mode is {other:?}"))),
    };
    let padding = match cx.attr_text("padding_mode", "zeros")?.as_str() {
        "zeros" => Padding::Zeros,
        "border" => Padding::Border,
        "reflection" => Padding::Reflection,
        other => return Err(fault(Code::BadNode, format!("padding_mode is {other:?}"))),
    };
    Ok(Reader { padding, align: cx.attr_int("align_corners", 0)? != 0, reach })
}

/// The weighted places along one axis for a coordinate from -1 to 1.
fn along(given: f64, length: usize, reader: Reader) -> Vec<(usize, f64)> {
    let n = length as f64;
    let x = if reader.align {
        (given + 1.0) / 2.0 * (n - 1.0)
    } else {
        ((given + 1.0) * n - 1.0) / 2.0
    };
    // Borders and mirrors act on a coordinate beyond the outermost elements first, then on every
    // neighbour.
    let margin = if reader.align { 0.0 } else { 0.5 };
    let beyond = x < -margin || x > n - 1.0 + margin;
    let x = match reader.padding {
        Padding::Border if beyond => x.clamp(0.0, n - 1.0),
        Padding::Border => x,
        Padding::Reflection => mirrored(x, n, reader.align),
        Padding::Zeros => x,
    };
    let neighbours: Vec<(f64, f64)> = match reader.reach {
        0 => vec![(x.round_ties_even(), 1.0)],
        1 => vec![(x.floor(), 1.0 - (x - x.floor())), (x.floor() + 1.0, x - x.floor())],
        _ => (-1..=2)
            .map(|d| x.floor() + f64::from(d))
            .map(|p| (p, cubic((x - p).abs(), -0.75)))
            .collect(),
    };
    let place = |(p, w): (f64, f64)| {
        let p = match reader.padding {
            Padding::Zeros => p,
            Padding::Border => p.clamp(0.0, n - 1.0),
            Padding::Reflection => mirrored(p, n, reader.align).clamp(0.0, n - 1.0),
        };
        (p >= 0.0 && p <= n - 1.0 && w != 0.0).then_some((p as usize, w))
    };
    neighbours.into_iter().filter_map(place).collect()
}

/// A coordinate folded back into the image: at the centres of the outermost elements where the
/// corners align, else at their outer edges.
fn mirrored(x: f64, n: f64, align: bool) -> f64 {
    let (low, high) = if align { (0.0, n - 1.0) } else { (-0.5, n - 0.5) };
    let span = high - low;
    if span <= 0.0 {
        return low.max(0.0);
    }
    let folded = (x - low).rem_euclid(2.0 * span);
    low + if folded > span { 2.0 * span - folded } else { folded }
}
