//! How much memory one run takes at most.
//!
//! Counted are the ciphertexts that live at the same time, the encoded diagonals of the transforms so far, the keys that
//! an instruction reads (packed) and those that a later one reads again (expanded), the partial sums of a linear map, and
//! what stands beside them from the start: tables of the transforms, the plan's constants, the program itself.

use std::collections::{BTreeMap, BTreeSet};

use heplan_ir::ckks::{CtType, Graph, Op};
use heplan_ir::constants::{ConstPool, Constant};
use heplan_ir::entity::{RegId, ValueId};
use heplan_ir::parameters::Parameters;
use heplan_ir::plan::{KeyKind, Plan, required_keys};

use super::{Limbs, LinearShape, Place, bytes_of_key};

/// Bytes of the program, its threads and the files that it reads.
const PROGRAM_BYTES: u64 = 16 << 20;
/// Words per coefficient and prime of the tables of a transform: twiddle factors with their quotients, both directions.
const TABLE_WORDS: u64 = 4;
/// Bytes of an entry of a diagonal: its slot and its value.
const ENTRY_BYTES: u64 = 8;
/// What the allocator holds of freed buffers of other sizes: 5 to 18 per cent on whole models.
const SLACK_PERCENT: u64 = 11;
/// Bytes of a coefficient.
const WORD: u64 = 8;

/// The most bytes that a run of `graph` holds.
pub(super) fn peak_bytes(graph: &Graph) -> u64 {
    let levels: BTreeMap<KeyKind, usize> =
        required_keys(graph.insts.iter().map(|i| (&i.op, i.ty.level)), &graph.consts)
            .into_iter()
            .map(|k| (k.kind, k.level))
            .collect();
    let keys_of = |i: usize| -> BTreeSet<KeyKind> {
        let inst = &graph.insts[i];
        let specs = required_keys([(&inst.op, inst.ty.level)], &graph.consts);
        specs.into_iter().map(|k| k.kind).collect()
    };
    let keys: Vec<BTreeSet<KeyKind>> = (0..graph.insts.len()).map(keys_of).collect();
    // First and last use of every key.
    let mut uses: BTreeMap<KeyKind, (usize, usize)> = BTreeMap::new();
    for (i, kinds) in keys.iter().enumerate() {
        kinds.iter().for_each(|&kind| uses.entry(kind).or_insert((i, i)).1 = i);
    }
    let batch = graph.parameters.batch();
    let ciphertexts = live_bytes(graph);
    let (mut encoded, mut peak) = (0, 0);
    for (i, inst) in graph.insts.iter().enumerate() {
        let at = Place::of(&graph.parameters, inst.ty.level);
        let mut now = ciphertexts[i];
        if let Op::Linear { transform, .. } = &inst.op {
            let shape = LinearShape::of(graph.consts.transform(*transform), batch);
            if !shape.scalar {
                encoded += 2 * WORD * (shape.diagonals * shape.period) as u64;
            }
            now += linear_bytes(&Place::of(&graph.parameters, inst.ty.level + 1), &shape);
        } else if !keys[i].is_empty() {
            now += key_switch_bytes(&at);
        }
        for (kind, &level) in &levels {
            let (first, last) = uses[kind];
            now += match keys[i].contains(kind) {
                _ if first < last && (first..=last).contains(&i) => {
                    expanded_bytes(&Place::of(&graph.parameters, level))
                }
                true => bytes_of_key(&graph.parameters, level),
                false => 0,
            };
        }
        peak = peak.max(now + encoded);
    }
    with_slack(peak + standing_bytes(&graph.parameters, &graph.consts))
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
        let keys = required_keys([(&inst.op, inst.ty.level)], &plan.consts);
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
    with_slack(peak + standing_bytes(parameters, &plan.consts))
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

/// Bytes of a key, both halves: a word per coefficient, or half a word modulo short primes.
fn expanded_bytes(at: &Place) -> u64 {
    let Limbs { long, short } = at.wide_limbs();
    (at.digits() * (2 * long + short) * at.degree()) as u64 * WORD
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

/// Bytes of the ciphertexts that live during every instruction, its results included.
fn live_bytes(graph: &Graph) -> Vec<u64> {
    let mut last: Vec<Option<usize>> = vec![None; graph.values];
    for (i, inst) in graph.insts.iter().enumerate() {
        inst.op.operands().iter().for_each(|x| last[x.index()] = Some(i));
    }
    graph.outputs.iter().flat_map(|o| &o.1).for_each(|v| last[v.index()] = None);
    let kept: BTreeSet<ValueId> = graph.outputs.iter().flat_map(|o| o.1.clone()).collect();
    let mut bytes_of = vec![0u64; graph.values];
    let mut live = 0u64;
    let mut during = Vec::with_capacity(graph.insts.len());
    for (i, inst) in graph.insts.iter().enumerate() {
        for r in &inst.results {
            bytes_of[r.index()] = ciphertext_bytes(&graph.parameters, &inst.ty);
            live += bytes_of[r.index()];
        }
        during.push(live);
        let dead: BTreeSet<ValueId> = inst
            .op
            .operands()
            .into_iter()
            .chain(inst.results.iter().copied())
            .filter(|v| !kept.contains(v) && last[v.index()].is_none_or(|l| l == i))
            .collect();
        live -= dead.iter().map(|v| bytes_of[v.index()]).sum::<u64>();
    }
    during
}
