//! A slot-vector interpreter of `ckks` graphs and plans, without noise: test support.
//!
//! It recomputes every type from the operands by the contract of `ir::ckks::Op`, so that a run is
//! also a check of levels, scales and degrees that shares nothing with the passes.

use heplan_ir::ckks::{CtType, Graph, Op, Plain};
use heplan_ir::constants::ConstPool;
use heplan_ir::parameters::Parameters;
use heplan_ir::plan::Plan;
use heplan_ir::scale::Scale;

/// A ciphertext in the clear.
#[derive(Clone, Debug)]
pub(crate) struct Cell {
    pub(crate) slots: Vec<f64>,
    pub(crate) ty: CtType,
}

/// Per input its parts, or per output its ciphertexts.
pub(crate) type Slots = Vec<Vec<Vec<f64>>>;

struct Machine<'a> {
    parameters: &'a Parameters,
    consts: &'a ConstPool,
    inputs: &'a Slots,
}

impl Machine<'_> {
    fn step<V: Copy>(&self, op: &Op<V>, xs: &[Cell], declared: &CtType) -> Vec<Cell> {
        let q = |level: usize| Scale::prime(self.parameters.q()[level]);
        let one = |slots: Vec<f64>, ty: CtType| vec![Cell { slots, ty }];
        let zip = |f: fn(f64, f64) -> f64| {
            xs[0].slots.iter().zip(&xs[1].slots).map(|(a, b)| f(*a, *b)).collect::<Vec<_>>()
        };
        match op {
            Op::Input { input, part } => {
                one(self.inputs[*input as usize][*part as usize].clone(), declared.clone())
            }
            Op::Linear { transform, scales, .. } => {
                let level = xs[0].ty.level;
                assert!(
                    xs.iter().all(|x| x.ty.level == level && x.ty.degree == 1 && !x.ty.extended)
                );
                let scale = xs[0].ty.scale.mul(&scales[0]);
                assert!(xs.iter().zip(scales).all(|(x, s)| x.ty.scale.mul(s) == scale));
                let slots: Vec<&[f64]> = xs.iter().map(|x| x.slots.as_slice()).collect();
                let ty = CtType {
                    extended: self.consts.transform(*transform).rotates(),
                    ..CtType::new(level - 1, scale.div(&q(level)))
                };
                let results = self.consts.transform(*transform).apply(&slots);
                results.into_iter().map(|slots| Cell { slots, ty: ty.clone() }).collect()
            }
            Op::Rotate { by, .. } | Op::RotateAdd { by, .. } => {
                assert_eq!(xs[0].ty.degree, 1);
                let mut slots = xs[0].slots.clone();
                slots.rotate_left(*by as usize);
                if let Some(y) = xs.get(1) {
                    assert_eq!(xs[0].ty, y.ty, "an addition of unequal types");
                    slots.iter_mut().zip(&y.slots).for_each(|(turned, y)| *turned += y);
                }
                one(slots, xs[0].ty.clone())
            }
            Op::Add { .. } | Op::Sub { .. } => {
                assert_eq!(xs[0].ty, xs[1].ty, "an addition of unequal types");
                let sub = matches!(op, Op::Sub { .. });
                let slots = if sub { zip(|a, b| a - b) } else { zip(|a, b| a + b) };
                one(slots, xs[0].ty.clone())
            }
            Op::AddPlain { plain, .. } => {
                one(self.plain(&xs[0], plain, |a, b| a + b), xs[0].ty.clone())
            }
            Op::MulPlain { plain, scale, .. } => {
                assert!(scale.log2() > 10.0, "a plaintext scale of {scale} loses its numbers");
                let ty = CtType { scale: xs[0].ty.scale.mul(scale), ..xs[0].ty.clone() };
                one(self.plain(&xs[0], plain, |a, b| a * b), ty)
            }
            Op::Mul { .. } => {
                let (a, b) = (&xs[0].ty, &xs[1].ty);
                assert!(a.level == b.level && a.degree == 1 && b.degree == 1);
                assert!(!a.extended && !b.extended);
                let ty = CtType { degree: 2, ..CtType::new(a.level, a.scale.mul(&b.scale)) };
                one(zip(|a, b| a * b), ty)
            }
            Op::Relinearise { .. } => {
                assert_eq!(xs[0].ty.degree, 2);
                one(xs[0].slots.clone(), CtType { degree: 1, ..xs[0].ty.clone() })
            }
            Op::Rescale { .. } => {
                let ty = xs[0].ty.clone();
                let scale = ty.scale.div(&q(ty.level));
                one(xs[0].slots.clone(), CtType { level: ty.level - 1, scale, ..ty })
            }
            Op::ModDown { .. } => {
                assert!(xs[0].ty.extended);
                one(xs[0].slots.clone(), CtType { extended: false, ..xs[0].ty.clone() })
            }
            Op::DropLevel { level, .. } => {
                assert!(*level < xs[0].ty.level);
                one(xs[0].slots.clone(), CtType { level: *level, ..xs[0].ty.clone() })
            }
            Op::Bootstrap { scale, .. } => {
                assert!(xs[0].ty.level == 0 && xs[0].ty.degree == 1 && !xs[0].ty.extended);
                let level = self.parameters.fresh_level();
                one(xs[0].slots.clone(), CtType::new(level, scale.clone()))
            }
        }
    }

    fn plain(&self, x: &Cell, plain: &Plain, f: fn(f64, f64) -> f64) -> Vec<f64> {
        match plain {
            Plain::Scalar(c) => x.slots.iter().map(|v| f(*v, *c)).collect(),
            Plain::Vector(id) => {
                let c = self.consts.vector(*id);
                assert_eq!(c.len(), x.slots.len());
                x.slots.iter().zip(c.iter()).map(|(v, c)| f(*v, *c)).collect()
            }
        }
    }
}

/// Runs a graph, checking every type.
pub(crate) fn run_graph(graph: &Graph, inputs: &Slots) -> Vec<Vec<Cell>> {
    assert_eq!(graph.verify(), []);
    let machine = Machine { parameters: &graph.parameters, consts: &graph.consts, inputs };
    let mut values: Vec<Option<Cell>> = vec![None; graph.values];
    for inst in &graph.insts {
        let xs: Vec<Cell> =
            inst.op.operands().iter().map(|x| values[x.index()].clone().unwrap()).collect();
        let cells = machine.step(&inst.op, &xs, &inst.ty);
        assert_eq!(cells.len(), inst.results.len());
        for (r, cell) in inst.results.iter().zip(cells) {
            assert_eq!(cell.ty, inst.ty, "{:?}", inst.op);
            values[r.index()] = Some(cell);
        }
    }
    let read = |v: &heplan_ir::entity::ValueId| values[v.index()].clone().unwrap();
    graph.outputs.iter().map(|o| o.1.iter().map(read).collect()).collect()
}

/// Runs a plan over registers, forgetting what it frees; also gives the most registers in use.
pub(crate) fn run_plan(plan: &Plan, inputs: &Slots) -> (Vec<Vec<Cell>>, usize) {
    assert_eq!(plan.verify(), []);
    let machine = Machine { parameters: &plan.parameters, consts: &plan.consts, inputs };
    let mut registers: Vec<Option<Cell>> = vec![None; plan.registers];
    let mut peak = 0;
    for inst in &plan.insts {
        let xs: Vec<Cell> =
            inst.op.operands().iter().map(|x| registers[x.index()].clone().unwrap()).collect();
        let cells = machine.step(&inst.op, &xs, &inst.ty);
        for (r, cell) in inst.results.iter().zip(cells) {
            assert_eq!(cell.ty, inst.ty);
            registers[r.index()] = Some(cell);
        }
        peak = peak.max(registers.iter().flatten().count());
        for f in &inst.frees {
            assert!(registers[f.index()].take().is_some(), "{f} is freed twice");
        }
    }
    let read = |r: &heplan_ir::entity::RegId| registers[r.index()].clone().unwrap();
    (plan.outputs.iter().map(|o| o.2.iter().map(read).collect()).collect(), peak)
}
