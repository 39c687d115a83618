//! The float executor: runs a [`tensor::Graph`](heplan_ir::tensor::Graph) on f64 tensors, before
//! and after approximation.
//!
//! It is the independent truth of every later stage, so it knows no layouts, scales or levels.
//! Samples run in blocks of [`LANES`], element by element side by side, so that a sparse matrix is
//! read once for several samples; blocks run in parallel, and results do not depend on how. Lanes
//! use the vector instructions there are: every operation rounds alike on all of them, and none is
//! fused.

use std::collections::BTreeMap;

use heplan_ir::entity::ValueId;
use heplan_ir::matrix::SparseMatrix;
use heplan_ir::series::Series;
use heplan_ir::tensor::{Graph, Op};
use pulp::{Arch, NullaryFnOnce};
use rayon::prelude::*;

use crate::data::Samples;

/// Samples that run side by side.
pub const LANES: usize = 16;

/// Something that stands in for the function of a `Function` node: from the element's index and
/// the operand's values, lane by lane, to the results.
pub type Substitute<'a> = &'a (dyn Fn(usize, &[f64; LANES]) -> [f64; LANES] + Sync);

/// The values of up to [`LANES`] samples: per value the elements in order, each with its lanes.
/// Unused lanes repeat the block's last sample. Values that were dropped are empty.
pub struct Block {
    /// Number of lanes in use.
    pub lanes: usize,
    /// Indexed by `ValueId`.
    pub values: Vec<Vec<f64>>,
}

impl Block {
    /// The elements of a value in one lane.
    pub fn lane(&self, id: ValueId, lane: usize) -> impl Iterator<Item = f64> + '_ {
        self.values[id.index()].iter().skip(lane).step_by(LANES).copied()
    }

    /// A value of this copy of `base`, or of `base` where they do not differ.
    pub fn of<'b>(&'b self, id: ValueId, base: &'b Self) -> &'b [f64] {
        match self.values[id.index()].as_slice() {
            [] => base.values[id.index()].as_slice(),
            fresh => fresh,
        }
    }
}

/// Runs a graph on real tensors.
pub struct Executor<'g> {
    graph: &'g Graph,
    inputs: Vec<ValueId>,
    /// For every value the index of its last reader; outputs are never dropped.
    last_use: Vec<usize>,
}

impl<'g> Executor<'g> {
    /// An executor of a verified graph.
    pub fn new(graph: &'g Graph) -> Self {
        let inputs =
            graph.ids().filter(|&id| matches!(graph.value(id).op, Op::Input { .. })).collect();
        let mut last_use: Vec<usize> = (0..graph.values.len()).collect();
        for id in graph.ids() {
            for x in graph.value(id).op.operands() {
                last_use[x.index()] = id.index();
            }
        }
        for (_, id) in &graph.outputs {
            last_use[id.index()] = usize::MAX;
        }
        Self { graph, inputs, last_use }
    }

    /// The `Input` values, in the order in which tensors are passed.
    pub fn inputs(&self) -> &[ValueId] {
        &self.inputs
    }

    /// The outputs of one sample, in the graph's order, each flattened.
    ///
    /// # Panics
    /// If `inputs` has not one tensor of the right size per input.
    pub fn run(&self, inputs: &[Vec<f64>]) -> Vec<Vec<f64>> {
        let block = self.single(inputs, false);
        self.graph.outputs.iter().map(|(_, id)| block.lane(*id, 0).collect()).collect()
    }

    /// Every value of one sample, indexed by `ValueId`.
    ///
    /// # Panics
    /// If `inputs` has not one tensor of the right size per input.
    pub fn run_all(&self, inputs: &[Vec<f64>]) -> Vec<Vec<f64>> {
        let block = self.single(inputs, true);
        self.graph.ids().map(|id| block.lane(id, 0).collect()).collect()
    }

    /// The outputs of every sample: `result[sample][output]`.
    ///
    /// # Panics
    /// If the samples are not of this graph's inputs.
    pub fn run_samples(&self, samples: &Samples) -> Vec<Vec<Vec<f64>>> {
        let starts: Vec<usize> = (0..samples.len()).step_by(LANES).collect();
        let blocks: Vec<Vec<Vec<Vec<f64>>>> = starts
            .par_iter()
            .map(|&first| self.outputs_of(&self.block(samples, first, samples.len(), false)))
            .collect();
        blocks.into_iter().flatten().collect()
    }

    /// The outputs of a block: `result[lane][output]`.
    pub fn outputs_of(&self, block: &Block) -> Vec<Vec<Vec<f64>>> {
        let of_lane = |lane| {
            self.graph.outputs.iter().map(|(_, id)| block.lane(*id, lane).collect()).collect()
        };
        (0..block.lanes).map(of_lane).collect()
    }

    /// Runs the samples `first .. min(first + LANES, end)`; `keep` keeps every value.
    pub fn block(&self, samples: &Samples, first: usize, end: usize, keep: bool) -> Block {
        let lanes = LANES.min(end - first);
        let inputs = samples.inputs.iter().map(|input| {
            let lane = |l: usize| input[first + l.min(lanes - 1)].as_slice();
            interleave(&std::array::from_fn(lane))
        });
        self.evaluate(inputs.collect(), lanes, keep)
    }

    /// A copy of a full block in which some functions are replaced; only what depends on them is
    /// computed anew, and only that and the outputs are present.
    pub fn rerun(&self, base: &Block, replaced: &BTreeMap<ValueId, Substitute<'_>>) -> Block {
        let mut again = self.untouched(base);
        for id in self.graph.ids() {
            self.renew(base, &mut again, id, replaced.get(&id).copied());
        }
        self.complete(base, &mut again);
        again
    }

    /// A copy of a full block in which nothing differs yet, so that no value is present.
    pub fn untouched(&self, base: &Block) -> Block {
        Block { lanes: base.lanes, values: vec![Vec::new(); self.graph.values.len()] }
    }

    /// Computes one value of a copy anew, if its function is replaced or what it reads differs
    /// from `base`; values that it was the last to read are dropped.
    pub fn renew(
        &self,
        base: &Block,
        again: &mut Block,
        id: ValueId,
        substitute: Option<Substitute<'_>>,
    ) {
        let op = &self.graph.value(id).op;
        let dirty = op.operands().iter().any(|x| !again.values[x.index()].is_empty());
        if dirty || substitute.is_some() {
            let of = |x: ValueId| again.of(x, base);
            again.values[id.index()] = self.compute(id, &of, substitute);
        }
        for x in op.operands() {
            if self.last_use[x.index()] == id.index() {
                again.values[x.index()] = Vec::new();
            }
        }
    }

    /// Gives a copy the outputs that do not differ.
    pub fn complete(&self, base: &Block, again: &mut Block) {
        for (_, id) in &self.graph.outputs {
            if again.values[id.index()].is_empty() {
                again.values[id.index()].clone_from(&base.values[id.index()]);
            }
        }
    }

    fn single(&self, inputs: &[Vec<f64>], keep: bool) -> Block {
        let lanes = inputs.iter().map(|x| interleave(&[x.as_slice(); LANES]));
        self.evaluate(lanes.collect(), 1, keep)
    }

    fn evaluate(&self, inputs: Vec<Vec<f64>>, lanes: usize, keep: bool) -> Block {
        assert_eq!(inputs.len(), self.inputs.len(), "one tensor per input");
        let mut values: Vec<Vec<f64>> = vec![Vec::new(); self.graph.values.len()];
        for (&id, data) in self.inputs.iter().zip(inputs) {
            let wanted = self.graph.value(id).elements() * LANES;
            assert_eq!(data.len(), wanted, "an input tensor must have the input's size");
            values[id.index()] = data;
        }
        for id in self.graph.ids() {
            let op = &self.graph.value(id).op;
            if !matches!(op, Op::Input { .. }) {
                values[id.index()] =
                    self.compute(id, &|x: ValueId| values[x.index()].as_slice(), None);
            }
            if !keep {
                for x in op.operands() {
                    if self.last_use[x.index()] == id.index() {
                        values[x.index()] = Vec::new();
                    }
                }
            }
        }
        Block { lanes, values }
    }

    /// One value from its operands.
    fn compute<'v>(
        &self,
        id: ValueId,
        of: &impl Fn(ValueId) -> &'v [f64],
        substitute: Option<Substitute<'_>>,
    ) -> Vec<f64> {
        let value = self.graph.value(id);
        let consts = &self.graph.consts;
        let map = |x: ValueId, f: Substitute<'_>| -> Vec<f64> {
            let (x, _) = of(x).as_chunks::<LANES>();
            let mut y = vec![0.0; x.len() * LANES];
            let (results, _) = y.as_chunks_mut::<LANES>();
            for (e, (x, result)) in x.iter().zip(results).enumerate() {
                *result = f(e, x);
            }
            y
        };
        match &value.op {
            Op::Input { .. } => Vec::new(),
            Op::Affine { terms, bias } => {
                let mut y = match bias {
                    Some(b) => consts.vector(*b).iter().flat_map(|&b| [b; LANES]).collect(),
                    None => vec![0.0; value.elements() * LANES],
                };
                for &(x, m) in terms {
                    Arch::new().dispatch(Apply { m: consts.matrix(m), x: of(x), y: &mut y });
                }
                y
            }
            Op::Product { a, b } => of(*a).iter().zip(of(*b)).map(|(a, b)| a * b).collect(),
            Op::Function { x, function } => match substitute {
                Some(f) => map(*x, f),
                None => map(*x, &|_, lanes| lanes.map(|v| function.eval(v))),
            },
            Op::Polynomial { x, polynomials } => {
                let set = consts.polynomials(*polynomials);
                let arch = Arch::new();
                map(*x, &|e, x| arch.dispatch(EvalLanes { series: set.of(e), x }))
            }
        }
    }
}

/// `y += M·x` in every lane.
///
/// A closure would do, but for the compiler's leave not to inline it: it then is compiled without
/// the vector instructions that it was dispatched for.
struct Apply<'a> {
    m: &'a SparseMatrix,
    x: &'a [f64],
    y: &'a mut [f64],
}

impl NullaryFnOnce for Apply<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let (x, _) = self.x.as_chunks::<LANES>();
        let (y, _) = self.y.as_chunks_mut::<LANES>();
        for (r, out) in y.iter_mut().enumerate() {
            let mut sum = *out;
            let span = self.m.start[r]..self.m.start[r + 1];
            for (&c, &v) in self.m.col[span.clone()].iter().zip(&self.m.val[span]) {
                let operand = &x[c as usize];
                for lane in 0..LANES {
                    sum[lane] += v * operand[lane];
                }
            }
            *out = sum;
        }
    }
}

/// A polynomial in every lane.
struct EvalLanes<'a> {
    series: &'a Series,
    x: &'a [f64; LANES],
}

impl NullaryFnOnce for EvalLanes<'_> {
    type Output = [f64; LANES];

    #[inline(always)]
    fn call(self) -> [f64; LANES] {
        self.series.eval_lanes(*self.x)
    }
}

/// Elements in order, each with its lanes.
fn interleave(lanes: &[&[f64]; LANES]) -> Vec<f64> {
    (0..lanes[0].len()).flat_map(|e| lanes.map(|l| l[e])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use heplan_ir::function::Function;
    use heplan_ir::origin::OriginTable;

    /// `relu(x)·x` and `2·x + relu(x) + 1` for two elements.
    fn graph() -> Graph {
        let mut g = Graph::default();
        let none = OriginTable::none();
        let x = g.push(Op::Input { name: "x".into() }, vec![1, 2], none);
        let f = g.push(Op::Function { x, function: Function::Relu }, vec![1, 2], none);
        let p = g.push(Op::Product { a: x, b: f }, vec![1, 2], none);
        let two = g.consts.add_matrix(SparseMatrix::diagonal(&[2.0, 2.0]));
        let one = g.consts.add_matrix(SparseMatrix::identity(2));
        let bias = Some(g.consts.add_vector(vec![1.0, 1.0]));
        let s = g.push(Op::Affine { terms: vec![(x, two), (f, one)], bias }, vec![1, 2], none);
        g.outputs = vec![("p".into(), p), ("s".into(), s)];
        g
    }

    #[test]
    fn every_operation_computes_its_definition() {
        let g = graph();
        let out = Executor::new(&g).run(&[vec![3.0, -2.0]]);
        assert_eq!(out, [vec![9.0, -0.0], vec![10.0, -3.0]]);
    }

    #[test]
    fn samples_agree_with_single_runs() {
        let g = graph();
        let samples = Samples {
            inputs: vec![(0..19).map(|i| vec![f64::from(i) - 9.0, 0.5]).collect()],
            ..Samples::default()
        };
        let runner = Executor::new(&g);
        let many = runner.run_samples(&samples);
        for (s, out) in many.iter().enumerate() {
            assert_eq!(*out, runner.run(&samples.sample(s)));
        }
        assert_eq!(many.len(), 19);
    }

    #[test]
    fn a_rerun_replaces_functions() {
        let g = graph();
        let runner = Executor::new(&g);
        let samples = Samples { inputs: vec![vec![vec![3.0, -2.0]]], ..Samples::default() };
        let base = runner.block(&samples, 0, 1, true);
        let half: Substitute<'_> = &|_, lanes| lanes.map(|v| v / 2.0);
        let again = runner.rerun(&base, &BTreeMap::from([(ValueId::new(1), half)]));
        assert_eq!(runner.outputs_of(&again)[0], [vec![4.5, 2.0], vec![8.5, -4.0]]);
    }
}
