use super::*;
use crate::entity::ValueId;
use crate::origin::OriginTable;
use crate::parameters::ParametersError;
use crate::plan::Plan;
use crate::scale::Scale;
use crate::testing::bootstrapping as parameters;
use crate::{ckks, slots};

#[test]
fn sections_fill_the_chain() {
    let usual = Bootstrap::usual(16, 10);
    assert_eq!((usual.levels(), usual.max_level()), (3 + 9 + 3, 25));
    assert_eq!((usual.reduced_level(), usual.reduction_level()), (13, 22));
    let set = parameters(16, &usual, 4).with_bootstrap(usual.clone()).unwrap();
    assert_eq!(set.bootstrap(), Some(&usual));
    let stages = usual.stages(16);
    let levels: Vec<usize> = stages.iter().map(|s| s.level).collect();
    assert_eq!(levels, [25, 24, 23, 13, 12, 11]);
    let joined: u32 = stages[..3].iter().map(|s| s.butterflies).sum();
    assert_eq!(joined, 15);
    assert_eq!(stages.iter().map(|s| s.diagonals).collect::<Vec<_>>(), [32, 63, 63, 63, 63, 32]);
    assert!(stages.iter().all(|s| s.baby_steps == 4));
    assert_eq!(usual.turn(16), (1 << 15) - 2 * 1023);
}

/// 12 rotations serve all six groups; the key to the sparse secret reaches `q_0` only.
#[test]
fn both_transforms_share_their_keys() {
    let usual = Bootstrap::usual(16, 10);
    let keys = usual.keys(16);
    let level = |kind| keys.iter().find(|k| k.kind == kind).map(|k| k.level);
    assert_eq!(keys.len(), 16);
    assert_eq!(level(KeyKind::ToSparse), Some(0));
    assert_eq!(level(KeyKind::FromSparse), Some(25));
    assert_eq!(level(KeyKind::Relinearise), Some(22));
    assert_eq!(level(KeyKind::Conjugate), Some(23));
    assert_eq!(level(KeyKind::Rotate(1 << 12)), Some(25));
    assert_eq!(level(KeyKind::Rotate(32)), Some(24));
    assert_eq!(level(KeyKind::Rotate(4)), Some(23));
    assert!(keys.windows(2).all(|w| w[0].kind < w[1].kind));
    let kinds: std::collections::BTreeSet<KeyKind> = usual.key_order(16).into_iter().collect();
    assert!(kinds.into_iter().eq(keys.iter().map(|k| k.kind)));
    assert_eq!(usual.relinearisations(), 13);
    let more = Bootstrap { baby_steps: 8, ..usual };
    assert_eq!(more.keys(16).len(), 28);
}

#[test]
fn the_ephemeral_secret_lies_under_a_small_modulus_only() {
    let usual = Bootstrap::usual(16, 10);
    let set = parameters(16, &usual, 4).with_bootstrap(usual.clone()).unwrap();
    let bits = (set.q()[0] as f64).log2() + (set.p()[0] as f64).log2();
    assert!(bits <= max_log_sparse(16).unwrap() && bits <= 121.0);
    assert!(usual.keys(16).iter().all(|k| k.kind != KeyKind::ToSparse || k.level == 0));
    // No pair of primes of this library exceeds the bounds; they hold for those to come.
    assert!(
        LOG_N.into_iter().all(|n| max_log_sparse(n).is_some_and(|b| (100.0..=121.0).contains(&b)))
    );
    assert_eq!(max_log_sparse(14), None);
}

#[test]
fn what_does_not_fit_is_refused() {
    let usual = Bootstrap::usual(16, 10);
    let set = parameters(16, &usual, 4);
    let refused = |b: Bootstrap| match set.clone().with_bootstrap(b) {
        Err(ParametersError::Bootstrap(e)) => e.to_string(),
        other => panic!("{other:?}"),
    };
    for (bad, wanted) in [
        (Bootstrap { output_level: 9, ..usual.clone() }, "over 24 levels in a chain of 25"),
        (Bootstrap { output_level: usize::MAX, ..usual.clone() }, "an output level"),
        (Bootstrap { degree: 13, ..usual.clone() }, "a degree of 13"),
        (Bootstrap { double_angles: 1, ..usual.clone() }, "double angles of 1"),
        (Bootstrap { range: 0, ..usual.clone() }, "a range of 0"),
        (Bootstrap { baby_steps: 6, ..usual.clone() }, "baby steps of 6"),
        (Bootstrap { coefficients_to_slots: 1, ..usual.clone() }, "coefficients to slots of 1"),
        (Bootstrap { slots_to_coefficients: 16, ..usual.clone() }, "to coefficients of 16"),
    ] {
        let message = refused(bad);
        assert!(message.contains(wanted), "{message}");
    }
    let batched = set.clone().with_batch(2).unwrap().with_bootstrap(usual.clone());
    assert_eq!(batched, Err(BootstrapError::Batch(2).into()));
    let batched = set.with_bootstrap(usual).unwrap().with_batch(2);
    assert_eq!(batched, Err(BootstrapError::Batch(2).into()));
}

#[test]
fn plans_with_bootstraps_are_read_as_they_were_written() {
    let graph = crate::testing::refreshing_graph();
    assert_eq!(graph.verify(), []);
    assert_eq!(ckks::Graph::parse(&graph.to_string(), &graph.consts).unwrap(), graph);
    let plan = crate::testing::refreshing_plan();
    assert_eq!(plan.verify(), []);
    assert_eq!(Plan::parse(&plan.to_string(), &plan.consts).unwrap(), plan);
    assert_eq!(Plan::from_bytes(&plan.to_bytes().unwrap()).unwrap(), plan);
    let mut slots = slots::Graph { width: 4, ..Default::default() };
    let x = slots.push(slots::Op::Bootstrap { x: ValueId::new(0) }, 1, OriginTable::none());
    assert!(slots.verify().iter().any(|e| e.to_string().contains("is not defined")));
    assert!(slots.to_string().contains(&format!("{} = bootstrap %0", x[0])));
}

#[test]
fn bootstraps_are_typed_exactly() {
    let good = crate::testing::refreshing_graph();
    let said = |change: &dyn Fn(&mut ckks::Inst), wanted: &str| {
        let mut bad = good.clone();
        change(&mut bad.insts[1]);
        let errors: Vec<String> = bad.verify().iter().map(ToString::to_string).collect();
        assert!(errors.iter().any(|e| e.contains(wanted)), "{wanted:?} in {errors:#?}");
    };
    said(&|inst| inst.ty.level = 2, "the rule gives ct<level = 1");
    said(&|inst| inst.ty.scale = Scale::pow2(29), "the rule gives ct<level = 1, scale = 30");
    let mut bad = good.clone();
    bad.insts[0].ty.level = 1;
    assert!(bad.verify().iter().any(|e| e.to_string().contains("at level 1 instead of 0")));
    let literal = good.parameters.literal().clone();
    let bad = ckks::Graph { parameters: Parameters::new(literal).unwrap(), ..good };
    assert!(bad.verify().iter().any(|e| e.to_string().contains("no levels for a bootstrap")));
}
