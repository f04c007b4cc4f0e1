//! The end-to-end test: the real binary and the real servers, started from the configuration files
//! that the compose stack mounts, on one stack, check after check.
//!
//! `cargo test -p streamhouse-tests --test e2e -- --live [PART OF A NAME] [--report FILE]` runs it
//! and writes what it has measured into FILE, if given; without `--live` it only says that it was
//! not asked for, so that `cargo test` stays quick. The last line is "N passed, N failed, N
//! skipped"; a check whose server cannot be built here is skipped.
//!
//! For the alerts time passes ten times as fast as in production: `stack::PACE` divides how often
//! is scraped, exported and evaluated, every window and every wait, all by one function.
#![allow(clippy::expect_used, clippy::print_stdout, reason = "a test fails and tells as tests do")]

mod world; //   what the checks share
mod figures; // what was measured, and the report
mod boot; //    configurations hold before their own servers, and all of these start
mod way; //     signals on their way through the collector
mod drive; //   known work, and what the metrics say of it
mod parity; //  the same series by scrape and by OTLP
mod queries; // everything that is shipped to be asked
mod traces; //  one request from its arrival to the object store, and its log lines
mod alarms; //  alerts that fire and end
mod outages; // the stack fails, StreamHouse does not
mod gateway; // the production collector
mod alone; //   the stack for a person, without containers
mod guide; //   the setup guide

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Instant;
use world::{Outcome, World};

/// A check: the sentence it proves, and how.
type Check = (&'static str, fn(&mut World) -> Result<(), Outcome>);

/// In this order; later ones find the stack as earlier ones left it.
const CHECKS: &[Check] = &[
    ("the collector accepts its configurations", boot::the_collector_accepts),
    ("the collector accepts the agent of its README", boot::the_collector_accepts_the_agent),
    ("promtool accepts Prometheus' configuration", boot::promtool_accepts),
    ("the alerts fire as their cases say", boot::the_alerts_fire_as_their_cases_say),
    ("amtool accepts Alertmanager's configuration", boot::amtool_accepts),
    ("the compose loader accepts docker-compose.yml", boot::the_compose_loader_accepts),
    ("every server of the stack starts and is ready", boot::everything_starts),
    ("StreamHouse is ready on the stack's S3 server", boot::streamhouse_is_ready),
    ("the build info arrives by scrape and through the collector", boot::both_jobs_are_there),
    ("spans, log records and exemplars arrive in their stores", way::everything_arrives),
    ("a secret in a span or a log record reaches no store", way::secrets_reach_no_store),
    ("what a dead store cannot take survives a crash of the collector", way::the_queue_survives),
    ("an alert reaches the webhook and the store of logs", way::alerts_reach_the_webhook),
    ("an agent that is down silences what else is said of it", way::a_dead_agent_inhibits),
    ("what was produced, consumed and stored is counted exactly", drive::counts_are_true),
    ("a produce request is one graph from the socket to the object store", traces::it_is_a_graph),
    ("every line of a request is found in the store of logs by its trace", traces::its_lines),
    ("the same series leave by scrape and by OTLP in native mode", parity::native),
    ("every query of a runbook is answered", queries::runbooks),
    ("every metric that an alert asks for is there", queries::rules),
    ("throttling and lost telemetry fire and end", alarms::throttling_and_loss),
    ("a failed request and a failed PUT are errors in their traces", traces::errors),
    ("every query of the boards is answered", queries::boards),
    ("an agent that is down fires and ends", alarms::agent_down),
    ("without Prometheus and with a hung collector nothing slows down", outages::nothing_slows),
    ("the same series leave by scrape and by OTLP in bridge mode", parity::bridge),
    ("the gateway takes what carries its token, samples and passes on", gateway::it_passes_on),
    (
        "the setup guide's commands and configurations work",
        guide::its_commands_and_configurations_work,
    ),
    ("scripts/stack starts, shows and stops a whole stack", alone::up_status_and_down_are_true),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(live) = arguments.iter().position(|argument| argument == "--live") else {
        println!("SKIPPED all: not asked for; `--live` after `--` runs them on real servers");
        println!("0 passed, 0 failed, {} skipped", CHECKS.len());
        return ExitCode::SUCCESS;
    };
    let option = |after: usize| arguments.get(after).map(String::as_str);
    let report = arguments.iter().position(|argument| argument == "--report");
    let report = report.and_then(|at| option(at + 1));
    let part = option(live + 1).filter(|part| !part.starts_with("--")).unwrap_or_default();
    let mut world = match World::new() {
        Ok(world) => world,
        Err(error) => {
            println!("FAIL the world: {error}\n0 passed, 1 failed, 0 skipped");
            return ExitCode::FAILURE;
        }
    };
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for (name, check) in CHECKS.iter().filter(|(name, _)| name.contains(part)) {
        let start = Instant::now();
        let result = catch_unwind(AssertUnwindSafe(|| check(&mut world)));
        let seconds = start.elapsed().as_secs_f64();
        match result {
            Ok(Ok(())) => {
                passed += 1;
                println!("PASS {name} ({seconds:.1} s)");
                world.figures.ended(name, &format!("passed in {seconds:.1} s"));
            }
            Ok(Err(Outcome::Skipped(why))) => {
                skipped += 1;
                println!("SKIPPED {name}: {why}");
                world.figures.ended(name, "skipped");
            }
            Ok(Err(Outcome::Failed(why))) => {
                failed += 1;
                println!("FAIL {name} ({seconds:.1} s): {why}");
                world.figures.ended(name, "**failed**");
            }
            Err(_) => {
                failed += 1;
                println!("FAIL {name} ({seconds:.1} s): it panicked, see above");
                world.figures.ended(name, "**failed**");
            }
        }
    }
    world.weigh();
    world.end();
    println!("{}", world.figures);
    if let Some(path) = report
        && let Err(error) = world.figures.write(path)
    {
        println!("FAIL the report: {path}: {error}");
        failed += 1;
    }
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
