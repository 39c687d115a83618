//! Writes the slots graph for chosen layouts.

use std::sync::Arc;

use heplan_ir::constants::Constant;
use heplan_ir::entity::{ConstId, OriginId, ValueId};
use heplan_ir::layout::Layout;
use heplan_ir::series::PolynomialSet;
use heplan_ir::slots::{self, Op as SlotsOp, Port};
use heplan_ir::tensor::{self, Op};

use super::classes::Classes;
use super::{PortInfo, Ports, spread, transform};

/// Lowers every value under its class's layout.
pub(super) fn emit(
    graph: &tensor::Graph,
    ports: &Ports,
    classes: &Classes,
    layouts: &[Layout],
    width: usize,
) -> slots::Graph {
    let out = slots::Graph {
        name: graph.name.clone(),
        width,
        origins: graph.origins.clone(),
        ..Default::default()
    };
    let mut emitter = Emitter { graph, classes, layouts, out, parts: Vec::new() };
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
    graph: &'a tensor::Graph,
    classes: &'a Classes,
    layouts: &'a [Layout],
    out: slots::Graph,
    /// The ciphertexts of every tensor so far.
    parts: Vec<Vec<ValueId>>,
}

impl<'a> Emitter<'a> {
    fn layout(&self, id: ValueId) -> &'a Layout {
        &self.layouts[self.classes.of[id.index()]]
    }

    fn port(&self, name: &str, id: ValueId, info: &PortInfo) -> Port {
        Port {
            name: name.to_owned(),
            shape: self.graph.value(id).shape.clone(),
            layout: self.layout(id).clone(),
            factor: info.factor,
            range: info.range,
        }
    }

    fn value<'p>(
        &mut self,
        id: ValueId,
        ports: &mut impl Iterator<Item = &'p PortInfo>,
    ) -> Vec<ValueId> {
        let value = self.graph.value(id);
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
        let routed: Vec<_> =
            terms.iter().map(|(x, m)| (&**self.graph.consts.matrix(*m), self.layout(*x))).collect();
        let built = transform::build(&routed, output, self.classes.level[id.index()] + 1);
        let xs = terms.iter().flat_map(|t| self.parts[t.0.index()].clone()).collect();
        let outputs = built.transform.outputs;
        let transform = self.out.consts.add(Constant::Transform(Arc::new(built.transform)));
        let op = SlotsOp::Linear { xs, transform, split: built.split };
        let mut parts = self.out.push(op, outputs, origin);
        for &by in &built.folds {
            for part in &mut parts {
                let turned = self.out.push(SlotsOp::Rotate { x: *part, by }, 1, origin)[0];
                *part = self.out.push(SlotsOp::Add { a: *part, b: turned }, 1, origin)[0];
            }
        }
        let Some(bias) = bias else { return parts };
        let vectors = spread(output, self.graph.consts.vector(bias));
        for (part, vector) in parts.iter_mut().zip(vectors) {
            if vector.iter().any(|&b| b != 0.0) {
                let constant = self.out.consts.add_vector(vector);
                *part = self.out.push(SlotsOp::AddConst { x: *part, constant }, 1, origin)[0];
            }
        }
        parts
    }

    /// The polynomials of a tensor, per ciphertext.
    fn polynomials(&mut self, x: ValueId, id: ConstId) -> Vec<ConstId> {
        let layout = self.layout(x);
        let set = self.graph.consts.polynomials(id).clone();
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
