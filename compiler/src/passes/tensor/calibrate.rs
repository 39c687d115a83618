//! Ranges of every value over the calibration set.
//!
//! Runs the graph on every sample and keeps, per element, the extremes and the first two moments,
//! and for the operand of every function a bounded selection of its values, which approximation
//! uses as their density. The graph is not changed.
//! Results do not depend on the number of threads: blocks of samples are merged in their order.

use std::collections::BTreeMap;

use heplan_ir::diagnostic::{Code, Diagnostic};
use heplan_ir::entity::ValueId;
use heplan_ir::tensor::{Graph, Op};
use rayon::prelude::*;

use crate::data::Samples;
use crate::reference::{Block, Executor, LANES};

/// Blocks that are in memory at once.
const GROUP: usize = 4;
/// Values that are kept of each function's operand.
const KEPT: usize = 200_000;

/// Extremes and moments of numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// How many numbers.
    pub count: usize,
    /// The smallest; infinite if there is none.
    pub min: f64,
    /// The largest; negative infinite if there is none.
    pub max: f64,
    sum: f64,
    square: f64,
}

impl Default for Spread {
    fn default() -> Self {
        Self { count: 0, min: f64::INFINITY, max: f64::NEG_INFINITY, sum: 0.0, square: 0.0 }
    }
}

impl Spread {
    /// Takes one number into account.
    pub fn add(&mut self, x: f64) {
        self.count += 1;
        self.min = self.min.min(x);
        self.max = self.max.max(x);
        self.sum += x;
        self.square += x * x;
    }

    /// The spread of both together.
    #[must_use]
    pub fn merge(&self, other: &Self) -> Self {
        Self {
            count: self.count + other.count,
            min: self.min.min(other.min),
            max: self.max.max(other.max),
            sum: self.sum + other.sum,
            square: self.square + other.square,
        }
    }

    /// The arithmetic mean; zero if there is none.
    pub fn mean(&self) -> f64 {
        self.sum / self.count.max(1) as f64
    }

    /// The standard deviation.
    pub fn std(&self) -> f64 {
        let mean = self.mean();
        (self.square / self.count.max(1) as f64 - mean * mean).max(0.0).sqrt()
    }

    /// The largest magnitude; zero if there is none.
    pub fn magnitude(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.max.max(-self.min) }
    }

    /// Whether every number was finite.
    fn is_finite(&self) -> bool {
        self.sum.is_finite()
    }
}

/// What calibration knows of a graph.
#[derive(Clone, Debug, PartialEq)]
pub struct Calibration {
    /// Per value and element, in the tensor's order.
    pub elements: Vec<Vec<Spread>>,
    /// For every `Function` node a selection of its operand's values: element and value.
    pub operands: BTreeMap<ValueId, Vec<(u32, f64)>>,
    /// For every `Function` node the smallest and largest value of its operand in each sample.
    pub extremes: BTreeMap<ValueId, Vec<(f64, f64)>>,
    /// For every `Function` node the spreads of its operand's elements over the even and over the
    /// odd samples: what one half says of the other, the whole says of samples to come.
    pub halves: BTreeMap<ValueId, [Vec<Spread>; 2]>,
}

/// How far beyond the extremes seen the next samples may go, below and above.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tail {
    /// Below the smallest.
    pub below: f64,
    /// Above the largest.
    pub above: f64,
}

impl Tail {
    /// Extrapolates the largest values of single samples.
    ///
    /// With the median `m`, the 90th percentile `p` and the largest `M` of them, a tail that
    /// falls exponentially has `(M - p)/(p - m)` near 2 for a few hundred samples, and ten times
    /// as many samples reach about `M - p` further. Lighter and heavier tails get less or more of
    /// that, in proportion to the ratio, but at most twice as much.
    pub fn of(extremes: &[(f64, f64)]) -> Self {
        let beyond = |mut largest: Vec<f64>| {
            largest.sort_by(f64::total_cmp);
            let at = |share: f64| largest[((largest.len() - 1) as f64 * share) as usize];
            let (m, p, top) = (at(0.5), at(0.9), at(1.0));
            let weight = if p > m { ((top - p) / (p - m) / 2.0).min(2.0) } else { 1.0 };
            weight * (top - p)
        };
        if extremes.is_empty() {
            return Self::default();
        }
        Self {
            below: beyond(extremes.iter().map(|e| -e.0).collect()),
            above: beyond(extremes.iter().map(|e| e.1).collect()),
        }
    }
}

impl Calibration {
    /// The spread of all elements of a value together.
    ///
    /// # Panics
    /// If `id` is not of the calibrated graph.
    pub fn spread(&self, id: ValueId) -> Spread {
        self.elements[id.index()].iter().fold(Spread::default(), |a, b| a.merge(b))
    }
}

/// Runs `graph` on every sample.
///
/// # Errors
/// [`Code::Domain`] for every function that has no value at a number that it meets, and
/// [`Code::Calibration`] if there is no sample or another value is not finite.
pub fn calibrate(graph: &Graph, samples: &Samples) -> Result<Calibration, Vec<Diagnostic>> {
    if samples.is_empty() {
        return Err(vec![Diagnostic::new(
            Code::Calibration,
            "the calibration set holds no sample",
        )]);
    }
    let executor = Executor::new(graph);
    let mut calibration = Calibration {
        elements: graph.values.iter().map(|v| vec![Spread::default(); v.elements()]).collect(),
        operands: functions(graph).map(|(id, _)| (id, Vec::new())).collect(),
        extremes: functions(graph).map(|(id, _)| (id, Vec::new())).collect(),
        halves: functions(graph).map(|(id, x)| (id, empty_halves(graph, x))).collect(),
    };
    let starts: Vec<usize> = (0..samples.len()).step_by(LANES).collect();
    for group in starts.chunks(GROUP) {
        let blocks: Vec<Block> = group
            .par_iter()
            .map(|&first| executor.block(samples, first, samples.len(), true))
            .collect();
        calibration.elements.par_iter_mut().enumerate().for_each(|(i, elements)| {
            for block in &blocks {
                for (spread, lanes) in elements.iter_mut().zip(block.values[i].chunks(LANES)) {
                    lanes[..block.lanes].iter().for_each(|&x| spread.add(x));
                }
            }
        });
        for (&first, block) in group.iter().zip(&blocks) {
            for (id, x) in functions(graph) {
                let kept = calibration.operands.entry(id).or_default();
                select(block, first, samples.len(), x, kept);
                calibration.extremes.entry(id).or_default().extend(extremes(block, x));
                if let Some(halves) = calibration.halves.get_mut(&id) {
                    split(block, first, x, halves);
                }
            }
        }
    }
    let errors = not_finite(graph, &calibration);
    if errors.is_empty() { Ok(calibration) } else { Err(errors) }
}

/// The functions of a graph with their operands.
fn functions(graph: &Graph) -> impl Iterator<Item = (ValueId, ValueId)> + '_ {
    graph.ids().filter_map(|id| match graph.value(id).op {
        Op::Function { x, .. } => Some((id, x)),
        _ => None,
    })
}

fn empty_halves(graph: &Graph, x: ValueId) -> [Vec<Spread>; 2] {
    let empty = vec![Spread::default(); graph.value(x).elements()];
    [empty.clone(), empty]
}

/// Adds the elements of `x` to the half that their sample belongs to.
fn split(block: &Block, first: usize, x: ValueId, halves: &mut [Vec<Spread>; 2]) {
    for (e, lanes) in block.values[x.index()].chunks(LANES).enumerate() {
        for (lane, &v) in lanes[..block.lanes].iter().enumerate() {
            halves[(first + lane) % 2][e].add(v);
        }
    }
}

/// The smallest and largest element of `x` in each sample of a block.
fn extremes(block: &Block, x: ValueId) -> Vec<(f64, f64)> {
    let mut out = vec![(f64::INFINITY, f64::NEG_INFINITY); block.lanes];
    for lanes in block.values[x.index()].chunks(LANES) {
        for (e, &v) in out.iter_mut().zip(lanes) {
            *e = (e.0.min(v), e.1.max(v));
        }
    }
    out
}

/// Keeps about [`KEPT`] values of `x` over the whole set, chosen by a hash of their position so
/// that no channel is preferred.
fn select(block: &Block, first: usize, samples: usize, x: ValueId, kept: &mut Vec<(u32, f64)>) {
    let values = &block.values[x.index()];
    let elements = values.len() / LANES;
    let every = (elements * samples).div_ceil(KEPT).max(1) as u64;
    for (e, lanes) in values.chunks(LANES).enumerate() {
        for (lane, &v) in lanes[..block.lanes].iter().enumerate() {
            let position = ((first + lane) * elements + e) as u64;
            if mix(position).is_multiple_of(every) {
                kept.push((e as u32, v));
            }
        }
    }
}

/// The finaliser of SplitMix64 (Steele, Lea and Flood, 2014).
pub(super) fn mix(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// One finding per value that is not finite although its operands are.
fn not_finite(graph: &Graph, calibration: &Calibration) -> Vec<Diagnostic> {
    let finite: Vec<bool> =
        calibration.elements.iter().map(|e| e.iter().all(Spread::is_finite)).collect();
    let mut found = Vec::new();
    for id in graph.ids().filter(|id| !finite[id.index()]) {
        let value = graph.value(id);
        if value.op.operands().iter().any(|x| !finite[x.index()]) {
            continue;
        }
        let label = graph.origins.label(value.origin);
        let mut finding = match &value.op {
            Op::Function { x, function } => {
                let spread = calibration.spread(*x);
                let message = format!(
                    "{function:?} has no value at some numbers between {:.4} and {:.4} that \
                     calibration meets",
                    spread.min, spread.max
                );
                Diagnostic::new(Code::Domain, message)
                    .help("check that the calibration data is scaled as in training")
            }
            _ => {
                let what = if label.is_empty() { "an input" } else { label.as_str() };
                let message = format!("{what} is not finite over the calibration set");
                Diagnostic::new(Code::Calibration, message)
            }
        };
        finding.node = graph.origins.nodes(value.origin).next().cloned();
        found.push(finding);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use heplan_ir::function::Function;
    use heplan_ir::origin::{Node, OriginTable};

    fn graph(function: Function) -> Graph {
        let mut g = Graph::default();
        let node = Node { index: 0, name: "f".into(), op: "F".into() };
        let origin = g.origins.node(node);
        let x = g.push(Op::Input { name: "x".into() }, vec![1, 2], OriginTable::none());
        let y = g.push(Op::Function { x, function }, vec![1, 2], origin);
        g.outputs = vec![("y".into(), y)];
        g
    }

    fn samples(n: usize) -> Samples {
        let row = |i: usize| vec![i as f64, -2.0 * i as f64];
        Samples { inputs: vec![(0..n).map(row).collect()], ..Samples::default() }
    }

    #[test]
    fn heavy_tails_reach_further_than_light_ones() {
        let row = |top: f64| -> Vec<(f64, f64)> {
            let body = (0..100).map(|i| (0.0, 1.0 + f64::from(i) / 100.0));
            body.chain([(0.0, top)]).collect()
        };
        let (light, heavy) = (Tail::of(&row(2.0)), Tail::of(&row(9.0)));
        assert!(light.above < 0.02 && light.below == 0.0);
        assert!((heavy.above - 14.2).abs() < 0.1);
    }

    #[test]
    fn ranges_and_moments_are_those_of_the_data() {
        let c = calibrate(&graph(Function::Relu), &samples(11)).unwrap();
        let (x, y) = (ValueId::new(0), ValueId::new(1));
        assert_eq!((c.spread(x).min, c.spread(x).max), (-20.0, 10.0));
        assert_eq!((c.elements[0][0].mean(), c.elements[0][0].count), (5.0, 11));
        assert!((c.elements[0][0].std() - 10f64.sqrt()).abs() < 1e-12);
        assert_eq!((c.spread(y).min, c.spread(y).max, c.spread(x).magnitude()), (0.0, 10.0, 20.0));
        assert_eq!(c.operands[&y].len(), 22);
        assert_eq!(c.extremes[&y][3], (-6.0, 3.0));
    }

    #[test]
    fn kept_values_are_bounded_and_spread_evenly() {
        let c = calibrate(&graph(Function::Relu), &samples(400_000)).unwrap();
        let kept = &c.operands[&ValueId::new(1)];
        let first = kept.iter().filter(|v| v.0 == 0).count();
        assert!(kept.len().abs_diff(KEPT) < KEPT / 50, "{}", kept.len());
        assert!(first.abs_diff(kept.len() / 2) < KEPT / 50, "{first}");
    }

    #[test]
    fn a_function_without_a_value_is_named() {
        let errors = calibrate(&graph(Function::Log), &samples(3)).unwrap_err();
        assert_eq!((errors.len(), errors[0].code), (1, Code::Domain));
        assert_eq!(errors[0].node.as_ref().unwrap().name, "f");
    }
}
