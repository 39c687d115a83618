//! Lowering against the slots graph's own meaning, in the clear.

use heplan_ir::ckks::{self, Op as Ct};
use heplan_ir::constants::Constant;
use heplan_ir::entity::{OriginId, ValueId};
use heplan_ir::layout::Layout;
use heplan_ir::parameters::Parameters;
use heplan_ir::scale::Scale;
use heplan_ir::series::{PolynomialSet, Series};
use heplan_ir::slots::{Compact, Graph, Op, Port};
use heplan_ir::transform::{Diagonal, LinearTransform};
use proptest::prelude::*;
use std::sync::Arc;

use super::levels::Levels;
use super::lift::Lifts;
use super::testing::run_graph;
use super::{LowerError, Waterline, fuse_rotations, lower};

fn port(name: &str, width: usize) -> Port {
    Port {
        name: name.into(),
        shape: vec![1, 8],
        layout: Layout::row_major(8, width),
        factor: 1.0,
        range: (-1.0, 1.0),
        compact: Compact::NONE,
    }
}

fn graph(width: usize, inputs: usize) -> (Graph, Vec<ValueId>) {
    let mut g = Graph { width, name: "test".into(), ..Graph::default() };
    let values = (0..inputs)
        .map(|i| {
            g.inputs.push(port(&format!("x{i}"), width));
            g.push(Op::Input { input: i as u32, part: 0 }, 1, OriginId::new(0))[0]
        })
        .collect();
    (g, values)
}

fn push(g: &mut Graph, op: Op) -> ValueId {
    g.push(op, 1, OriginId::new(0))[0]
}

fn output(g: &mut Graph, v: ValueId) {
    let port = port(&format!("y{}", g.outputs.len()), g.width);
    g.outputs.push((port, vec![v]));
}

fn linear(g: &mut Graph, xs: &[ValueId], factor: f32) -> ValueId {
    let diagonals = (0..xs.len() as u32)
        .flat_map(|input| {
            [0u32, 3].map(|offset| Diagonal {
                output: 0,
                input,
                offset,
                slots: vec![0, 1],
                values: vec![factor, -factor / 2.0],
            })
        })
        .collect();
    let t = LinearTransform { width: g.width, period: 2, inputs: xs.len(), outputs: 1, diagonals };
    let transform = g.consts.add(Constant::Transform(Arc::new(t)));
    push(g, Op::Linear { xs: xs.to_vec(), transform })
}

fn polynomial(g: &mut Graph, x: ValueId, set: PolynomialSet) -> ValueId {
    let polynomials = g.consts.add(Constant::Polynomials(Arc::new(set)));
    push(g, Op::Polynomial { x, polynomials })
}

/// Numbers between -1 and 1 that fill the interval and repeat on every machine.
fn ramp(width: usize, step: f64) -> Vec<f64> {
    (0..width).map(|i| (i as f64 * step).sin()).collect()
}

/// The slots graph by its definition.
fn reference(g: &Graph, inputs: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let mut values: Vec<Vec<f64>> = vec![Vec::new(); g.values];
    for inst in &g.insts {
        let x = |v: &ValueId| values[v.index()].clone();
        let pairs = |a, b, f: fn(f64, f64) -> f64| {
            x(a).iter().zip(&x(b)).map(|(a, b)| f(*a, *b)).collect::<Vec<_>>()
        };
        let results = match &inst.op {
            Op::Input { input, .. } => vec![inputs[*input as usize].clone()],
            Op::Linear { xs, transform, .. } => {
                let xs: Vec<Vec<f64>> = xs.iter().map(x).collect();
                let xs: Vec<&[f64]> = xs.iter().map(Vec::as_slice).collect();
                g.consts.transform(*transform).apply(&xs)
            }
            Op::Rotate { x: v, by } => {
                let mut y = x(v);
                y.rotate_left(*by as usize);
                vec![y]
            }
            Op::Bootstrap { x: v } => vec![x(v)],
            Op::Add { a, b } => vec![pairs(a, b, |a, b| a + b)],
            Op::Product { a, b } => vec![pairs(a, b, |a, b| a * b)],
            Op::AddConst { x: v, constant } => {
                vec![
                    x(v).iter()
                        .zip(g.consts.vector(*constant).iter())
                        .map(|(a, b)| a + b)
                        .collect(),
                ]
            }
            Op::Polynomial { x: v, polynomials } => {
                let set = g.consts.polynomials(*polynomials);
                vec![x(v).iter().enumerate().map(|(t, x)| set.of(t).eval(*x)).collect()]
            }
        };
        for (r, y) in inst.results.iter().zip(results) {
            values[r.index()] = y;
        }
    }
    g.outputs.iter().map(|o| values[o.1[0].index()].clone()).collect()
}

/// Lowers, runs, compares, and checks that outputs are at level 0.
fn check_at(g: &Graph, parameters: &Parameters, waterline: Waterline) -> ckks::Graph {
    assert_eq!(g.verify(), []);
    let lowered = lower(g, parameters, waterline).unwrap();
    let inputs: Vec<Vec<f64>> =
        (0..g.inputs.len()).map(|i| ramp(g.width, 0.37 + i as f64)).collect();
    let cells = run_graph(&lowered, &inputs.iter().map(|x| vec![x.clone()]).collect());
    for (cells, expected) in cells.iter().zip(reference(g, &inputs)) {
        assert_eq!(cells[0].ty.level, 0);
        let error =
            cells[0].slots.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(error < 1e-9, "an error of {error}");
    }
    lowered
}

/// The same, and that all scales are near the waterline.
fn check(g: &Graph, parameters: &Parameters, bits: u32) -> ckks::Graph {
    let lowered = check_at(g, parameters, Waterline::even(bits));
    for inst in lowered.insts.iter().filter(|i| matches!(i.op, Ct::Rescale { .. })) {
        let drift = inst.ty.scale.log2() - f64::from(bits);
        assert!(drift.abs() < 0.5, "a scale drifts by {drift} bits");
    }
    lowered
}

/// Depth and numbers of products, relinearisations and plaintext products of one series.
struct Count {
    depth: usize,
    products: usize,
    relinearisations: usize,
}

fn check_series(set: PolynomialSet, width: usize, parameters: &Parameters) -> Count {
    let (mut g, x) = graph(width, 1);
    let y = polynomial(&mut g, x[0], set);
    output(&mut g, y);
    let lowered = check(&g, parameters, 40);
    let out = &run_graph(&lowered, &vec![vec![ramp(width, 0.5)]])[0][0];
    if g.consts.polynomials(heplan_ir::entity::ConstId::new(0)).depth() > 0 {
        assert_eq!(out.ty.scale, Scale::pow2(40), "the result is at the waterline");
    }
    let count = |f: fn(&Ct<ValueId>) -> bool| lowered.insts.iter().filter(|i| f(&i.op)).count();
    Count {
        depth: lowered.insts[0].ty.level,
        products: count(|op| matches!(op, Ct::Mul { .. })),
        relinearisations: count(|op| matches!(op, Ct::Relinearise { .. })),
    }
}

/// Coefficients that keep the sum of their magnitudes small.
fn dense(degree: usize, seed: usize) -> Series {
    let c = |i: usize| ((i * 7 + seed * 13) as f64).cos() / (1.0 + i as f64 / 4.0);
    Series { coefficients: (0..=degree).map(c).collect() }
}

fn only(parity: usize, mut series: Series) -> Series {
    for (i, c) in series.coefficients.iter_mut().enumerate() {
        if i % 2 != parity {
            *c = 0.0;
        }
    }
    series
}

/// A literal ring of few slots cannot be had, so series are checked on the smallest ring whose
/// bound takes six levels of 40 bits.
fn series_parameters() -> Parameters {
    super::parameters::candidates(14, 6, 40, 3).remove(0)
}

#[test]
fn every_degree_is_exact_in_optimal_depth() {
    let parameters = series_parameters();
    for degree in 0..=63usize {
        let optimum = (usize::BITS - degree.leading_zeros()) as usize;
        let sets = [
            dense(degree, 1),
            only(degree % 2, dense(degree, 2)),
            Series { coefficients: [vec![0.0; degree], vec![0.75]].concat() },
        ];
        for series in sets {
            let found =
                check_series(PolynomialSet::shared(series), parameters.width(), &parameters);
            assert_eq!(found.depth, optimum, "degree {degree}");
        }
    }
}

/// Odd series: products by optimal odd baby-step giant-step (Lee, Lee, Lee and No, ePrint
/// 2020/834) are what to reach. Sums of products share their relinearisation, which saves more
/// than the one product that degree 31 takes beyond them.
#[test]
fn products_are_few() {
    let parameters = series_parameters();
    let count = |s: Series| {
        let found = check_series(PolynomialSet::shared(s), parameters.width(), &parameters);
        (found.products, found.relinearisations)
    };
    let known = [(3, 2), (5, 3), (7, 5), (9, 5), (11, 6), (13, 7), (15, 8)];
    for (degree, products) in known {
        let found = count(only(1, dense(degree, 3)));
        assert_eq!(found.0, products, "degree {degree}");
        assert!(found.1 <= found.0);
    }
    assert_eq!(count(only(1, dense(31, 3))), (13, 10));
    let mixed =
        [(2, (1, 1)), (3, (2, 2)), (7, (5, 4)), (15, (8, 7)), (27, (11, 8)), (63, (23, 13))];
    for (degree, expected) in mixed {
        assert_eq!(count(dense(degree, 3)), expected, "degree {degree}");
    }
    for (degree, expected) in [(4, (2, 2)), (6, (3, 3)), (16, (6, 6)), (30, (9, 8)), (62, (14, 11))]
    {
        assert_eq!(count(only(0, dense(degree, 3))), expected, "even degree {degree}");
    }
}

#[test]
fn monic_sets_save_a_level() {
    let parameters = series_parameters();
    // Of a general monic quartic only T_2 and the sum of its products are relinearised.
    for (degree, depth, counts) in [(2, 1, (1, 1)), (4, 2, (3, 2)), (8, 3, (6, 4)), (16, 4, (9, 7))]
    {
        let series = (1..=3).map(|k| {
            let mut s = dense(degree, k);
            s.coefficients[degree] = 1.0;
            s
        });
        let class = (0..parameters.width() as u32).map(|t| t * 5 % 3).collect();
        let set = PolynomialSet { series: series.collect(), class };
        let (mut g, x) = graph(parameters.width(), 1);
        let y = polynomial(&mut g, x[0], set);
        let z = linear(&mut g, &[y], 0.5);
        output(&mut g, z);
        let lowered = check(&g, &parameters, 40);
        let count = |f: fn(&Ct<ValueId>) -> bool| lowered.insts.iter().filter(|i| f(&i.op)).count();
        assert_eq!(lowered.insts[0].ty.level, depth + 1, "degree {degree}");
        let products = count(|op| matches!(op, Ct::Mul { .. }));
        let relinearisations = count(|op| matches!(op, Ct::Relinearise { .. }));
        assert!(products <= counts.0 && relinearisations <= counts.1, "degree {degree}");
    }
}

#[test]
fn classes_of_slots_have_their_own_series() {
    let parameters = series_parameters();
    for degrees in [[3, 7, 2], [15, 1, 0], [5, 5, 5], [0, 0, 0]] {
        let series = degrees.iter().enumerate().map(|(k, &d)| dense(d, k)).collect();
        let class = (0..parameters.width() as u32).map(|t| t * 5 % 3).collect();
        check_series(PolynomialSet { series, class }, parameters.width(), &parameters);
    }
}

#[test]
fn a_residual_branch_is_dropped_where_it_waits() {
    let parameters = series_parameters();
    let (mut g, x) = graph(parameters.width(), 1);
    let a = linear(&mut g, &x, 0.5);
    let b = polynomial(&mut g, a, PolynomialSet::shared(dense(7, 1)));
    let c = linear(&mut g, &[b, a], 0.25);
    let d = push(&mut g, Op::Rotate { x: c, by: 4 });
    let e = push(&mut g, Op::Add { a: c, b: d });
    let bias = g.consts.add_vector(ramp(g.width, 0.11));
    let f = push(&mut g, Op::AddConst { x: e, constant: bias });
    output(&mut g, f);
    let levels = Levels::of(&g);
    let found: Vec<_> = [x[0], a, b, c, d, e, f].map(|v| levels.value(v).unwrap()).to_vec();
    assert_eq!(found, [5, 4, 1, 0, 0, 0, 0]);
    assert_eq!(levels.depth(), 5);
    let lowered = check(&g, &parameters, 40);
    let drops = lowered.insts.iter().filter(|i| matches!(i.op, Ct::DropLevel { .. })).count();
    assert!(drops >= 1);
    let rotations: Vec<usize> = lowered
        .insts
        .iter()
        .filter(|i| matches!(i.op, Ct::Rotate { .. }))
        .map(|i| i.ty.level)
        .collect();
    assert_eq!(rotations, [0], "folds run below the rescale");
}

#[test]
fn inputs_have_the_level_that_they_need() {
    let parameters = series_parameters();
    let (mut g, x) = graph(parameters.width(), 3);
    let a = linear(&mut g, &[x[0]], 0.5);
    let s = push(&mut g, Op::Product { a, b: a });
    let p = push(&mut g, Op::Product { a: s, b: x[1] });
    let y = linear(&mut g, &[p, x[1]], 0.5);
    output(&mut g, y);
    output(&mut g, a);
    let levels = Levels::of(&g);
    assert_eq!([0, 1, 2].map(|i| levels.input(i)), [4, 2, 0]);
    assert_eq!(levels.value(x[2]), None, "nothing reads the third input");
    check(&g, &parameters, 40);
}

#[test]
fn sums_of_unequal_scales_and_foreign_rings_are_refused() {
    let parameters = series_parameters();
    let (mut g, x) = graph(parameters.width(), 1);
    let s = push(&mut g, Op::Product { a: x[0], b: x[0] });
    let y = push(&mut g, Op::Add { a: s, b: x[0] });
    output(&mut g, y);
    assert!(matches!(
        lower(&g, &parameters, Waterline::even(40)),
        Err(LowerError::Operands { .. })
    ));
    g.width *= 2;
    assert!(matches!(lower(&g, &parameters, Waterline::even(40)), Err(LowerError::Width { .. })));
    g.width /= 2;
    let short = super::parameters::candidates(14, 0, 40, 3).remove(0);
    assert!(matches!(
        lower(&g, &short, Waterline::even(40)),
        Err(LowerError::Depth { needed: 1, available: 0 })
    ));
}

/// A random slots graph: every step reads earlier values, chosen by the numbers.
fn random_graph(width: usize, steps: &[(u8, usize, usize)]) -> Graph {
    let (mut g, mut values) = graph(width, 2);
    for &(kind, i, j) in steps {
        let (a, b) = (values[i % values.len()], values[j % values.len()]);
        let v = match kind % 7 {
            0 if a != b => linear(&mut g, &[a, b], 0.3),
            0 | 1 => linear(&mut g, &[a], 0.5),
            2 => push(&mut g, Op::Product { a, b }),
            3 => polynomial(&mut g, a, PolynomialSet::shared(dense(1 + j % 6, i))),
            6 => {
                let mut series = dense(2 << (j % 3), i);
                *series.coefficients.last_mut().expect("the degree is positive") = 1.0;
                polynomial(&mut g, a, PolynomialSet::shared(series))
            }
            4 => {
                let rotated = push(&mut g, Op::Rotate { x: a, by: 1 + j as u32 });
                push(&mut g, Op::Add { a, b: rotated })
            }
            _ => {
                let constant = g.consts.add_vector(ramp(width, j as f64));
                push(&mut g, Op::AddConst { x: a, constant })
            }
        };
        // Every operation keeps its operands' numbers of order one.
        values.push(linear(&mut g, &[v], 0.125));
    }
    let last = values[values.len() - 1];
    output(&mut g, last);
    g
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn random_graphs_keep_their_meaning(
        steps in prop::collection::vec((0u8..7, 0usize..8, 0usize..8), 1..6),
    ) {
        let parameters = super::parameters::candidates(15, 18, 40, 3).remove(0);
        let g = random_graph(parameters.width(), &steps);
        prop_assume!(Levels::of(&g).depth() <= 18);
        let lowered = check(&g, &parameters, 40);
        let levels = Levels::of(&g);
        for inst in lowered.insts.iter().filter(|i| matches!(i.op, Ct::Input { .. })) {
            let Ct::Input { input, .. } = inst.op else { continue };
            prop_assert_eq!(inst.ty.level, levels.input(input as usize));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever the lift is, values three bits above those of magnitude one fit their modulus.
    #[test]
    fn lifted_graphs_keep_their_meaning_and_their_headroom(
        lift in 0u32..9,
        steps in prop::collection::vec((0u8..7, 0usize..8, 0usize..8), 1..6),
    ) {
        let parameters = super::parameters::candidates(15, 18, 30, 3 + lift).remove(0);
        let g = random_graph(parameters.width(), &steps);
        prop_assume!(Levels::of(&g).depth() <= 18);
        let lowered = check_at(&g, &parameters, Waterline { bits: 30, lift });
        for inst in &lowered.insts {
            let room = parameters.log_q_at(inst.ty.level) - inst.ty.scale.log2();
            prop_assert!(room >= 4.0 - 0.01, "{room} bits of room for {inst:?}");
        }
    }
}

#[test]
fn lifts_are_what_readers_bear() {
    let series = |leading| Series { coefficients: vec![0.5, 0.25, 0.125, 0.0, leading] };
    let (mut g, x) = graph(16, 1);
    let a = linear(&mut g, &x, 0.5);
    let squared = push(&mut g, Op::Product { a, b: a });
    let b = linear(&mut g, &[squared], 0.5);
    let monic = polynomial(&mut g, b, PolynomialSet::shared(series(1.0)));
    let c = linear(&mut g, &[monic], 0.5);
    let other = polynomial(&mut g, c, PolynomialSet::shared(series(0.75)));
    let d = linear(&mut g, &[other], 0.5);
    let e = push(&mut g, Op::Rotate { x: d, by: 1 });
    let f = push(&mut g, Op::Add { a: d, b: e });
    let last = push(&mut g, Op::Product { a: f, b: f });
    output(&mut g, last);
    let lifts = Lifts::of(&g, &Levels::of(&g), 4);
    let found = [x[0], a, b, c, other, d, e, f].map(|v| lifts.chosen(v));
    assert_eq!(found, [4, 4, 2, 0, 4, 2, 2, 2]);
    let none = Lifts::of(&g, &Levels::of(&g), 0);
    assert!((0..g.values).all(|v| none.chosen(ValueId::new(v)) == 0));
}

/// Before and after of the pass on one convolution with a fold, a bias and a square.
#[test]
fn snapshots_of_lowering() {
    let parameters = super::parameters::select(13, 3, 27, 3).unwrap();
    let (mut g, x) = graph(parameters.width(), 1);
    let partial = linear(&mut g, &x, 0.5);
    let rotated = push(&mut g, Op::Rotate { x: partial, by: 2 });
    let sum = push(&mut g, Op::Add { a: partial, b: rotated });
    let bias = g.consts.add_vector((0..g.width).map(|t| (t % 8) as f64 / 16.0).collect());
    let sum = push(&mut g, Op::AddConst { x: sum, constant: bias });
    let square = push(&mut g, Op::Product { a: sum, b: sum });
    let y = linear(&mut g, &[square, x[0]], 0.25);
    output(&mut g, y);
    let lowered = check(&g, &parameters, 27);
    snapshot("lower-to-ckks", "fold_bias_square", &format!("{g}\n{lowered}"));
    let fused = fuse_rotations(lowered);
    snapshot("fuse-rotations", "fold_bias_square", &fused.to_string());
    let plan = crate::passes::plan::emit(&fused).unwrap();
    assert_eq!(plan.verify(), []);
    snapshot("emit-plan", "fold_bias_square", &plan.to_string());
}

#[test]
fn snapshots_of_polynomials() {
    let parameters = super::parameters::select(13, 3, 27, 3).unwrap();
    let cases = [
        ("cubic", vec![0.5, -0.25, 0.125, 1.0]),
        ("even", vec![0.5, 0.0, -0.25, 0.0, 1.0, 0.0, 0.75]),
    ];
    for (name, coefficients) in cases {
        let (mut g, x) = graph(parameters.width(), 1);
        let y = polynomial(&mut g, x[0], PolynomialSet::shared(Series { coefficients }));
        output(&mut g, y);
        let lowered = check(&g, &parameters, 27);
        snapshot("lower-to-ckks", name, &lowered.to_string());
    }
}

fn snapshot(pass: &str, case: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(format!("../../../../snapshots/passes/{pass}"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(case, text));
}
