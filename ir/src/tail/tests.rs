//! Steps against hand-computed numbers, and answers that do not fit.

use super::*;

fn answer(shape: &[usize], steps: Vec<Step>) -> Answer {
    Answer { name: "y".to_owned(), shape: shape.to_vec(), from: 0, steps }
}

#[test]
fn groups_lie_along_any_axis() {
    // [2, 3, 2] along the middle axis: group (0, 0) is elements 0, 2, 4.
    let along = Along { length: 3, inner: 2 };
    let x = [1.0, 9.0, 3.0, 8.0, 2.0, 7.0, 4.0, 1.0, 4.0, 5.0, 0.0, 5.0];
    let max = |last| answer(&[2, 2], vec![Step::ArgMax { along, last }]).apply(&x);
    assert_eq!(max(false), [1.0, 0.0, 0.0, 1.0]);
    assert_eq!(max(true), [1.0, 0.0, 1.0, 2.0]);
    let min = Step::ArgMin { along, last: false };
    assert_eq!(answer(&[2, 2], vec![min]).apply(&x), [0.0, 2.0, 2.0, 0.0]);
    let hard = answer(&[2, 3, 2], vec![Step::Hardmax(along)]).apply(&x);
    assert_eq!(hard, [0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0]);
}

#[test]
fn softmax_is_stable_and_sums_to_one() {
    let along = Along { length: 3, inner: 1 };
    let soft = apply::step(&Step::Softmax(along), vec![1000.0, 1001.0, 999.0]);
    let raw = [1.0, 1f64.exp(), (-1f64).exp()];
    let sum: f64 = raw.iter().sum();
    for (found, wanted) in soft.iter().zip(raw) {
        assert!((found - wanted / sum).abs() < 1e-15, "{soft:?}");
    }
    let log = apply::step(&Step::LogSoftmax(along), vec![1000.0, 1001.0, 999.0]);
    assert!(log.iter().zip(&soft).all(|(l, s)| (l - s.ln()).abs() < 1e-12), "{log:?}");
}

#[test]
fn norms_divide_and_labels_are_looked_up() {
    let along = Along { length: 2, inner: 1 };
    let by = |norm| apply::step(&Step::Normalise { norm, along }, vec![3.0, -4.0, 0.0, 0.0]);
    assert_eq!(by(Norm::L2), [0.6, -0.8, 0.0, 0.0]);
    assert_eq!(by(Norm::Max), [0.75, -1.0, 0.0, 0.0]);
    assert_eq!(by(Norm::L1), [3.0 / 7.0, -4.0 / 7.0, 0.0, 0.0]);
    let steps = vec![Step::ArgMax { along, last: false }, Step::Lookup(vec![7.0, 9.0])];
    assert_eq!(answer(&[2], steps).apply(&[1.0, 2.0, 4.0, 3.0]), [9.0, 7.0]);
}

#[test]
fn answers_that_do_not_fit_are_told() {
    let along = Along { length: 3, inner: 1 };
    let max = || Step::ArgMax { along, last: false };
    let good = answer(&[2], vec![max(), Step::Lookup(vec![1.0; 3])]);
    assert_eq!(problems(std::slice::from_ref(&good), &[6]), []);
    assert_eq!(Answer::from_text(&good.to_text()), Ok(good));
    let bad = [
        answer(&[3], vec![max()]),
        answer(&[2], vec![max(), Step::Lookup(vec![1.0; 2])]),
        answer(&[6], vec![Step::Lookup(vec![1.0; 3])]),
        answer(&[6], vec![Step::Softmax(Along { length: 4, inner: 1 })]),
        answer(&[6], vec![Step::Softmax(Along { length: usize::MAX, inner: 2 })]),
        answer(&[6], vec![Step::Softmax(Along { length: 0, inner: 0 })]),
        Answer { from: 1, ..answer(&[6], Vec::new()) },
    ];
    for answer in bad {
        assert_eq!(problems(std::slice::from_ref(&answer), &[6]).len(), 1, "{answer:?}");
    }
}

#[test]
fn the_first_of_a_group_come_in_order_with_their_places() {
    // [2, 4] and [4, 2]: the same groups along either axis.
    let x = [3.0, 9.0, 9.0, 1.0, -1.0, -4.0, 0.0, 2.0];
    let along = Along { length: 4, inner: 1 };
    let top = |largest| {
        [Step::TopValues { along, k: 3, largest }, Step::TopPlaces { along, k: 3, largest }]
            .map(|s| answer(&[2, 3], vec![s]).apply(&x))
    };
    assert_eq!(
        top(true),
        [vec![9.0, 9.0, 3.0, 2.0, 0.0, -1.0], vec![1.0, 2.0, 0.0, 3.0, 2.0, 0.0]]
    );
    assert_eq!(
        top(false),
        [vec![1.0, 3.0, 9.0, -4.0, -1.0, 0.0], vec![3.0, 0.0, 1.0, 1.0, 0.0, 2.0]]
    );
    let turned = [3.0, -1.0, 9.0, -4.0, 9.0, 0.0, 1.0, 2.0];
    let along = Along { length: 4, inner: 2 };
    let places = Step::TopPlaces { along, k: 3, largest: true };
    assert_eq!(answer(&[3, 2], vec![places]).apply(&turned), [1.0, 3.0, 2.0, 2.0, 0.0, 0.0]);
}

#[test]
fn places_become_groups() {
    let hot = |inner| Step::OneHot { depth: 3, inner, values: [5.0, 7.0] };
    let x = [0.0, 2.0001, -1.0, 3.0];
    let last = answer(&[4, 3], vec![hot(1)]).apply(&x);
    assert_eq!(last, [7.0, 5.0, 5.0, 5.0, 5.0, 7.0, 5.0, 5.0, 7.0, 5.0, 5.0, 5.0]);
    let middle = answer(&[2, 3, 2], vec![hot(2)]).apply(&x);
    assert_eq!(middle, [7.0, 5.0, 5.0, 5.0, 5.0, 7.0, 5.0, 5.0, 5.0, 5.0, 7.0, 5.0]);
}

#[test]
fn steps_on_elements() {
    let x = [-1.5, -0.5, 0.0, 0.5, 1.5, 2.2];
    let on = |step| answer(&[6], vec![step]).apply(&x);
    let compare = |above, or_equal| on(Step::Compare { bound: 0.5, above, or_equal });
    assert_eq!(compare(true, false), [0.0, 0.0, 0.0, 0.0, 1.0, 1.0]);
    assert_eq!(compare(true, true), [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]);
    assert_eq!(compare(false, false), [1.0, 1.0, 1.0, 0.0, 0.0, 0.0]);
    assert_eq!(compare(false, true), [1.0, 1.0, 1.0, 1.0, 0.0, 0.0]);
    let clamp = on(Step::Clamp { min: -1.0, max: 1.5 });
    assert_eq!(clamp, [-1.0, -0.5, 0.0, 0.5, 1.5, 1.5]);
    assert_eq!(on(Step::Sign), [-1.0, -1.0, 0.0, 1.0, 1.0, 1.0]);
    assert_eq!(on(Step::Round(Rounding::Down)), [-2.0, -1.0, 0.0, 0.0, 1.0, 2.0]);
    assert_eq!(on(Step::Round(Rounding::Up)), [-1.0, 0.0, 0.0, 1.0, 2.0, 3.0]);
    assert_eq!(on(Step::Round(Rounding::Nearest)), [-2.0, 0.0, 0.0, 0.0, 2.0, 2.0]);
    assert_eq!(on(Step::Round(Rounding::TowardsZero)), [-1.0, 0.0, 0.0, 0.0, 1.0, 2.0]);
    assert_eq!(on(Step::ThresholdedRelu { alpha: 0.5 }), [0.0, 0.0, 0.0, 0.0, 1.5, 2.2]);
    let shrink = Step::Shrink { bias: 0.25, lambd: 1.0 };
    assert_eq!(on(shrink), [-1.25, 0.0, 0.0, 0.0, 1.25, 1.9500000000000002]);
    let above = |bound| Step::Compare { bound, above: true, or_equal: false };
    let labels = vec![above(0.0), Step::Lookup(vec![-1.0, 4.0])];
    assert_eq!(answer(&[6], labels).apply(&x), [-1.0, -1.0, -1.0, 4.0, 4.0, 4.0]);
}

#[test]
fn steps_that_take_or_make_too_much_are_told() {
    let along = Along { length: 3, inner: 1 };
    let above = |bound| Step::Compare { bound, above: true, or_equal: false };
    let bad = [
        answer(&[6], vec![above(f64::INFINITY)]),
        answer(&[6], vec![Step::Clamp { min: 1.0, max: 0.0 }]),
        answer(&[8], vec![Step::TopValues { along, k: 4, largest: true }]),
        answer(&[0], vec![Step::TopPlaces { along, k: 0, largest: true }]),
        answer(&[6, 0], vec![Step::OneHot { depth: 0, inner: 1, values: [0.0, 1.0] }]),
        answer(&[6], vec![Step::OneHot { depth: 1 << 40, inner: 1, values: [0.0, 1.0] }]),
        answer(&[6, 2], vec![Step::OneHot { depth: 2, inner: 4, values: [0.0, 1.0] }]),
        answer(&[6], vec![Step::ThresholdedRelu { alpha: f64::NAN }]),
        answer(&[6], vec![above(0.0), Step::Lookup(vec![1.0])]),
    ];
    for answer in bad {
        assert_eq!(problems(std::slice::from_ref(&answer), &[6]).len(), 1, "{answer:?}");
    }
}

#[test]
fn duels_are_counted_and_the_first_of_equals_wins() {
    // Pairs (0, 1), (0, 2), (1, 2); zero is a win of the second.
    let along = Along { length: 3, inner: 1 };
    let of = |x: &[f64]| answer(&[1], vec![Step::Votes { along, classes: 3 }]).apply(x);
    assert_eq!(of(&[1.0, 2.0, 3.0]), [0.0]);
    assert_eq!(of(&[-1.0, 2.0, 3.0]), [1.0]);
    assert_eq!(of(&[-1.0, 0.0, 0.0]), [2.0]);
    // One win each: 0 beats 1, 1 beats 2, 2 beats 0.
    assert_eq!(of(&[1.0, -1.0, 1.0]), [0.0]);
}

#[test]
fn scores_of_duels_are_votes_and_sums() {
    // Class 0 wins by 1 and loses by 3, class 1 wins its other duel by nothing.
    let along = Along { length: 3, inner: 1 };
    let step = Step::OneVsRest { along, classes: 3 };
    let found = answer(&[3], vec![step]).apply(&[1.0, -3.0, 0.0]);
    let wanted = [1.0 - 2.0 / 9.0, 1.0 - 1.0 / 6.0, 1.0 + 3.0 / 12.0];
    assert!(found.iter().zip(wanted).all(|(f, w)| (f - w).abs() < 1e-15), "{found:?}");
    let short = answer(&[3], vec![Step::OneVsRest { along, classes: 4 }]);
    assert_eq!(problems(&[short], &[3]).len(), 1);
}

#[test]
fn probabilities_of_duels_that_agree_are_those_behind_them() {
    // If class t has probability p_t, the duel (i, j) is p_i/(p_i + p_j), and coupling gives p back
    // as far as its tolerance goes.
    let p = [0.2_f64, 0.5, 0.3];
    let scores: Vec<f64> =
        [(0, 1), (0, 2), (1, 2)].iter().map(|&(i, j)| (p[i] / p[j]).ln()).collect();
    // Slope and shift turn the score into another and back.
    let shifted: Vec<f64> = scores.iter().map(|s| 2.0 * s - 1.0).collect();
    let along = Along { length: 3, inner: 1 };
    let step = Step::Duels { along, classes: 3, pairs: vec![(-0.5, -0.5); 3] };
    let found = answer(&[3], vec![step]).apply(&shifted);
    for (f, p) in found.iter().zip(p) {
        assert!((f - p).abs() < 0.01, "{found:?}");
    }
    assert!((found.iter().sum::<f64>() - 1.0).abs() < 1e-12);
}

#[test]
fn words_end_an_answer() {
    let along = Along { length: 3, inner: 1 };
    let max = || Step::ArgMax { along, last: false };
    let words = || Step::Words(["ant", "bee", "cow"].map(str::to_owned).to_vec());
    let good = answer(&[2], vec![max(), words()]);
    assert_eq!(problems(std::slice::from_ref(&good), &[6]), []);
    assert_eq!(good.apply(&[1.0, 2.0, 0.0, 4.0, 3.0, 5.0]), [1.0, 2.0]);
    assert_eq!(good.words().map(|w| w[2].as_str()), Some("cow"));
    assert_eq!(Answer::from_text(&good.to_text()), Ok(good));
    let duels = |classes, pairs| Step::Duels { along, classes, pairs: vec![(1.0, 0.0); pairs] };
    let bad = [
        answer(&[2], vec![max(), words(), Step::Sigmoid]),
        answer(&[6], vec![words()]),
        answer(&[2], vec![max(), Step::Words(vec![String::new(); 2])]),
        answer(&[2], vec![max(), Step::Words(vec!["\0".to_owned(); 3])]),
        answer(&[2], vec![max(), Step::Words(vec!["a".repeat(5000); 3])]),
        answer(&[2], vec![Step::Votes { along, classes: 4 }]),
        answer(&[2], vec![Step::Votes { along, classes: 0 }]),
        answer(&[2], vec![Step::Votes { along, classes: usize::MAX }]),
        answer(&[6], vec![duels(3, 2)]),
        answer(&[0], vec![duels(1, 0)]),
    ];
    for answer in bad {
        assert_eq!(problems(std::slice::from_ref(&answer), &[6]).len(), 1, "{answer:?}");
    }
}
