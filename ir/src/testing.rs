//! Random valid graphs and plans, built from a stream of random numbers.
//!
//! Generators follow the rules in the documentation of the operations, not the verifiers' code, so
//! that the two check each other.

use std::sync::Arc;

use crate::bootstrap::Bootstrap;
use crate::ckks::{self, CtType, Plain};
use crate::constants::{ConstPool, Constant};
use crate::entity::{ConstId, OriginId, RegId, ValueId};
use crate::features::Features;
use crate::function::Function;
use crate::layout::Layout;
use crate::matrix::SparseMatrix;
use crate::origin::{Node, OriginTable};
use crate::parameters::{Parameters, ParametersLiteral};
use crate::plan::{self, Plan, required_keys};
use crate::primes::near_power;
use crate::scale::Scale;
use crate::series::{PolynomialSet, Series};
use crate::slots::{self, Compact, Port};
use crate::tensor;
use crate::transform::{Diagonal, LinearTransform};

/// A stream of choices; once spent it starts again from the front.
pub(crate) struct Dice {
    rolls: Vec<u32>,
    at: usize,
}

impl Dice {
    pub(crate) fn new(rolls: &[u32]) -> Self {
        let rolls = if rolls.is_empty() { vec![0] } else { rolls.to_vec() };
        Self { rolls, at: 0 }
    }

    /// A number below `n`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        let roll = self.rolls[self.at % self.rolls.len()].rotate_left((self.at % 29) as u32);
        self.at += 1;
        roll as usize % n
    }

    fn real(&mut self) -> f64 {
        (self.below(2001) as f64 - 1000.0) / 7.0
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

/// Five ciphertext primes at `N = 2^13`.
pub(crate) fn parameters() -> Parameters {
    let mut q: Vec<u64> = near_power(40, 13).take(1).collect();
    q.extend(near_power(30, 13).take(4));
    let p = near_power(40, 13).skip(1).take(1).collect();
    Parameters::new(ParametersLiteral { log_n: 13, q, p, digit_size: 1 }).unwrap()
}

/// A chain for a bootstrapping at a waterline of 28 bits.
pub(crate) fn bootstrapping(log_n: u32, bootstrap: &Bootstrap, digit_size: usize) -> Parameters {
    let [first, forward, reduction, inverse] = Bootstrap::prime_bits(28);
    let mut used: Vec<u64> = Vec::new();
    let mut pick = |bits: u32, count: usize| {
        let free = near_power(bits, log_n).filter(|q| !used.contains(q));
        let picked: Vec<u64> = free.take(count).collect();
        used.extend(&picked);
        picked
    };
    let mut q = pick(first, 1);
    q.extend(pick(28, bootstrap.output_level));
    q.extend(pick(forward, bootstrap.slots_to_coefficients));
    q.extend(pick(reduction, bootstrap.reduction_levels()));
    q.extend(pick(inverse, bootstrap.coefficients_to_slots));
    let p = pick(49, digit_size);
    Parameters::new(ParametersLiteral { log_n, q, p, digit_size }).unwrap()
}

fn port(dice: &mut Dice, name: &str, width: usize) -> Port {
    let shape = vec![1, 1 + dice.below(3), 1 + dice.below(4)];
    let mut layout = Layout::row_major(shape.iter().product(), width);
    layout.offset = dice.below(2) * 3;
    layout.period = layout.extent().next_power_of_two().min(width);
    let factor = 2f64.powi(dice.below(7) as i32 - 3);
    Port {
        name: name.into(),
        shape,
        layout,
        factor,
        range: (-dice.real().abs(), dice.real().abs()),
        compact: Compact::NONE,
    }
}

/// A port that may leave out as much as its layout repeats.
fn input(dice: &mut Dice, name: &str, width: usize) -> Port {
    let port = port(dice, name, width);
    let rotations = dice.below(1 + port.most_rotations() as usize) as u32;
    Port { compact: Compact { rotations, conjugate: dice.below(2) == 0 }, ..port }
}

fn nodes(dice: &mut Dice, table: &mut OriginTable) -> Vec<OriginId> {
    let mut out = vec![OriginTable::none()];
    for (index, name) in ["/conv1/Conv", "", "a \"quoted\" \\ name", "@ ; + %1"].iter().enumerate()
    {
        let (index, name) = (index as u32, (*name).to_owned());
        out.push(table.node(Node { index, name, op: "Conv".into() }));
    }
    let pair = [dice.pick(&out), dice.pick(&out)];
    out.push(table.merge(&pair));
    out
}

pub(crate) fn transform(dice: &mut Dice, width: usize, inputs: usize) -> LinearTransform {
    let period = 1 << (2 + dice.below(3));
    let outputs = 1 + dice.below(2);
    let mut diagonals = Vec::new();
    for output in 0..outputs as u32 {
        for input in 0..inputs as u32 {
            let mut offset = dice.below(4) as u32;
            for _ in 0..1 + dice.below(4) {
                let slots: Vec<u32> = (0..period as u32)
                    .filter(|_| dice.below(3) > 0)
                    .chain([period as u32])
                    .collect();
                let slots =
                    if slots.len() == 1 { vec![0] } else { slots[..slots.len() - 1].to_vec() };
                let same = dice.below(2) == 0;
                let first = dice.real() as f32;
                let value = |d: &mut Dice| if same { first } else { d.real() as f32 };
                let values = slots.iter().map(|_| value(dice)).collect();
                diagonals.push(Diagonal { output, input, offset, slots, values });
                offset += 1 + dice.below(width / 8) as u32;
            }
        }
    }
    LinearTransform { width, period, inputs, outputs, diagonals }
}

fn vector(dice: &mut Dice, n: usize) -> Vec<f64> {
    let few = [dice.real(), dice.real(), 0.0];
    (0..n).map(|_| dice.pick(&few)).collect()
}

fn polynomials(dice: &mut Dice, n: usize) -> PolynomialSet {
    let series =
        |d: &mut Dice| Series { coefficients: (0..1 + d.below(5)).map(|_| d.real()).collect() };
    if dice.below(2) == 0 {
        return PolynomialSet::shared(series(dice));
    }
    let list: Vec<Series> = (0..3).map(|_| series(dice)).collect();
    PolynomialSet { series: list, class: (0..n).map(|_| dice.below(3) as u32).collect() }
}

fn function(dice: &mut Dice) -> Function {
    let alpha = dice.real();
    match dice.below(8) {
        0 => Function::Relu,
        1 => Function::LeakyRelu { alpha },
        2 => Function::Selu { alpha, gamma: dice.real() },
        3 => Function::Gelu { tanh: dice.below(2) == 0 },
        4 => Function::Clip { min: f64::NEG_INFINITY, max: alpha },
        5 => Function::HardSigmoid { alpha, beta: 0.5 },
        6 => Function::Pow { exponent: alpha },
        _ => Function::Sigmoid,
    }
}

pub(crate) fn tensor_graph(dice: &mut Dice, steps: usize) -> tensor::Graph {
    let mut g = tensor::Graph { name: "a b\"c".into(), ..tensor::Graph::default() };
    let origins = nodes(dice, &mut g.origins);
    let shapes = [vec![], vec![1, 3], vec![1, 2, 2]];
    for i in 0..1 + dice.below(2) {
        let shape = shapes[dice.below(3)].clone();
        g.push(tensor::Op::Input { name: format!("in \"{i}\"") }, shape, OriginTable::none());
    }
    for _ in 0..steps {
        let ids: Vec<ValueId> = g.ids().collect();
        let (a, b) = (dice.pick(&ids), dice.pick(&ids));
        let mut shape = g.value(a).shape.clone();
        let origin = dice.pick(&origins);
        let op = match dice.below(4) {
            0 if g.value(b).shape == shape => tensor::Op::Product { a, b },
            1 => tensor::Op::Function { x: a, function: function(dice) },
            2 => {
                let set = polynomials(dice, g.value(a).elements());
                let polynomials = g.consts.add(Constant::Polynomials(Arc::new(set)));
                tensor::Op::Polynomial { x: a, polynomials }
            }
            _ => {
                shape = shapes[dice.below(3)].clone();
                let rows = shape.iter().product();
                let xs = if a == b { vec![a] } else { vec![a, b] };
                let terms = xs
                    .into_iter()
                    .map(|x| (x, matrix(dice, rows, g.value(x).elements(), &mut g.consts)))
                    .collect();
                let bias = (dice.below(2) == 0).then(|| g.consts.add_vector(vector(dice, rows)));
                tensor::Op::Affine { terms, bias }
            }
        };
        g.push(op, shape, origin);
    }
    let last = ValueId::new(g.values.len() - 1);
    g.outputs = vec![("out".into(), last), ("a \"second\"".into(), ValueId::new(0))];
    g
}

fn matrix(dice: &mut Dice, rows: usize, cols: usize, pool: &mut ConstPool) -> ConstId {
    pool.add_matrix(SparseMatrix::from_rows(rows, cols, |_, row| {
        row.extend((0..dice.below(3)).map(|_| (dice.below(cols) as u32, dice.real())));
    }))
}

pub(crate) fn slots_graph(dice: &mut Dice, steps: usize) -> slots::Graph {
    let width = 64;
    let mut g = slots::Graph { name: "mnist".into(), width, ..slots::Graph::default() };
    let origins = nodes(dice, &mut g.origins);
    for i in 0..1 + dice.below(2) {
        g.inputs.push(input(dice, &format!("in \"{i}\""), width));
        g.push(slots::Op::Input { input: i as u32, part: 0 }, 1, OriginTable::none());
    }
    for _ in 0..steps {
        let ids: Vec<ValueId> = (0..g.values).map(ValueId::new).collect();
        let (a, b, x) = (dice.pick(&ids), dice.pick(&ids), dice.pick(&ids));
        let mut results = 1;
        let op = match dice.below(6) {
            0 => slots::Op::Rotate { x, by: 1 + dice.below(width - 1) as u32 },
            1 => slots::Op::Add { a, b },
            2 => slots::Op::AddConst { x, constant: g.consts.add_vector(vector(dice, width)) },
            3 => slots::Op::Product { a, b },
            4 => {
                let set = polynomials(dice, width);
                let polynomials = g.consts.add(Constant::Polynomials(Arc::new(set)));
                slots::Op::Polynomial { x, polynomials }
            }
            _ => {
                let xs = if dice.below(2) == 0 { vec![a] } else { vec![a, b] };
                let t = transform(dice, width, xs.len());
                results = t.outputs;
                let transform = g.consts.add(Constant::Transform(Arc::new(t)));
                slots::Op::Linear { xs, transform }
            }
        };
        let origin = dice.pick(&origins);
        g.push(op, results, origin);
    }
    let last = ValueId::new(g.values - 1);
    g.outputs = vec![(port(dice, "out", width), vec![last])];
    g
}

pub(crate) fn ckks_graph(dice: &mut Dice, steps: usize) -> ckks::Graph {
    let parameters = parameters();
    let width = parameters.width();
    let mut origins = OriginTable::default();
    let labels = nodes(dice, &mut origins);
    let mut g = ckks::Graph {
        name: "mnist".into(),
        parameters: parameters.clone(),
        insts: Vec::new(),
        inputs: Vec::new(),
        outputs: Vec::new(),
        consts: ConstPool::default(),
        origins,
        values: 0,
    };
    let mut types: Vec<CtType> = Vec::new();
    for i in 0..1 + dice.below(2) {
        g.inputs.push(input(dice, &format!("in \"{i}\""), width));
        let ty = CtType::new(4, Scale::pow2(30));
        types.push(ty.clone());
        g.push(ckks::Op::Input { input: i as u32, part: 0 }, 1, ty, OriginTable::none());
    }
    for _ in 0..steps {
        let Some((op, results, ty)) = ckks_op(dice, &types, &mut g) else { continue };
        let fits = ty.scale.log2() < parameters.log_q_at(ty.level) && ty.scale.log2() > 0.0;
        if fits {
            types.extend(std::iter::repeat_n(ty.clone(), results));
            let origin = dice.pick(&labels);
            g.push(op, results, ty, origin);
        }
    }
    let last = types.iter().rposition(|t| t.degree == 1 && !t.extended).unwrap();
    g.outputs = vec![(port(dice, "out", width), vec![ValueId::new(last)])];
    g
}

type Typed = (ckks::Op<ValueId>, usize, CtType);

fn ckks_op(dice: &mut Dice, types: &[CtType], g: &mut ckks::Graph) -> Option<Typed> {
    let ids: Vec<ValueId> = (0..types.len()).map(ValueId::new).collect();
    let x = dice.pick(&ids);
    let tx = types[x.index()].clone();
    let equal: Vec<ValueId> = ids.into_iter().filter(|v| types[v.index()] == tx).collect();
    let b = dice.pick(&equal);
    let q = g.parameters.q()[tx.level];
    let width = g.parameters.width();
    let plain = |dice: &mut Dice, pool: &mut ConstPool| match dice.below(8) {
        0 => Plain::Vector(pool.add_vector(vector(dice, width))),
        _ => Plain::Scalar(dice.real()),
    };
    let one = |op, ty| Some((op, 1, ty));
    let step = |dice: &mut Dice| 1 + dice.below(width) as u32;
    match dice.below(11) {
        0 if tx.degree == 1 => one(ckks::Op::Rotate { x, by: step(dice) }, tx),
        10 if tx.degree == 1 => one(ckks::Op::RotateAdd { x, by: step(dice), y: b }, tx),
        1 => one(ckks::Op::Add { a: x, b }, tx),
        2 => one(ckks::Op::Sub { a: x, b }, tx),
        _ if tx.extended => one(ckks::Op::ModDown { x }, CtType { extended: false, ..tx }),
        3 => one(ckks::Op::AddPlain { x, plain: plain(dice, &mut g.consts) }, tx),
        4 => {
            let scale = Scale::prime(q);
            let ty = CtType { scale: tx.scale.mul(&scale), ..tx };
            one(ckks::Op::MulPlain { x, plain: plain(dice, &mut g.consts), scale }, ty)
        }
        5 if tx.degree == 1 => {
            let ty = CtType { scale: tx.scale.mul(&tx.scale), degree: 2, ..tx };
            one(ckks::Op::Mul { a: x, b }, ty)
        }
        6 if tx.degree == 2 => one(ckks::Op::Relinearise { x }, CtType { degree: 1, ..tx }),
        7 if tx.level > 0 => {
            let ty = CtType { level: tx.level - 1, scale: tx.scale.rescaled(q), ..tx };
            one(ckks::Op::Rescale { x }, ty)
        }
        8 if tx.level > 0 => {
            let level = dice.below(tx.level);
            one(ckks::Op::DropLevel { x, level }, CtType { level, ..tx })
        }
        9 if tx.degree == 1 && tx.level > 0 => {
            let xs = if dice.below(2) == 0 { vec![x] } else { vec![x, b] };
            let t = transform(dice, width, xs.len());
            let (results, scales) = (t.outputs, vec![Scale::prime(q); xs.len()]);
            let transform = g.consts.add(Constant::Transform(Arc::new(t)));
            let ty = CtType {
                extended: g.consts.transform(transform).rotates(),
                ..CtType::new(tx.level - 1, tx.scale.mul(&scales[0]).rescaled(q))
            };
            Some((ckks::Op::Linear { xs, transform, scales }, results, ty))
        }
        _ => None,
    }
}

/// A plan of a random graph: registers by last use, in place where the dice say so.
pub(crate) fn plan(dice: &mut Dice, steps: usize) -> Plan {
    let g = ckks_graph(dice, steps);
    let mut last_use = vec![0; g.values];
    for (i, inst) in g.insts.iter().enumerate() {
        inst.op.operands().iter().chain(&inst.results).for_each(|v| last_use[v.index()] = i);
    }
    g.outputs.iter().flat_map(|o| &o.1).for_each(|v| last_use[v.index()] = usize::MAX);
    let (mut free, mut registers): (Vec<RegId>, usize) = (Vec::new(), 0);
    let mut of = vec![RegId::new(0); g.values];
    let mut insts = Vec::new();
    for (i, inst) in g.insts.iter().enumerate() {
        let op = inst.op.map(|v| of[v.index()]);
        let mut frees: Vec<RegId> = inst
            .op
            .operands()
            .into_iter()
            .filter(|v| last_use[v.index()] == i)
            .map(|v| of[v.index()])
            .collect();
        frees.sort();
        frees.dedup();
        let in_place = dice.below(2) == 0;
        for v in &inst.results {
            let reused =
                if in_place && !frees.is_empty() { Some(frees.remove(0)) } else { free.pop() };
            of[v.index()] = reused.unwrap_or_else(|| {
                registers += 1;
                RegId::new(registers - 1)
            });
        }
        let unread = inst.results.iter().filter(|v| last_use[v.index()] == i);
        frees.extend(unread.map(|v| of[v.index()]));
        free.extend(&frees);
        let results = inst.results.iter().map(|v| of[v.index()]).collect();
        let origin = inst.origin.index() as u32;
        insts.push(plan::Inst { op, results, ty: inst.ty.clone(), frees, origin });
    }
    let fresh = CtType::new(4, Scale::pow2(30));
    let outputs = g.outputs.iter().map(|(port, values)| {
        let v = values[0];
        let ty = g.insts.iter().find(|i| i.results.contains(&v)).unwrap().ty.clone();
        (port.clone(), ty, vec![of[v.index()]])
    });
    let outputs = outputs.collect();
    let keys = required_keys(insts.iter().map(|i| (&i.op, i.ty.level)), &g.consts, &g.parameters);
    let features = g.inputs.last().map(|port| Features {
        input: g.inputs.len() - 1,
        ranges: vec![(-0.75, 1.5); port.elements()],
    });
    Plan {
        name: g.name.clone(),
        parameters: g.parameters.clone(),
        keys,
        registers,
        inputs: g.inputs.iter().map(|p| (p.clone(), fresh.clone())).collect(),
        outputs,
        consts: g.consts,
        origins: g.origins.labels(),
        answers: Vec::new(),
        features: features.into_iter().collect(),
        precision_bits: dice.real().abs(),
        insts,
    }
}

/// A plan with every kind of instruction but a bootstrap, small enough to be tried byte by byte.
pub(crate) fn small_plan() -> Plan {
    let candidate = |seed: u32| {
        let rolls: Vec<u32> =
            (1..90u32).map(|i| (i + 97 * seed).wrapping_mul(0x9e37_79b9)).collect();
        plan(&mut Dice::new(&rolls), 40)
    };
    let complete = |p: &Plan| {
        let kinds: std::collections::BTreeSet<String> = p
            .insts
            .iter()
            .map(|i| format!("{:?}", i.op).split([' ', '{']).next().unwrap().to_owned())
            .collect();
        kinds.len() == 13 && p.keys.len() > 2
    };
    (0..).map(candidate).find(complete).unwrap()
}

/// A graph of an input that is refreshed once, in the smallest ring that can.
pub(crate) fn refreshing_graph() -> ckks::Graph {
    let bootstrap = Bootstrap::usual(15, 1);
    let parameters = bootstrapping(15, &bootstrap, 1).with_bootstrap(bootstrap).unwrap();
    let port = port(&mut Dice::new(&[1]), "x", parameters.width());
    let mut g = ckks::Graph {
        name: "refreshing".into(),
        parameters,
        insts: Vec::new(),
        inputs: vec![port.clone()],
        outputs: Vec::new(),
        consts: ConstPool::default(),
        origins: OriginTable::default(),
        values: 0,
    };
    let (used, fresh) = (CtType::new(0, Scale::pow2(28)), CtType::new(1, Scale::pow2(30)));
    let none = OriginTable::none();
    let x = g.push(ckks::Op::Input { input: 0, part: 0 }, 1, used, none)[0];
    let y = g.push(ckks::Op::Bootstrap { x, scale: fresh.scale.clone() }, 1, fresh, none);
    g.outputs = vec![(port, y)];
    g
}

/// The same as a plan.
pub(crate) fn refreshing_plan() -> Plan {
    let g = refreshing_graph();
    let (from, to) = (g.insts[0].ty.clone(), g.insts[1].ty.clone());
    let r = RegId::new;
    let inst = |i: usize, frees| plan::Inst {
        op: g.insts[i].op.map(|v| r(v.index())),
        results: vec![r(i)],
        ty: g.insts[i].ty.clone(),
        frees,
        origin: 0,
    };
    Plan {
        name: g.name.clone(),
        keys: g.parameters.bootstrap_keys(),
        insts: vec![inst(0, Vec::new()), inst(1, vec![r(0)])],
        registers: 2,
        inputs: vec![(g.inputs[0].clone(), from)],
        outputs: vec![(g.outputs[0].0.clone(), to, vec![r(1)])],
        answers: Vec::new(),
        features: Vec::new(),
        consts: ConstPool::default(),
        origins: vec![String::new()],
        precision_bits: 10.0,
        parameters: g.parameters,
    }
}
