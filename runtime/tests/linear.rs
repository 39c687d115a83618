//! The threaded linear map against the definition.

use std::sync::Arc;

use heplan_ir::ckks::CtType;
use heplan_ir::entity::ConstId;
use heplan_ir::scale::Scale;
use heplan_ir::transform::{Diagonal, LinearTransform};
use heplan_runtime::backend::Backend;
use heplan_runtime::clear::Clear;
use heplan_runtime::suite;
use proptest::prelude::*;

/// Transforms with up to 200 diagonals, so that several tasks share one result.
fn transforms(width: usize) -> impl Strategy<Value = LinearTransform> {
    let offset = 0..u32::try_from(width).expect("widths fit");
    let diagonal =
        (0u32..2, 0u32..2, offset, prop::collection::btree_map(0u32..64, -1f32..1.0, 1..4));
    prop::collection::vec(diagonal, 1..200).prop_map(move |list| {
        let mut diagonals: Vec<Diagonal> = list
            .into_iter()
            .map(|(output, input, offset, entries)| {
                let (slots, values) = entries.into_iter().unzip();
                Diagonal { output, input, offset, slots, values }
            })
            .collect();
        diagonals.sort_by_key(|d| (d.output, d.input, d.offset));
        diagonals.dedup_by_key(|d| (d.output, d.input, d.offset));
        LinearTransform { width, period: 64, inputs: 2, outputs: 2, diagonals }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]
    #[test]
    fn linear_is_the_definition(transform in transforms(4096)) {
        let backend = Clear::new(&suite::refusals_plan().parameters);
        let ty = CtType::new(1, Scale::pow2(35));
        let input = |k: usize| (0..4096).map(|t| ((t * 7 + k) % 31) as f64 / 31.0).collect();
        let xs = [0, 1].map(|k| backend.encrypt(input(k), ty.clone()).unwrap());
        let transform = Arc::new(transform);
        let scales = [Scale::pow2(30), Scale::pow2(30)];
        let refs: Vec<_> = xs.iter().collect();
        let found = backend.linear(&refs, &transform, ConstId::new(0), &scales).unwrap();
        let slots: Vec<&[f64]> = xs.iter().map(|x| x.values.as_slice()).collect();
        for (y, wanted) in found.iter().zip(transform.apply(&slots)) {
            prop_assert!(y.values.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-9));
        }
    }
}
