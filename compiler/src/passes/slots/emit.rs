//! Writes the slots graph for chosen layouts.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use heplan_ir::constants::Constant;
use heplan_ir::entity::{ConstId, OriginId, ValueId};
use heplan_ir::layout::Layout;
use heplan_ir::series::PolynomialSet;
use heplan_ir::slots::{self, Compact, Op as SlotsOp, Port};
use heplan_ir::tensor::Op;

use super::columns::Run;
use super::routing::Placed;
use super::steps::{Hops, Keys};
use super::transform::{self, Giants};
use super::{PortInfo, Ports, Prices, Problem, spread};

/// Lowers every value under its class's layout.
pub(super) fn emit(
    problem: &Problem<'_>,
    prices: &Prices,
    ports: &Ports,
    layouts: &[Layout],
) -> slots::Graph {
    let graph = problem.graph;
    let out = slots::Graph {
        name: graph.name.clone(),
        width: problem.width,
        origins: graph.origins.clone(),
        ..Default::default()
    };
    let keys = Keys::default();
    let mut emitter = Emitter { problem, prices, layouts, out, parts: Vec::new(), keys };
    let mut inputs = ports.inputs.iter();
    for id in graph.ids() {
        let parts = emitter.value(id, &mut inputs);
        emitter.parts.push(parts);
    }
    for ((name, id), info) in graph.outputs.iter().zip(&ports.outputs) {
        let port = emitter.port(name, *id, info);
        emitter.out.outputs.push((port, emitter.parts[id.index()].clone()));
    }
    emitter.out
}

struct Emitter<'a> {
    problem: &'a Problem<'a>,
    prices: &'a Prices,
    layouts: &'a [Layout],
    out: slots::Graph,
    /// The ciphertexts of every tensor so far.
    parts: Vec<Vec<ValueId>>,
    /// The rotation keys of what is emitted so far. Levels fall along the graph, so a key that is
    /// here serves most of what follows.
    keys: Keys,
}

impl<'a> Emitter<'a> {
    fn layout(&self, id: ValueId) -> &'a Layout {
        &self.layouts[self.problem.classes.of[id.index()]]
    }

    fn port(&self, name: &str, id: ValueId, info: &PortInfo) -> Port {
        Port {
            name: name.to_owned(),
            shape: self.problem.graph.value(id).shape.clone(),
            layout: self.layout(id).clone(),
            factor: info.factor,
            range: info.range,
            compact: Compact::NONE,
        }
    }

    fn value<'p>(
        &mut self,
        id: ValueId,
        ports: &mut impl Iterator<Item = &'p PortInfo>,
    ) -> Vec<ValueId> {
        let value = self.problem.graph.value(id);
        let origin = value.origin;
        match &value.op {
            Op::Input { name } => {
                let info = ports.next().expect("one port per input");
                let port = self.port(name, id, info);
                self.input(port, origin)
            }
            Op::Affine { terms, bias } => self.affine(id, terms, *bias, origin),
            Op::Product { a, b } => {
                let pairs: Vec<_> = self.zip(*a, *b);
                self.each(pairs, origin, |(a, b)| SlotsOp::Product { a, b })
            }
            Op::Polynomial { x, polynomials } => {
                let sets = self.polynomials(*x, *polynomials);
                let xs = self.parts[x.index()].clone();
                let pairs = xs.into_iter().zip(sets).collect();
                self.each(pairs, origin, |(x, polynomials)| SlotsOp::Polynomial { x, polynomials })
            }
            Op::Function { .. } => unreachable!("approximation replaces every function"),
        }
    }

    fn input(&mut self, port: Port, origin: OriginId) -> Vec<ValueId> {
        let input = u32::try_from(self.out.inputs.len()).expect("few inputs");
        let parts = u32::try_from(port.layout.ciphertexts()).expect("few ciphertexts");
        self.out.inputs.push(port);
        self.each((0..parts).collect(), origin, |part| SlotsOp::Input { input, part })
    }

    fn affine(
        &mut self,
        id: ValueId,
        terms: &[(ValueId, ConstId)],
        bias: Option<ConstId>,
        origin: OriginId,
    ) -> Vec<ValueId> {
        let output = self.layout(id);
        let placed = terms.iter().map(|t| Placed::new(self.layout(t.0).clone()));
        let routed: Vec<_> = self.problem.terms[&id].iter().cloned().zip(placed).collect();
        let weights = self.problem.weights(id, self.prices);
        let built = transform::build(&routed, output, weights, &mut self.keys);
        let mut xs = Vec::new();
        for ((x, _), runs) in terms.iter().zip(&built.runs) {
            for part in self.parts[x.index()].clone() {
                xs.push(runs.iter().fold(part, |x, &run| self.run(x, run, origin)));
            }
        }
        let results = built.transform.outputs;
        let transform = self.out.consts.add(Constant::Transform(Arc::new(built.transform)));
        let op = SlotsOp::Linear { xs, transform };
        let results = self.out.push(op, results, origin);
        let mut parts: Vec<ValueId> = results
            .chunks_exact(built.giants.steps.len())
            .map(|results| self.giants(results, &built.giants, origin))
            .collect();
        for &by in &built.folds {
            parts.iter_mut().for_each(|part| *part = self.add_rotated(*part, *part, by, origin));
        }
        let Some(bias) = bias else { return parts };
        let vectors = spread(output, self.problem.graph.consts.vector(bias));
        for (part, vector) in parts.iter_mut().zip(vectors) {
            if vector.iter().any(|&b| b != 0.0) {
                let constant = self.out.consts.add_vector(vector);
                *part = self.out.push(SlotsOp::AddConst { x: *part, constant }, 1, origin)[0];
            }
        }
        parts
    }

    /// `base + rot(x, by)`.
    fn add_rotated(&mut self, base: ValueId, x: ValueId, by: u32, origin: OriginId) -> ValueId {
        let turned = self.rotate(x, by, origin);
        self.out.push(SlotsOp::Add { a: base, b: turned }, 1, origin)[0]
    }

    /// The sum of rotated copies of `x`.
    fn run(&mut self, x: ValueId, run: Run, origin: OriginId) -> ValueId {
        run.additions().into_iter().fold(x, |sum, (doubled, by)| {
            self.add_rotated(if doubled { sum } else { x }, sum, by, origin)
        })
    }

    /// `Σ rot(result, giant step)`.
    fn giants(&mut self, results: &[ValueId], giants: &Giants, origin: OriginId) -> ValueId {
        if let Some(hops) = giants.hops {
            return self.horner(results, &giants.steps, hops, origin);
        }
        let turned = results.iter().zip(&giants.rotations).map(|(&x, &by)| match by {
            0 => x,
            _ => self.rotate(x, by, origin),
        });
        let turned: Vec<ValueId> = turned.collect();
        let add = |a, &b: &ValueId| self.out.push(SlotsOp::Add { a, b }, 1, origin)[0];
        turned[1..].iter().fold(turned[0], add)
    }

    /// The same by Horner's rule: all rows hop by hop side by side, then one row after the other.
    fn horner(
        &mut self,
        results: &[ValueId],
        steps: &[i64],
        hops: Hops,
        origin: OriginId,
    ) -> ValueId {
        let mut places: BTreeMap<usize, BTreeMap<usize, ValueId>> = BTreeMap::new();
        for (&step, &result) in steps.iter().zip(results) {
            let (row, hop) = hops.place(step);
            places.entry(hop).or_default().insert(row, result);
        }
        let last = places.last_key_value().map_or(0, |(&hop, _)| hop);
        let mut rows = BTreeMap::new();
        for hop in (0..=last).rev() {
            for sum in rows.values_mut() {
                *sum = self.rotate(*sum, hops.hop(), origin);
            }
            for (row, result) in places.remove(&hop).unwrap_or_default() {
                self.add_to(rows.entry(row), result, origin);
            }
        }
        let (mut at, mut sum) = rows.pop_last().expect("a transform has results");
        while at > 0 {
            sum = self.rotate(sum, hops.row(), origin);
            at -= 1;
            if let Some(row) = rows.remove(&at) {
                sum = self.out.push(SlotsOp::Add { a: row, b: sum }, 1, origin)[0];
            }
        }
        sum
    }

    fn rotate(&mut self, x: ValueId, by: u32, origin: OriginId) -> ValueId {
        self.out.push(SlotsOp::Rotate { x, by }, 1, origin)[0]
    }

    /// Adds to a sum, or begins it.
    fn add_to(&mut self, sum: Entry<'_, usize, ValueId>, x: ValueId, origin: OriginId) {
        sum.and_modify(|sum| *sum = self.out.push(SlotsOp::Add { a: x, b: *sum }, 1, origin)[0])
            .or_insert(x);
    }

    /// The polynomials of a tensor, per ciphertext.
    fn polynomials(&mut self, x: ValueId, id: ConstId) -> Vec<ConstId> {
        let layout = self.layout(x);
        let set = self.problem.graph.consts.polynomials(id).clone();
        if set.class.is_empty() {
            let id = self.out.consts.add(Constant::Polynomials(set));
            return vec![id; layout.ciphertexts()];
        }
        let classes: Vec<f64> = set.class.iter().map(|&c| f64::from(c)).collect();
        spread(layout, &classes)
            .into_iter()
            .map(|slots| {
                let class = slots.into_iter().map(|c| c as u32).collect();
                let series = set.series.clone();
                let set = PolynomialSet { series, class };
                self.out.consts.add(Constant::Polynomials(Arc::new(set)))
            })
            .collect()
    }

    fn zip(&self, a: ValueId, b: ValueId) -> Vec<(ValueId, ValueId)> {
        let (a, b) = (&self.parts[a.index()], &self.parts[b.index()]);
        a.iter().copied().zip(b.iter().copied()).collect()
    }

    fn each<T>(&mut self, of: Vec<T>, origin: OriginId, op: impl Fn(T) -> SlotsOp) -> Vec<ValueId> {
        of.into_iter().map(|x| self.out.push(op(x), 1, origin)[0]).collect()
    }
}
