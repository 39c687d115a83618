//! Affine maps between arbitrary layouts against the dense product.

use std::collections::BTreeSet;

use heplan_ir::entity::{OriginId, ValueId};
use heplan_ir::layout::{Axis, Layout};
use heplan_ir::matrix::SparseMatrix;
use heplan_ir::slots::{Graph as Slots, Op as SlotsOp};
use heplan_ir::tensor::{Graph, Op};
use proptest::prelude::*;

use super::routing::{Placed, Route};
use super::source::Term;
use super::steps::{Arity, Keys, choose, moduli};
use super::transform::Giants;
use super::weights::Prices;
use super::{PortInfo, Ports, Problem, candidates, spread, transform};
use crate::cost::Costs;
use crate::passes::ckks::parameters::{HEADROOM_BITS, select};

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

pub(super) fn prices(costs: &Costs, key_price: f64) -> Prices {
    let set = select(13, 3, 24, HEADROOM_BITS).expect("a shallow set is secure");
    Prices::new(&set, costs, key_price)
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
        price in prop_oneof![Just(0.0), Just(1e-9), Just(1e-6)],
    ) {
        prop_assume!([&a, &b].iter().all(|l| Route::between(l, &out).is_some()));
        let terms = [(&m, &a), (&n, &b)].map(|(m, l)| (Term::new(m), Placed::new(l.clone())));
        let built = transform::build(&terms, &out, prices(&Costs::default(), price).at(3), &mut Keys::default());
        let inputs = [spread(&a, &x), spread(&b, &y)].concat();
        let refs: Vec<&[f64]> = inputs.iter().map(Vec::as_slice).collect();
        prop_assert!(built.runs.iter().all(Vec::is_empty), "random columns differ");
        let results = built.transform.apply(&refs);
        let mut parts: Vec<Vec<f64>> = results
            .chunks_exact(built.giants.steps.len())
            .map(|results| {
                let mut sum = vec![0.0; WIDTH];
                let Giants { steps, rotations, hops } = &built.giants;
                for ((y, &by), &step) in results.iter().zip(rotations).zip(steps) {
                    if let Some(hops) = hops {
                        let (row, hop) = hops.place(step);
                        let way = row * hops.row() as usize + hop * hops.hop() as usize;
                        assert_eq!(way % WIDTH, by as usize);
                    }
                    let turned = rotate(y, by as usize);
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
            SlotsOp::Bootstrap { x } => vec![at(&values, *x)],
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

pub(super) fn convolutional_net() -> Graph {
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
    let cases = [16, 32, 64, 256, 1024].into_iter().zip([0.0, 1e-9, 1e-8, 1e-7, 1e-6]);
    for (width, key_price) in cases {
        let lowered =
            Problem::new(&graph, width).lower(&ports, &prices(&Costs::default(), key_price)).graph;
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
fn a_fused_pool_becomes_rotations_where_diagonals_are_dear() {
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
    let dear = Costs { encode: 1e-7, ..Costs::default() };
    for (width, key_price) in [(64, 1e-9), (256, 1e-9), (256, 1e-7)] {
        let lowered = Problem::new(&graph, width).lower(&ports, &prices(&dear, key_price)).graph;
        let got = interpret(&lowered, std::slice::from_ref(&input));
        for (g, w) in got[0].iter().zip(fused.apply(&input)) {
            assert!((g - w).abs() < 1e-5, "width {width}");
        }
        // The pool is rotations before the transform, or folds after it where the input is polyphase.
        let rotations = lowered.insts.iter().filter(|i| matches!(i.op, SlotsOp::Rotate { .. }));
        assert!(rotations.count() >= 2, "width {width}");
        let diagonals = lowered.insts.iter().filter_map(|i| match &i.op {
            SlotsOp::Linear { transform, .. } => Some(lowered.consts.transform(*transform)),
            _ => None,
        });
        // Nine taps for each pair of channels, where the fused map has sixteen.
        assert!(diagonals.map(|t| t.diagonals.len()).sum::<usize>() <= 9 * 8, "width {width}");
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
    let prices = prices(&Costs::default(), 0.0);
    let problem = Problem::new(&g, 1024);
    assert!(super::assign::assign(&problem, &prices).cost.is_finite());
}

#[test]
fn results_in_rows_are_reached_by_a_second_key() {
    // Three groups of nine rows: hops of 32 within a group, one jump from each to the next.
    let offsets: Vec<u32> = (0..3)
        .flat_map(|g| (0..9).flat_map(move |y| (0..13).map(move |x| g * 864 + y * 32 + x)))
        .collect();
    let (prices, width) = (prices(&Costs::default(), 1e-8), 4096);
    let arity = Arity { inputs: 1, outputs: 1 };
    let candidates = moduli(width, std::iter::empty());
    let choice = choose(&offsets, width, arity, prices.at(3), &Keys::default(), &candidates);
    let hops = choice.hops.expect("two keys for all giant steps are cheapest");
    let division = choice.division;
    let mut giants: Vec<i64> = offsets.iter().map(|&d| division.of(d, width).0).collect();
    giants.dedup();
    let places: BTreeSet<(usize, usize)> = giants.iter().map(|&g| hops.place(g)).collect();
    let rows: BTreeSet<usize> = places.iter().map(|p| p.0).collect();
    assert_eq!((places.len(), rows.len()), (giants.len(), 3));
    assert_eq!(hops.rotations(&giants), [division.modulus, 864]);
}

#[test]
fn a_strided_convolution_of_a_polyphase_image_is_dense() {
    // 28×28 by 5×5 with stride 2 to five channels of 12×12.
    let matrix = SparseMatrix::from_rows(5 * 144, 784, |r, row| {
        let (y, x) = (r / 12 % 12, r % 12);
        let taps = (0..25).map(|k| (2 * y + k / 5) * 28 + 2 * x + k % 5);
        row.extend(taps.enumerate().map(|(k, c)| (c as u32, (r / 144 + k + 1) as f64)));
    });
    let image = [1, 1, 28, 28];
    let phases = candidates::for_input(&image, 4096)
        .into_iter()
        .find(|l| l.axes.len() == 4 && l.axes[3].size == 2 && l.period == 1024)
        .expect("the image splits in halves");
    let dense = candidates::for_affine(&[1, 5, 12, 12], &[(&image, &phases)], 4096)
        .into_iter()
        .find(|l| l.axes[0].stride == 256 && l.axes[1].stride == 16 && l.period == 2048)
        .expect("a dense image on the grid of one phase");
    let terms = [(Term::new(&matrix), Placed::new(phases.clone()))];
    let prices = prices(&Costs::default(), 1e-9);
    let built = transform::build(&terms, &dense, prices.at(3), &mut Keys::default());
    let offsets: BTreeSet<u32> = matrix_offsets(&matrix, &Placed::new(phases), &Placed::new(dense));
    // Nine shifts of an image for each of four differences of phase and channel.
    assert!(offsets.len() <= 36, "{}", offsets.len());
    assert!(built.transform.diagonals.len() <= 2 * 36);
}

fn matrix_offsets(matrix: &SparseMatrix, from: &Placed, to: &Placed) -> BTreeSet<u32> {
    let route = Route::between(&from.layout, &to.layout).expect("even periods have a route");
    let entries = (0..matrix.rows).flat_map(|r| matrix.row(r).map(move |(c, _)| (r, c)));
    entries.map(|(r, c)| route.landing(from.place(c), to.place(r)).offset).collect()
}
