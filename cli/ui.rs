//! The terminal: results on standard output, progress and warnings on standard error.
//!
//! Nothing else of this crate writes to either. A closed pipe is no error.

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Map, Value, json};

use crate::args::Global;
use crate::{failure, format};

/// What a command hands back: the fields of the JSON line.
pub(crate) type Outcome = Map<String, Value>;

/// Work shorter than this shows no progress.
const PATIENCE: Duration = Duration::from_secs(1);

/// How to talk to the user.
#[derive(Debug)]
pub(crate) struct Ui {
    quiet: bool,
    mute: bool,
    verbose: bool,
    json: bool,
}

impl Ui {
    /// As the options ask.
    pub(crate) fn new(global: &Global) -> Self {
        Self { quiet: global.quiet, mute: false, verbose: global.verbose, json: global.json }
    }

    /// The same without results: progress, warnings and details remain.
    pub(crate) fn silent(&self) -> Self {
        Self { mute: true, json: false, ..*self }
    }

    /// A line of the result.
    pub(crate) fn say(&self, text: &str) {
        if !self.quiet && !self.mute {
            print(text);
        }
    }

    /// A result that was asked for, shown even with `--quiet`.
    pub(crate) fn show(&self, text: &str) {
        print(text);
    }

    /// A detail for `--verbose`.
    pub(crate) fn detail(&self, text: &str) {
        if self.verbose {
            complain(text);
        }
    }

    /// Something that the user should know although the command goes on.
    pub(crate) fn warn(&self, text: &str) {
        complain(&format!("warning: {text}"));
    }

    /// Starts a step that may take a while; `total` is the number of parts, 0 if unknown.
    pub(crate) fn step(&self, name: &str, total: u64) -> Step {
        Step::start(name, total, self.verbose, !self.quiet && io::stderr().is_terminal())
    }

    /// Prints the JSON line, if it was asked for.
    pub(crate) fn finish(&self, outcome: Outcome) {
        if self.json {
            print(&Value::Object(outcome).to_string());
        }
    }

    /// Reports an error and gives the exit code that it stands for.
    pub(crate) fn fail(&self, error: &anyhow::Error) -> ExitCode {
        let (text, code) = failure::describe(error);
        if !text.is_empty() {
            complain(&text);
        }
        if self.json {
            let verdict = error.downcast_ref::<failure::Refused>();
            let mut outcome = verdict.map_or_else(Outcome::new, |refused| refused.outcome.clone());
            outcome.insert("error".to_owned(), json!(error.to_string()));
            self.finish(outcome);
        }
        code
    }

    /// Says which file was written and how large it is, and records it under `key`.
    pub(crate) fn wrote(&self, outcome: &mut Outcome, key: &str, path: &Path, note: &str) {
        let size = fs::metadata(path).map_or(0, |m| m.len());
        let note = if note.is_empty() { String::new() } else { format!("  {note}") };
        self.say(&format!("wrote {} ({}){note}", path.display(), format::bytes(size)));
        outcome.insert(key.to_owned(), file(path));
    }
}

/// A file in JSON: its name and bytes.
pub(crate) fn file(path: &Path) -> Value {
    let size = fs::metadata(path).map_or(0, |m| m.len());
    json!({ "file": path.display().to_string(), "bytes": size })
}

/// A line on standard error.
pub(crate) fn complain(text: &str) {
    let _closed_pipe = writeln!(io::stderr().lock(), "{text}");
}

fn print(text: &str) {
    let mut out = io::stdout().lock();
    let _closed_pipe = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// A step in progress; its bar appears after a second and goes when the step ends.
#[derive(Debug)]
pub(crate) struct Step {
    name: String,
    started: Instant,
    bar: ProgressBar,
    verbose: bool,
    drawing: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Step {
    fn start(name: &str, total: u64, verbose: bool, visible: bool) -> Self {
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::hidden());
        bar.set_style(style(total > 0));
        bar.set_message(name.to_owned());
        let drawing = visible.then(|| {
            let (stop, stopped) = mpsc::channel();
            let bar = bar.clone();
            let drawer = thread::spawn(move || {
                if stopped.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                    bar.set_draw_target(ProgressDrawTarget::stderr());
                    bar.enable_steady_tick(Duration::from_millis(100));
                }
            });
            (stop, drawer)
        });
        Self { name: name.to_owned(), started: Instant::now(), bar, verbose, drawing }
    }

    /// `done` parts are done.
    pub(crate) fn at(&self, done: u64) {
        self.bar.set_position(done);
    }

    /// `done` of `total` parts are done.
    pub(crate) fn at_of(&self, done: u64, total: u64) {
        if self.bar.length() != Some(total) {
            self.bar.set_length(total);
            self.bar.set_style(style(total > 0));
        }
        self.bar.set_position(done);
    }

    /// What is being done right now.
    pub(crate) fn now(&self, what: &str) {
        self.bar.set_message(format!("{}: {what}", self.name));
    }

    /// Ends the step and gives its duration.
    pub(crate) fn end(self) -> Duration {
        let taken = self.started.elapsed();
        if self.verbose {
            let name = self.name.clone();
            drop(self);
            complain(&format!("{name}: {}", format::time(taken)));
        }
        taken
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if let Some((stop, drawer)) = self.drawing.take() {
            drop(stop);
            let _panicked = drawer.join();
        }
        self.bar.finish_and_clear();
    }
}

fn style(bounded: bool) -> ProgressStyle {
    let template = if bounded {
        "{spinner} {msg} [{bar:32}] {percent}% {elapsed}"
    } else {
        "{spinner} {msg} {elapsed}"
    };
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
