//! What a run has measured.

use std::fmt;
use streamhouse_tests::compose::root;
use streamhouse_tests::stack::PACE;

/// Figures by name, in the order in which they were measured.
#[derive(Debug, Default)]
pub struct Figures {
    notes: Vec<(String, String)>,
    checks: Vec<(String, String)>,
}

impl Figures {
    /// Keeps what was measured under `what`.
    pub fn note(&mut self, what: &str, told: &str) {
        self.notes.push((what.to_owned(), told.to_owned()));
    }

    /// Keeps how a check has ended.
    pub fn ended(&mut self, check: &str, how: &str) {
        self.checks.push((check.to_owned(), how.to_owned()));
    }

    /// Writes the report.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub fn write(&self, path: &str) -> std::io::Result<()> {
        std::fs::write(root().join(path), self.report())
    }

    fn report(&self) -> String {
        let mut text = format!(
            "# The whole stack, as it was last run\n\n\
             Written by `cargo test -p streamhouse-tests --test e2e -- --live --report docs/END_TO_END.md` on real servers, built from\n\
             [tests/stack](../tests/stack): StreamHouse, an S3 server, the collector, Prometheus, Alertmanager, Jaeger and VictoriaLogs, with the\n\
             configurations that `docker-compose.yml` mounts. Scrapes, exports and evaluations came {PACE} times as often as shipped, and the windows and\n\
             waits of alerts were {PACE} times shorter; thresholds were as shipped.\n\n\
             | figure | measured |\n|---|---|\n"
        );
        for (what, told) in &self.notes {
            text.push_str(&format!("| {what} | {told} |\n"));
        }
        text.push_str("\n| check | ended |\n|---|---|\n");
        for (check, how) in &self.checks {
            text.push_str(&format!("| {check} | {how} |\n"));
        }
        text
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.notes.iter().try_for_each(|(what, told)| writeln!(f, "{what}: {told}"))
    }
}
