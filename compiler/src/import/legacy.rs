//! Broadcasting before opset 7, where the second operand's axes align by attributes.

use heplan_ir::diagnostic::Code;

use super::context::{Fault, NodeCx, fault};

/// The operators that had the attributes `broadcast` and `axis`.
const OPERATORS: [&str; 11] =
    ["Add", "And", "Div", "Equal", "Greater", "Less", "Mul", "Or", "Pow", "Sub", "Xor"];

/// Brings the second operand of an opset 6 node into the shape that NumPy's rules broadcast.
pub(super) fn align(cx: &mut NodeCx<'_>) -> Result<(), Fault> {
    let op = cx.node.op_type.as_str();
    if cx.opset >= 7 || !OPERATORS.contains(&op) {
        return Ok(());
    }
    let (own, other) = (cx.shape(0)?, cx.shape(1)?);
    if cx.attr_int("broadcast", 0)? == 0 {
        return if own == other {
            Ok(())
        } else {
            let message = format!("shapes {own:?} and {other:?} differ without broadcast = 1");
            Err(fault(Code::ShapeMismatch, message))
        };
    }
    if cx.node.attributes.get("axis").is_none() || other.is_empty() {
        return Ok(());
    }
    let axis = super::array::axis(cx.attr_int("axis", 0)?, own.len())?;
    let Some(behind) = own.len().checked_sub(axis + other.len()) else {
        let message = format!("shape {other:?} does not fit {own:?} from axis {axis} on");
        return Err(fault(Code::ShapeMismatch, message));
    };
    let shape = [other, vec![1; behind]].concat();
    let operand = cx.operand(1)?.clone();
    let aligned = cx.shaped(&operand, &shape)?;
    cx.operands[1] = Some(aligned);
    Ok(())
}
