//! The report of a compilation, for people and for machines.

use heplan_compiler::report::{FunctionReport, NodeLayout, Quality, Report, Sent, Standing, Trade};
use serde_json::{Value, json};

use crate::format::{self, Table};
use crate::ui::Outcome;

/// The report in words.
pub(crate) fn words(report: &Report) -> String {
    let Report { simulation, approximation, .. } = report;
    let mut lines =
        vec![format!("model {:?}", report.name), format!("  answers    {}", quality(simulation))];
    if !report.functions.is_empty() {
        lines.push(format!("  of which approximation alone: {}", quality(approximation)));
    }
    lines.push(format!(
        "  security   128 bits (classical): ring 2^{}, modulus {:.1} of at most {:.0} bits",
        report.log_n, report.log_qp, report.log_qp_bound
    ));
    lines.push(format!(
        "  plan       {} levels at scale 2^{}, {} diagonals, {} key switches",
        report.levels, report.scale_bits, report.diagonals, report.key_switches
    ));
    if report.refreshes > 0 {
        lines.push(format!("  refreshes  {} bootstraps in a run", report.refreshes));
    }
    lines.push(format!(
        "  keys       {} evaluation keys, about {}",
        report.keys,
        format::bytes(report.key_bytes)
    ));
    let Sent { bytes, coefficients, of } = report.input;
    lines.push(format!(
        "  input      about {}, {coefficients} of {of} coefficients",
        format::bytes(bytes)
    ));
    lines.push(format!(
        "  a run      about {} on one thread (predicted), the first {}; it takes about {} of memory",
        seconds(report.seconds),
        seconds(report.first_seconds),
        format::bytes(report.peak_bytes)
    ));
    if report.batch > 1 {
        lines.push(format!(
            "  samples    {} share each ciphertext: a run answers them all, {} for each",
            report.batch,
            seconds(report.seconds / report.batch as f64)
        ));
    }
    if report.trades.len() > 1 {
        lines.push(String::new());
        lines.push(trades(&report.trades));
    }
    if !report.functions.is_empty() {
        lines.push(String::new());
        lines.push(functions(&report.functions));
        lines.extend(report.functions.iter().filter(|f| f.undecided > 0.0).map(undecided));
    }
    lines.join("\n")
}

fn seconds(predicted: f64) -> String {
    format::time(std::time::Duration::from_secs_f64(predicted.clamp(0.0, 1e9)))
}

/// Agreement and error in one line.
pub(crate) fn quality(q: &Quality) -> String {
    let agreement = q.agreement.map_or(String::new(), |a| {
        format!("same class as the float model for {:.1} %, ", 100.0 * a)
    });
    format!(
        "{agreement}largest error {:.2e} of the range ({:.1} bits), over {} samples",
        q.max_error, q.precision_bits, q.samples
    )
}

/// What smaller keys cost in time, for `--max-key-size`.
fn trades(trades: &[Trade]) -> String {
    let mut table = Table::new(&[">keys", ">first run, one thread", ">later runs", ""]);
    for trade in trades {
        table.row([
            format::bytes(trade.key_bytes),
            seconds(trade.seconds),
            seconds(trade.run_seconds),
            match trade.standing {
                Standing::Estimated => "",
                Standing::Chosen => "this plan",
                Standing::TooNoisy => "too noisy for --precision-bits",
            }
            .to_owned(),
        ]);
    }
    table.render()
}

fn functions(functions: &[FunctionReport]) -> String {
    let heads = ["node", "function", ">range", ">degree", ">levels", ">largest error", ">outside"];
    let mut table = Table::new(&heads);
    for f in functions {
        table.row([
            f.origin.clone(),
            f.function.clone(),
            format!("{:.3} to {:.3}", f.range.0, f.range.1),
            f.degree.to_string(),
            f.depth.to_string(),
            format!("{:.2e}", f.max_error),
            format!("{:.2} %", 100.0 * f.outside),
        ]);
    }
    table.render()
}

/// What comparisons leave open.
fn undecided(f: &FunctionReport) -> String {
    format!(
        "{}: {:.2} % of the values compared are, or may be in samples to come, too near to their \
         threshold to be decided: the answer then lies between those of both sides",
        f.origin,
        100.0 * f.undecided
    )
}

/// The report as a JSON object.
pub(crate) fn json(report: &Report) -> Outcome {
    let function = |f: &FunctionReport| {
        json!({
            "node": f.origin,
            "function": f.function,
            "range": [f.range.0, f.range.1],
            "degree": f.degree,
            "depth": f.depth,
            "max_error": f.max_error,
            "rms_error": f.rms_error,
            "outside": f.outside,
            "undecided": f.undecided,
        })
    };
    let layout = |l: &NodeLayout| {
        json!({
            "node": l.node,
            "reads": l.reads.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "layout": l.writes.to_string(),
            "next_best": l.next_best.as_ref().map(|(next, more)| json!({ "layout": next.to_string(), "seconds_more": more })),
        })
    };
    let trade = |t: &Trade| json!({ "key_bytes": t.key_bytes, "predicted_first_seconds": t.seconds, "predicted_seconds": t.run_seconds, "chosen": t.standing == Standing::Chosen });
    let value = json!({
        "name": report.name,
        "log_n": report.log_n,
        "levels": report.levels,
        "refreshes": report.refreshes,
        "scale_bits": report.scale_bits,
        "log_qp": report.log_qp,
        "log_qp_bound": report.log_qp_bound,
        "security_bits": 128,
        "digits": report.digits,
        "key_switches": report.key_switches,
        "diagonals": report.diagonals,
        "keys": report.keys,
        "key_bytes": report.key_bytes,
        "input_bytes": report.input.bytes,
        "input_coefficients": [report.input.coefficients, report.input.of],
        "predicted_seconds": report.seconds,
        "predicted_first_seconds": report.first_seconds,
        "batch": report.batch,
        "predicted_sample_seconds": report.seconds / report.batch as f64,
        "predicted_peak_bytes": report.peak_bytes,
        "trades": report.trades.iter().map(trade).collect::<Vec<Value>>(),
        "layouts": report.layouts.iter().map(layout).collect::<Vec<Value>>(),
        "layout_gap": report.layout_gap.map(|gap| json!({ "found_seconds": gap.found, "at_least_seconds": gap.at_least })),
        "runner_up": report.runner_up.as_ref().map(|next| json!({
            "digit_size": next.digit_size,
            "special": next.special,
            "predicted_seconds": next.seconds,
            "key_bytes": next.key_bytes,
        })),
        "functions": report.functions.iter().map(function).collect::<Vec<Value>>(),
        "approximation": quality_json(&report.approximation),
        "simulation": quality_json(&report.simulation),
    });
    match value {
        Value::Object(map) => map,
        _ => Outcome::new(),
    }
}

fn quality_json(q: &Quality) -> Value {
    json!({
        "samples": q.samples,
        "rms_error": q.rms_error,
        "max_error": q.max_error,
        "precision_bits": q.precision_bits,
        "agreement": q.agreement,
    })
}
