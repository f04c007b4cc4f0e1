//! Disk space comes back, and nothing goes with it that somebody may still read.

use crate::clients::{create_topic, delete_topic, flush, number, producer, read_all, send};
use kafka_protocol::messages::delete_records_request::{
    DeleteRecordsPartition, DeleteRecordsTopic,
};
use kafka_protocol::messages::{
    DeleteRecordsRequest, DeleteRecordsResponse, DeleteTopicsRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use rand::RngExt;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use streamhouse_tests::load::{self, Load};
use streamhouse_tests::process::{Launch, PATIENCE};
use streamhouse_tests::raw::Connection;

const KILLS: u32 = 10;

/// A server that collects garbage all the time.
fn launch(data: &Path, grace: &str) -> Launch {
    Launch::serve(crate::BINARY, data)
        .env("STREAMHOUSE_GARBAGE_GRACE", grace)
        .env("STREAMHOUSE_GARBAGE_INTERVAL", "20ms")
        .env("STREAMHOUSE_GARBAGE_SWEEP", "20ms")
        .env("STREAMHOUSE_RETENTION_INTERVAL", "20ms")
}

fn name(topic: &str) -> TopicName {
    TopicName(StrBytes::from_string(topic.into()))
}

/// Deletes all records of partition 0.
pub fn delete_records(addr: SocketAddr, topic: &str) -> std::io::Result<DeleteRecordsResponse> {
    delete_records_before(addr, topic, -1)
}

/// Deletes the records of a topic's first partition before `offset`; −1 is its end.
pub fn delete_records_before(
    addr: SocketAddr,
    topic: &str,
    offset: i64,
) -> std::io::Result<DeleteRecordsResponse> {
    let partition = DeleteRecordsPartition::default().with_offset(offset);
    let topic =
        DeleteRecordsTopic::default().with_name(name(topic)).with_partitions(vec![partition]);
    let request = DeleteRecordsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000);
    Connection::open(addr)?.call(2, &request)
}

/// Bytes of all files below `folder`.
fn size(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let one = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(found) if found.is_dir() => size(&entry.path()),
        Ok(found) => found.len(),
        Err(_) => 0, // deleted meanwhile
    };
    entries.flatten().map(one).sum()
}

/// Waits until the objects take less than `bytes`.
fn shrinks_below(folder: &Path, bytes: u64) {
    let start = Instant::now();
    loop {
        let now = size(folder);
        if now < bytes {
            println!("{now} bytes are left, after {:?}", start.elapsed());
            return;
        }
        assert!(start.elapsed() < PATIENCE, "{now} bytes are left, not less than {bytes}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

fn fill(addr: SocketAddr, topic: &str) {
    let load = Load {
        topic: topic.into(),
        partition: 0,
        records: 100,
        value_bytes: 1_000,
        in_flight: 4,
        rate: Some(10_000.0),
        time: Duration::from_secs(1),
    };
    let report = load::run(addr, &load).expect("a load");
    assert!(report.records > 1_000, "{} records", report.records);
}

#[test]
fn disk_space_comes_back_from_deleted_records_old_records_and_deleted_topics() {
    let data = tempfile::tempdir().expect("a directory");
    let server = launch(data.path(), "500ms").start();
    let objects = data.path().join("objects");
    create_topic(server.kafka, "kept", 1);
    let (producer, told) = producer(server.kafka, &[("enable.idempotence", "true")]);
    for n in 0..100 {
        send(&producer, "kept", 0, n);
    }
    flush(&producer);
    for topic in ["records", "topic"] {
        create_topic(server.kafka, topic, 1);
        fill(server.kafka, topic);
        let full = size(&objects);
        assert!(full > 1 << 20, "{full} bytes");
        match topic {
            "records" => {
                let answer = delete_records(server.kafka, topic).expect("an answer");
                assert_eq!(answer.topics[0].partitions[0].error_code, 0, "{answer:?}");
            }
            _ => delete_topic(server.kafka, topic),
        }
        shrinks_below(&objects, 256 << 10);
    }
    let scrape = server.scrape();
    let unreferenced = [("kind", "unreferenced")];
    assert!(
        scrape.sum("streamhouse_garbage_bytes_total", &unreferenced) > Some(f64::from(1 << 20))
    );
    let deletes = scrape.sum("streamhouse_s3_requests_total", &[("operation", "delete")]);
    assert!(deletes > Some(0.0), "{deletes:?}");
    told.with(|told| assert_eq!(told.acknowledged.len(), 100));
    let left = read_all(server.kafka, "kept", 1);
    let left: Vec<_> = left.values().map(|bytes| number(bytes)).collect();
    assert_eq!(left, (0..100).map(Some).collect::<Vec<_>>());
    let (status, _) = server.stop();
    assert!(status.success(), "{status}");
}

#[test]
fn nothing_that_is_kept_is_lost_by_sigkill_while_garbage_is_collected() {
    let data = tempfile::tempdir().expect("a directory");
    let launch = launch(data.path(), "2s");
    let mut server = launch.start();
    let addr = server.kafka;
    let launch = launch.kafka(addr);
    create_topic(addr, "kept", 2);
    let (producer, told) = producer(addr, &[("enable.idempotence", "true")]);

    let running = AtomicBool::new(true);
    let is_running = || running.load(Ordering::Relaxed);
    let _server = std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in (0u64..).take_while(|_| is_running()) {
                send(&producer, "kept", (n % 2) as i32, n);
                if n % 20 == 0 {
                    std::thread::park_timeout(Duration::from_millis(5));
                }
            }
        });
        // Records and topics come and go; what fails while the server is down does not matter.
        scope.spawn(|| {
            let mut round = 0;
            while is_running() {
                let topic = format!("churn-{round}");
                let churned = load::create_topic(addr, &topic, 1)
                    .and_then(|()| load::run(addr, &short(&topic)).map(drop))
                    .and_then(|()| delete_records(addr, &topic).map(drop))
                    .and_then(|()| load::run(addr, &short(&topic)).map(drop))
                    .and_then(|()| forget(addr, &topic));
                round += 1;
                if churned.is_err() {
                    std::thread::park_timeout(Duration::from_millis(20));
                }
            }
        });
        for _ in 0..KILLS {
            let instant = Duration::from_millis(rand::rng().random_range(300..1_500));
            std::thread::park_timeout(instant);
            server.kill();
            server = launch.start();
        }
        // What the last one left is found, too.
        server.scrape_until("garbage is collected", |scrape| {
            scrape.sum("streamhouse_garbage_objects_total", &[]) > Some(0.0)
        });
        running.store(false, Ordering::Relaxed);
        server
    });
    flush(&producer);
    told.with(|told| {
        assert!(told.failed.is_empty(), "{:?}", told.failed);
        assert!(told.acknowledged.len() > 500, "{}", told.acknowledged.len());
        let log = read_all(addr, "kept", 2);
        crate::kill::check("kept", &told.acknowledged, &log, true);
    });
}

fn short(topic: &str) -> Load {
    Load {
        topic: topic.into(),
        partition: 0,
        records: 10,
        value_bytes: 1_000,
        in_flight: 4,
        rate: Some(1_000.0),
        time: Duration::from_millis(100),
    }
}

fn forget(addr: SocketAddr, topic: &str) -> std::io::Result<()> {
    let request = DeleteTopicsRequest::default().with_topic_names(vec![name(topic)]);
    Connection::open(addr)?.call(5, &request.with_timeout_ms(10_000)).map(drop)
}
