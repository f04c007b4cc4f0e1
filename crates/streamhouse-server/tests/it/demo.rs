use crate::harness::{Server, eventually, get, streamhouse, total};
use std::process::Stdio;
use streamhouse_observability::testing::otlp::{OtlpReceiver, Received};

fn demo(arguments: &[&str], temporary: &std::path::Path) -> std::process::Command {
    let mut command = streamhouse(temporary, &["demo", "--log-format", "json"]);
    command.args(["--kafka-addr", "127.0.0.1:0", "--admin-addr", "127.0.0.1:0"]);
    command.args(arguments).env("TMPDIR", temporary).stdout(Stdio::null());
    command
}

#[test]
fn the_demo_moves_numbers_and_ends_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let temporary = folder.path().to_owned();
    let mut server = Server::spawn(demo(&["--duration", "8s"], &temporary), folder);
    let admin = server.admin.clone();
    let moved = [
        "streamhouse_producer_records_total",
        "streamhouse_producer_bytes_total",
        "streamhouse_consumer_records_total",
        "streamhouse_segment_writes_total",
        "streamhouse_s3_requests_total",
        "streamhouse_s3_errors_total",
        "streamhouse_topics_total",
        "streamhouse_connections_active",
    ];
    eventually("every number has moved", || {
        let (_, metrics) = get(&admin, "/metrics", "").ok()?;
        moved.iter().all(|name| total(&metrics, name) > 0.0).then_some(())
    });
    let status = server.wait();
    assert!(status.success(), "{status}: {}", server.log());
    let left: Vec<_> = std::fs::read_dir(&temporary).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn the_demo_ends_well_when_it_is_interrupted() {
    let folder = tempfile::tempdir().unwrap();
    let temporary = folder.path().to_owned();
    let mut server = Server::spawn(demo(&[], &temporary), folder);
    assert_eq!(server.get("/health/live").0, 200);
    server.signal(2);
    let status = server.wait();
    assert!(status.success(), "{status}: {}", server.log());
}

#[test]
fn the_demo_tells_where_to_look_and_counts() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = demo(&["--duration", "3s", "--output", "json"], folder.path());
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    let output = command.spawn().unwrap().wait_with_output().unwrap();
    assert!(output.status.success());
    let stdout = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<serde_json::Value> =
        stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines[0]["admin_addr"].as_str().unwrap().starts_with("127.0.0.1:"));
    let counts: Vec<_> = lines[1..].iter().map(|l| l["produced"].as_u64().unwrap()).collect();
    assert!(counts.is_sorted() && counts.last() > Some(&0), "{counts:?}");
}

#[test]
fn the_slow_groups_lag_grows_beyond_the_fast_groups_and_falls_again() {
    let folder = tempfile::tempdir().unwrap();
    let temporary = folder.path().to_owned();
    let told = tempfile::NamedTempFile::new().unwrap();
    let mut command = demo(&["--cycle", "12s", "--output", "json"], &temporary);
    command.stdout(told.reopen().unwrap());
    let mut server = Server::spawn(command, folder);
    let admin = server.admin.clone();
    let metrics = || get(&admin, "/metrics", "").ok().map(|(_, metrics)| metrics);
    let lag = |metrics: &str, group: &str| of_group(metrics, "streamhouse_consumer_lag", group);
    let behind = eventually("the slow group is far behind and the fast one is not", || {
        let metrics = metrics()?;
        let (fast, slow) = (lag(&metrics, "demo-fast")?, lag(&metrics, "demo-slow")?);
        let late = of_group(&metrics, "streamhouse_consumer_lag_time_seconds", "demo-slow")?;
        (slow > 2_000.0 && slow > 2.0 * fast && late > 1.0).then_some(slow)
    });
    eventually("the slow group has caught up", || {
        let now = lag(&metrics()?, "demo-slow")?;
        // What came since the last commit stays: one second of 600 records.
        (now < behind / 2.0).then_some(())
    });
    eventually("a member of the fast group has left it and joined it again", || {
        let metrics = metrics()?;
        let rebalances = |reason: &str| {
            let labels = format!("group=\"demo-fast\",reason=\"{reason}\"");
            of(&metrics, "streamhouse_consumer_rebalances_total", &labels)
        };
        (rebalances("leave")? >= 1.0 && rebalances("join")? >= 2.0).then_some(())
    });
    server.signal(2);
    let status = server.wait();
    assert!(status.success(), "{status}: {}", server.log());
    let told = std::fs::read_to_string(told.path()).unwrap();
    let last: serde_json::Value = serde_json::from_str(told.lines().last().unwrap()).unwrap();
    for group in ["demo-fast", "demo-slow"] {
        let lag = &last["groups"][group];
        assert!(lag["lag"].is_u64() && lag["lag_seconds"].is_f64(), "{group}: {last}");
    }
}

#[test]
fn a_records_way_through_the_demo_is_one_trace() {
    let receiver = OtlpReceiver::start();
    let folder = tempfile::tempdir().unwrap();
    let temporary = folder.path().to_owned();
    let mut command = demo(&[], &temporary);
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint());
    let mut server = Server::spawn(command, folder);
    for topic in ["orders", "payments", "audit", "clicks"] {
        receiver.wait_for(topic, |received| is_traced(received, topic));
    }
    server.signal(2);
    let status = server.wait();
    assert!(status.success(), "{status}: {}", server.log());
}

/// Whether a record of `topic` was sent, written and processed in one trace.
fn is_traced(received: &Received, topic: &str) -> bool {
    let below = |parent: &[u8], name: &str| {
        let name = name.to_owned();
        let mut spans = received.spans();
        spans.find(|span| span.parent_span_id == parent && span.name == name)
    };
    let (send, process) = (format!("send {topic}"), format!("process {topic}"));
    received.spans().filter(|span| span.name == send).any(|send| {
        let request = below(&send.span_id, "produce_request");
        let written = request.and_then(|request| below(&request.span_id, "partition_write"));
        written.is_some() && below(&send.span_id, &process).is_some()
    })
}

/// The sum of a metric's series of a group, if there are any.
fn of_group(metrics: &str, name: &str, group: &str) -> Option<f64> {
    of(metrics, name, &format!("group=\"{group}\""))
}

/// The sum of a metric's series with `labels`, if there are any.
fn of(metrics: &str, name: &str, labels: &str) -> Option<f64> {
    let prefix = format!("{name}{{");
    let ours = |line: &&str| line.starts_with(&prefix) && line.contains(labels);
    let lines: Vec<&str> = metrics.lines().filter(ours).collect();
    (!lines.is_empty()).then(|| total(&lines.join("\n"), name))
}
