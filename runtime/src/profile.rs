//! Where the time of a run goes: an observer that adds up times by instruction and by ONNX node.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::backend::Backend;
use crate::error::mnemonic;
use crate::executor::{Observer, Step};

/// How often something ran, and for how long in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// Number of instructions.
    pub count: usize,
    /// Their time.
    pub time: Duration,
}

/// Times of one or more runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// By the name of the instruction.
    pub by_instruction: BTreeMap<&'static str, Share>,
    /// By the label of the ONNX nodes; empty for what no node wrote.
    pub by_origin: BTreeMap<String, Share>,
    /// All of it.
    pub total: Share,
}

impl<B: Backend> Observer<B> for Profile {
    fn after(&mut self, step: Step<'_>, _results: &[B::Ct], elapsed: Duration) {
        let by_instruction = self.by_instruction.entry(mnemonic(&step.inst.op)).or_default();
        let by_origin = self.by_origin.entry(step.origin.to_owned()).or_default();
        for share in [by_instruction, by_origin, &mut self.total] {
            share.count += 1;
            share.time += elapsed;
        }
    }
}

/// Two observers of the same run, told in order.
impl<B: Backend, F: Observer<B>, G: Observer<B>> Observer<B> for (F, G) {
    fn before(&mut self, step: Step<'_>) {
        self.0.before(step);
        self.1.before(step);
    }

    fn after(&mut self, step: Step<'_>, results: &[B::Ct], elapsed: Duration) {
        self.0.after(step, results, elapsed);
        self.1.after(step, results, elapsed);
    }
}
