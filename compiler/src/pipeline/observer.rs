//! Watching a compilation: dumping, timing and explaining are observers; passes never print.

use std::fmt;

use heplan_ir::{ckks, plan, slots, tensor};

/// What a pass left behind.
#[derive(Clone, Copy, Debug)]
pub enum Stage<'a> {
    /// The `tensor` level.
    Tensor(&'a tensor::Graph),
    /// The `slots` level.
    Slots(&'a slots::Graph),
    /// The `ckks` level.
    Ckks(&'a ckks::Graph),
    /// The `plan` level.
    Plan(&'a plan::Plan),
}

impl Stage<'_> {
    /// The breaches of the level's invariants, shown inside its text; `None` if there are none.
    pub fn breaches(&self) -> Option<String> {
        macro_rules! check {
            ($unit:expr) => {{
                let errors = $unit.verify();
                (!errors.is_empty()).then(|| $unit.render_errors(&errors))
            }};
        }
        match self {
            Self::Tensor(graph) => check!(graph),
            Self::Slots(graph) => check!(graph),
            Self::Ckks(graph) => check!(graph),
            Self::Plan(plan) => check!(plan),
        }
    }
}

impl fmt::Display for Stage<'_> {
    /// The text form of the level.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tensor(graph) => graph.fmt(f),
            Self::Slots(graph) => graph.fmt(f),
            Self::Ckks(graph) => graph.fmt(f),
            Self::Plan(plan) => plan.fmt(f),
        }
    }
}

/// Sees the graph after every pass.
pub trait Observer {
    /// `pass` has run; `stage` is what it gave.
    ///
    /// The tensor passes run again when approximation is made stricter, and the passes below them
    /// once for every ring and scale that is tried: the last call of a name is the one that counts.
    fn after(&mut self, pass: &'static str, stage: Stage<'_>);

    /// Something takes a while; `what` is a phrase for a progress line.
    fn progress(&mut self, what: &str);
}

/// Looks away.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unobserved;

impl Observer for Unobserved {
    fn after(&mut self, _: &'static str, _: Stage<'_>) {}
    fn progress(&mut self, _: &str) {}
}
