//! How to evaluate a Chebyshev series with few key switches in the least depth.
//!
//! A series of degree `d` is divided by `T_m` in the Chebyshev basis, `p = q·T_m + r`, where
//! `T_i = 2·T_m·T_{i-m} - T_{|2m-i|}` (Paterson and Stockmeyer 1973; for Chebyshev series Chen,
//! Chillotti and Song, ePrint 2018/1043; with optimal depth and exact scales Bossuat, Mouchet,
//! Troncoso-Pastoriza and Hubaux, ePrint 2020/1203).
//! Here the divisions are not prescribed: a dynamic programme over the *support* of the series
//! (which coefficients are non-zero in any class) finds the cheapest tree of divisions that fits
//! the depth, for every bound on the baby powers. Odd, even and sparse series so use only the
//! powers that they need.
//!
//! A sum of several products at one level is relinearised and rescaled once, so the programme
//! charges the first product of a sum for that and the others for their multiplication alone.
//! A monic set of degree `2m` gives `2·T_m²` away first, which takes no coefficient and so one
//! level less.
//!
//! Only shapes are decided here; levels and scales are [`super::polynomial`]'s.

use std::collections::{BTreeMap, BTreeSet};

use heplan_ir::series::PolynomialSet;

/// The coefficients of several series side by side: `rows[i][k]` is the coefficient of `T_i` in
/// series `k`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Table {
    rows: Vec<Vec<f64>>,
}

impl Table {
    /// The series of a set.
    pub(super) fn new(set: &PolynomialSet) -> Self {
        let row = |i: usize| {
            set.series.iter().map(|s| s.coefficients.get(i).copied().unwrap_or(0.0)).collect()
        };
        Self { rows: (0..=set.degree()).map(row).collect() }
    }

    /// The coefficients of `T_i`, one per series.
    pub(super) fn row(&self, i: usize) -> &[f64] {
        self.rows.get(i).map_or(&[], Vec::as_slice)
    }

    /// Whether any series has `T_i`.
    pub(super) fn has(&self, i: usize) -> bool {
        self.row(i).iter().any(|&c| c != 0.0)
    }

    /// Which `T_i` occur.
    pub(super) fn support(&self) -> Support {
        trimmed((0..self.rows.len()).map(|i| self.has(i)).collect())
    }

    /// Takes `2·T_m²` off a monic set: its leading term `T_{2m}` goes, one leaves the constant.
    pub(super) fn square_off(&mut self, m: usize) {
        self.clear(2 * m);
        if let Some(row) = self.rows.get_mut(0) {
            row.iter_mut().for_each(|c| *c -= 1.0);
        }
    }

    /// Removes the terms of `T_i`.
    pub(super) fn clear(&mut self, i: usize) {
        if let Some(row) = self.rows.get_mut(i) {
            row.fill(0.0);
        }
    }

    /// Quotient and remainder by `T_m`, for a degree of at most `2m`.
    pub(super) fn divide(&self, m: usize) -> (Self, Self) {
        let mut rest = self.rows.clone();
        rest.truncate(self.support().len());
        let mut quotient = rest.split_off(m.min(rest.len()));
        for (i, row) in quotient.iter_mut().enumerate().skip(1) {
            for (k, c) in row.iter_mut().enumerate() {
                rest[m - i][k] -= *c;
                *c *= 2.0;
            }
        }
        (Self { rows: quotient }, Self { rows: rest })
    }
}

/// Which Chebyshev polynomials occur; the last entry is true unless there is none.
type Support = Vec<bool>;

fn trimmed(mut support: Support) -> Support {
    let len = support.iter().rposition(|&s| s).map_or(0, |d| d + 1);
    support.truncate(len);
    support
}

/// One summand of a sum, taken off the series from the top.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    /// The terms of `T_i`: products with plaintexts.
    Term(usize),
    /// The quotient by `T_m`, evaluated by the inner steps, times `T_m`.
    Product(usize, Vec<Step>),
    /// `2·T_m²`: the leading term of a monic set, without its constant.
    Square(usize),
}

/// A way to evaluate a series.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Strategy {
    /// The summands of the result.
    pub(super) steps: Vec<Step>,
    /// For every power `T_n`, `n ≥ 2`, that is used: `(a, b)` with `a + b = n`, `a ≥ b`, from
    /// `T_n = 2·T_a·T_b - T_{a-b}`.
    pub(super) powers: BTreeMap<usize, (usize, usize)>,
}

/// What the parts of an evaluation cost relative to a relinearisation.
const RELINEARISE: f64 = 1.0;
const MULTIPLY: f64 = 0.15;
const RESCALE: f64 = 0.12;
const TERM: f64 = 0.03;

/// The largest bound on baby powers that is tried.
const MAX_BABY: usize = 32;

/// Levels at which `T_n` is available below its operand: `⌈log2 n⌉`.
fn depth(n: usize) -> u32 {
    n.next_power_of_two().trailing_zeros()
}

impl Strategy {
    /// The cheapest strategy found for a support of degree at least 1 within `levels` levels,
    /// which are at least the optimum `⌈log2(degree + 1)⌉`. With `square` the sum holds
    /// `2·T_square²` too.
    fn search(support: &Support, levels: u32, square: Option<usize>) -> Self {
        let degree = support.len().saturating_sub(1);
        let candidates = (1..=degree.clamp(1, MAX_BABY)).filter_map(|baby| {
            let mut search = Search { baby, memo: BTreeMap::new() };
            let tree = search.cost(support, levels, square.is_some())?;
            let mut steps: Vec<Step> = square.map(Step::Square).into_iter().collect();
            steps.extend(search.steps(support.clone(), levels, square.is_some()));
            let powers = power_recipes(&used_powers(&steps));
            let cost = tree + powers.len() as f64 * (RELINEARISE + MULTIPLY + RESCALE);
            Some((cost, Self { steps, powers }))
        });
        let best = candidates.min_by(|a, b| a.0.total_cmp(&b.0));
        best.expect("a baby bound of one always fits the optimal depth").1
    }

    /// Levels below the operand at which `T_n` is read, counted upwards from the level of the
    /// result: every power in use with the highest level that reads it.
    pub(super) fn power_levels(&self, result: usize) -> BTreeMap<usize, usize> {
        fn visit(steps: &[Step], level: usize, needs: &mut BTreeMap<usize, usize>) {
            for step in steps {
                let (Step::Term(n) | Step::Product(n, _) | Step::Square(n)) = step;
                let need = needs.entry(*n).or_insert(level);
                *need = (*need).max(level);
                if let Step::Product(_, inner) = step {
                    visit(inner, level + 1, needs);
                }
            }
        }
        let mut needs = BTreeMap::new();
        visit(&self.steps, result + 1, &mut needs);
        for (&n, &(a, b)) in self.powers.iter().rev() {
            let level = needs.get(&n).copied().unwrap_or(result) + 1;
            for part in [a, b, a - b].into_iter().filter(|&p| p > 0) {
                let need = needs.entry(part).or_insert(level);
                *need = (*need).max(level);
            }
        }
        needs
    }
}

/// The strategies found so far: a model has many polynomials of few shapes.
#[derive(Default)]
pub(super) struct Strategies {
    known: BTreeMap<(Support, u32, Option<usize>), Strategy>,
}

impl Strategies {
    /// [`Strategy::search`], once per shape.
    pub(super) fn get(
        &mut self,
        support: Vec<bool>,
        levels: u32,
        square: Option<usize>,
    ) -> &Strategy {
        let known = self.known.entry((support, levels, square));
        known.or_insert_with_key(|(support, levels, m)| Strategy::search(support, *levels, *m))
    }
}

/// The choice for one series: its cost and the first step, `None` when only a constant is left.
type Choice = (f64, Option<Step>);

struct Search {
    /// `T_1 … T_baby` may be used, beside `T_{2^j}` and `T_{baby·2^j}`.
    baby: usize,
    memo: BTreeMap<(Support, u32, bool), Option<Choice>>,
}

impl Search {
    /// The least cost of a sum, `None` if it does not fit `levels`. `paid` says that the sum has a
    /// product already, so that its relinearisation is accounted for.
    fn cost(&mut self, support: &Support, levels: u32, paid: bool) -> Option<f64> {
        if support.len() <= 1 {
            return Some(0.0);
        }
        let key = (support.clone(), levels, paid);
        if let Some(known) = self.memo.get(&key) {
            return known.as_ref().map(|c| c.0);
        }
        let best = self.choose(support, levels, paid);
        let cost = best.as_ref().map(|c| c.0);
        self.memo.insert(key, best);
        cost
    }

    fn choose(&mut self, support: &Support, levels: u32, paid: bool) -> Option<Choice> {
        let degree = support.len() - 1;
        let mut best: Option<Choice> = None;
        let mut offer = |cost: f64, step: Step| {
            if best.as_ref().is_none_or(|b| cost < b.0) {
                best = Some((cost, Some(step)));
            }
        };
        if self.available(degree) && depth(degree) < levels {
            let rest = without(support, degree);
            if let Some(cost) = self.cost(&rest, levels, paid) {
                offer(TERM + cost, Step::Term(degree));
            }
        }
        let giants = self.giants(degree);
        for m in giants.into_iter().filter(|&m| m < degree && degree <= 2 * m) {
            if depth(m) >= levels {
                continue;
            }
            let (quotient, rest) = divided(support, m);
            let Some(inner) = self.cost(&quotient, levels - 1, false) else { continue };
            let Some(outer) = self.cost(&rest, levels, true) else { continue };
            let relinearise = if paid { 0.0 } else { RELINEARISE };
            offer(relinearise + MULTIPLY + RESCALE + inner + outer, Step::Product(m, Vec::new()));
        }
        best
    }

    /// The steps behind [`Search::cost`].
    fn steps(&mut self, mut support: Support, levels: u32, mut paid: bool) -> Vec<Step> {
        let mut steps = Vec::new();
        while support.len() > 1 {
            let choice = self.memo.get(&(support.clone(), levels, paid)).cloned().flatten();
            match choice.and_then(|c| c.1).expect("only sums that fit are followed") {
                Step::Term(i) => {
                    support = without(&support, i);
                    steps.push(Step::Term(i));
                }
                Step::Product(m, _) | Step::Square(m) => {
                    let (quotient, rest) = divided(&support, m);
                    let inner = self.steps(quotient, levels - 1, false);
                    steps.push(Step::Product(m, inner));
                    (support, paid) = (rest, true);
                }
            }
        }
        steps
    }

    fn available(&self, n: usize) -> bool {
        let giant = |base: usize| n.is_multiple_of(base) && (n / base).is_power_of_two();
        n <= self.baby || giant(1) || giant(self.baby)
    }

    fn giants(&self, degree: usize) -> BTreeSet<usize> {
        let doublings = |base: usize| {
            std::iter::successors(Some(base), |m| m.checked_mul(2)).take_while(|&m| m <= degree)
        };
        doublings(1).chain(doublings(self.baby)).collect()
    }
}

fn without(support: &Support, i: usize) -> Support {
    let mut rest = support.clone();
    rest[i] = false;
    trimmed(rest)
}

/// The supports of quotient and remainder by `T_m`; see [`Table::divide`].
fn divided(support: &Support, m: usize) -> (Support, Support) {
    let mut rest = support[..m].to_vec();
    for i in (1..support.len() - m).filter(|&i| support[m + i]) {
        rest[m - i] = true;
    }
    (trimmed(support[m..].to_vec()), trimmed(rest))
}

fn used_powers(steps: &[Step]) -> BTreeSet<usize> {
    let mut used = BTreeSet::new();
    for step in steps {
        match step {
            Step::Term(n) | Step::Square(n) => {
                used.insert(*n);
            }
            Step::Product(n, inner) => {
                used.insert(*n);
                used.extend(used_powers(inner));
            }
        }
    }
    used
}

/// Ways to make every power of `used` and what they take on the way, each in optimal depth.
fn power_recipes(used: &BTreeSet<usize>) -> BTreeMap<usize, (usize, usize)> {
    let mut recipes = BTreeMap::new();
    for &n in used {
        make_power(n, &mut recipes);
    }
    recipes
}

fn make_power(n: usize, recipes: &mut BTreeMap<usize, (usize, usize)>) {
    if n <= 1 || recipes.contains_key(&n) {
        return;
    }
    let missing = |p: usize| usize::from(p > 1 && !recipes.contains_key(&p));
    let half = 1usize << (depth(n) - 1);
    let best = (n.div_ceil(2)..=half.min(n - 1)).min_by_key(|&a| {
        let b = n - a;
        let parts = BTreeSet::from([a, b, a - b]);
        let fresh: usize = parts.into_iter().map(missing).sum();
        (fresh, a != b, std::cmp::Reverse(a))
    });
    let a = best.expect("half of n is at most the power of two below it");
    for part in [a, n - a, a - (n - a)] {
        make_power(part, recipes);
    }
    recipes.insert(n, (a, n - a));
}
