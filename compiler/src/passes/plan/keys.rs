//! The evaluation keys that a sequence of operations needs, each up to the level it is used at.
//!
//! A linear map needs the rotations by its baby and giant steps, at the level of its operands; the
//! zero steps need none. Keys are exact: what is not listed is never used.

use std::collections::BTreeMap;

use heplan_ir::ckks::Op;
use heplan_ir::constants::ConstPool;
use heplan_ir::plan::{KeyKind, KeySpec};

/// The keys of operations, given with the level of their results; sorted by kind.
///
/// # Panics
/// If a linear map's transform is missing; a verified graph has none such.
pub fn manifest<'a, V: Copy + 'a>(
    ops: impl IntoIterator<Item = (&'a Op<V>, usize)>,
    consts: &ConstPool,
) -> Vec<KeySpec> {
    let mut levels: BTreeMap<KeyKind, usize> = BTreeMap::new();
    let mut need = |kind, level| {
        let known = levels.entry(kind).or_insert(level);
        *known = level.max(*known);
    };
    for (op, level) in ops {
        match op {
            Op::Relinearise { .. } => need(KeyKind::Relinearise, level),
            Op::Rotate { by, .. } => need(KeyKind::Rotate(*by), level),
            Op::Linear { transform, split, .. } => {
                let (babies, giants) = split.steps(consts.transform(*transform));
                babies.into_iter().chain(giants).for_each(|s| need(KeyKind::Rotate(s), level));
            }
            _ => {}
        }
    }
    levels.into_iter().map(|(kind, level)| KeySpec { kind, level }).collect()
}
