//! Operators that move elements to places which constants name: the Gather and Scatter families,
//! triangles, sequences, running sums.

use heplan_ir::diagnostic::Code;
use heplan_ir::matrix::SparseMatrix;

use super::array::{Data, axis, constant_elements, elements, strides};
use super::context::{Emitted, Fault, NodeCx, Operand, column, fault, non_zeros, one};
use super::select::copied;

/// A position along an axis, counted from the end where it is negative.
fn position(given: i64, length: usize) -> Result<usize, Fault> {
    axis(given, length).map_err(|_| {
        fault(Code::BadNode, format!("position {given} on an axis of length {length}"))
    })
}

/// `GatherElements`: `y[i][j] = x[index[i][j]][j]` for axis 0, and so on.
pub(super) fn gather_elements(cx: &mut NodeCx<'_>) -> Emitted {
    let (own, shape) = (cx.shape(0)?, cx.shape(1)?);
    let along = axis(cx.attr_int("axis", 0)?, own.len())?;
    if shape.len() != own.len() {
        return Err(fault(Code::ShapeMismatch, format!("indices of shape {shape:?} for {own:?}")));
    }
    let source = element_places(&own, &shape, along, &cx.ints(1)?)?;
    let source: Vec<Option<u32>> = source.into_iter().map(|s| Some(column(s))).collect();
    cx.count(&shape)?;
    Ok(vec![copied(cx, shape, &source, 0.0)?])
}

/// For every element of the indices its place in a tensor of shape `own`.
fn element_places(
    own: &[usize],
    shape: &[usize],
    along: usize,
    indices: &[i64],
) -> Result<Vec<usize>, Fault> {
    let (steps, own_steps) = (strides(shape), strides(own));
    let fits = (0..own.len()).all(|a| a == along || shape[a] <= own[a]);
    if !fits {
        return Err(fault(Code::ShapeMismatch, format!("indices of shape {shape:?} for {own:?}")));
    }
    let place = |(r, &index): (usize, &i64)| {
        let index = position(index, own[along])?;
        let at = |a: usize| if a == along { index } else { r / steps[a] % shape[a] };
        Ok((0..own.len()).map(|a| at(a) * own_steps[a]).sum())
    };
    indices.iter().enumerate().map(place).collect()
}

/// For every index tuple the first place of the block that it names, and the length of a block.
fn tuple_places(
    own: &[usize],
    shape: &[usize],
    indices: &[i64],
    batch: usize,
) -> Result<(Vec<usize>, usize), Fault> {
    let depth = shape.last().copied().unwrap_or(0);
    if depth == 0
        || batch + depth > own.len()
        || shape.len() <= batch
        || shape[..batch] != own[..batch]
    {
        return Err(fault(Code::ShapeMismatch, format!("indices of shape {shape:?} for {own:?}")));
    }
    let steps = strides(own);
    let block: usize = own[batch + depth..].iter().product();
    let samples: usize = own[..batch].iter().product();
    let tuples = indices.len() / depth;
    let per_sample = (tuples / samples.max(1)).max(1);
    let sample: usize = own[batch..].iter().product();
    let place = |(t, tuple): (usize, &[i64])| {
        let inner = tuple
            .iter()
            .enumerate()
            .map(|(d, &i)| Ok(position(i, own[batch + d])? * steps[batch + d]));
        Ok(t / per_sample * sample + inner.sum::<Result<usize, Fault>>()?)
    };
    let places = indices.chunks_exact(depth).enumerate().map(place);
    Ok((places.collect::<Result<_, Fault>>()?, block))
}

/// `GatherND`.
pub(super) fn gather_nd(cx: &mut NodeCx<'_>) -> Emitted {
    let (own, shape) = (cx.shape(0)?, cx.shape(1)?);
    let batch = usize::try_from(cx.attr_int("batch_dims", 0)?).unwrap_or(usize::MAX);
    if batch >= shape.len().min(own.len()) {
        return Err(fault(Code::BadNode, format!("batch_dims is {batch}")));
    }
    let (places, block) = tuple_places(&own, &shape, &cx.ints(1)?, batch)?;
    let depth = shape.last().copied().unwrap_or(0);
    let named = [&shape[..shape.len() - 1], &own[batch + depth..]].concat();
    cx.count(&named)?;
    let source: Vec<Option<u32>> =
        places.iter().flat_map(|p| (*p..p + block).map(|s| Some(column(s)))).collect();
    Ok(vec![copied(cx, named, &source, 0.0)?])
}

/// `ScatterElements` and its older name `Scatter`.
pub(super) fn scatter_elements(cx: &mut NodeCx<'_>) -> Emitted {
    let (own, shape) = (cx.shape(0)?, cx.shape(1)?);
    let along = axis(cx.attr_int("axis", 0)?, own.len())?;
    if shape.len() != own.len() {
        return Err(fault(Code::ShapeMismatch, format!("indices of shape {shape:?} for {own:?}")));
    }
    let places = element_places(&own, &shape, along, &cx.ints(1)?)?;
    scattered(cx, own, &places)
}

/// `ScatterND`.
pub(super) fn scatter_nd(cx: &mut NodeCx<'_>) -> Emitted {
    let (own, shape) = (cx.shape(0)?, cx.shape(1)?);
    let (places, block) = tuple_places(&own, &shape, &cx.ints(1)?, 0)?;
    let places: Vec<usize> = places.iter().flat_map(|p| *p..p + block).collect();
    scattered(cx, own, &places)
}

/// Operand 0 with constants taken in at places by a product or an extremum.
fn reduced_by(
    cx: &mut NodeCx<'_>,
    shape: Vec<usize>,
    places: &[usize],
    reduction: &str,
) -> Emitted {
    let x = cx.operand(0)?.clone();
    let (_, updates) = cx.weights(2)?;
    if updates.len() != places.len() {
        return Err(fault(Code::ShapeMismatch, "there is not one update per position"));
    }
    let count = constant_elements(&shape)?;
    let mut taken: Vec<Option<f64>> = vec![None; count];
    for (&p, &u) in places.iter().zip(&updates) {
        taken[p] = Some(match (taken[p], reduction) {
            (None, _) => u,
            (Some(v), "mul") => v * u,
            (Some(v), "max") => v.max(u),
            (Some(v), _) => v.min(u),
        });
    }
    let neutral = if reduction == "mul" { 1.0 } else { 0.0 };
    let constants: Vec<f64> = taken.iter().map(|t| t.unwrap_or(neutral)).collect();
    let constants = super::compose::numbers(shape.clone(), constants);
    let changed = match reduction {
        "mul" => return Ok(vec![cx.times(&x, &constants)?]),
        "max" => cx.part("Max", &[&x, &constants], &[])?,
        _ => cx.part("Min", &[&x, &constants], &[])?,
    };
    let here = super::compose::truths(shape, taken.iter().map(Option::is_some).collect());
    Ok(vec![cx.part("Where", &[&here, &changed, &x], &[])?])
}

/// Operand 0 with the elements of operand 2 put in, or added, at places.
fn scattered(cx: &mut NodeCx<'_>, shape: Vec<usize>, places: &[usize]) -> Emitted {
    let adds = match cx.attr_text("reduction", "none")?.as_str() {
        "none" => false,
        "add" => true,
        reduction @ ("mul" | "max" | "min") => return reduced_by(cx, shape, places, reduction),
        other => return Err(fault(Code::BadNode, format!("reduction is {other:?}"))),
    };
    let updates: usize = cx.shape(2)?.iter().product();
    if updates != places.len() {
        return Err(fault(Code::ShapeMismatch, "there is not one update per position"));
    }
    let count = elements(&shape)?;
    // Which updates every element gets; without addition the last one counts.
    let mut taken: Vec<Vec<u32>> = vec![Vec::new(); count];
    for (u, &p) in places.iter().enumerate() {
        if !adds {
            taken[p].clear();
        }
        taken[p].push(column(u));
    }
    let mut bias = vec![0.0; count];
    let mut terms = Vec::new();
    match cx.operand(0)? {
        Operand::Secret(x) => {
            let kept = |r: usize| (adds || taken[r].is_empty()).then_some(r);
            terms.push((x.id, SparseMatrix::gather(count, count, kept)));
        }
        _ => {
            let (_, values) = cx.weights(0)?;
            let kept = (0..count).filter(|&r| adds || taken[r].is_empty());
            kept.for_each(|r| bias[r] = values[r]);
        }
    }
    match cx.operand(2)? {
        Operand::Secret(u) => {
            let matrix = SparseMatrix::from_rows(count, updates, |r, row| {
                row.extend(taken[r].iter().map(|&u| (u, 1.0)));
            });
            terms.push((u.id, matrix));
        }
        _ => {
            let (_, values) = cx.weights(2)?;
            for (b, list) in bias.iter_mut().zip(&taken) {
                *b += list.iter().map(|&u| values[u as usize]).sum::<f64>();
            }
        }
    }
    if terms.is_empty() {
        let data = Data::Float(bias);
        return super::context::known(super::array::Array { shape, data });
    }
    one(cx.affine(terms, Some(bias), shape))
}

/// `TensorScatter`: a block of a cache is overwritten, from a constant place on per sample.
pub(super) fn tensor_scatter(cx: &mut NodeCx<'_>) -> Emitted {
    let (own, update) = (cx.shape(0)?, cx.shape(1)?);
    let along = axis(cx.attr_int("axis", -2)?, own.len())?;
    let circular = match cx.attr_text("mode", "linear")?.as_str() {
        "linear" => false,
        "circular" => true,
        other => return Err(fault(Code::BadNode, format!("mode is {other:?}"))),
    };
    let starts = if cx.optional(2).is_some() { cx.ints(2)? } else { vec![0; own[0]] };
    let fits = own.len() == update.len() && along > 0 && starts.len() == own[0];
    if !fits || (0..own.len()).any(|a| a != along && own[a] != update[a]) {
        return Err(fault(Code::ShapeMismatch, format!("update of shape {update:?} for {own:?}")));
    }
    let (steps, own_steps) = (strides(&update), strides(&own));
    let mut places = Vec::new();
    for r in 0..update.iter().product() {
        let mut place = 0;
        for a in 0..own.len() {
            let mut at = r / steps[a] % update[a];
            if a == along {
                let start = usize::try_from(starts[r / steps[0]]).unwrap_or(usize::MAX);
                at = at.saturating_add(start);
                at = if circular { at % own[a] } else { at };
                if at >= own[a] {
                    return Err(fault(Code::BadNode, "an update lies outside of the cache"));
                }
            }
            place += at * own_steps[a];
        }
        places.push(place);
    }
    // The update stands where `scattered` looks for it.
    let operands = vec![cx.operands[0].clone(), None, cx.operands[1].clone()];
    cx.operands = operands;
    scattered(cx, own, &places)
}

/// `Compress` with a constant condition.
pub(super) fn compress(cx: &mut NodeCx<'_>) -> Emitted {
    let condition = cx.constant(1)?;
    let Data::Bool(chosen) = &condition.data else {
        return Err(fault(Code::BadNode, format!("condition is {}", condition.data.kind())));
    };
    let mut own = cx.shape(0)?;
    let along = match cx.node.attributes.get("axis") {
        Some(_) => axis(cx.attr_int("axis", 0)?, own.len())?,
        None => {
            own = vec![own.iter().product()];
            0
        }
    };
    let kept: Vec<usize> = (0..own[along]).filter(|&i| chosen.get(i) == Some(&true)).collect();
    let inner: usize = own[along + 1..].iter().product();
    let outer: usize = own[..along].iter().product();
    let mut shape = own.clone();
    shape[along] = kept.len();
    cx.count(&shape)?;
    let block = |o: usize, k: usize| (o * own[along] + k) * inner;
    let source: Vec<Option<u32>> = (0..outer)
        .flat_map(|o| kept.iter().flat_map(move |&k| block(o, k)..block(o, k) + inner))
        .map(|s| Some(column(s)))
        .collect();
    Ok(vec![copied(cx, shape, &source, 0.0)?])
}

/// `CumSum` along a constant axis.
pub(super) fn cumulative_sum(cx: &mut NodeCx<'_>) -> Emitted {
    let x = cx.secret(0)?;
    let given = cx.ints(1)?;
    let along = axis(given.first().copied().unwrap_or(0), x.shape.len())?;
    let (exclusive, reverse) = (cx.attr_int("exclusive", 0)? != 0, cx.attr_int("reverse", 0)? != 0);
    let (length, step) = (x.shape[along], strides(&x.shape)[along]);
    let shape = x.shape.clone();
    one(cx.matrix(&x, shape, length, None, |r, row| {
        let at = r / step % length;
        let here = |p: usize| column(r - at * step + p * step);
        let taken = |p: &usize| {
            let before = if reverse { *p > at } else { *p < at };
            before || *p == at && !exclusive
        };
        row.extend((0..length).filter(taken).map(|p| (here(p), 1.0)));
    })?)
}

/// `CumProd` along a constant axis, by doubling: the depth is the logarithm of the length.
pub(super) fn cumulative_product(cx: &mut NodeCx<'_>) -> Emitted {
    let x = cx.secret(0)?;
    let given = cx.ints(1)?;
    let along = axis(given.first().copied().unwrap_or(0), x.shape.len())?;
    let (exclusive, reverse) = (cx.attr_int("exclusive", 0)? != 0, cx.attr_int("reverse", 0)? != 0);
    let (length, step) = (x.shape[along], strides(&x.shape)[along]);
    let count = elements(&x.shape)?;
    let shape = x.shape.clone();
    // Every element is the one `by` places before it, or behind it in reverse, and 1 at the end.
    let shifted = |by: usize| -> Vec<Option<u32>> {
        let source = |r: usize| {
            let at = r / step % length;
            let from =
                if reverse { Some(at + by).filter(|f| *f < length) } else { at.checked_sub(by) };
            from.map(|f| column(r - at * step + f * step))
        };
        (0..count).map(source).collect()
    };
    let mut y = x;
    if exclusive {
        y = cx.gather(&y, shape.clone(), &shifted(1), 1.0)?;
    }
    let mut by = 1;
    while by < length {
        let before = cx.gather(&y, shape.clone(), &shifted(by), 1.0)?;
        y = cx.product(&y, &before);
        by *= 2;
    }
    one(y)
}

/// `Trilu`: zero above or below a diagonal.
pub(super) fn triangle(cx: &mut NodeCx<'_>) -> Emitted {
    let shape = cx.shape(0)?;
    let &[.., rows, cols] = shape.as_slice() else {
        return Err(fault(
            Code::ShapeMismatch,
            format!("input of shape {shape:?}, expected matrices"),
        ));
    };
    let k = if cx.optional(1).is_some() { cx.ints(1)?.first().copied().unwrap_or(0) } else { 0 };
    let upper = cx.attr_int("upper", 1)? != 0;
    let count = cx.count(&shape)?;
    let kept = |r: usize| {
        let (row, col) = ((r / cols % rows) as i64, (r % cols) as i64);
        let shifted = col.saturating_sub(row);
        if upper { shifted >= k } else { shifted <= k }
    };
    let source: Vec<Option<u32>> = (0..count).map(|r| kept(r).then(|| column(r))).collect();
    Ok(vec![copied(cx, shape, &source, 0.0)?])
}

/// `CenterCropPad`: the middle of every axis, or zeros around it.
pub(super) fn center_crop_pad(cx: &mut NodeCx<'_>) -> Emitted {
    let own = cx.shape(0)?;
    let wanted = cx.ints(1)?;
    let along: Vec<usize> = match cx.attr_ints("axes")? {
        Some(given) => given.iter().map(|&a| axis(a, own.len())).collect::<Result<_, _>>()?,
        None => (0..own.len()).collect(),
    };
    if along.len() != wanted.len() {
        return Err(fault(Code::BadNode, "shape has not one number per axis"));
    }
    let mut shape = own.clone();
    let mut shift = vec![0_i64; own.len()];
    for (&a, &w) in along.iter().zip(&wanted) {
        shape[a] = usize::try_from(w).map_err(|_| fault(Code::BadNode, format!("shape is {w}")))?;
        let (old, new) = (own[a] as i64, w);
        shift[a] = if new >= old { -((new - old) / 2) } else { (old - new) / 2 };
    }
    let count = cx.count(&shape)?;
    let (steps, own_steps) = (strides(&shape), strides(&own));
    let source: Vec<Option<u32>> = (0..count)
        .map(|r| {
            let at = |a: usize| {
                let place = (r / steps[a] % shape[a]) as i64 + shift[a];
                usize::try_from(place).ok().filter(|&p| p < own[a]).map(|p| p * own_steps[a])
            };
            (0..own.len()).map(at).sum::<Option<usize>>().map(column)
        })
        .collect();
    Ok(vec![copied(cx, shape, &source, 0.0)?])
}

/// `ReverseSequence`: the first elements of every sequence turned round.
pub(super) fn reverse_sequence(cx: &mut NodeCx<'_>) -> Emitted {
    let own = cx.shape(0)?;
    let (time, batch) = (
        axis(cx.attr_int("time_axis", 0)?, own.len())?,
        axis(cx.attr_int("batch_axis", 1)?, own.len())?,
    );
    let given = cx.ints(1)?;
    let length =
        |b: usize| given.get(b).and_then(|&l| usize::try_from(l).ok()).filter(|&l| l <= own[time]);
    if (0..own[batch]).any(|b| length(b).is_none()) {
        return Err(fault(Code::BadNode, format!("sequence_lens is {given:?}")));
    }
    let steps = strides(&own);
    let count = cx.count(&own)?;
    let source: Vec<Option<u32>> = (0..count)
        .map(|r| {
            let (t, b) = (r / steps[time] % own[time], r / steps[batch] % own[batch]);
            let turned = length(b).filter(|&l| t < l).map_or(t, |l| l - 1 - t);
            Some(column(r - t * steps[time] + turned * steps[time]))
        })
        .collect();
    Ok(vec![copied(cx, own, &source, 0.0)?])
}

/// `Col2Im`: columns of blocks added up into an image.
pub(super) fn columns_to_image(cx: &mut NodeCx<'_>) -> Emitted {
    let x = cx.secret(0)?;
    let (image, block) = (positive(&cx.ints(1)?)?, positive(&cx.ints(2)?)?);
    let rank = image.len();
    let strides_of = super::window::lengths(cx, "strides", rank)?;
    let dilations = super::window::lengths(cx, "dilations", rank)?;
    let pads = cx.attr_ints("pads")?.unwrap_or_else(|| vec![0; 2 * rank]);
    super::window::check_pads(&pads, rank)?;
    let volume: usize = block.iter().product();
    let &[batch, rows, cols] = x.shape.as_slice() else {
        return Err(fault(Code::ShapeMismatch, format!("input of shape {:?}", x.shape)));
    };
    let blocks: Option<Vec<usize>> = (0..rank)
        .map(|a| {
            let padded = image[a] as i64 + pads[a] + pads[rank + a];
            let reach = (dilations[a] * (block.get(a)? - 1) + 1) as i64;
            usize::try_from(padded - reach).ok().map(|room| room / strides_of[a] + 1)
        })
        .collect();
    let blocks = blocks.filter(|b| b.iter().product::<usize>() == cols && rows % volume == 0);
    let blocks = blocks.ok_or_else(|| {
        fault(Code::ShapeMismatch, format!("columns of shape {:?} for an image {image:?}", x.shape))
    })?;
    let channels = rows / volume;
    let shape = [vec![batch, channels], image.clone()].concat();
    let count = constant_elements(&shape)?;
    non_zeros(elements(&x.shape)?, 1)?;
    let plane: usize = image.iter().product();
    let (image_steps, block_steps, grid_steps) =
        (strides(&image), strides(&block), strides(&blocks));
    let mut taken: Vec<Vec<u32>> = vec![Vec::new(); count];
    for e in 0..elements(&x.shape)? {
        let (n, row, col) = (e / (rows * cols), e / cols % rows, e % cols);
        let (channel, tap) = (row / volume, row % volume);
        let mut place = Some(0);
        for a in 0..rank {
            let at = (col / grid_steps[a] % blocks[a] * strides_of[a]
                + tap / block_steps[a] % block[a] * dilations[a]) as i64
                - pads[a];
            let here = usize::try_from(at).ok().filter(|&p| p < image[a]);
            place = place.zip(here).map(|(p, h)| p + h * image_steps[a]);
        }
        if let Some(p) = place {
            taken[(n * channels + channel) * plane + p].push(column(e));
        }
    }
    one(cx
        .matrix(&x, shape, volume, None, |r, row| row.extend(taken[r].iter().map(|&e| (e, 1.0))))?)
}

fn positive(given: &[i64]) -> Result<Vec<usize>, Fault> {
    given
        .iter()
        .map(|&v| usize::try_from(v).ok().filter(|v| (1..=1 << 24).contains(v)))
        .collect::<Option<_>>()
        .ok_or_else(|| fault(Code::BadNode, format!("lengths are {given:?}")))
}
