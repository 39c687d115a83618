//! The sliding window that convolutions and pools share: kernel, stride, dilation and padding.
//!
//! Output lengths follow the formulas of the ONNX operators `Conv` and `AveragePool`.

use heplan_ir::diagnostic::Code;

use super::context::{Fault, NodeCx, fault, fault_help};

/// One spatial axis of a window.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    /// Length of the input.
    pub(super) input: usize,
    /// Length of the output.
    pub(super) output: usize,
    /// Taps.
    pub(super) kernel: usize,
    /// Step between windows.
    pub(super) stride: usize,
    /// Step between taps.
    pub(super) dilation: usize,
    /// Padding in front; negative crops.
    pub(super) before: i64,
    /// Padding behind; negative crops.
    pub(super) after: i64,
}

impl Axis {
    /// The input position under tap `tap` of window `out`, if it is not padding.
    pub(super) fn at(&self, out: usize, tap: usize) -> Option<usize> {
        let position = self.padded(out, tap);
        usize::try_from(position).ok().filter(|&p| p < self.input)
    }

    /// Whether a tap lies in the input or in its declared padding.
    pub(super) fn is_counted(&self, out: usize, tap: usize) -> bool {
        self.padded(out, tap) < self.input as i64 + self.after
    }

    fn padded(&self, out: usize, tap: usize) -> i64 {
        (out * self.stride + tap * self.dilation) as i64 - self.before
    }
}

/// The window of a convolution or pool over the spatial axes of `shape` (batch and channel first).
pub(super) fn window(
    cx: &NodeCx<'_>,
    shape: &[usize],
    kernel: &[usize],
    ceil: bool,
) -> Result<Vec<Axis>, Fault> {
    let spatial = spatial(shape)?;
    let rank = spatial.len();
    if kernel.len() != rank {
        let message = format!("a kernel of shape {kernel:?} over an input of shape {shape:?}");
        return Err(fault(Code::ShapeMismatch, message));
    }
    let strides = lengths(cx, "strides", rank)?;
    let dilations = lengths(cx, "dilations", rank)?;
    let auto_pad = cx.attr_text("auto_pad", "NOTSET")?;
    let pads = cx.attr_ints("pads")?.unwrap_or_else(|| vec![0; 2 * rank]);
    check_pads(&pads, rank)?;
    (0..rank)
        .map(|i| {
            let (input, kernel, stride, dilation) =
                (spatial[i], kernel[i], strides[i], dilations[i]);
            let reach = dilation.saturating_mul(kernel.saturating_sub(1)).saturating_add(1);
            let (before, after) = match auto_pad.as_str() {
                "NOTSET" | "" => (pads[i], pads[rank + i]),
                "VALID" => (0, 0),
                same @ ("SAME_UPPER" | "SAME_LOWER") => {
                    let needed = (input.div_ceil(stride) - 1) * stride + reach;
                    let total = needed.saturating_sub(input) as i64;
                    let small = total / 2;
                    if same == "SAME_UPPER" {
                        (small, total - small)
                    } else {
                        (total - small, small)
                    }
                }
                other => {
                    return Err(fault(Code::BadNode, format!("auto_pad is {other:?}")));
                }
            };
            let padded = input as i64 + before + after;
            let room = padded - reach as i64;
            if kernel == 0 || room < 0 {
                let message = format!("a window of {reach} does not fit an axis of {padded}");
                let help = format!(
                    "give it an input of {reach} or more along axis {} (--dim NAME=N where the \
                     model leaves it open), a kernel of at most {padded}, or padding",
                    i + 2
                );
                return Err(fault_help(Code::ShapeMismatch, message, &help));
            }
            let room = room as usize;
            let mut output = room / stride + 1;
            if ceil
                && !room.is_multiple_of(stride)
                && (output * stride) as i64 - before < input as i64
            {
                output += 1;
            }
            Ok(Axis { input, output, kernel, stride, dilation, before, after })
        })
        .collect()
}

/// The spatial lengths of a tensor whose first axes are batch and channel.
pub(super) fn spatial(shape: &[usize]) -> Result<&[usize], Fault> {
    shape.get(2..).filter(|s| !s.is_empty()).ok_or_else(|| {
        let message = format!("input of shape {shape:?}, expected batch, channel and spatial axes");
        let help = "put a Reshape or an Unsqueeze before it: x.unsqueeze(1) adds an axis of one \
                    channel";
        fault_help(Code::ShapeMismatch, message, help)
    })
}

/// A list of positive lengths, one per spatial axis, all 1 where it is absent.
pub(super) fn lengths(cx: &NodeCx<'_>, name: &str, rank: usize) -> Result<Vec<usize>, Fault> {
    let Some(given) = cx.attr_ints(name)? else { return Ok(vec![1; rank]) };
    let values: Vec<usize> =
        given.iter().filter(|&&v| (1..=1 << 24).contains(&v)).map(|&v| v as usize).collect();
    if given.len() == rank && values.len() == rank {
        Ok(values)
    } else {
        let message = format!("{name} is {given:?}, expected {rank} positive numbers");
        Err(fault(Code::BadNode, message))
    }
}

/// Pads must be one pair per axis and of a size that positions can hold.
pub(super) fn check_pads(pads: &[i64], rank: usize) -> Result<(), Fault> {
    if pads.len() == 2 * rank && pads.iter().all(|p| p.abs() <= 1 << 24) {
        Ok(())
    } else {
        let message = format!("pads is {pads:?}, expected {} numbers", 2 * rank);
        Err(fault(Code::BadNode, message))
    }
}

/// Calls `visit` with the taps of the window at `out`: position in the kernel, position in one
/// input channel (`None` in padding), and whether the tap counts as part of the padded input.
pub(super) fn taps(
    axes: &[Axis],
    out: &[usize],
    mut visit: impl FnMut(usize, Option<usize>, bool),
) {
    let count: usize = axes.iter().map(|a| a.kernel).product();
    let mut tap = vec![0; axes.len()];
    for k in 0..count {
        let mut rest = k;
        for (i, axis) in axes.iter().enumerate().rev() {
            tap[i] = rest % axis.kernel;
            rest /= axis.kernel;
        }
        let mut position = Some(0);
        let mut counted = true;
        for (i, axis) in axes.iter().enumerate() {
            let here = axis.at(out[i], tap[i]);
            position = position.zip(here).map(|(p, h)| p * axis.input + h);
            counted &= axis.is_counted(out[i], tap[i]);
        }
        visit(k, position, counted);
    }
}

/// The coordinates of the `index`-th window, row-major.
pub(super) fn coordinates(axes: &[Axis], index: usize) -> Vec<usize> {
    let mut rest = index;
    let mut out = vec![0; axes.len()];
    for (i, axis) in axes.iter().enumerate().rev() {
        out[i] = rest % axis.output;
        rest /= axis.output;
    }
    out
}
