//! The StreamHouse server as a library: configuration, wiring, admin HTTP, command line.
//!
//! Start at [`app::App`], which wires everything, or at [`cli::run`], which the binary calls.
//!
//! Invariant: only `app` wires, and only `main` reads the environment.
#![warn(missing_docs)]
mod admin; //      the admin port's routes
pub mod app; //    all wiring
pub mod cli; //    one file per command
pub mod config; // what the server can be told
mod health; //     the list of checks

use cli::Environment;
use config::Secret;
use std::process::ExitCode;

/// What the binary does: hands the process' arguments and environment to the command line. Only
/// this reads them.
pub fn main() -> ExitCode {
    let variables = std::env::vars_os().filter_map(|(name, value)| {
        // A variable that is no text cannot be one of ours.
        Some((name.into_string().ok()?, Secret::new(value.into_string().ok()?)))
    });
    let environment = Environment {
        variables: variables.collect(),
        folder: std::env::current_dir().unwrap_or_default(),
    };
    cli::run(std::env::args_os(), &environment)
}
