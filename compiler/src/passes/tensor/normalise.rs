//! Powers of two folded into the graph so that inputs, operands of products, polynomial results
//! and outputs lie within [-1, 1].
//!
//! Before: `%1 = affine A·%0` with `|%0| ≤ 255`, `|%1| ≤ 30`; `%2 = %1·%1; output affine B·%2`.
//! After: the client divides `%0` by 256, the matrices are `8·A` and `2^k·B`, and the client
//! multiplies the output.
//! It runs last on this level, when ranges of the final graph are known; after it one scale serves
//! every ciphertext. Powers of two change no digit of any number, and since they move into
//! matrices, coefficients and the client's own arithmetic, no level is spent, except where a
//! product meets an operand of harmful magnitude that nothing can absorb. Results of monic
//! polynomials keep their magnitude, which the maps behind them absorb.

use heplan_ir::entity::{OriginId, ValueId};
use heplan_ir::matrix::SparseMatrix;
use heplan_ir::series::{PolynomialSet, Series};
use heplan_ir::tensor::{Graph, Op};

use super::calibrate::Calibration;
use super::editor::Editor;

/// Magnitudes that an operand of a product may have before a level is spent on it, as powers of
/// two.
const BEARABLE: std::ops::RangeInclusive<i32> = -3..=1;

/// A graph whose values are of magnitude one.
#[derive(Clone, Debug, PartialEq)]
pub struct Normalised {
    /// The graph.
    pub graph: Graph,
    /// Per input (in the graph's order) the power of two that the client divides by.
    pub input_factors: Vec<f64>,
    /// Per output the power of two that the client multiplies by.
    pub output_factors: Vec<f64>,
}

/// Scales the values of `graph` by powers of two according to their calibrated ranges.
///
/// Operands and results of a `Function` that is still there keep their own units, and operands of
/// polynomials theirs, which are within [-1, 1] already.
///
/// # Panics
/// If `calibration` is of another graph.
pub fn normalise(graph: &Graph, calibration: &Calibration) -> Normalised {
    let pinned = pinned(graph);
    let wish = |id: ValueId| {
        if pinned[id.index()] { 0 } else { exponent(calibration.spread(id).magnitude()) }
    };
    let mut scaling =
        Scaling { editor: Editor::new(graph), exponents: vec![0; graph.values.len()], calibration };
    let mut input_factors = Vec::new();
    for id in graph.ids() {
        let k = match &graph.value(id).op {
            Op::Input { .. } => {
                scaling.editor.copy(id);
                let k = exponent(calibration.spread(id).magnitude());
                input_factors.push(2f64.powi(k));
                k
            }
            Op::Affine { .. } => {
                scaling.affine(id, wish(id));
                wish(id)
            }
            Op::Product { a, b } => scaling.product(id, *a, *b),
            Op::Function { x, function } => {
                let x = scaling.in_own_units(*x, graph.value(id).origin);
                let op = Op::Function { x, function: function.clone() };
                scaling.push(id, op);
                0
            }
            Op::Polynomial { x, .. } => {
                let x = scaling.in_own_units(*x, graph.value(id).origin);
                // The leading coefficient of a monic set stays one.
                let k = if is_monic(graph, id) { 0 } else { wish(id) };
                scaling.polynomial(id, x, k);
                k
            }
        };
        scaling.exponents[id.index()] = k;
    }
    let factor = |(_, id): &(String, ValueId)| 2f64.powi(scaling.exponents[id.index()]);
    let output_factors = graph.outputs.iter().map(factor).collect();
    Normalised { graph: scaling.editor.finish(), input_factors, output_factors }
}

/// The values that a function or polynomial reads, and so must stay in their own units; inputs
/// excepted, which get a map of their own.
fn pinned(graph: &Graph) -> Vec<bool> {
    let mut pinned = vec![false; graph.values.len()];
    for value in &graph.values {
        if let Op::Function { x, .. } | Op::Polynomial { x, .. } = value.op {
            pinned[x.index()] = true;
        }
    }
    pinned
}

fn is_monic(graph: &Graph, id: ValueId) -> bool {
    match graph.value(id).op {
        Op::Polynomial { polynomials, .. } => {
            graph.consts.polynomials(polynomials).monic().is_some()
        }
        _ => false,
    }
}

/// The least exponent of a unit: `2^-1000` is still a normal number.
const SMALLEST: i32 = -1000;

/// The smallest `k` with `magnitude ≤ 2^k`; 0 for a value that is always zero.
fn exponent(magnitude: f64) -> i32 {
    if magnitude == 0.0 || !magnitude.is_finite() {
        return 0;
    }
    let k = magnitude.log2().ceil().clamp(f64::from(SMALLEST), 1000.0) as i32;
    // The logarithm is rounded; the comparison is not.
    if magnitude > 2f64.powi(k) {
        k + 1
    } else if magnitude <= 2f64.powi(k - 1) {
        k - 1
    } else {
        k
    }
}

struct Scaling<'g> {
    editor: Editor<'g>,
    /// Per old value the `k` with `old = 2^k · new`.
    exponents: Vec<i32>,
    calibration: &'g Calibration,
}

impl Scaling<'_> {
    fn push(&mut self, id: ValueId, op: Op) {
        let origin = self.editor.old.value(id).origin;
        let new = self.editor.push_like(id, op, origin);
        self.editor.set(id, new);
    }

    fn affine(&mut self, id: ValueId, k: i32) {
        let old = self.editor.old;
        let Op::Affine { terms, bias } = &old.value(id).op else { return };
        let scaled = |&(x, m): &(ValueId, _)| {
            let by = 2f64.powi(self.exponents[x.index()] - k);
            (self.editor.of(x), scale(old.consts.matrix(m), by))
        };
        let terms: Vec<(ValueId, SparseMatrix)> = terms.iter().map(scaled).collect();
        let by = 2f64.powi(-k);
        let bias = bias.map(|b| old.consts.vector(b).iter().map(|v| v * by).collect());
        let op = self.editor.affine(terms, bias);
        self.push(id, op);
    }

    /// The product of both operands, each brought to a bearable magnitude; returns its exponent.
    fn product(&mut self, id: ValueId, a: ValueId, b: ValueId) -> i32 {
        let origin = self.editor.old.value(id).origin;
        let (new_a, k_a) = self.bearable(a, origin);
        let (new_b, k_b) = if a == b { (new_a, k_a) } else { self.bearable(b, origin) };
        self.push(id, Op::Product { a: new_a, b: new_b });
        // What is smaller than any number is zero in any unit, and its unit must stay a number.
        (k_a + k_b).max(SMALLEST)
    }

    /// What stands for an old value as operand of a product, and its exponent.
    fn bearable(&mut self, x: ValueId, origin: OriginId) -> (ValueId, i32) {
        let k = self.exponents[x.index()];
        let right = exponent(self.calibration.spread(x).magnitude());
        let zero = self.calibration.spread(x).magnitude() == 0.0;
        if zero || BEARABLE.contains(&(right - k)) {
            return (self.editor.of(x), k);
        }
        (self.rescaled(x, k - right, origin), right)
    }

    /// An old value in its own units.
    fn in_own_units(&mut self, x: ValueId, origin: OriginId) -> ValueId {
        match self.exponents[x.index()] {
            0 => self.editor.of(x),
            k => self.rescaled(x, k, origin),
        }
    }

    /// `2^k` times what stands for an old value, by a map of its own.
    fn rescaled(&mut self, x: ValueId, k: i32, origin: OriginId) -> ValueId {
        let n = self.editor.old.value(x).elements();
        let m = SparseMatrix::diagonal(&vec![2f64.powi(k); n]);
        let op = self.editor.affine(vec![(self.editor.of(x), m)], None);
        self.editor.push_like(x, op, origin)
    }

    fn polynomial(&mut self, id: ValueId, x: ValueId, k: i32) {
        let old = self.editor.old;
        let Op::Polynomial { polynomials, .. } = &old.value(id).op else { return };
        let by = 2f64.powi(-k);
        let set = old.consts.polynomials(*polynomials);
        let scaled =
            |s: &Series| Series { coefficients: s.coefficients.iter().map(|c| c * by).collect() };
        let set = PolynomialSet {
            series: set.series.iter().map(scaled).collect(),
            class: set.class.clone(),
        };
        let op = self.editor.polynomial(x, set);
        self.push(id, op);
    }
}

fn scale(m: &SparseMatrix, by: f64) -> SparseMatrix {
    let mut m = m.clone();
    m.val.iter_mut().for_each(|v| *v *= by);
    m
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Samples;
    use crate::passes::tensor::calibrate::calibrate;
    use crate::reference::Executor;
    use heplan_ir::function::Function;
    use heplan_ir::origin::OriginTable;

    const NONE: fn() -> OriginId = OriginTable::none;

    fn input(g: &mut Graph) -> ValueId {
        g.push(Op::Input { name: "x".into() }, vec![1, 2], NONE())
    }

    fn affine(g: &mut Graph, x: ValueId, by: f64) -> ValueId {
        let m = g.consts.add_matrix(SparseMatrix::diagonal(&[by, -by / 2.0]));
        let bias = Some(g.consts.add_vector(vec![1.0, 0.25]));
        g.push(Op::Affine { terms: vec![(x, m)], bias }, vec![1, 2], NONE())
    }

    fn samples() -> Samples {
        let row = |i: u32| vec![f64::from(i) * 10.0, 200.0 - f64::from(i)];
        Samples { inputs: vec![(0..20).map(row).collect()], ..Samples::default() }
    }

    /// Normalises, and checks that the meaning is the same up to the factors.
    fn check(g: &Graph) -> Normalised {
        let set = samples();
        let n = normalise(g, &calibrate(g, &set).unwrap());
        for s in 0..set.len() {
            let x = set.sample(s);
            let scaled: Vec<f64> = x[0].iter().map(|v| v / n.input_factors[0]).collect();
            let before = Executor::new(g).run(&x);
            let after = Executor::new(&n.graph).run(&[scaled]);
            for ((b, a), f) in before.iter().zip(&after).zip(&n.output_factors) {
                for (b, a) in b.iter().zip(a) {
                    assert!((b - a * f).abs() <= 1e-12 * b.abs().max(1.0), "{b} {a} {f}");
                    assert!(a.abs() <= 1.0, "output {a}");
                }
            }
        }
        n
    }

    #[test]
    fn squares_of_affine_maps_cost_nothing() {
        let mut g = Graph::default();
        let x = input(&mut g);
        let a = affine(&mut g, x, 3.0);
        let p = g.push(Op::Product { a, b: a }, vec![1, 2], NONE());
        let q = g.push(Op::Product { a: p, b: p }, vec![1, 2], NONE());
        let y = affine(&mut g, q, 2.0);
        g.outputs = vec![("y".into(), y), ("q".into(), q)];
        let n = check(&g);
        assert_eq!(n.input_factors, [256.0]);
        assert_eq!(n.graph.values.len(), g.values.len());
    }

    #[test]
    fn a_small_operand_gets_a_map_only_when_harmful() {
        let mut g = Graph::default();
        let x = input(&mut g);
        let a = affine(&mut g, x, 1e-3);
        let b = affine(&mut g, x, 1.0);
        let p = g.push(Op::Product { a, b }, vec![1, 2], NONE());
        let q = g.push(Op::Product { a: p, b }, vec![1, 2], NONE());
        g.outputs = vec![("y".into(), q)];
        let n = check(&g);
        assert_eq!(n.graph.values.len(), g.values.len());
    }

    #[test]
    fn polynomials_absorb_the_scale_of_their_results() {
        let mut g = Graph::default();
        let x = input(&mut g);
        let t = affine(&mut g, x, 1.0 / 256.0);
        let set = PolynomialSet::shared(Series { coefficients: vec![40.0, 3.0, 10.0] });
        let polynomials =
            g.consts.add(heplan_ir::constants::Constant::Polynomials(std::sync::Arc::new(set)));
        let p = g.push(Op::Polynomial { x: t, polynomials }, vec![1, 2], NONE());
        let q = g.push(Op::Product { a: p, b: p }, vec![1, 2], NONE());
        g.outputs = vec![("y".into(), q)];
        let n = check(&g);
        assert_eq!(n.graph.values.len(), g.values.len());
        // t reaches 1.74, so p reaches 40 + 5.2 + 10·(2·1.74² - 1) < 128.
        assert_eq!(n.output_factors, [16384.0]);
    }

    #[test]
    fn functions_keep_their_units() {
        let mut g = Graph::default();
        let x = input(&mut g);
        let f = g.push(Op::Function { x, function: Function::Sigmoid }, vec![1, 2], NONE());
        g.outputs = vec![("y".into(), f)];
        // The input is normalised, so the function needs a map back to its units.
        assert_eq!(check(&g).graph.values.len(), 3);
    }

    #[test]
    fn exponents_are_exact() {
        let cases =
            [(1.0, 0), (1.0 + f64::EPSILON, 1), (0.5, -1), (255.0, 8), (0.0, 0), (3e-5, -15)];
        for (magnitude, k) in cases {
            assert_eq!(exponent(magnitude), k, "{magnitude}");
        }
    }
}
