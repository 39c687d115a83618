//! Registers by liveness.
//!
//! A register holds one ciphertext at a time. An instruction's results go first into registers of
//! operands that it reads for the last time, in their order, so that an executor can work in
//! place; then into the free register with the smallest number. So the number of registers is the
//! largest number of ciphertexts that live at once.

use std::collections::{BTreeMap, BTreeSet};

use heplan_ir::ckks::Graph;
use heplan_ir::entity::{RegId, ValueId};

/// The registers of one instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assigned {
    /// One register per operand.
    pub operands: Vec<RegId>,
    /// One register per result.
    pub results: Vec<RegId>,
    /// Registers that are dead afterwards: of operands that are not overwritten, and of results
    /// that nothing reads.
    pub frees: Vec<RegId>,
}

/// The registers of a scheduled graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allocation {
    /// One entry per scheduled instruction.
    pub insts: Vec<Assigned>,
    /// The registers of the outputs' values.
    pub outputs: BTreeMap<ValueId, RegId>,
    /// Number of registers.
    pub registers: usize,
}

/// Assigns registers to the instructions `order` of `graph`.
///
/// Every operand must be defined earlier in the order.
///
/// # Panics
/// If the order is not topological.
pub fn allocate(graph: &Graph, order: &[usize]) -> Allocation {
    let kept: BTreeSet<ValueId> = graph.outputs.iter().flat_map(|o| o.1.iter().copied()).collect();
    let mut last = vec![0; graph.values];
    let mut read = vec![false; graph.values];
    for (at, &i) in order.iter().enumerate() {
        for x in graph.insts[i].op.operands() {
            (last[x.index()], read[x.index()]) = (at, true);
        }
    }
    let mut place: BTreeMap<ValueId, RegId> = BTreeMap::new();
    let mut free: BTreeSet<RegId> = BTreeSet::new();
    let mut registers = 0;
    let mut insts = Vec::with_capacity(order.len());
    for (at, &i) in order.iter().enumerate() {
        let inst = &graph.insts[i];
        let values = inst.op.operands();
        let operands: Vec<RegId> = values.iter().map(|x| place[x]).collect();
        let mut dying: Vec<RegId> = Vec::new();
        for x in values.iter().filter(|x| last[x.index()] == at && !kept.contains(x)) {
            dying.extend(place.remove(x));
        }
        let mut dying = dying.into_iter();
        let mut results = Vec::with_capacity(inst.results.len());
        for &r in &inst.results {
            let register = dying.next().or_else(|| free.pop_first()).unwrap_or_else(|| {
                registers += 1;
                RegId::new(registers - 1)
            });
            place.insert(r, register);
            results.push(register);
        }
        let unread = inst.results.iter().filter(|r| !read[r.index()] && !kept.contains(r));
        let unread = unread.filter_map(|r| place.remove(r));
        let mut frees: Vec<RegId> = dying.chain(unread).collect();
        free.extend(frees.iter().copied());
        frees.sort();
        insts.push(Assigned { operands, results, frees });
    }
    place.retain(|v, _| kept.contains(v));
    Allocation { insts, outputs: place, registers }
}
