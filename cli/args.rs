//! The command line: every command and what they share.
//!
//! Every flag has an environment variable, `HEPLAN_` and its long name in capitals.

use clap::builder::BoolishValueParser;
use clap::{ArgAction, Args, Parser, Subcommand};

use crate::commands::{
    bench, check, check_onnx, compile, decrypt, demo, encrypt, explain, inspect, keygen, run,
};

const ABOUT: &str = "Runs neural networks on encrypted data";

const LONG_ABOUT: &str = "\
Runs neural networks on encrypted data: the model never leaves its owner, the input never leaves \
its client in the clear.

  model owner   heplan compile -m model.onnx -c calibration.npz   model.plan, model.keyparams
  client        heplan keygen  -i model.keyparams                 client.key, client.key.pub
  client        heplan encrypt -k client.key -i input.npy         input.enc
  model owner   heplan run     -p model.plan -k client.key.pub -i input.enc   output.enc
  client        heplan decrypt -k client.key -i output.enc        output.npy

The model owner sends model.keyparams to the client; the client sends client.key.pub and input.enc \
to the model owner; output.enc comes back. client.key stays with the client, model.plan with the \
model owner.

Start with `heplan demo`, which does all of this on a bundled digit.";

const AFTER_HELP: &str = "\
Every flag can be given as an environment variable: HEPLAN_ and its long name in capitals \
(HEPLAN_MODEL, HEPLAN_THREADS, HEPLAN_JSON=1). A flag on the command line wins.

Exit codes: 0 fine, 1 the input is at fault or the command was interrupted, 2 wrong usage, 70 a \
bug of heplan.";

/// Everything that was typed.
#[derive(Debug, Parser)]
#[command(name = "heplan", version, about = ABOUT, long_about = LONG_ABOUT)]
#[command(after_long_help = AFTER_HELP, max_term_width = 100, hide_possible_values = false)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command understands.
#[derive(Debug, Args)]
#[command(next_help_heading = "Common options")]
pub(crate) struct Global {
    /// Say more on standard error: every step with its time
    #[arg(short, long, global = true, env = "HEPLAN_VERBOSE", hide_env_values = true)]
    #[arg(action = ArgAction::SetTrue, value_parser = BoolishValueParser::new())]
    #[arg(conflicts_with = "quiet")]
    pub(crate) verbose: bool,

    /// Say nothing but warnings and errors
    #[arg(short, long, global = true, env = "HEPLAN_QUIET", hide_env_values = true)]
    #[arg(action = ArgAction::SetTrue, value_parser = BoolishValueParser::new())]
    pub(crate) quiet: bool,

    /// End standard output with one line that is a JSON object
    #[arg(long, global = true, env = "HEPLAN_JSON", hide_env_values = true)]
    #[arg(action = ArgAction::SetTrue, value_parser = BoolishValueParser::new())]
    pub(crate) json: bool,

    /// Worker threads [default: one per processor]; the result does not depend on it
    #[arg(long, value_name = "N", global = true, env = "HEPLAN_THREADS", hide_env_values = true)]
    #[arg(value_parser = threads)]
    pub(crate) threads: Option<usize>,
}

/// One command each, in the order in which they are used.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    #[command(visible_alias = "keyparams")]
    Compile(compile::Options),
    Keygen(keygen::Options),
    Encrypt(encrypt::Options),
    #[command(visible_alias = "inference")]
    Run(run::Options),
    Decrypt(decrypt::Options),
    Inspect(inspect::Options),
    Explain(explain::Options),
    #[command(name = "check-onnx")]
    CheckOnnx(check_onnx::Options),
    Check(check::Options),
    Demo(demo::Options),
    Bench(bench::Options),
}

fn threads(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(n @ 1..=1024) => Ok(n),
        _ => Err("give a number from 1 to 1024".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_has_its_environment_variable() {
        let root = Cli::command();
        let commands = root.get_subcommands().chain([&root]);
        for (command, arg) in commands.flat_map(|c| c.get_arguments().map(move |a| (c, a))) {
            let Some(long) = arg.get_long().filter(|l| !["help", "version"].contains(l)) else {
                continue;
            };
            let wanted = format!("HEPLAN_{}", long.replace('-', "_").to_uppercase());
            let found = arg.get_env().map(|e| e.to_string_lossy().into_owned());
            assert_eq!(found, Some(wanted), "{} --{long}", command.get_name());
        }
    }

    #[test]
    fn every_command_teaches_with_an_example() {
        for command in Cli::command().get_subcommands().filter(|c| c.get_name() != "help") {
            let help = command.get_long_about().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("heplan "), "{} has no example", command.get_name());
        }
    }
}
