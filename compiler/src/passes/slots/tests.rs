//! Affine maps between arbitrary layouts against the dense product.

use heplan_ir::entity::{OriginId, ValueId};
use heplan_ir::layout::{Axis, Layout};
use heplan_ir::matrix::SparseMatrix;
use heplan_ir::slots::{Graph as Slots, Op as SlotsOp};
use heplan_ir::tensor::{Graph, Op};
use proptest::prelude::*;

use super::routing::{Placed, Route};
use super::source::Term;
use super::steps::Keys;
use super::weights::Weights;
use super::{PortInfo, Ports, lower, spread, transform};

const WIDTH: usize = 64;

/// A layout of `[outer, inner]` elements with free strides, offset and period.
fn layout(outer: usize, inner: usize) -> impl Strategy<Value = Layout> {
    (1..4usize, 0..4usize, 0..5usize, 0..4usize).prop_filter_map(
        "fits",
        move |(s, gap, off, wide)| {
            let axes = vec![
                Axis { size: outer, stride: inner * s + gap },
                Axis { size: inner, stride: s },
            ];
            let mut l = Layout { axes, offset: off, period: WIDTH, width: WIDTH };
            if l.extent() <= WIDTH {
                l.period = (l.extent().next_power_of_two() << wide).min(WIDTH);
            }
            l.problems(outer * inner).is_empty().then_some(l)
        },
    )
}

/// Such a layout, or an uneven one of an input.
fn input_layout(outer: usize, inner: usize) -> impl Strategy<Value = Layout> {
    let uneven = (outer * inner..WIDTH).prop_map(move |period| {
        let axes = vec![Axis { size: outer * inner, stride: 1 }];
        Layout { axes, offset: 0, period, width: WIDTH }
    });
    prop_oneof![2 => layout(outer, inner), 1 => uneven]
}

fn matrix(rows: usize, cols: usize) -> impl Strategy<Value = SparseMatrix> {
    proptest::collection::vec(prop_oneof![Just(0.0f64), -4.0..4.0f64], rows * cols).prop_map(
        move |v| {
            SparseMatrix::from_rows(rows, cols, |r, row| {
                let values = (0..cols).map(|c| (c as u32, f64::from(v[r * cols + c] as f32)));
                row.extend(values);
            })
        },
    )
}

fn rotate(x: &[f64], by: usize) -> Vec<f64> {
    (0..x.len()).map(|t| x[(t + by) % x.len()]).collect()
}

proptest! {
    #[test]
    fn any_map_between_any_layouts_is_the_dense_product(
        (a, b, out) in (input_layout(3, 4), input_layout(2, 5), layout(4, 3)),
        (m, n) in (matrix(12, 12), matrix(12, 10)),
        x in proptest::collection::vec(-1.0..1.0f64, 12),
        y in proptest::collection::vec(-1.0..1.0f64, 10),
        price in prop_oneof![Just(0.0), Just(1.0), Just(100.0)],
    ) {
        prop_assume!([&a, &b].iter().all(|l| Route::between(l, &out).is_some()));
        let terms = [(&m, &a), (&n, &b)].map(|(m, l)| (Term::new(m), Placed::new(l.clone())));
        let built = transform::build(&terms, &out, &Weights::at(3, price), &mut Keys::default());
        let inputs = [spread(&a, &x), spread(&b, &y)].concat();
        let refs: Vec<&[f64]> = inputs.iter().map(Vec::as_slice).collect();
        prop_assert!(built.runs.iter().all(Vec::is_empty), "random columns differ");
        let results = built.transform.apply(&refs);
        let mut parts: Vec<Vec<f64>> = results
            .chunks_exact(built.giants.len())
            .map(|results| {
                let mut sum = vec![0.0; WIDTH];
                for (y, k) in results.iter().zip(&built.giants) {
                    let turned = rotate(y, (k * built.hop) as usize);
                    sum.iter_mut().zip(turned).for_each(|(s, t)| *s += t);
                }
                sum
            })
            .collect();
        for by in built.folds {
            for part in &mut parts {
                let turned = rotate(part, by as usize);
                part.iter_mut().zip(turned).for_each(|(p, t)| *p += t);
            }
        }
        let (mx, ny) = (m.apply(&x), n.apply(&y));
        let want: Vec<f64> = mx.iter().zip(&ny).map(|(p, q)| p + q).collect();
        for (got, want) in parts.iter().zip(spread(&out, &want)) {
            for (g, w) in got.iter().zip(&want) {
                prop_assert!((g - w).abs() < 1e-9, "{got:?} is not {want:?}");
            }
        }
    }
}

/// Runs a slots graph on one input vector per port.
fn interpret(graph: &Slots, inputs: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let spread: Vec<_> =
        graph.inputs.iter().zip(inputs).map(|(p, x)| spread(&p.layout, x)).collect();
    let mut values: Vec<Vec<f64>> = Vec::new();
    let at = |values: &[Vec<f64>], v: ValueId| values[v.index()].clone();
    for inst in &graph.insts {
        let results = match &inst.op {
            SlotsOp::Input { input, part } => vec![spread[*input as usize][*part as usize].clone()],
            SlotsOp::Linear { xs, transform, .. } => {
                let xs: Vec<&[f64]> = xs.iter().map(|x| values[x.index()].as_slice()).collect();
                graph.consts.transform(*transform).apply(&xs)
            }
            SlotsOp::Rotate { x, by } => vec![rotate(&at(&values, *x), *by as usize)],
            SlotsOp::Add { a, b } => {
                let (a, b) = (at(&values, *a), at(&values, *b));
                vec![a.iter().zip(b).map(|(x, y)| x + y).collect()]
            }
            SlotsOp::AddConst { x, constant } => {
                let c = graph.consts.vector(*constant);
                vec![at(&values, *x).iter().zip(c.iter()).map(|(x, y)| x + y).collect()]
            }
            SlotsOp::Product { a, b } => {
                let (a, b) = (at(&values, *a), at(&values, *b));
                vec![a.iter().zip(b).map(|(x, y)| x * y).collect()]
            }
            SlotsOp::Polynomial { x, polynomials } => {
                let p = graph.consts.polynomials(*polynomials);
                vec![at(&values, *x).iter().enumerate().map(|(t, &x)| p.of(t).eval(x)).collect()]
            }
        };
        values.extend(results);
    }
    graph
        .outputs
        .iter()
        .map(|(port, parts)| {
            port.layout
                .places()
                .into_iter()
                .map(|p| values[parts[p / graph.width].index()][p % graph.width])
                .collect()
        })
        .collect()
}

/// A strided 3×3 convolution with padding 1, as a matrix.
fn conv(channels: (usize, usize), size: usize, stride: usize) -> SparseMatrix {
    let (cin, cout) = channels;
    let out = size.div_ceil(stride);
    SparseMatrix::from_rows(cout * out * out, cin * size * size, |r, row| {
        let (c, y, x) = (r / (out * out), r / out % out, r % out);
        for (ci, dy, dx) in (0..cin * 9).map(|k| (k / 9, k / 3 % 3, k % 3)) {
            let (iy, ix) = (y * stride + dy, x * stride + dx);
            if (1..=size).contains(&iy) && (1..=size).contains(&ix) {
                let col = ci * size * size + (iy - 1) * size + ix - 1;
                let weight = ((c * 31 + ci * 17 + dy * 5 + dx * 3) % 11) as f64 / 8.0 - 0.5;
                row.push((col as u32, weight));
            }
        }
    })
}

fn convolutional_net() -> Graph {
    let mut g = Graph::default();
    let none = OriginId::new(0);
    let x = g.push(Op::Input { name: "x".into() }, vec![1, 1, 8, 8], none);
    let m1 = g.consts.add_matrix(conv((1, 4), 8, 2));
    let b1 = g.consts.add_vector((0..64).map(|i| f64::from(i) / 64.0).collect());
    let c1 = g.push(Op::Affine { terms: vec![(x, m1)], bias: Some(b1) }, vec![1, 4, 4, 4], none);
    let sq = g.push(Op::Product { a: c1, b: c1 }, vec![1, 4, 4, 4], none);
    let m2 = g.consts.add_matrix(conv((4, 4), 4, 1));
    let eye = g.consts.add_matrix(SparseMatrix::identity(64));
    let c2 =
        g.push(Op::Affine { terms: vec![(sq, m2), (c1, eye)], bias: None }, vec![1, 4, 4, 4], none);
    let sum = SparseMatrix::from_rows(3, 64, |r, row| {
        row.extend((0..64u32).filter(|c| c % 5 != r as u32).map(|c| (c, 0.125)));
    });
    let m3 = g.consts.add_matrix(sum);
    let y = g.push(Op::Affine { terms: vec![(c2, m3)], bias: None }, vec![1, 3], none);
    g.outputs.push(("y".into(), y));
    g
}

#[test]
fn a_residual_convolutional_net_is_lowered_exactly_at_every_width() {
    let graph = convolutional_net();
    let input: Vec<f64> = (0..64).map(|i| f64::from(i * 37 % 64) / 64.0 - 0.5).collect();
    let c1: Vec<f64> = conv((1, 4), 8, 2)
        .apply(&input)
        .iter()
        .enumerate()
        .map(|(i, v)| v + i as f64 / 64.0)
        .collect();
    let sq: Vec<f64> = c1.iter().map(|v| v * v).collect();
    let c2: Vec<f64> = conv((4, 4), 4, 1).apply(&sq).iter().zip(&c1).map(|(a, b)| a + b).collect();
    let want: Vec<f64> = (0..3)
        .map(|r| c2.iter().enumerate().filter(|(c, _)| c % 5 != r).map(|(_, v)| v * 0.125).sum())
        .collect();
    let info = PortInfo { factor: 1.0, range: (-1.0, 1.0) };
    let ports = Ports { inputs: vec![info.clone()], outputs: vec![info] };
    let cases = [16, 32, 64, 256, 1024].into_iter().zip([0.0, 0.5, 5.0, 50.0, 500.0]);
    for (width, key_price) in cases {
        let lowered = lower(&graph, &ports, width, key_price).graph;
        let got = interpret(&lowered, std::slice::from_ref(&input));
        for (g, w) in got[0].iter().zip(&want) {
            assert!((g - w).abs() < 1e-5, "width {width}: {:?} is not {want:?}", got[0]);
        }
    }
}

/// A 2×2 mean of every channel, then a convolution, as one matrix.
fn pooled_conv() -> SparseMatrix {
    let pool = SparseMatrix::from_rows(2 * 16, 2 * 64, |r, row| {
        let (c, y, x) = (r / 16, r / 4 % 4, r % 4);
        for (dy, dx) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            row.push(((c * 64 + (2 * y + dy) * 8 + 2 * x + dx) as u32, 0.25));
        }
    });
    conv((2, 4), 4, 1).compose(&pool)
}

#[test]
fn a_fused_pool_becomes_rotations_and_fewer_diagonals() {
    let fused = pooled_conv();
    let mut graph = Graph::default();
    let none = OriginId::new(0);
    let x = graph.push(Op::Input { name: "x".into() }, vec![1, 2, 8, 8], none);
    let m = graph.consts.add_matrix(fused.clone());
    let y = graph.push(Op::Affine { terms: vec![(x, m)], bias: None }, vec![1, 4, 4, 4], none);
    graph.outputs.push(("y".into(), y));
    let info = PortInfo { factor: 1.0, range: (-1.0, 1.0) };
    let ports = Ports { inputs: vec![info.clone()], outputs: vec![info] };
    let input: Vec<f64> = (0..128).map(|i| f64::from(i * 37 % 64) / 64.0 - 0.5).collect();
    for (width, key_price) in [(64, 0.5), (256, 0.5), (256, 8.0)] {
        let lowered = lower(&graph, &ports, width, key_price).graph;
        let got = interpret(&lowered, std::slice::from_ref(&input));
        for (g, w) in got[0].iter().zip(fused.apply(&input)) {
            assert!((g - w).abs() < 1e-5, "width {width}");
        }
        let before = |inst: &heplan_ir::slots::Inst| !matches!(inst.op, SlotsOp::Linear { .. });
        let sums = lowered.insts.iter().take_while(|i| before(i));
        assert!(sums.filter(|i| matches!(i.op, SlotsOp::Rotate { .. })).count() >= 2);
    }
}

/// Inputs of as many elements have uneven layouts in common, which come first among equals; none
/// of them is read into a tensor of several ciphertexts.
#[test]
fn inputs_of_a_wide_tensor_are_even() {
    let mut g = Graph::default();
    let origin = OriginId::new(0);
    let input = |g: &mut Graph, name: &str, shape: &[usize]| {
        g.push(Op::Input { name: name.to_owned() }, shape.to_vec(), origin)
    };
    let map = |g: &mut Graph, terms: &[ValueId], rows: usize| {
        let matrix = |k: usize| SparseMatrix::gather(rows, 96, |r| Some((r * (k + 3)) % 96));
        let terms = terms.iter().enumerate().map(|(k, &x)| (x, g.consts.add_matrix(matrix(k))));
        let terms = terms.collect();
        g.push(Op::Affine { terms, bias: None }, vec![rows], origin)
    };
    let first = input(&mut g, "a", &[96]);
    let small = map(&mut g, &[first], 60);
    let shapes: [&[usize]; 4] = [&[2, 48], &[4, 24], &[8, 12], &[16, 6]];
    let rest: Vec<ValueId> =
        shapes.iter().enumerate().map(|(i, s)| input(&mut g, &format!("b{i}"), s)).collect();
    let wide = map(&mut g, &rest, 3000);
    g.outputs = vec![("small".to_owned(), small), ("wide".to_owned(), wide)];
    let problem = super::Problem::new(&g, 1024, 0.0);
    assert!(super::assign::assign(&problem).cost.is_finite());
}
