//! Average pools: the mean under a sliding window, or over all of a channel.

use heplan_ir::diagnostic::Code;

use super::array::elements;
use super::context::{Emitted, Fault, NodeCx, Secret, column, fault, one};
use super::window::{coordinates, spatial, taps, window};

/// `AveragePool`: padding counts in the mean only with `count_include_pad`, and a window that
/// `ceil_mode` lets run past the padding never counts what lies beyond.
pub(super) fn average_pool(cx: &mut NodeCx<'_>) -> Emitted {
    let x = cx.secret(0)?;
    let include = cx.attr_int("count_include_pad", 0)? != 0;
    let weight =
        |counted: usize, seen: usize| 1.0 / (if include { counted } else { seen }).max(1) as f64;
    one(pooled(cx, &x, weight)?)
}

/// The sum under a window, zero in the padding.
pub(super) fn window_sum(cx: &mut NodeCx<'_>, x: &Secret) -> Result<Secret, Fault> {
    pooled(cx, x, |_, _| 1.0)
}

/// The kernel of a pool.
pub(super) fn kernel(cx: &NodeCx<'_>) -> Result<Vec<usize>, Fault> {
    let given = cx.attr_ints("kernel_shape")?;
    let given =
        given.ok_or_else(|| fault(Code::BadNode, "attribute \"kernel_shape\" is missing"))?;
    let kernel: Vec<usize> = given.iter().filter_map(|&k| usize::try_from(k).ok()).collect();
    if kernel.len() != given.len() {
        return Err(fault(Code::BadNode, format!("kernel_shape is {given:?}")));
    }
    Ok(kernel)
}

/// Sums under the node's window, weighted by the number of taps within the padded input and of
/// those within the input itself.
fn pooled(
    cx: &mut NodeCx<'_>,
    x: &Secret,
    weight: impl Fn(usize, usize) -> f64,
) -> Result<Secret, Fault> {
    let kernel = kernel(cx)?;
    let axes = window(cx, &x.shape, &kernel, cx.attr_int("ceil_mode", 0)? != 0)?;
    let input: usize = spatial(&x.shape)?.iter().product();
    let output: usize = axes.iter().map(|a| a.output).product();
    let mut shape = x.shape[..2].to_vec();
    shape.extend(axes.iter().map(|a| a.output));
    // Bounded by the taps, also those in padding: each of them takes time.
    let per_row = kernel.iter().fold(1_usize, |n, &k| n.saturating_mul(k));
    cx.matrix(x, shape, per_row, None, |row, entries| {
        let (plane, at) = (row / output, coordinates(&axes, row % output));
        let mut counted = 0;
        taps(&axes, &at, |_, position, inside| {
            counted += usize::from(inside);
            entries.extend(position.map(|p| (column(plane * input + p), 1.0)));
        });
        let weight = weight(counted, entries.len());
        entries.iter_mut().for_each(|e| e.1 = weight);
    })
}

/// `GlobalAveragePool`: the mean of each channel.
pub(super) fn global_average_pool(cx: &mut NodeCx<'_>) -> Emitted {
    let x = cx.secret(0)?;
    let inner = elements(spatial(&x.shape)?)?;
    one(global_sum(cx, &x, 1.0 / inner as f64)?)
}

/// The weighted sum of each channel.
pub(super) fn global_sum(cx: &mut NodeCx<'_>, x: &Secret, weight: f64) -> Result<Secret, Fault> {
    let inner = elements(spatial(&x.shape)?)?;
    let shape: Vec<usize> =
        x.shape.iter().enumerate().map(|(i, &d)| if i < 2 { d } else { 1 }).collect();
    cx.matrix(x, shape, inner, None, |row, entries| {
        entries.extend((0..inner).map(|i| (column(row * inner + i), weight)));
    })
}
