//! `Resize` and `Upsample`: one interpolation matrix per axis, and their product over all axes.
//!
//! Coordinates, neighbours and coefficients follow the text of the ONNX operator `Resize`.

use heplan_ir::diagnostic::Code;

use super::array::{axis, elements, strides};
use super::context::{Emitted, Fault, NodeCx, column, fault, non_zeros, one};

/// How an axis is resized.
struct Along {
    input: usize,
    output: usize,
    scale: f64,
    /// Start and end of the region of interest, as shares of the axis.
    region: (f64, f64),
}

/// What the node's attributes say.
struct Mode {
    kind: Kind,
    transform: String,
    exclude: bool,
    antialias: bool,
}

/// How values between elements come about.
#[derive(Clone, PartialEq)]
enum Kind {
    Nearest(String),
    Linear,
    Cubic(f64),
}

/// For every place along an output axis the weighted places of the input axis; none where the
/// extrapolation value goes.
type Rows = Vec<Option<Vec<(usize, f64)>>>;

/// `Resize` and `Upsample`.
pub(super) fn resize(cx: &mut NodeCx<'_>) -> Emitted {
    let x = cx.secret(0)?;
    let rank = x.shape.len();
    let mode = mode(cx)?;
    let along = lengths(cx, &x.shape, &mode)?;
    let shape: Vec<usize> = along.iter().map(|a| a.output).collect();
    let rows: Vec<Rows> = along.iter().map(|a| rows(a, &mode)).collect::<Result<_, _>>()?;
    let fill = cx.attr_float("extrapolation_value", 0.0)?;
    let most = |r: &Rows| r.iter().flatten().map(Vec::len).max().unwrap_or(0);
    let per_row = rows.iter().map(most).fold(1_usize, usize::saturating_mul);
    let count = elements(&shape)?;
    non_zeros(count, per_row)?;
    let (old, new) = (strides(&x.shape), strides(&shape));
    let place = |r: usize, a: usize| r / new[a] % shape[a];
    let outside = |r: usize| (0..rank).any(|a| rows[a][place(r, a)].is_none());
    let bias = (0..count).map(|r| if outside(r) { fill } else { 0.0 }).collect();
    let y = cx.matrix(&x, shape.clone(), per_row, Some(bias), |r, row| {
        if outside(r) {
            return;
        }
        let mut entries = vec![(0, 1.0)];
        for (a, rows) in rows.iter().enumerate() {
            let here = rows[place(r, a)].as_deref().unwrap_or(&[]);
            let step = old[a];
            entries = entries
                .iter()
                .flat_map(|&(at, w)| here.iter().map(move |&(p, v)| (at + p * step, w * v)))
                .collect();
        }
        row.extend(entries.into_iter().map(|(at, w)| (column(at), w)));
    })?;
    one(y)
}

fn mode(cx: &NodeCx<'_>) -> Result<Mode, Fault> {
    let kind = match cx.attr_text("mode", "nearest")?.as_str() {
        "nearest" => {
            // `Upsample` and the first `Resize` round down.
            let default = if cx.opset < 11 { "floor" } else { "round_prefer_floor" };
            Kind::Nearest(cx.attr_text("nearest_mode", default)?)
        }
        "linear" | "bilinear" => Kind::Linear,
        "cubic" => Kind::Cubic(cx.attr_float("cubic_coeff_a", -0.75)?),
        other => return Err(fault(Code::BadNode, format!("mode is {other:?}"))),
    };
    let default = if cx.opset < 11 { "asymmetric" } else { "half_pixel" };
    Ok(Mode {
        kind,
        transform: cx.attr_text("coordinate_transformation_mode", default)?,
        exclude: cx.attr_int("exclude_outside", 0)? != 0,
        antialias: cx.attr_int("antialias", 0)? != 0,
    })
}

/// Lengths and scales of all axes.
fn lengths(cx: &NodeCx<'_>, shape: &[usize], mode: &Mode) -> Result<Vec<Along>, Fault> {
    let rank = shape.len();
    let old = cx.node.op_type == "Upsample" || cx.opset < 11;
    let chosen: Vec<usize> = match cx.attr_ints("axes")? {
        Some(given) => given.iter().map(|&a| axis(a, rank)).collect::<Result<_, _>>()?,
        None => (0..rank).collect(),
    };
    let given = |index: usize| -> Result<Option<Vec<f64>>, Fault> {
        let Some(array) = cx.optional_constant(index)? else { return Ok(None) };
        Ok(Some(array.floats()).filter(|v| !v.is_empty()))
    };
    let scales = if old && cx.optional(1).is_none() {
        Some(cx.attr_floats("scales")?)
    } else {
        given(if old { 1 } else { 2 })?
    };
    let sizes = if old { None } else { given(3)? };
    let region = if mode.transform == "tf_crop_and_resize" { given(1)? } else { None };
    let wrong = |what: &str| fault(Code::BadNode, format!("{what} has not one number per axis"));
    let mut out: Vec<Along> = shape
        .iter()
        .map(|&d| Along { input: d, output: d, scale: 1.0, region: (0.0, 1.0) })
        .collect();
    if let Some(region) = region {
        if region.len() != 2 * chosen.len() {
            return Err(wrong("roi"));
        }
        for (i, &a) in chosen.iter().enumerate() {
            out[a].region = (region[i], region[i + chosen.len()]);
        }
    }
    match (scales, sizes) {
        (_, Some(sizes)) => {
            if sizes.len() != chosen.len() {
                return Err(wrong("sizes"));
            }
            let policy = cx.attr_text("keep_aspect_ratio_policy", "stretch")?;
            sized(&mut out, &chosen, &sizes, &policy)?;
        }
        (Some(scales), None) => {
            if scales.len() != chosen.len() {
                return Err(wrong("scales"));
            }
            for (&a, &scale) in chosen.iter().zip(&scales) {
                let span = out[a].region.1 - out[a].region.0;
                let length = (out[a].input as f64 * span * scale).floor();
                if !(scale > 0.0 && (1.0..1e7).contains(&length)) {
                    return Err(fault(Code::BadNode, format!("axis {a} is scaled by {scale}")));
                }
                out[a].scale = scale;
                out[a].output = length as usize;
            }
        }
        (None, None) => return Err(fault(Code::BadNode, "neither scales nor sizes are given")),
    }
    Ok(out)
}

fn sized(out: &mut [Along], chosen: &[usize], sizes: &[f64], policy: &str) -> Result<(), Fault> {
    if sizes.iter().any(|s| !(1.0..1e7).contains(s)) {
        return Err(fault(Code::BadNode, format!("sizes is {sizes:?}")));
    }
    let ratios = chosen.iter().zip(sizes).map(|(&a, s)| s / out[a].input as f64);
    let common = match policy {
        "stretch" => None,
        "not_larger" => Some(ratios.fold(f64::INFINITY, f64::min)),
        "not_smaller" => Some(ratios.fold(0.0, f64::max)),
        other => {
            return Err(fault(Code::BadNode, format!("keep_aspect_ratio_policy is {other:?}")));
        }
    };
    for (&a, &size) in chosen.iter().zip(sizes) {
        let input = out[a].input as f64;
        match common {
            Some(scale) => {
                out[a].scale = scale;
                out[a].output = (scale * input + 0.5).floor().max(1.0) as usize;
            }
            None => {
                out[a].scale = size / input;
                out[a].output = size as usize;
            }
        }
    }
    Ok(())
}

/// Where a place of the output lies on the input axis.
fn coordinate(along: &Along, transform: &str, at: usize) -> Result<f64, Fault> {
    let Along { input, output, scale, region } = *along;
    let (x, length) = (at as f64, input as f64);
    let resized = scale * length;
    // A scale in single precision may miss the whole length that it stands for.
    let ends = if (resized - output as f64).abs() < 1e-5 { output as f64 } else { resized };
    Ok(match transform {
        "half_pixel" => (x + 0.5) / scale - 0.5,
        "half_pixel_symmetric" => {
            let adjustment = output as f64 / resized;
            length / 2.0 * (1.0 - adjustment) + (x + 0.5) / scale - 0.5
        }
        "pytorch_half_pixel" if resized == 1.0 => -0.5,
        "pytorch_half_pixel" => (x + 0.5) / scale - 0.5,
        "align_corners" if ends == 1.0 => 0.0,
        "align_corners" => x * (length - 1.0) / (ends - 1.0),
        "asymmetric" => x / scale,
        "tf_crop_and_resize" => {
            let (start, end) = region;
            let out = output as f64;
            if output > 1 {
                start * (length - 1.0) + x * (end - start) * (length - 1.0) / (out - 1.0)
            } else {
                0.5 * (start + end) * (length - 1.0)
            }
        }
        "tf_half_pixel_for_nn" => (x + 0.5) / scale,
        other => {
            return Err(fault(
                Code::BadNode,
                format!("coordinate_transformation_mode is {other:?}"),
            ));
        }
    })
}

/// The weights of every place along an axis.
fn rows(along: &Along, mode: &Mode) -> Result<Rows, Fault> {
    let untouched = along.output == along.input
        && along.scale == 1.0
        && (mode.transform != "tf_crop_and_resize" || along.region == (0.0, 1.0));
    (0..along.output)
        .map(|at| {
            if untouched {
                return Ok(Some(vec![(at, 1.0)]));
            }
            let x = coordinate(along, &mode.transform, at)?;
            let last = along.input as f64 - 1.0;
            if mode.transform == "tf_crop_and_resize" && !(0.0..=last).contains(&x) {
                return Ok(None);
            }
            Ok(Some(weights(along, mode, x)?))
        })
        .collect()
}

fn weights(along: &Along, mode: &Mode, x: f64) -> Result<Vec<(usize, f64)>, Fault> {
    let inside = |p: f64| p.clamp(0.0, along.input as f64 - 1.0) as usize;
    let (kernel, reach): (Box<dyn Fn(f64) -> f64>, f64) = match &mode.kind {
        Kind::Nearest(how) => {
            let rounded = match how.as_str() {
                "round_prefer_floor" => (x - 0.5).ceil(),
                "round_prefer_ceil" => (x + 0.5).floor(),
                "floor" => x.floor(),
                "ceil" => x.ceil(),
                other => return Err(fault(Code::BadNode, format!("nearest_mode is {other:?}"))),
            };
            return Ok(vec![(inside(rounded), 1.0)]);
        }
        Kind::Linear => (Box::new(|d: f64| (1.0 - d.abs()).max(0.0)), 1.0),
        Kind::Cubic(a) => {
            let a = *a;
            (Box::new(move |d: f64| cubic(d.abs(), a)), 2.0)
        }
    };
    // Antialiasing widens the kernel where the axis shrinks.
    let squeeze = if mode.antialias { along.scale.min(1.0) } else { 1.0 };
    let width = reach / squeeze;
    let (first, last) = ((x - width).floor() as i64, (x + width).ceil() as i64);
    let mut entries: Vec<(i64, f64)> = (first..=last)
        .map(|p| (p, kernel((p as f64 - x) * squeeze)))
        .filter(|e| e.1 != 0.0)
        .collect();
    if mode.exclude {
        entries.retain(|e| (0..along.input as i64).contains(&e.0));
    }
    let total: f64 = entries.iter().map(|e| e.1).sum();
    if mode.exclude || mode.antialias {
        entries.iter_mut().for_each(|e| e.1 /= total);
    }
    if entries.iter().any(|e| !e.1.is_finite()) {
        return Err(fault(Code::BadNode, "the weights of an interpolation add up to zero"));
    }
    Ok(entries.into_iter().map(|(p, w)| (inside(p as f64), w)).collect())
}

/// The cubic convolution kernel of Keys at distance `d`.
pub(super) fn cubic(d: f64, a: f64) -> f64 {
    if d <= 1.0 {
        ((a + 2.0) * d - (a + 3.0)) * d * d + 1.0
    } else if d < 2.0 {
        ((a * d - 5.0 * a) * d + 8.0 * a) * d - 4.0 * a
    } else {
        0.0
    }
}
