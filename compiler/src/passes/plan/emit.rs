//! Puts the plan together.
//!
//! Constants and origins that the scheduled instructions use are renumbered in the order of their
//! first use; nothing else reaches the file. Precision is left at zero: the pipeline measures it.

use std::collections::BTreeMap;

use heplan_ir::ckks::{CtType, Graph, Op, Plain};
use heplan_ir::constants::ConstPool;
use heplan_ir::entity::{ConstId, OriginId, RegId, ValueId};
use heplan_ir::origin::OriginTable;
use heplan_ir::plan::{Inst, Plan, required_keys};
use thiserror::Error;

use super::{registers, schedule};

/// A graph that is no plan; an earlier pass broke its contract.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EmitError {
    /// An input that no instruction takes up.
    #[error("input {0:?} has no instruction")]
    Input(String),
    /// An output whose ciphertexts differ in level, scale or degree, or that has none.
    #[error("the ciphertexts of output {0:?} are not of one type")]
    Output(String),
    /// A constant that is not in the pool.
    #[error("{0} is not in the pool")]
    Constant(ConstId),
}

/// Emits the plan of a graph.
///
/// # Errors
/// If the graph breaks the contract of its level.
pub fn emit(graph: &Graph) -> Result<Plan, EmitError> {
    let order = schedule::schedule(graph);
    let allocation = registers::allocate(graph, &order);
    let mut tables = Tables::default();
    let mut insts = Vec::with_capacity(order.len());
    for (&i, assigned) in order.iter().zip(allocation.insts) {
        let inst = &graph.insts[i];
        let mut operands = assigned.operands.iter().copied();
        let op: Op<RegId> = inst.op.map(|_| operands.next().expect("one register per operand"));
        insts.push(Inst {
            op: tables.constants(op, graph)?,
            results: assigned.results,
            ty: inst.ty.clone(),
            frees: assigned.frees,
            origin: tables.origin(inst.origin, graph),
        });
    }
    let keys =
        required_keys(insts.iter().map(|i| (&i.op, i.ty.level)), &tables.consts, &graph.parameters);
    let types = types(graph);
    let mut outputs = Vec::with_capacity(graph.outputs.len());
    for (port, values) in &graph.outputs {
        let error = || EmitError::Output(port.name.clone());
        let ty = values.first().and_then(|v| types.get(v)).ok_or_else(error)?;
        if values.iter().any(|v| types.get(v) != Some(ty)) {
            return Err(error());
        }
        let registers = values.iter().map(|v| allocation.outputs.get(v).copied());
        let registers = registers.collect::<Option<Vec<_>>>().ok_or_else(error)?;
        outputs.push((port.clone(), (*ty).clone(), registers));
    }
    let mut inputs = Vec::with_capacity(graph.inputs.len());
    for (index, port) in graph.inputs.iter().enumerate() {
        let ty = input_type(graph, index).ok_or_else(|| EmitError::Input(port.name.clone()))?;
        inputs.push((port.clone(), ty.clone()));
    }
    Ok(Plan {
        name: graph.name.clone(),
        parameters: graph.parameters.clone(),
        keys,
        insts,
        registers: allocation.registers,
        inputs,
        outputs,
        consts: tables.consts,
        origins: tables.labels,
        answers: Vec::new(),
        features: Vec::new(),
        precision_bits: 0.0,
    })
}

fn types(graph: &Graph) -> BTreeMap<ValueId, &CtType> {
    graph.insts.iter().flat_map(|i| i.results.iter().map(move |&r| (r, &i.ty))).collect()
}

fn input_type(graph: &Graph, index: usize) -> Option<&CtType> {
    let takes =
        |op: &Op<ValueId>| matches!(op, Op::Input { input, .. } if *input as usize == index);
    graph.insts.iter().find(|i| takes(&i.op)).map(|i| &i.ty)
}

/// The constants and origins in use, renumbered.
struct Tables {
    consts: ConstPool,
    labels: Vec<String>,
    origin_ids: BTreeMap<OriginId, u32>,
}

impl Default for Tables {
    fn default() -> Self {
        Self {
            consts: ConstPool::default(),
            labels: vec![String::new()],
            origin_ids: BTreeMap::from([(OriginTable::none(), 0)]),
        }
    }
}

impl Tables {
    fn constant(&mut self, id: ConstId, graph: &Graph) -> Result<ConstId, EmitError> {
        self.consts.adopt(&graph.consts, id).ok_or(EmitError::Constant(id))
    }

    /// The operation over the plan's own constants.
    fn constants(&mut self, mut op: Op<RegId>, graph: &Graph) -> Result<Op<RegId>, EmitError> {
        match &mut op {
            Op::Linear { transform: id, .. }
            | Op::AddPlain { plain: Plain::Vector(id), .. }
            | Op::MulPlain { plain: Plain::Vector(id), .. } => *id = self.constant(*id, graph)?,
            _ => {}
        }
        Ok(op)
    }

    fn origin(&mut self, id: OriginId, graph: &Graph) -> u32 {
        let labels = &mut self.labels;
        *self.origin_ids.entry(id).or_insert_with(|| {
            labels.push(graph.origins.label(id));
            u32::try_from(labels.len() - 1).expect("fewer than 2^32 origins")
        })
    }
}
