//! Leaves as boxes: what the branches above a leaf ask is an interval of every feature.
//!
//! A comparison that a nearer one implies drops out, and a leaf that no data reaches has an empty
//! interval and is dropped. So what a leaf costs is the number of features that it depends on, not
//! its depth.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::forest::{Forest, Node, Test};

/// Most steps that the walk over all trees may take: a node, a bound above it and a member of its
/// set count one each, so that neither time nor memory outgrows this. A node below a test of a set
/// is visited for every member.
const MAX_STEPS: usize = 1 << 20;

/// A place on a feature's axis between numbers: everything beyond it is one side of a comparison.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    /// The number next to it.
    pub(super) at: f64,
    /// Whether the number itself lies below, so that beyond it is `x > at` and not `x >= at`.
    pub(super) after: bool,
}

impl Ord for Cut {
    fn cmp(&self, other: &Self) -> Ordering {
        // Both zeros are one number.
        (self.at + 0.0).total_cmp(&(other.at + 0.0)).then(self.after.cmp(&other.after))
    }
}

impl PartialOrd for Cut {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Cut {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Cut {}

/// Where a feature must lie: beyond the first cut and not beyond the second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Interval {
    pub(super) from: Option<Cut>,
    pub(super) to: Option<Cut>,
}

impl Interval {
    fn from(at: f64, after: bool) -> Self {
        Self { from: Some(Cut { at, after }), to: None }
    }

    fn to(at: f64, after: bool) -> Self {
        Self { from: None, to: Some(Cut { at, after }) }
    }

    /// What lies in both; `None` if nothing does.
    fn and(self, other: Self) -> Option<Self> {
        // `None` is the least of the options.
        let from = self.from.max(other.from);
        let to = match (self.to, other.to) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        let empty = matches!((from, to), (Some(f), Some(t)) if f >= t);
        (!empty).then_some(Self { from, to })
    }
}

/// The intervals in which a test is answered by yes, or by no.
fn intervals(test: &Test, yes: bool) -> Vec<Interval> {
    match (test, yes) {
        (&Test::AtMost(t), true) | (&Test::Above(t), false) => vec![Interval::to(t, true)],
        (&Test::AtMost(t), false) | (&Test::Above(t), true) => vec![Interval::from(t, true)],
        (&Test::Below(t), true) | (&Test::AtLeast(t), false) => vec![Interval::to(t, false)],
        (&Test::Below(t), false) | (&Test::AtLeast(t), true) => vec![Interval::from(t, false)],
        (Test::Among(set), true) | (Test::NotAmong(set), false) => set
            .iter()
            .filter_map(|&t| Interval::from(t, false).and(Interval::to(t, true)))
            .collect(),
        (Test::Among(set), false) | (Test::NotAmong(set), true) => {
            let mut out = Vec::with_capacity(set.len() + 1);
            let mut from = Interval::default();
            for &t in set {
                out.extend(from.and(Interval::to(t, false)));
                from = Interval::from(t, true);
            }
            out.push(from);
            out
        }
    }
}

/// A leaf that data can reach.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Leaf<'f> {
    /// The features that it depends on.
    pub(super) bounds: BTreeMap<usize, Interval>,
    /// Targets and what is added to them.
    pub(super) weights: &'f [(usize, f64)],
}

/// The leaves of every tree; `None` where they are too many, or a tree goes in circles.
pub(super) fn leaves(forest: &Forest) -> Option<Vec<Vec<Leaf<'_>>>> {
    let mut steps = 0;
    let mut of_tree = |&root: &usize| {
        let mut found = Vec::new();
        let mut open = vec![(root, BTreeMap::new())];
        while let Some((at, bounds)) = open.pop() {
            steps += 1 + bounds.len();
            if steps > MAX_STEPS {
                return None;
            }
            let (feature, test, yes, no) = match &forest.nodes[at] {
                Node::Leaf(weights) => {
                    found.push(Leaf { bounds, weights });
                    continue;
                }
                Node::Branch { feature, test, yes, no } => (*feature, test, *yes, *no),
            };
            steps += test.members();
            let now: Interval = bounds.get(&feature).copied().unwrap_or_default();
            // The last one is taken up first: yes before no.
            for (side, to) in [(false, no), (true, yes)] {
                for interval in intervals(test, side).into_iter().rev() {
                    if let Some(both) = now.and(interval) {
                        // What is put aside takes memory before it is visited.
                        steps += 1 + bounds.len();
                        if steps > MAX_STEPS {
                            return None;
                        }
                        let mut bounds = bounds.clone();
                        bounds.insert(feature, both);
                        open.push((to, bounds));
                    }
                }
            }
        }
        Some(found)
    };
    forest.roots.iter().map(&mut of_tree).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether `x` lies in an interval, by its definition.
    fn holds(interval: &Interval, x: f64) -> bool {
        let beyond = |c: Cut| if c.after { x > c.at } else { x >= c.at };
        interval.from.is_none_or(beyond) && !interval.to.is_some_and(beyond)
    }

    #[test]
    fn every_number_lies_in_one_interval_of_one_side() {
        type Truth = fn(f64) -> bool;
        let tests: [(Test, Truth); 7] = [
            (Test::AtMost(1.0), |x| x <= 1.0),
            (Test::Below(1.0), |x| x < 1.0),
            (Test::AtLeast(1.0), |x| x >= 1.0),
            (Test::Above(1.0), |x| x > 1.0),
            (Test::Among(vec![0.0, 1.0]), |x| x == 0.0 || x == 1.0),
            (Test::NotAmong(vec![1.0]), |x| x != 1.0),
            (Test::Among(Vec::new()), |_| false),
        ];
        for (test, truth) in tests {
            for x in [-1.0, -0.0, 0.0, 0.5, 1.0, 1.0 + f64::EPSILON, 7.0] {
                for side in [true, false] {
                    let hits = intervals(&test, side).iter().filter(|i| holds(i, x)).count();
                    assert_eq!(hits, usize::from(truth(x) == side), "{test:?} {x} {side}");
                }
            }
        }
    }

    #[test]
    fn what_is_implied_drops_out_and_circles_end() {
        let branch = |test, yes, no| Node::Branch { feature: 0, test, yes, no };
        let leaf = |w| Node::Leaf(vec![(0, w)]);
        let nodes = vec![
            branch(Test::AtMost(5.0), 1, 2),
            branch(Test::AtMost(3.0), 3, 4),
            // Never so: what comes here is above 5.
            branch(Test::Below(4.0), 3, 4),
            leaf(1.0),
            leaf(2.0),
        ];
        let forest = Forest { nodes, roots: vec![0] };
        let found = leaves(&forest).unwrap();
        let cut = |at| Some(Cut { at, after: true });
        let bounds: Vec<Interval> = found[0].iter().map(|l| l.bounds[&0]).collect();
        let want = [(None, cut(3.0)), (cut(3.0), cut(5.0)), (cut(5.0), None)]
            .map(|(from, to)| Interval { from, to });
        assert_eq!(bounds, want);
        let circle = vec![branch(Test::AtMost(5.0), 0, 1), leaf(1.0)];
        assert!(leaves(&Forest { nodes: circle, roots: vec![0] }).is_none());
        // A long path over as many features would hold the square of its length in bounds.
        let step =
            |at| Node::Branch { feature: at, test: Test::AtMost(0.0), yes: 5000, no: at + 1 };
        let path: Vec<Node> = (0..5000).map(step).chain([leaf(1.0)]).collect();
        assert!(leaves(&Forest { nodes: path, roots: vec![0] }).is_none());
    }
}
