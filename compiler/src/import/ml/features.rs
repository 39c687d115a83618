//! What chooses, joins or fills in features before a model.

use std::rc::Rc;

use heplan_ir::diagnostic::Code;

use super::super::array::{Array, constant_elements, elements};
use super::super::context::{Emitted, NodeCx, Operand, column, fault, fault_help, known, one};
use super::super::select::joined;

/// `Imputer`: data that is encrypted holds no NaN, so one that replaces NaN is the identity.
pub(in super::super) fn imputer(cx: &mut NodeCx<'_>) -> Emitted {
    let x = cx.secret(0)?;
    if cx.attr_ints("imputed_value_int64s")?.is_some() {
        let message = "it imputes integers, which do not tell that a value is missing";
        let help = "impute before encryption, and export the pipeline without its SimpleImputer";
        return Err(fault_help(Code::UnsupportedMode, message, help));
    }
    let replaced = cx.node.attributes.float("replaced_value_float");
    let replaced = replaced.map_err(|e| fault(Code::BadNode, e.to_string()))?.unwrap_or(0.0);
    if !replaced.is_nan() {
        return Err(fault_help(
            Code::UnsupportedMode,
            format!("it replaces {replaced}, and encrypted values are compared with nothing"),
            "impute before encryption, and export with missing values as NaN or without the Imputer",
        ));
    }
    let (values, features) = (cx.attr_floats("imputed_value_floats")?.len(), x.shape.last());
    if values != 1 && Some(&values) != features {
        let message = format!("imputed_value_floats has {values} numbers for shape {:?}", x.shape);
        return Err(fault(Code::ShapeMismatch, message));
    }
    cx.notes.push(
        "an Imputer of NaN does nothing: NaN is not encrypted, so the client imputes before"
            .to_owned(),
    );
    one(x)
}

/// `FeatureVectorizer`: the features of all operands side by side.
pub(in super::super) fn feature_vectorizer(cx: &mut NodeCx<'_>) -> Emitted {
    let given = cx.attr_ints("inputdimensions")?;
    let mut widths = Vec::with_capacity(cx.operands.len());
    for index in 0..cx.operands.len() {
        let shape = cx.shape(index)?;
        let wide = match shape.as_slice() {
            [features] => vec![1, *features],
            [_, _] => shape,
            other => {
                let message =
                    format!("input {index} of shape {other:?}, expected rows of features");
                return Err(fault(Code::ShapeMismatch, message));
            }
        };
        widths.push(wide[1] as i64);
        let operand = match cx.operand(index)?.clone() {
            Operand::Secret(x) => Operand::Secret(cx.reshape(x, wide)),
            Operand::Constant(c) => {
                Operand::Constant(Rc::new(Array { shape: wide, data: c.data.clone() }))
            }
            other => other,
        };
        cx.operands[index] = Some(operand);
    }
    if let Some(given) = given.filter(|g| *g != widths) {
        return Err(fault_help(
            Code::UnsupportedMode,
            format!("inputdimensions is {given:?} for inputs of {widths:?} features"),
            "export with as many dimensions as the inputs have features",
        ));
    }
    joined(cx, 1)
}

/// `ArrayFeatureExtractor` at constant places: some columns of the last axis.
pub(in super::super) fn array_feature_extractor(cx: &mut NodeCx<'_>) -> Emitted {
    let places = cx.ints(1)?;
    let shape = cx.shape(0)?;
    let Some((&features, outer)) = shape.split_last() else {
        return Err(fault(Code::ShapeMismatch, "input 0 is a single number"));
    };
    let place = |&p: &i64| usize::try_from(p).ok().filter(|&p| p < features);
    let Some(places) = places.iter().map(place).collect::<Option<Vec<_>>>() else {
        let message = format!("it extracts features {places:?} of {features}");
        return Err(fault(Code::BadNode, message));
    };
    let rows: usize = outer.iter().product();
    let outer = if outer.is_empty() { &[1] } else { outer };
    let out = [outer, &[places.len()]].concat();
    let source = (0..rows).flat_map(|r| places.iter().map(move |p| Some(column(r * features + p))));
    match cx.operand(0)?.clone() {
        Operand::Constant(table) => {
            constant_elements(&out)?;
            let source: Vec<_> = source.collect();
            known(Array { shape: out, data: table.data.gather(&source, None) })
        }
        _ => {
            elements(&out)?;
            let x = cx.secret(0)?;
            let source: Vec<_> = source.collect();
            one(cx.gather(&x, out, &source, 0.0)?)
        }
    }
}
