//! The pass on small networks, against the float executor on samples that it has not seen.

use super::*;
use crate::options::Domain;
use crate::options::Method;
use crate::passes::tensor::calibrate::calibrate;
use crate::passes::tensor::fuse_affine::fuse_affine;
use crate::passes::tensor::normalise::normalise;
use crate::reference::Executor;
use fit::Wish;
use heplan_ir::function::Function;
use heplan_ir::origin::{Node, OriginTable};
use judge::argmax;

/// Numbers in [-1, 1) from a linear congruential generator.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> f64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }
}

fn dense(g: &mut Graph, x: ValueId, rows: usize, numbers: &mut Numbers) -> ValueId {
    let cols = g.value(x).elements();
    let by = 3.0 / (cols as f64).sqrt();
    let m = SparseMatrix::from_rows(rows, cols, |_, row| {
        row.extend((0..cols).map(|c| (c as u32, by * numbers.next())));
    });
    let terms = vec![(x, g.consts.add_matrix(m))];
    let bias = Some(g.consts.add_vector((0..rows).map(|_| numbers.next()).collect()));
    g.push(Op::Affine { terms, bias }, vec![1, rows], OriginTable::none())
}

/// Dense layers 16-32-24-10 with an activation between.
fn network(function: &Function) -> Graph {
    let mut g = Graph::default();
    let mut numbers = Numbers(7);
    let mut x = g.push(Op::Input { name: "x".into() }, vec![1, 16], OriginTable::none());
    for (index, width) in [32, 24].into_iter().enumerate() {
        let node = Node { index: index as u32, name: format!("act{index}"), op: "Act".into() };
        let origin = g.origins.node(node);
        x = dense(&mut g, x, width, &mut numbers);
        x = g.push(Op::Function { x, function: function.clone() }, vec![1, width], origin);
    }
    let y = dense(&mut g, x, 10, &mut numbers);
    g.outputs = vec![("y".into(), y)];
    g
}

fn samples(seed: u64, count: usize, width: usize) -> Samples {
    let mut numbers = Numbers(seed);
    let mut row = || (0..width).map(|_| numbers.next()).collect();
    Samples { inputs: vec![(0..count).map(|_| row()).collect()], ..Samples::default() }
}

fn run(graph: &Graph, options: &Options) -> Result<Approximated, Vec<Diagnostic>> {
    let set = samples(1, 200, 16);
    approximate(graph, &calibrate(graph, &set).unwrap(), &set, options)
}

#[test]
fn unseen_samples_keep_their_class() {
    for function in [Function::Relu, Function::Sigmoid, Function::Swish { alpha: 1.0 }] {
        let g = network(&function);
        let done = run(&g, &Options::recommended()).unwrap();
        let fresh = samples(99, 100, 16);
        let exact = Executor::new(&g).run_samples(&fresh);
        let found = Executor::new(&done.graph).run_samples(&fresh);
        let same = exact.iter().zip(&found).filter(|(a, b)| argmax(&a[0]) == argmax(&b[0])).count();
        // Scores of random weights are often nearly equal, so a few may swap.
        assert!(same >= 96, "{function:?}: {same} {:#?}", done.functions);
        let (errors, scores): (Vec<f64>, Vec<f64>) = exact
            .iter()
            .flatten()
            .flatten()
            .zip(found.iter().flatten().flatten())
            .map(|(x, y)| ((x - y).powi(2), *x))
            .unzip();
        let (low, high) = fit::extremes(&scores);
        let rms = (errors.iter().sum::<f64>() / errors.len() as f64).sqrt();
        assert!(rms < 0.015 * (high - low), "{function:?}: {rms} of {low} .. {high}");
    }
}

#[test]
fn maps_around_polynomials_cost_no_level() {
    let g = network(&Function::Relu);
    let done = run(&g, &Options::recommended()).unwrap();
    let fused = fuse_affine(&done.graph);
    let kinds = |g: &Graph| g.values.iter().filter(|v| matches!(v.op, Op::Affine { .. })).count();
    assert_eq!((kinds(&fused), fused.values.len()), (3, g.values.len()));
    // Operands of polynomials lie within [-1, 1] and so does everything after normalisation.
    let set = samples(1, 200, 16);
    let calibration = calibrate(&fused, &set).unwrap();
    let normal = normalise(&fused, &calibration);
    assert_eq!(normal.graph.values.len(), g.values.len());
    for value in &fused.values {
        if let Op::Polynomial { x, .. } = value.op {
            assert!(calibration.spread(x).magnitude() <= 1.0);
        }
    }
}

#[test]
fn a_forced_degree_is_kept() {
    for degree in [3, 7, 12] {
        let options = Options { degree: Some(degree), ..Options::recommended() };
        let done = run(&network(&Function::Tanh), &options).unwrap();
        for f in &done.functions {
            // Odd functions end at an odd degree.
            assert!(f.degree == degree || f.degree + 1 == degree, "{f:?}");
        }
    }
}

#[test]
fn a_wider_domain_shows_in_the_report() {
    let of = |domain| {
        let options = Options { domain, degree: Some(15), ..Options::recommended() };
        run(&network(&Function::Sigmoid), &options).unwrap().functions.remove(0)
    };
    let (all, three) = (of(Domain::MinMax), of(Domain::MeanStd(1.0)));
    assert_eq!(all.outside, 0.0);
    assert!(three.outside > 0.05 && three.range.1 < all.range.1);
    assert!(all.tame.0 <= all.range.0 && all.tame.1 >= all.range.1);
    assert_eq!(all.origin, "act0");
}

#[test]
fn what_cannot_be_reached_is_said_with_numbers() {
    let options = Options { max_error: Some(1e-9), ..Options::recommended() };
    let errors = run(&network(&Function::Relu), &options).unwrap_err();
    assert_eq!(errors[0].code, Code::Precision);
    assert!(errors[0].notes[0].contains("1.00e-9"), "{:?}", errors[0]);
    let errors = run(&network(&Function::Sign), &Options::recommended()).unwrap_err();
    assert_eq!(errors[0].code, Code::Approximation);
}

#[test]
fn a_reciprocal_across_zero_is_a_domain_error() {
    let errors = run(&network(&Function::Reciprocal), &Options::recommended()).unwrap_err();
    assert_eq!((errors[0].code, errors.len()), (Code::Domain, 2));
    assert_eq!(errors[0].node.as_ref().unwrap().name, "act0");
}

/// Blocks of a function between dense layers, each added, times `by`, to what it reads.
fn chain(blocks: u32, by: f64) -> Graph {
    let mut g = Graph::default();
    let mut numbers = Numbers(11);
    let mut x = g.push(Op::Input { name: "x".into() }, vec![1, 16], OriginTable::none());
    let one = g.consts.add_matrix(SparseMatrix::identity(16));
    for index in 0..blocks {
        let node = Node { index, name: format!("act{index}"), op: "Relu".into() };
        let origin = g.origins.node(node);
        let y = dense(&mut g, x, 16, &mut numbers);
        let y = g.push(Op::Function { x: y, function: Function::Relu }, vec![1, 16], origin);
        let row = |_: usize, row: &mut Vec<(u32, f64)>| {
            row.extend((0..16).map(|c| (c, by * numbers.next())));
        };
        let m = g.consts.add_matrix(SparseMatrix::from_rows(16, 16, row));
        x = g.push(
            Op::Affine { terms: vec![(x, one), (y, m)], bias: None },
            vec![1, 16],
            OriginTable::none(),
        );
    }
    let y = dense(&mut g, x, 10, &mut numbers);
    g.outputs = vec![("y".into(), y)];
    g
}

#[test]
fn long_chains_are_deep() {
    assert!(!turn::is_deep(&network(&Function::Relu)) && !turn::is_deep(&chain(8, 0.15)));
    assert!(turn::is_deep(&chain(14, 0.15)) && turn::in_a_row(&chain(14, 0.15)) == 14);
}

#[test]
fn what_is_fitted_in_turn_errs_less_than_what_is_fitted_to_exact_values() {
    let (g, set, options) = (chain(14, 0.8), samples(1, 256, 16), Options::recommended());
    let calibration = calibrate(&g, &set).unwrap();
    let seen = Judge::thorough(&g, &set);
    let candidates =
        turn::reframed(&seen, candidates(&g, &calibration, &options).unwrap(), &options);
    let (in_turn, _) = turn::fit_all(&seen, &candidates, &[4; 14], &options).unwrap();
    let apart = candidates.iter().map(|c| {
        let wish = Wish {
            function: c.function,
            shared: &c.shared,
            own: c.own.as_ref(),
            values: c.values,
            drift: &[],
            bearable: f64::INFINITY,
            undone: c.undone,
            degree: 4,
            deep: true,
            method: Method::LeastSquares,
        };
        fit::of_degree(&wish).unwrap()
    });
    let apart: Vec<Fit> = apart.collect();
    let fresh = Judge::thorough(&g, &samples(99, 512, 16));
    let score = |fits: &[Fit]| {
        let fits = candidates.iter().zip(fits).map(|(c, f)| (c.id, f)).collect();
        fresh.score(&fits)
    };
    let (in_turn, apart) = (score(&in_turn), score(&apart));
    assert!(in_turn.rms < 0.9 * apart.rms, "{in_turn:?} {apart:?}");
}

#[test]
fn the_number_of_threads_does_not_show_in_a_deep_choice() {
    let (g, options) = (chain(12, 0.15), Options { min_agreement: 0.9, ..Options::recommended() });
    let of = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| run(&g, &options).unwrap())
    };
    let (one, three) = (of(1), of(3));
    assert!(one == three);
    // Samples to come stay within their windows.
    let fresh = samples(99, 1000, 16);
    let exact = Executor::new(&g).run_samples(&fresh);
    let found = Executor::new(&one.graph).run_samples(&fresh);
    let same = exact.iter().zip(&found).filter(|(a, b)| argmax(&a[0]) == argmax(&b[0])).count();
    assert!(found.iter().flatten().flatten().all(|y| y.is_finite()) && same > 850, "{same}");
}
