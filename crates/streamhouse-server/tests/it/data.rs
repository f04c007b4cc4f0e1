use crate::harness::Server;
use serde_json::json;
use streamhouse_client::{Connection, GroupConsumer, GroupOptions, Telemetry};

#[test]
fn a_topic_is_created_listed_described_grown_and_deleted() {
    let server = Server::start(&[]);
    let call =
        |arguments: &[&str]| server.client(&[arguments, &["--output", "json"][..]].concat(), "");
    let created = call(&["topic", "create", "orders", "--partitions", "2"]).expect(0).json();
    assert_eq!(created, [json!({"created": "orders", "partitions": 2})]);
    assert_eq!(
        call(&["topic", "list"]).expect(0).json(),
        [json!({"topic": "orders", "partitions": 2})]
    );
    let described = call(&["topic", "describe", "orders"]).expect(0).json();
    assert_eq!(described.len(), 2);
    assert_eq!(described[1]["partition"], 1);
    assert_eq!(described[1]["high_watermark"], 0);
    assert_eq!(described[0]["settings"]["retention.ms"], "604800000");
    let altered = call(&["topic", "alter", "orders", "--config", "retention.ms=5000"]);
    assert_eq!(altered.expect(0).json()[0]["settings"]["retention.ms"], "5000");
    let altered = call(&["topic", "alter", "orders", "--config", "retention.bytes=-1"]);
    assert_eq!(altered.expect(0).json()[0]["settings"]["retention.ms"], "5000", "it stays");
    let altered = call(&["topic", "alter", "orders", "--default", "retention.ms"]);
    assert_eq!(altered.expect(0).json()[0]["settings"]["retention.ms"], "604800000");
    let own = call(&["topic", "create", "own", "--config", "retention.bytes=7"]);
    own.expect(0);
    let told = server.client(&["topic", "describe", "own"], "").expect(0).stdout;
    assert!(told.contains("retention.ms 604800000 (default), retention.bytes 7\n"), "{told}");
    call(&["topic", "delete", "own"]).expect(0);
    call(&["topic", "add-partitions", "orders", "--total", "5"]).expect(0);
    assert_eq!(call(&["topic", "describe", "orders"]).expect(0).json().len(), 5);
    call(&["topic", "delete", "orders"]).expect(0);
    assert_eq!(call(&["topic", "list"]).expect(0).json(), [] as [serde_json::Value; 0]);
}

#[test]
fn what_cannot_be_done_with_a_topic_fails_with_one_and_says_why() {
    let server = Server::start(&["--set", "kafka.auto_create_topics=false"]);
    server.client(&["topic", "create", "orders"], "").expect(0);
    server.client(&["topic", "create", "three", "--partitions", "3"], "").expect(0);
    let cases: &[(&[&str], &str)] = &[
        (&["topic", "create", "orders"], "topic \"orders\" already exists"),
        (&["topic", "create", "a/b"], "has 1 to 249 letters, digits"),
        (&["topic", "create", "many", "--partitions", "20000"], "has 1 to 10000 partitions"),
        (&["topic", "describe", "missing"], "topic \"missing\" does not exist"),
        (
            &["topic", "create", "x", "--config", "retention.ms=7d"],
            "retention.ms = \"7d\" is not possible: retention.ms and retention.bytes can be set",
        ),
        (
            &["topic", "alter", "orders", "--config", "retention.hours=7"],
            "retention.hours = \"7\" is not possible",
        ),
        (&["topic", "alter", "missing", "--default", "retention.ms"], "does not exist"),
        (&["topic", "delete", "missing"], "topic \"missing\" does not exist"),
        (&["topic", "add-partitions", "missing", "--total", "2"], "does not exist"),
        (&["topic", "add-partitions", "orders", "--total", "1"], "more than it has now"),
        (&["topic", "add-partitions", "orders", "--total", "20000"], "has 1 to 10000 partitions"),
        (&["produce", "orders", "--partition", "77"], "partition 77 of topic \"orders\" (0 to 0)"),
        (&["consume", "missing"], "topic \"missing\" does not exist"),
        (&["consume", "orders", "--partition", "3"], "partition 3 of topic \"orders\" (0 to 0)"),
        (
            &["consume", "orders", "--from", "offset:9"],
            "offset 9 is outside the log of topic \"orders\", partition 0:",
        ),
        (&["consume", "three", "--from", "offset:999"], "offset 999 is outside the log of topic"),
        (&["consume", "three", "--from", "offset:999"], "\"three\", partitions 0, 1, 2:"),
        (&["produce", "missing"], "topic \"missing\" does not exist"),
    ];
    for (arguments, wanted) in cases {
        let finished = server.client(&[arguments, &["--timeout", "5s"][..]].concat(), "a\n");
        assert!(finished.stderr.contains(wanted), "{arguments:?}: {}", finished.stderr);
        assert_eq!((finished.code, &*finished.stdout), (1, ""), "{arguments:?}");
    }
}

#[test]
fn lines_come_back_as_records_with_key_header_and_time() {
    let server = Server::start(&[]);
    server.client(&["topic", "create", "orders"], "").expect(0);
    let produced = server.client(
        &[
            "produce",
            "orders",
            "--key-separator",
            ":",
            "--header",
            "source=test",
            "--timestamp",
            "2026-01-31T12:00:00Z",
            "--compression",
            "zstd",
            "--output",
            "json",
        ],
        "a:1\nb:2:3\nc:\n",
    );
    let offsets: Vec<_> = produced.expect(0).json().iter().map(|r| r["offset"].clone()).collect();
    assert_eq!(offsets, [json!(0), json!(1), json!(2)]);

    let consumed = server.client(&["consume", "orders", "--output", "json"], "").expect(0).json();
    let pairs: Vec<_> = consumed.iter().map(|r| (r["key"].clone(), r["value"].clone())).collect();
    assert_eq!(pairs, [("a", "1"), ("b", "2:3"), ("c", "")].map(|(k, v)| (json!(k), json!(v))));
    assert_eq!(consumed[0]["headers"], json!([{"name": "source", "value": "test"}]));
    assert_eq!(consumed[0]["timestamp_ms"], 1_769_860_800_000_i64);
}

#[test]
fn every_acks_and_every_codec_brings_the_lines_back() {
    let server = Server::start(&[]);
    for acks in ["0", "1", "all"] {
        for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
            let topic = format!("{acks}-{codec}");
            server.client(&["topic", "create", &topic], "").expect(0);
            let flags = ["--acks", acks, "--compression", codec];
            server.client(&[&["produce", &topic], &flags[..]].concat(), "one\ntwo\n").expect(0);
            let read = || server.client(&["consume", &topic], "").expect(0).stdout;
            // With acks=0 nobody waits until the records are there.
            crate::harness::eventually("the lines are back", || {
                (read() == "one\ntwo\n").then_some(())
            });
        }
    }
}

#[test]
fn reading_begins_where_it_is_told_to() {
    let server = Server::start(&[]);
    server.client(&["topic", "create", "log"], "").expect(0);
    for (time, line) in [("1000", "a\n"), ("2000", "b\n"), ("3000", "c\n")] {
        server.client(&["produce", "log", "--timestamp", time], line).expect(0);
    }
    let read = |arguments: &[&str]| {
        server.client(&[&["consume", "log"], arguments].concat(), "").expect(0).stdout
    };
    assert_eq!(read(&["--from", "earliest"]), "a\nb\nc\n");
    assert_eq!(read(&["--from", "latest"]), "");
    assert_eq!(read(&["--from", "offset:1"]), "b\nc\n");
    assert_eq!(read(&["--from", "offset:3"]), "");
    assert_eq!(read(&["--from", "time:1001"]), "b\nc\n");
    assert_eq!(read(&["--from", "time:3001"]), "");
    assert_eq!(read(&["--max", "2"]), "a\nb\n");
    assert_eq!(read(&["--follow", "--max", "3"]), "a\nb\nc\n");
    assert_eq!(read(&["--key-separator", "="]), "=a\n=b\n=c\n");
}

#[test]
fn a_group_goes_on_where_it_has_come_to() {
    let server = Server::start(&[]);
    server.client(&["topic", "create", "log"], "").expect(0);
    server.client(&["produce", "log"], "a\nb\nc\nd\n").expect(0);
    let read = |arguments: &[&str]| {
        server.client(&[&["consume", "log", "--group"], arguments].concat(), "").expect(0).stdout
    };
    assert_eq!(read(&["one", "--max", "1"]), "a\n");
    assert_eq!(read(&["one", "--max", "2"]), "b\nc\n");
    assert_eq!(read(&["two", "--max", "2"]), "a\nb\n");
    assert_eq!(read(&["one", "--max", "1", "--from", "latest"]), "d\n");
    let wrong = ["consume", "log", "--group", "one", "--from", "offset:1"];
    let refused = server.client(&wrong, "").expect(2).stderr;
    assert!(refused.contains("a group begins where it has come to"), "{refused}");
    let wrong = ["consume", "log", "--group", "one", "--session-timeout", "10ms"];
    let refused = server.client(&wrong, "").expect(1).stderr;
    assert!(refused.contains("outside the broker's limits: write 1s to 30m"), "{refused}");
}

#[tokio::test]
async fn groups_are_deleted_but_those_with_members_which_are_told_as_is_one_that_does_not_exist() {
    let server = Server::start(&[]);
    server.client(&["topic", "create", "log"], "").expect(0);
    server.client(&["produce", "log"], "a\nb\n").expect(0);
    let read = |group: &str| {
        server.client(&["consume", "log", "--max", "1", "--group", group], "").expect(0).stdout
    };
    assert_eq!((&*read("one"), &*read("two")), ("a\n", "a\n"));
    let connection = Connection::to(server.kafka.clone()).recorded_by(&Telemetry::off());
    let member =
        GroupConsumer::subscribe(&connection, "busy", &["log"], GroupOptions::default()).unwrap();
    member.recv().await.unwrap();

    let named = ["group", "delete", "one", "busy", "missing", "two", "one", "missing"];
    let told = server.client(&named, "").expect(1);
    assert_eq!(told.stdout, "deleted group one\ndeleted group two\n");
    assert_eq!(
        told.stderr,
        "error: deleting was refused: group \"busy\" has members: end them first; one that was \
         killed leaves after its session timeout\n\
         error: deleting was refused: group \"missing\" does not exist: see `streamhouse group \
         list`\n"
    );
    assert_eq!(read("one"), "a\n", "what it had committed is gone");

    member.close().await.unwrap();
    let twice = ["group", "delete", "busy", "busy", "--output", "json"];
    let told = server.client(&twice, "").expect(0);
    assert_eq!(told.json(), [json!({"deleted": "busy"})]);
}

#[test]
fn a_file_is_read_as_lines() {
    let server = Server::start(&[]);
    server.client(&["topic", "create", "log"], "").expect(0);
    std::fs::write(server.folder().join("lines"), "one\n\nthree").unwrap();
    let produced = server.client(&["produce", "log", "--file", "lines"], "").expect(0);
    assert_eq!(produced.stdout, "3 records sent to log\npartition 0: offsets 0 to 2\n");
    let consumed = server.client(&["consume", "log"], "").expect(0);
    assert_eq!(consumed.stdout, "one\n\nthree\n");
}

#[test]
fn a_bad_line_is_told_with_its_number_and_what_was_sent_before_it() {
    let server = Server::start(&[]);
    server.client(&["topic", "create", "log"], "").expect(0);
    let flags = ["produce", "log", "--key-separator", ":"];
    let finished = server.client(&flags, "a:1\nb:2\nno separator\nc:3\n").expect(1);
    assert!(finished.stderr.contains("\"no separator\" has no \":\""), "{}", finished.stderr);
    let place = "(line 3; 2 records sent before it)";
    assert!(finished.stderr.contains(place), "{}", finished.stderr);
    assert_eq!(server.client(&["consume", "log"], "").expect(0).stdout, "1\n2\n");
}

#[test]
fn records_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data").display().to_string();
    let mut first = Server::start(&["--data-dir", &data]);
    first.client(&["topic", "create", "log"], "").expect(0);
    first.client(&["produce", "log"], "one\ntwo\n").expect(0);
    first.signal(15);
    assert!(first.wait().success(), "{}", first.log());
    let second = Server::start(&["--data-dir", &data]);
    assert_eq!(second.client(&["consume", "log"], "").expect(0).stdout, "one\ntwo\n");
}
