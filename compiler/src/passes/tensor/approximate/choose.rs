//! Which degree each function gets: the least depth whose effect the outputs bear.
//!
//! The effect of each function alone, at each depth, is measured once; errors of different
//! functions are taken to add like independent noise, which gives a first choice; that choice is
//! measured as a whole, tightened until it is good enough, then loosened while it stays so; at last
//! one function is made deeper where that lets others become shallower by more.

use std::collections::{BTreeMap, BTreeSet};

use heplan_ir::entity::ValueId;
use heplan_ir::function::Function;

use super::fit::{self, Fit, Wish};
use super::judge::{Judge, Score};
use super::window::Window;
use super::{MAX_DEGREE, accepts};
use crate::options::Options;

/// Largest depth.
pub(super) const MAX_DEPTH: u32 = usize::BITS - MAX_DEGREE.leading_zeros();
/// Functions among which depths are exchanged, at most.
const EXCHANGED: usize = 12;
/// Degrees up to this one are not trimmed: it would save plaintext products only.
const UNTRIMMED: usize = 4;

/// A function to be replaced.
pub(super) struct Candidate<'g> {
    pub(super) id: ValueId,
    /// Its operand.
    pub(super) x: ValueId,
    /// Its shape.
    pub(super) shape: &'g [usize],
    pub(super) function: &'g Function,
    /// The window of a shared polynomial.
    pub(super) shared: Window,
    /// The window of polynomials per channel, where they are possible.
    pub(super) own: Option<Window>,
    /// Whether affine maps behind the function can take factors.
    pub(super) undone: bool,
    pub(super) values: &'g [(u32, f64)],
    /// The largest error that what follows bears, wherever in the window.
    pub(super) bearable: f64,
    /// Whether many functions follow each other.
    pub(super) deep: bool,
}

impl Candidate<'_> {
    /// Degree 1 is no replacement, so the least depth is that of degree 2.
    pub(super) fn min_depth(&self) -> u32 {
        if self.undone { 1 } else { 2 }
    }

    /// The largest degree within a depth; monic where a factor can be undone.
    fn degree(&self, depth: u32) -> usize {
        (1 << depth) - usize::from(!self.undone)
    }
}

/// The choice and what it does.
pub(super) struct Choice {
    /// In the order of the candidates.
    pub(super) fits: Vec<Fit>,
    pub(super) score: Score,
    /// Per candidate the output error that it alone causes.
    pub(super) alone: Vec<f64>,
    pub(super) accepted: bool,
}

/// Chooses degrees.
pub(super) struct Chooser<'a> {
    candidates: &'a [Candidate<'a>],
    judge: &'a Judge<'a>,
    options: &'a Options,
    /// Fits by candidate and degree; `None` where the fit is numerically impossible.
    fits: BTreeMap<(usize, usize), Option<Fit>>,
    /// Effects by degrees.
    scores: BTreeMap<Vec<usize>, Score>,
    /// Output error of one function alone, by candidate and depth.
    alone: BTreeMap<(usize, u32), f64>,
}

impl<'a> Chooser<'a> {
    pub(super) fn new(
        candidates: &'a [Candidate<'a>],
        judge: &'a Judge<'a>,
        options: &'a Options,
    ) -> Self {
        let (fits, scores, alone) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { candidates, judge, options, fits, scores, alone }
    }

    /// The choice under the options; `None` if some function has no fit at all.
    pub(super) fn choose(mut self) -> Option<Choice> {
        if let Some(degree) = self.options.degree {
            return self.conclude(&vec![degree; self.candidates.len()], true);
        }
        let mut depths: Vec<u32> = self.candidates.iter().map(Candidate::min_depth).collect();
        let mut target = self.judge.bound(self.options);
        loop {
            self.raise(&mut depths, target);
            if self.accepts(&self.degrees(&depths)) {
                break;
            }
            if depths.iter().all(|&d| d >= MAX_DEPTH) {
                return self.conclude(&self.degrees(&depths), false);
            }
            target *= 0.8;
        }
        self.lower(&mut depths);
        self.exchange(&mut depths);
        let mut degrees = self.degrees(&depths);
        self.trim(&mut degrees);
        self.conclude(&degrees, true)
    }

    fn conclude(&mut self, degrees: &[usize], accepted: bool) -> Option<Choice> {
        let score = self.score(degrees)?;
        let fits: Option<Vec<Fit>> =
            (0..degrees.len()).map(|i| self.fit(i, degrees[i]).cloned()).collect();
        let effect =
            |(c, f): (&Candidate<'_>, &Fit)| self.judge.score(&BTreeMap::from([(c.id, f)])).rms;
        let fits = fits?;
        let alone = self.candidates.iter().zip(&fits).map(effect).collect();
        Some(Choice { fits, score, alone, accepted })
    }

    /// Deepens where it helps most until the errors together are predicted within `target`.
    pub(super) fn raise(&mut self, depths: &mut [u32], target: f64) {
        loop {
            let now: Vec<f64> =
                (0..depths.len()).map(|i| self.alone(i, depths[i]).powi(2)).collect();
            if now.iter().sum::<f64>().sqrt() <= target {
                return;
            }
            let mut best: Option<(f64, usize)> = None;
            for i in 0..depths.len() {
                if depths[i] < MAX_DEPTH {
                    let gain = now[i] - self.alone(i, depths[i] + 1).powi(2);
                    // Infinite errors compare as the largest gain.
                    let gain = if gain.is_nan() { 0.0 } else { gain };
                    if best.is_none_or(|b| gain > b.0) {
                        best = Some((gain, i));
                    }
                }
            }
            match best {
                Some((_, i)) => depths[i] += 1,
                None => return,
            }
        }
    }

    /// Saves levels while the whole is still good enough. What could not become shallower once
    /// cannot after others did.
    fn lower(&mut self, depths: &mut [u32]) {
        let mut stuck = BTreeSet::new();
        loop {
            // Cheapest predicted loss first.
            let mut order: Vec<(f64, usize)> = (0..depths.len())
                .filter(|i| !stuck.contains(i) && depths[*i] > self.candidates[*i].min_depth())
                .map(|i| (self.alone(i, depths[i] - 1), i))
                .collect();
            order.sort_by(|a, b| a.0.total_cmp(&b.0));
            let lowered = order.into_iter().any(|(_, i)| {
                depths[i] -= 1;
                let fine = self.accepts(&self.degrees(depths));
                if !fine {
                    depths[i] += 1;
                    stuck.insert(i);
                }
                fine
            });
            if !lowered {
                return;
            }
        }
    }

    /// Makes one function a level deeper where others then lose more than that.
    fn exchange(&mut self, depths: &mut Vec<u32>) {
        if depths.len() > EXCHANGED {
            return;
        }
        let mut i = 0;
        while i < depths.len() {
            let mut other = depths.clone();
            other[i] += 1;
            i += 1;
            if other[i - 1] > MAX_DEPTH || !self.accepts(&self.degrees(&other)) {
                continue;
            }
            self.lower(&mut other);
            if other.iter().sum::<u32>() < depths.iter().sum() {
                *depths = other;
                i = 0;
            }
        }
    }

    pub(super) fn degrees(&self, depths: &[u32]) -> Vec<usize> {
        self.candidates.iter().zip(depths).map(|(c, &d)| c.degree(d)).collect()
    }

    /// Lowers degrees within their depth: fewer products, no level.
    fn trim(&mut self, degrees: &mut [usize]) {
        for i in 0..degrees.len() {
            let top = degrees[i];
            if top <= UNTRIMMED {
                continue;
            }
            // The least degree of the same depth, and those between by bisection.
            let (mut low, mut high) = (top / 2 + 1, top);
            while low < high {
                degrees[i] = usize::midpoint(low, high);
                if self.accepts(degrees) {
                    high = degrees[i];
                } else {
                    low = degrees[i] + 1;
                }
            }
            degrees[i] = high;
        }
    }

    fn accepts(&mut self, degrees: &[usize]) -> bool {
        let near = (0..degrees.len()).all(|i| self.fit(i, degrees[i]).is_some_and(|f| f.near));
        near && self.score(degrees).is_some_and(|s| accepts(self.options, self.judge, &s))
    }

    fn score(&mut self, degrees: &[usize]) -> Option<Score> {
        if let Some(known) = self.scores.get(degrees) {
            return Some(*known);
        }
        for (i, &degree) in degrees.iter().enumerate() {
            self.fit(i, degree)?;
        }
        let of = |(i, d): (usize, &usize)| {
            let fit = self.fits.get(&(i, *d)).and_then(Option::as_ref);
            fit.map(|f| (self.candidates[i].id, f))
        };
        let chosen = degrees.iter().enumerate().filter_map(of).collect();
        let score = self.judge.score(&chosen);
        self.scores.insert(degrees.to_vec(), score);
        Some(score)
    }

    fn fit(&mut self, i: usize, degree: usize) -> Option<&Fit> {
        let c = &self.candidates[i];
        let wish = Wish {
            function: c.function,
            shared: &c.shared,
            own: c.own.as_ref(),
            values: c.values,
            drift: &[],
            bearable: c.bearable,
            deep: c.deep,
            undone: c.undone,
            degree,
            method: self.options.method,
        };
        self.fits.entry((i, degree)).or_insert_with(|| fit::of_degree(&wish)).as_ref()
    }

    /// The output error if only function `i` is replaced, at this depth.
    pub(super) fn alone(&mut self, i: usize, depth: u32) -> f64 {
        if let Some(&known) = self.alone.get(&(i, depth)) {
            return known;
        }
        let error = self.alone_at(i, self.candidates[i].degree(depth));
        self.alone.insert((i, depth), error);
        error
    }

    /// The same at a degree.
    pub(super) fn alone_at(&mut self, i: usize, degree: usize) -> f64 {
        let id = self.candidates[i].id;
        let judge = self.judge;
        let error = match self.fit(i, degree) {
            Some(fit) => judge.score(&BTreeMap::from([(id, fit)])).rms,
            None => f64::INFINITY,
        };
        // A finite stand-in keeps sums comparable.
        error.min(1e100)
    }
}
