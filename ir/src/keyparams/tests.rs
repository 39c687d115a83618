use proptest::prelude::*;

use super::*;
use crate::testing::{self, Dice};

fn resealed(body: &str) -> String {
    format!("{body}{CHECKSUM}{}\n", blake3::hash(body.as_bytes()).to_hex())
}

fn refusal(text: &str) -> String {
    KeyParams::from_text(text.as_bytes()).unwrap_err().to_string()
}

#[test]
fn cut_and_changed_texts_are_told_apart() {
    let text = testing::small_plan().keyparams().to_text();
    for n in 1..text.len() {
        let message = refusal(&text[..n]);
        assert!(message.starts_with("is cut"), "{n}: {message}");
    }
    for i in 0..text.len() {
        let mut bad = text.clone().into_bytes();
        bad[i] ^= 1;
        assert!(KeyParams::from_text(&bad).is_err(), "byte {i}");
    }
    let changed = text.replacen("factor: ", "factor: 1", 1);
    assert!(refusal(&changed).starts_with("was changed"));
    assert!(refusal("").starts_with("is empty"));
    assert!(refusal("[package]\n").starts_with("is another kind of file"));
    let plan = testing::small_plan().to_bytes().unwrap();
    let message = KeyParams::from_text(&plan).unwrap_err().to_string();
    assert!(message.starts_with("is a plan, not a file of key parameters"), "{message}");
}

#[test]
fn lies_behind_a_sound_checksum_are_refused() {
    let mut params = testing::small_plan().keyparams();
    params.inputs[0].0.compact = Compact { rotations: 6, conjugate: false };
    let text = params.to_text();
    let body = &text[..text.rfind(CHECKSUM).unwrap()];
    assert!(KeyParams::from_text(resealed(body).as_bytes()).is_ok());
    for (from, to, wanted) in [
        ("format: 4", "format: 5", "was written by a newer version"),
        ("(-0.75, 1.5)", "(2.0, 1.5)", "has no range"),
        ("inputs: [", "batch: 3, inputs: [", "3 samples in a ciphertext of 4096 slots"),
        ("inputs: [", "batch: 2, inputs: [", "2048"),
        ("log_n: 13", "log_n: 12", "the parameters are refused"),
        ("rotations: 6", "rotations: 12", "12 halvings, the layout repeats for"),
        ("conjugate: false", "conjugate: 2", "is invalid"),
        ("compact: (", "compact: (halvings: 1, ", "is invalid"),
        ("degree: 1", "degree: 2", "degree is 2, not 1"),
        ("level: 4", "level: 9", "above the highest level 4"),
        ("width: 4096", "width: 2048", "layout of width 2048"),
        ("size: 1", "size: 1, weights: 3", "is invalid"),
        ("plan: \"", "plan: \"00", "is not 32 bytes"),
        ("precision_bits: ", "precision_bits: inf, // ", "precision of inf bits"),
        ("exponent: 30", "exponent: 99999", "not one of these primes"),
    ] {
        assert!(body.contains(from), "{from} in {body}");
        let message = refusal(&resealed(&body.replacen(from, to, 1)));
        assert!(message.contains(wanted), "{from}: {message}");
    }
}

#[test]
fn files_say_the_version_that_first_had_what_they_hold() {
    let mut params = testing::small_plan().keyparams();
    let version = |params: &KeyParams, n: u32| params.to_text().contains(&format!("format: {n},"));
    assert!(version(&params, 4));
    params.features.clear();
    assert!(version(&params, 3));
    let along = tail::Along { length: 3, inner: 1 };
    let steps = vec![tail::Step::OneVsRest { along, classes: 3 }];
    params.answers = vec![Answer { name: "scores".into(), from: 0, shape: vec![1, 3], steps }];
    assert!(version(&params, 4));
}

#[test]
fn hexadecimal_is_read_back() {
    let bytes: [u8; 32] = std::array::from_fn(|i| (i * 37) as u8);
    assert_eq!(unhex(&hex(&bytes)), Some(bytes));
    assert_eq!(unhex(&hex(&bytes).to_uppercase()), None);
    assert_eq!(unhex("12"), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn reading_undoes_writing(
        rolls in prop::collection::vec(any::<u32>(), 1..80),
        factor in 1e-300f64..1e300,
        range in (-1e300f64..0.0, 0.0f64..1e300),
        name in "\\PC{0,12}",
    ) {
        let mut params = testing::plan(&mut Dice::new(&rolls), 10).keyparams();
        params.inputs[0].0.factor = factor;
        params.inputs[0].0.range = range;
        params.name = name;
        let text = params.to_text();
        prop_assert_eq!(KeyParams::from_text(text.as_bytes()).unwrap(), params);
    }
}
