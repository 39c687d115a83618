//! `RNN`, `GRU` and `LSTM`, unrolled over the fixed length of their sequences.
//!
//! Every gate of every step is one affine map of the input and the state, and one function; states
//! are products and sums of these. Nothing is shared between steps, so that depth grows with the
//! length: what no ring carries is refused by the search for parameters, as everywhere.
//!
//! Equations, orders of gates and defaults are those of the ONNX operator documents. The pieces
//! that a node is made of are read in [`cell`].

mod cell;

use heplan_ir::diagnostic::Code;
use heplan_ir::matrix::SparseMatrix;

use super::array::elements;
use super::compose::{number, numbers, secret};
use super::context::{Emitted, Fault, NodeCx, Operand, Secret, column, fault, non_zeros};
use cell::{Cell, Kind};

/// The most steps that are unrolled; no ring carries a tenth of them.
const MAX_STEPS: usize = 1024;

/// What one step hands to the next; `None` is zero.
#[derive(Clone, Debug, Default)]
struct State {
    hidden: Option<Operand>,
    cell: Option<Operand>,
}

/// `RNN`.
pub(super) fn rnn(cx: &mut NodeCx<'_>) -> Emitted {
    unrolled(cx, Kind::Rnn)
}

/// `GRU`.
pub(super) fn gru(cx: &mut NodeCx<'_>) -> Emitted {
    unrolled(cx, Kind::Gru)
}

/// `LSTM`.
pub(super) fn lstm(cx: &mut NodeCx<'_>) -> Emitted {
    unrolled(cx, Kind::Lstm)
}

fn unrolled(cx: &mut NodeCx<'_>, kind: Kind) -> Emitted {
    let cells = Cell::of_node(cx, kind)?;
    let first = cells.first().ok_or_else(|| fault(Code::BadNode, "it has no direction"))?;
    let (steps, hidden) = (first.steps, first.hidden);
    let per_step = kind.gates() * cells.len() * first.batch * hidden;
    non_zeros(steps.saturating_mul(per_step), first.inputs + hidden)?;
    if steps > MAX_STEPS {
        let message = format!("a sequence of {steps} steps, of which {MAX_STEPS} are unrolled");
        return Err(fault(Code::TooDeep, message));
    }
    let mut states = Vec::with_capacity(cells.len());
    let mut outputs = Vec::with_capacity(cells.len());
    for (d, cell) in cells.iter().enumerate() {
        let mut state = State {
            hidden: initial(cx, 5, d, cell)?,
            cell: if kind == Kind::Lstm { initial(cx, 6, d, cell)? } else { None },
        };
        let mut hidden = Vec::with_capacity(steps);
        for k in 0..steps {
            let next = cell.step(cx, k, &state)?;
            state = State {
                hidden: held(cx, cell, k, next.hidden, state.hidden)?,
                cell: held(cx, cell, k, next.cell, state.cell)?,
            };
            hidden.push(state.hidden.clone().unwrap_or_else(|| number(0.0)));
        }
        states.push(state);
        outputs.push(hidden);
    }
    let mut results = vec![sequence(cx, &cells, &outputs)?];
    results.push(last(cx, &cells, states.iter().map(|s| s.hidden.clone()))?);
    if kind == Kind::Lstm {
        results.push(last(cx, &cells, states.iter().map(|s| s.cell.clone()))?);
    }
    Ok(results)
}

impl Cell {
    /// The state after step `k`, whether or not all sequences are that long.
    fn step(&self, cx: &mut NodeCx<'_>, k: usize, state: &State) -> Result<State, Fault> {
        match self.kind {
            Kind::Rnn => {
                let sum = self.gate(cx, 0, k, state.hidden.as_ref(), None)?;
                Ok(State { hidden: Some(self.apply(cx, 0, sum)?), cell: None })
            }
            Kind::Gru => self.gru_step(cx, k, state.hidden.as_ref()),
            Kind::Lstm => self.lstm_step(cx, k, state),
        }
    }

    /// Gates `z`, `r`, `h`.
    fn gru_step(
        &self,
        cx: &mut NodeCx<'_>,
        k: usize,
        hidden: Option<&Operand>,
    ) -> Result<State, Fault> {
        let update = self.gate(cx, 0, k, hidden, None)?;
        let update = self.apply(cx, 0, update)?;
        // Behind the inner map, the reset gate scales its bias even where the state is zero.
        let biased = self.linear_before_reset && self.inner_bias(2).iter().any(|&b| b != 0.0);
        let zero = numbers(vec![self.batch, self.hidden], vec![0.0; self.batch * self.hidden]);
        let proposed = match hidden.or_else(|| biased.then_some(&zero)) {
            None => self.gate(cx, 2, k, None, None)?,
            Some(h) => {
                let reset = self.gate(cx, 1, k, hidden, None)?;
                let reset = self.apply(cx, 0, reset)?;
                if self.linear_before_reset {
                    let inner = self.inner(cx, 2, h)?;
                    let kept = cx.times(&reset, &inner)?;
                    self.outer(cx, 2, k, &kept)?
                } else {
                    let kept = cx.times(&reset, h)?;
                    self.gate(cx, 2, k, Some(&kept), None)?
                }
            }
        };
        let proposed = self.apply(cx, 1, proposed)?;
        // (1 - z)·H + z·h; two products stand one level lower than one of z and h - H.
        let dropped = cx.times(&update, &proposed)?;
        let mut next = cx.minus(&proposed, &dropped)?;
        if let Some(h) = hidden {
            let kept = cx.times(&update, h)?;
            next = cx.plus(&next, &kept)?;
        }
        Ok(State { hidden: Some(next), cell: None })
    }

    /// Gates `i`, `o`, `f`, `c`; peepholes `i`, `o`, `f`.
    fn lstm_step(&self, cx: &mut NodeCx<'_>, k: usize, state: &State) -> Result<State, Fault> {
        let (hidden, before) = (state.hidden.as_ref(), state.cell.as_ref());
        let input = self.gate(cx, 0, k, hidden, before.map(|c| (0, c)))?;
        let input = self.apply(cx, 0, input)?;
        let proposed = self.gate(cx, 3, k, hidden, None)?;
        let proposed = self.apply(cx, 1, proposed)?;
        let mut cell = cx.times(&input, &proposed)?;
        if let Some(before) = before {
            let forget = if self.input_forget {
                cx.minus(&number(1.0), &input)?
            } else {
                let forget = self.gate(cx, 2, k, hidden, Some((2, before)))?;
                self.apply(cx, 0, forget)?
            };
            let kept = cx.times(&forget, before)?;
            cell = cx.plus(&kept, &cell)?;
        }
        let output = self.gate(cx, 1, k, hidden, Some((1, &cell)))?;
        let output = self.apply(cx, 0, output)?;
        let squashed = self.apply_unclipped(cx, 2, cell.clone())?;
        Ok(State { hidden: Some(cx.times(&output, &squashed)?), cell: Some(cell) })
    }

    /// What a gate's function is applied to: `W·x + R·h + P·c` and both biases.
    fn gate(
        &self,
        cx: &mut NodeCx<'_>,
        gate: usize,
        k: usize,
        hidden: Option<&Operand>,
        peephole: Option<(usize, &Operand)>,
    ) -> Result<Operand, Fault> {
        let mut terms = vec![(Operand::Secret(self.x.clone()), self.input_map(gate, k))];
        if let Some(h) = hidden {
            terms.push((h.clone(), self.state_map(gate)));
        }
        if let Some((p, cell)) = peephole
            && let Some(weights) = self.peephole(p)
        {
            terms.push((cell.clone(), SparseMatrix::diagonal(&self.repeated(weights))));
        }
        let bias: Vec<f64> =
            self.outer_bias(gate).iter().zip(&self.inner_bias(gate)).map(|(w, r)| w + r).collect();
        self.mixed(cx, terms, &bias)
    }

    /// `R·h` and its bias.
    fn inner(&self, cx: &mut NodeCx<'_>, gate: usize, h: &Operand) -> Result<Operand, Fault> {
        let terms = vec![(h.clone(), self.state_map(gate))];
        self.mixed(cx, terms, &self.inner_bias(gate))
    }

    /// `W·x` and its bias, plus what the state gives.
    fn outer(
        &self,
        cx: &mut NodeCx<'_>,
        gate: usize,
        k: usize,
        kept: &Operand,
    ) -> Result<Operand, Fault> {
        let terms = vec![
            (Operand::Secret(self.x.clone()), self.input_map(gate, k)),
            (kept.clone(), SparseMatrix::identity(self.batch * self.hidden)),
        ];
        self.mixed(cx, terms, &self.outer_bias(gate))
    }

    /// `Σ M·x + bias` of encrypted tensors and constants; the bias is one number per hidden unit.
    fn mixed(
        &self,
        cx: &mut NodeCx<'_>,
        terms: Vec<(Operand, SparseMatrix)>,
        bias: &[f64],
    ) -> Result<Operand, Fault> {
        let mut bias = self.repeated(bias);
        let mut encrypted = Vec::new();
        for (operand, matrix) in terms {
            match operand {
                Operand::Secret(x) => encrypted.push((x.id, matrix)),
                Operand::Constant(c) => {
                    let moved = matrix.apply(&c.floats());
                    bias.iter_mut().zip(moved).for_each(|(b, m)| *b += m);
                }
                _ => return Err(fault(Code::UnsupportedMode, "a state is not a tensor")),
            }
        }
        let shape = vec![self.batch, self.hidden];
        if encrypted.is_empty() {
            return Ok(numbers(shape, bias));
        }
        Ok(Operand::Secret(cx.affine(encrypted, Some(bias), shape)))
    }
}

/// The new state where a sequence has a step `k`, the old one where it has ended.
fn held(
    cx: &mut NodeCx<'_>,
    cell: &Cell,
    k: usize,
    new: Option<Operand>,
    old: Option<Operand>,
) -> Result<Option<Operand>, Fault> {
    if cell.lengths.iter().all(|&l| k < l) {
        return Ok(new);
    }
    let Some(new) = new else { return Ok(None) };
    let runs: Vec<bool> = cell.lengths.iter().map(|&l| k < l).collect();
    let mask = super::compose::truths(vec![cell.batch, 1], runs);
    let old = old.unwrap_or_else(|| number(0.0));
    cx.part("Where", &[&mask, &new, &old], &[]).map(Some)
}

/// The initial state of a direction from operand `index`; `None` where it is zero.
fn initial(
    cx: &mut NodeCx<'_>,
    index: usize,
    direction: usize,
    cell: &Cell,
) -> Result<Option<Operand>, Fault> {
    let Some(given) = cx.optional(index).cloned() else { return Ok(None) };
    let shape = cx.shape_of(&given)?;
    let (batch, hidden) = (cell.batch, cell.hidden);
    let wanted = if cell.batch_first {
        [batch, cell.directions, hidden]
    } else {
        [cell.directions, batch, hidden]
    };
    if shape != wanted {
        let message = format!("initial state of shape {shape:?}, expected {wanted:?}");
        return Err(fault(Code::ShapeMismatch, message));
    }
    let place = |r: usize| {
        let (b, j) = (r / hidden, r % hidden);
        if cell.batch_first {
            (b * cell.directions + direction) * hidden + j
        } else {
            (direction * batch + b) * hidden + j
        }
    };
    let source: Vec<Option<u32>> = (0..batch * hidden).map(|r| Some(column(place(r)))).collect();
    if let Operand::Secret(x) = &given {
        return Ok(Some(Operand::Secret(cx.gather(x, vec![batch, hidden], &source, 0.0)?)));
    }
    let (_, values) = cx.weights(index)?;
    let own: Vec<f64> = (0..batch * hidden).map(|r| values[place(r)]).collect();
    Ok(own.iter().any(|&v| v != 0.0).then(|| numbers(vec![batch, hidden], own)))
}

/// `Y`: the hidden states of all steps, each at the time that it belongs to; zero behind the end
/// of a sequence.
fn sequence(
    cx: &mut NodeCx<'_>,
    cells: &[Cell],
    outputs: &[Vec<Operand>],
) -> Result<Operand, Fault> {
    let Cell { steps, batch, hidden, batch_first, directions, .. } = cells[0];
    let shape = if batch_first {
        vec![batch, steps, directions, hidden]
    } else {
        vec![steps, directions, batch, hidden]
    };
    let count = elements(&shape)?;
    non_zeros(count, steps * directions)?;
    let place = |r: usize| {
        let (j, rest) = (r % hidden, r / hidden);
        if batch_first {
            (rest / directions % steps, rest % directions, rest / directions / steps, j)
        } else {
            (rest / batch / directions, rest / batch % directions, rest % batch, j)
        }
    };
    let mut terms = Vec::new();
    for (d, (cell, list)) in cells.iter().zip(outputs).enumerate() {
        for (k, state) in list.iter().enumerate() {
            let x = secret(state)?;
            let matrix = SparseMatrix::gather(count, batch * hidden, |r| {
                let (t, own, b, j) = place(r);
                (own == d && cell.time(b, k) == Some(t)).then_some(b * hidden + j)
            });
            terms.push((x.id, matrix));
        }
    }
    Ok(Operand::Secret(cx.affine(terms, None, shape)))
}

/// `Y_h` and `Y_c`: the last states of all directions.
fn last(
    cx: &mut NodeCx<'_>,
    cells: &[Cell],
    states: impl Iterator<Item = Option<Operand>>,
) -> Result<Operand, Fault> {
    let Cell { batch, hidden, batch_first, directions, .. } = cells[0];
    let shape =
        if batch_first { vec![batch, directions, hidden] } else { vec![directions, batch, hidden] };
    let count = elements(&shape)?;
    let mut terms = Vec::new();
    for (d, state) in states.enumerate() {
        let x: Secret = secret(&state.unwrap_or_else(|| number(0.0)))?;
        let matrix = SparseMatrix::gather(count, batch * hidden, |r| {
            let (j, rest) = (r % hidden, r / hidden);
            let (own, b) = if batch_first {
                (rest % directions, rest / directions)
            } else {
                (rest / batch, rest % batch)
            };
            (own == d).then_some(b * hidden + j)
        });
        terms.push((x.id, matrix));
    }
    Ok(Operand::Secret(cx.affine(terms, None, shape)))
}
