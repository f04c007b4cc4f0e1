//! What belongs to the whole process runs in a process of its own: this binary again, told by a
//! variable to run the body of one test.

use super::config;
use std::process::Command;
use std::time::{Duration, Instant};
use streamhouse_observability::labels::Signal;
use streamhouse_observability::pipeline::{Config, Observability, Protocol, StartError};
use streamhouse_observability::testing::otlp::{OtlpReceiver, RefusingPort};

const VARIABLE: &str = "STREAMHOUSE_TEST_PROCESS";

/// Runs `body` as test `name` in a process of its own, and returns its standard error; in that
/// process itself, nothing.
fn alone(name: &str, body: impl FnOnce()) -> Option<String> {
    if std::env::var(VARIABLE).is_ok_and(|value| value == name) {
        body();
        return None;
    }
    let test = format!("pipeline::process::{name}");
    let this = std::env::current_exe().unwrap();
    let mut command = Command::new(this);
    let output = command.args(["--exact", &test, "--nocapture"]).env(VARIABLE, name).output();
    let output = output.unwrap();
    let lines = String::from_utf8(output.stderr).unwrap();
    let result = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && result.contains("1 passed"), "{result}\n{lines}");
    Some(lines)
}

/// Waits until `done`.
fn until(what: &str, done: impl Fn() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(30), "waited in vain for {what}");
        std::thread::yield_now();
    }
}

#[test]
fn an_instrument_of_the_global_meter_made_after_the_start_is_live() {
    alone("an_instrument_of_the_global_meter_made_after_the_start_is_live", || {
        let observability = Observability::start(Config::new("test", "0")).unwrap();
        let meter = opentelemetry::global::meter("another library");
        meter.u64_counter("other.things").build().add(5, &[]);
        let text = observability.exposition().text();
        assert!(text.contains("\nother_things_total 5\n"), "{text}");
    });
}

#[test]
fn a_second_start_is_refused_and_says_what_to_do() {
    alone("a_second_start_is_refused_and_says_what_to_do", || {
        let _first = Observability::start(Config::new("test", "0")).unwrap();
        let error = Observability::start(Config::new("test", "0")).unwrap_err();
        assert!(matches!(error, StartError::SubscriberInstalled));
        assert!(error.to_string().contains("Observability::layers"));
    });
}

#[test]
fn without_an_endpoint_nothing_is_sent_and_nothing_is_said() {
    let lines = alone("without_an_endpoint_nothing_is_sent_and_nothing_is_said", || {
        let observability = Observability::start(Config::new("test", "0")).unwrap();
        assert!(tracing::info_span!("work").is_disabled());
        let report = observability.shutdown(Duration::from_secs(20));
        assert!(report.in_time);
        assert_eq!(report.traces.created, 0);
    });
    assert_eq!(lines.as_deref().unwrap_or_default(), "");
}

/// Every log record is exported once, and its export makes no other: seen with everything logged,
/// also what the exporters' thread logs.
fn one_log_is_one_record(protocol: Protocol) {
    const COUNT: usize = 20;
    let receiver = OtlpReceiver::start();
    let mut config = config(receiver.endpoint(), protocol);
    config.metrics.interval = Duration::from_millis(20);
    config.log.filter = "trace".into();
    let observability = Observability::start(config).unwrap();
    for place in 0..COUNT {
        tracing::info!(target: "application", place, "something happened");
        drop(tracing::info_span!("work"));
        receiver.wait_for("the record", |one| one.log_records().count() > place);
        receiver.wait_for("the span", |one| one.spans().count() > place);
        let pushes = receiver.received().attempts(Signal::Metrics);
        receiver.wait_for("a push", |one| one.attempts(Signal::Metrics) > pushes);
    }
    let received = receiver.received();
    let targets: Vec<_> = received.log_records().map(|(target, _)| target).collect();
    assert_eq!(targets, ["application"; COUNT]);
    let names: Vec<_> = received.spans().map(|span| span.name.as_str()).collect();
    assert_eq!(names, ["work"; COUNT]);
    assert_eq!(observability.report(Signal::Logs).created, COUNT as u64);
}

#[test]
fn over_grpc_one_log_is_one_record_even_when_everything_is_logged() {
    alone("over_grpc_one_log_is_one_record_even_when_everything_is_logged", || {
        one_log_is_one_record(Protocol::Grpc);
    });
}

#[test]
fn over_http_one_log_is_one_record_even_when_everything_is_logged() {
    alone("over_http_one_log_is_one_record_even_when_everything_is_logged", || {
        one_log_is_one_record(Protocol::HttpProtobuf);
    });
}

#[test]
fn a_receiver_that_is_down_costs_one_warning_per_signal_and_exact_counts() {
    let lines =
        alone("a_receiver_that_is_down_costs_one_warning_per_signal_and_exact_counts", || {
            let port = RefusingPort::reserve();
            let mut config = config(port.endpoint(), Protocol::HttpProtobuf);
            config.otlp.timeout = Some(Duration::from_millis(50));
            config.log_lines = true;
            config.metrics.interval = Duration::from_millis(20);
            let observability = Observability::start(config).unwrap();
            let failed = |signal| observability.report(signal).failed;
            for batch in 1..=5 {
                drop(tracing::info_span!("work"));
                tracing::info!("something happened");
                until("a failed batch of spans", || failed(Signal::Traces) >= batch);
                until("a failed batch of records", || failed(Signal::Logs) >= batch);
                let points = failed(Signal::Metrics);
                until("a failed push", || failed(Signal::Metrics) > points);
            }
            let report = observability.shutdown(Duration::from_secs(20));
            assert_eq!((report.traces.created, report.traces.failed), (5, 5), "{report:?}");
            assert_eq!((report.logs.created, report.logs.failed), (5, 5), "{report:?}");
            assert_eq!(report.metrics.created, report.metrics.failed, "{report:?}");
        });
    let Some(lines) = lines else { return };
    let warnings: Vec<_> = lines.lines().filter(|line| line.contains("not delivered")).collect();
    assert_eq!(warnings.len(), 3, "{lines}");
    for signal in ["traces", "logs", "metrics"] {
        let of_signal = |line: &&&str| line.contains(signal);
        let warning = warnings.iter().find(of_signal).expect("a warning of each signal");
        assert!(warning.contains("WARN") && warning.contains("refused"), "{warning}");
    }
    let others = lines.lines().filter(|line| !line.contains("something happened"));
    assert_eq!(others.count(), 3, "{lines}");
}

#[test]
fn a_problem_at_the_start_is_a_warning_and_the_rest_works() {
    let lines = alone("a_problem_at_the_start_is_a_warning_and_the_rest_works", || {
        let mut config = config("https://127.0.0.1:1".into(), Protocol::Grpc);
        config.otlp.certificate = Some("/nowhere/authority.pem".into());
        config.log_lines = true;
        let observability = Observability::start(config).unwrap();
        assert!(observability.exposition().text().contains("streamhouse_telemetry_"));
        observability.shutdown(Duration::from_secs(20));
    });
    let Some(lines) = lines else { return };
    assert_eq!(lines.lines().count(), 3, "{lines}");
    assert!(lines.lines().all(|line| line.contains("/nowhere/authority.pem")), "{lines}");
}

#[test]
fn disabled_and_without_lines_a_span_and_an_event_cost_nothing() {
    let lines = alone("disabled_and_without_lines_a_span_and_an_event_cost_nothing", || {
        let mut config = Config::new("test", "0");
        config.disabled = true;
        config.log_lines = false;
        let _observability = Observability::start(config).unwrap();
        assert!(tracing::info_span!("work").is_disabled());
        assert!(!tracing::enabled!(tracing::Level::ERROR));
    });
    assert_eq!(lines.as_deref().unwrap_or_default(), "");
}
