//! Operators that copy elements to other places, each at most once per output element.
//!
//! Each is a list of source positions, the same for encrypted data (a matrix of ones) and for
//! constants.

use std::rc::Rc;

use heplan_ir::diagnostic::Code;
use heplan_ir::matrix::SparseMatrix;

use super::array::{
    Array, Data, axis, broadcast_shape, broadcast_source, constant_elements, elements, strided,
    strides,
};
use super::context::{Emitted, Fault, NodeCx, Operand, column, fault};

/// Copies operand 0: element `r` of the result is element `source[r]`, or `fill`.
pub(super) fn copied(
    cx: &mut NodeCx<'_>,
    shape: Vec<usize>,
    source: &[Option<u32>],
    fill: f64,
) -> Result<Operand, Fault> {
    if let Operand::Constant(c) = cx.operand(0)? {
        let fill = match &c.data {
            Data::Float(_) => Data::Float(vec![fill]),
            Data::Int(_) => Data::Int(vec![fill as i64]),
            Data::Bool(_) => Data::Bool(vec![fill != 0.0]),
        };
        let data = c.data.gather(source, Some(&fill));
        return Ok(Operand::Constant(Rc::new(Array { shape, data })));
    }
    let x = cx.secret(0)?;
    if shape.contains(&0) {
        // An empty part of encrypted data is known; joining it to other tensors adds nothing.
        return Ok(Operand::Constant(Rc::new(Array { shape, data: Data::Float(Vec::new()) })));
    }
    if shape == x.shape && source.iter().enumerate().all(|(r, s)| *s == Some(column(r))) {
        return Ok(Operand::Secret(x));
    }
    Ok(Operand::Secret(cx.gather(&x, shape, source, fill)?))
}

/// Copies a view: shape and strides over operand 0, and the shape that the result is called by.
fn view(
    cx: &mut NodeCx<'_>,
    shape: &[usize],
    steps: &[isize],
    offset: isize,
    named: Vec<usize>,
) -> Result<Operand, Fault> {
    cx.count(shape)?;
    let source: Vec<Option<u32>> =
        strided(shape, steps, offset).into_iter().map(|s| Some(column(s))).collect();
    copied(cx, named, &source, 0.0)
}

/// `Transpose`; without `perm` the axes are reversed.
pub(super) fn transpose(cx: &mut NodeCx<'_>) -> Emitted {
    let own = cx.shape(0)?;
    let perm = match cx.attr_ints("perm")? {
        Some(given) => given.iter().map(|&a| axis(a, own.len())).collect::<Result<Vec<_>, _>>()?,
        None => (0..own.len()).rev().collect(),
    };
    if perm.len() != own.len() || (0..own.len()).any(|a| !perm.contains(&a)) {
        let message = format!("perm {perm:?} does not permute the axes of shape {own:?}");
        return Err(fault(Code::BadNode, message));
    }
    Ok(vec![permuted(cx, &own, &perm, None)?])
}

/// Operand 0, seen under `shape`, with its axes permuted.
fn permuted(
    cx: &mut NodeCx<'_>,
    shape: &[usize],
    perm: &[usize],
    named: Option<Vec<usize>>,
) -> Result<Operand, Fault> {
    let own = strides(shape);
    let lengths: Vec<usize> = perm.iter().map(|&a| shape[a]).collect();
    let steps: Vec<isize> = perm.iter().map(|&a| own[a] as isize).collect();
    let named = named.unwrap_or_else(|| lengths.clone());
    view(cx, &lengths, &steps, 0, named)
}

/// `DepthToSpace` in both modes.
pub(super) fn depth_to_space(cx: &mut NodeCx<'_>) -> Emitted {
    let (n, c, h, w, block) = image(cx)?;
    if !c.is_multiple_of(block * block) {
        return Err(fault(Code::ShapeMismatch, format!("{c} channels with blocks of {block}")));
    }
    let depth = c / (block * block);
    let named = Some(vec![n, depth, h * block, w * block]);
    Ok(vec![match cx.attr_text("mode", "DCR")?.as_str() {
        "DCR" => permuted(cx, &[n, block, block, depth, h, w], &[0, 3, 4, 1, 5, 2], named)?,
        "CRD" => permuted(cx, &[n, depth, block, block, h, w], &[0, 1, 4, 2, 5, 3], named)?,
        other => return Err(fault(Code::BadNode, format!("mode is {other:?}"))),
    }])
}

/// `SpaceToDepth`.
pub(super) fn space_to_depth(cx: &mut NodeCx<'_>) -> Emitted {
    let (n, c, h, w, block) = image(cx)?;
    if !h.is_multiple_of(block) || !w.is_multiple_of(block) {
        return Err(fault(Code::ShapeMismatch, format!("a {h}x{w} image with blocks of {block}")));
    }
    let split = [n, c, h / block, block, w / block, block];
    let named = Some(vec![n, c * block * block, h / block, w / block]);
    Ok(vec![permuted(cx, &split, &[0, 3, 5, 1, 2, 4], named)?])
}

fn image(cx: &NodeCx<'_>) -> Result<(usize, usize, usize, usize, usize), Fault> {
    let shape = cx.shape(0)?;
    let &[n, c, h, w] = shape.as_slice() else {
        return Err(fault(
            Code::ShapeMismatch,
            format!("input of shape {shape:?}, expected 4 axes"),
        ));
    };
    let block = cx.attr_int("blocksize", 0)?;
    let block = usize::try_from(block).ok().filter(|b| (1..=4096).contains(b));
    let block = block.ok_or_else(|| fault(Code::BadNode, "blocksize is not positive"))?;
    Ok((n, c, h, w, block))
}

/// `Slice`: by attributes before opset 10; negative steps walk backwards.
pub(super) fn slice(cx: &mut NodeCx<'_>) -> Emitted {
    let own = cx.shape(0)?;
    let missing = || fault(Code::BadNode, "starts or ends are missing");
    let starts = cx.ints_or_attribute(1, "starts")?.ok_or_else(missing)?;
    let ends = cx.ints_or_attribute(2, "ends")?.ok_or_else(missing)?;
    let along = match cx.ints_or_attribute(3, "axes")? {
        Some(given) => given,
        None => (0..starts.len() as i64).collect(),
    };
    let steps = match cx.optional(4) {
        Some(_) => cx.ints(4)?,
        None => vec![1; starts.len()],
    };
    if [ends.len(), along.len(), steps.len()].iter().any(|&l| l != starts.len()) {
        return Err(fault(Code::BadNode, "starts, ends, axes and steps differ in length"));
    }
    let own_strides = strides(&own);
    let mut shape = own.clone();
    let mut view_steps: Vec<isize> = own_strides.iter().map(|&s| s as isize).collect();
    let mut offset = 0;
    let mut seen = Vec::new();
    for (i, &given) in along.iter().enumerate() {
        let a = axis(given, own.len())?;
        if seen.contains(&a) || steps[i] == 0 {
            return Err(fault(Code::BadNode, format!("axis {a} occurs twice or with step 0")));
        }
        seen.push(a);
        let (first, count) = span(own[a] as i64, starts[i], ends[i], steps[i]);
        shape[a] = count;
        if count > 0 {
            offset += first as isize * own_strides[a] as isize;
            // A single element is taken without a step, which may be as large as a file likes.
            let step = if count > 1 { steps[i] as isize } else { 1 };
            view_steps[a] = step * own_strides[a] as isize;
        }
    }
    let named = shape.clone();
    Ok(vec![view(cx, &shape, &view_steps, offset, named)?])
}

/// First position and number of elements of one sliced axis.
fn span(length: i64, start: i64, end: i64, step: i64) -> (i64, usize) {
    let shift = |v: i64| if v < 0 { v.saturating_add(length) } else { v };
    let (first, last) = if step > 0 {
        (shift(start).clamp(0, length), shift(end).clamp(0, length))
    } else {
        (shift(start).clamp(-1, length - 1), shift(end).clamp(-1, length - 1))
    };
    let distance = if step > 0 { last - first } else { first - last };
    let count = (distance.max(0) as u64).div_ceil(step.unsigned_abs());
    (first, count as usize)
}

/// `Split`: equal parts, or parts of stated lengths.
pub(super) fn split(cx: &mut NodeCx<'_>) -> Emitted {
    let own = cx.shape(0)?;
    let a = axis(cx.attr_int("axis", 0)?, own.len())?;
    let outputs = cx.node.outputs.len();
    let parts = match cx.ints_or_attribute(1, "split")? {
        Some(given) => given.iter().map(|&p| usize::try_from(p).unwrap_or(usize::MAX)).collect(),
        None => {
            let size = own[a].div_ceil(outputs.max(1));
            (0..outputs).map(|i| own[a].saturating_sub(i * size).min(size)).collect::<Vec<_>>()
        }
    };
    let total = parts.iter().try_fold(0_usize, |n, &p| n.checked_add(p));
    if parts.len() != outputs || total != Some(own[a]) {
        let message = format!("axis {a} of shape {own:?} in {outputs} parts of {parts:?}");
        return Err(fault(Code::ShapeMismatch, message));
    }
    let own_strides = strides(&own);
    let steps: Vec<isize> = own_strides.iter().map(|&s| s as isize).collect();
    let mut results = Vec::with_capacity(outputs);
    let mut first = 0;
    for part in parts {
        let mut shape = own.clone();
        shape[a] = part;
        let offset = (first * own_strides[a]) as isize;
        let named = shape.clone();
        results.push(view(cx, &shape, &steps, offset, named)?);
        first += part;
    }
    Ok(results)
}

/// `Gather` along one axis with constant positions.
pub(super) fn gather(cx: &mut NodeCx<'_>) -> Emitted {
    let own = cx.shape(0)?;
    let a = axis(cx.attr_int("axis", 0)?, own.len())?;
    let indices = cx.ints(1)?;
    let index_shape = cx.shape(1)?;
    let picked = indices.iter().map(|&i| axis(i, own[a])).collect::<Result<Vec<_>, _>>();
    let picked = picked.map_err(|_| {
        fault(Code::BadNode, format!("a position is outside of axis {a} of shape {own:?}"))
    })?;
    let inner: usize = own[a + 1..].iter().product();
    let outer: usize = own[..a].iter().product();
    let shape = [&own[..a], &index_shape, &own[a + 1..]].concat();
    let mut source = Vec::with_capacity(cx.count(&shape)?);
    for o in 0..outer {
        for &p in &picked {
            let first = (o * own[a] + p) * inner;
            source.extend((first..first + inner).map(|s| Some(column(s))));
        }
    }
    Ok(vec![copied(cx, shape, &source, 0.0)?])
}

/// `Expand`: broadcasting both ways.
pub(super) fn expand(cx: &mut NodeCx<'_>) -> Emitted {
    let own = cx.shape(0)?;
    let given = cx.ints(1)?;
    let wanted = given.iter().map(|&d| usize::try_from(d)).collect::<Result<Vec<_>, _>>();
    let wanted = wanted.map_err(|_| fault(Code::BadNode, format!("shape is {given:?}")))?;
    let shape = broadcast_shape(&own, &wanted)?;
    cx.count(&shape)?;
    let source = broadcast_source(&shape, &own).into_iter().map(|s| Some(column(s)));
    let source: Vec<Option<u32>> = source.collect();
    Ok(vec![copied(cx, shape, &source, 0.0)?])
}

/// `Tile`.
pub(super) fn tile(cx: &mut NodeCx<'_>) -> Emitted {
    let own = cx.shape(0)?;
    let given = cx.ints(1)?;
    let repeats: Vec<usize> = given.iter().filter_map(|&r| usize::try_from(r).ok()).collect();
    if repeats.len() != own.len() || given.len() != own.len() {
        return Err(fault(Code::BadNode, format!("repeats {given:?} for shape {own:?}")));
    }
    // Axis by axis: [repeat, length] with stride 0 over the repeats.
    let doubled: Vec<usize> = repeats.iter().zip(&own).flat_map(|(&r, &d)| [r, d]).collect();
    let steps: Vec<isize> = strides(&own).into_iter().flat_map(|s| [0, s as isize]).collect();
    let named = repeats.iter().zip(&own).map(|(&r, &d)| r.saturating_mul(d)).collect();
    Ok(vec![view(cx, &doubled, &steps, 0, named)?])
}

/// `Concat`: a sum of embeddings; constant parts go into the bias.
pub(super) fn concat(cx: &mut NodeCx<'_>) -> Emitted {
    let a = axis(cx.attr_int("axis", 0)?, cx.shape(0)?.len())?;
    joined(cx, a)
}

/// All operands, one after the other along an axis that the first one has.
pub(super) fn joined(cx: &mut NodeCx<'_>, a: usize) -> Emitted {
    let count = cx.operands.len();
    let first = cx.shape(0)?;
    let shapes = (0..count).map(|i| cx.shape(i)).collect::<Result<Vec<_>, _>>()?;
    let agrees =
        |s: &Vec<usize>| s.len() == first.len() && (0..s.len()).all(|i| i == a || s[i] == first[i]);
    if let Some(other) = shapes.iter().find(|s| !agrees(s)) {
        let message = format!("shapes {first:?} and {other:?} do not join along axis {a}");
        return Err(fault(Code::ShapeMismatch, message));
    }
    let mut shape = first.clone();
    shape[a] = shapes.iter().map(|s| s[a]).sum();
    let inner: usize = first[a + 1..].iter().product();
    let all_constant = (0..count).all(|i| matches!(cx.optional(i), Some(Operand::Constant(_))));
    let total = if all_constant { constant_elements(&shape)? } else { elements(&shape)? };
    // For every output element: which operand, and which of its elements.
    let mut origin: Vec<(usize, usize)> = Vec::new();
    for o in 0..first[..a].iter().product() {
        for (part, s) in shapes.iter().enumerate() {
            let length = s[a] * inner;
            origin.extend((o * length..(o + 1) * length).map(|p| (part, p)));
        }
    }
    let all_constant = (0..count).all(|i| matches!(cx.optional(i), Some(Operand::Constant(_))));
    if all_constant {
        let data = join(cx, count, &origin)?;
        return Ok(vec![Operand::Constant(Rc::new(Array { shape, data }))]);
    }
    let mut bias = vec![0.0; total];
    let mut terms = Vec::new();
    for part in 0..count {
        let here = |r: usize| (origin[r].0 == part).then(|| origin[r].1);
        if let Operand::Secret(x) = cx.operand(part)? {
            terms.push((x.id, SparseMatrix::gather(total, elements(&x.shape)?, here)));
        } else {
            let (_, values) = cx.weights(part)?;
            (0..total).for_each(|r| bias[r] = here(r).map_or(bias[r], |p| values[p]));
        }
    }
    Ok(vec![Operand::Secret(cx.affine(terms, Some(bias), shape))])
}

fn join(cx: &NodeCx<'_>, count: usize, origin: &[(usize, usize)]) -> Result<Data, Fault> {
    let parts = (0..count).map(|i| cx.constant(i)).collect::<Result<Vec<_>, _>>()?;
    if parts.iter().all(|p| matches!(p.data, Data::Int(_))) {
        let ints = (0..count).map(|i| cx.ints(i)).collect::<Result<Vec<_>, _>>()?;
        return Ok(Data::Int(origin.iter().map(|&(part, p)| ints[part][p]).collect()));
    }
    let floats: Vec<Vec<f64>> = parts.iter().map(|p| p.floats()).collect();
    Ok(Data::Float(origin.iter().map(|&(part, p)| floats[part][p]).collect()))
}
