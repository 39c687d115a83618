//! `Attention` (opset 23): `softmax(cap(Q·Kᵀ·scale) + bias)·V` per head, and `RotaryEmbedding`.
//!
//! Masks are known while compiling: what they forbid gets an addend of minus infinity, which the
//! softmax takes as absence.

use heplan_ir::diagnostic::Code;
use heplan_onnx::AttributeValue;

use super::array::{Data, broadcast_source};
use super::compose::{int, integers, lengths, number, numbers};
use super::context::{Emitted, Fault, NodeCx, Operand, fault, fault_help};

/// Lengths of a problem.
#[derive(Clone, Copy)]
struct Sizes {
    batch: usize,
    heads: usize,
    queries: usize,
    keys: usize,
    /// Keys that came before this block of queries.
    past: usize,
}

/// `Attention`: the result, the keys and values with those of the past in front, and the scores.
pub(super) fn attention(cx: &mut NodeCx<'_>) -> Emitted {
    let flat = cx.shape(0)?.len() == 3;
    let (q_heads, kv_heads) = (cx.attr_int("q_num_heads", 0)?, cx.attr_int("kv_num_heads", 0)?);
    let q = heads(cx, 0, flat, q_heads)?;
    let k = heads(cx, 1, flat, kv_heads)?;
    let v = heads(cx, 2, flat, kv_heads)?;
    let past = match cx.optional(4) {
        Some(_) => *cx.shape(4)?.get(2).ok_or_else(|| bad("past_key has no axis 2"))?,
        None => 0,
    };
    let k = joined(cx, 4, k)?;
    let v = joined(cx, 5, v)?;
    let (q_shape, k_shape) = (four(cx, &q)?, four(cx, &k)?);
    let [batch, heads, queries, width] = q_shape;
    let sizes = Sizes { batch, heads, queries, keys: k_shape[2], past };
    let scale = cx.attr_float("scale", 1.0 / (width as f64).sqrt())?;
    let (all_k, all_v) = (repeated(cx, &k, heads)?, repeated(cx, &v, heads)?);
    let scaled = cx.times(&q, &number(scale))?;
    let turned =
        cx.part("Transpose", &[&all_k], &[("perm", AttributeValue::Ints(vec![0, 1, 3, 2]))])?;
    let raw = cx.part("MatMul", &[&scaled, &turned], &[])?;
    let cap = cx.attr_float("softcap", 0.0)?;
    let capped = if cap > 0.0 {
        let small = cx.times(&raw, &number(1.0 / cap))?;
        let bent = cx.part("Tanh", &[&small], &[])?;
        cx.times(&bent, &number(cap))?
    } else {
        raw.clone()
    };
    let biased = biased(cx, &capped, sizes)?;
    let shares = cx.part("Softmax", &[&biased], &[("axis", int(-1))])?;
    let y = cx.part("MatMul", &[&shares, &all_v], &[])?;
    let y = if flat {
        let turned =
            cx.part("Transpose", &[&y], &[("perm", AttributeValue::Ints(vec![0, 2, 1, 3]))])?;
        cx.part("Reshape", &[&turned, &integers(&[batch as i64, queries as i64, -1])], &[])?
    } else {
        y
    };
    let scores = match cx.attr_int("qk_matmul_output_mode", 0)? {
        0 => raw,
        1 => capped,
        2 => biased,
        3 => shares,
        other => return Err(bad(&format!("qk_matmul_output_mode is {other}"))),
    };
    Ok(vec![y, k, v, scores])
}

fn bad(what: &str) -> Fault {
    fault(Code::BadNode, what.to_owned())
}

fn four(cx: &NodeCx<'_>, x: &Operand) -> Result<[usize; 4], Fault> {
    let shape = cx.shape_of(x)?;
    <[usize; 4]>::try_from(shape.as_slice()).map_err(|_| {
        fault(Code::ShapeMismatch, format!("an operand of shape {shape:?}, expected 4 axes"))
    })
}

/// An operand as `[batch, head, position, width]`.
fn heads(cx: &mut NodeCx<'_>, index: usize, flat: bool, count: i64) -> Result<Operand, Fault> {
    let x = cx.operand(index)?.clone();
    if !flat {
        return Ok(x);
    }
    let shape = cx.shape_of(&x)?;
    let count = usize::try_from(count).ok().filter(|&c| c > 0);
    let (&[batch, length, hidden], Some(count)) = (shape.as_slice(), count) else {
        return Err(bad("operands of rank 3 need q_num_heads and kv_num_heads"));
    };
    let split = cx.shaped(&x, &[batch, length, count, hidden / count])?;
    cx.part("Transpose", &[&split], &[("perm", AttributeValue::Ints(vec![0, 2, 1, 3]))])
}

/// The cache in front of the block, where there is one.
fn joined(cx: &mut NodeCx<'_>, index: usize, block: Operand) -> Result<Operand, Fault> {
    match cx.optional(index).cloned() {
        Some(past) => cx.part("Concat", &[&past, &block], &[("axis", int(2))]),
        None => Ok(block),
    }
}

/// Every head of keys or values as often as queries share it.
fn repeated(cx: &mut NodeCx<'_>, x: &Operand, heads: usize) -> Result<Operand, Fault> {
    let own = four(cx, x)?[1];
    if own == heads {
        return Ok(x.clone());
    }
    if own == 0 || !heads.is_multiple_of(own) {
        return Err(bad(&format!("{heads} heads of queries share {own} heads of keys")));
    }
    let source: Vec<i64> = (0..heads).map(|h| (h / (heads / own)) as i64).collect();
    cx.part("Gather", &[x, &integers(&source)], &[("axis", int(1))])
}

/// The scores with masks added.
fn biased(cx: &mut NodeCx<'_>, scores: &Operand, sizes: Sizes) -> Result<Operand, Fault> {
    let Sizes { batch, heads, queries, keys, past } = sizes;
    let shape = vec![batch, heads, queries, keys];
    let mut bias = vec![0.0; batch * heads * queries * keys];
    let padded: Option<Vec<i64>> = cx.optional(6).map(|_| cx.ints(6)).transpose()?;
    if padded.as_ref().is_some_and(|p| p.len() != batch) {
        return Err(bad("nonpad_kv_seqlen has not one number per sample"));
    }
    let causal = cx.attr_int("is_causal", 0)? != 0;
    let (left, right) =
        (cx.attr_int("left_window_size", -1)?, cx.attr_int("right_window_size", -1)?);
    for (r, b) in bias.iter_mut().enumerate() {
        let (key, query) = ((r % keys) as i64, (r / keys % queries) as i64);
        let sample = r / (keys * queries * heads);
        let offset = match &padded {
            Some(p) if past == 0 => p[sample] - queries as i64,
            _ => past as i64,
        };
        let place = query + offset;
        let hidden = causal && key > place
            || left >= 0 && key < place - left
            || right >= 0 && key > place + right
            || padded.as_ref().is_some_and(|p| key >= p[sample]);
        if hidden {
            *b = f64::NEG_INFINITY;
        }
    }
    let mut scores = scores.clone();
    match cx.optional(3).cloned() {
        None => {}
        Some(Operand::Constant(mask)) => {
            let mut own = mask.shape.clone();
            let length = own.last().copied().unwrap_or(1);
            let fits = own.len() <= 4 && (length == 1 || length <= keys);
            if !fits {
                return Err(bad(&format!("attn_mask of shape {own:?}")));
            }
            if let Some(last) = own.last_mut().filter(|l| **l > 1) {
                *last = keys;
            }
            let joint = super::array::broadcast_shape(&shape, &own)?;
            if joint != shape {
                return Err(bad(&format!("attn_mask of shape {:?}", mask.shape)));
            }
            let values: Vec<f64> = match &mask.data {
                Data::Bool(v) => {
                    v.iter().map(|&t| if t { 0.0 } else { f64::NEG_INFINITY }).collect()
                }
                _ => mask.floats(),
            };
            let wide = own.last().copied().unwrap_or(1);
            for (b, source) in bias.iter_mut().zip(broadcast_source(&shape, &own)) {
                let (row, at) = (source / wide, source % wide);
                *b += if at < length { values[row * length + at] } else { f64::NEG_INFINITY };
            }
        }
        Some(mask) => scores = cx.plus(&scores, &mask)?,
    }
    if bias.iter().all(|&b| b == 0.0) {
        return Ok(scores);
    }
    cx.plus(&scores, &numbers(shape, bias))
}

/// `RotaryEmbedding`: pairs of features turned by constant angles.
pub(super) fn rotary(cx: &mut NodeCx<'_>) -> Emitted {
    let shape = cx.shape(0)?;
    let flat = shape.len() == 3;
    let x = heads(cx, 0, flat, cx.attr_int("num_heads", 0)?)?;
    let [batch, heads, length, width] = four(cx, &x)?;
    let turned = match cx.attr_int("rotary_embedding_dim", 0)? {
        0 => width,
        given => usize::try_from(given)
            .ok()
            .filter(|&g| g <= width && g % 2 == 0)
            .ok_or_else(|| bad(&format!("rotary_embedding_dim is {given}")))?,
    };
    let (cos, sin) =
        (angles(cx, 1, batch, length, turned / 2)?, angles(cx, 2, batch, length, turned / 2)?);
    let interleaved = cx.attr_int("interleaved", 0)? != 0;
    let half = turned / 2;
    let x = match &x {
        Operand::Secret(x) => x.clone(),
        _ => return Err(fault_help(Code::UnsupportedMode, "input 0 is a constant", "fold it")),
    };
    let y = cx.matrix(&x, vec![batch, heads, length, width], 2, None, |r, row| {
        let (at, feature) = (r - r % width, r % width);
        if feature >= turned {
            row.push((super::context::column(r), 1.0));
            return;
        }
        // The pair of this feature, and whether this is its second half.
        let (pair, second) = if interleaved {
            (feature / 2, feature % 2 == 1)
        } else {
            (feature % half, feature >= half)
        };
        let place = |second: bool| {
            let f = if interleaved {
                2 * pair + usize::from(second)
            } else {
                pair + half * usize::from(second)
            };
            super::context::column(at + f)
        };
        let sample = r / (width * length * heads);
        let angle = (sample * length + r / width % length) * half + pair;
        let (c, s) = (cos[angle], sin[angle]);
        row.extend(if second {
            [(place(false), s), (place(true), c)]
        } else {
            [(place(false), c), (place(true), -s)]
        });
    })?;
    let y = Operand::Secret(y);
    if !flat {
        return Ok(vec![y]);
    }
    let y = cx.part("Transpose", &[&y], &[("perm", AttributeValue::Ints(vec![0, 2, 1, 3]))])?;
    Ok(vec![cx.part("Reshape", &[&y, &lengths(&shape)], &[])?])
}

/// Cosines or sines as `[batch, position, pair]`: given so, or as a table that positions index.
fn angles(
    cx: &NodeCx<'_>,
    index: usize,
    batch: usize,
    length: usize,
    pairs: usize,
) -> Result<Vec<f64>, Fault> {
    let (shape, values) = cx.weights(index)?;
    let wrong = || fault(Code::ShapeMismatch, format!("input {index} of shape {shape:?}"));
    if shape.last() != Some(&pairs) {
        return Err(wrong());
    }
    if cx.optional(3).is_none() {
        return if values.len() == batch * length * pairs { Ok(values) } else { Err(wrong()) };
    }
    let positions = cx.ints(3)?;
    if positions.len() != batch * length {
        return Err(bad("position_ids has not one number per position"));
    }
    let mut out = Vec::with_capacity(batch * length * pairs);
    for p in positions {
        let first = usize::try_from(p).ok().and_then(|p| p.checked_mul(pairs));
        let row = first.and_then(|f| values.get(f..f + pairs)).ok_or_else(wrong)?;
        out.extend_from_slice(row);
    }
    Ok(out)
}
