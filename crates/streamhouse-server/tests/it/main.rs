//! The real binary, as people use it.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod command_line; // help, exit codes, errors
mod configuration; // precedence, refusals, what `config` prints
mod data; //          topics and records through the command line
mod demo; //          the demo moves
mod documents; //     generated pages are what the binary prints
mod drain; //         a shutdown with work under way, in process
mod harness; //       starts and stops the binary
mod lifecycle; //     ready, health, SIGTERM
