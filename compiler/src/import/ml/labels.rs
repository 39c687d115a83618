//! What names the columns of scores, or the classes that the client decides on.

use heplan_ir::diagnostic::Code;
use heplan_ir::tail::Step;
use heplan_onnx::Tensor;

use super::super::array::{Array, Data};
use super::super::context::{Emitted, Fault, NodeCx, Operand, fault, fault_help, one};
use super::super::tail::Ending;
use super::{Labels, texts};

/// `ZipMap` only names the columns: the scores stay a tensor.
pub(in super::super) fn zip_map(cx: &mut NodeCx<'_>) -> Emitted {
    let x = cx.secret(0)?;
    let name = cx.node.outputs.first().cloned().unwrap_or_default();
    cx.notes.push(format!(
        "{name:?} is a tensor of scores, one column per class in the model's order, not a sequence of maps"
    ));
    one(x)
}

/// The labels that an ending names its classes by, or their places, without the step that does it;
/// `None` where its elements are other numbers.
fn named(mut ending: Ending) -> Option<(Ending, Labels)> {
    let labels = match ending.steps.pop()? {
        Step::Lookup(labels) => Labels::Numbers(labels),
        Step::Words(words) => Labels::Words(words),
        step => {
            let places = step.places()?;
            ending.steps.push(step);
            Labels::Numbers((0..places).map(|p| p as f64).collect())
        }
    };
    Some((ending, labels))
}

/// `ArrayFeatureExtractor` of constant labels at a place that the client finds; `None` for one that
/// is imported as everywhere.
pub(in super::super) fn looked_up(cx: &NodeCx<'_>) -> Result<Option<Vec<Operand>>, Fault> {
    let Some(Operand::Ending(places)) = cx.optional(1) else { return Ok(None) };
    let table = match cx.optional(0) {
        Some(Operand::Constant(table)) => Labels::Numbers(numbers(table)?),
        Some(Operand::Words(words)) => Labels::Words(words.to_vec()),
        _ => return Ok(None),
    };
    let Some((mut ending, Labels::Numbers(places))) = named((**places).clone()) else {
        let help = "export the scores alone, without the output of labels";
        let message = "it looks labels up at other than places";
        return Err(fault_help(Code::UnsupportedMode, message, help));
    };
    let place = |&p: &f64| {
        let there = p >= 0.0 && p.fract() == 0.0 && p < table.len() as f64;
        let message = || format!("it looks up label {p} of {}", table.len());
        if there { Ok(p as usize) } else { Err(fault(Code::BadNode, message())) }
    };
    let places = places.iter().map(place).collect::<Result<Vec<_>, _>>()?;
    let labels = match &table {
        Labels::Numbers(table) => Labels::Numbers(places.iter().map(|&p| table[p]).collect()),
        Labels::Words(table) => Labels::Words(places.iter().map(|&p| table[p].clone()).collect()),
    };
    ending.shape = vec![1, ending.shape.iter().product()];
    Ok(Some(vec![Operand::Ending(Box::new(ending.then(labels.step())))]))
}

/// A list of numbers.
fn numbers(table: &Array) -> Result<Vec<f64>, Fault> {
    let outer = table.shape.split_last().map_or([].as_slice(), |(_, outer)| outer);
    let is_list =
        outer.iter().all(|&d| d == 1) && matches!(table.data, Data::Int(_) | Data::Float(_));
    let numbers = table.floats();
    if is_list && numbers.iter().all(|v| v.is_finite()) {
        return Ok(numbers);
    }
    let message = format!("labels of shape {:?} ({})", table.shape, table.data.kind());
    let help = "export the scores alone, without the output of labels";
    Err(fault_help(Code::UnsupportedMode, message, help))
}

/// `LabelEncoder` of labels, or places of classes, that the client finds.
pub(in super::super) fn encoded(cx: &NodeCx<'_>, ending: Ending) -> Result<Ending, Fault> {
    let Some((ending, labels)) = named(ending) else {
        return Err(fault_help(
            Code::UnsupportedMode,
            "it encodes numbers that are not the labels of classes",
            "let the client encode its input, and let a LabelEncoder follow an ArgMax or a classifier",
        ));
    };
    let code = Encoding::of(cx, matches!(labels, Labels::Words(_)))?;
    let places: Vec<Option<usize>> = match (&labels, &code.keys) {
        (Labels::Numbers(labels), Labels::Numbers(keys)) => {
            labels.iter().map(|l| keys.iter().position(|k| k == l)).collect()
        }
        (Labels::Words(labels), Labels::Words(keys)) => {
            labels.iter().map(|l| keys.iter().position(|k| k == l)).collect()
        }
        _ => return Err(fault(Code::BadNode, "labels and keys are of different types")),
    };
    Ok(ending.then(match (code.values, code.other) {
        (Labels::Numbers(values), Other::Number(other)) => {
            Step::Lookup(places.into_iter().map(|p| p.map_or(other, |p| values[p])).collect())
        }
        (Labels::Words(values), Other::Word(other)) => {
            let word = |p: Option<usize>| p.map_or_else(|| other.clone(), |p| values[p].clone());
            Step::Words(places.into_iter().map(word).collect())
        }
        _ => return Err(fault(Code::BadNode, "values and their default are of different types")),
    }))
}

/// What a label without a key becomes.
enum Other {
    Number(f64),
    Word(String),
}

/// The table of a `LabelEncoder`.
struct Encoding {
    keys: Labels,
    values: Labels,
    other: Other,
}

impl Encoding {
    fn of(cx: &NodeCx<'_>, from_words: bool) -> Result<Self, Fault> {
        let found = match texts(cx, "classes_strings")? {
            Some(classes) if cx.opset < 2 => Self::old(cx, classes, from_words)?,
            _ => {
                let (keys, _) = Self::list(cx, "keys")?;
                let (values, other) = Self::list(cx, "values")?;
                Self { keys, values, other }
            }
        };
        let twice = match &found.keys {
            Labels::Numbers(keys) => (1..keys.len()).any(|i| keys[..i].contains(&keys[i])),
            Labels::Words(keys) => (1..keys.len()).any(|i| keys[..i].contains(&keys[i])),
        };
        let (keys, values) = (found.keys.len(), found.values.len());
        if keys != values || twice {
            let what = if twice { "with a key twice" } else { "in pairs" };
            let message = format!("{keys} keys and {values} values, {what}");
            return Err(fault(Code::BadNode, message));
        }
        Ok(found)
    }

    /// Opset 1: words and their places, either way.
    fn old(cx: &NodeCx<'_>, classes: Vec<String>, from_words: bool) -> Result<Self, Fault> {
        let places = Labels::Numbers((0..classes.len()).map(|p| p as f64).collect());
        let words = Labels::Words(classes);
        Ok(if from_words {
            let other = Other::Number(cx.attr_int("default_int64", -1)? as f64);
            Self { keys: words, values: places, other }
        } else {
            let other = Other::Word(cx.attr_text("default_string", "_Unused")?);
            Self { keys: places, values: words, other }
        })
    }

    /// The list of this name, and the default of its type.
    fn list(cx: &NodeCx<'_>, name: &str) -> Result<(Labels, Other), Fault> {
        if let Some(words) = texts(cx, &format!("{name}_strings"))? {
            return Ok((
                Labels::Words(words),
                Other::Word(cx.attr_text("default_string", "_Unused")?),
            ));
        }
        if let Some(whole) = cx.attr_ints(&format!("{name}_int64s"))? {
            let other = Other::Number(cx.attr_int("default_int64", -1)? as f64);
            return Ok((Labels::Numbers(whole.into_iter().map(|v| v as f64).collect()), other));
        }
        if let Some(tensor) = tensor(cx, &format!("{name}_tensor"))? {
            return Self::tensors(cx, tensor);
        }
        let floats = cx.attr_floats(&format!("{name}_floats"))?;
        if floats.is_empty() {
            return Err(fault_help(
                Code::UnsupportedMode,
                format!("{name} are neither strings, int64s, floats nor a tensor"),
                "export with ai.onnx.ml opset 2 or later, with keys and values",
            ));
        }
        Ok((Labels::Numbers(floats), Other::Number(cx.attr_float("default_float", 0.0)?)))
    }
    /// A list that is a tensor (opset 4), and the default that is one.
    fn tensors(cx: &NodeCx<'_>, list: &Tensor) -> Result<(Labels, Other), Fault> {
        let default = tensor(cx, "default_tensor")?;
        if let Some(words) = Array::words(list) {
            let word = default.and_then(Array::words).and_then(|w| w.into_iter().next());
            let word = word.map_or_else(|| cx.attr_text("default_string", "_Unused"), Ok)?;
            return Ok((Labels::Words(words), Other::Word(word)));
        }
        let list = Array::from_tensor(list)?;
        let other = match (default, &list.data) {
            (Some(default), _) => Array::from_tensor(default)?.floats().first().copied(),
            (None, Data::Int(_)) => Some(cx.attr_int("default_int64", -1)? as f64),
            (None, _) => Some(cx.attr_float("default_float", 0.0)?),
        };
        let other = other.ok_or_else(|| fault(Code::BadNode, "default_tensor is empty"))?;
        Ok((Labels::Numbers(numbers(&list)?), Other::Number(other)))
    }
}

/// An attribute that is a tensor.
fn tensor<'n>(cx: &NodeCx<'n>, name: &str) -> Result<Option<&'n Tensor>, Fault> {
    cx.node.attributes.tensor(name).map_err(|e| fault(Code::BadNode, e.to_string()))
}
