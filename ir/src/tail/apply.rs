//! What every [`Step`] does to numbers, in double precision.
//!
//! The bounds that this relies on are checked by [`problems`](super::problems).

use super::{Along, Norm, Rounding, Step};

/// Applies one step to a tensor.
pub(super) fn step(step: &Step, x: Vec<f64>) -> Vec<f64> {
    match step {
        Step::Sigmoid => each(x, |v| 1.0 / (1.0 + (-v).exp())),
        Step::Softmax(along) => within(x, *along, |g| {
            let (exponentials, sum) = exponentials(g);
            exponentials.into_iter().map(|e| e / sum).collect()
        }),
        Step::LogSoftmax(along) => within(x, *along, |g| {
            let top = largest(g);
            let sum = exponentials(g).1;
            g.iter().map(|v| v - top - sum.ln()).collect()
        }),
        Step::Hardmax(along) => within(x, *along, |g| {
            let at = place(g, false);
            (0..g.len()).map(|i| truth(i == at)).collect()
        }),
        Step::ArgMax { along, last } => within(x, *along, |g| vec![place(g, *last) as f64]),
        Step::ArgMin { along, last } => within(x, *along, |g| {
            let negated: Vec<f64> = g.iter().map(|v| -v).collect();
            vec![place(&negated, *last) as f64]
        }),
        Step::Normalise { norm, along } => within(x, *along, |g| {
            let norm = norm.of(g);
            let by = if norm == 0.0 { 1.0 } else { norm };
            g.iter().map(|v| v / by).collect()
        }),
        Step::TopValues { along, k, largest } => {
            within(x, *along, |g| ranked(g, *largest).into_iter().take(*k).map(|i| g[i]).collect())
        }
        Step::TopPlaces { along, k, largest } => within(x, *along, |g| {
            ranked(g, *largest).into_iter().take(*k).map(|i| i as f64).collect()
        }),
        Step::OneHot { depth, inner, values } => {
            within(x, Along { length: 1, inner: *inner }, |g| hot(g[0], *depth, *values))
        }
        Step::Votes { along, classes } => within(x, *along, |g| vec![winner(g, *classes) as f64]),
        Step::Duels { along, classes, pairs } => within(x, *along, |g| coupled(g, *classes, pairs)),
        Step::OneVsRest { along, classes } => within(x, *along, |g| standings(g, *classes)),
        // Words are written in place of the numbers that name them.
        Step::Words(_) => x,
        Step::Lookup(table) => each(x, |v| table.get(v as usize).copied().unwrap_or(f64::NAN)),
        Step::Compare { bound, above, or_equal } => each(x, |v| {
            let beyond = if *above { v > *bound } else { v < *bound };
            truth(beyond || *or_equal && v == *bound)
        }),
        // Adding zero turns a negative zero into the zero that is meant.
        Step::Round(rounding) => each(x, |v| rounding.of(v) + 0.0),
        Step::Clamp { min, max } => each(x, |v| v.max(*min).min(*max)),
        Step::Sign => each(x, |v| if v == 0.0 { 0.0 } else { v.signum() }),
        Step::ThresholdedRelu { alpha } => each(x, |v| if v > *alpha { v } else { 0.0 }),
        Step::Shrink { bias, lambd } => each(x, |v| {
            if v < -lambd {
                v + bias
            } else if v > *lambd {
                v - bias
            } else {
                0.0
            }
        }),
    }
}

impl Norm {
    fn of(self, group: &[f64]) -> f64 {
        match self {
            Self::Max => group.iter().fold(0.0, |m, v| v.abs().max(m)),
            Self::L1 => group.iter().map(|v| v.abs()).sum(),
            Self::L2 => group.iter().map(|v| v * v).sum::<f64>().sqrt(),
        }
    }
}

impl Rounding {
    fn of(self, v: f64) -> f64 {
        match self {
            Self::Down => v.floor(),
            Self::Up => v.ceil(),
            Self::Nearest => v.round_ties_even(),
            Self::TowardsZero => v.trunc(),
        }
    }
}

fn truth(holds: bool) -> f64 {
    f64::from(u8::from(holds))
}

fn each(x: Vec<f64>, f: impl Fn(f64) -> f64) -> Vec<f64> {
    x.into_iter().map(f).collect()
}

/// Applies `f` to every group; the groups of the result lie as those of the operand.
fn within(x: Vec<f64>, along: Along, f: impl Fn(&[f64]) -> Vec<f64>) -> Vec<f64> {
    let Along { length, inner } = along;
    let outer = x.len() / (length * inner);
    let mut out: Vec<f64> = Vec::new();
    let mut group = vec![0.0; length];
    for o in 0..outer {
        for i in 0..inner {
            for (k, v) in group.iter_mut().enumerate() {
                *v = x[(o * length + k) * inner + i];
            }
            let found = f(&group);
            out.resize(outer * found.len() * inner, 0.0);
            for (k, v) in found.iter().enumerate() {
                out[(o * found.len() + k) * inner + i] = *v;
            }
        }
    }
    out
}

fn largest(group: &[f64]) -> f64 {
    group.iter().copied().fold(f64::NEG_INFINITY, f64::max)
}

/// `exp(x - max)` and their sum.
fn exponentials(group: &[f64]) -> (Vec<f64>, f64) {
    let top = largest(group);
    let list: Vec<f64> = group.iter().map(|v| (v - top).exp()).collect();
    let sum = list.iter().sum();
    (list, sum)
}

/// The place of the largest element, the first or the last of equals.
fn place(group: &[f64], last: bool) -> usize {
    let mut best = 0;
    for (i, v) in group.iter().enumerate() {
        if *v > group[best] || (last && *v == group[best]) {
            best = i;
        }
    }
    best
}

/// The places of all elements, the most extreme first, equal ones in their order.
fn ranked(group: &[f64], largest: bool) -> Vec<usize> {
    let mut places: Vec<usize> = (0..group.len()).collect();
    places.sort_by(|&a, &b| {
        // Adding zero makes the two zeros equal.
        let order = (group[a] + 0.0).total_cmp(&(group[b] + 0.0));
        if largest { order.reverse() } else { order }
    });
    places
}

/// A group of `depth` with `values[1]` at the nearest place.
fn hot(v: f64, depth: usize, values: [f64; 2]) -> Vec<f64> {
    let v = v.round();
    let at = if v < 0.0 { v + depth as f64 } else { v };
    (0..depth).map(|i| values[usize::from(i as f64 == at)]).collect()
}

/// All pairs of classes in the order of their duels.
fn duels(classes: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..classes).flat_map(move |i| (i + 1..classes).map(move |j| (i, j)))
}

/// The class with the most duels won, the first of equals.
fn winner(scores: &[f64], classes: usize) -> usize {
    let mut votes = vec![0.0; classes];
    for ((i, j), &score) in duels(classes).zip(scores) {
        votes[if score > 0.0 { i } else { j }] += 1.0;
    }
    place(&votes, false)
}

/// Every class's votes, and less than a third for the sum of its duels.
fn standings(scores: &[f64], classes: usize) -> Vec<f64> {
    let (mut votes, mut sums) = (vec![0.0; classes], vec![0.0; classes]);
    for ((i, j), &score) in duels(classes).zip(scores) {
        votes[if score < 0.0 { j } else { i }] += 1.0;
        sums[i] += score;
        sums[j] -= score;
    }
    votes.iter().zip(sums).map(|(v, s)| v + s / (3.0 * (s.abs() + 1.0))).collect()
}

/// The least probability that a duel is taken to have.
const RARE: f64 = 1e-7;

/// The probabilities `p` of classes that minimise `Σ_t Σ_{s≠t} (r_st·p_t - r_ts·p_s)²`, where
/// `r_st` is the probability of `s` in the duel with `t`: coordinate descent, as far as libsvm and
/// the ONNX runtime take it, which is short of the minimum.
fn coupled(scores: &[f64], classes: usize, pairs: &[(f64, f64)]) -> Vec<f64> {
    let mut r = vec![vec![0.0; classes]; classes];
    for (((i, j), score), (slope, shift)) in duels(classes).zip(scores).zip(pairs) {
        let wins = 1.0 / (1.0 + (slope * score + shift).exp());
        r[i][j] = wins.clamp(RARE, 1.0 - RARE);
        r[j][i] = 1.0 - r[i][j];
    }
    let q = |t: usize, s: usize| {
        if t == s {
            (0..classes).filter(|&u| u != t).map(|u| r[u][t] * r[u][t]).sum::<f64>()
        } else {
            -r[s][t] * r[t][s]
        }
    };
    let q: Vec<Vec<f64>> = (0..classes).map(|t| (0..classes).map(|s| q(t, s)).collect()).collect();
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
    let mut p = vec![1.0 / classes as f64; classes];
    let enough = 0.005 / classes as f64;
    for _ in 0..classes.max(100) {
        let mut qp: Vec<f64> = q.iter().map(|row| dot(row, &p)).collect();
        let mut value = dot(&p, &qp);
        if qp.iter().all(|v| (v - value).abs() < enough) {
            break;
        }
        for t in 0..classes {
            let by = (value - qp[t]) / q[t][t];
            let rest = 1.0 + by;
            p[t] += by;
            value = (value + by * (by * q[t][t] + 2.0 * qp[t])) / (rest * rest);
            qp.iter_mut().zip(&q[t]).for_each(|(v, c)| *v = (*v + by * c) / rest);
            p.iter_mut().for_each(|v| *v /= rest);
        }
    }
    p
}
