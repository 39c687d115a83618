//! Rotations and the sums that read them.
//!
//! *What*: a rotation that nothing but one sum reads, and that is no output, becomes one instruction with that sum, unless
//! the sum's other operand comes behind as many key switches or more: rotations of one map's giant steps, each by a step of
//! its own, do not depend on each other and run side by side, while each of their sums waits for the one before.
//!
//! *Before and after*:
//!
//! ```text
//! %2 = rotate %1 {by = 512}
//! %3 = add %1, %2             %2 = rotate_add %1, %1 {by = 512}
//! ```
//!
//! *Why here*: what lowering makes is all there is to rotate and to sum; and registers, which come next, need hold no
//! rotation any more. The instruction stands where the sum stood, so that rows of Horner's rule, rotated and summed in
//! lock step, stay neighbours.
//!
//! *Cost and precision*: the sum is taken where the rotation is made, on numbers that are at hand, and one result less is
//! written and read. Values and noise are those of the two instructions.

use std::collections::{BTreeMap, BTreeSet};

use heplan_ir::ckks::{Graph, Op};
use heplan_ir::entity::{OriginId, ValueId};

/// A rotation that its sum takes up.
#[derive(Clone, Copy)]
struct Fused {
    /// Index of the rotation.
    rotation: usize,
    /// What is rotated, and by how much.
    x: ValueId,
    by: u32,
    /// What is added to it.
    y: ValueId,
    /// Of the rotation.
    origin: OriginId,
}

/// The graph with rotations in the sums that alone read them.
pub fn fuse_rotations(mut graph: Graph) -> Graph {
    let sums = sums(&graph);
    let gone: BTreeSet<usize> = sums.values().map(|f| f.rotation).collect();
    let mut names = vec![ValueId::new(0); graph.values];
    let insts = std::mem::take(&mut graph.insts);
    graph.values = 0;
    for (i, inst) in insts.into_iter().enumerate().filter(|(i, _)| !gone.contains(i)) {
        let (op, origin) = match sums.get(&i) {
            Some(&Fused { x, by, y, origin, .. }) => (Op::RotateAdd { x, by, y }, origin),
            None => (inst.op, inst.origin),
        };
        let op = op.map(|v| names[v.index()]);
        let results = graph.push(op, inst.results.len(), inst.ty, origin);
        inst.results.iter().zip(results).for_each(|(old, new)| names[old.index()] = new);
    }
    graph.outputs.iter_mut().flat_map(|o| &mut o.1).for_each(|v| *v = names[v.index()]);
    graph
}

/// The sums that take up a rotation, by their indices.
fn sums(graph: &Graph) -> BTreeMap<usize, Fused> {
    let mut readers = vec![0; graph.values];
    let outputs = graph.outputs.iter().flat_map(|o| o.1.iter().copied());
    let operands = graph.insts.iter().flat_map(|inst| inst.op.operands());
    operands.chain(outputs).for_each(|v| readers[v.index()] += 1);
    let depths = depths(graph);
    let mut rotations = BTreeMap::new();
    let mut sums = BTreeMap::new();
    for (i, inst) in graph.insts.iter().enumerate() {
        match inst.op {
            Op::Rotate { x, by } if readers[inst.results[0].index()] == 1 => {
                rotations.insert(inst.results[0], (i, x, by, inst.origin));
            }
            Op::Add { a, b } => {
                let earlier =
                    |pair: &(ValueId, ValueId)| depths[pair.1.index()] < depths[pair.0.index()];
                let ways = [(b, a), (a, b)].into_iter().filter(earlier);
                let found = ways.into_iter().find_map(|(turned, y)| {
                    let (rotation, x, by, origin) = rotations.remove(&turned)?;
                    Some(Fused { rotation, x, by, y, origin })
                });
                sums.extend(found.map(|fused| (i, fused)));
            }
            _ => {}
        }
    }
    sums
}

/// For every value, the key switches of the longest chain that it is the end of.
fn depths(graph: &Graph) -> Vec<usize> {
    let mut depths = vec![0; graph.values];
    for inst in &graph.insts {
        let switches = match inst.op {
            Op::Linear { .. }
            | Op::Rotate { .. }
            | Op::RotateAdd { .. }
            | Op::Relinearise { .. }
            | Op::Bootstrap { .. } => 1,
            _ => 0,
        };
        let operands = inst.op.operands().into_iter().map(|v| depths[v.index()]);
        let depth = operands.max().unwrap_or(0) + switches;
        inst.results.iter().for_each(|v| depths[v.index()] = depth);
    }
    depths
}

#[cfg(test)]
mod tests {
    use heplan_ir::ckks::CtType;
    use heplan_ir::constants::ConstPool;
    use heplan_ir::layout::Layout;
    use heplan_ir::origin::{Node, OriginTable};
    use heplan_ir::scale::Scale;
    use heplan_ir::slots::{Compact, Port};

    use super::*;
    use crate::passes::ckks::parameters::candidates;
    use crate::passes::ckks::testing::run_graph;

    /// A graph of two inputs, whose every operation has an origin of its own.
    struct Build(Graph);

    impl Build {
        fn new() -> Self {
            let parameters = candidates(12, 0, 17, 2).remove(0);
            let port = |name: &str| {
                let layout = Layout::row_major(4, parameters.width());
                let (shape, compact) = (vec![4], Compact::NONE);
                Port { name: name.into(), shape, layout, factor: 1.0, range: (-1.0, 1.0), compact }
            };
            let mut build = Self(Graph {
                name: "sums".into(),
                inputs: vec![port("a"), port("b")],
                parameters,
                insts: Vec::new(),
                outputs: Vec::new(),
                consts: ConstPool::default(),
                origins: OriginTable::default(),
                values: 0,
            });
            (0..2).for_each(|input| assert_eq!(build.push(Op::Input { input, part: 0 }), v(input)));
            build
        }

        fn push(&mut self, op: Op<ValueId>) -> ValueId {
            let index = u32::try_from(self.0.insts.len()).unwrap();
            let node = Node { index, name: format!("n{index}"), op: "Add".into() };
            let origin = self.0.origins.node(node);
            self.0.push(op, 1, CtType::new(0, Scale::pow2(17)), origin)[0]
        }

        fn rotate(&mut self, x: ValueId, by: u32) -> ValueId {
            self.push(Op::Rotate { x, by })
        }

        fn add(&mut self, a: ValueId, b: ValueId) -> ValueId {
            self.push(Op::Add { a, b })
        }

        /// The graph with its rotations fused, which computes the same, and its operations behind the inputs.
        fn fused(mut self, outputs: &[ValueId]) -> (Graph, Vec<Op<ValueId>>) {
            for &output in outputs {
                let name = format!("y{}", self.0.outputs.len());
                self.0.outputs.push((Port { name, ..self.0.inputs[0].clone() }, vec![output]));
            }
            let ramp =
                |step: f64| (0..self.0.parameters.width()).map(move |i| (i as f64 * step).sin());
            let inputs = [0.3, 0.7].map(|step| vec![ramp(step).collect()]).to_vec();
            let expected = run_graph(&self.0, &inputs);
            let fused = fuse_rotations(self.0);
            for (found, expected) in run_graph(&fused, &inputs).iter().zip(&expected) {
                assert_eq!(found[0].slots, expected[0].slots);
            }
            let ops = fused.insts[2..].iter().map(|i| i.op.clone()).collect();
            (fused, ops)
        }
    }

    fn v(index: u32) -> ValueId {
        ValueId::new(index as usize)
    }

    #[test]
    fn a_rotation_goes_into_the_sum_that_alone_reads_it() {
        let mut g = Build::new();
        let turned = g.rotate(v(0), 5);
        let other = g.add(v(1), v(1));
        let sum = g.add(turned, other);
        let folded = g.rotate(sum, 8);
        let sum = g.add(sum, folded);
        let (fused, ops) = g.fused(&[sum]);
        // Each stands where its sum stood, and comes from where its rotation came from.
        let doubled = Op::Add { a: v(1), b: v(1) };
        let fold = |x, by, y| Op::RotateAdd { x, by, y };
        assert_eq!(ops, [doubled, fold(v(0), 5, v(2)), fold(v(3), 8, v(3))]);
        let origins = fused.insts[2..].iter().map(|i| fused.origins.label(i.origin));
        assert_eq!(origins.collect::<Vec<_>>(), ["n3", "n2", "n5"]);
    }

    #[test]
    fn rotations_that_run_side_by_side_are_not_put_one_after_the_other() {
        let mut g = Build::new();
        let turned = [3, 4, 5].map(|by| g.rotate(v(0), by));
        let first = g.add(v(1), turned[0]);
        let second = g.add(first, turned[1]);
        let sum = g.add(second, turned[2]);
        let (_, ops) = g.fused(&[sum]);
        let rotate = |by| Op::Rotate { x: v(0), by };
        let add = |a, b| Op::Add { a: v(a), b: v(b) };
        let fused = Op::RotateAdd { x: v(0), by: 3, y: v(1) };
        assert_eq!(ops, [rotate(4), rotate(5), fused, add(4, 2), add(5, 3)]);
    }

    #[test]
    fn rows_in_lock_step_stay_neighbours() {
        let mut g = Build::new();
        let rows = [v(0), v(1)];
        let turned = rows.map(|x| g.rotate(x, 3));
        let sums = [g.add(v(1), turned[0]), g.add(v(0), turned[1])];
        let turned = sums.map(|x| g.rotate(x, 3));
        let sums = [g.add(v(1), turned[0]), g.add(v(0), turned[1])];
        let (_, ops) = g.fused(&sums);
        let read = |op: &Op<ValueId>| op.operands()[0];
        assert_eq!(ops.iter().map(read).collect::<Vec<_>>(), [v(0), v(1), v(2), v(3)]);
    }

    #[test]
    fn a_rotation_that_more_than_one_sum_reads_stays() {
        let cases: [fn(&mut Build) -> Vec<ValueId>; 4] = [
            // By two sums.
            |g| {
                let turned = g.rotate(v(0), 5);
                vec![g.add(v(1), turned), g.add(v(0), turned)]
            },
            // By the outside.
            |g| {
                let turned = g.rotate(v(0), 5);
                vec![g.add(v(1), turned), turned]
            },
            // Twice by one sum.
            |g| {
                let turned = g.rotate(v(0), 5);
                vec![g.add(turned, turned)]
            },
            // By a difference.
            |g| {
                let turned = g.rotate(v(0), 5);
                vec![g.push(Op::Sub { a: v(1), b: turned })]
            },
        ];
        for build in cases {
            let mut g = Build::new();
            let outputs = build(&mut g);
            let before: Vec<_> = g.0.insts[2..].iter().map(|i| i.op.clone()).collect();
            assert_eq!(g.fused(&outputs).1, before);
        }
    }
}
