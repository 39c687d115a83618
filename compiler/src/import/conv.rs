//! Convolutions of any rank: one matrix row per output element.

use heplan_ir::diagnostic::Code;

use super::array::elements;
use super::context::{Emitted, Fault, NodeCx, column, fault, fault_help, one};
use super::window::{Axis, check_pads, coordinates, lengths, spatial, taps, window};

/// `Conv`: weights `[out, in/group, kernel…]`.
pub(super) fn conv(cx: &mut NodeCx<'_>) -> Emitted {
    let x = cx.secret(0)?;
    let (w_shape, w) = cx.weights(1)?;
    let (batch, channels) = batch_and_channels(&x.shape)?;
    let &[maps, per_group, ref kernel @ ..] = w_shape.as_slice() else {
        return Err(fault(Code::ShapeMismatch, format!("weights of shape {w_shape:?}")));
    };
    let group = group(cx)?;
    if maps == 0 || !maps.is_multiple_of(group) || per_group.checked_mul(group) != Some(channels) {
        let message =
            format!("weights of shape {w_shape:?} in {group} groups over {channels} channels");
        return Err(match per_group.checked_mul(group) {
            Some(wanted) if x.shape.len() > 2 && x.shape.last() == Some(&wanted) => fault_help(
                Code::ShapeMismatch,
                message,
                &format!(
                    "its input of shape {:?} has its {wanted} channels last: export with channels \
                     first (tf2onnx --inputs-as-nchw INPUT), or put a Transpose before it",
                    x.shape
                ),
            ),
            _ => fault(Code::ShapeMismatch, message),
        });
    }
    check_kernel_shape(cx, kernel)?;
    let axes = window(cx, &x.shape, kernel, false)?;
    let bias = bias(cx, maps)?;
    let (inner_in, inner_out, kernel_len) =
        (volume(&axes, |a| a.input), volume(&axes, |a| a.output), w.len() / (maps * per_group));
    let shape = with_spatial(batch, maps, &axes);
    let rows = elements(&shape)?;
    let bias = bias.map(|b| (0..rows).map(|r| b[r / inner_out % maps]).collect());
    let y = cx.matrix(&x, shape, per_group * kernel_len, bias, |row, entries| {
        let (plane, at) = (row / inner_out, coordinates(&axes, row % inner_out));
        let (n, map) = (plane / maps, plane % maps);
        let first = map / (maps / group) * per_group;
        let mut seen: Vec<(usize, usize)> = Vec::with_capacity(kernel_len);
        taps(&axes, &at, |k, position, _| seen.extend(position.map(|p| (k, p))));
        for c in 0..per_group {
            let plane = (n * channels + first + c) * inner_in;
            let weights = &w[(map * per_group + c) * kernel_len..][..kernel_len];
            entries.extend(seen.iter().map(|&(k, p)| (column(plane + p), weights[k])));
        }
    })?;
    one(y)
}

/// `ConvTranspose`: weights `[in, out/group, kernel…]`; an output element gathers the input
/// elements whose stride lands on it.
pub(super) fn conv_transpose(cx: &mut NodeCx<'_>) -> Emitted {
    let x = cx.secret(0)?;
    let (w_shape, w) = cx.weights(1)?;
    let (batch, channels) = batch_and_channels(&x.shape)?;
    let &[w_channels, maps_per_group, ref kernel @ ..] = w_shape.as_slice() else {
        return Err(fault(Code::ShapeMismatch, format!("weights of shape {w_shape:?}")));
    };
    let group = group(cx)?;
    if w_channels != channels || !channels.is_multiple_of(group) || maps_per_group == 0 {
        let message =
            format!("weights of shape {w_shape:?} in {group} groups over {channels} channels");
        return Err(fault(Code::ShapeMismatch, message));
    }
    check_kernel_shape(cx, kernel)?;
    let axes = transposed_window(cx, spatial(&x.shape)?, kernel)?;
    let per_group = channels / group;
    let maps = maps_per_group * group;
    let bias = bias(cx, maps)?;
    let (inner_in, inner_out, kernel_len) = (
        volume(&axes, |a| a.input),
        volume(&axes, |a| a.output),
        w.len() / (channels * maps_per_group),
    );
    let shape = with_spatial(batch, maps, &axes);
    let rows = elements(&shape)?;
    let bias = bias.map(|b| (0..rows).map(|r| b[r / inner_out % maps]).collect());
    let y = cx.matrix(&x, shape, per_group * kernel_len, bias, |row, entries| {
        let (plane, at) = (row / inner_out, coordinates(&axes, row % inner_out));
        let (n, map) = (plane / maps, plane % maps);
        let (first, own) = (map / maps_per_group * per_group, map % maps_per_group);
        let mut seen: Vec<(usize, usize)> = Vec::new();
        transposed_taps(&axes, &at, |k, p| seen.push((k, p)));
        for c in first..first + per_group {
            let plane = (n * channels + c) * inner_in;
            let weights = &w[(c * maps_per_group + own) * kernel_len..][..kernel_len];
            entries.extend(seen.iter().map(|&(k, p)| (column(plane + p), weights[k])));
        }
    })?;
    one(y)
}

/// Output lengths and padding of a transposed convolution, by the formulas of `ConvTranspose`.
fn transposed_window(
    cx: &NodeCx<'_>,
    spatial: &[usize],
    kernel: &[usize],
) -> Result<Vec<Axis>, Fault> {
    let rank = spatial.len();
    if kernel.len() != rank || kernel.contains(&0) {
        let message = format!("a kernel of shape {kernel:?} over spatial axes {spatial:?}");
        return Err(fault(Code::ShapeMismatch, message));
    }
    let strides = lengths(cx, "strides", rank)?;
    let dilations = lengths(cx, "dilations", rank)?;
    let auto_pad = cx.attr_text("auto_pad", "NOTSET")?;
    let pads = cx.attr_ints("pads")?.unwrap_or_else(|| vec![0; 2 * rank]);
    check_pads(&pads, rank)?;
    let extra = cx.attr_ints("output_padding")?.unwrap_or_else(|| vec![0; rank]);
    let wanted = cx.attr_ints("output_shape")?;
    if extra.len() != rank || wanted.as_ref().is_some_and(|w| w.len() != rank) {
        return Err(fault(
            Code::BadNode,
            format!("output_padding or output_shape has not {rank} numbers"),
        ));
    }
    (0..rank)
        .map(|i| {
            let (input, stride) = (spatial[i], strides[i]);
            let reach = dilations[i].saturating_mul(kernel[i] - 1).saturating_add(1);
            let full = (stride * (input - 1)).saturating_add(reach) as i64 + extra[i];
            let target = match (&wanted, auto_pad.as_str()) {
                (Some(w), _) => Some(w[i]),
                (None, "SAME_UPPER" | "SAME_LOWER") => Some((input * stride) as i64),
                (None, _) => None,
            };
            let (before, after) = match target {
                Some(target) => {
                    let total = (full - target).max(0);
                    let half = total / 2;
                    if auto_pad == "SAME_UPPER" {
                        (half, total - half)
                    } else {
                        (total - half, half)
                    }
                }
                None if auto_pad == "VALID" => (0, 0),
                None => (pads[i], pads[rank + i]),
            };
            let output = target.unwrap_or(full - before - after);
            let output = usize::try_from(output).ok().filter(|&o| o > 0).ok_or_else(|| {
                fault(Code::ShapeMismatch, format!("output axis {i} would have length {output}"))
            })?;
            Ok(Axis {
                input,
                output,
                kernel: kernel[i],
                stride,
                dilation: dilations[i],
                before,
                after,
            })
        })
        .collect()
}

/// Calls `visit` with kernel and input position of everything that lands on output `at`.
fn transposed_taps(axes: &[Axis], at: &[usize], mut visit: impl FnMut(usize, usize)) {
    let count: usize = axes.iter().map(|a| a.kernel).product();
    for k in 0..count {
        let mut rest = k;
        let mut position = Some(0);
        let mut scale = 1;
        for (i, axis) in axes.iter().enumerate().rev() {
            let tap = rest % axis.kernel;
            rest /= axis.kernel;
            let from = at[i] as i64 + axis.before - (tap * axis.dilation) as i64;
            let stride = axis.stride as i64;
            let here = usize::try_from(from / stride).ok();
            let here = here.filter(|&h| from >= 0 && from % stride == 0 && h < axis.input);
            position = position.zip(here).map(|(p, h)| p + h * scale);
            scale *= axis.input;
        }
        if let Some(p) = position {
            visit(k, p);
        }
    }
}

fn batch_and_channels(shape: &[usize]) -> Result<(usize, usize), Fault> {
    spatial(shape)?;
    Ok((shape[0], shape[1]))
}

fn group(cx: &NodeCx<'_>) -> Result<usize, Fault> {
    let group = cx.attr_int("group", 1)?;
    usize::try_from(group)
        .ok()
        .filter(|&g| g > 0)
        .ok_or_else(|| fault(Code::BadNode, format!("group is {group}")))
}

fn check_kernel_shape(cx: &NodeCx<'_>, kernel: &[usize]) -> Result<(), Fault> {
    let Some(declared) = cx.attr_ints("kernel_shape")? else { return Ok(()) };
    if declared.iter().map(|&d| usize::try_from(d).ok()).eq(kernel.iter().map(|&k| Some(k))) {
        Ok(())
    } else {
        let message = format!("kernel_shape is {declared:?}, the weights have {kernel:?}");
        Err(fault(Code::ShapeMismatch, message))
    }
}

fn bias(cx: &NodeCx<'_>, maps: usize) -> Result<Option<Vec<f64>>, Fault> {
    if cx.optional(2).is_none() {
        return Ok(None);
    }
    let (shape, values) = cx.weights(2)?;
    if values.len() == maps {
        Ok(Some(values))
    } else {
        Err(fault(Code::ShapeMismatch, format!("bias of shape {shape:?} for {maps} channels")))
    }
}

fn volume(axes: &[Axis], length: impl Fn(&Axis) -> usize) -> usize {
    axes.iter().map(length).product()
}

fn with_spatial(batch: usize, maps: usize, axes: &[Axis]) -> Vec<usize> {
    [batch, maps].into_iter().chain(axes.iter().map(|a| a.output)).collect()
}
