//! Answers that the client computes: which of their elements count.
//!
//! A place, a comparison or a rounding decides about numbers that the plan gives approximately.
//! The numbers themselves are held to the plan's promise. A decision about them counts wherever the
//! float model's margin, from a threshold or between neighbours, is more than twice the error that
//! the numbers turned out to have: there it must be equal. What is nearer is a tie, which an
//! approximation cannot tell; a case with nothing but ties proves nothing and is refused.

use heplan_ir::tail::{Along, Answer, Rounding, Step};

/// For every element of the answer whether it is a tie, where the numbers err by `error`; `None`
/// for an answer that decides nothing.
pub(crate) fn ties(answer: &Answer, scores: &[f64], error: f64) -> Option<Vec<bool>> {
    let at = answer.steps.iter().position(Step::decides)?;
    let (before, rest) = answer.steps.split_at(at);
    let prefix = Answer { steps: before.to_vec(), ..answer.clone() };
    let x = prefix.apply(scores);
    let near = |margin: f64| margin <= 2.0 * error;
    let each = |margin: &dyn Fn(f64) -> f64| x.iter().map(|&v| near(margin(v))).collect();
    Some(match &rest[0] {
        Step::ArgMax { along, .. } => grouped(&x, *along, |g| vec![near(gaps(g, true)[0])]),
        Step::ArgMin { along, .. } => grouped(&x, *along, |g| vec![near(gaps(g, false)[0])]),
        Step::Hardmax(along) => grouped(&x, *along, |g| vec![near(gaps(g, true)[0]); g.len()]),
        Step::Votes { along, .. } => grouped(&x, *along, |g| vec![g.iter().any(|v| near(v.abs()))]),
        Step::OneVsRest { along, classes } => {
            grouped(&x, *along, |g| vec![g.iter().any(|v| near(v.abs())); *classes])
        }
        Step::TopPlaces { along, k, largest } => grouped(&x, *along, |g| {
            let gaps = gaps(g, *largest);
            let before = |r: usize| if r == 0 { f64::INFINITY } else { gaps[r - 1] };
            (0..*k).map(|r| near(gaps[r].min(before(r)))).collect()
        }),
        Step::OneHot { depth, inner, .. } => {
            let along = Along { length: 1, inner: *inner };
            grouped(&x, along, |g| vec![near(half(g[0])); *depth])
        }
        Step::Compare { bound, .. } => each(&|v| (v - bound).abs()),
        Step::Round(Rounding::Nearest) => each(&half),
        Step::Round(_) => each(&|v: f64| (v - v.round()).abs()),
        Step::Sign => each(&f64::abs),
        Step::ThresholdedRelu { alpha } => each(&|v| (v - alpha).abs()),
        Step::Shrink { lambd, .. } => each(&|v: f64| (v.abs() - lambd).abs()),
        other => unreachable!("{} decides nothing", other.name()),
    })
}

/// Distance from the nearest number between two whole ones.
fn half(v: f64) -> f64 {
    (v - v.floor() - 0.5).abs()
}

/// By rank the distance to the next element; infinite behind the last.
fn gaps(group: &[f64], largest: bool) -> Vec<f64> {
    let mut sorted = group.to_vec();
    sorted.sort_by(f64::total_cmp);
    if largest {
        sorted.reverse();
    }
    let next = sorted.windows(2).map(|w| (w[0] - w[1]).abs());
    next.chain([f64::INFINITY]).collect()
}

/// What `f` says of every group, laid out as the groups are.
fn grouped(x: &[f64], along: Along, f: impl Fn(&[f64]) -> Vec<bool>) -> Vec<bool> {
    let Along { length, inner } = along;
    let outer = x.len() / (length * inner);
    let mut lists = Vec::new();
    for o in 0..outer {
        for i in 0..inner {
            let group: Vec<f64> = (0..length).map(|k| x[(o * length + k) * inner + i]).collect();
            lists.push(f(&group));
        }
    }
    let each = lists.first().map_or(0, Vec::len);
    let place = |r: usize| (r / (each * inner) * inner + r % inner, r / inner % each);
    (0..outer * each * inner).map(|r| lists[place(r).0][place(r).1]).collect()
}
