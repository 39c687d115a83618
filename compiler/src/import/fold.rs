//! Arithmetic on constants, so that the shape computations of dynamic exports disappear.
//!
//! Floats are computed in double precision. Integers are 64-bit and refuse to overflow; their
//! division truncates, as ONNX says.

use std::cmp::Ordering;

use heplan_ir::diagnostic::Code;

use super::array::{Array, Data, broadcast_shape, broadcast_source, constant_elements};
use super::context::{Emitted, Fault, NodeCx, Operand, fault, fault_help, known};

/// A binary operation on numbers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Arithmetic {
    Add,
    Sub,
    Mul,
    Div,
    Pow,
    Max,
    Min,
    /// The remainder with the divisor's sign.
    Mod,
    /// The remainder with the dividend's sign.
    Fmod,
}

/// `a op b`, broadcast.
pub(super) fn arithmetic(a: &Array, b: &Array, op: Arithmetic) -> Result<Array, Fault> {
    let shape = broadcast_shape(&a.shape, &b.shape)?;
    constant_elements(&shape)?;
    let (from_a, from_b) = (broadcast_source(&shape, &a.shape), broadcast_source(&shape, &b.shape));
    let pairs = from_a.iter().zip(&from_b);
    let data = match (&a.data, &b.data) {
        (Data::Int(x), Data::Int(y)) => {
            Data::Int(pairs.map(|(&i, &j)| integer(x[i], y[j], op)).collect::<Result<_, _>>()?)
        }
        _ => {
            let (x, y) = (a.floats(), b.floats());
            let values: Vec<f64> = pairs.map(|(&i, &j)| real(x[i], y[j], op)).collect();
            match &a.data {
                // `Pow` takes the type of its base.
                Data::Int(_) => Data::Int(values.iter().map(|&v| v as i64).collect()),
                _ => Data::Float(values),
            }
        }
    };
    Ok(Array { shape, data })
}

fn real(x: f64, y: f64, op: Arithmetic) -> f64 {
    match op {
        Arithmetic::Add => x + y,
        Arithmetic::Sub => x - y,
        Arithmetic::Mul => x * y,
        Arithmetic::Div => x / y,
        Arithmetic::Pow => x.powf(y),
        Arithmetic::Max => x.max(y),
        Arithmetic::Min => x.min(y),
        Arithmetic::Mod => x - y * (x / y).floor(),
        Arithmetic::Fmod => x % y,
    }
}

fn integer(x: i64, y: i64, op: Arithmetic) -> Result<i64, Fault> {
    let result = match op {
        Arithmetic::Add => x.checked_add(y),
        Arithmetic::Sub => x.checked_sub(y),
        Arithmetic::Mul => x.checked_mul(y),
        Arithmetic::Div => x.checked_div(y),
        Arithmetic::Pow => u32::try_from(y).ok().and_then(|y| x.checked_pow(y)),
        Arithmetic::Max => Some(x.max(y)),
        Arithmetic::Min => Some(x.min(y)),
        Arithmetic::Mod => {
            x.checked_rem(y).map(|r| if r != 0 && (r < 0) != (y < 0) { r + y } else { r })
        }
        Arithmetic::Fmod => x.checked_rem(y),
    };
    result.ok_or_else(|| {
        fault(Code::BadNode, format!("integer arithmetic on {x} and {y} overflows or divides by 0"))
    })
}

/// A function of every element.
pub(super) fn unary(
    a: &Array,
    real: impl Fn(f64) -> f64,
    integer: impl Fn(i64) -> Option<i64>,
) -> Result<Array, Fault> {
    let data = match &a.data {
        Data::Float(v) => Data::Float(v.iter().map(|&v| real(v)).collect()),
        Data::Int(v) => {
            let values: Option<Vec<i64>> = v.iter().map(|&v| integer(v)).collect();
            Data::Int(values.ok_or_else(|| fault(Code::BadNode, "integer arithmetic overflows"))?)
        }
        Data::Bool(_) => return Err(fault(Code::BadNode, "input 0 is bool, expected numbers")),
    };
    Ok(Array { shape: a.shape.clone(), data })
}

/// `a` compared with `b`, broadcast; NaN compares as nothing.
pub(super) fn compare(
    a: &Array,
    b: &Array,
    accept: impl Fn(Ordering) -> bool,
) -> Result<Array, Fault> {
    let shape = broadcast_shape(&a.shape, &b.shape)?;
    constant_elements(&shape)?;
    let (x, y) = (a.floats(), b.floats());
    let (from_a, from_b) = (broadcast_source(&shape, &a.shape), broadcast_source(&shape, &b.shape));
    let pairs = from_a.into_iter().zip(from_b);
    let holds = pairs.map(|(i, j)| x[i].partial_cmp(&y[j]).is_some_and(&accept)).collect();
    Ok(Array { shape, data: Data::Bool(holds) })
}

/// `condition ? a : b`, broadcast.
pub(super) fn select(
    condition_shape: &[usize],
    condition: &[bool],
    a: &Array,
    b: &Array,
) -> Result<Array, Fault> {
    let shape = broadcast_shape(&broadcast_shape(condition_shape, &a.shape)?, &b.shape)?;
    constant_elements(&shape)?;
    let mask = broadcast_source(&shape, condition_shape);
    let (from_a, from_b) = (broadcast_source(&shape, &a.shape), broadcast_source(&shape, &b.shape));
    let choose = |r: usize| condition[mask[r]];
    let rows = 0..mask.len();
    let data = match (&a.data, &b.data) {
        (Data::Int(x), Data::Int(y)) => {
            Data::Int(rows.map(|r| if choose(r) { x[from_a[r]] } else { y[from_b[r]] }).collect())
        }
        _ => {
            let (x, y) = (a.floats(), b.floats());
            let pick = |r: usize| if choose(r) { x[from_a[r]] } else { y[from_b[r]] };
            Data::Float(rows.map(pick).collect())
        }
    };
    Ok(Array { shape, data })
}

/// `Constant`, in every attribute form but text and sparse tensors.
pub(super) fn constant(cx: &mut NodeCx<'_>) -> Emitted {
    let attributes = &cx.node.attributes;
    let bad = |e: heplan_onnx::AttributeError| fault(Code::BadNode, e.to_string());
    if let Some(tensor) = attributes.tensor("value").map_err(bad)? {
        return known(Array::from_tensor(tensor)?);
    }
    if let Some(v) = attributes.float("value_float").map_err(bad)? {
        return known(Array::scalar(f64::from(v)));
    }
    if let Some(v) = attributes.int("value_int").map_err(bad)? {
        return known(Array { shape: Vec::new(), data: Data::Int(vec![v]) });
    }
    if let Some(v) = attributes.floats("value_floats").map_err(bad)? {
        let data = Data::Float(v.iter().map(|&v| f64::from(v)).collect());
        return known(Array { shape: vec![v.len()], data });
    }
    if let Some(v) = attributes.ints("value_ints").map_err(bad)? {
        return known(Array::ints(v.to_vec()));
    }
    let message = "its value is text, sparse or absent, expected numbers";
    Err(fault(Code::UnsupportedType, message))
}

/// `ConstantOfShape`.
pub(super) fn constant_of_shape(cx: &mut NodeCx<'_>) -> Emitted {
    let given = cx.ints(0)?;
    let shape = given.iter().map(|&d| usize::try_from(d)).collect::<Result<Vec<_>, _>>();
    let shape = shape.map_err(|_| fault(Code::BadNode, format!("shape is {given:?}")))?;
    let count = constant_elements(&shape)?;
    let value = cx.node.attributes.tensor("value");
    let value = match value.map_err(|e| fault(Code::BadNode, e.to_string()))? {
        Some(tensor) => Array::from_tensor(tensor)?,
        None => Array::scalar(0.0),
    };
    if value.data.len() != 1 {
        return Err(fault(Code::BadNode, format!("value has {} elements", value.data.len())));
    }
    let data = value.data.gather(&vec![Some(0); count], None);
    known(Array { shape, data })
}

/// `Range`.
pub(super) fn range(cx: &mut NodeCx<'_>) -> Emitted {
    let (start, limit, delta) = (cx.constant(0)?, cx.constant(1)?, cx.constant(2)?);
    let single = |a: &Array| match a.floats().as_slice() {
        [v] if v.is_finite() => Ok(*v),
        _ => Err(fault(Code::BadNode, "an input is not one finite number")),
    };
    let (first, last, step) = (single(&start)?, single(&limit)?, single(&delta)?);
    if step == 0.0 {
        return Err(fault(Code::BadNode, "the step is 0"));
    }
    let count = ((last - first) / step).ceil().max(0.0);
    if count > super::array::MAX_ELEMENTS as f64 {
        return Err(fault(Code::BadNode, format!("it has {count} elements")));
    }
    let values = (0..count as usize).map(|i| first + i as f64 * step);
    let data = match &start.data {
        Data::Int(_) => Data::Int(values.map(|v| v as i64).collect()),
        _ => Data::Float(values.collect()),
    };
    known(Array { shape: vec![data.len()], data })
}

/// `Shape`, also of encrypted data.
pub(super) fn shape(cx: &mut NodeCx<'_>) -> Emitted {
    let shape = cx.shape(0)?;
    let rank = shape.len() as i64;
    let clamp = |v: i64| (if v < 0 { v + rank } else { v }).clamp(0, rank) as usize;
    let start = clamp(cx.attr_int("start", 0)?);
    let end = clamp(cx.attr_int("end", rank)?);
    let lengths = shape.get(start..end).unwrap_or(&[]);
    known(Array::ints(lengths.iter().map(|&d| d as i64).collect()))
}

/// `Size`, also of encrypted data.
pub(super) fn size(cx: &mut NodeCx<'_>) -> Emitted {
    let count: usize = cx.shape(0)?.iter().product();
    known(Array { shape: Vec::new(), data: Data::Int(vec![count as i64]) })
}

/// `Equal` of constants.
pub(super) fn equal(cx: &mut NodeCx<'_>) -> Emitted {
    if !matches!((cx.operand(0)?, cx.operand(1)?), (Operand::Constant(_), Operand::Constant(_))) {
        return Err(fault_help(
            Code::UnsupportedMode,
            "encrypted data is compared",
            "replace the comparison by a smooth function, or compare after decryption",
        ));
    }
    known(compare(&*cx.constant(0)?, &*cx.constant(1)?, Ordering::is_eq)?)
}

/// `And`, `Or`, `Xor`, `Not` of constants.
pub(super) fn logic(cx: &mut NodeCx<'_>) -> Emitted {
    let truth = |a: &Array| match &a.data {
        Data::Bool(v) => Ok(v.clone()),
        other => Err(fault(Code::BadNode, format!("an input is {}, expected bool", other.kind()))),
    };
    let a = cx.constant(0)?;
    let x = truth(&a)?;
    if cx.node.op_type == "Not" {
        return known(Array {
            shape: a.shape.clone(),
            data: Data::Bool(x.iter().map(|v| !v).collect()),
        });
    }
    let b = cx.constant(1)?;
    let y = truth(&b)?;
    let shape = broadcast_shape(&a.shape, &b.shape)?;
    constant_elements(&shape)?;
    let from =
        broadcast_source(&shape, &a.shape).into_iter().zip(broadcast_source(&shape, &b.shape));
    let combine = |(i, j): (usize, usize)| match cx.node.op_type.as_str() {
        "And" => x[i] && y[j],
        "Or" => x[i] || y[j],
        _ => x[i] != y[j],
    };
    let data = Data::Bool(from.map(combine).collect());
    known(Array { shape, data })
}

/// `IsNaN` and `IsInf` of constants, and `IsNaN` of encrypted data, which is always a number: where
/// exporters of attention ask, a row that is masked throughout is zeros already (`softmax.rs`).
pub(super) fn is_no_number(cx: &mut NodeCx<'_>) -> Emitted {
    if cx.node.op_type == "IsNaN" && matches!(cx.operand(0)?, Operand::Secret(_)) {
        let shape = cx.shape(0)?;
        let data = Data::Bool(vec![false; constant_elements(&shape)?]);
        return known(Array { shape, data });
    }
    let a = cx.constant(0)?;
    let signs = [cx.attr_int("detect_negative", 1)? != 0, cx.attr_int("detect_positive", 1)? != 0];
    let nan = cx.node.op_type == "IsNaN";
    let is = |v: &f64| match nan {
        true => v.is_nan(),
        false => v.is_infinite() && signs[usize::from(*v > 0.0)],
    };
    let data = Data::Bool(a.floats().iter().map(is).collect());
    known(Array { shape: a.shape.clone(), data })
}

/// `Floor`, `Ceil`, `Round` of constants.
pub(super) fn rounding(cx: &mut NodeCx<'_>) -> Emitted {
    let a = cx.constant(0)?;
    known(match cx.node.op_type.as_str() {
        "Floor" => unary(&a, f64::floor, Some)?,
        "Ceil" => unary(&a, f64::ceil, Some)?,
        _ => unary(&a, f64::round_ties_even, Some)?,
    })
}

/// `Mod` of constants: the sign of the divisor for integers, of the dividend with `fmod`.
pub(super) fn modulo(cx: &mut NodeCx<'_>) -> Emitted {
    let (a, b) = (cx.constant(0)?, cx.constant(1)?);
    let fmod = cx.attr_int("fmod", 0)? != 0;
    // The sign is the dividend's with `fmod` and the divisor's without it.
    let op = if fmod { Arithmetic::Fmod } else { Arithmetic::Mod };
    known(arithmetic(&a, &b, op)?)
}

/// `Cast` and `CastLike`: encrypted data stays what it is between float types.
pub(super) fn cast(cx: &mut NodeCx<'_>) -> Emitted {
    use heplan_onnx::{DataType, Kind};
    let wide = |t: DataType| {
        !matches!(
            t,
            DataType::Float8E4M3Fn
                | DataType::Float8E4M3Fnuz
                | DataType::Float8E5M2
                | DataType::Float8E5M2Fnuz
        )
    };
    let number = i32::try_from(cx.attr_int("to", 0)?).unwrap_or(0);
    let named = DataType::from_number(number);
    let like = cx.data_types.get(1).copied().flatten().unwrap_or(DataType::Float);
    let is_like = cx.node.op_type == "CastLike";
    let narrow = !wide(if is_like { like } else { named });
    let target = if is_like {
        match cx.operand(1)? {
            Operand::Constant(c) => match c.data {
                Data::Float(_) => Kind::Float,
                Data::Int(_) => Kind::Int,
                Data::Bool(_) => Kind::Bool,
            },
            _ => Kind::Float,
        }
    } else {
        named.kind()
    };
    let operand = cx.operand(0)?;
    let unsupported = |what: &str| {
        let message = format!("{what} is cast to a type that is not a float of 16 bits or more");
        fault_help(Code::UnsupportedType, message, "keep the data in floats up to the output")
    };
    if narrow {
        return Err(unsupported("a value"));
    }
    let Operand::Constant(c) = operand else {
        return if target == Kind::Float || matches!(operand, Operand::LeftOut(_)) {
            Ok(vec![operand.clone()])
        } else {
            Err(unsupported("encrypted data"))
        };
    };
    let data = match (target, &c.data) {
        (Kind::Float, _) => Data::Float(c.floats()),
        (Kind::Int, Data::Int(v)) => Data::Int(v.clone()),
        (Kind::Int, _) => Data::Int(c.floats().iter().map(|&v| v as i64).collect()),
        (Kind::Bool, _) => Data::Bool(c.floats().iter().map(|&v| v != 0.0).collect()),
        _ => return Err(unsupported("a constant")),
    };
    known(Array { shape: c.shape.clone(), data })
}
