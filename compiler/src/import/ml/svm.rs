//! `SVMRegressor` and `SVMClassifier`: kernels of the data with support vectors, weighed and summed.
//!
//! A kernel is an affine map, then a power (`POLY`) or a function (`RBF`, `SIGMOID`) of every
//! support vector's number: `|x - s|²` is `Σ x² - 2·s·x + |s|²`, affine in `x` and its squares. With
//! the linear kernel the whole machine is one matrix.
//!
//! A classifier decides by duels, one number per pair of classes, and the label is the class that
//! wins most of them: the client's to count, as are the probabilities (`prob_a`, `prob_b`). Of two
//! classes the scores are `-d` and `d`, where a positive `d` is a win of the first one, as the ONNX
//! runtime has it.

use heplan_ir::diagnostic::Code;
use heplan_ir::function::Function;
use heplan_ir::matrix::SparseMatrix;
use heplan_ir::tail::{Along, Step};

use super::super::compose::secret;
use super::super::context::{
    Emitted, Fault, NodeCx, Operand, Secret, column, fault, fault_help, non_zeros, one,
};
use super::super::tail::Ending;
use super::{Labels, rows, scored, transformed};

#[derive(Clone, Copy, Debug)]
enum Kernel {
    /// `s·x`.
    Linear,
    /// `(gamma·s·x + offset)^degree`.
    Power { gamma: f64, offset: f64, degree: f64 },
    /// `exp(-gamma·|x - s|²)`.
    Radial { gamma: f64 },
    /// `tanh(gamma·s·x + offset)`.
    Tanh { gamma: f64, offset: f64 },
}

impl Kernel {
    fn of(cx: &NodeCx<'_>) -> Result<Self, Fault> {
        let parameters = cx.attr_floats("kernel_params")?;
        let (gamma, offset, degree) = match parameters.as_slice() {
            [] => (0.0, 0.0, 0.0),
            &[gamma, offset, degree] => (gamma, offset, degree),
            other => {
                let message = format!("kernel_params has {} numbers, not 3", other.len());
                return Err(fault(Code::BadNode, message));
            }
        };
        match cx.attr_text("kernel_type", "LINEAR")?.as_str() {
            "LINEAR" => Ok(Self::Linear),
            "POLY" if degree >= 1.0 && degree.fract() == 0.0 => {
                Ok(Self::Power { gamma, offset, degree })
            }
            "POLY" => Err(fault_help(
                Code::UnsupportedMode,
                format!("the degree of the kernel is {degree}"),
                "train with a whole degree from 1 on",
            )),
            "RBF" => Ok(Self::Radial { gamma }),
            "SIGMOID" => Ok(Self::Tanh { gamma, offset }),
            other => Err(fault(Code::BadNode, format!("kernel_type is {other:?}"))),
        }
    }
}

/// Support vectors and what is made of their products with the data.
struct Machine {
    x: Secret,
    samples: usize,
    features: usize,
    /// One support vector after the other.
    vectors: Vec<f64>,
    count: usize,
    kernel: Kernel,
}

impl Machine {
    fn new(cx: &NodeCx<'_>, count: usize) -> Result<Self, Fault> {
        let x = cx.secret(0)?;
        let (samples, features) = rows(&x)?;
        let vectors = cx.attr_floats("support_vectors")?;
        if count.checked_mul(features) != Some(vectors.len()) {
            let message = format!(
                "support_vectors has {} numbers for {count} vectors of {features} features",
                vectors.len()
            );
            return Err(fault(Code::ShapeMismatch, message));
        }
        Ok(Self { x, samples, features, vectors, count, kernel: Kernel::of(cx)? })
    }

    fn vector(&self, v: usize) -> &[f64] {
        &self.vectors[v * self.features..][..self.features]
    }

    /// `gamma·s·x + offset` for every sample and support vector `s`.
    fn products(&self, cx: &mut NodeCx<'_>, gamma: f64, offset: f64) -> Result<Secret, Fault> {
        let shape = vec![self.samples, self.count];
        let bias = vec![offset; self.samples * self.count];
        cx.matrix(&self.x, shape, self.features, Some(bias), |r, row| {
            self.row(r / self.count, self.vector(r % self.count), gamma, row);
        })
    }

    /// Entries of a row that is `factor` times `weights` over one sample's features.
    fn row(&self, sample: usize, weights: &[f64], factor: f64, row: &mut Vec<(u32, f64)>) {
        let entry = |(f, w): (usize, &f64)| (column(sample * self.features + f), w * factor);
        row.extend(weights.iter().enumerate().map(entry).filter(|e| e.1 != 0.0));
    }

    /// `-gamma·|x - s|²` for every sample and support vector `s`.
    fn distances(&self, cx: &mut NodeCx<'_>, gamma: f64) -> Result<Secret, Fault> {
        let squares = cx.product(&self.x, &self.x);
        let (rows, columns) = (self.samples * self.count, self.samples * self.features);
        non_zeros(rows, 2 * self.features)?;
        let products = SparseMatrix::from_rows(rows, columns, |r, row| {
            self.row(r / self.count, self.vector(r % self.count), 2.0 * gamma, row);
        });
        let sums = SparseMatrix::from_rows(rows, columns, |r, row| {
            let first = r / self.count * self.features;
            row.extend((first..first + self.features).map(|c| (column(c), -gamma)));
        });
        let size = |r: usize| self.vector(r % self.count).iter().map(|s| s * s).sum::<f64>();
        let bias = (0..rows).map(|r| -gamma * size(r)).collect();
        let terms = vec![(self.x.id, products), (squares.id, sums)];
        Ok(cx.affine(terms, Some(bias), vec![self.samples, self.count]))
    }

    /// The kernel of every sample with every support vector; the linear one is left to
    /// [`decisions`](Self::decisions).
    fn kernels(&self, cx: &mut NodeCx<'_>) -> Result<Secret, Fault> {
        match self.kernel {
            Kernel::Linear => self.products(cx, 1.0, 0.0),
            Kernel::Power { gamma, offset, degree } => {
                let products = self.products(cx, gamma, offset)?;
                secret(&cx.power(&Operand::Secret(products), degree)?)
            }
            Kernel::Radial { gamma } => {
                let distances = self.distances(cx, gamma)?;
                Ok(cx.function(&distances, Function::Exp))
            }
            Kernel::Tanh { gamma, offset } => {
                let products = self.products(cx, gamma, offset)?;
                Ok(cx.function(&products, Function::Tanh))
            }
        }
    }

    /// One number per sample and list of weights: the weighed sum of kernels, and its `rho`.
    fn decisions(
        &self,
        cx: &mut NodeCx<'_>,
        weights: &[Vec<f64>],
        rho: &[f64],
    ) -> Result<Secret, Fault> {
        let shape = vec![self.samples, weights.len()];
        let bias = (0..self.samples * weights.len()).map(|r| rho[r % weights.len()]).collect();
        if matches!(self.kernel, Kernel::Linear) {
            let sum = |weights: &Vec<f64>| {
                let mut sum = vec![0.0; self.features];
                for (v, w) in weights.iter().enumerate() {
                    sum.iter_mut().zip(self.vector(v)).for_each(|(s, x)| *s += w * x);
                }
                sum
            };
            let sums: Vec<Vec<f64>> = weights.iter().map(sum).collect();
            return cx.matrix(&self.x, shape, self.features, Some(bias), |r, row| {
                self.row(r / sums.len(), &sums[r % sums.len()], 1.0, row);
            });
        }
        let kernels = self.kernels(cx)?;
        cx.matrix(&kernels, shape, self.count, Some(bias), |r, row| {
            let first = r / weights.len() * self.count;
            let entry = |(v, &w): (usize, &f64)| (column(first + v), w);
            row.extend(
                weights[r % weights.len()].iter().enumerate().map(entry).filter(|e| e.1 != 0.0),
            );
        })
    }
}

/// `SVMRegressor`: without support vectors the coefficients are those of features.
pub(in super::super) fn svm_regressor(cx: &mut NodeCx<'_>) -> Emitted {
    let coefficients = cx.attr_floats("coefficients")?;
    let given = cx.attr_int("n_supports", 0)?;
    let count = usize::try_from(given)
        .map_err(|_| fault(Code::BadNode, format!("n_supports is {given}")))?;
    let rho = cx.attr_floats("rho")?;
    let &[rho] = rho.as_slice() else {
        return Err(fault(Code::BadNode, format!("rho has {} numbers, not 1", rho.len())));
    };
    let machine = if count == 0 {
        let x = cx.secret(0)?;
        let (samples, features) = rows(&x)?;
        let unit = |i: usize| if i.is_multiple_of(features + 1) { 1.0 } else { 0.0 };
        non_zeros(features, features)?;
        let vectors = (0..features * features).map(unit).collect();
        Machine { x, samples, features, vectors, count: features, kernel: Kernel::Linear }
    } else {
        Machine::new(cx, count)?
    };
    if coefficients.len() != machine.count {
        let message = format!("{} coefficients for {}", coefficients.len(), machine.count);
        return Err(fault(Code::ShapeMismatch, message));
    }
    let score = machine.decisions(cx, &[coefficients], &[rho])?;
    let after = cx.attr_text("post_transform", "NONE")?;
    if after != "NONE" {
        let message = format!("post_transform is {after}");
        return Err(fault_help(Code::UnsupportedMode, message, "export with post_transform NONE"));
    }
    if cx.attr_int("one_class", 0)? == 0 {
        return one(score);
    }
    if !cx.ends {
        return Err(fault_help(
            Code::UnsupportedMode,
            "one_class decides whether a score is positive",
            "let it be the end of the graph, where the client decides",
        ));
    }
    let above = Step::Compare { bound: 0.0, above: true, or_equal: false };
    let side = Ending::of(&score).then(above).then(Step::Lookup(vec![-1.0, 1.0]));
    Ok(vec![Operand::Ending(Box::new(side))])
}

/// What a classifier consists of beside its kernels.
struct Duels {
    classes: usize,
    /// Of every pair of classes the weight of every support vector.
    weights: Vec<Vec<f64>>,
    rho: Vec<f64>,
    /// Slope and shift of every pair, where there are probabilities.
    pairs: Vec<(f64, f64)>,
}

impl Duels {
    fn of(cx: &NodeCx<'_>, classes: usize, members: &[usize]) -> Result<Self, Fault> {
        let count: usize = members.iter().sum();
        let coefficients = cx.attr_floats("coefficients")?;
        if members.len() != classes || classes < 2 || coefficients.len() != (classes - 1) * count {
            let message = format!(
                "{} coefficients and {} lists of support vectors for {classes} classes",
                coefficients.len(),
                members.len()
            );
            return Err(fault(Code::ShapeMismatch, message));
        }
        let start: Vec<usize> = (0..classes).map(|c| members[..c].iter().sum::<usize>()).collect();
        let mut weights = Vec::new();
        for i in 0..classes {
            for j in i + 1..classes {
                let mut row = vec![0.0; count];
                // Row `j - 1` weighs the vectors of class `i < j` against class `j`, row `i` those of `j`.
                for (class, from) in [(i, j - 1), (j, i)] {
                    let span = start[class]..start[class] + members[class];
                    row[span.clone()].copy_from_slice(&coefficients[from * count..][span]);
                }
                weights.push(row);
            }
        }
        let rho = cx.attr_floats("rho")?;
        let (slopes, shifts) = (cx.attr_floats("prob_a")?, cx.attr_floats("prob_b")?);
        let suits = |n: usize| n == weights.len();
        let told = suits(slopes.len()) && suits(shifts.len());
        if !suits(rho.len()) || !(told || slopes.is_empty() && shifts.is_empty()) {
            let message = format!(
                "rho has {} numbers, prob_a {} and prob_b {} for {} pairs of classes",
                rho.len(),
                slopes.len(),
                shifts.len(),
                weights.len()
            );
            return Err(fault(Code::ShapeMismatch, message));
        }
        if classes == 2 && coefficients.iter().all(|&c| c >= 0.0) {
            let message = "no coefficient is negative, and runtimes disagree about the label then";
            let help = "export one that was trained on both classes";
            return Err(fault_help(Code::UnsupportedMode, message, help));
        }
        Ok(Self { classes, weights, rho, pairs: slopes.into_iter().zip(shifts).collect() })
    }
}

/// `SVMClassifier`: label and scores.
pub(in super::super) fn svm_classifier(cx: &mut NodeCx<'_>) -> Emitted {
    let labels = Labels::of(cx)?;
    let members = cx.attr_ints("vectors_per_class")?.unwrap_or_default();
    let bounded = |&m: &i64| usize::try_from(m).ok().filter(|&m| m < 1 << 24);
    let members: Option<Vec<usize>> = members.iter().map(bounded).collect();
    let members = members.ok_or_else(|| fault(Code::BadNode, "vectors_per_class is negative"))?;
    let count = members.iter().sum();
    if count == 0 {
        return Err(fault_help(
            Code::UnsupportedMode,
            "it has no support vectors",
            "export a linear model as a LinearClassifier",
        ));
    }
    let duels = Duels::of(cx, labels.len(), &members)?;
    let machine = Machine::new(cx, count)?;
    let decisions = machine.decisions(cx, &duels.weights, &duels.rho)?;
    if duels.pairs.is_empty() && duels.classes == 2 {
        return two_classes(cx, labels, &decisions);
    }
    let (samples, classes) = (machine.samples, duels.classes);
    let along = Along { length: duels.weights.len(), inner: 1 };
    if !cx.ends {
        if !duels.pairs.is_empty() {
            return Err(fault_help(
                Code::UnsupportedMode,
                "probabilities of classes (prob_a, prob_b) are computed by the client only",
                "let the classifier be the end of the graph, or export its raw scores (scikit-learn: probability=False)",
            ));
        }
        let scores = transformed(cx, decisions)?;
        return Ok(vec![Operand::LeftOut("a class label"), Operand::Secret(scores)]);
    }
    let places = Ending::of(&decisions).then(Step::Votes { along, classes });
    let mut scores = Ending::of(&decisions);
    if !duels.pairs.is_empty() {
        scores = scores.then(Step::Duels { along, classes, pairs: duels.pairs });
        scores.shape = vec![samples, classes];
    }
    Ok(vec![labels.at(places, samples), scored(cx, scores)?])
}

/// Label and scores of two classes without probabilities.
fn two_classes(cx: &mut NodeCx<'_>, labels: Labels, decisions: &Secret) -> Emitted {
    let samples = decisions.shape[0];
    if cx.attr_text("post_transform", "NONE")? == "SOFTMAX" {
        return Err(fault_help(
            Code::UnsupportedMode,
            "post_transform is SOFTMAX of a single score, about which runtimes disagree",
            "export with post_transform NONE or LOGISTIC",
        ));
    }
    let scores = cx.matrix(decisions, vec![samples, 2], 1, None, |r, row| {
        row.push((column(r / 2), if r.is_multiple_of(2) { -1.0 } else { 1.0 }));
    })?;
    if !cx.ends {
        let scores = transformed(cx, scores)?;
        return Ok(vec![Operand::LeftOut("a class label"), Operand::Secret(scores)]);
    }
    // A positive decision is the lower score of the first class; zero is the second's.
    let along = Along { length: 2, inner: 1 };
    let places = Ending::of(&scores).then(Step::ArgMin { along, last: true });
    Ok(vec![labels.at(places, samples), scored(cx, Ending::of(&scores))?])
}
