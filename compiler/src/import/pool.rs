//! Average pools: the mean under a sliding window, or over all of a channel.

use heplan_ir::diagnostic::Code;

use super::array::elements;
use super::context::{Emitted, NodeCx, column, fault, one};
use super::window::{coordinates, spatial, taps, window};

/// `AveragePool`: padding counts in the mean only with `count_include_pad`, and a window that
/// `ceil_mode` lets run past the padding never counts what lies beyond.
pub(super) fn average_pool(cx: &mut NodeCx<'_>) -> Emitted {
    let x = cx.secret(0)?;
    let given = cx.attr_ints("kernel_shape")?;
    let given =
        given.ok_or_else(|| fault(Code::BadNode, "attribute \"kernel_shape\" is missing"))?;
    let kernel: Vec<usize> = given.iter().filter_map(|&k| usize::try_from(k).ok()).collect();
    if kernel.len() != given.len() {
        return Err(fault(Code::BadNode, format!("kernel_shape is {given:?}")));
    }
    let axes = window(cx, &x.shape, &kernel, cx.attr_int("ceil_mode", 0)? != 0)?;
    let include = cx.attr_int("count_include_pad", 0)? != 0;
    let input: usize = spatial(&x.shape)?.iter().product();
    let output: usize = axes.iter().map(|a| a.output).product();
    let mut shape = x.shape[..2].to_vec();
    shape.extend(axes.iter().map(|a| a.output));
    // Bounded by the taps, also those in padding: each of them takes time.
    let per_row = kernel.iter().fold(1_usize, |n, &k| n.saturating_mul(k));
    let y = cx.matrix(&x, shape, per_row, None, |row, entries| {
        let (plane, at) = (row / output, coordinates(&axes, row % output));
        let mut counted = 0_u32;
        taps(&axes, &at, |_, position, inside| {
            counted += u32::from(if include { inside } else { position.is_some() });
            entries.extend(position.map(|p| (column(plane * input + p), 1.0)));
        });
        let weight = 1.0 / f64::from(counted.max(1));
        entries.iter_mut().for_each(|e| e.1 = weight);
    })?;
    one(y)
}

/// `GlobalAveragePool`: the mean of each channel.
pub(super) fn global_average_pool(cx: &mut NodeCx<'_>) -> Emitted {
    let x = cx.secret(0)?;
    let inner = elements(spatial(&x.shape)?)?;
    let shape: Vec<usize> =
        x.shape.iter().enumerate().map(|(i, &d)| if i < 2 { d } else { 1 }).collect();
    let weight = 1.0 / inner as f64;
    let y = cx.matrix(&x, shape, inner, None, |row, entries| {
        entries.extend((0..inner).map(|i| (column(row * inner + i), weight)));
    })?;
    one(y)
}
