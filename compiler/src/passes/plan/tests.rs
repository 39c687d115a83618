//! Plans against the graphs that they are emitted from, in the clear, on random graphs.

use heplan_ir::ckks::{CtType, Graph, Op, Plain};
use heplan_ir::constants::{ConstPool, Constant};
use heplan_ir::entity::{OriginId, ValueId};
use heplan_ir::layout::Layout;
use heplan_ir::origin::{Node, OriginTable};
use heplan_ir::parameters::Parameters;
use heplan_ir::plan::{KeyKind, KeySpec};
use heplan_ir::scale::Scale;
use heplan_ir::slots::{Compact, Port};
use heplan_ir::transform::{Diagonal, LinearTransform};
use proptest::prelude::*;
use std::sync::Arc;

use super::emit;
use super::schedule::schedule;
use crate::passes::ckks::fuse_rotations;
use crate::passes::ckks::parameters::candidates;
use crate::passes::ckks::testing::{Slots, run_graph, run_plan};

const TOP: usize = 2;

fn parameters() -> Parameters {
    candidates(12, TOP, 17, 2).remove(0)
}

fn port(name: &str, width: usize) -> Port {
    let layout = Layout::row_major(4, width);
    let (shape, compact) = (vec![4], Compact::NONE);
    Port { name: name.into(), shape, layout, factor: 1.0, range: (-1.0, 1.0), compact }
}

fn ty(level: usize) -> CtType {
    CtType::new(level, Scale::pow2(17))
}

fn transform(width: usize) -> Constant {
    let diagonal = |output: u32, input: u32, offset: u32| Diagonal {
        output,
        input,
        offset,
        slots: vec![0],
        values: vec![0.25 + offset as f32],
    };
    let diagonals = vec![
        diagonal(0, 0, 0),
        diagonal(0, 1, 5),
        diagonal(1, 0, 2),
        diagonal(1, 1, width as u32 - 3),
    ];
    Constant::Transform(Arc::new(LinearTransform {
        width,
        period: 1,
        inputs: 2,
        outputs: 2,
        diagonals,
    }))
}

/// A graph of the given steps; each step reads earlier values, chosen by the numbers.
fn build(steps: &[(u8, usize, usize)], outputs: &[usize]) -> Graph {
    let parameters = parameters();
    let width = parameters.width();
    let mut g = Graph {
        name: "random".into(),
        parameters,
        insts: Vec::new(),
        inputs: vec![port("a", width), port("b", width)],
        outputs: Vec::new(),
        consts: ConstPool::default(),
        origins: OriginTable::default(),
        values: 0,
    };
    let origin = g.origins.node(Node { index: 0, name: "n".into(), op: "Add".into() });
    g.consts.add_vector(vec![9.0; 3]);
    let map = g.consts.add(transform(width));
    let mut values: Vec<(ValueId, usize)> = Vec::new();
    for input in 0..2 {
        let v = g.push(Op::Input { input, part: 0 }, 1, ty(TOP), OriginId::new(0))[0];
        values.push((v, TOP));
    }
    for &(kind, i, j) in steps {
        let (a, level) = values[i % values.len()];
        let mates: Vec<ValueId> = values.iter().filter(|v| v.1 == level).map(|v| v.0).collect();
        let b = mates[j % mates.len()];
        let one = |op| (op, 1, level);
        let (op, results, level) = match kind % 7 {
            0 => one(Op::Add { a, b }),
            1 => one(Op::Sub { a, b }),
            2 => one(Op::Rotate { x: a, by: 1 + (j % 7) as u32 }),
            3 => one(Op::AddPlain { x: a, plain: Plain::Scalar(j as f64) }),
            6 => {
                let turned = Op::Rotate { x: a, by: 1 + (i % 5) as u32 };
                let turned = g.push(turned, 1, ty(level), origin)[0];
                one(Op::Add { a: b, b: turned })
            }
            4 if level > 0 => (Op::DropLevel { x: a, level: level - 1 }, 1, level - 1),
            5 if level > 0 => {
                let scales = vec![Scale::prime(g.parameters.q()[level]); 2];
                (Op::Linear { xs: vec![a, b], transform: map, scales }, 2, level - 1)
            }
            _ => one(Op::Add { a, b }),
        };
        let extended = CtType { extended: true, ..ty(level) };
        let of_map = if results == 2 { &extended } else { &ty(level) };
        for v in g.push(op, results, of_map.clone(), origin) {
            let divided =
                (results == 2).then(|| g.push(Op::ModDown { x: v }, 1, ty(level), origin));
            values.push((divided.map_or(v, |d| d[0]), level));
        }
    }
    for &o in outputs {
        let v = values[values.len() - 1 - o % values.len()].0;
        let name = format!("y{}", g.outputs.len());
        g.outputs.push((port(&name, width), vec![v]));
    }
    g
}

fn inputs(width: usize) -> Slots {
    let ramp = |step: f64| (0..width).map(|i| (i as f64 * step).sin()).collect::<Vec<f64>>();
    vec![vec![ramp(0.3)], vec![ramp(0.7)]]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn registers_carry_the_values(
        steps in prop::collection::vec((0u8..7, 0usize..64, 0usize..64), 0..24),
        outputs in prop::collection::vec(0usize..6, 1..4),
    ) {
        let g = build(&steps, &outputs);
        let plan = emit(&g).unwrap();
        let inputs = inputs(g.parameters.width());
        let expected = run_graph(&g, &inputs);
        let fused = emit(&fuse_rotations(g.clone())).unwrap();
        for plan in [&plan, &fused] {
            let (found, peak) = run_plan(plan, &inputs);
            for (e, f) in expected.iter().flatten().zip(found.iter().flatten()) {
                prop_assert_eq!(&e.slots, &f.slots);
                prop_assert_eq!(&e.ty, &f.ty);
            }
            prop_assert!(peak <= plan.registers);
        }
        prop_assert!(fused.registers <= plan.registers);
        prop_assert_eq!(emit(&g).unwrap(), plan);
    }
}

#[test]
fn keys_are_exact_and_reach_the_level_of_use() {
    let mut g = build(&[(2, 0, 3), (4, 0, 0), (5, 3, 0), (2, 4, 3)], &[0]);
    let v = g.outputs[0].1[0];
    let squared = CtType { degree: 2, ..CtType::new(0, Scale::pow2(34)) };
    let square = g.push(Op::Mul { a: v, b: v }, 1, squared.clone(), OriginId::new(0))[0];
    let flat = CtType { degree: 1, ..squared };
    g.outputs[0].1 = g.push(Op::Relinearise { x: square }, 1, flat, OriginId::new(0));
    let sum = g.values - 1;
    assert_eq!(g.outputs[0].1, [ValueId::new(sum)]);
    let plan = emit(&g).unwrap();
    let spec = |kind, level| KeySpec { kind, level };
    let back = g.parameters.width() as u32;
    // The first rotation reaches no output.
    assert_eq!(
        plan.keys,
        [
            spec(KeyKind::Relinearise, 0),
            spec(KeyKind::Rotate(2), 1),
            spec(KeyKind::Rotate(4), 0),
            spec(KeyKind::Rotate(5), 1),
            spec(KeyKind::Rotate(back - 3), 1),
        ]
    );
}

#[test]
fn only_what_is_used_is_emitted() {
    let g = build(&[(0, 0, 1), (2, 0, 5), (5, 0, 1)], &[3]);
    assert_eq!(schedule(&g).len(), 3, "the rotation and the map reach no output");
    let plan = emit(&g).unwrap();
    assert_eq!((plan.consts.len(), plan.registers, plan.keys.len()), (0, 2, 0));
    assert_eq!(plan.origins, ["", "n"]);
    assert_eq!(plan.insts[2].results[0], plan.insts[0].results[0], "the sum is made in place");
    assert_eq!(plan.insts[2].frees, [plan.insts[1].results[0]]);
}

#[test]
fn a_drop_follows_the_last_other_use() {
    // The drop stands first in the graph, but its operand is read by a rotation before the sum.
    let g = build(&[(4, 0, 0), (2, 0, 1), (3, 2, 1), (4, 3, 0), (0, 4, 5)], &[0]);
    let order = schedule(&g);
    let at = |i: usize| order.iter().position(|&o| o == i).unwrap();
    assert!(at(3) < at(2), "the rotation runs before its operand is dropped");
}
