//! From ONNX to [`tensor::Graph`](heplan_ir::tensor::Graph).
//!
//! Everything linear becomes `Affine`, every univariate function a `Function`, every product of
//! two encrypted tensors a `Product`; what depends on no input is computed while importing and
//! disappears. Each operator is one function in the file of its theme and one line in
//! [`registry`]; activations that exporters write as several operators are recognised in
//! `patterns`.
//!
//! All findings are reported together: the results of a node with a finding are unknown, and what
//! depends on them is passed over in silence.
//!
//! The importer must not approximate, choose layouts, or change a name.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use heplan_ir::diagnostic::{Code, Diagnostic};
use heplan_ir::origin;
use heplan_ir::tail::Answer;
use heplan_ir::tensor::Graph;
use heplan_onnx::{ExternalError, Model, Node, OnnxError, TensorError};

use driver::attempt;

mod activation;
mod array;
mod attention;
mod bind;
mod choice;
mod compose;
mod constant;
mod context;
mod contrib;
mod control;
mod conv;
mod driver;
mod duels;
mod einsum;
mod elementwise;
mod extremum;
mod fold;
mod legacy;
mod loss;
mod matmul;
mod ml;
mod norm;
mod order;
mod pad;
mod patterns;
mod places;
mod pool;
mod quantise;
mod recurrent;
mod reduce;
mod refused;
pub mod registry;
mod resize;
mod sample;
mod select;
mod shape;
mod softmax;
mod spectral;
mod statistics;
mod survey;
mod sweep;
mod tail;
mod window;

pub use registry::{OperatorInfo, operator_table, operators};
pub use survey::{Status, Surveyed, survey};

/// The value of an input that is not encrypted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Public {
    /// Lengths of its axes.
    pub shape: Vec<usize>,
    /// Its elements, row-major, as many as the shape says; whole numbers for an input of integers,
    /// 0 and 1 for one of truth values.
    pub data: Vec<f64>,
}

/// What the caller decides about an import.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The graph's name in texts, usually the stem of the file.
    pub name: String,
    /// Lengths for symbolic axes by name. An open first axis is the batch and is 1 by itself.
    pub dimensions: BTreeMap<String, usize>,
    /// Whether what the client could compute at the end is computed on ciphertexts all the same.
    pub encrypted_tail: bool,
    /// Inputs that are constants of the plan, by name: the same for every client and every run.
    pub public: BTreeMap<String, Public>,
}

/// An imported model.
#[derive(Clone, Debug)]
pub struct Import {
    /// What is computed on ciphertexts.
    pub graph: Graph,
    /// What the client makes of the graph's outputs; empty where they are the model's.
    pub answers: Vec<Answer>,
    /// What a user should know and need not mend, one line each.
    pub notes: Vec<String>,
}

/// Reads and imports a model file, all of it for ciphertexts; its stem is the graph's name.
///
/// # Errors
/// Every finding, in the order of the file.
pub fn import_file(
    path: &Path,
    dimensions: &BTreeMap<String, usize>,
) -> Result<Import, Vec<Diagnostic>> {
    let dimensions = dimensions.clone();
    import_file_with(path, Options { dimensions, encrypted_tail: true, ..Options::default() })
}

/// Reads and imports a model file; its stem is the graph's name, whatever `options` call it.
///
/// # Errors
/// Every finding, in the order of the file.
pub fn import_file_with(path: &Path, options: Options) -> Result<Import, Vec<Diagnostic>> {
    let model = Model::read(path).map_err(|e| vec![diagnose(&e)])?;
    let name = path.file_stem().map_or_else(String::new, |s| s.to_string_lossy().into_owned());
    import(&model, &Options { name, ..options })
}

/// Imports a model.
///
/// # Errors
/// Every finding, in the order of the file.
pub fn import(model: &Model, options: &Options) -> Result<Import, Vec<Diagnostic>> {
    let order = order::order(&model.graph, |node| opset_of(model, node).unwrap_or(0))?;
    if options.encrypted_tail {
        return attempt(model, options, &order, BTreeSet::new());
    }
    let ends = tail::at_the_end(model, &order);
    // An end that the client cannot compute may still have an encrypted form.
    attempt(model, options, &order, ends)
        .or_else(|findings| attempt(model, options, &order, BTreeSet::new()).map_err(|_| findings))
}

/// The finding that a file which cannot be read stands for.
pub fn diagnose(error: &OnnxError) -> Diagnostic {
    let code = match error {
        OnnxError::IrVersion { .. } | OnnxError::Opset { .. } | OnnxError::OpsetConflict { .. } => {
            Code::OpsetOutOfRange
        }
        OnnxError::Tensor { source: TensorError::External(_), .. } => Code::ExternalData,
        OnnxError::Tensor { .. } => Code::BadTensor,
        OnnxError::Attribute { .. } => Code::BadNode,
        _ => Code::NotOnnx,
    };
    let finding = Diagnostic::new(code, error.to_string());
    match smallest_change(error) {
        Some(help) => finding.help(help),
        None => finding,
    }
}

/// The way out of what is wrong with a file, where it is nearer than that of the code.
fn smallest_change(error: &OnnxError) -> Option<String> {
    match error {
        OnnxError::Opset { domain, found, min, max, .. } => {
            let domain = if domain == "ai.onnx" { "opset" } else { domain };
            Some(if found < min {
                // Exporters of the default domain have been sound since 13.
                format!("export with {domain} >= {}", if domain == "opset" { 13 } else { *min })
            } else {
                format!("export with {domain} <= {max}")
            })
        }
        OnnxError::OpsetConflict { domain, first, second, .. } => {
            let newer = first.max(second);
            Some(format!("declare domain {domain:?} once, at opset {newer}, or export again"))
        }
        OnnxError::IrVersion { found, min, max, .. } => Some(if found < min {
            "export again, with a current version of the exporter".to_owned()
        } else {
            format!("save the model with IR version {max}: model.ir_version = {max}")
        }),
        OnnxError::Tensor { source: TensorError::External(error), .. } => match error {
            ExternalError::Outside { .. } => Some(
                "put the data file into the model's folder, and its name, without a path, into the model"
                    .to_owned(),
            ),
            ExternalError::PastEnd { .. } | ExternalError::Length { .. } => Some(
                "copy model and data files again, from one export".to_owned(),
            ),
            _ => None,
        },
        _ => None,
    }
}

/// The node as messages and origins name it.
fn origin_of(node: &Node) -> origin::Node {
    let op = if node.domain.is_empty() {
        node.op_type.clone()
    } else {
        format!("{}.{}", node.domain, node.op_type)
    };
    let index = u32::try_from(node.index).expect("a file has fewer than 2^32 nodes");
    origin::Node { index, name: node.name.clone(), op }
}

/// The version of the node's domain. Exporters may leave out the default domain where only others
/// are used.
fn opset_of(model: &Model, node: &Node) -> Option<i64> {
    model.opset(&node.domain)
}
