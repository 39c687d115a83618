//! Discrete Fourier transforms, and the grid of an affine map: linear, whatever their constants are.
//!
//! `X[k] = Σ x[t]·exp(∓2πi·kt/N)`, divided by `N` in the inverse; the last axis holds the real and
//! the imaginary part.

use std::f64::consts::TAU;

use heplan_ir::diagnostic::Code;

use super::array::{axis, elements};
use super::context::{Emitted, Fault, NodeCx, column, fault, one};

/// The one integer of an optional operand.
fn scalar(cx: &NodeCx<'_>, index: usize) -> Result<Option<i64>, Fault> {
    if cx.optional(index).is_none() {
        return Ok(None);
    }
    match cx.ints(index)?.as_slice() {
        [v] => Ok(Some(*v)),
        values => {
            Err(fault(Code::BadNode, format!("input {index} is {values:?}, expected one number")))
        }
    }
}

fn length(given: i64, what: &str) -> Result<usize, Fault> {
    let length = usize::try_from(given).ok().filter(|l| (1..=1 << 20).contains(l));
    length.ok_or_else(|| fault(Code::BadNode, format!("{what} is {given}")))
}

/// The part `c` of the result at phase `angle` from the part `d` of the operand.
fn rotated(angle: f64, c: usize, d: usize) -> f64 {
    match (c, d) {
        (0, 0) | (1, 1) => angle.cos(),
        (0, _) => -angle.sin(),
        _ => angle.sin(),
    }
}

/// `DFT` along one axis; one-sided, it gives half of a real signal's spectrum, or takes it.
pub(super) fn fourier(cx: &mut NodeCx<'_>) -> Emitted {
    let x = cx.secret(0)?;
    let rank = x.shape.len();
    let along = if cx.opset < 20 { cx.attr_int("axis", 1)? } else { scalar(cx, 2)?.unwrap_or(-2) };
    let at = axis(along, rank)?;
    let parts = x.shape.last().copied().unwrap_or(0);
    if at + 1 >= rank || !(1..=2).contains(&parts) {
        let message = format!("input of shape {:?} along axis {along}", x.shape);
        return Err(fault(Code::ShapeMismatch, message));
    }
    let (inverse, half) = (cx.attr_int("inverse", 0)? != 0, cx.attr_int("onesided", 0)? != 0);
    let given = x.shape[at];
    let to_real = inverse && half;
    let own = if to_real { 2 * given.max(2) - 2 } else { given };
    let n = match scalar(cx, 1)? {
        Some(l) => length(l, "dft_length")?,
        None => own,
    };
    let used = given.min(if to_real { n / 2 + 1 } else { n });
    let mut shape = x.shape.clone();
    shape[at] = if half && !inverse { n / 2 + 1 } else { n };
    shape[rank - 1] = if to_real { 1 } else { 2 };
    elements(&shape)?;
    let (count, last) = (shape[at], shape[rank - 1]);
    let inner: usize = x.shape[at + 1..rank - 1].iter().product();
    let sign = if inverse { 1.0 } else { -1.0 };
    let scale = if inverse { 1.0 / n as f64 } else { 1.0 };
    one(cx.matrix(&x, shape, used * parts, None, |r, row| {
        let (c, i) = (r % last, r / last % inner);
        let (k, o) = (r / last / inner % count, r / last / inner / count);
        for t in 0..used {
            let angle = sign * TAU * ((k * t) % n) as f64 / n as f64;
            // Half of a real signal's spectrum stands for its mirror image too.
            let mirrored = to_real && t > 0 && 2 * t != n;
            let weight = if mirrored { 2.0 * scale } else { scale };
            let place = ((o * given + t) * inner + i) * parts;
            row.extend((0..parts).map(|d| (column(place + d), weight * rotated(angle, c, d))));
        }
    })?)
}

/// `STFT`: transforms of frames of a signal, each times a window.
pub(super) fn short_time_fourier(cx: &mut NodeCx<'_>) -> Emitted {
    let x = cx.secret(0)?;
    let &[batch, total, ref rest @ ..] = x.shape.as_slice() else {
        return Err(fault(Code::ShapeMismatch, format!("input of shape {:?}", x.shape)));
    };
    let parts = rest.first().copied().unwrap_or(1);
    let half = cx.attr_int("onesided", 1)? != 0;
    if rest.len() > 1 || !(1..=2).contains(&parts) || half && parts == 2 {
        let message = format!("signal of shape {:?}, onesided is {half}", x.shape);
        return Err(fault(Code::ShapeMismatch, message));
    }
    let step = scalar(cx, 1)?.ok_or_else(|| fault(Code::BadNode, "frame_step is missing"))?;
    let step = length(step, "frame_step")?;
    let window = if cx.optional(2).is_some() { Some(cx.weights(2)?.1) } else { None };
    let n = match (scalar(cx, 3)?, &window) {
        (Some(l), _) => length(l, "frame_length")?,
        (None, Some(window)) => length(window.len() as i64, "the window's length")?,
        (None, None) => total,
    };
    let window = window.unwrap_or_else(|| vec![1.0; n]);
    if window.len() != n || n > total {
        let message = format!("a window of {} and frames of {n} in {total} samples", window.len());
        return Err(fault(Code::ShapeMismatch, message));
    }
    let frames = (total - n) / step + 1;
    let bins = if half { n / 2 + 1 } else { n };
    let shape = vec![batch, frames, bins, 2];
    one(cx.matrix(&x, shape, n * parts, None, |r, row| {
        let (c, k) = (r % 2, r / 2 % bins);
        let (frame, b) = (r / 2 / bins % frames, r / 2 / bins / frames);
        for (t, w) in window.iter().enumerate() {
            let angle = -TAU * ((k * t) % n) as f64 / n as f64;
            let place = (b * total + frame * step + t) * parts;
            row.extend((0..parts).map(|d| (column(place + d), w * rotated(angle, c, d))));
        }
    })?)
}

/// `AffineGrid`: the points of a regular grid under encrypted affine maps, one per sample.
pub(super) fn affine_grid(cx: &mut NodeCx<'_>) -> Emitted {
    let theta = cx.secret(0)?;
    let size = cx.ints(1)?;
    let size: Vec<usize> = size.iter().filter_map(|&d| usize::try_from(d).ok()).collect();
    let spatial = size.get(2..).unwrap_or(&[]);
    let d = spatial.len();
    if !(2..=3).contains(&d) || theta.shape != [size[0], d, d + 1] {
        let message = format!("maps of shape {:?} for a grid {size:?}", theta.shape);
        return Err(fault(Code::ShapeMismatch, message));
    }
    let corners = cx.attr_int("align_corners", 0)? != 0;
    let at = |i: usize, n: usize| match (corners, n) {
        (true, 1) => -1.0,
        (true, n) => 2.0 * i as f64 / (n - 1) as f64 - 1.0,
        (false, n) => (2 * i + 1) as f64 / n as f64 - 1.0,
    };
    let shape = [&size[..1], spatial, &[d]].concat();
    let points: usize = spatial.iter().product();
    let steps = super::array::strides(spatial);
    one(cx.matrix(&theta, shape, d + 1, None, |r, row| {
        let (part, point, b) = (r % d, r / d % points, r / d / points);
        let first = (b * d + part) * (d + 1);
        // The first coordinate of a point runs along the last axis.
        let coordinate =
            |a: usize| at(point / steps[d - 1 - a] % spatial[d - 1 - a], spatial[d - 1 - a]);
        row.extend((0..d).map(|a| (column(first + a), coordinate(a))));
        row.push((column(first + d), 1.0));
    })?)
}
