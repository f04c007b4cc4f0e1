use crate::harness::{Server, get, streamhouse, total};
use std::process::Stdio;

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
    crate::harness::eventually("every number has moved", || {
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
