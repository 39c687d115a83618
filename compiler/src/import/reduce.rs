//! Reductions over axes: sums and means are one matrix, sums of squares one product more, products
//! and extrema a tree of them.

use std::rc::Rc;

use heplan_ir::diagnostic::Code;
use heplan_ir::function::Function;
use heplan_ir::matrix::SparseMatrix;

use super::array::{Array, Data, axes, elements, strided, strides};
use super::context::{Emitted, Fault, NodeCx, Operand, Secret, column, fault, known, one};
use super::{compose, extremum, softmax};

/// Which elements each output element reads: those at `base + offset`.
pub(super) struct Groups {
    pub(super) shape: Vec<usize>,
    pub(super) base: Vec<usize>,
    pub(super) offset: Vec<usize>,
}

impl Groups {
    /// For each of `count` elements its group.
    pub(super) fn keys(&self, count: usize) -> Vec<Option<usize>> {
        let mut keys = vec![None; count];
        for (group, base) in self.base.iter().enumerate() {
            self.offset.iter().for_each(|o| keys[base + o] = Some(group));
        }
        keys
    }
}

/// Every reduction of ONNX.
pub(super) fn reduce(cx: &mut NodeCx<'_>) -> Emitted {
    let shape = cx.shape(0)?;
    let Some(groups) = groups(cx, &shape)? else { return Ok(vec![cx.operand(0)?.clone()]) };
    if let Operand::Constant(c) = cx.operand(0)? {
        return known(of_constant(&Rc::clone(c), &groups, &cx.node.op_type)?);
    }
    let x = cx.secret(0)?;
    let count = groups.offset.len() as f64;
    one(match cx.node.op_type.as_str() {
        "ReduceSum" => summed(cx, &x, &groups, 1.0)?,
        "ReduceMean" => summed(cx, &x, &groups, 1.0 / count)?,
        "ReduceL1" => {
            let sizes = cx.function(&x, Function::Abs);
            summed(cx, &sizes, &groups, 1.0)?
        }
        "ReduceSumSquare" => {
            let squares = cx.product(&x, &x);
            summed(cx, &squares, &groups, 1.0)?
        }
        "ReduceL2" => {
            let squares = cx.product(&x, &x);
            let sum = summed(cx, &squares, &groups, 1.0)?;
            cx.function(&sum, Function::Sqrt)
        }
        "ReduceMax" | "ReduceMin" => {
            let sign = if cx.node.op_type == "ReduceMax" { 1.0 } else { -1.0 };
            let lists = groups.base.iter().map(|b| groups.offset.iter().map(|o| b + o).collect());
            extremum::of_groups(cx, &x, lists.collect(), groups.shape, sign)?
        }
        "ReduceProd" => product(cx, &x, &groups)?,
        "ReduceLogSum" => {
            let sum = summed(cx, &x, &groups, 1.0)?;
            softmax::logarithm(cx, &sum)?
        }
        "ReduceLogSumExp" => {
            let own = compose::Groups::by_key(&groups.keys(elements(&x.shape)?));
            let sum = softmax::log_sum_exp(cx, &x, &own)?;
            cx.reshape(sum, groups.shape)
        }
        other => {
            let message = format!("{other} of encrypted data has no encrypted form");
            return Err(fault(Code::Unsupported, message));
        }
    })
}

/// The product of each group, in pairs, so that the depth is logarithmic.
fn product(cx: &mut NodeCx<'_>, x: &Secret, groups: &Groups) -> Result<Secret, Fault> {
    let Groups { shape, base, offset } = groups;
    let (count, mut length) = (base.len(), offset.len());
    // Group by group, side by side.
    let source: Vec<Option<u32>> =
        base.iter().flat_map(|b| offset.iter().map(move |o| Some(column(b + o)))).collect();
    let mut all = cx.gather(x, vec![count, length], &source, 0.0)?;
    while length > 1 {
        let half = length / 2;
        let kept = length - half;
        let part = |from: usize, width: usize| -> Vec<Option<u32>> {
            (0..count * width)
                .map(|r| Some(column(r / width * length + from + r % width)))
                .collect()
        };
        let (left, right) = (part(0, half), part(kept, half));
        let left = cx.gather(&all, vec![count, half], &left, 0.0)?;
        let right = cx.gather(&all, vec![count, half], &right, 0.0)?;
        let products = cx.product(&left, &right);
        all = if kept == half {
            products
        } else {
            let place = |r: usize| (r % kept < half).then(|| r / kept * half + r % kept);
            let taken = SparseMatrix::gather(count * kept, count * half, place);
            let middle = |r: usize| (r % kept == half).then(|| r / kept * length + half);
            let left_over = SparseMatrix::gather(count * kept, count * length, middle);
            let terms = vec![(products.id, taken), (all.id, left_over)];
            cx.affine(terms, None, vec![count, kept])
        };
        length = kept;
    }
    Ok(cx.reshape(all, shape.clone()))
}

fn summed(cx: &mut NodeCx<'_>, x: &Secret, groups: &Groups, weight: f64) -> Result<Secret, Fault> {
    let Groups { shape, base, offset } = groups;
    cx.matrix(x, shape.clone(), offset.len(), None, |r, row| {
        row.extend(offset.iter().map(|o| (column(base[r] + o), weight)));
    })
}

/// The groups, or none where nothing is to be done.
fn groups(cx: &NodeCx<'_>, own: &[usize]) -> Result<Option<Groups>, Fault> {
    let given = cx.ints_or_attribute(1, "axes")?.unwrap_or_default();
    // These also do something to an element by itself.
    let always = !matches!(
        cx.node.op_type.as_str(),
        "ReduceSum" | "ReduceMean" | "ReduceMax" | "ReduceMin" | "ReduceProd"
    );
    if given.is_empty() && always && cx.attr_int("noop_with_empty_axes", 0)? != 0 {
        let count = elements(own)?;
        return Ok(Some(Groups {
            shape: own.to_vec(),
            base: (0..count).collect(),
            offset: vec![0],
        }));
    }
    if given.is_empty() && cx.attr_int("noop_with_empty_axes", 0)? != 0 {
        return Ok(None);
    }
    let reduced =
        if given.is_empty() { (0..own.len()).collect() } else { axes(&given, own.len())? };
    let keep = cx.attr_int("keepdims", 1)? != 0;
    let own_strides = strides(own);
    let is_reduced = |a: &usize| reduced.contains(a);
    let part = |wanted: bool| {
        let chosen: Vec<usize> = (0..own.len()).filter(|a| is_reduced(a) == wanted).collect();
        let lengths: Vec<usize> = chosen.iter().map(|&a| own[a]).collect();
        let steps: Vec<isize> = chosen.iter().map(|&a| own_strides[a] as isize).collect();
        strided(&lengths, &steps, 0)
    };
    let kept = (0..own.len()).filter(|a| keep || !is_reduced(a));
    let shape = kept.map(|a| if is_reduced(&a) { 1 } else { own[a] }).collect();
    Ok(Some(Groups { shape, base: part(false), offset: part(true) }))
}

fn of_constant(c: &Array, groups: &Groups, op: &str) -> Result<Array, Fault> {
    let Groups { shape, base, offset } = groups;
    let group = |b: usize| offset.iter().map(move |o| b + o);
    let unsupported = || fault(Code::UnsupportedMode, format!("{op} of this constant"));
    let data = match &c.data {
        Data::Int(v) => {
            let one = |&b: &usize| -> Option<i64> {
                let mut values = group(b).map(|i| v[i]);
                match op {
                    "ReduceSum" => values.try_fold(0_i64, i64::checked_add),
                    "ReduceProd" => values.try_fold(1_i64, i64::checked_mul),
                    "ReduceMax" => values.max(),
                    "ReduceMin" => values.min(),
                    _ => None,
                }
            };
            let values: Option<Vec<i64>> = base.iter().map(one).collect();
            Data::Int(values.ok_or_else(unsupported)?)
        }
        Data::Float(v) => {
            let one = |&b: &usize| -> Option<f64> {
                let values = group(b).map(|i| v[i]);
                Some(match op {
                    "ReduceSum" => values.sum(),
                    "ReduceMean" => values.sum::<f64>() / offset.len() as f64,
                    "ReduceProd" => values.product(),
                    "ReduceMax" => values.fold(f64::NEG_INFINITY, f64::max),
                    "ReduceMin" => values.fold(f64::INFINITY, f64::min),
                    "ReduceL1" => values.map(f64::abs).sum(),
                    "ReduceSumSquare" => values.map(|v| v * v).sum(),
                    "ReduceL2" => values.map(|v| v * v).sum::<f64>().sqrt(),
                    "ReduceLogSum" => values.sum::<f64>().ln(),
                    "ReduceLogSumExp" => values.map(f64::exp).sum::<f64>().ln(),
                    _ => return None,
                })
            };
            let values: Option<Vec<f64>> = base.iter().map(one).collect();
            Data::Float(values.ok_or_else(unsupported)?)
        }
        Data::Bool(_) => return Err(unsupported()),
    };
    Ok(Array { shape: shape.clone(), data })
}
