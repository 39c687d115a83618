//! Sums of exponentials and quotients by them: `Softmax`, `LogSoftmax`, `ReduceLogSumExp`, and the
//! forms in which exporters write them out.
//!
//! Exponents are centred by the mean of their group, which is one matrix. Softmax does not change,
//! and the sum of `n` exponentials is then at least `n` (the exponential is convex), so that its
//! reciprocal and its logarithm keep away from their singularity whatever the data is.
//! Whatever is the same for all elements of a group, such as the maximum that exporters subtract,
//! drops out and is not computed.
//! An addend of minus infinity is a mask, and so is one far below another of its group, such as the
//! -10000 that exporters add: the element takes no part and gets zero.

use heplan_ir::diagnostic::Code;
use heplan_ir::entity::ValueId;
use heplan_ir::function::Function;
use heplan_ir::matrix::SparseMatrix;
use heplan_ir::tensor::{Graph, Op};

use super::array::{axis, elements};
use super::compose::{Groups, lengths};
use super::context::{
    Emitted, Fault, NodeCx, Operand, Secret, column, fault_help, known, non_zeros, one,
};

/// What is added to an element that takes no part: this or less.
pub(super) const MASK: f64 = -1e30;

/// An element whose addend is so far below another one of its group takes no part either: its
/// exponential is zero unless the data spans thousands, of which no exponential has a polynomial.
const APART: f64 = 5e3;

/// Whether some addends of a bias are masks for others.
pub(super) fn has_masks(bias: &[f64]) -> bool {
    let (low, high) =
        bias.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), &v| (v.min(l), v.max(h)));
    low <= MASK || high - low >= APART
}

/// For every element whether its addend is a mask.
fn masked(bias: &[f64], groups: &Groups) -> Vec<bool> {
    let mut masked: Vec<bool> = bias.iter().map(|&v| v <= MASK).collect();
    for members in &groups.members {
        let of = |&e: &u32| bias[e as usize];
        let top = members.iter().map(of).fold(f64::NEG_INFINITY, f64::max);
        members.iter().for_each(|e| masked[*e as usize] |= of(e) <= top - APART);
    }
    masked
}

/// Centred exponents and the sum of their exponentials.
struct Exponentials {
    centred: Secret,
    exponentials: Secret,
    sums: Secret,
    groups: Groups,
    /// Terms that were dropped, since they are the same throughout a group.
    dropped: Vec<(ValueId, SparseMatrix)>,
    /// The exponents without these.
    rest: Secret,
}

/// Whether a matrix has the same row for all elements of every group.
fn is_uniform(matrix: &SparseMatrix, groups: &Groups) -> bool {
    let row = |r: u32| {
        let r = r as usize;
        let span = matrix.start[r]..matrix.start[r + 1];
        (&matrix.col[span.clone()], &matrix.val[span])
    };
    groups.members.iter().all(|list| list[1..].iter().all(|&e| row(e) == row(list[0])))
}

/// `x` without masked elements, and without terms that are the same throughout a group.
fn prepared(
    cx: &mut NodeCx<'_>,
    x: &Secret,
    groups: &Groups,
) -> (Secret, Groups, Vec<(ValueId, SparseMatrix)>) {
    let Op::Affine { terms, bias } = cx.graph.value(x.id).op.clone() else {
        return (x.clone(), groups.clone(), Vec::new());
    };
    let consts = &cx.graph.consts;
    let bias = bias.map(|b| consts.vector(b).to_vec());
    let masked = bias.as_ref().map_or_else(Vec::new, |b| masked(b, groups));
    let own = if masked.contains(&true) {
        let key = |(e, g): (usize, &Option<u32>)| (!masked[e]).then_some(*g)?.map(|g| g as usize);
        Groups::by_key(&groups.of.iter().enumerate().map(key).collect::<Vec<_>>())
    } else {
        groups.clone()
    };
    let (dropped, kept): (Vec<_>, Vec<_>) = terms
        .iter()
        .map(|&(id, m)| (id, (**consts.matrix(m)).clone()))
        .partition(|(_, m)| is_uniform(m, &own));
    // A tensor that nothing depends on any more stays as it is.
    let (dropped, kept) = if kept.is_empty() { (Vec::new(), dropped) } else { (dropped, kept) };
    if dropped.is_empty() && own.members.len() == groups.members.len() && own.of == groups.of {
        return (x.clone(), own, dropped);
    }
    let clean = bias
        .map(|b| b.iter().zip(&masked).map(|(&v, masked)| if *masked { 0.0 } else { v }).collect());
    let rest = cx.affine(kept, clean, x.shape.clone());
    (rest, own, dropped)
}

fn exponentials(cx: &mut NodeCx<'_>, x: &Secret, groups: &Groups) -> Result<Exponentials, Fault> {
    let (rest, groups, dropped) = prepared(cx, x, groups);
    let largest = groups.members.iter().map(Vec::len).max().unwrap_or(0);
    let centred = cx.matrix(&rest, x.shape.clone(), largest, None, |r, row| {
        let Some(g) = groups.of[r] else { return };
        let members = &groups.members[g as usize];
        let share = 1.0 / members.len() as f64;
        row.extend(members.iter().map(|&m| (m, -share)));
        row.push((column(r), 1.0));
    })?;
    let exponentials = cx.function(&centred, Function::Exp);
    let sums =
        cx.matrix(&exponentials, vec![1, groups.members.len()], largest, None, |g, row| {
            row.extend(groups.members[g].iter().map(|&m| (m, 1.0)));
        })?;
    Ok(Exponentials { centred, exponentials, sums, groups, dropped, rest })
}

/// The matrix that gives every element the value of its group.
fn spread(groups: &Groups) -> SparseMatrix {
    SparseMatrix::gather(groups.of.len(), groups.members.len(), |e| {
        groups.of[e].map(|g| g as usize)
    })
}

/// `exp(x) / Σ exp(x)` within every group; zero where an element is in none.
pub(super) fn of_groups(
    cx: &mut NodeCx<'_>,
    x: &Secret,
    groups: &Groups,
) -> Result<Operand, Fault> {
    if let Some(shares) = independent(cx, x, groups) {
        return Ok(super::compose::numbers(x.shape.clone(), shares));
    }
    let e = exponentials(cx, x, groups)?;
    let inverse = cx.function(&e.sums, Function::Reciprocal);
    let everywhere = cx.affine(vec![(inverse.id, spread(&e.groups))], None, x.shape.clone());
    Ok(Operand::Secret(cx.product(&e.exponentials, &everywhere)))
}

/// The softmax of a tensor whose elements differ within a group by constants only.
fn independent(cx: &NodeCx<'_>, x: &Secret, groups: &Groups) -> Option<Vec<f64>> {
    let Op::Affine { terms, bias } = &cx.graph.value(x.id).op else { return None };
    let consts = &cx.graph.consts;
    if !terms.iter().all(|t| is_uniform(consts.matrix(t.1), groups)) {
        return None;
    }
    let mut shares = vec![0.0; groups.of.len()];
    let bias = bias.map_or_else(|| shares.clone(), |b| consts.vector(b).to_vec());
    for list in &groups.members {
        let at = |e: &u32| bias[*e as usize];
        let top = list.iter().map(at).fold(f64::NEG_INFINITY, f64::max);
        if top > MASK {
            let sum: f64 = list.iter().map(|e| (at(e) - top).exp()).sum();
            list.iter().for_each(|e| shares[*e as usize] = (at(e) - top).exp() / sum);
        }
    }
    Some(shares)
}

/// `x - log Σ exp(x)` within every group.
fn log_softmax(cx: &mut NodeCx<'_>, x: &Secret, groups: &Groups) -> Result<Secret, Fault> {
    let e = exponentials(cx, x, groups)?;
    if e.groups.of.iter().zip(&groups.of).any(|(own, all)| own.is_none() && all.is_some()) {
        let message = "the logarithm of a masked element has no bound";
        let help = "use Softmax, or leave the masked elements out";
        return Err(fault_help(Code::UnsupportedMode, message, help));
    }
    let log = cx.function(&e.sums, Function::Log);
    let minus = spread(&e.groups).scale_rows(&vec![-1.0; groups.of.len()]);
    let identity = SparseMatrix::identity(groups.of.len());
    Ok(cx.affine(vec![(e.centred.id, identity), (log.id, minus)], None, x.shape.clone()))
}

/// `log Σ exp(x)` of every group, one number each.
pub(super) fn log_sum_exp(
    cx: &mut NodeCx<'_>,
    x: &Secret,
    groups: &Groups,
) -> Result<Secret, Fault> {
    let e = exponentials(cx, x, groups)?;
    let log = cx.function(&e.sums, Function::Log);
    let count = e.groups.members.len();
    let mean = SparseMatrix::from_rows(count, e.groups.of.len(), |g, row| {
        let members = &e.groups.members[g];
        row.extend(members.iter().map(|&m| (m, 1.0 / members.len() as f64)));
    });
    let mut terms = vec![(log.id, SparseMatrix::identity(count)), (e.rest.id, mean)];
    for (id, matrix) in e.dropped {
        let first = |g: usize| e.groups.members[g][0] as usize;
        let reduced = SparseMatrix::from_rows(count, matrix.cols, |g, row| {
            row.extend(matrix.row(first(g)).map(|(c, v)| (column(c), v)));
        });
        terms.push((id, reduced));
    }
    Ok(cx.affine(terms, None, vec![1, count]))
}

/// `Softmax`: along one axis since opset 13, over all axes from `axis` on before.
pub(super) fn softmax(cx: &mut NodeCx<'_>) -> Emitted {
    quotient(cx, false)
}

/// `LogSoftmax`, with the axes of `Softmax`.
pub(super) fn log(cx: &mut NodeCx<'_>) -> Emitted {
    quotient(cx, true)
}

fn quotient(cx: &mut NodeCx<'_>, log: bool) -> Emitted {
    let shape = cx.shape(0)?;
    let default = if cx.opset < 13 { 1 } else { -1 };
    let given = cx.attr_int("axis", default)?;
    // Before opset 13 the axis may be the rank: every element is a group.
    let past = cx.opset < 13 && given == shape.len() as i64;
    let along = if past { shape.len() } else { axis(given, shape.len())? };
    let last = if cx.opset < 13 { shape.len() } else { along + 1 };
    if let Operand::Constant(_) = cx.operand(0)? {
        return constant(cx, along, last, log);
    }
    let x = cx.secret(0)?;
    let inner: usize = shape[last..].iter().product();
    let length: usize = shape[along..last].iter().product();
    let count = elements(&shape)?;
    non_zeros(count, length)?;
    let key = |e: usize| Some(e / (inner * length) * inner + e % inner);
    let groups = Groups::by_key(&(0..count).map(key).collect::<Vec<_>>());
    if log { one(log_softmax(cx, &x, &groups)?) } else { Ok(vec![of_groups(cx, &x, &groups)?]) }
}

fn constant(cx: &mut NodeCx<'_>, along: usize, last: usize, log: bool) -> Emitted {
    let x = cx.operand(0)?.clone();
    let axes = lengths(&(along..last).collect::<Vec<_>>());
    let top = cx.part("ReduceMax", &[&x, &axes], &[])?;
    let shifted = cx.minus(&x, &top)?;
    let powers = cx.part("Exp", &[&shifted], &[])?;
    let sum = cx.part("ReduceSum", &[&powers, &axes], &[])?;
    let y = if log {
        let log = cx.part("Log", &[&sum], &[])?;
        cx.minus(&shifted, &log)?
    } else {
        cx.part("Div", &[&powers, &sum], &[])?
    };
    match y {
        Operand::Constant(c) => known((*c).clone()),
        other => Ok(vec![other]),
    }
}

/// The exponents and groups for which `id` is a sum of exponentials: `id = Σ exp(u)`.
fn sum_of_exponentials(graph: &Graph, id: ValueId) -> Option<(Secret, Groups)> {
    let Op::Affine { terms, bias: None } = &graph.value(id).op else { return None };
    let [(e, matrix)] = terms.as_slice() else { return None };
    let Op::Function { x: u, function: Function::Exp } = &graph.value(*e).op else { return None };
    let matrix = graph.consts.matrix(*matrix);
    let mut keys = vec![None; matrix.cols];
    for (row, column, value) in matrix.entries() {
        if value != 1.0 || keys[column].is_some() {
            return None;
        }
        keys[column] = Some(row);
    }
    let whole = (0..matrix.rows).all(|r| matrix.start[r + 1] > matrix.start[r]);
    let x = Secret { id: *u, shape: graph.value(*u).shape.clone() };
    whole.then(|| (x, Groups::by_key(&keys)))
}

/// `log(x)`, in the stable form where `x` is a sum of exponentials.
pub(super) fn logarithm(cx: &mut NodeCx<'_>, x: &Secret) -> Result<Secret, Fault> {
    match sum_of_exponentials(cx.graph, x.id) {
        Some((u, groups)) => {
            let y = log_sum_exp(cx, &u, &groups)?;
            Ok(cx.reshape(y, x.shape.clone()))
        }
        None => Ok(cx.function(x, Function::Log)),
    }
}

/// `a/b`, if that is a softmax written out: `exp(u) / Σ exp(u)`, the sum spread over its group.
pub(super) fn written_out(
    cx: &mut NodeCx<'_>,
    a: &Secret,
    b: &Secret,
    shape: &[usize],
) -> Result<Option<Operand>, Fault> {
    let Op::Function { x: u, function: Function::Exp } = &cx.graph.value(a.id).op else {
        return Ok(None);
    };
    let u = *u;
    if a.shape != shape {
        return Ok(None);
    }
    let mut source = super::array::broadcast_source(shape, &b.shape);
    let mut at = b.id;
    // Broadcasting and reshaping copy the sums.
    let found = loop {
        if let Some(found) = sum_of_exponentials(cx.graph, at) {
            break found;
        }
        let Op::Affine { terms, bias: None } = &cx.graph.value(at).op else { return Ok(None) };
        let [(x, matrix)] = terms.as_slice() else { return Ok(None) };
        let matrix = cx.graph.consts.matrix(*matrix);
        let copies = matrix.nnz() == matrix.rows
            && (0..matrix.rows).all(|r| matrix.start[r] == r)
            && matrix.val.iter().all(|&v| v == 1.0);
        if !copies {
            return Ok(None);
        }
        source.iter_mut().for_each(|s| *s = matrix.col[*s] as usize);
        at = *x;
    };
    let (exponents, groups) = found;
    let own = |(e, g): (usize, &Option<u32>)| *g == Some(column(source[e]));
    if exponents.id != u || !groups.of.iter().enumerate().all(own) {
        return Ok(None);
    }
    let x = Secret { id: u, shape: shape.to_vec() };
    of_groups(cx, &x, &groups).map(Some)
}
