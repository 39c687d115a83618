//! The `heplan` command: arguments, progress and rendering, nothing else.
//!
//! What is computed lives in the compiler, the runtime and the scheme; this crate is the only one
//! that sees all of them. It prints results on standard output, everything else on standard error.

mod args;
mod commands;
mod digit;
mod failure;
mod format;
mod interrupt;
mod judge;
mod report;
mod system;
mod ui;
mod writing;

use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command};
use ui::{Outcome, Ui};

fn main() -> ExitCode {
    failure::install_panic_hook();
    let cli = Cli::parse();
    let ui = Ui::new(&cli.global);
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| {
        interrupt::install()?;
        system::use_threads(cli.global.threads)?;
        dispatch(&cli.command, cli.global.threads, &ui)
    }));
    let result = outcome.unwrap_or_else(|_| Err(failure::Panicked.into()));
    match result {
        Ok(outcome) => {
            ui.finish(outcome);
            ExitCode::SUCCESS
        }
        Err(error) => ui.fail(&error),
    }
}

fn dispatch(command: &Command, threads: Option<usize>, ui: &Ui) -> anyhow::Result<Outcome> {
    match command {
        Command::Compile(args) => commands::compile::run(args, ui),
        Command::Keygen(args) => commands::keygen::run(args, ui),
        Command::Encrypt(args) => commands::encrypt::run(args, ui),
        Command::Run(args) => commands::run::run(args, ui),
        Command::Decrypt(args) => commands::decrypt::run(args, ui),
        Command::Inspect(args) => commands::inspect::run(args, ui),
        Command::Explain(args) => commands::explain::run(args, ui),
        Command::CheckOnnx(args) => commands::check_onnx::run(args, ui),
        Command::Check(args) => commands::check::run(args, ui),
        Command::Demo(args) => commands::demo::run(args, ui),
        Command::Bench(args) => commands::bench::run(args, threads, ui),
    }
}
