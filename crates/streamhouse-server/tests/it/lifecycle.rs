use crate::harness::{Server, eventually, finish, get, request, streamhouse, total};
use serde_json::Value;
use sqlx::Connection as _;
use std::io::Write as _;
use std::net::TcpListener;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};
use streamhouse_observability::testing::otlp::{OtlpReceiver, Received};

fn json(body: &str) -> Value {
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}"))
}

#[test]
fn a_ready_server_serves_metrics_and_health() {
    let server = Server::start(&[]);
    let (status, metrics) = server.get("/metrics");
    assert_eq!(status, 200);
    assert!(metrics.contains("# TYPE streamhouse_producer_records_total counter"), "{metrics}");
    assert_eq!(total(&metrics, "streamhouse_agents_active"), 1.0);

    let (status, body) = server.get("/health");
    assert_eq!((status, json(&body)["status"].as_str()), (200, Some("ok")));
    let (status, body) = server.get("/health/ready");
    let ready = json(&body);
    assert_eq!((status, ready["status"].as_str()), (200, Some("ready")));
    for check in ["metadata_store", "object_store", "cache", "writer_pool"] {
        assert_eq!(ready["checks"][check], "ok", "{body}");
    }
    let (status, body) = server.get("/health/live");
    assert_eq!((status, json(&body)["status"].as_str()), (200, Some("alive")));
    let (status, page) = server.get("/");
    assert_eq!(status, 200);
    assert!(page.contains("/metrics"), "{page}");
    assert_eq!(server.get("/nonsense").0, 404);
}

#[test]
fn groups_are_told_as_json_and_as_a_table_and_an_unknown_one_is_an_error() {
    let server = Server::start(&["--set", "admin.token=secret", "--set", "lag.interval=100ms"]);
    let group = |arguments: &[&str], token: &str| {
        let mut command = streamhouse(server.folder(), &["group"]);
        command.args(arguments).args(["--admin", &server.admin]);
        command.env("STREAMHOUSE_ADMIN_TOKEN", token);
        finish(command, "")
    };
    let page = eventually("lag is computed", || {
        let header = "Authorization: Bearer secret\r\n";
        let (status, body) = get(&server.admin, "/groups", header).unwrap();
        assert_eq!(status, 200);
        Some(json(&body)).filter(|page| !page["computed_ms"].is_null())
    });
    assert_eq!((&page["complete"], &page["groups"]), (&Value::Bool(true), &Value::Array(vec![])));
    assert_eq!(group(&["list", "--output", "json"], "secret").expect(0).stdout, "");
    assert!(group(&["list"], "secret").expect(0).stdout.starts_with("GROUP  STATE"));
    let missing = group(&["describe", "a/b"], "secret").expect(1);
    assert!(missing.stderr.contains("coordinates no group \"a/b\""), "{}", missing.stderr);

    let stranger = group(&["list"], "").expect(1);
    assert!(stranger.stderr.contains("STREAMHOUSE_ADMIN_TOKEN"), "{}", stranger.stderr);
}

#[test]
fn the_log_level_is_shown_and_changed_at_run_time() {
    let mut server = Server::start(&["--log-level", "warn,streamhouse::ready=info"]);
    assert_eq!(server.get("/log-level"), (200, "warn,streamhouse::ready=info\n".into()));
    let put = |body: &str| request(&server.admin, "PUT /log-level HTTP/1.1\r\n", body).unwrap();
    let (status, body) = put("nonsense=nonsense");
    assert_eq!(status, 400, "{body}");
    assert!(body.contains("nonsense"), "{body}");
    assert_eq!(put("info").0, 200);
    assert_eq!(server.get("/log-level").1, "info\n");
    server.event("the log level was changed");
}

#[test]
fn with_a_token_only_health_is_open() {
    let server = Server::start(&["--set", "admin.token=secret"]);
    for path in ["/", "/metrics", "/groups", "/log-level"] {
        assert_eq!(server.get(path).0, 401, "{path}");
        let with = |token: &str| {
            let header = format!("Authorization: Bearer {token}\r\n");
            get(&server.admin, path, &header).unwrap().0
        };
        assert_eq!((with("wrong"), with("secret")), (401, 200), "{path}");
    }
    assert_eq!(server.get("/health/ready").0, 200);
}

#[test]
fn an_admin_port_open_to_others_without_a_token_warns() {
    let message = "the admin port is open to other machines; set admin.token";
    let start = |token: &[&str]| {
        let arguments = [&["--admin-addr", "0.0.0.0:0"], token].concat();
        let folder = tempfile::tempdir().unwrap();
        let mut all = vec!["serve", "--kafka-addr", "127.0.0.1:0", "--log-format", "json"];
        all.extend(arguments);
        let mut server = Server::spawn(streamhouse(folder.path(), &all), folder);
        server.signal(15);
        server.wait();
        server.log()
    };
    assert!(start(&[]).contains(message));
    assert!(!start(&["--set", "admin.token=secret"]).contains(message));
}

#[test]
fn told_to_stop_it_keeps_what_it_acknowledged_and_ends_with_zero() {
    for signal in [15, 2] {
        let mut server = Server::start(&[]);
        server.client(&["topic", "create", "log"], "").expect(0);
        server.client(&["produce", "log"], "one\n").expect(0);
        let begun = Instant::now();
        server.signal(signal);
        let status = server.wait();
        assert!(status.success(), "{status}: {}", server.log());
        assert!(begun.elapsed() < Duration::from_secs(20));
        server.event("stopped: everything acknowledged is stored and committed");
    }
}

#[test]
fn an_idle_connection_does_not_hold_up_the_end() {
    let mut server = Server::start(&[]);
    let _kafka = std::net::TcpStream::connect(&server.kafka).unwrap();
    let _admin = std::net::TcpStream::connect(&server.admin).unwrap();
    server.client(&["topic", "create", "log"], "").expect(0);
    let mut consumer = streamhouse(server.folder(), &["consume", "log", "--follow"]);
    consumer.args(["--brokers", &server.kafka]).stderr(Stdio::null());
    let mut consumer = consumer.spawn().unwrap();
    let begun = Instant::now();
    server.signal(15);
    let status = server.wait();
    let _ = consumer.kill();
    let _ = consumer.wait();
    assert!(status.success(), "{status}: {}", server.log());
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

/// A server whose store takes connections and never answers, with a batch that waits for it.
fn stuck(arguments: &[&str]) -> (Server, Child, TcpListener) {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("s3.endpoint=http://{}", silent.local_addr().unwrap());
    let s3 = ["--object-store", "s3://bucket", "--set", &endpoint, "--set", "s3.access_key_id=a"];
    let more = ["--set", "s3.secret_access_key=b", "--set", "writer.put_timeout=1m"];
    let server = Server::start(&[&s3[..], &more, arguments].concat());
    server.client(&["topic", "create", "log"], "").expect(0);
    let mut producer = streamhouse(server.folder(), &["produce", "log", "--timeout", "60s"]);
    producer.args(["--brokers", &server.kafka]).stdin(Stdio::piped()).stderr(Stdio::null());
    let mut producer = producer.spawn().unwrap();
    producer.stdin.take().unwrap().write_all(b"one\n").unwrap();
    eventually("the batch waits for the store", || {
        let (_, metrics) = server.get("/metrics");
        (total(&metrics, "streamhouse_segment_unflushed_bytes") > 0.0).then_some(())
    });
    (server, producer, silent)
}

#[test]
fn a_second_signal_ends_at_once() {
    let (mut server, mut producer, _silent) = stuck(&[]);
    server.signal(15);
    server.event("stopping; a second signal ends the process at once");
    assert_eq!(server.get("/health/live").0, 200);
    assert_eq!(server.get("/health/ready").0, 503);
    let begun = Instant::now();
    server.signal(15);
    let status = server.wait();
    assert_eq!(status.code(), Some(1));
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    let _ = producer.kill();
    let _ = producer.wait();
}

#[test]
fn a_shutdown_that_cannot_finish_ends_in_time_and_says_so() {
    let (mut server, mut producer, _silent) = stuck(&["--set", "shutdown_timeout=3s"]);
    let begun = Instant::now();
    server.signal(15);
    let status = server.wait();
    assert_eq!(status.code(), Some(1));
    println!("ended after {:?} (promised: 3 s and at most 5 s more)", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    let log = server.log();
    assert!(log.contains("shutdown took longer than 3 s"), "{log}");
    let _ = producer.kill();
    let _ = producer.wait();
}

#[test]
fn an_address_that_only_works_here_warns() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["serve", "--kafka-addr", "0.0.0.0:0", "--admin-addr", "127.0.0.1:0"];
    let mut command = streamhouse(folder.path(), &arguments);
    command.args(["--log-format", "json"]);
    let mut server = Server::spawn(command, folder);
    server.signal(15);
    server.wait();
    let log = server.log();
    assert!(log.contains("set kafka.advertised"), "{log}");
}

#[test]
fn requests_to_the_admin_port_are_traced() {
    let receiver = OtlpReceiver::start();
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["serve", "--kafka-addr", "127.0.0.1:0", "--admin-addr", "127.0.0.1:0"];
    let mut command = streamhouse(folder.path(), &arguments);
    command.args(["--log-format", "json"]);
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint());
    command.env("OTEL_BSP_SCHEDULE_DELAY", "50");
    let server = Server::spawn(command, folder);
    assert_eq!(server.get("/log-level").0, 200);
    assert_eq!(server.get("/nonsense/with/a/secret").0, 404);
    let routes = |received: &Received| -> Vec<String> {
        let requests = received.spans().filter(|span| span.name == "http_request");
        let attributes = requests.flat_map(|span| span.attributes.iter());
        let routes = attributes.filter(|attribute| attribute.key == "http.route");
        routes.map(|attribute| format!("{:?}", attribute.value)).collect()
    };
    let received = receiver.wait_for("both requests", |received| routes(received).len() >= 2);
    let routes = routes(&received).join(" ");
    assert!(routes.contains("/log-level") && routes.contains("other"), "{routes}");
    assert!(!routes.contains("secret"), "{routes}");
}

#[test]
fn a_port_that_is_taken_is_named_with_the_flag_that_changes_it() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    for (flag, other) in [("--kafka-addr", "--admin-addr"), ("--admin-addr", "--kafka-addr")] {
        let folder = tempfile::tempdir().unwrap();
        let arguments = ["serve", flag, &addr, other, "127.0.0.1:0"];
        let finished = finish(streamhouse(folder.path(), &arguments), "").expect(1);
        assert!(finished.stderr.contains(&format!("cannot listen on {addr}")));
        assert!(finished.stderr.contains(flag), "{}", finished.stderr);
    }
}

#[test]
fn a_data_directory_in_use_or_out_of_reach_is_told() {
    let server = Server::start(&[]);
    let folder = server.folder().to_owned();
    let arguments = ["serve", "--kafka-addr", "127.0.0.1:0", "--admin-addr", "127.0.0.1:0"];
    let finished = finish(streamhouse(&folder, &arguments), "").expect(1);
    assert_eq!(finished.stderr.matches("metadata.db").count(), 1, "{}", finished.stderr);

    let arguments = [&arguments[..], &["--data-dir", "/proc/nowhere"]].concat();
    let finished = finish(streamhouse(&folder, &arguments), "").expect(1);
    assert!(finished.stderr.contains("cannot use the data directory"), "{}", finished.stderr);
    assert!(finished.stderr.contains("--data-dir"), "{}", finished.stderr);
}

#[test]
fn a_start_over_the_objects_of_another_cluster_is_refused_and_the_own_one_starts_again() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let metadata = |name: &str| format!("sqlite://{}", folder.path().join(name).display());
    let start = |name: &str| {
        Server::start(&["--data-dir", &data.display().to_string(), "--metadata", &metadata(name)])
    };
    for _ in 0..2 {
        let mut server = start("one.db");
        server.signal(15);
        assert!(server.wait().success(), "{}", server.log());
        assert!(!server.log().contains("orphans are not deleted"), "{}", server.log());
    }
    let marks = std::fs::read_dir(data.join("objects/cluster")).unwrap();
    let marks: Vec<_> = marks.map(|one| one.unwrap().file_name().into_string().unwrap()).collect();
    let [cluster] = &marks[..] else { panic!("{marks:?}") };

    let arguments = ["serve", "--kafka-addr", "127.0.0.1:0", "--admin-addr", "127.0.0.1:0"];
    let mut other = streamhouse(folder.path(), &arguments);
    other.arg("--data-dir").arg(&data).args(["--metadata", &metadata("two.db")]);
    let stderr = finish(other, "").expect(1).stderr;
    let belongs = format!("this object store belongs to cluster {cluster}, the metadata store is");
    assert!(stderr.contains(&belongs), "{stderr}");
    assert!(stderr.contains("start with the metadata store of"), "{stderr}");
}

#[tokio::test]
async fn a_kafka_port_that_ends_ends_the_process_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data").display().to_string();
    let mut server = Server::start(&["--data-dir", &data]);
    server.client(&["topic", "create", "log"], "").expect(0);
    server.signal(15);
    assert!(server.wait().success(), "{}", server.log());

    let file = format!("sqlite://{data}/metadata.db");
    let mut connection = sqlx::SqliteConnection::connect(&file).await.unwrap();
    sqlx::query("UPDATE topics SET id = 'scratched'").execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();

    for command in ["serve", "demo"] {
        let arguments = [command, "--kafka-addr", "127.0.0.1:0", "--admin-addr", "127.0.0.1:0"];
        let mut command = streamhouse(folder.path(), &arguments);
        command.args(["--data-dir", &data, "--log-format", "json"]);
        let stderr = finish(command, "").expect(1).stderr;
        assert!(stderr.contains("error: the Kafka port is not served any more: "), "{stderr}");
        assert!(stderr.contains("stored topic id scratched is unreadable"), "{stderr}");
        assert!(stderr.contains("stopped: everything acknowledged is stored"), "{stderr}");
        assert!(!stderr.contains("panicked"), "{stderr}");
    }
}

#[test]
fn a_server_is_ready_only_while_its_store_answers() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("s3.endpoint=http://{}", silent.local_addr().unwrap());
    let server = Server::start(&[
        "--object-store",
        "s3://bucket",
        "--set",
        &endpoint,
        "--set",
        "s3.access_key_id=a",
        "--set",
        "s3.secret_access_key=b",
    ]);
    let begun = Instant::now();
    let (status, body) = server.get("/health/ready");
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert_eq!((status, json(&body)["status"].as_str()), (503, Some("unready")));
    assert_ne!(json(&body)["checks"]["object_store"], "ok", "{body}");
    assert_eq!(json(&body)["checks"]["metadata_store"], "ok", "{body}");
    let warned = |line: &&String| line.contains("health checks do not pass");
    let before: Vec<_> = server.seen().iter().filter(warned).collect();
    assert_eq!(before.len(), 1, "{before:?}");
    assert!(before[0].contains("object_store ("), "{before:?}");
    assert_eq!(server.get("/health/live").0, 200);
}
