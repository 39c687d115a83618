//! The model owner's side: evaluation keys opened for a plan, inputs read, outputs written. Nothing here needs a secret.

use std::path::Path;
use std::sync::Arc;

use heplan_ir::ckks::Op;
use heplan_ir::constants::Constant;
use heplan_ir::container::Problem;
use heplan_ir::plan::{KeyKind, Plan, PlanId};
use heplan_ir::slots::Compact;
use heplan_lattice::RingError;
use thiserror::Error;

use crate::backend::CkksBackend;
use crate::ciphertext::Ciphertext;
use crate::client::port_headers;
use crate::context::Context;
use crate::error::EvalError;
use crate::evaluator::Evaluator;
use crate::files::FileError;
use crate::files::ciphertexts::{CiphertextFile, CiphertextHeader, Direction, write_ciphertexts};
use crate::files::evaluation_keys::EvaluationKeysFile;
use crate::keys::secret::KeyId;
use crate::keys::store::EvaluationKeys;

/// Why a run cannot begin or end.
#[derive(Debug, Error)]
pub enum ServerError {
    /// The lattice cannot carry the parameters.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// A file is at fault.
    #[error(transparent)]
    File(#[from] FileError),
    /// A key of the plan is not there.
    #[error(transparent)]
    Eval(#[from] EvalError),
}

/// A plan's backend with the keys of one client.
pub struct Server {
    backend: CkksBackend,
    plan: PlanId,
    key: KeyId,
    key_order: Vec<KeyKind>,
    /// What the plan's inputs leave out.
    compact: Vec<Compact>,
}

impl Server {
    /// Opens a client's evaluation keys for a plan; every key that the plan needs must be there. Keys are read when
    /// first used. `cache_bytes` bounds the encoded diagonals that are kept between samples.
    ///
    /// # Errors
    /// If the file is of another kind, plan or parameters, is damaged, or lacks a key.
    pub fn open(
        plan: &Plan,
        id: &PlanId,
        keys: &Path,
        cache_bytes: usize,
    ) -> Result<Self, ServerError> {
        let file = EvaluationKeysFile::open(keys)?;
        file.check_plan(id)?;
        let key = file.header().key;
        for needed in &plan.keys {
            let found = file.header().keys.iter().find(|k| k.kind == needed.kind);
            let found = found.ok_or(EvalError::MissingKey(needed.kind))?;
            if found.level < needed.level {
                let (kind, found, needed) = (needed.kind, found.level, needed.level);
                return Err(EvalError::KeyLevel { kind, found, needed }.into());
            }
        }
        let context = Context::new(&plan.parameters)?;
        let keys = EvaluationKeys::new(&context, file.into_source(&context)?);
        let backend = CkksBackend::new(Evaluator::new(Arc::new(keys)), cache_bytes);
        let compact = plan.inputs.iter().map(|(port, _)| port.compact).collect();
        Ok(Self { backend, plan: *id, key, key_order: key_order(plan), compact })
    }

    /// What runs the plan.
    pub fn backend(&self) -> &CkksBackend {
        &self.backend
    }

    /// What the keys belong to.
    pub fn context(&self) -> &Arc<Context> {
        self.backend.evaluator().context()
    }

    /// Opens a file of inputs, which must be for this plan and under the same key, and makes ready to run the plan on each
    /// of its batches: keys and diagonals are kept as those runs will use them.
    ///
    /// # Errors
    /// If the file is of another kind, plan or key, or damaged.
    pub fn open_inputs(&self, path: &Path) -> Result<CiphertextFile, ServerError> {
        let file = CiphertextFile::open(path)?;
        let batch = self.context().parameters().batch();
        file.check(Direction::Inputs, &self.plan, &self.key, batch)?;
        let mut inputs = file.header().ports.iter().zip(&self.compact);
        if let Some((port, _)) = inputs.find(|(port, wanted)| port.compact != **wanted) {
            let text = format!("input {:?} leaves out what the plan does not expect", port.name);
            return Err(FileError::from(Problem::Invalid(text).of(path)).into());
        }
        let runs = file.header().runs();
        self.backend.evaluator().keys().expect(&self.key_order, runs);
        self.backend.expect_runs(runs);
        Ok(file)
    }

    /// Writes the outputs of all runs (per run, per output, its ciphertexts) in answer to a file of inputs.
    ///
    /// # Errors
    /// If the target cannot be written.
    ///
    /// # Panics
    /// If the outputs are not those of the plan on these inputs.
    pub fn write_outputs(
        &self,
        path: &Path,
        plan: &Plan,
        inputs: &CiphertextHeader,
        outputs: &[Vec<Vec<Ciphertext>>],
    ) -> Result<(), ServerError> {
        let header = CiphertextHeader {
            direction: Direction::Outputs,
            plan: self.plan,
            key: self.key,
            request: inputs.request,
            samples: inputs.samples,
            batch: inputs.batch,
            ports: port_headers(plan.outputs.iter().map(|(port, _, _)| port)),
        };
        write_ciphertexts(path, &header, |run, port, part| &outputs[run][port][part])?;
        Ok(())
    }
}

/// The keys in the order in which a run asks for them.
fn key_order(plan: &Plan) -> Vec<KeyKind> {
    let mut order = Vec::new();
    let width = plan.parameters.width();
    for inst in &plan.insts {
        match &inst.op {
            Op::Relinearise { .. } => order.push(KeyKind::Relinearise),
            Op::Rotate { by, .. } | Op::RotateAdd { by, .. } => {
                order.push(KeyKind::rotation(*by, width));
            }
            Op::Bootstrap { .. } => order.extend(plan.parameters.bootstrap_key_order()),
            Op::Linear { transform, .. } => {
                if let Some(Constant::Transform(t)) = plan.consts.get(*transform) {
                    order.extend(t.steps().into_iter().map(KeyKind::Rotate));
                }
            }
            _ => {}
        }
    }
    order
}
