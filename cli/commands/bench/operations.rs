//! The table of operations.

use std::time::Duration;

use anyhow::bail;
use heplan_ckks::measure::shape::SHAPES;
use heplan_ckks::measure::{Bench, Budget, Clock, Figure, Kernels, Operation, Shape};
use heplan_lattice::Isa;
use serde_json::{Value, json};

use super::{Options, costs};
use crate::format::{self, Table};
use crate::ui::{Outcome, Ui};
use crate::{interrupt, system};

/// Shapes that are measured unless others are asked for: together within a minute.
const DEFAULT_SHAPES: [&str; 2] = ["a", "b"];

/// Every figure of one shape, with the kernels that its floors are made of.
pub(super) struct Measured {
    pub(super) shape: Shape,
    pub(super) kernels: Kernels,
    pub(super) figures: Vec<Figure>,
}

/// Measures, prints the tables and gives the JSON.
pub(super) fn run(options: &Options, threads: Option<usize>, ui: &Ui) -> anyhow::Result<Outcome> {
    let isa = isa()?;
    // By default on one thread and on all, which shows what threads are worth.
    // The cost model is one of a single core.
    let mut counts = match threads {
        _ if options.costs.is_some() => vec![1],
        Some(count) => vec![count],
        None => vec![1, system::threads()],
    };
    counts.dedup();
    let processor = system::processor().unwrap_or_else(|| "unknown processor".to_owned());
    let list = counts.iter().map(usize::to_string).collect::<Vec<_>>().join(" and ");
    ui.show(&format!("{processor}; {isa}; {list} thread(s)"));
    let mut measured = Vec::new();
    for shape in shapes(options) {
        let found = measure(&shape, isa, &counts, options, ui)?;
        ui.show(&format!("\n{}", table(&found, &counts)));
        measured.push(found);
    }
    let mut outcome = Outcome::new();
    if let Some(path) = &options.costs {
        costs::write(path, &processor, &measured, &mut outcome, ui)?;
    }
    outcome.insert("processor".to_owned(), processor.into());
    outcome.insert("isa".to_owned(), isa.name().into());
    outcome.insert("threads".to_owned(), json!(counts));
    outcome.insert("operations".to_owned(), measured.iter().flat_map(rows).collect());
    outcome.insert("kernels".to_owned(), measured.iter().map(kernels).collect());
    outcome.insert("peak_bytes".to_owned(), system::peak_bytes().into());
    Ok(outcome)
}

/// The instruction set that is measured; one that was asked for and is not there is an error, since a figure would
/// belong to another.
pub(super) fn isa() -> anyhow::Result<Isa> {
    if let Ok(name) = std::env::var(Isa::VARIABLE)
        && Isa::named(&name).is_none()
    {
        let known: Vec<&str> = Isa::available().into_iter().map(Isa::name).collect();
        bail!("{}={name}: this processor has {}", Isa::VARIABLE, known.join(", "));
    }
    Ok(Isa::detect())
}

fn shapes(options: &Options) -> Vec<Shape> {
    match options.shape.as_slice() {
        _ if options.all => SHAPES.into(),
        [] if options.costs.is_some() => {
            costs::SHAPES.into_iter().filter_map(Shape::named).collect()
        }
        [] => DEFAULT_SHAPES.into_iter().filter_map(Shape::named).collect(),
        asked => asked.into(),
    }
}

/// One shape on every number of threads.
pub(super) fn measure(
    shape: &Shape,
    isa: Isa,
    threads: &[usize],
    options: &Options,
    ui: &Ui,
) -> anyhow::Result<Measured> {
    let all = &Operation::ALL[..];
    let asked = if options.operations.is_empty() { all } else { &options.operations };
    let budget = Budget(options.budget);
    let step = ui.step("measuring", 0);
    step.now(&format!("{}: kernels", shape.name));
    let bench = Bench::new(shape, isa)?;
    let kernels = bench.kernels(Budget(options.budget / 2))?;
    let mut figures = Vec::new();
    for &operation in asked {
        // Their keys take gigabytes in the larger rings, and tell the cost model nothing new.
        let large = matches!(operation, Operation::Linear(_)) && shape.log_n > 14;
        if large && options.costs.is_some() && options.operations.is_empty() {
            continue;
        }
        if let Some(bytes) = bench.too_many_key_bytes(operation) {
            let (shape, keys) = (shape.name, format::bytes(bytes as u64));
            ui.warn(&format!("{shape}: {operation} is left out, its keys take {keys}"));
            continue;
        }
        let of_limb = operation.is_of_one_limb();
        for &count in threads.iter().take(if of_limb { 1 } else { threads.len() }) {
            interrupt::check()?;
            step.now(&format!("{}: {operation}", shape.name));
            figures.push(bench.figure(operation, count, &kernels, budget)?);
        }
    }
    Ok(Measured { shape: *shape, kernels, figures })
}

/// One row per operation, columns per number of threads.
fn table(found: &Measured, threads: &[usize]) -> String {
    let Shape { name, log_n, limbs, special, .. } = found.shape;
    let digits = found.shape.digits();
    let time = |seconds: f64| format::time(Duration::from_secs_f64(seconds));
    let mut heads = vec!["operation".to_owned()];
    for (i, count) in threads.iter().enumerate() {
        let plural = if *count == 1 { "" } else { "s" };
        heads.extend([format!(">{count} thread{plural}"), ">× floor".to_owned()]);
        heads.extend((i > 0).then(|| ">speed-up".to_owned()));
    }
    let mut table = Table::new(&heads.iter().map(String::as_str).collect::<Vec<_>>());
    let mut rest = &found.figures[..];
    while let Some(first) = rest.first() {
        let same = rest.iter().take_while(|f| f.operation == first.operation).count();
        let mut row = vec![first.operation.to_string()];
        for (i, figure) in rest[..same].iter().enumerate() {
            row.extend([time(figure.seconds), format!("{:.1}", figure.floor_ratio())]);
            row.extend((i > 0).then(|| format!("{:.2}", first.seconds / figure.seconds)));
        }
        table.row(row);
        rest = &rest[same..];
    }
    format!(
        "shape {name}: N = 2^{log_n}, {limbs} + {special} limbs, {digits} digits\n{}",
        table.render()
    )
}

/// The figures as JSON.
fn rows(found: &Measured) -> impl Iterator<Item = Value> {
    found.figures.iter().map(|figure| {
        let (limbs, special, digits) = figure.counts();
        json!({
            "operation": figure.operation.name(),
            "shape": figure.shape.name,
            "log_n": figure.shape.log_n,
            "limbs": limbs,
            "special": special,
            "digits": digits,
            "threads": figure.threads,
            "isa": figure.isa.name(),
            "clock": Clock::of_threads(figure.threads).name(),
            "seconds": figure.seconds,
            "floor_ratio": figure.floor_ratio(),
        })
    })
}

fn kernels(found: &Measured) -> Value {
    let Kernels { forward, inverse, product, addition, raise, lower, uniform, fresh } =
        found.kernels;
    json!({
        "shape": found.shape.name,
        "forward": forward,
        "inverse": inverse,
        "product": product,
        "addition": addition,
        "raise_digit": raise,
        "lower_special": lower,
        "uniform": uniform,
        "fresh_byte": fresh,
    })
}
