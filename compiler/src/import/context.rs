//! What an operator's importer sees: its node, its operands, and the means to emit values.
//!
//! An importer never changes the graph but through [`NodeCx`], which gives every value the node's
//! origin and keeps the invariants of `Affine` (no value twice, sizes bounded before they are
//! allocated).

use std::rc::Rc;

use heplan_ir::diagnostic::{Code, Diagnostic};
use heplan_ir::entity::{OriginId, ValueId};
use heplan_ir::function::Function;
use heplan_ir::matrix::SparseMatrix;
use heplan_ir::tensor::{Graph, Op, Value};
use heplan_onnx::{AttributeError, DataType, Node};

use super::array::{Array, Data, MAX_CONSTANT, constant_elements, elements};
use super::tail::Ending;

/// A finding about the node at hand; the driver adds which node that is.
pub(super) type Fault = Box<Diagnostic>;

/// What an operator's importer answers: one operand per output.
pub(super) type Emitted = Result<Vec<Operand>, Fault>;

/// The most non-zeros that one matrix may have.
const MAX_NON_ZEROS: usize = 1 << 27;

/// A finding without a way out.
pub(super) fn fault(code: Code, message: impl Into<String>) -> Fault {
    Box::new(Diagnostic::new(code, message))
}

/// A finding with a way out.
pub(super) fn fault_help(code: Code, message: impl Into<String>, help: &str) -> Fault {
    Box::new(Diagnostic::new(code, message).help(help))
}

/// An encrypted tensor.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Secret {
    /// Its value in the graph.
    pub(super) id: ValueId,
    /// Its shape.
    pub(super) shape: Vec<usize>,
}

/// What a name of the ONNX graph stands for.
#[derive(Clone, Debug)]
pub(super) enum Operand {
    /// Data that the server sees encrypted.
    Secret(Secret),
    /// Known while compiling.
    Constant(Rc<Array>),
    /// Words that are known while compiling: names of classes, in the order of the file.
    Words(Rc<Vec<String>>),
    /// `tensor > bound` or `tensor < bound`, element by element: exists only to be recognised in
    /// a `Where`.
    Above {
        /// The compared tensor.
        tensor: Secret,
        /// The bound.
        bound: f64,
        /// Whether above is meant.
        above: bool,
        /// The same as the client computes it, where only outputs follow.
        ending: Option<Box<Ending>>,
    },
    /// What the client computes from encrypted scores after decryption.
    Ending(Box<Ending>),
    /// A result that is left out, with the reason.
    LeftOut(&'static str),
    /// The result of a node that was reported; reports about its users would be noise.
    Unknown,
}

/// A node with its operands and the graph that grows.
pub(super) struct NodeCx<'a> {
    pub(super) node: &'a Node,
    pub(super) opset: i64,
    pub(super) operands: Vec<Option<Operand>>,
    /// The element types in the file of those operands that are initialisers.
    pub(super) data_types: Vec<Option<DataType>>,
    pub(super) graph: &'a mut Graph,
    pub(super) origin: OriginId,
    pub(super) notes: &'a mut Vec<String>,
    /// Whether only outputs, and nodes that the client can apply, follow this node.
    pub(super) ends: bool,
}

impl NodeCx<'_> {
    /// An operand that the operator cannot do without.
    pub(super) fn operand(&self, index: usize) -> Result<&Operand, Fault> {
        self.optional(index)
            .ok_or_else(|| fault(Code::BadNode, format!("input {index} is missing")))
    }

    /// An operand that may be left out.
    pub(super) fn optional(&self, index: usize) -> Option<&Operand> {
        self.operands.get(index).and_then(Option::as_ref)
    }

    /// The shape of an operand.
    pub(super) fn shape(&self, index: usize) -> Result<Vec<usize>, Fault> {
        match self.operand(index)? {
            Operand::Secret(x) => Ok(x.shape.clone()),
            Operand::Constant(c) => Ok(c.shape.clone()),
            other => Err(self.not_a_tensor(index, other)),
        }
    }

    /// Number of elements of a result that is encrypted where operand 0 is, else constant.
    pub(super) fn count(&self, shape: &[usize]) -> Result<usize, Fault> {
        match self.operand(0)? {
            Operand::Secret(_) if !shape.contains(&0) => elements(shape),
            _ => constant_elements(shape),
        }
    }

    /// An operand that must be encrypted data.
    pub(super) fn secret(&self, index: usize) -> Result<Secret, Fault> {
        match self.operand(index)? {
            Operand::Secret(x) => Ok(x.clone()),
            Operand::Constant(_) => Err(fault(
                Code::UnsupportedMode,
                format!("input {index} is a constant, expected encrypted data"),
            )),
            other => Err(self.not_a_tensor(index, other)),
        }
    }

    /// An operand that must be known while compiling.
    pub(super) fn constant(&self, index: usize) -> Result<Rc<Array>, Fault> {
        match self.operand(index)? {
            Operand::Constant(c) => Ok(Rc::clone(c)),
            Operand::Secret(x) => Err(self.not_known(index, x)),
            other => Err(self.not_a_tensor(index, other)),
        }
    }

    /// The finding about encrypted data where a constant is expected.
    fn not_known(&self, index: usize, x: &Secret) -> Fault {
        let message = format!("input {index} depends on encrypted data, expected a constant");
        let is_input = |v: &&Value| matches!(v.op, Op::Input { .. });
        // Something has to stay encrypted.
        let several = self.graph.values.iter().filter(is_input).count() > 1;
        let help = match &self.graph.value(x.id).op {
            Op::Input { name } if several => format!(
                "if {name:?} is no secret, give its value: --public-input {name}=value.npy; \
                 else export the model with it as an initialiser"
            ),
            _ => "make it an initialiser or a Constant of the model".to_owned(),
        };
        fault_help(Code::UnsupportedMode, message, &help)
    }

    /// An optional operand that must be known while compiling.
    pub(super) fn optional_constant(&self, index: usize) -> Result<Option<Rc<Array>>, Fault> {
        self.optional(index).map(|_| self.constant(index)).transpose()
    }

    /// A constant operand's elements as floats, each of them finite, with its shape.
    pub(super) fn weights(&self, index: usize) -> Result<(Vec<usize>, Vec<f64>), Fault> {
        let array = self.constant(index)?;
        let values = array.floats();
        self.finite(&values, &format!("input {index}"), self.node.inputs.get(index))?;
        Ok((array.shape.clone(), values))
    }

    /// A constant operand of integers.
    pub(super) fn ints(&self, index: usize) -> Result<Vec<i64>, Fault> {
        match &self.constant(index)?.data {
            Data::Int(v) => Ok(v.clone()),
            other => Err(fault(
                Code::BadNode,
                format!("input {index} is {}, expected integers", other.kind()),
            )),
        }
    }

    /// Integers that newer opsets pass as an operand and older ones as an attribute.
    pub(super) fn ints_or_attribute(
        &self,
        index: usize,
        name: &str,
    ) -> Result<Option<Vec<i64>>, Fault> {
        if self.optional(index).is_some() {
            return self.ints(index).map(Some);
        }
        self.attr_ints(name)
    }

    /// Refuses NaN and infinity, which encryption would spread over every slot.
    pub(super) fn finite(
        &self,
        values: &[f64],
        what: &str,
        name: Option<&String>,
    ) -> Result<(), Fault> {
        let Some(at) = values.iter().position(|v| !v.is_finite()) else { return Ok(()) };
        let name = name.map_or(String::new(), |n| format!(" {n:?}"));
        Err(fault_help(
            Code::BadTensor,
            format!("{what}{name} holds {} at element {at}", values[at]),
            "export the model with finite weights",
        ))
    }

    fn not_a_tensor(&self, index: usize, operand: &Operand) -> Fault {
        let (what, help) = match operand {
            Operand::Above { .. } => (
                "a comparison of encrypted data",
                "let a Where read it whose two sides meet at the bound, as Relu's do, or end the \
                 graph with it, and decrypt applies it",
            ),
            Operand::LeftOut(why) => (*why, ""),
            Operand::Words(_) => (
                "text, which no operator here computes with",
                "let the client encode texts, and export classes as integers",
            ),
            Operand::Ending(_) => (
                "computed by the client after decryption",
                "end the graph here: drop this node and those behind it from the export, and let \
                 the client do their work",
            ),
            _ => ("unknown", ""),
        };
        let mut finding = fault(Code::UnsupportedMode, format!("input {index} is {what}"));
        finding.help = (!help.is_empty()).then(|| help.to_owned());
        finding
    }

    /// An integer attribute.
    pub(super) fn attr_int(&self, name: &str, default: i64) -> Result<i64, Fault> {
        Ok(self.node.attributes.int(name).map_err(bad_attribute)?.unwrap_or(default))
    }

    /// A float attribute.
    pub(super) fn attr_float(&self, name: &str, default: f64) -> Result<f64, Fault> {
        let value = self.node.attributes.float(name).map_err(bad_attribute)?;
        let value = value.map_or(default, f64::from);
        if value.is_finite() {
            Ok(value)
        } else {
            Err(fault(Code::BadNode, format!("attribute {name:?} is {value}")))
        }
    }

    /// A text attribute.
    pub(super) fn attr_text(&self, name: &str, default: &str) -> Result<String, Fault> {
        let value = self.node.attributes.text(name).map_err(bad_attribute)?;
        Ok(value.unwrap_or(default).to_owned())
    }

    /// A list of integers.
    pub(super) fn attr_ints(&self, name: &str) -> Result<Option<Vec<i64>>, Fault> {
        Ok(self.node.attributes.ints(name).map_err(bad_attribute)?.map(<[i64]>::to_vec))
    }

    /// A list of finite floats; empty where the attribute is absent.
    pub(super) fn attr_floats(&self, name: &str) -> Result<Vec<f64>, Fault> {
        let values = self.node.attributes.floats(name).map_err(bad_attribute)?.unwrap_or(&[]);
        let values: Vec<f64> = values.iter().map(|&v| f64::from(v)).collect();
        self.finite(&values, &format!("attribute {name:?}"), None)?;
        Ok(values)
    }

    /// Emits `y = Σ M·x + b`; equal operands are merged and an all-zero bias is dropped.
    pub(super) fn affine(
        &mut self,
        terms: Vec<(ValueId, SparseMatrix)>,
        bias: Option<Vec<f64>>,
        shape: Vec<usize>,
    ) -> Secret {
        let mut merged: Vec<(ValueId, SparseMatrix)> = Vec::with_capacity(terms.len());
        for (id, matrix) in terms {
            match merged.iter_mut().find(|t| t.0 == id) {
                Some(term) => term.1 = term.1.plus(&matrix),
                None => merged.push((id, matrix)),
            }
        }
        let consts = &mut self.graph.consts;
        let terms = merged.into_iter().map(|(id, m)| (id, consts.add_matrix(m))).collect();
        let bias = bias.filter(|b| b.iter().any(|&v| v != 0.0)).map(|b| consts.add_vector(b));
        let id = self.graph.push(Op::Affine { terms, bias }, shape.clone(), self.origin);
        Secret { id, shape }
    }

    /// Emits a matrix of `rows` rows over one tensor, after a check of its size: at most
    /// `per_row` entries in each row.
    pub(super) fn matrix(
        &mut self,
        x: &Secret,
        shape: Vec<usize>,
        per_row: usize,
        bias: Option<Vec<f64>>,
        fill: impl FnMut(usize, &mut Vec<(u32, f64)>),
    ) -> Result<Secret, Fault> {
        let rows = elements(&shape)?;
        let cols = elements(&x.shape)?;
        non_zeros(rows, per_row)?;
        let matrix = SparseMatrix::from_rows(rows, cols, fill);
        Ok(self.affine(vec![(x.id, matrix)], bias, shape))
    }

    /// Emits the tensor whose element `r` is the operand's element `source[r]`, or `fill`.
    pub(super) fn gather(
        &mut self,
        x: &Secret,
        shape: Vec<usize>,
        source: &[Option<u32>],
        fill: f64,
    ) -> Result<Secret, Fault> {
        let bias: Vec<f64> = source.iter().map(|s| if s.is_none() { fill } else { 0.0 }).collect();
        self.matrix(x, shape, 1, Some(bias), |r, row| row.extend(source[r].map(|c| (c, 1.0))))
    }

    /// The same elements under another shape; nothing is emitted where the shape is the same.
    pub(super) fn reshape(&mut self, x: Secret, shape: Vec<usize>) -> Secret {
        if x.shape == shape {
            return x;
        }
        let identity = SparseMatrix::identity(shape.iter().product());
        self.affine(vec![(x.id, identity)], None, shape)
    }

    /// `scale·x`, nothing where `scale` is 1.
    pub(super) fn scaled(&mut self, x: Secret, scale: f64) -> Secret {
        if scale == 1.0 {
            return x;
        }
        let count = x.shape.iter().product();
        let matrix = SparseMatrix::diagonal(&vec![scale; count]);
        self.affine(vec![(x.id, matrix)], None, x.shape)
    }

    /// The function on every element.
    pub(super) fn function(&mut self, x: &Secret, function: Function) -> Secret {
        let op = Op::Function { x: x.id, function };
        let id = self.graph.push(op, x.shape.clone(), self.origin);
        Secret { id, shape: x.shape.clone() }
    }

    /// The element-wise product of two tensors of equal shape.
    pub(super) fn product(&mut self, a: &Secret, b: &Secret) -> Secret {
        let id = self.graph.push(Op::Product { a: a.id, b: b.id }, a.shape.clone(), self.origin);
        Secret { id, shape: a.shape.clone() }
    }
}

/// Refuses matrices that would not fit in memory.
pub(super) fn non_zeros(rows: usize, per_row: usize) -> Result<(), Fault> {
    match rows.checked_mul(per_row) {
        Some(n) if n <= MAX_NON_ZEROS => Ok(()),
        _ => Err(fault_help(
            Code::UnsupportedMode,
            format!("its matrix has {rows} rows of {per_row} entries, more than {MAX_NON_ZEROS}"),
            "use a smaller input, fewer channels or larger strides",
        )),
    }
}

fn bad_attribute(error: AttributeError) -> Fault {
    fault(Code::BadNode, error.to_string())
}

/// A tensor position as a matrix column.
pub(super) fn column(index: usize) -> u32 {
    const { assert!(MAX_CONSTANT < u32::MAX as usize) };
    index as u32
}

/// One encrypted result.
pub(super) fn one(x: Secret) -> Emitted {
    Ok(vec![Operand::Secret(x)])
}

/// One constant result.
pub(super) fn known(array: Array) -> Emitted {
    Ok(vec![Operand::Constant(Rc::new(array))])
}
