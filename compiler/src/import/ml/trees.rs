//! `TreeEnsembleRegressor`, `TreeEnsembleClassifier` and `TreeEnsemble`: polynomials of comparisons.
//!
//! A comparison is a function that jumps ([`Step`](heplan_ir::function::Function::Step)), and a
//! polynomial follows a jump only outside a gap around it. How wide the gap may be is known from
//! calibration, so approximation finds the degree, or refuses. The graph here is exact.
//!
//! [`forest`] reads the attributes, [`boxes`] turns every leaf into an interval per feature, [`emit`]
//! multiplies and sums.
//!
//! Encrypted data has no missing values, so where a missing value would go has no effect.

mod boxes;
mod emit;
mod forest;

use heplan_ir::diagnostic::{Code, Diagnostic};
use heplan_ir::tail::{Along, Step};

use super::super::context::{Emitted, Fault, NodeCx, Operand, Secret, fault, fault_help, one};
use super::super::tail::Ending;
use super::{Labels, rows, scored, transformed};
use emit::Plan;
use forest::{Forest, Node, numbers};

/// Most different comparisons of an ensemble.
const MAX_COMPARISONS: usize = 1024;
/// Most products that a stage may have.
const MAX_PRODUCTS: usize = 4096;
/// Most targets or classes.
const MAX_TARGETS: usize = 4096;

/// `TreeEnsembleRegressor`.
pub(in super::super) fn tree_regressor(cx: &mut NodeCx<'_>) -> Emitted {
    let targets = targets(cx)?;
    let (samples, features) = rows(&cx.secret(0)?)?;
    let forest = Forest::numbered(cx, "target", features, targets)?;
    let base = numbers(cx, "base_values")?;
    let base = match base.len() {
        0 => vec![0.0; targets],
        n if n == targets => base,
        n => {
            return Err(fault(
                Code::ShapeMismatch,
                format!("{n} base values for {targets} targets"),
            ));
        }
    };
    let average = match cx.attr_text("aggregate_function", "SUM")?.as_str() {
        "SUM" => false,
        "AVERAGE" => true,
        other => return Err(extremum(other)),
    };
    match cx.attr_text("post_transform", "NONE")?.as_str() {
        "NONE" => one(summed(cx, &forest, (samples, features), &base, average)?),
        other => Err(transform(other)),
    }
}

/// `TreeEnsemble`, which numbers what the others name.
pub(in super::super) fn tree_ensemble(cx: &mut NodeCx<'_>) -> Emitted {
    let targets = targets(cx)?;
    let (samples, features) = rows(&cx.secret(0)?)?;
    let forest = Forest::rooted(cx, features, targets)?;
    let average = match cx.attr_int("aggregate_function", 1)? {
        0 => true,
        1 => false,
        2 => return Err(extremum("MIN")),
        3 => return Err(extremum("MAX")),
        other => return Err(fault(Code::BadNode, format!("aggregate_function is {other}"))),
    };
    let scores = summed(cx, &forest, (samples, features), &vec![0.0; targets], average)?;
    match cx.attr_int("post_transform", 0)? {
        0 => one(scores),
        other => Err(transform(&other.to_string())),
    }
}

/// `TreeEnsembleClassifier`: the scores; the label is the client's to take.
pub(in super::super) fn tree_classifier(cx: &mut NodeCx<'_>) -> Emitted {
    let labels = Labels::of(cx)?;
    let classes = labels.len();
    if !(2..=MAX_TARGETS).contains(&classes) {
        let message = format!("it tells {classes} classes apart, not 2 to {MAX_TARGETS}");
        return Err(fault(Code::UnsupportedMode, message));
    }
    let (samples, features) = rows(&cx.secret(0)?)?;
    let forest = Forest::numbered(cx, "class", features, classes)?;
    let base = numbers(cx, "base_values")?;
    let (base, forest) = one_score(cx, classes, base, forest)?;
    let scores = summed(cx, &forest, (samples, features), &base, false)?;
    if cx.ends {
        let along = Along { length: classes, inner: 1 };
        let places = Ending::of(&scores).then(Step::ArgMax { along, last: false });
        return Ok(vec![labels.at(places, samples), scored(cx, Ending::of(&scores))?]);
    }
    let scores = transformed(cx, scores)?;
    Ok(vec![Operand::LeftOut("a class label"), Operand::Secret(scores)])
}

/// Base values and leaves with a score for every class.
///
/// Of two classes an ensemble may score one only. Its score `s` is that of the second class, and the
/// first has `1 - s` where no weight is negative, as chances have, and `-s` elsewhere; so the ONNX
/// runtime has it. Other ensembles leave the label to rules on which runtimes differ.
fn one_score(
    cx: &NodeCx<'_>,
    classes: usize,
    base: Vec<f64>,
    mut forest: Forest,
) -> Result<(Vec<f64>, Forest), Fault> {
    let all = || {
        forest.nodes.iter().flat_map(|n| match n {
            Node::Leaf(weights) => weights.as_slice(),
            Node::Branch { .. } => &[],
        })
    };
    let negative = all().any(|w| w.1 < 0.0);
    let mut scored = vec![false; classes];
    all().for_each(|w| scored[w.0] = true);
    let disagree = |what: String| {
        let help = "export it anew, or as a regressor of the classes' scores";
        let message = format!("{what}, and runtimes disagree about the label then");
        Err(fault_help(Code::UnsupportedMode, message, help))
    };
    let after = cx.attr_text("post_transform", "NONE")?;
    if classes > 2 || scored[1] {
        return match base.len() {
            _ if classes == 2 => disagree("it scores the second of two classes".to_owned()),
            _ if negative && base.is_empty() && scored.contains(&false) => {
                disagree("it has negative scores, and classes without any".to_owned())
            }
            0 => Ok((vec![0.0; classes], forest)),
            n if n == classes && scored[0] => Ok((base, forest)),
            n => disagree(format!("it has {n} base values for {classes} classes")),
        };
    }
    let shift = match base.as_slice() {
        [] => 0.0,
        &[b] => b,
        other => return disagree(format!("it has {} base values for one score", other.len())),
    };
    match after.as_str() {
        "NONE" => {}
        "LOGISTIC" if negative => {}
        other => return disagree(format!("its one score has post_transform {other}")),
    }
    let (first, trees) = (if negative { 0.0 } else { 1.0 }, &mut forest.nodes);
    for node in trees {
        if let Node::Leaf(weights) = node {
            *weights = weights.iter().flat_map(|w| [(0, -w.1), (1, w.1)]).collect();
        }
    }
    Ok((vec![first - shift, shift], forest))
}

/// The number of targets.
fn targets(cx: &NodeCx<'_>) -> Result<usize, Fault> {
    let given = cx.attr_int("n_targets", 1)?;
    let targets = usize::try_from(given).ok().filter(|t| (1..=MAX_TARGETS).contains(t));
    targets.ok_or_else(|| fault(Code::BadNode, format!("n_targets is {given}")))
}

fn transform(name: &str) -> Fault {
    fault_help(
        Code::UnsupportedMode,
        format!("post_transform is {name}, about which runtimes disagree for regressions"),
        "export with post_transform NONE, and let a node of its own follow",
    )
}

fn extremum(name: &str) -> Fault {
    fault_help(
        Code::UnsupportedMode,
        format!("the trees' values are aggregated by {name}, which compares them"),
        "export with aggregate_function SUM or AVERAGE",
    )
}

/// Per sample and target the sum, or mean, of what the leaves hold, and `base`.
fn summed(
    cx: &mut NodeCx<'_>,
    forest: &Forest,
    (samples, features): (usize, usize),
    base: &[f64],
    average: bool,
) -> Result<Secret, Fault> {
    let (trees, branches) = (forest.roots.len(), forest.branches());
    let size = format!("{trees} tree(s) of {branches} comparisons in all");
    if trees == 0 {
        return Err(fault(Code::BadNode, "no tree has a root"));
    }
    let Some(leaves) = boxes::leaves(forest) else {
        let message = format!("{size}, which do not end or have too many leaves");
        return Err(Box::new(Diagnostic::new(Code::Unsupported, message).help(SMALLER)));
    };
    let plan = Plan::of(&leaves.concat());
    let (comparisons, products) = (plan.comparisons(), plan.widest());
    if comparisons == 0 {
        let message = "its answer is the same whatever the data is";
        return Err(fault_help(
            Code::UnsupportedMode,
            message,
            "train it on data that matters to it",
        ));
    }
    if comparisons > MAX_COMPARISONS || products > MAX_PRODUCTS {
        let message = format!(
            "{size} are {comparisons} different comparisons and {products} products at a time"
        );
        let limit = format!("at most {MAX_COMPARISONS} comparisons and {MAX_PRODUCTS} products");
        return Err(Box::new(
            Diagnostic::new(Code::Unsupported, message).note(limit).help(SMALLER),
        ));
    }
    cx.notes.push(format!(
        "{size}: {comparisons} different ones become polynomials, {} levels follow for their \
         products and sums; data near a threshold is answered between both sides",
        plan.levels()
    ));
    let scale = if average { 1.0 / trees as f64 } else { 1.0 };
    let x = cx.secret(0)?;
    plan.emit(cx, &x, (samples, features), (base, scale))
}

const SMALLER: &str = "train fewer or shallower trees, or a linear model, a support vector machine \
                       or a small neural network on the answers of the trees";
