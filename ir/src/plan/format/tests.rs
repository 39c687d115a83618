use proptest::prelude::*;

use super::*;
use crate::bootstrap::Bootstrap;
use crate::ckks::CtType;
use crate::plan::{KeyKind, KeySpec};
use crate::scale::Scale;
use crate::testing::{self, Dice};

#[test]
fn a_flipped_byte_is_refused() {
    let plan = testing::small_plan();
    let bytes = plan.to_bytes().unwrap();
    for i in 0..bytes.len() {
        let mut bad = bytes.clone();
        bad[i] ^= 0x55;
        assert!(Plan::from_bytes(&bad).is_err(), "byte {i}");
    }
    for n in 0..bytes.len() {
        assert!(Plan::from_bytes(&bytes[..n]).is_err(), "length {n}");
    }
}

/// The checksums made right again, so that the decoder itself meets the damage.
fn resealed(content: &[u8], constants: &[u8]) -> Vec<u8> {
    to_bytes(Kind::Plan, &[(INSTRUCTIONS, content), (CONSTANTS, constants)])
}

#[test]
fn damage_behind_sound_checksums_is_refused_or_harmless() {
    let plan = testing::small_plan();
    let (content, constants) = (plan.content(), constants::encode(&plan.consts));
    let judge = |bytes: &[u8]| {
        if let Ok(read) = Plan::from_bytes(bytes) {
            assert_eq!(read.verify(), []);
            assert_eq!(Plan::from_bytes(&read.to_bytes().unwrap()).unwrap(), read);
        }
    };
    for i in 0..content.len() {
        for mask in [0x01, 0x55, 0xff] {
            let mut bad = content.clone();
            bad[i] ^= mask;
            judge(&resealed(&bad, &constants));
        }
        judge(&resealed(&content[..i], &constants));
    }
    for i in 0..constants.len() {
        let mut bad = constants.clone();
        bad[i] ^= 0x55;
        if let Ok(read) = Plan::from_bytes(&resealed(&content, &bad)) {
            assert_eq!(read, plan);
        }
        assert!(Plan::from_bytes(&resealed(&content, &constants[..i])).is_err());
    }
}

#[test]
fn a_small_file_cannot_demand_much_memory() {
    // One vector that claims 2^60 numbers, one transform that claims as many slots.
    let mut vector = vec![0];
    vector.extend([0x80; 8]);
    vector.push(0x10);
    let transform = [&[1, 64, 64, 1, 1, 1, 0, 0, 0][..], &vector[1..]].concat();
    for raw in [vector, transform] {
        let packed = zstd::bulk::compress(&raw, 3).unwrap();
        let found = constants::decode(&packed, &[crate::constants::ContentHash([0; 32])], 64);
        assert!(found.unwrap_err().to_string().contains("at most 64 is possible"));
    }
}

/// What a message does not know it passes over, which leaves the instruction without an operation.
#[test]
fn an_instruction_of_a_newer_build_is_refused() {
    let plan = testing::small_plan();
    let mut message = message::Plan::decode(&plan.content()[..]).unwrap();
    let fused = |i: &&mut message::Inst| matches!(i.op, Some(message::Op::RotateAdd(_)));
    message.insts.iter_mut().find(fused).unwrap().op = None;
    let bytes = resealed(&message.encode_to_vec(), &constants::encode(&plan.consts));
    assert_eq!(Plan::from_bytes(&bytes).unwrap_err().to_string(), "an operation is missing");
}

#[test]
fn a_broken_plan_does_not_ship() {
    let mut plan = testing::small_plan();
    plan.keys.push(KeySpec { kind: KeyKind::Rotate(4095), level: 0 });
    let text = plan.to_bytes().unwrap_err().to_string();
    assert!(text.contains("the key of rotation 4095 is never used"), "{text}");
}

#[test]
fn a_file_says_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.plan");
    let plan = testing::small_plan();
    plan.write(&path).unwrap();
    assert_eq!(Plan::read(&path).unwrap(), plan);
    let absent = Plan::read(&dir.path().join("other.plan")).unwrap_err().to_string();
    assert!(absent.contains("other.plan: cannot be read"), "{absent}");
}

/// Plans, key parameters and texts carry a bootstrapping and its keys.
#[test]
fn files_and_texts_carry_a_bootstrapping() {
    let usual = Bootstrap::usual(16, 3);
    let set = testing::bootstrapping(16, &usual, 4).with_bootstrap(usual.clone()).unwrap();
    let mut plan = testing::small_plan();
    plan.keys = usual.keys(16);
    plan.parameters = set;
    plan.insts.clear();
    plan.inputs.clear();
    plan.outputs.truncate(1);
    plan.outputs[0].0.layout.width = plan.parameters.width();
    plan.outputs[0].1 = CtType::new(0, Scale::pow2(30));
    plan.answers.clear();
    plan.features.clear();
    let params = plan.keyparams();
    let text = params.to_text();
    assert!(text.contains("format: 3") && text.contains("from_sparse: Some(18)"), "{text}");
    assert_eq!(KeyParams::from_text(text.as_bytes()).unwrap(), params);
    let printed = Plan::parse(&plan.to_string(), &plan.consts).unwrap();
    let message = message::Plan::decode(&plan.content()[..]).unwrap();
    let parameters = decode::parameters(&message).unwrap();
    let decoded = decode::plan(message.clone(), parameters, plan.consts.clone()).unwrap();
    for found in [&printed, &decoded] {
        assert_eq!((&found.parameters, &found.keys), (&plan.parameters, &plan.keys));
    }
    let mut bad = message;
    bad.keys[1].other = Some(4);
    let found = decode::plan(bad, plan.parameters.clone(), plan.consts.clone());
    assert!(found.unwrap_err().to_string().contains("the kind of a key is 4"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn decoding_undoes_encoding(rolls in prop::collection::vec(any::<u32>(), 1..80), steps in 0usize..30) {
        let plan = testing::plan(&mut Dice::new(&rolls), steps);
        prop_assert_eq!(plan.verify(), vec![]);
        let bytes = plan.to_bytes().unwrap();
        prop_assert_eq!(&bytes, &plan.clone().to_bytes().unwrap());
        let read = Plan::from_bytes(&bytes).unwrap();
        prop_assert_eq!(read.id(), plan.id());
        prop_assert_eq!(read, plan);
    }
}
