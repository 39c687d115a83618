//! The key manifest: which evaluation keys a list of operations needs, and up to which level.

use std::collections::BTreeMap;

use super::{KeyKind, KeySpec};
use crate::ckks::Op;
use crate::constants::{ConstPool, Constant};
use crate::parameters::Parameters;

/// The keys that operations need, sorted by kind, each with the highest level of its use.
///
/// Every operation comes with the level of its results. A `Linear`, whose results are a level below
/// its operands, needs a key for each of its steps; a `Bootstrap` needs those that the parameters list. Transforms that do not exist need nothing here:
/// the verifier reports them.
pub fn required_keys<'a, V: Copy + 'a>(
    ops: impl IntoIterator<Item = (&'a Op<V>, usize)>,
    consts: &ConstPool,
    parameters: &Parameters,
) -> Vec<KeySpec> {
    let mut levels: BTreeMap<KeyKind, usize> = BTreeMap::new();
    let mut need = |kind: KeyKind, level: usize| {
        let known = levels.entry(kind).or_insert(level);
        *known = level.max(*known);
    };
    for (op, level) in ops {
        match op {
            Op::Relinearise { .. } => need(KeyKind::Relinearise, level),
            Op::Rotate { by, .. } | Op::RotateAdd { by, .. } => {
                need(KeyKind::rotation(*by, parameters.width()), level)
            }
            Op::Linear { transform, .. } => {
                let Some(Constant::Transform(t)) = consts.get(*transform) else { continue };
                t.steps().into_iter().for_each(|s| need(KeyKind::Rotate(s), level + 1));
            }
            Op::Bootstrap { .. } => {
                parameters.bootstrap_keys().into_iter().for_each(|k| need(k.kind, k.level));
            }
            Op::Input { .. }
            | Op::Add { .. }
            | Op::Sub { .. }
            | Op::AddPlain { .. }
            | Op::MulPlain { .. }
            | Op::Mul { .. }
            | Op::Rescale { .. }
            | Op::ModDown { .. }
            | Op::DropLevel { .. } => {}
        }
    }
    levels.into_iter().map(|(kind, level)| KeySpec { kind, level }).collect()
}

/// Breaches of a manifest by itself: sorted by kind, one per kind, levels and steps in range, keys of
/// the sparse secret only where there is one and to it at level 0 only.
pub(crate) fn problems(keys: &[KeySpec], parameters: &Parameters) -> Vec<(usize, String)> {
    let (max_level, width) = (parameters.max_level(), parameters.width());
    let mut out = Vec::new();
    for (i, key) in keys.iter().enumerate() {
        if i > 0 && keys[i - 1].kind >= key.kind {
            out.push((i, "keys are not sorted by kind, one per kind".to_owned()));
        }
        if key.level > max_level {
            out.push((i, format!("level {} is above the highest level {max_level}", key.level)));
        }
        if let KeyKind::Rotate(by) = key.kind
            && (by == 0 || by as usize >= width)
        {
            out.push((i, format!("rotation by {by} in a width of {width}")));
        }
        let sparse = matches!(key.kind, KeyKind::ToSparse | KeyKind::FromSparse);
        if sparse && parameters.bootstrap().is_none() {
            out.push((i, format!("{} without bootstrapping", key.kind)));
        }
        if key.kind == KeyKind::ToSparse && key.level > 0 {
            out.push((i, format!("{} at level {}, above 0", key.kind, key.level)));
        }
    }
    out
}
