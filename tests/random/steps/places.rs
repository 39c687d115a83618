//! Steps that move elements: concatenations, slices, reshapes and their like.

use super::{map, named};
use crate::evaluate::{self, broadcast, lines, select, tensor, zip};
use crate::generate::{Builder, Value};
use crate::onnx::Attribute;

/// A value and one of its axes.
fn along(b: &mut Builder) -> Option<(Value, usize)> {
    let x = b.such(|v| !v.shape().is_empty())?;
    let axis = b.random.below(x.shape().len());
    Some((x, axis))
}

pub(super) fn concat(b: &mut Builder) -> Option<()> {
    let (x, axis) = along(b)?;
    let rank = x.shape().len();
    let fits = |v: &Value| {
        let same = |a: usize| a == axis || v.shape()[a] == x.shape()[a];
        v.shape().len() == rank && (0..rank).all(same)
    };
    let y = b.such(fits)?;
    let z = b.such(fits)?;
    let mut parts = vec![&x, &y];
    if b.random.once_in(3) {
        parts.push(&z);
    }
    let result = |s: usize| {
        let tensors: Vec<_> = parts.iter().map(|p| &p.samples[s]).collect();
        evaluate::concat(&tensors, axis)
    };
    let samples = (0..x.samples.len()).map(result).collect();
    let attributes = [("axis", Attribute::Int(named(b, axis, rank)))];
    let names: Vec<&str> = parts.iter().map(|p| p.name.as_str()).collect();
    let depth = parts.iter().map(|p| p.depth).max()? + 1;
    b.node("Concat", &names, &attributes, samples, depth)
}

pub(super) fn slice(b: &mut Builder) -> Option<()> {
    let (x, axis) = along(b)?;
    let n = x.shape()[axis];
    let (start, step) = (b.random.below(n), b.random.from(1, 2));
    let back = b.random.once_in(4);
    let end = if back { b.random.below(start + 1) } else { b.random.from(start + 1, n) };
    let from: Vec<Option<usize>> = if back {
        (end..=start).rev().step_by(step).map(Some).collect()
    } else {
        (start..end).step_by(step).map(Some).collect()
    };
    // Backwards the end itself is left out, and before the first there is no name but a far one.
    let last = match (back, end) {
        (true, 0) => i64::MIN + 1,
        (true, end) => end as i64 - 1,
        (false, end) if end == n && b.random.once_in(2) => i64::MAX,
        (false, end) => end as i64,
    };
    let first = if b.random.once_in(3) { start as i64 - n as i64 } else { start as i64 };
    let step = if back { -(step as i64) } else { step as i64 };
    let axis_name = named(b, axis, x.shape().len());
    let inputs = [first, last, axis_name, step].map(|v| b.integers(&[v]));
    let names = [&x.name[..], &inputs[0], &inputs[1], &inputs[2], &inputs[3]];
    let samples = map(&x, |s| select(s, axis, &from));
    b.node("Slice", &names, &[], samples, x.depth + 1)
}

pub(super) fn transpose(b: &mut Builder) -> Option<()> {
    let x = b.such(|v| v.shape().len() >= 2)?;
    let order = b.random.order(x.shape().len());
    let samples = map(&x, |s| evaluate::transpose(s, &order));
    let perm = Attribute::Ints(order.iter().map(|&a| a as i64).collect());
    b.node("Transpose", &[&x.name], &[("perm", perm)], samples, x.depth + 1)
}

pub(super) fn reshape(b: &mut Builder) -> Option<()> {
    let x = b.such(|v| !v.shape().is_empty())?;
    let mut rest: usize = x.shape().iter().product();
    let mut shape = Vec::new();
    for _ in 0..b.random.from(0, 3) {
        let divisors: Vec<usize> = (1..=rest).filter(|d| rest.is_multiple_of(*d)).collect();
        let d = *b.random.pick(&divisors);
        shape.push(d);
        rest /= d;
    }
    shape.push(rest);
    let mut given: Vec<i64> = shape.iter().map(|&d| d as i64).collect();
    if b.random.once_in(2) {
        let open = b.random.below(given.len());
        given[open] = -1;
    }
    let name = b.integers(&given);
    let samples = map(&x, |s| evaluate::reshape(s, &shape));
    b.node("Reshape", &[&x.name, &name], &[], samples, x.depth)
}

pub(super) fn flatten(b: &mut Builder) -> Option<()> {
    let (x, axis) = along(b)?;
    let rows = x.shape()[..axis].iter().product();
    let columns = x.shape()[axis..].iter().product();
    let samples = map(&x, |s| evaluate::reshape(s, &[rows, columns]));
    let attributes = [("axis", Attribute::Int(named(b, axis, x.shape().len())))];
    b.node("Flatten", &[&x.name], &attributes, samples, x.depth)
}

/// `Unsqueeze`, or `Squeeze` where an axis has one element.
pub(super) fn axes_of_one(b: &mut Builder) -> Option<()> {
    let (x, axis) = along(b)?;
    let mut shape = x.shape().to_vec();
    let squeeze = shape[axis] == 1 && shape.len() > 1;
    if squeeze {
        shape.remove(axis);
    } else {
        shape.insert(axis, 1);
    }
    let name = b.integers(&[axis as i64]);
    let samples = map(&x, |s| evaluate::reshape(s, &shape));
    let op = if squeeze { "Squeeze" } else { "Unsqueeze" };
    b.node(op, &[&x.name, &name], &[], samples, x.depth)
}

pub(super) fn pad(b: &mut Builder) -> Option<()> {
    let (x, axis) = along(b)?;
    let (rank, n) = (x.shape().len(), x.shape()[axis]);
    let mode = *b.random.pick(&["constant", "reflect", "edge"]);
    let limit = if mode == "reflect" { (n - 1).min(2) } else { 2 };
    let (before, after) = (b.random.from(0, limit), b.random.from(0, limit));
    let from: Vec<Option<usize>> = (0..before + n + after)
        .map(|i| match (i.checked_sub(before), mode) {
            (Some(i), _) if i < n => Some(i),
            (_, "constant") => None,
            (None, "edge") => Some(0),
            (Some(_), "edge") => Some(n - 1),
            (None, _) => Some(before - i),
            (Some(i), _) => Some(2 * (n - 1) - i),
        })
        .collect();
    let mut pads = vec![0; 2 * rank];
    (pads[axis], pads[rank + axis]) = (before as i64, after as i64);
    let name = b.integers(&pads);
    let samples = map(&x, |s| select(s, axis, &from));
    b.node("Pad", &[&x.name, &name], &[("mode", Attribute::Text(mode))], samples, x.depth + 1)
}

pub(super) fn gather(b: &mut Builder) -> Option<()> {
    let (x, axis) = along(b)?;
    let (rank, n) = (x.shape().len(), x.shape()[axis]);
    let count = b.random.from(1, 4);
    let from: Vec<usize> = (0..count).map(|_| b.random.below(n)).collect();
    let indices: Vec<i64> = from.iter().map(|&i| named(b, i, n)).collect();
    let name = b.integers(&indices);
    let from: Vec<Option<usize>> = from.into_iter().map(Some).collect();
    let samples = map(&x, |s| select(s, axis, &from));
    let attributes = [("axis", Attribute::Int(named(b, axis, rank)))];
    b.node("Gather", &[&x.name, &name], &attributes, samples, x.depth + 1)
}

pub(super) fn split(b: &mut Builder) -> Option<()> {
    let (x, axis) = along(b)?;
    let n = x.shape()[axis];
    if n < 2 {
        return None;
    }
    let first = b.random.from(1, n - 1);
    let name = b.integers(&[first as i64, (n - first) as i64]);
    let part = |from: std::ops::Range<usize>| {
        let from: Vec<_> = from.map(Some).collect();
        map(&x, |s| select(s, axis, &from))
    };
    let results = vec![part(0..first), part(first..n)];
    let attributes = [("axis", Attribute::Int(axis as i64))];
    b.nodes("Split", &[&x.name, &name], &attributes, results, x.depth + 1)
}

pub(super) fn tile(b: &mut Builder) -> Option<()> {
    let (x, axis) = along(b)?;
    let n = x.shape()[axis];
    let times = b.random.from(1, 3);
    let mut repeats = vec![1; x.shape().len()];
    repeats[axis] = times as i64;
    let name = b.integers(&repeats);
    let from: Vec<_> = (0..n * times).map(|i| Some(i % n)).collect();
    let samples = map(&x, |s| select(s, axis, &from));
    b.node("Tile", &[&x.name, &name], &[], samples, x.depth + 1)
}

pub(super) fn expand(b: &mut Builder) -> Option<()> {
    let x = b.such(|v| v.shape().contains(&1))?;
    let mut shape = x.shape().to_vec();
    for d in shape.iter_mut().filter(|d| **d == 1) {
        *d = b.random.from(1, 3);
    }
    let target = broadcast(x.shape(), &shape)?;
    let name = b.integers(&shape.iter().map(|&d| d as i64).collect::<Vec<_>>());
    let zeros = tensor(&target, |_| 0.0);
    let samples = x.samples.iter().map(|s| zip(s, &zeros, |a, _| a)).collect::<Option<_>>()?;
    b.node("Expand", &[&x.name, &name], &[], samples, x.depth + 1)
}

pub(super) fn cumulative(b: &mut Builder) -> Option<()> {
    let (x, axis) = along(b)?;
    let (exclusive, reverse) = (b.random.once_in(2), b.random.once_in(2));
    let line = |v: &[f64]| -> Vec<f64> {
        let sum = |i: usize| -> f64 {
            let others = |j: usize| if reverse { j > i } else { j < i };
            (0..v.len()).filter(|&j| others(j) || j == i && !exclusive).map(|j| v[j]).sum()
        };
        (0..v.len()).map(sum).collect()
    };
    let at = named(b, axis, x.shape().len());
    let name = b.integers(&[at]);
    let samples = map(&x, |s| lines(s, &[axis], line));
    let attributes = [
        ("exclusive", Attribute::Int(exclusive.into())),
        ("reverse", Attribute::Int(reverse.into())),
    ];
    b.node("CumSum", &[&x.name, &name], &attributes, samples, x.depth + 1)
}

/// `DepthToSpace` of blocks of two.
pub(super) fn blocks(b: &mut Builder) -> Option<()> {
    let x = b.such(|v| v.shape().len() == 4 && v.shape()[1].is_multiple_of(4))?;
    let (channels, depth_first) = (x.shape()[1] / 4, b.random.once_in(2));
    let samples = map(&x, |s| {
        let shape = [s.shape()[0], channels, 2 * s.shape()[2], 2 * s.shape()[3]];
        tensor(&shape, |at| {
            let block = 2 * (at[2] % 2) + at[3] % 2;
            let from = if depth_first { block * channels + at[1] } else { at[1] * 4 + block };
            s[&[at[0], from, at[2] / 2, at[3] / 2][..]]
        })
    });
    let mode = Attribute::Text(if depth_first { "DCR" } else { "CRD" });
    let attributes = [("blocksize", Attribute::Int(2)), ("mode", mode)];
    b.node("DepthToSpace", &[&x.name], &attributes, samples, x.depth + 1)
}

/// `Where` with a constant condition.
pub(super) fn mask(b: &mut Builder) -> Option<()> {
    let x = b.any();
    let y = b.such(|v| v.shape() == x.shape())?;
    let taken: Vec<bool> = (0..x.samples[0].len()).map(|_| b.random.once_in(2)).collect();
    let name = b.condition(x.shape(), &taken);
    let both = x.samples.iter().zip(&y.samples);
    let samples = both.map(|(s, t)| {
        let mut mixed = s.clone();
        let others = mixed.iter_mut().zip(t).zip(&taken);
        others.filter(|(_, taken)| !**taken).for_each(|((m, t), _)| *m = *t);
        mixed
    });
    let samples = samples.collect();
    b.node("Where", &[&name, &x.name, &y.name], &[], samples, x.depth.max(y.depth) + 1)
}
