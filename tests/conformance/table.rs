//! What a run of the suite says: a table per operator, held as a snapshot.

use std::collections::BTreeMap;

use crate::case::Case;
use crate::run::Verdict;

/// A case with its verdict.
pub(crate) struct Judged {
    pub(crate) case: Case,
    pub(crate) verdict: Verdict,
    pub(crate) seconds: f64,
}

#[derive(Default)]
struct Row {
    passed: usize,
    refused: BTreeMap<String, usize>,
    wrong: usize,
}

/// A verdict in one line.
pub(crate) fn line(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Passed(plan) => {
            let p = &plan.parameters;
            format!("passed, N 2^{}, {} levels", p.log_n(), p.max_level())
        }
        Verdict::Refused(code, text) => format!("refused {code}: {text}"),
        Verdict::Wrong(text) => format!("WRONG: {text}"),
    }
}

fn rows(judged: &[Judged]) -> BTreeMap<&str, Row> {
    let mut rows: BTreeMap<&str, Row> = BTreeMap::new();
    for j in judged {
        let row = rows.entry(&j.case.operator).or_default();
        match &j.verdict {
            Verdict::Passed(_) => row.passed += 1,
            Verdict::Refused(code, _) => *row.refused.entry(code.clone()).or_default() += 1,
            Verdict::Wrong(_) => row.wrong += 1,
        }
    }
    rows
}

/// The totals and the slowest cases.
pub(crate) fn summary(judged: &[Judged], encrypted: usize) -> String {
    let count = |wanted: fn(&Verdict) -> bool| judged.iter().filter(|j| wanted(&j.verdict)).count();
    let mut slowest: Vec<&Judged> = judged.iter().collect();
    slowest.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
    let slowest: Vec<String> =
        slowest.iter().take(5).map(|j| format!("{} {:.1} s", j.case.name, j.seconds)).collect();
    format!(
        "{} cases: {} passed ({encrypted} of them encrypted too), {} refused, {} wrong; slowest {}",
        judged.len(),
        count(|v| matches!(v, Verdict::Passed(_))),
        count(|v| matches!(v, Verdict::Refused(..))),
        count(|v| matches!(v, Verdict::Wrong(_))),
        slowest.join(", ")
    )
}

/// Holds the table against `snapshots/conformance/operators.snap`.
pub(crate) fn check(judged: &[Judged]) {
    let mut text =
        "| operator | passed | refused | wrong | codes |\n|---|---|---|---|---|\n".to_owned();
    for (operator, row) in rows(judged) {
        let refused: usize = row.refused.values().sum();
        let codes: Vec<String> =
            row.refused.iter().map(|(code, n)| format!("{code} × {n}")).collect();
        text += &format!(
            "| {operator} | {} | {refused} | {} | {} |\n",
            row.passed,
            row.wrong,
            codes.join(", ")
        );
    }
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../../snapshots/conformance");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!("operators", text));
}
