//! The passes on the `tensor` level, in order.

use heplan_ir::diagnostic::{Code, Diagnostic};
use heplan_ir::tensor::{Graph, Op};

use super::CompileError;
use super::observer::{Observer, Stage};
use crate::data::Samples;
use crate::judge::Tensors;
use crate::options::Options;
use crate::passes::slots::{PortInfo, Ports};
use crate::passes::tensor::anchor::anchor;
use crate::passes::tensor::approximate::approximate;
use crate::passes::tensor::calibrate::{Calibration, calibrate};
use crate::passes::tensor::fuse_affine::fuse_affine;
use crate::passes::tensor::normalise::normalise;
use crate::passes::tensor::saturate::{saturates, settle};
use crate::passes::tensor::simplify::simplify;
use crate::passes::tensor::temper::temper;
use crate::reference::Executor;
use crate::report::{FunctionReport, spans};

/// A model as real arithmetic that ciphertexts can do, with what it should answer.
pub(super) struct Real {
    /// Affine maps, products and polynomials; every value of magnitude about one.
    pub(super) graph: Graph,
    /// Factors and ranges of inputs and outputs.
    pub(super) ports: Ports,
    /// The approximated functions.
    pub(super) functions: Vec<FunctionReport>,
    /// The calibration samples.
    pub(super) samples: Vec<Tensors>,
    /// What the float model answers to them.
    pub(super) float: Vec<Tensors>,
    /// What the approximated graph answers to them in the clear, in the model's units.
    pub(super) approximated: Vec<Tensors>,
    /// The span of each output of the float model.
    pub(super) spans: Vec<f64>,
}

impl Real {
    /// Levels that the graph consumes.
    pub(super) fn depth(&self) -> usize {
        let mut depth = vec![0; self.graph.values.len()];
        for id in self.graph.ids() {
            let op = &self.graph.value(id).op;
            let consumed = match op {
                Op::Input { .. } => 0,
                Op::Affine { .. } | Op::Product { .. } | Op::Function { .. } => 1,
                Op::Polynomial { polynomials, .. } => {
                    self.graph.consts.polynomials(*polynomials).depth().max(1) as usize
                }
            };
            let before = op.operands().iter().map(|x| depth[x.index()]).max().unwrap_or(0);
            depth[id.index()] = before + consumed;
        }
        self.graph.outputs.iter().map(|o| depth[o.1.index()]).max().unwrap_or(0)
    }
}

/// From the imported graph to [`Real`].
///
/// - Affine maps are fused first, so that functions read the maps that they will fold their
///   domains into, and calibration sees the values that will exist.
/// - Fusion after approximation absorbs the maps that bring a range to [-1, 1].
/// - Normalisation comes last: it needs the ranges of the graph as it will run.
pub(super) fn lower(
    imported: &Graph,
    samples: &Samples,
    options: &Options,
    observer: &mut dyn Observer,
) -> Result<Real, CompileError> {
    let mut seen = |pass: &'static str, graph: Graph| {
        observer.after(pass, Stage::Tensor(&graph));
        graph
    };
    let graph = seen("simplify", simplify(imported));
    let graph = seen("fuse-affine", fuse_affine(&graph));
    let float = Executor::new(&graph).run_samples(samples);
    let mut calibration = calibrate(&graph, samples)?;
    let mut graph = graph;
    if saturates(&graph) {
        graph = seen("settle-saturation", fuse_affine(&simplify(&settle(&graph, &calibration))));
        calibration = calibrate(&graph, samples)?;
    }
    if let Some(tempered) = temper(&graph, samples)? {
        graph = seen("temper", fuse_affine(&simplify(&tempered)));
        calibration = calibrate(&graph, samples)?;
    }
    let approximated = approximate(&graph, &calibration, samples, options)?;
    let graph = seen("approximate", approximated.graph);
    let graph = seen("fuse-domains", fuse_affine(&simplify(&graph)));
    let answers = Executor::new(&graph).run_samples(samples);
    let calibration =
        calibrate(&graph, samples).map_err(|found| diverging(&graph, &answers, &found))?;
    let ports_of = |graph: &Graph| ranges(graph, &calibration);
    let (inputs, outputs) = ports_of(&graph);
    let normalised = normalise(&graph, &calibration);
    let graph = seen("normalise", anchor(&simplify(&normalised.graph)));
    let ports = Ports {
        inputs: ports(inputs, normalised.input_factors),
        outputs: ports(outputs, normalised.output_factors),
    };
    Ok(Real {
        graph,
        ports,
        functions: approximated.functions,
        samples: (0..samples.len()).map(|s| samples.sample(s)).collect(),
        spans: spans(&float),
        float,
        approximated: answers,
    })
}

/// The finding about polynomials that some sample drives so far out of their ranges that nothing
/// finite is left, although the samples that they were chosen by bear them.
fn diverging(graph: &Graph, answers: &[Tensors], found: &[Diagnostic]) -> Diagnostic {
    let finite = |answer: &&Tensors| answer.iter().flatten().all(|x| x.is_finite());
    let (all, fine) = (answers.len(), answers.iter().filter(finite).count());
    let message = format!(
        "polynomials are left far out of their ranges by {} of {all} calibration samples",
        (all - fine).max(1)
    );
    let mut finding = Diagnostic::new(Code::Approximation, message)
        .note(format!("{} functions follow each other", functions_in_a_row(graph)))
        .help(
            "ask for a smaller --max-error or a higher --min-agreement, or use fewer activations; \
             check the calibration data for outliers",
        );
    finding.node = found.iter().find_map(|f| f.node.clone());
    finding
}

/// The most polynomials on one way through a graph.
fn functions_in_a_row(graph: &Graph) -> usize {
    let mut count = vec![0; graph.values.len()];
    for id in graph.ids() {
        let op = &graph.value(id).op;
        let before = op.operands().iter().map(|x| count[x.index()]).max().unwrap_or(0);
        count[id.index()] = before + usize::from(matches!(op, Op::Polynomial { .. }));
    }
    count.into_iter().max().unwrap_or(0)
}

type Range = (f64, f64);

/// The calibrated ranges of inputs and outputs.
fn ranges(graph: &Graph, calibration: &Calibration) -> (Vec<Range>, Vec<Range>) {
    let range = |id| {
        let spread = calibration.spread(id);
        (spread.min, spread.max)
    };
    let is_input = |id: &_| matches!(graph.value(*id).op, Op::Input { .. });
    let inputs = graph.ids().filter(is_input).map(range).collect();
    (inputs, graph.outputs.iter().map(|o| range(o.1)).collect())
}

fn ports(ranges: Vec<Range>, factors: Vec<f64>) -> Vec<PortInfo> {
    ranges.into_iter().zip(factors).map(|(range, factor)| PortInfo { factor, range }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use heplan_ir::constants::Constant;
    use heplan_ir::origin::OriginTable;
    use heplan_ir::series::{PolynomialSet, Series};

    #[test]
    fn diverging_samples_are_counted() {
        let mut graph = Graph::default();
        let none = OriginTable::none();
        let mut x = graph.push(Op::Input { name: "x".to_owned() }, vec![1], none);
        for _ in 0..3 {
            let series = vec![Series { coefficients: vec![0.0, 0.0, 1.0] }];
            let set = PolynomialSet { series, class: Vec::new() };
            let polynomials = graph.consts.add(Constant::Polynomials(std::sync::Arc::new(set)));
            x = graph.push(Op::Polynomial { x, polynomials }, vec![1], none);
        }
        graph.outputs = vec![("y".to_owned(), x)];
        let answers = [vec![vec![1.0]], vec![vec![f64::INFINITY]], vec![vec![f64::NAN]]];
        let finding = diverging(&graph, &answers, &[]);
        assert_eq!(finding.code, Code::Approximation);
        assert!(finding.message.contains("by 2 of 3 calibration samples"), "{}", finding.message);
        assert_eq!(finding.notes, ["3 functions follow each other"]);
    }
}
