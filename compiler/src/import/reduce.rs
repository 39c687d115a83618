//! Reductions over axes: sums and means are one matrix, sums of squares one product more.

use std::rc::Rc;

use heplan_ir::diagnostic::Code;
use heplan_ir::function::Function;

use super::array::{Array, Data, axes, strided, strides};
use super::context::{Emitted, Fault, NodeCx, Operand, Secret, column, fault, known, one};

/// Which elements each output element reads: those at `base + offset`.
struct Groups {
    shape: Vec<usize>,
    base: Vec<usize>,
    offset: Vec<usize>,
}

/// `ReduceSum`, `ReduceMean`, `ReduceSumSquare`, `ReduceL1`, `ReduceL2`.
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
        other => {
            let message = format!("{other} of encrypted data has no encrypted form");
            return Err(fault(Code::Unsupported, message));
        }
    })
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
