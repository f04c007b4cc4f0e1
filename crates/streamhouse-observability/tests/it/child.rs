//! What belongs to a whole process is tested in a process of its own: this binary again, told by
//! a variable to run one test that does nothing otherwise.

use std::process::{Command, Output};
use streamhouse_observability::logging::{self, LogCells, LogConfig};
use streamhouse_observability::{instruments::TelemetryMetrics, testing};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

const VARIABLE: &str = "STREAMHOUSE_TEST_CHILD";

fn child(name: &str, redirect: &str) -> Output {
    let this = std::env::current_exe().unwrap();
    let script = format!("exec \"$0\" --exact child::{name} --nocapture {redirect}");
    Command::new("sh").args(["-c", &script]).arg(this).env(VARIABLE, name).output().unwrap()
}

fn is_child(name: &str) -> bool {
    std::env::var(VARIABLE).is_ok_and(|value| value == name)
}

fn install() -> (logging::Logging, TelemetryMetrics) {
    let metrics = TelemetryMetrics::declare(&testing::in_memory().0);
    let (sink, terminal) = logging::standard_error();
    let config = LogConfig { terminal, ..LogConfig::new("streamhouse", "one") };
    let logging = logging::build(&config, sink, LogCells::new(&metrics)).unwrap();
    tracing_subscriber::registry().with(logging.layer()).init();
    (logging, metrics)
}

#[test]
fn panicking_child() {
    if is_child("panicking_child") {
        let (logging, _metrics) = install();
        logging::log_panics();
        let text = "first\nsecond \x1b[2J";
        std::thread::Builder::new()
            .name("worker".into())
            .spawn(move || panic!("{text}"))
            .unwrap()
            .join()
            .unwrap_err();
        drop(logging);
    }
}

#[test]
fn a_panic_is_one_error_line_with_its_message_and_place() {
    let output = child("panicking_child", "");
    let text = String::from_utf8(output.stderr).unwrap();
    let [line] = text.lines().collect::<Vec<_>>().try_into().unwrap();
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    assert_eq!((&line["level"], &line["target"]), (&"ERROR".into(), &"panic".into()));
    assert_eq!(line["fields"]["panic"], "first\nsecond \x1b[2J");
    assert_eq!(line["fields"]["thread"], "worker");
    assert!(line["fields"]["location"].as_str().unwrap().contains("child.rs:"));
}

#[test]
fn logging_child() {
    if is_child("logging_child") {
        let (logging, metrics) = install();
        (0..1_000).for_each(|n| tracing::info!(n, "a line"));
        drop(logging);
        use streamhouse_observability::labels::LogDrop;
        println!("lost {}", metrics.log_lines_dropped.bind(&LogDrop::SinkFailed).get());
    }
}

#[test]
fn standard_error_closed_or_full_or_gone_harms_nobody() {
    for (redirect, lost) in [
        ("2>/dev/full", 1_000),
        // Before main, the runtime opens the null device in its place.
        ("2>&-", 0),
        ("2>/dev/null", 0),
    ] {
        let output = child("logging_child", redirect);
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{redirect}: {text}");
        assert!(text.contains(&format!("lost {lost}\n")), "{redirect}: {text}");
    }
}
