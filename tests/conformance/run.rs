//! One case: compile, simulate, compare; and the same on real ciphertexts.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant};

use bytes::Bytes;
use heplan_ckks::backend::DEFAULT_CACHE_BYTES;
use heplan_ckks::client::{Client, Sharing};
use heplan_ckks::files::ciphertexts::CiphertextFile;
use heplan_ckks::server::Server;
use heplan_compiler::data::Samples;
use heplan_compiler::import;
use heplan_compiler::judge::Judge;
use heplan_compiler::options::{MAX_ERROR, Options};
use heplan_compiler::pipeline::observer::{Observer, Stage};
use heplan_compiler::pipeline::{CompileError, compile};
use heplan_compiler::reference::Executor;
use heplan_compiler::report::spans;
use heplan_ir::diagnostic::{Code, Diagnostic};
use heplan_ir::entity::ValueId;
use heplan_ir::plan::Plan;
use heplan_ir::slots::Port;
use heplan_ir::tail::{Answer, Step};
use heplan_ir::tensor::{Graph, Op, Value};
use heplan_lattice::Seed;
use heplan_onnx::Model;
use heplan_runtime::executor::Executor as Runner;

use crate::case::{Case, Tensor};
use crate::simulation::Simulation;
use crate::tail;

/// Calibration samples: the test's own input, and copies of it.
const SAMPLES: usize = 24;
/// The longest that a compilation may take; none comes near it.
const LIMIT: Duration = Duration::from_secs(300);

/// The most elements of all values of a graph with functions, for the sake of time.
const LARGEST: usize = 90_000;
/// The most entries of a matrix, for the sake of time.
const LARGEST_MATRIX: usize = 2_000_000;

/// What became of a case.
#[derive(Clone, Debug)]
pub(crate) enum Verdict {
    /// Right, with the plan.
    Passed(Box<Plan>),
    /// Not compiled, for this reason: a diagnostic's code, and its text.
    Refused(String, String),
    /// A wrong answer, a panic or a breach.
    Wrong(String),
}

/// Ends a compilation that takes too long.
struct Clock(Instant);

/// What it unwinds with.
struct TooLong;

impl Observer for Clock {
    fn after(&mut self, _: &'static str, _: Stage<'_>) {
        self.progress("");
    }

    fn progress(&mut self, _: &str) {
        if self.0.elapsed() > LIMIT {
            resume_unwind(Box::new(TooLong));
        }
    }
}

/// The default wishes, but that outputs are no class scores.
pub(crate) fn options() -> Options {
    Options { min_agreement: 0.0, max_error: Some(MAX_ERROR), ..Options::recommended() }
}

/// Compiles and simulates a case.
pub(crate) fn judge(case: &Case) -> Verdict {
    match catch_unwind(AssertUnwindSafe(|| attempt(case))) {
        Ok(Ok(plan)) => Verdict::Passed(Box::new(plan)),
        Ok(Err(verdict)) => verdict,
        Err(payload) if payload.is::<TooLong>() => {
            Verdict::Refused("time".to_owned(), format!("longer than {LIMIT:?}"))
        }
        Err(payload) => {
            let text = payload.downcast_ref::<String>().cloned();
            let text = text.or_else(|| payload.downcast_ref::<&str>().map(|s| (*s).to_owned()));
            Verdict::Wrong(format!("panicked: {}", text.unwrap_or_default()))
        }
    }
}

fn refused(findings: &[Diagnostic]) -> Verdict {
    let codes = findings.iter().map(|d| d.code.as_str()).next().unwrap_or_default();
    let texts: Vec<String> = findings
        .iter()
        .map(|d| {
            let node = d.node.as_ref().map_or(String::new(), |n| format!("{}: ", n.op));
            format!("{node}{}", d.message)
        })
        .collect();
    Verdict::Refused(codes.to_owned(), texts.join("; "))
}

/// All of it encrypted; what cannot be so, with the end of the graph left to the client.
fn attempt(case: &Case) -> Result<Plan, Verdict> {
    match attempt_with(case, true) {
        Err(first @ Verdict::Refused(..)) => match attempt_with(case, false) {
            Err(Verdict::Refused(..)) => Err(first),
            other => other,
        },
        other => other,
    }
}

fn attempt_with(case: &Case, encrypted_tail: bool) -> Result<Plan, Verdict> {
    let model = Model::from_bytes(&case.name, Bytes::from(case.model.clone()));
    let model = model.map_err(|e| refused(&[import::diagnose(&e)]))?;
    let wishes =
        import::Options { name: "case".to_owned(), encrypted_tail, ..import::Options::default() };
    let imported = import::import(&model, &wishes).map_err(|found| refused(&found))?;
    if !encrypted_tail && imported.answers.is_empty() {
        return Err(Verdict::Refused(String::new(), "the client computes nothing".to_owned()));
    }
    let samples = samples(case);
    // As the readers of calibration data and of inputs do, which are passed by here.
    if samples.inputs.iter().flatten().flatten().any(|x| !x.is_finite()) {
        let why = "encrypted data that is NaN or infinite".to_owned();
        return Err(Verdict::Refused(Code::Calibration.as_str().to_owned(), why));
    }
    let executor = Executor::new(&imported.graph);
    let float = executor.run_samples(&samples);
    let answers = &answers(&imported.graph, &imported.answers);
    // What is not a number over the calibration set, the compiler has to refuse.
    if float.iter().flatten().flatten().all(|x| x.is_finite()) {
        let meant: Vec<Vec<f64>> = answers.iter().map(|a| a.apply(&float[0][a.from])).collect();
        compare(case, answers, &meant, |wanted, found, tensor, _| {
            meaning(wanted, found, tensor.bits)
        })?;
    }
    bounded(&imported.graph)?;
    let mut clock = Clock(Instant::now());
    let compiled = compile(&imported.graph, &samples, &options(), &Simulation, &mut clock);
    let mut plan = match compiled {
        Ok(compiled) => compiled.plan,
        Err(CompileError::Rejected(found)) => return Err(refused(&found)),
        Err(broken @ CompileError::Broken { .. }) => {
            return Err(Verdict::Wrong(broken.to_string()));
        }
    };
    plan.answers = imported.answers;
    let test = [samples.sample(0)];
    let found = Simulation.simulate(&plan, &test).map_err(|e| Verdict::Wrong(e.to_string()))?;
    kept(case, answers, &float[0], &found[0], &spans(&float))?;
    Ok(plan)
}

/// What of every output the client makes: the output itself where nothing is said.
fn answers(graph: &Graph, answers: &[Answer]) -> Vec<Answer> {
    if !answers.is_empty() {
        return answers.to_vec();
    }
    let plain = |(from, (name, id)): (usize, &(String, ValueId))| Answer {
        name: name.clone(),
        shape: graph.value(*id).shape.clone(),
        from,
        steps: Vec::new(),
    };
    graph.outputs.iter().enumerate().map(plain).collect()
}

/// Refuses what would take too long here.
fn bounded(graph: &Graph) -> Result<(), Verdict> {
    let linear = |v: &Value| matches!(v.op, Op::Input { .. } | Op::Affine { .. });
    let values = &graph.values;
    let size: usize = values.iter().map(Value::elements).sum();
    if size > LARGEST && !values.iter().all(linear) {
        return Err(Verdict::Refused("size".to_owned(), format!("{size} elements in all")));
    }
    let matrices = values.iter().filter_map(|v| match &v.op {
        Op::Affine { terms, .. } => Some(terms),
        _ => None,
    });
    let largest = matrices.flatten().map(|t| graph.consts.matrix(t.1).nnz()).max();
    if let Some(entries) = largest.filter(|&n| n > LARGEST_MATRIX) {
        return Err(Verdict::Refused("size".to_owned(), format!("{entries} entries in a matrix")));
    }
    Ok(())
}

/// Whether a plan's outputs keep its promise, and whether the answers made of them are the test's:
/// within the same promise, or equal where something is decided that is no tie.
fn kept(
    case: &Case,
    answers: &[Answer],
    float: &[Vec<f64>],
    found: &[Vec<f64>],
    spans: &[f64],
) -> Result<(), Verdict> {
    let made: Vec<Vec<f64>> = answers.iter().map(|a| a.apply(&found[a.from])).collect();
    for (answer, made) in answers.iter().zip(&made) {
        let (float, found) = (&float[answer.from], &found[answer.from]);
        let span = spans[answer.from];
        if let Some(text) = promise(float, found, span) {
            return Err(Verdict::Wrong(format!("scores of {:?}: {text}", answer.name)));
        }
        let error = float.iter().zip(found).fold(0.0_f64, |m, (w, f)| m.max((w - f).abs()));
        let ties = tail::ties(answer, float, error);
        if ties.as_ref().is_some_and(|t| !t.is_empty() && t.iter().all(|&t| t)) {
            return Err(Verdict::Refused("tie".to_owned(), "nothing but ties".to_owned()));
        }
        let one = std::slice::from_ref(answer);
        let made = std::slice::from_ref(made);
        compare(case, one, made, |wanted, found, _, _| {
            let Some(ties) = &ties else {
                // Without steps it is the output; other steps have ranges of their own.
                let own = wanted.iter().fold(0.0_f64, |m, w| m.max(w.abs()));
                let span = if answer.steps.is_empty() { span } else { own.max(span) };
                return promise(wanted, found, span);
            };
            // These keep what they do not drop, with its error.
            let keep = |s: &Step| matches!(s, Step::ThresholdedRelu { .. } | Step::Shrink { .. });
            let error = if answer.steps.iter().any(keep) { 2.0 * error } else { 0.0 };
            let near = |w: f64, f: f64| (w - f).abs() <= 1e-5 * w.abs() + error;
            let mut pairs = wanted.iter().zip(found).zip(ties).enumerate();
            pairs.find_map(|(i, ((w, f), tie))| {
                (!tie && !near(*w, *f)).then(|| format!("{f} at {i}, not {w}, and no tie"))
            })
        })?;
    }
    Ok(())
}

/// The test's own input first, then copies: every fourth as it is, the others shrunk towards the mean, shaken by a tenth of the
/// standard deviation, and kept within the input's range, since functions have domains.
fn samples(case: &Case) -> Samples {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as f64 / (1u64 << 31) as f64
    };
    let mut copies = |x: &Tensor| -> Vec<Vec<f64>> {
        let n = x.data.len().max(1) as f64;
        let mean = x.data.iter().sum::<f64>() / n;
        let deviation = (x.data.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt();
        let (low, high) = x
            .data
            .iter()
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(*v), h.max(*v)));
        let mut all = vec![x.data.clone()];
        for s in 1..SAMPLES {
            if s % 4 == 0 {
                all.push(x.data.clone());
                continue;
            }
            let scale = 0.7 + 0.3 * next();
            let copy = |v: &f64| {
                let shaken = mean + scale * (v - mean) + 0.2 * deviation * (next() - 0.5);
                // NaN and infinity stay what they are, for the compiler to refuse.
                if shaken.is_nan() { *v } else { shaken.max(low).min(high) }
            };
            all.push(x.data.iter().map(copy).collect());
        }
        all
    };
    Samples { inputs: case.inputs.iter().map(&mut copies).collect(), ..Samples::default() }
}

/// Whether the float model means what ONNX means; the tolerance of ONNX's own runner.
fn meaning(wanted: &[f64], found: &[f64], bits: u32) -> Option<String> {
    let relative = 1e-3_f64.max(2.0_f64.powi(1 - bits as i32));
    let reach = wanted.iter().filter(|w| w.is_finite()).fold(0.0_f64, |m, w| m.max(w.abs()));
    wanted.iter().zip(found).enumerate().find_map(|(i, (w, f))| {
        let same = w == f || w.is_nan() && f.is_nan();
        let near = (w - f).abs() <= relative * w.abs() + 1e-5 * reach + 1e-7;
        (!same && !near).then(|| format!("the importer means {f} at {i}, ONNX {w}"))
    })
}

/// Whether a plan keeps what was asked of it: a root mean square error within the wish, and noise
/// below the bits asked for. The wish is about the calibration set; the test's own input lies at
/// its edge and may have twice the error. `span` is the output's range over that set.
fn promise(wanted: &[f64], found: &[f64], span: f64) -> Option<String> {
    let bound = 2.0 * MAX_ERROR + 2.0_f64.powf(-options().precision());
    let error = |(w, f): (&f64, &f64)| ((w - f) / span).powi(2);
    let square: f64 = wanted.iter().zip(found).map(error).sum();
    let rms = (square / wanted.len().max(1) as f64).sqrt();
    (rms.is_nan() || rms > bound)
        .then(|| format!("error {rms:.2e} of the range, asked for {bound:.2e}"))
}

/// Compares each answer with the test's.
fn compare(
    case: &Case,
    answers: &[Answer],
    found: &[Vec<f64>],
    check: impl Fn(&[f64], &[f64], &Tensor, usize) -> Option<String>,
) -> Result<(), Verdict> {
    for (o, (Answer { name, .. }, found)) in answers.iter().zip(found).enumerate() {
        let Some((_, wanted)) = case.outputs.iter().find(|w| w.0 == *name) else {
            return Err(Verdict::Wrong(format!("output {name:?} is not compared")));
        };
        if wanted.data.len() != found.len() {
            let (f, w) = (found.len(), &wanted.shape);
            return Err(Verdict::Wrong(format!("{f} elements in output {name:?} of shape {w:?}")));
        }
        if let Some(text) = check(&wanted.data, found, wanted, o) {
            return Err(Verdict::Wrong(format!("output {name:?}: {text}")));
        }
    }
    Ok(())
}

/// Runs a plan that passed on real ciphertexts.
pub(crate) fn encrypted(case: &Case, plan: &Plan) -> Result<(), String> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (keys, input, output) =
        (folder.path().join("keys"), folder.path().join("in"), folder.path().join("out"));
    let run = || -> Result<Vec<Vec<f64>>, Box<dyn std::error::Error>> {
        let client = Client::new(plan.keyparams(), &Seed::new([7; 32]))?;
        client.write_evaluation_keys(&keys, |_| {})?;
        let sample = case.inputs.iter().map(|x| x.data.clone()).collect();
        client.encrypt(&[sample], &Seed::new([8; 32]))?.write(&input)?;
        let server = Server::open(plan, &plan.id(), &keys, DEFAULT_CACHE_BYTES)?;
        let inputs = server.open_inputs(&input)?;
        let parts = inputs.run(server.context(), 0)?;
        let answer = Runner::new(plan).run(server.backend(), parts, &mut ())?;
        server.write_outputs(&output, plan, inputs.header(), &[answer])?;
        let file = CiphertextFile::open(&output)?;
        Ok(client.decrypt(&file, None, &Sharing::Private)?.remove(0))
    };
    let found = run().map_err(|e| e.to_string())?;
    let plain = |(from, (port, _, _)): (usize, &(Port, _, _))| Answer {
        name: port.name.clone(),
        shape: port.shape.clone(),
        from,
        steps: Vec::new(),
    };
    let answers = match plan.answers.as_slice() {
        [] => plan.outputs.iter().enumerate().map(plain).collect(),
        answers => answers.to_vec(),
    };
    let (float, spans) = float(case, !plan.answers.is_empty());
    let verdict = kept(case, &answers, &float, &found, &spans);
    match verdict {
        Err(Verdict::Wrong(text)) => Err(text),
        _ => Ok(()),
    }
}

/// What the float model gives for the test's own input, and the ranges over the calibration set.
fn float(case: &Case, ended: bool) -> (Vec<Vec<f64>>, Vec<f64>) {
    let model = Model::from_bytes(&case.name, Bytes::from(case.model.clone()));
    let model = model.expect("it was imported before");
    let wishes = import::Options {
        name: "case".to_owned(),
        encrypted_tail: !ended,
        ..import::Options::default()
    };
    let imported = import::import(&model, &wishes).expect("it was imported before");
    let mut float = Executor::new(&imported.graph).run_samples(&samples(case));
    let spans = spans(&float);
    (float.swap_remove(0), spans)
}
