//! The order of execution.
//!
//! *What*: operations that no output depends on are left out; the others keep the order of the
//! graph, except that inputs and level drops move to where they hold the least memory.
//!
//! - An input is taken up just before its first use.
//! - A level drop happens right after the last other use of its operand, so that the higher
//!   ciphertext can go; but never later than just before the first use of the dropped one, where
//!   the operand is still needed.
//!
//! *Why at this place*: earlier levels are dataflow; registers need an order. Any topological
//! order gives the same numbers, so only memory is at stake.

use heplan_ir::ckks::{Graph, Inst, Op};
use heplan_ir::entity::ValueId;

/// Indices of the instructions of `graph` in order of execution.
pub fn schedule(graph: &Graph) -> Vec<usize> {
    let live = live(graph);
    let mut defined_by = vec![usize::MAX; graph.values];
    for (i, inst) in graph.insts.iter().enumerate() {
        inst.results.iter().for_each(|r| defined_by[r.index()] = i);
    }
    let mut order = Order {
        graph,
        defined_by,
        done: vec![false; graph.insts.len()],
        others: other_uses(graph, &live),
        drops: drops(graph, &live),
        out: Vec::new(),
    };
    for (i, inst) in graph.insts.iter().enumerate() {
        if live[i] && !movable(inst) {
            order.place(i);
        }
    }
    for v in graph.outputs.iter().flat_map(|o| &o.1) {
        order.place(order.defined_by[v.index()]);
    }
    order.out
}

fn movable(inst: &Inst) -> bool {
    matches!(inst.op, Op::Input { .. } | Op::DropLevel { .. })
}

/// Which instructions an output depends on.
fn live(graph: &Graph) -> Vec<bool> {
    let mut read = vec![false; graph.values];
    graph.outputs.iter().flat_map(|o| &o.1).for_each(|v| read[v.index()] = true);
    let mut live = vec![false; graph.insts.len()];
    for (i, inst) in graph.insts.iter().enumerate().rev() {
        live[i] = inst.results.iter().any(|r| read[r.index()]);
        if live[i] {
            inst.op.operands().iter().for_each(|x| read[x.index()] = true);
        }
    }
    live
}

/// For every value, how many live instructions other than level drops read it; outputs count one.
fn other_uses(graph: &Graph, live: &[bool]) -> Vec<usize> {
    let mut uses = vec![0; graph.values];
    graph.outputs.iter().flat_map(|o| &o.1).for_each(|v| uses[v.index()] += 1);
    for (inst, _) in graph.insts.iter().zip(live).filter(|(_, live)| **live) {
        if !matches!(inst.op, Op::DropLevel { .. }) {
            distinct(inst).iter().for_each(|x| uses[x.index()] += 1);
        }
    }
    uses
}

/// For every value, the live level drops that read it.
fn drops(graph: &Graph, live: &[bool]) -> Vec<Vec<usize>> {
    let mut drops = vec![Vec::new(); graph.values];
    for (i, inst) in graph.insts.iter().enumerate().filter(|(i, _)| live[*i]) {
        if let Op::DropLevel { x, .. } = inst.op {
            drops[x.index()].push(i);
        }
    }
    drops
}

fn distinct(inst: &Inst) -> Vec<ValueId> {
    let mut operands = inst.op.operands();
    operands.sort();
    operands.dedup();
    operands
}

struct Order<'a> {
    graph: &'a Graph,
    defined_by: Vec<usize>,
    done: Vec<bool>,
    /// Uses that are still to come, other than level drops.
    others: Vec<usize>,
    drops: Vec<Vec<usize>>,
    out: Vec<usize>,
}

impl Order<'_> {
    /// Places an instruction after the movable ones that it reads.
    fn place(&mut self, i: usize) {
        if self.done[i] {
            return;
        }
        self.done[i] = true;
        let inst = &self.graph.insts[i];
        let operands = distinct(inst);
        for x in &operands {
            self.place(self.defined_by[x.index()]);
        }
        self.out.push(i);
        if !matches!(inst.op, Op::DropLevel { .. }) {
            operands.iter().for_each(|x| self.others[x.index()] -= 1);
        }
        for v in operands.iter().chain(&inst.results) {
            if self.others[v.index()] == 0 {
                std::mem::take(&mut self.drops[v.index()]).into_iter().for_each(|d| self.place(d));
            }
        }
    }
}
