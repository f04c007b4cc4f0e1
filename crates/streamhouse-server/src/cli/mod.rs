//! The command line: one file per command.
//!
//! Data goes to standard output, everything else to standard error. Exit codes: 0 it worked, 1 it
//! failed, 2 the command or the configuration makes no sense.
mod admin; //   what talks to a server's admin port
mod client; //  what talks to a server
mod config;
mod consume;
mod demo;
mod format; //  times, keys, values
mod group;
mod output; //  where data goes
mod produce;
mod serve;
mod server; //  the flags of what runs a server
mod signals;
mod topic;

pub use output::Failure;
pub use signals::{registry_json, registry_markdown};

use crate::config::Secret;
use clap::{Parser, Subcommand};
use output::Output;
use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

/// What a command may know about the process; only `main` asks for it.
#[derive(Clone, Debug)]
pub struct Environment {
    /// The environment's variables.
    pub variables: Vec<(String, Secret)>,
    /// The current folder.
    pub folder: PathBuf,
}

/// An event log that keeps its data in object storage and speaks the Kafka protocol.
#[derive(Debug, Parser)]
#[command(name = "streamhouse", version, max_term_width = 100, after_help = EXAMPLE)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLE: &str = "Example:
  streamhouse demo
      starts a server with a workload and says which addresses to open";

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Serve),
    Demo(demo::Demo),
    #[command(subcommand)]
    Topic(topic::Topic),
    #[command(subcommand)]
    Group(group::Group),
    Produce(produce::Produce),
    Consume(consume::Consume),
    Config(config::Config),
    Signals(signals::Signals),
}

impl Command {
    /// Whether its data is to be JSON; the server alone has none.
    fn is_json(&self) -> bool {
        let flag = match self {
            Self::Serve(_) => return false,
            Self::Demo(demo) => demo.output,
            Self::Topic(topic) => topic.client().output,
            Self::Group(group) => group.output(),
            Self::Produce(produce) => produce.client.output,
            Self::Consume(consume) => consume.client.output,
            Self::Config(config) => config.output,
            Self::Signals(signals) => signals.output,
        };
        flag.is_json()
    }
}

/// Runs the command that `arguments` name and returns what the process should exit with.
pub fn run(arguments: impl Iterator<Item = OsString>, environment: &Environment) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help goes to standard output with 0, everything else to standard error with 2.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let mut output = Output::new(cli.command.is_json());
    let result = dispatch(cli.command, environment, &mut output).and_then(|()| output.flush());
    match result {
        Ok(()) | Err(Failure::ReaderGone) => ExitCode::SUCCESS,
        Err(failure) => {
            let _ = writeln!(std::io::stderr(), "error: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

fn dispatch(
    command: Command,
    environment: &Environment,
    output: &mut Output,
) -> Result<(), Failure> {
    match command {
        Command::Serve(serve) => serve.run(environment),
        Command::Demo(demo) => demo.run(environment, output),
        Command::Topic(topic) => topic.run(environment, output),
        Command::Group(group) => group.run(environment, output),
        Command::Produce(produce) => produce.run(environment, output),
        Command::Consume(consume) => consume.run(environment, output),
        Command::Config(config) => config.run(environment, output),
        Command::Signals(signals) => signals.run(output),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_contradicts_itself_nowhere() {
        Cli::command().debug_assert();
    }
}
