//! Which depth each function gets where many follow each other: choices judged as a whole.
//!
//! In a long chain the effect of a function does not add to those of others like independent noise:
//! polynomials are fitted in turn ([`super::turn`]), each makes up for those before it, and what
//! classes bear is known by many samples only. So predictions only shape a choice: for a target,
//! depths are those of the fewest levels at which the effects of all functions, each alone and on
//! few samples, add up to it. What they do together is then measured on every sample: the target
//! falls until the outputs bear the polynomials, and the interval between the last two targets is
//! halved a few times. Every measurement is one way through the graph, with a fit on it for every
//! function.

use super::accepts;
use super::choose::{Candidate, Choice, Chooser, MAX_DEPTH};
use super::fit::Fit;
use super::judge::{Judge, Score};
use super::turn;
use crate::options::Options;

/// By how much the target falls where the outputs do not bear a choice. A level for all functions
/// is a factor of about 0.4.
const FALL: f64 = 0.7;
/// How often the interval between the last two targets is halved.
const HALVED: usize = 2;

/// A choice that has been measured.
struct Measured {
    depths: Vec<u32>,
    fits: Vec<Fit>,
    score: Score,
    accepted: bool,
}

/// Chooses depths: `few` judges single functions, `all` what they do together.
struct Search<'a> {
    candidates: &'a [Candidate<'a>],
    all: &'a Judge<'a>,
    options: &'a Options,
    chooser: Chooser<'a>,
}

/// The choice under the options; `None` if some function has no fit at all.
pub(super) fn choose<'a>(
    candidates: &'a [Candidate<'a>],
    (few, all): (&'a Judge<'a>, &'a Judge<'a>),
    options: &'a Options,
) -> Option<Choice> {
    let chooser = Chooser::new(candidates, few, options);
    let mut search = Search { candidates, all, options, chooser };
    if let Some(degree) = options.degree {
        let degrees = vec![degree; candidates.len()];
        let (fits, score) = turn::fit_all(all, candidates, &degrees, options)?;
        let alone = (0..degrees.len()).map(|i| search.chooser.alone_at(i, degree)).collect();
        return Some(Choice { fits, score, alone, accepted: true });
    }
    let found = search.find()?;
    let alone = found.depths.iter().enumerate().map(|(i, &d)| search.chooser.alone(i, d)).collect();
    Some(Choice { fits: found.fits, score: found.score, alone, accepted: found.accepted })
}

impl Search<'_> {
    /// The first choice that the outputs bear as the target falls, with the halvings behind it; or
    /// the deepest one.
    fn find(&mut self) -> Option<Measured> {
        let mut target = self.all.bound(self.options);
        let mut missed = None;
        let mut found = self.measure(target)?;
        while !found.accepted {
            if found.depths.iter().all(|&d| d >= MAX_DEPTH) {
                return Some(found);
            }
            missed = Some(target);
            target *= FALL;
            let depths = self.depths(target);
            if depths != found.depths {
                found = self.measured(depths)?;
            }
        }
        let Some(mut missed) = missed else { return Some(found) };
        for _ in 0..HALVED {
            let middle = (missed * target).sqrt();
            let other = self.measure(middle)?;
            if other.accepted {
                target = middle;
                found = other;
            } else {
                missed = middle;
            }
        }
        Some(found)
    }

    /// The fewest levels that are predicted to reach a target.
    fn depths(&mut self, target: f64) -> Vec<u32> {
        let mut depths: Vec<u32> = self.candidates.iter().map(Candidate::min_depth).collect();
        self.chooser.raise(&mut depths, target);
        depths
    }

    fn measure(&mut self, target: f64) -> Option<Measured> {
        let depths = self.depths(target);
        self.measured(depths)
    }

    fn measured(&self, depths: Vec<u32>) -> Option<Measured> {
        let degrees = self.chooser.degrees(&depths);
        let (fits, score) = turn::fit_all(self.all, self.candidates, &degrees, self.options)?;
        let near = fits.iter().all(|f| f.near);
        let accepted = near && accepts(self.options, self.all, &score);
        Some(Measured { depths, fits, score, accepted })
    }
}
