//! One direction of a recurrent node: its weights, its functions, its lengths.

use heplan_ir::diagnostic::Code;
use heplan_ir::function::Function;
use heplan_ir::matrix::SparseMatrix;

use crate::import::compose::{number, secret};
use crate::import::context::{Fault, NodeCx, Operand, Secret, column, fault, fault_help};

/// Which operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// One map and one function.
    Rnn,
    /// Gates `z`, `r`, `h`.
    Gru,
    /// Gates `i`, `o`, `f`, `c`.
    Lstm,
}

impl Kind {
    pub(super) fn gates(self) -> usize {
        match self {
            Self::Rnn => 1,
            Self::Gru => 3,
            Self::Lstm => 4,
        }
    }

    /// Its functions where the node names none.
    fn functions(self) -> &'static [&'static str] {
        match self {
            Self::Rnn => &["tanh"],
            Self::Gru => &["sigmoid", "tanh"],
            Self::Lstm => &["sigmoid", "tanh", "tanh"],
        }
    }
}

/// A function of a gate: `scale·f(slope·x + shift)`.
#[derive(Clone, Debug)]
struct Activation {
    slope: f64,
    shift: f64,
    function: Option<Function>,
    scale: f64,
}

/// One direction.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    pub(super) kind: Kind,
    pub(super) directions: usize,
    /// Whether shapes begin with the batch instead of the time.
    pub(super) batch_first: bool,
    pub(super) steps: usize,
    pub(super) batch: usize,
    pub(super) inputs: usize,
    pub(super) hidden: usize,
    pub(super) x: Secret,
    /// Steps of every sample's sequence.
    pub(super) lengths: Vec<usize>,
    /// A GRU's reset gate stands behind the map of the state.
    pub(super) linear_before_reset: bool,
    /// An LSTM's forget gate is one less the input gate.
    pub(super) input_forget: bool,
    reverse: bool,
    clip: Option<f64>,
    functions: Vec<Activation>,
    w: Vec<f64>,
    r: Vec<f64>,
    /// Both biases; empty where there are none.
    b: Vec<f64>,
    /// Peepholes; empty where there are none.
    p: Vec<f64>,
}

impl Cell {
    /// The directions of a node, after a check of all shapes.
    pub(super) fn of_node(cx: &NodeCx<'_>, kind: Kind) -> Result<Vec<Self>, Fault> {
        let x = cx.secret(0)?;
        let batch_first = cx.attr_int("layout", 0)? != 0;
        let &[first, second, inputs] = x.shape.as_slice() else {
            let message = format!("input of shape {:?}, expected three axes", x.shape);
            return Err(fault(Code::ShapeMismatch, message));
        };
        let (steps, batch) = if batch_first { (second, first) } else { (first, second) };
        let direction = cx.attr_text("direction", "forward")?;
        let reversed: &[bool] = match direction.as_str() {
            "forward" => &[false],
            "reverse" => &[true],
            "bidirectional" => &[false, true],
            other => return Err(fault(Code::BadNode, format!("direction is {other:?}"))),
        };
        let directions = reversed.len();
        let recurrent = cx.shape(2)?;
        let hidden = recurrent.last().copied().filter(|&h| h > 0).unwrap_or(1);
        let rows = kind.gates() * hidden;
        let weights = |index: usize, wanted: &[usize]| -> Result<Vec<f64>, Fault> {
            if cx.optional(index).is_none() {
                return Ok(Vec::new());
            }
            let (shape, values) = cx.weights(index)?;
            if shape == wanted {
                return Ok(values);
            }
            let message = format!("input {index} of shape {shape:?}, expected {wanted:?}");
            Err(fault(Code::ShapeMismatch, message))
        };
        cx.operand(1)?;
        let w = weights(1, &[directions, rows, inputs])?;
        let r = weights(2, &[directions, rows, hidden])?;
        let b = weights(3, &[directions, 2 * rows])?;
        let has_peepholes = kind == Kind::Lstm;
        let p = if has_peepholes { weights(7, &[directions, 3 * hidden])? } else { Vec::new() };
        let lengths = lengths(cx, batch, steps)?;
        let functions = functions(cx, kind, directions)?;
        let clip = match cx.attr_float("clip", 0.0)? {
            clip if clip > 0.0 => Some(clip),
            _ => None,
        };
        let part = |all: &[f64], d: usize| {
            all[d * all.len() / directions..][..all.len() / directions].to_vec()
        };
        let cell = |(d, &reverse): (usize, &bool)| {
            Ok(Self {
                kind,
                directions,
                batch_first,
                steps,
                batch,
                inputs,
                hidden,
                x: x.clone(),
                lengths: lengths.clone(),
                linear_before_reset: cx.attr_int("linear_before_reset", 0)? != 0,
                input_forget: cx.attr_int("input_forget", 0)? != 0,
                reverse,
                clip,
                functions: functions[d * kind.functions().len()..][..kind.functions().len()]
                    .to_vec(),
                w: part(&w, d),
                r: part(&r, d),
                b: part(&b, d),
                p: part(&p, d),
            })
        };
        reversed.iter().enumerate().map(cell).collect()
    }

    /// The time that sample `b` is at in step `k`; `None` behind its end.
    pub(super) fn time(&self, b: usize, k: usize) -> Option<usize> {
        let length = self.lengths[b];
        (k < length).then(|| if self.reverse { length - 1 - k } else { k })
    }

    /// `W` of a gate on the inputs of step `k`.
    pub(super) fn input_map(&self, gate: usize, k: usize) -> SparseMatrix {
        let (rows, inputs) = (self.batch * self.hidden, self.inputs);
        SparseMatrix::from_rows(rows, self.steps * self.batch * inputs, |r, row| {
            let (b, j) = (r / self.hidden, r % self.hidden);
            let Some(t) = self.time(b, k) else { return };
            let first = if self.batch_first { b * self.steps + t } else { t * self.batch + b };
            let weights = &self.w[(gate * self.hidden + j) * inputs..][..inputs];
            row.extend(weights.iter().enumerate().map(|(i, &w)| (column(first * inputs + i), w)));
        })
    }

    /// `R` of a gate on the state.
    pub(super) fn state_map(&self, gate: usize) -> SparseMatrix {
        let (n, hidden) = (self.batch * self.hidden, self.hidden);
        SparseMatrix::from_rows(n, n, |r, row| {
            let (b, j) = (r / hidden, r % hidden);
            let weights = &self.r[(gate * hidden + j) * hidden..][..hidden];
            row.extend(weights.iter().enumerate().map(|(i, &w)| (column(b * hidden + i), w)));
        })
    }

    /// The bias of `W`.
    pub(super) fn outer_bias(&self, gate: usize) -> Vec<f64> {
        self.bias(gate)
    }

    /// The bias of `R`.
    pub(super) fn inner_bias(&self, gate: usize) -> Vec<f64> {
        self.bias(self.kind.gates() + gate)
    }

    fn bias(&self, place: usize) -> Vec<f64> {
        let own = self.b.get(place * self.hidden..).and_then(|rest| rest.get(..self.hidden));
        own.map_or_else(|| vec![0.0; self.hidden], <[f64]>::to_vec)
    }

    /// A peephole's weights, if there are any.
    pub(super) fn peephole(&self, place: usize) -> Option<&[f64]> {
        self.p.get(place * self.hidden..).and_then(|rest| rest.get(..self.hidden))
    }

    /// One number per hidden unit, for every sample.
    pub(super) fn repeated(&self, values: &[f64]) -> Vec<f64> {
        values.iter().copied().cycle().take(self.batch * self.hidden).collect()
    }

    /// A gate's function, behind the clip.
    pub(super) fn apply(
        &self,
        cx: &mut NodeCx<'_>,
        function: usize,
        x: Operand,
    ) -> Result<Operand, Fault> {
        let x = match self.clip {
            None => x,
            Some(clip) => cx.part("Clip", &[&x, &number(-clip), &number(clip)], &[])?,
        };
        self.apply_unclipped(cx, function, x)
    }

    /// A function without the clip.
    pub(super) fn apply_unclipped(
        &self,
        cx: &mut NodeCx<'_>,
        function: usize,
        x: Operand,
    ) -> Result<Operand, Fault> {
        let Activation { slope, shift, function, scale } = self.functions[function].clone();
        let x = secret(&x)?;
        let mut x = Operand::Secret(cx.scaled(x, slope));
        if shift != 0.0 {
            x = cx.plus(&x, &number(shift))?;
        }
        if let Some(function) = function {
            let own = secret(&x)?;
            x = Operand::Secret(cx.function(&own, function));
        }
        let x = secret(&x)?;
        Ok(Operand::Secret(cx.scaled(x, scale)))
    }
}

/// Steps of every sample's sequence: all where nothing is said.
fn lengths(cx: &NodeCx<'_>, batch: usize, steps: usize) -> Result<Vec<usize>, Fault> {
    if cx.optional(4).is_none() {
        return Ok(vec![steps; batch]);
    }
    let given = cx.ints(4)?;
    let own: Vec<usize> = given.iter().filter_map(|&l| usize::try_from(l).ok()).collect();
    if own.len() != batch || given.len() != batch || own.iter().any(|&l| l > steps || l == 0) {
        let message = format!("sequence_lens is {given:?} for {batch} sequences of {steps} steps");
        return Err(fault(Code::BadNode, message));
    }
    Ok(own)
}

/// The functions of all directions, in the order of the node's lists.
fn functions(cx: &NodeCx<'_>, kind: Kind, directions: usize) -> Result<Vec<Activation>, Fault> {
    let named = cx.node.attributes.texts("activations");
    let named = named.map_err(|e| fault(Code::BadNode, e.to_string()))?.unwrap_or_default();
    let count = kind.functions().len() * directions;
    let names: Vec<&str> = if named.is_empty() {
        kind.functions().iter().copied().cycle().take(count).collect()
    } else {
        named
    };
    if names.len() != count {
        let message = format!("{} activations are named, expected {count}", names.len());
        return Err(fault(Code::BadNode, message));
    }
    let (alphas, betas) = (cx.attr_floats("activation_alpha")?, cx.attr_floats("activation_beta")?);
    let (mut alphas, mut betas) = (alphas.into_iter(), betas.into_iter());
    names.into_iter().map(|name| activation(name, &mut alphas, &mut betas)).collect()
}

/// A function by name; it takes its parameters from the lists, else ONNX's defaults.
fn activation(
    name: &str,
    alphas: &mut impl Iterator<Item = f64>,
    betas: &mut impl Iterator<Item = f64>,
) -> Result<Activation, Fault> {
    let plain =
        |function| Activation { slope: 1.0, shift: 0.0, function: Some(function), scale: 1.0 };
    let missing = || fault(Code::BadNode, format!("activation {name} lacks alpha or beta"));
    Ok(match name.to_ascii_lowercase().as_str() {
        "relu" => plain(Function::Relu),
        "tanh" => plain(Function::Tanh),
        "sigmoid" => plain(Function::Sigmoid),
        "softsign" => plain(Function::Softsign),
        "softplus" => plain(Function::Softplus),
        "leakyrelu" => plain(Function::LeakyRelu { alpha: alphas.next().unwrap_or(0.01) }),
        "thresholdedrelu" => {
            plain(Function::ThresholdedRelu { alpha: alphas.next().unwrap_or(1.0) })
        }
        "elu" => plain(Function::Elu { alpha: alphas.next().unwrap_or(1.0) }),
        "hardsigmoid" => plain(Function::HardSigmoid {
            alpha: alphas.next().unwrap_or(0.2),
            beta: betas.next().unwrap_or(0.5),
        }),
        "affine" => Activation {
            slope: alphas.next().ok_or_else(missing)?,
            shift: betas.next().ok_or_else(missing)?,
            function: None,
            scale: 1.0,
        },
        "scaledtanh" => Activation {
            scale: alphas.next().ok_or_else(missing)?,
            slope: betas.next().ok_or_else(missing)?,
            shift: 0.0,
            function: Some(Function::Tanh),
        },
        _ => {
            return Err(fault_help(
                Code::UnsupportedMode,
                format!("activation {name:?} of a recurrent node is not known"),
                "use one of the activations that ONNX names for recurrent operators",
            ));
        }
    })
}
