//! How much memory one run takes at most.
//!
//! The prediction follows the buffers of a run ([`super::trace`]); beside them stand, from the start, tables of the
//! transforms, the plan's constants and the program itself.
//! The least that a run takes is a sum of what has to live at the same time.

use std::collections::{BTreeMap, BTreeSet};

use heplan_ir::ckks::{CtType, Graph, Op};
use heplan_ir::constants::{ConstPool, Constant};
use heplan_ir::entity::{RegId, ValueId};
use heplan_ir::parameters::Parameters;
use heplan_ir::plan::{Plan, required_keys};

use super::trace::{Step, most_bytes};
use super::{LinearShape, Place, bytes_of_key};

/// Bytes of the program, its threads and the files that it reads: 7 to 9 MB on whole models.
const PROGRAM_BYTES: u64 = 8 << 20;
/// Threads that the prediction is for.
const THREADS: usize = 2;
/// Bytes of the least that are not followed: buffers of sizes that do not serve each other.
const LEAST_BYTES: u64 = 16 << 20;
/// Words per coefficient and prime of the tables of a transform: twiddle factors of both directions.
const TABLE_WORDS: u64 = 2;
/// Bytes of an entry of a diagonal: its slot and its value.
const ENTRY_BYTES: u64 = 8;
/// What the allocator holds of freed buffers of other sizes: 5 to 18 per cent on whole models.
const SLACK_PERCENT: u64 = 11;
/// Bytes of a coefficient.
const WORD: u64 = 8;

/// The most bytes that a run of `graph` holds.
pub(super) fn peak_bytes(graph: &Graph) -> u64 {
    let mut last: Vec<Option<usize>> = vec![None; graph.values];
    for (i, inst) in graph.insts.iter().enumerate() {
        inst.op.operands().iter().for_each(|x| last[x.index()] = Some(i));
    }
    let kept: BTreeSet<ValueId> = graph.outputs.iter().flat_map(|o| o.1.clone()).collect();
    let steps = graph.insts.iter().enumerate().map(|(i, inst)| {
        let touched = inst.op.operands().into_iter().chain(inst.results.iter().copied());
        let dead = |v: &ValueId| !kept.contains(v) && last[v.index()].is_none_or(|l| l == i);
        let frees = touched.filter(dead).collect();
        Step { op: &inst.op, ty: &inst.ty, results: inst.results.clone(), frees }
    });
    let steps: Vec<_> = steps.collect();
    standing_bytes(&graph.parameters, &graph.consts)
        + most_bytes(&steps, &graph.parameters, &graph.consts, THREADS)
}

/// The most bytes that a run of a plan holds on two threads, by prediction.
pub fn plan_peak_bytes(plan: &Plan) -> u64 {
    let steps = plan.insts.iter().map(|inst| Step {
        op: &inst.op,
        ty: &inst.ty,
        results: inst.results.clone(),
        frees: inst.frees.clone(),
    });
    let steps: Vec<_> = steps.collect();
    standing_bytes(&plan.parameters, &plan.consts)
        + most_bytes(&steps, &plan.parameters, &plan.consts, THREADS)
}

/// The fewest bytes in which a plan runs on so many threads: nothing is kept that can be read or
/// encoded again.
pub fn least_bytes(plan: &Plan, threads: usize) -> u64 {
    let (parameters, batch) = (&plan.parameters, plan.parameters.batch());
    let mut registers: BTreeMap<RegId, u64> = BTreeMap::new();
    let mut peak = 0;
    for inst in &plan.insts {
        let at = Place::of(parameters, inst.ty.level);
        let bytes = ciphertext_bytes(parameters, &inst.ty);
        let operands: u64 = inst.results.iter().filter_map(|r| registers.get(r)).sum();
        let mut now = registers.values().sum::<u64>() - operands;
        registers.extend(inst.results.iter().map(|&r| (r, bytes)));
        // What an instruction overwrites it may still be reading, and so may those that run beside it.
        now += operands + bytes * (inst.results.len() + threads - 1) as u64;
        let keys = required_keys([(&inst.op, inst.ty.level)], &plan.consts, &plan.parameters);
        now += keys.iter().map(|k| bytes_of_key(parameters, k.level)).sum::<u64>();
        if let Op::Linear { transform, .. } = &inst.op {
            let shape = LinearShape::of(plan.consts.transform(*transform), batch);
            // Encoded for this one use, and every rotation at one prime per thread.
            let rotated = 2 * (shape.babies + shape.inputs) * threads * at.degree();
            now += linear_bytes(&Place::of(parameters, inst.ty.level + 1), &shape)
                + WORD * (rotated + 2 * shape.diagonals * shape.period) as u64;
        } else if !keys.is_empty() {
            now += key_switch_bytes(&at) * threads as u64;
        }
        peak = peak.max(now);
        registers.retain(|r, _| !inst.frees.contains(r));
    }
    with_slack(peak + standing_bytes(parameters, &plan.consts) + LEAST_BYTES)
}

/// What these bytes take with what the allocator holds beside them.
fn with_slack(bytes: u64) -> u64 {
    bytes + bytes / 100 * SLACK_PERCENT
}

/// Tables, constants, the program.
fn standing_bytes(parameters: &Parameters, consts: &ConstPool) -> u64 {
    let primes = (parameters.q().len() + parameters.p().len()) as u64;
    let tables = TABLE_WORDS * WORD * primes * parameters.n() as u64;
    let constant = |c: &Constant| match c {
        Constant::Transform(t) => {
            t.diagonals.iter().map(|d| d.slots.len() as u64).sum::<u64>() * ENTRY_BYTES
        }
        Constant::Vector(v) => v.len() as u64 * WORD,
        // Of the tensor level; a plan has none.
        Constant::Matrix(_) | Constant::Polynomials(_) => 0,
    };
    let constants: u64 = consts.iter().map(|(_, c)| constant(c)).sum();
    PROGRAM_BYTES + tables + constants
}

/// Digits and the two sums of a key switch.
fn key_switch_bytes(at: &Place) -> u64 {
    ((2 * at.limbs() + 2 * at.wide()) * at.degree()) as u64 * WORD
}

/// Digits of the operands, and sums that are still to be rescaled; those that stay extended are counted
/// among the ciphertexts.
fn linear_bytes(at: &Place, shape: &LinearShape) -> u64 {
    if shape.scalar {
        // The results, which are counted among the ciphertexts.
        return 0;
    }
    let sums = if shape.extended() { 0 } else { 2 * shape.outputs * at.limbs() };
    let digits = 2 * shape.inputs * at.limbs();
    ((sums + digits) * at.degree()) as u64 * WORD
}

/// Bytes of a ciphertext.
fn ciphertext_bytes(parameters: &Parameters, ty: &CtType) -> u64 {
    let at = Place::of(parameters, ty.level + usize::from(ty.extended));
    let special = if ty.extended { 2 * at.special * at.degree() } else { 0 };
    at.ciphertext_bytes(ty.degree) + special as u64 * WORD
}
