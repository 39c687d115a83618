//! From measured operations to the costs that the compiler plans by.

use std::io::Write as _;
use std::path::Path;

use heplan_ckks::measure::{Figure, Operation, Shape};
use heplan_compiler::cost::{Costs, LinearShape, Measurement, Observation, Place, Work};
use serde_json::json;

use super::operations::Measured;
use crate::interrupt;
use crate::ui::{Outcome, Ui};

/// Shapes that costs are fitted to, unless others are asked for: the rings that most plans use.
pub(super) const SHAPES: [&str; 6] = ["a", "b", "c", "p13", "p14", "p15"];

/// Fits the costs to what was measured on one thread and writes them.
pub(super) fn write(
    path: &Path,
    processor: &str,
    measured: &[Measured],
    outcome: &mut Outcome,
    ui: &Ui,
) -> anyhow::Result<()> {
    let observations: Vec<Vec<Observation>> =
        measured.iter().map(observe).collect::<Result<_, _>>()?;
    let observations = observations.concat();
    let costs = Costs::default().fitted(&observations);
    let (largest, rms) = costs.errors(&observations);
    let isa = measured.first().and_then(|m| m.figures.first()).map_or("", |f| f.isa.name());
    let text = Measurement::new(processor.to_owned(), isa.to_owned(), costs).to_text();
    interrupt::while_writing(path, || {
        heplan_ir::container::write_atomic(path, None, |w| w.write_all(text.as_bytes()))
    })?;
    ui.say(&format!(
        "the costs explain {} measurements within {:.0} % (root mean square {:.0} %)",
        observations.len(),
        100.0 * largest,
        100.0 * rms
    ));
    outcome.insert("costs_error".to_owned(), json!({ "largest": largest, "rms": rms }));
    ui.wrote(outcome, "costs", path, "for `heplan compile --costs`");
    Ok(())
}

/// What the figures of a shape say of the costs, and of its kernels those that no figure times.
///
/// Transforms and conversions are timed within operations: alone, on words at hand, they take a fifth less.
fn observe(measured: &Measured) -> anyhow::Result<Vec<Observation>> {
    let at = place(&measured.shape)?;
    let expand = Work::expand_key(&at) * (1.0 / (at.digits() * at.wide()) as f64);
    let mut found = vec![
        Observation { work: expand, seconds: measured.kernels.uniform },
        Observation { work: Work::fresh(1), seconds: measured.kernels.fresh },
    ];
    let of = |f: &Figure| Some(Observation { work: work(f.operation, &at)?, seconds: f.seconds });
    found.extend(measured.figures.iter().filter(|f| f.threads == 1).filter_map(of));
    Ok(found)
}

/// The top level of a shape.
fn place(shape: &Shape) -> anyhow::Result<Place> {
    Ok(Place::of(&shape.parameters()?, shape.limbs - 1))
}

/// What the model says of an operation; nothing of the client's, and nothing of one rotation again and again, whose key
/// is nearer than those of a plan.
fn work(operation: Operation, at: &Place) -> Option<Work> {
    let below = &Place { level: at.level - 1, long: at.long.min(at.level), ..*at };
    let width = at.degree() / 2;
    Some(match operation {
        Operation::Encode => Work::encode(width) + Work::evaluate(at, width, at.own_limbs()),
        Operation::Add => Work::add(at, 1),
        Operation::MulPlain => Work::multiply_plain(at),
        Operation::MulRelin => Work::multiply(at) + Work::relinearise(at),
        Operation::Rescale => Work::rescale(at, 1),
        Operation::RotateHoisted8 => Work::rotate_many(at, 8),
        Operation::Linear(matrix) => {
            let matrix = matrix.placed(width);
            let linear = LinearShape {
                inputs: 1,
                outputs: matrix.giants() + 1,
                babies: matrix.babies(),
                diagonals: matrix.diagonals(),
                period: matrix.period,
                scalar: false,
            };
            let turn = Work::rotate_extended(below, at) + Work::additions(at, 2 * at.wide());
            let turns = (matrix.giants() + matrix.folds().len()) as f64;
            Work::linear(at, &linear) + turn * turns + Work::divide(at) * 2.0
        }
        Operation::NttForward
        | Operation::NttInverse
        | Operation::Rotate
        | Operation::Encrypt
        | Operation::DecryptDecode
        | Operation::KeygenGalois => return None,
    })
}
