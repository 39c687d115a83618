//! Matrix products. With a constant on one side the product is one matrix; with encrypted tensors
//! on both sides it is an element-wise product of the two, spread over `[…, m, n, k]`, and a sum.

use heplan_ir::diagnostic::Code;
use heplan_onnx::AttributeValue;

use super::array::{broadcast_shape, broadcast_source, elements};
use super::context::{
    Emitted, Fault, NodeCx, Operand, Secret, column, fault, fault_help, non_zeros, one,
};
use super::elementwise::{Term, sum};

/// Where the elements of a (possibly batched, possibly transposed) matrix lie in its tensor.
struct Side {
    operand: usize,
    batch: Vec<usize>,
    rows: usize,
    cols: usize,
    row_step: usize,
    col_step: usize,
}

impl Side {
    fn at(&self, matrix: usize, row: usize, col: usize) -> usize {
        matrix * self.rows * self.cols + row * self.row_step + col * self.col_step
    }
}

/// `MatMul`: batches broadcast, a vector counts as a row on the left and as a column on the right.
pub(super) fn mat_mul(cx: &mut NodeCx<'_>) -> Emitted {
    let (a_shape, b_shape) = (cx.shape(0)?, cx.shape(1)?);
    if a_shape.is_empty() || b_shape.is_empty() {
        return Err(fault(Code::ShapeMismatch, "a scalar has no matrix product"));
    }
    let constant = |i: usize| matches!(cx.optional(i), Some(Operand::Constant(_)));
    if constant(0) && constant(1) {
        return of_constants(cx, a_shape.len() == 1, b_shape.len() == 1);
    }
    let a = side(0, &a_shape, false, a_shape.len() == 1);
    let mut b = side(1, &b_shape, false, false);
    if b_shape.len() == 1 {
        b = Side {
            operand: 1,
            batch: Vec::new(),
            rows: b_shape[0],
            cols: 1,
            row_step: 1,
            col_step: 1,
        };
    }
    let batch = broadcast_shape(&a.batch, &b.batch)?;
    let mut shape = batch.clone();
    if a_shape.len() > 1 {
        shape.push(a.rows);
    }
    if b_shape.len() > 1 {
        shape.push(b.cols);
    }
    one(multiply(cx, &a, &b, &batch, shape, 1.0)?)
}

/// The product of two constants; vectors lack an axis.
fn of_constants(cx: &mut NodeCx<'_>, left_vector: bool, right_vector: bool) -> Emitted {
    let (left, row) = if left_vector { ("j", "") } else { ("...ij", "i") };
    let (right, col) = if right_vector { ("j", "") } else { ("...jk", "k") };
    let batch = if left_vector && right_vector { "" } else { "..." };
    let equation = format!("{left},{right}->{batch}{row}{col}");
    let equation = AttributeValue::Text(equation.into_bytes().into());
    let (a, b) = (cx.operand(0)?.clone(), cx.operand(1)?.clone());
    Ok(vec![cx.part("Einsum", &[&a, &b], &[("equation", equation)])?])
}

/// `Gemm`: `alpha·A·B + beta·C`.
pub(super) fn gemm(cx: &mut NodeCx<'_>) -> Emitted {
    let (a_shape, b_shape) = (cx.shape(0)?, cx.shape(1)?);
    if a_shape.len() != 2 || b_shape.len() != 2 {
        let message = format!("inputs of shapes {a_shape:?} and {b_shape:?}, expected matrices");
        let help = "put a Flatten before it: torch.flatten(x, 1)";
        return Err(fault_help(Code::ShapeMismatch, message, help));
    }
    let a = side(0, &a_shape, cx.attr_int("transA", 0)? != 0, true);
    let b = side(1, &b_shape, cx.attr_int("transB", 0)? != 0, true);
    let (alpha, beta) = (cx.attr_float("alpha", 1.0)?, cx.attr_float("beta", 1.0)?);
    let shape = vec![a.rows, b.cols];
    let y = multiply(cx, &a, &b, &[], shape.clone(), alpha)?;
    if cx.optional(2).is_none() || beta == 0.0 {
        return one(y);
    }
    let c = cx.operand(2)?.clone();
    if broadcast_shape(&shape, &cx.shape(2)?)? != shape {
        let message = format!("C of shape {:?} does not broadcast to {shape:?}", cx.shape(2)?);
        return Err(fault(Code::ShapeMismatch, message));
    }
    let terms = [Term::new(Operand::Secret(y), 1.0), Term::new(c, beta)];
    Ok(vec![sum(cx, &terms)?])
}

fn side(operand: usize, shape: &[usize], transposed: bool, as_row: bool) -> Side {
    let (batch, [rows, cols]) = match shape {
        [batch @ .., rows, cols] => (batch.to_vec(), [*rows, *cols]),
        [n] if as_row => (Vec::new(), [1, *n]),
        _ => (Vec::new(), [shape.iter().product(), 1]),
    };
    if transposed {
        Side { operand, batch, rows: cols, cols: rows, row_step: 1, col_step: cols }
    } else {
        Side { operand, batch, rows, cols, row_step: cols, col_step: 1 }
    }
}

fn multiply(
    cx: &mut NodeCx<'_>,
    a: &Side,
    b: &Side,
    batch: &[usize],
    shape: Vec<usize>,
    scale: f64,
) -> Result<Secret, Fault> {
    if a.cols != b.rows {
        let message = format!("{}x{} times {}x{}", a.rows, a.cols, b.rows, b.cols);
        let help = format!(
            "give it {} features: where the model leaves an axis open it is taken to be 1, unless \
             --dim NAME=N says otherwise",
            b.rows
        );
        let message = format!("inner dimensions differ: {message}");
        return Err(fault_help(Code::ShapeMismatch, message, &help));
    }
    let (m, n, inner) = (a.rows, b.cols, a.cols);
    non_zeros(elements(&shape)?, inner)?;
    let (in_a, in_b) = (broadcast_source(batch, &a.batch), broadcast_source(batch, &b.batch));
    let place = |row: usize| (row / (m * n), row / n % m, row % n);
    match (cx.operand(a.operand)?, cx.operand(b.operand)?) {
        (Operand::Secret(_), Operand::Secret(_)) => {}
        (Operand::Secret(_), _) => {
            let (x, (_, w)) = (cx.secret(a.operand)?, cx.weights(b.operand)?);
            return cx.matrix(&x, shape, inner, None, |row, entries| {
                let (t, i, j) = place(row);
                entries.extend(
                    (0..inner)
                        .map(|k| (column(a.at(in_a[t], i, k)), scale * w[b.at(in_b[t], k, j)])),
                );
            });
        }
        _ => {
            let (x, (_, w)) = (cx.secret(b.operand)?, cx.weights(a.operand)?);
            return cx.matrix(&x, shape, inner, None, |row, entries| {
                let (t, i, j) = place(row);
                entries.extend(
                    (0..inner)
                        .map(|k| (column(b.at(in_b[t], k, j)), scale * w[a.at(in_a[t], i, k)])),
                );
            });
        }
    }
    spread_product(cx, a, b, [&in_a, &in_b], shape, scale)
}

/// Both sides encrypted: each is spread over `[…, m, n, k]`, multiplied, and summed over `k`.
fn spread_product(
    cx: &mut NodeCx<'_>,
    a: &Side,
    b: &Side,
    [in_a, in_b]: [&[usize]; 2],
    shape: Vec<usize>,
    scale: f64,
) -> Result<Secret, Fault> {
    let (m, n, inner) = (a.rows, b.cols, a.cols);
    let (x, y) = (cx.secret(a.operand)?, cx.secret(b.operand)?);
    let mut spread = shape.clone();
    spread.push(inner);
    let count = elements(&spread)?;
    let split = |r: usize| (r / inner / n / m, r / inner / n % m, r / inner % n, r % inner);
    let source = |pick: &dyn Fn((usize, usize, usize, usize)) -> usize| -> Vec<Option<u32>> {
        (0..count).map(|r| Some(column(pick(split(r))))).collect()
    };
    let left = source(&|(t, i, _, k)| a.at(in_a[t], i, k));
    let right = source(&|(t, _, j, k)| b.at(in_b[t], k, j));
    let left = cx.gather(&x, spread.clone(), &left, 0.0)?;
    let right = cx.gather(&y, spread, &right, 0.0)?;
    let products = cx.product(&left, &right);
    cx.matrix(&products, shape, inner, None, |row, entries| {
        entries.extend((0..inner).map(|k| (column(row * inner + k), scale)));
    })
}
