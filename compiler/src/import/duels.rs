//! The scores that scikit-learn's exporter makes of the duels of a support vector machine without
//! probabilities, some thirty nodes: class `i` gets its votes, and a third of `s/(|s| + 1)` for the
//! sum `s` of its duels' numbers, by which equal votes are told apart.
//!
//! Votes are decisions, so all of it is the client's, as one step. What the nodes compute is
//! followed symbolically, as sums over the columns of one tensor, and has to be exactly that.

use std::collections::{BTreeMap, BTreeSet};

use heplan_ir::tail::{Along, Step};
use heplan_onnx::{Elements, ML_DOMAIN, Model, Node, Tensor};

use super::context::{Operand, Secret};
use super::driver::Driver;
use super::tail::Ending;

/// Classes that are looked for at most: the nodes grow with their square.
const MAX_CLASSES: usize = 256;

/// All groups of nodes that give such scores.
#[derive(Default)]
pub(super) struct Duels {
    groups: Vec<Group>,
}

/// Nodes that together give the scores.
struct Group {
    /// The tensor of duels, one column per pair of classes.
    source: String,
    /// How many classes there are.
    classes: usize,
    /// The nodes, of which only the last one's result is read elsewhere.
    nodes: BTreeSet<usize>,
    last: usize,
}

impl Driver<'_> {
    /// Whether a node is one of these, and nothing but the last one has a result.
    pub(super) fn duel(&mut self, duels: &Duels, index: usize) -> bool {
        let Some(group) = duels.groups.iter().find(|g| g.nodes.contains(&index)) else {
            return false;
        };
        let length = group.classes * (group.classes - 1) / 2;
        let scores = match self.value(&group.source) {
            Operand::Secret(x) if x.shape.len() == 2 && x.shape[1] == length => x,
            _ => return false,
        };
        if index == group.last {
            let result = Operand::Ending(Box::new(group.ending(scores)));
            self.define(&self.model.graph.nodes[index].outputs[0], result);
        }
        true
    }
}

impl Group {
    fn ending(&self, scores: Secret) -> Ending {
        let along = Along { length: scores.shape[1], inner: 1 };
        let shape = vec![scores.shape[0], self.classes];
        let steps = vec![Step::OneVsRest { along, classes: self.classes }];
        Ending { scores, steps, shape }
    }
}

/// A sum over columns of the source, and over whether they are negative, with a constant.
#[derive(Clone, Debug, Default, PartialEq)]
struct Sum {
    constant: f64,
    numbers: BTreeMap<usize, f64>,
    losses: BTreeMap<usize, f64>,
}

impl Sum {
    /// `self + factor·other`, without terms that vanish.
    fn plus(&self, other: &Self, factor: f64) -> Self {
        let mut sum = self.clone();
        sum.constant += factor * other.constant;
        for (into, from) in [(&mut sum.numbers, &other.numbers), (&mut sum.losses, &other.losses)] {
            from.iter().for_each(|(&p, v)| *into.entry(p).or_insert(0.0) += factor * v);
            into.retain(|_, v| *v != 0.0);
        }
        sum
    }

    fn shifted(&self, by: f64) -> Self {
        Self { constant: self.constant + by, ..self.clone() }
    }
}

/// What a name stands for.
#[derive(Clone, Debug)]
enum Term {
    /// `factor` times the source.
    Duels(f64),
    /// Whether the source is negative.
    Lost,
    /// One sum per column.
    Columns(Vec<Sum>),
    /// `factor·(|sum| + shift)` per column.
    Magnitudes { sums: Vec<Sum>, factor: f64, shift: f64 },
    /// `sum / (3·(|sum| + 1))` per column.
    Shares(Vec<Sum>),
    /// The scores of all classes: their votes, and the sums of their numbers.
    Scores { votes: Vec<Sum>, sums: Vec<Sum> },
}

impl Duels {
    /// Those of a model whose nodes are in `order`, operands first.
    pub(super) fn of(model: &Model, order: &[usize]) -> Self {
        let stored = model.graph.initialisers.iter().map(|t| (t.name(), t)).collect();
        let starts = order.iter().map(|&index| &model.graph.nodes[index]).filter(|node| {
            let bound = node.inputs.get(1).filter(|_| node.op_type == "Less");
            bound.is_some_and(|name| number(&stored, name) == Some(0.0))
        });
        let group = |start: &Node| Walk::new(&stored, &start.inputs[0]).group(model, order);
        Self { groups: starts.filter_map(group).collect() }
    }
}

type Stored<'m> = BTreeMap<&'m str, &'m Tensor>;

/// The one number of a stored tensor.
fn number(stored: &Stored<'_>, name: &str) -> Option<f64> {
    let tensor = stored.get(name).filter(|t| t.len() == 1)?;
    match tensor.elements().ok()? {
        Elements::Float(v) => Some(v[0]),
        Elements::Int(v) => Some(v[0] as f64),
        _ => None,
    }
}

/// What nodes make of the columns of one tensor.
struct Walk<'m> {
    source: &'m str,
    stored: &'m Stored<'m>,
    terms: BTreeMap<&'m str, Term>,
    /// The nodes that were followed.
    nodes: BTreeSet<usize>,
}

impl<'m> Walk<'m> {
    fn new(stored: &'m Stored<'m>, source: &'m str) -> Self {
        let terms = BTreeMap::from([(source, Term::Duels(1.0))]);
        Self { source, stored, terms, nodes: BTreeSet::new() }
    }

    /// The nodes from the source to scores, if these are there and nothing else reads what lies
    /// between.
    fn group(mut self, model: &'m Model, order: &[usize]) -> Option<Group> {
        for &last in order {
            let node = &model.graph.nodes[last];
            let Some(term) = self.step(node) else { continue };
            self.nodes.insert(last);
            if let Term::Scores { votes, sums } = &term {
                let found = are_scores(votes, sums) && is_closed(model, &self.nodes, last);
                let (source, classes) = (self.source.to_owned(), votes.len());
                let group = Group { source, classes, nodes: self.nodes, last };
                return found.then_some(group);
            }
            self.terms.insert(node.outputs.first()?, term);
        }
        None
    }

    /// What the node's result stands for, if it is one of those that are followed.
    fn step(&self, node: &Node) -> Option<Term> {
        let term = |i: usize| self.terms.get(node.inputs.get(i)?.as_str());
        let number = |i: usize| number(self.stored, node.inputs.get(i)?);
        let known = node.domain.is_empty() || node.domain == ML_DOMAIN;
        match node.op_type.as_str() {
            _ if !known => None,
            "Cast" => is_float(node).then(|| term(0).cloned())?,
            "Identity" => term(0).cloned(),
            "Less" => match (term(0)?, number(1)?) {
                (Term::Duels(1.0), 0.0) => Some(Term::Lost),
                _ => None,
            },
            "Neg" => match term(0)? {
                Term::Duels(factor) => Some(Term::Duels(-factor)),
                Term::Columns(sums) => {
                    let negated = |sum: &Sum| Sum::default().plus(sum, -1.0);
                    Some(Term::Columns(sums.iter().map(negated).collect()))
                }
                _ => None,
            },
            "ArrayFeatureExtractor" => Self::column(term(0)?, number(1)?),
            "Add" | "Sum" => self.sum(node),
            "Concat" => {
                let all = node.inputs.iter().map(|name| match self.terms.get(name.as_str())? {
                    Term::Columns(sums) => Some(sums.clone()),
                    _ => None,
                });
                let is_last = matches!(node.attributes.int("axis"), Ok(Some(1 | -1)));
                is_last.then(|| Some(Term::Columns(all.collect::<Option<Vec<_>>>()?.concat())))?
            }
            "Abs" => match term(0)? {
                Term::Columns(sums) => {
                    Some(Term::Magnitudes { sums: sums.clone(), factor: 1.0, shift: 0.0 })
                }
                _ => None,
            },
            "Mul" => match (term(0)?, number(1)?) {
                (Term::Magnitudes { sums, factor, shift }, by) => {
                    let (sums, factor) = (sums.clone(), factor * by);
                    Some(Term::Magnitudes { sums, factor, shift: *shift })
                }
                _ => None,
            },
            "Div" => match (term(0)?, term(1)?) {
                (Term::Columns(a), Term::Magnitudes { sums, factor: 3.0, shift: 1.0 })
                    if a == sums =>
                {
                    Some(Term::Shares(sums.clone()))
                }
                _ => None,
            },
            _ => None,
        }
    }

    /// One column of a tensor of all pairs.
    fn column(of: &Term, at: f64) -> Option<Term> {
        let pairs = MAX_CLASSES * MAX_CLASSES;
        let at = (at.fract() == 0.0 && (0.0..pairs as f64).contains(&at)).then_some(at as usize)?;
        let mut sum = Sum::default();
        match of {
            Term::Duels(factor) => sum.numbers.insert(at, *factor),
            Term::Lost => sum.losses.insert(at, 1.0),
            _ => return None,
        };
        Some(Term::Columns(vec![sum]))
    }

    fn sum(&self, node: &Node) -> Option<Term> {
        let mut total: Option<Term> = None;
        for name in &node.inputs {
            let next = match self.terms.get(name.as_str()) {
                Some(term) => term.clone(),
                None => {
                    let by = number(self.stored, name)?;
                    total = Some(shifted(total?, by)?);
                    continue;
                }
            };
            total = Some(match (total, next) {
                (None, next) => next,
                (Some(Term::Columns(a)), Term::Columns(b)) if a.len() == b.len() => {
                    Term::Columns(a.iter().zip(&b).map(|(a, b)| a.plus(b, 1.0)).collect())
                }
                (Some(Term::Columns(votes)), Term::Shares(sums)) => Term::Scores { votes, sums },
                _ => return None,
            });
        }
        // A sum of the source with nothing is none of this.
        total.filter(|t| !matches!(t, Term::Duels(_) | Term::Lost))
    }
}

/// The same plus a number.
fn shifted(term: Term, by: f64) -> Option<Term> {
    match term {
        Term::Columns(sums) => Some(Term::Columns(sums.iter().map(|s| s.shifted(by)).collect())),
        Term::Magnitudes { sums, factor: 1.0, shift } => {
            Some(Term::Magnitudes { sums, factor: 1.0, shift: shift + by })
        }
        _ => None,
    }
}

/// Whether a cast is to 32 or 64 bits of float.
fn is_float(node: &Node) -> bool {
    matches!(node.attributes.int("to"), Ok(Some(1 | 11)))
}

/// Whether these are the votes and the sums of all classes, with the pairs in their usual order.
fn are_scores(votes: &[Sum], sums: &[Sum]) -> bool {
    let classes = votes.len();
    if !(3..=MAX_CLASSES).contains(&classes) || sums.len() != classes {
        return false;
    }
    let mut wanted = vec![(Sum::default(), Sum::default()); classes];
    let pairs = (0..classes).flat_map(|i| (i + 1..classes).map(move |j| (i, j)));
    for (pair, (i, j)) in pairs.enumerate() {
        wanted[i].0.constant += 1.0;
        for (class, sign) in [(i, -1.0), (j, 1.0)] {
            wanted[class].0.losses.insert(pair, sign);
            wanted[class].1.numbers.insert(pair, -sign);
        }
    }
    wanted.iter().zip(votes.iter().zip(sums)).all(|(w, (v, s))| w.0 == *v && w.1 == *s)
}

/// Whether nothing but these nodes reads what they give, the last one's result left aside.
fn is_closed(model: &Model, inner: &BTreeSet<usize>, last: usize) -> bool {
    let results: BTreeSet<&str> = (inner.iter().filter(|i| **i != last))
        .flat_map(|&i| model.graph.nodes[i].outputs.iter().map(String::as_str))
        .collect();
    let outside = (0..model.graph.nodes.len()).filter(|i| !inner.contains(i));
    let read = outside.flat_map(|i| super::order::reads(&model.graph.nodes[i]));
    let given = model.graph.outputs.iter().map(|o| o.name.as_str());
    read.chain(given).all(|name| !results.contains(name))
}
