//! Leaves as polynomials of comparisons.
//!
//! Every cut of a feature that some leaf asks for is one element of one tensor, `1` where the
//! feature is beyond it. An interval is the difference of two of them, so a leaf is a product of
//! one factor per feature. Products are taken in pairs: a stage is two affine maps, which gather and
//! subtract, and one element-wise product; a factor without a partner waits. What several leaves
//! share is computed once. The sum of the leaves' weights is one affine map of all stages.

use std::collections::BTreeMap;

use heplan_ir::function::Function;
use heplan_ir::matrix::SparseMatrix;

use super::super::super::context::{Fault, NodeCx, Secret, column, non_zeros};
use super::boxes::{Cut, Interval, Leaf};

/// An element of a stage: the stage (0 are the comparisons) and its place there.
type Element = (usize, usize);

/// `constant + Σ coefficient·element`, each coefficient 1 or -1.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Form {
    constant: i32,
    terms: Vec<(Element, i32)>,
}

impl Form {
    fn of(element: Element) -> Self {
        Self { constant: 0, terms: vec![(element, 1)] }
    }

    /// This less the other.
    fn minus(mut self, other: &Self) -> Self {
        self.constant -= other.constant;
        self.terms.extend(other.terms.iter().map(|t| (t.0, -t.1)));
        self
    }
}

/// What is computed, before there is a graph of it.
#[derive(Default)]
pub(super) struct Plan {
    /// Features and cuts, sorted; the elements of stage 0.
    cuts: Vec<(usize, Cut)>,
    /// Per later stage its products.
    stages: Vec<Vec<(Form, Form)>>,
    /// Per leaf its indicator, with the leaf's weights.
    leaves: Vec<(Form, Vec<(usize, f64)>)>,
}

impl Plan {
    /// The plan of these leaves.
    pub(super) fn of(leaves: &[Leaf<'_>]) -> Self {
        let ends = |(&feature, i): (&usize, &Interval)| {
            [i.from, i.to].into_iter().flatten().map(move |c| (feature, c)).collect::<Vec<_>>()
        };
        let mut cuts: Vec<(usize, Cut)> =
            leaves.iter().flat_map(|l| l.bounds.iter().flat_map(ends)).collect();
        cuts.sort();
        cuts.dedup();
        let mut plan = Self { cuts, ..Self::default() };
        let mut known: Vec<BTreeMap<(Form, Form), usize>> = Vec::new();
        for leaf in leaves {
            let mut factors: Vec<Form> =
                leaf.bounds.iter().map(|(&f, i)| plan.factor(f, i)).collect();
            let mut stage = 1;
            while factors.len() > 1 {
                if known.len() < stage {
                    known.push(BTreeMap::new());
                    plan.stages.push(Vec::new());
                }
                let (known, products) = (&mut known[stage - 1], &mut plan.stages[stage - 1]);
                let pair = |pair: &[Form]| match pair {
                    [a, b] => {
                        let key = (a.clone(), b.clone());
                        let at = *known.entry(key.clone()).or_insert_with(|| {
                            products.push(key);
                            products.len() - 1
                        });
                        Form::of((stage, at))
                    }
                    rest => rest[0].clone(),
                };
                factors = factors.chunks(2).map(pair).collect();
                stage += 1;
            }
            let one = Form { constant: 1, terms: Vec::new() };
            let indicator = factors.pop().unwrap_or(one);
            plan.leaves.push((indicator, leaf.weights.to_vec()));
        }
        plan
    }

    /// `1` where a feature lies in an interval.
    fn factor(&self, feature: usize, interval: &Interval) -> Form {
        let beyond = |cut: Option<Cut>| {
            cut.and_then(|c| self.cuts.binary_search(&(feature, c)).ok())
                .map(|at| Form::of((0, at)))
        };
        let all = Form { constant: 1, terms: Vec::new() };
        let from = beyond(interval.from).unwrap_or(all);
        match beyond(interval.to) {
            Some(to) => from.minus(&to),
            None => from,
        }
    }

    /// Different comparisons.
    pub(super) fn comparisons(&self) -> usize {
        self.cuts.len()
    }

    /// Products of the largest stage.
    pub(super) fn widest(&self) -> usize {
        self.stages.iter().map(Vec::len).max().unwrap_or(0)
    }

    /// Levels behind the comparisons: two for every stage, and the sum.
    pub(super) fn levels(&self) -> usize {
        2 * self.stages.len() + 1
    }

    /// Puts the plan on the graph: per sample the sum of all leaves' weights times `scale`, and
    /// `base`, one number per target. There must be a comparison.
    pub(super) fn emit(
        &self,
        cx: &mut NodeCx<'_>,
        x: &Secret,
        (samples, features): (usize, usize),
        (base, scale): (&[f64], f64),
    ) -> Result<Secret, Fault> {
        let targets = base.len();
        let mut stages = vec![self.compare(cx, x, samples, features)?];
        for products in &self.stages {
            let left: Vec<&Form> = products.iter().map(|p| &p.0).collect();
            let right: Vec<&Form> = products.iter().map(|p| &p.1).collect();
            let a = gathered(cx, &stages, samples, &left)?;
            let b = gathered(cx, &stages, samples, &right)?;
            stages.push(cx.product(&a, &b));
        }
        let mut sums = vec![Sum { constant: 0.0, terms: BTreeMap::new() }; targets];
        for (indicator, weights) in &self.leaves {
            for &(target, weight) in weights {
                let (sum, weight) = (&mut sums[target], weight * scale);
                sum.constant += weight * f64::from(indicator.constant);
                for &(element, by) in &indicator.terms {
                    *sum.terms.entry(element).or_insert(0.0) += weight * f64::from(by);
                }
            }
        }
        sums.iter_mut().zip(base).for_each(|(s, b)| s.constant += b);
        affine(cx, &stages, samples, &sums)
    }

    /// The comparisons: `1` beyond the cut.
    fn compare(
        &self,
        cx: &mut NodeCx<'_>,
        x: &Secret,
        samples: usize,
        features: usize,
    ) -> Result<Secret, Fault> {
        let count = self.cuts.len();
        // `x >= t` is one less `t > x`.
        let sign = |cut: &Cut| if cut.after { 1.0 } else { -1.0 };
        let bias = |r: usize| -sign(&self.cuts[r % count].1) * self.cuts[r % count].1.at;
        let bias = (0..samples * count).map(bias).collect();
        let distances = cx.matrix(x, vec![samples, count], 1, Some(bias), |r, row| {
            let (feature, cut) = &self.cuts[r % count];
            row.push((column(r / count * features + feature), sign(cut)));
        })?;
        let steps = cx.function(&distances, Function::Step);
        if self.cuts.iter().all(|c| c.1.after) {
            return Ok(steps);
        }
        let side = |r: usize| if self.cuts[r % count].1.after { 0.0 } else { 1.0 };
        let bias = (0..samples * count).map(side).collect();
        let shape = steps.shape.clone();
        cx.matrix(&steps, shape, 1, Some(bias), |r, row| {
            row.push((column(r), sign(&self.cuts[r % count].1)));
        })
    }
}

/// A row over all stages.
#[derive(Clone)]
struct Sum {
    constant: f64,
    terms: BTreeMap<Element, f64>,
}

fn gathered(
    cx: &mut NodeCx<'_>,
    stages: &[Secret],
    samples: usize,
    forms: &[&Form],
) -> Result<Secret, Fault> {
    let row = |f: &&Form| Sum {
        constant: f64::from(f.constant),
        terms: f.terms.iter().map(|&(e, by)| (e, f64::from(by))).collect(),
    };
    let rows: Vec<Sum> = forms.iter().map(row).collect();
    affine(cx, stages, samples, &rows)
}

/// One affine map of all stages that the rows read, the same for every sample.
fn affine(
    cx: &mut NodeCx<'_>,
    stages: &[Secret],
    samples: usize,
    rows: &[Sum],
) -> Result<Secret, Fault> {
    let (count, mut terms) = (rows.len(), Vec::new());
    for (s, stage) in stages.iter().enumerate() {
        let entries = |r: &Sum| r.terms.range((s, 0)..(s + 1, 0)).count();
        let most = rows.iter().map(entries).max().unwrap_or(0);
        // A map that reads nothing still needs an operand.
        if most == 0 && (s + 1 < stages.len() || !terms.is_empty()) {
            continue;
        }
        non_zeros(samples * count, most)?;
        let width = stage.shape[1];
        let matrix = SparseMatrix::from_rows(samples * count, samples * width, |r, row| {
            let own = rows[r % count].terms.range((s, 0)..(s + 1, 0));
            row.extend(own.map(|(e, &by)| (column(r / count * width + e.1), by)));
        });
        terms.push((stage.id, matrix));
    }
    let bias = (0..samples * count).map(|r| rows[r % count].constant).collect();
    Ok(cx.affine(terms, Some(bias), vec![samples, count]))
}
