//! Constants while a graph is imported: row-major arrays of floats, integers or truth values.
//!
//! Floats are `f64` whatever the model says: no constant becomes less exact than the file has it.

use heplan_ir::diagnostic::Code;
use heplan_onnx::{DataType, Elements, Tensor};

use super::context::{Fault, fault, fault_help};

/// The most elements that an encrypted tensor may have; the matrices over it must fit in memory.
pub(super) const MAX_ELEMENTS: usize = 1 << 24;

/// The most elements that a constant may have.
pub(super) const MAX_CONSTANT: usize = 1 << 27;

/// A constant.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Array {
    /// Lengths of the axes; none for a scalar.
    pub(super) shape: Vec<usize>,
    /// The elements, row-major, as many as the shape says.
    pub(super) data: Data,
}

/// The elements of an [`Array`].
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Data {
    /// Any float type.
    Float(Vec<f64>),
    /// Any integer type.
    Int(Vec<i64>),
    /// Truth values.
    Bool(Vec<bool>),
}

impl Data {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Float(v) => v.len(),
            Self::Int(v) => v.len(),
            Self::Bool(v) => v.len(),
        }
    }

    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Float(_) => "float",
            Self::Int(_) => "integer",
            Self::Bool(_) => "bool",
        }
    }

    /// The elements at these positions; where there is none, `fill` (or zero).
    pub(super) fn gather(&self, source: &[Option<u32>], fill: Option<&Self>) -> Self {
        fn pick<T: Copy>(v: &[T], source: &[Option<u32>], fill: T) -> Vec<T> {
            source.iter().map(|s| s.map_or(fill, |i| v[i as usize])).collect()
        }
        match self {
            Self::Float(v) => {
                let fill = if let Some(Self::Float(f)) = fill { f[0] } else { 0.0 };
                Self::Float(pick(v, source, fill))
            }
            Self::Int(v) => {
                let fill = if let Some(Self::Int(f)) = fill { f[0] } else { 0 };
                Self::Int(pick(v, source, fill))
            }
            Self::Bool(v) => {
                let fill = if let Some(Self::Bool(f)) = fill { f[0] } else { false };
                Self::Bool(pick(v, source, fill))
            }
        }
    }
}

impl Array {
    /// A list of integers.
    pub(super) fn ints(values: Vec<i64>) -> Self {
        Self { shape: vec![values.len()], data: Data::Int(values) }
    }

    /// A single float.
    pub(super) fn scalar(value: f64) -> Self {
        Self { shape: Vec::new(), data: Data::Float(vec![value]) }
    }

    /// Decodes a tensor of the file.
    pub(super) fn from_tensor(tensor: &Tensor) -> Result<Self, Fault> {
        let name = tensor.name();
        count(tensor.dims(), MAX_CONSTANT)?;
        let elements = tensor.elements();
        let elements =
            elements.map_err(|e| fault(Code::BadTensor, format!("tensor {name:?}: {e}")))?;
        let data = match elements {
            Elements::Float(v) => Data::Float(v),
            Elements::Int(v) => Data::Int(v),
            Elements::Bool(v) => Data::Bool(v),
            Elements::Text(_) => {
                let message = format!("tensor {name:?} holds text, which no operator here takes");
                let help = "train on numbers: let the client encode categories, and export classes \
                            as integers";
                return Err(fault_help(Code::UnsupportedType, message, help));
            }
        };
        Ok(Self { shape: tensor.dims().to_vec(), data })
    }

    /// Decodes a list of words, if the tensor is one.
    pub(super) fn words(tensor: &Tensor) -> Option<Vec<String>> {
        let (&[ref outer @ .., _], DataType::Text) = (tensor.dims(), tensor.data_type()) else {
            return None;
        };
        let words = tensor.elements().ok().filter(|_| outer.iter().all(|&d| d == 1))?;
        let Elements::Text(words) = words else { return None };
        let text = |w: &[u8]| std::str::from_utf8(w).ok().map(str::to_owned);
        words.iter().map(|w| text(w)).collect()
    }

    /// The elements as floats, whatever they are.
    pub(super) fn floats(&self) -> Vec<f64> {
        match &self.data {
            Data::Float(v) => v.clone(),
            Data::Int(v) => v.iter().map(|&x| x as f64).collect(),
            Data::Bool(v) => v.iter().map(|&x| f64::from(u8::from(x))).collect(),
        }
    }
}

/// Number of elements of an encrypted tensor, refused where there are none or too many.
pub(super) fn elements(shape: &[usize]) -> Result<usize, Fault> {
    if shape.contains(&0) {
        return Err(fault(Code::ShapeMismatch, format!("shape {shape:?} has no elements")));
    }
    count(shape, MAX_ELEMENTS)
}

/// Number of elements of a constant, which may be none.
pub(super) fn constant_elements(shape: &[usize]) -> Result<usize, Fault> {
    count(shape, MAX_CONSTANT)
}

fn count(shape: &[usize], most: usize) -> Result<usize, Fault> {
    if shape.contains(&0) {
        return Ok(0);
    }
    let count = shape.iter().try_fold(1_usize, |n, &d| n.checked_mul(d));
    count.filter(|&n| n <= most).ok_or_else(|| {
        let message = format!("a tensor of shape {shape:?} has more than {most} elements");
        fault_help(Code::UnsupportedMode, message, "use a smaller input")
    })
}

/// Row-major strides.
pub(super) fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    strides
}

/// For every element of a view, row-major, its position in the source:
/// `offset + Σ index[axis]·stride[axis]`.
pub(super) fn strided(shape: &[usize], strides: &[isize], offset: isize) -> Vec<usize> {
    let count = shape.iter().product();
    let mut out = Vec::with_capacity(count);
    let mut index = vec![0_usize; shape.len()];
    let mut at = offset;
    for _ in 0..count {
        out.push(usize::try_from(at).expect("a view stays inside its source"));
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            at += strides[axis];
            if index[axis] < shape[axis] {
                break;
            }
            at -= strides[axis] * shape[axis] as isize;
            index[axis] = 0;
        }
    }
    out
}

/// The shape that two shapes broadcast to, by the rules of NumPy.
pub(super) fn broadcast_shape(a: &[usize], b: &[usize]) -> Result<Vec<usize>, Fault> {
    let rank = a.len().max(b.len());
    let at = |shape: &[usize], axis: usize| {
        let lead = rank - shape.len();
        if axis < lead { 1 } else { shape[axis - lead] }
    };
    let mut out = Vec::with_capacity(rank);
    for axis in 0..rank {
        out.push(match (at(a, axis), at(b, axis)) {
            (x, y) if x == y => x,
            (1, y) => y,
            (x, 1) => x,
            _ => {
                let message = format!("shapes {a:?} and {b:?} do not broadcast");
                let help = "export with example inputs of batch 1; an axis that the model leaves \
                            open is taken to be 1, unless --dim NAME=N says otherwise";
                return Err(fault_help(Code::ShapeMismatch, message, help));
            }
        });
    }
    Ok(out)
}

/// For every element of `out`, the element of `input` that broadcasting puts there.
pub(super) fn broadcast_source(out: &[usize], input: &[usize]) -> Vec<usize> {
    let lead = out.len() - input.len();
    let own = strides(input);
    let stride = |axis: usize| {
        if axis < lead || input[axis - lead] == 1 { 0 } else { own[axis - lead] as isize }
    };
    let view: Vec<isize> = (0..out.len()).map(stride).collect();
    strided(out, &view, 0)
}

/// An axis counted from the front.
pub(super) fn axis(axis: i64, rank: usize) -> Result<usize, Fault> {
    let shifted = if axis < 0 { axis + rank as i64 } else { axis };
    usize::try_from(shifted).ok().filter(|&a| a < rank).ok_or_else(|| {
        fault(Code::BadNode, format!("axis {axis} does not exist in a tensor of rank {rank}"))
    })
}

/// Distinct axes counted from the front, in increasing order.
pub(super) fn axes(given: &[i64], rank: usize) -> Result<Vec<usize>, Fault> {
    let mut out = given.iter().map(|&a| axis(a, rank)).collect::<Result<Vec<_>, _>>()?;
    out.sort_unstable();
    if out.windows(2).any(|w| w[0] == w[1]) {
        return Err(fault(Code::BadNode, format!("axes {given:?} name an axis twice")));
    }
    Ok(out)
}
