//! The end-to-end test: the real binary and the real servers, started from the configuration files
//! that the compose stack mounts, on one stack, check after check.
//!
//! `cargo test -p streamhouse-tests --test e2e -- --live [PART OF A NAME]` runs it; without
//! `--live` it only says that it was not asked for, so that `cargo test` stays quick. The last
//! line is "N passed, N failed, N skipped"; a check whose server cannot be built here is skipped.
#![allow(clippy::expect_used, clippy::print_stdout, reason = "a test fails and tells as tests do")]

mod alone; //  the stack for a person, without containers
mod boot; //   configurations hold before their own servers, and all of these start
mod gateway; // the production collector
mod guide; //  the setup guide
mod way; //    signals on their way through the collector
mod world; //  what the checks share

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
    let part = arguments.get(live + 1).map_or("", String::as_str);
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
            }
            Ok(Err(Outcome::Skipped(why))) => {
                skipped += 1;
                println!("SKIPPED {name}: {why}");
            }
            Ok(Err(Outcome::Failed(why))) => {
                failed += 1;
                println!("FAIL {name} ({seconds:.1} s): {why}");
            }
            Err(_) => {
                failed += 1;
                println!("FAIL {name} ({seconds:.1} s): it panicked, see above");
            }
        }
    }
    world.end();
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
