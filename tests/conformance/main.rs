//! The ONNX project's own tests: every one with a float data input is compiled and simulated, and
//! some run on real ciphertexts.
//!
//! `cargo test --release --features conformance --test conformance`; it fetches the tests by
//! itself. `HEPLAN_CONFORMANCE=part` runs only the cases whose name or operator has that part,
//! prints every verdict and leaves the snapshot alone; an empty part prints them all and holds the
//! snapshot.

mod case;
mod run;
#[path = "../common/simulation.rs"]
mod simulation;
mod table;
mod tail;
mod wheel;

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use case::Case;
use run::Verdict;
use table::Judged;

/// Levels of the largest ring that a plan may have to be encrypted here, as a logarithm.
const SMALL: u32 = 14;
/// One in so many cases is encrypted, beside one per operator.
const SHARE: usize = 10;

/// Applies `work` to every item, on all cores.
fn parallel<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(index) else { return };
                    let result = work(item);
                    results.lock().expect("no worker panics").push((index, result));
                }
            });
        }
    });
    let mut results = results.into_inner().expect("no worker panics");
    results.sort_by_key(|r| r.0);
    results.into_iter().map(|r| r.1).collect()
}

#[test]
fn the_onnx_projects_own_tests_are_never_answered_wrongly() {
    let only = std::env::var("HEPLAN_CONFORMANCE").ok();
    let tests = wheel::tests();
    assert!(tests.len() > 1800, "{} tests in the wheel", tests.len());
    let mut cases = case::cases(&tests);
    if let Some(part) = &only {
        cases.retain(|c| c.name.contains(part.as_str()) || c.operator == *part);
        for (name, why) in case::unreadable(&tests).iter().filter(|u| u.0.contains(part.as_str())) {
            println!("unreadable {name}: {why}");
        }
    }
    std::panic::set_hook(Box::new(|_| {}));
    let judged: Vec<Judged> = parallel(&cases, |case: &Case| {
        let started = Instant::now();
        let verdict = run::judge(case);
        let seconds = started.elapsed().as_secs_f64();
        if only.is_some() {
            let text = table::line(&verdict);
            println!("{seconds:6.2} s  {:16} {:60} {text}", case.operator, case.name);
        }
        Judged { case: case.clone(), verdict, seconds }
    });
    let picked = encrypted_cases(&judged);
    let failed: Vec<String> = parallel(&picked, |(case, plan)| {
        let caught =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run::encrypted(case, plan)));
        let result = caught.unwrap_or_else(|_| Err("panicked".to_owned()));
        result.err().map(|e| format!("{} encrypted: {e}", case.name))
    })
    .into_iter()
    .flatten()
    .collect();
    let _ = std::panic::take_hook();
    println!("{}", table::summary(&judged, picked.len()));
    let wrong: Vec<String> = judged
        .iter()
        .filter_map(|j| match &j.verdict {
            Verdict::Wrong(text) => Some(format!("{}: {text}", j.case.name)),
            _ => None,
        })
        .chain(failed)
        .collect();
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    if only.is_none_or(|part| part.is_empty()) {
        table::check(&judged);
    }
}

/// One passed case per operator, the smallest, and every tenth.
fn encrypted_cases(judged: &[Judged]) -> Vec<(&Case, &heplan_ir::plan::Plan)> {
    let small: Vec<(&Case, &heplan_ir::plan::Plan)> = judged
        .iter()
        .filter_map(|j| match &j.verdict {
            Verdict::Passed(plan) => Some((&j.case, &**plan)),
            _ => None,
        })
        .filter(|(_, plan)| plan.parameters.log_n() <= SMALL)
        .collect();
    let cost = |plan: &heplan_ir::plan::Plan| (plan.parameters.log_n(), plan.keys.len());
    let best = |case: &Case| {
        let same = small.iter().filter(|s| s.0.operator == case.operator);
        same.min_by_key(|s| cost(s.1)).is_some_and(|s| s.0.name == case.name)
    };
    let chosen = small.iter().enumerate().filter(|(i, s)| i % SHARE == 0 || best(s.0));
    chosen.map(|(_, s)| *s).collect()
}
