//! The real binary on an S3 server that fails on demand.

use crate::clients::{create_topic, flush, number, producer, read_all, send};
use std::path::Path;
use std::time::{Duration, Instant};
use streamhouse_observability::declare::ClosedLabel;
use streamhouse_observability::labels::{Operation, StoreError};
use streamhouse_storage::testing::s3::{ACCESS_KEY, BUCKET, S3Server, SECRET_KEY};
use streamhouse_storage::testing::{Fault, Faults};
use streamhouse_tests::http;
use streamhouse_tests::metrics::Scrape;
use streamhouse_tests::process::{Launch, PATIENCE, Server};

/// A server whose objects are in `s3`.
pub fn launch(data: &Path, s3: &S3Server) -> Launch {
    Launch::serve(crate::BINARY, data)
        .arg("--object-store")
        .arg(&format!("s3://{BUCKET}/log"))
        .env("STREAMHOUSE_S3_ENDPOINT", &s3.endpoint())
        .env("STREAMHOUSE_S3_ACCESS_KEY_ID", ACCESS_KEY)
        .env("STREAMHOUSE_S3_SECRET_ACCESS_KEY", SECRET_KEY)
}

/// A server on an S3 server of its own. Bind the fields in this order: the last ends first.
struct Started {
    _runtime: tokio::runtime::Runtime,
    _data: tempfile::TempDir,
    s3: S3Server,
    server: Server,
}

fn started() -> Started {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let s3 = runtime.block_on(S3Server::start()).expect("an S3 server");
    let data = tempfile::tempdir().expect("a directory");
    let server = launch(data.path(), &s3).start();
    Started { _runtime: runtime, _data: data, s3, server }
}

/// The counts of calls and errors on `/metrics` are those of the store itself.
fn counts_equal(scrape: &Scrape, faults: &Faults) -> Result<(), String> {
    for operation in Operation::ALL {
        let name = operation.as_str();
        let calls = scrape.sum("streamhouse_s3_requests_total", &[("operation", name)]);
        let served = faults.calls(*operation) as f64;
        if calls != Some(served) {
            return Err(format!("{name}: {calls:?} calls on /metrics, {served} in the store"));
        }
        for class in StoreError::ALL {
            let labels = [("operation", name), ("error", class.as_str())];
            let errors = scrape.sum("streamhouse_s3_errors_total", &labels);
            let injected = faults.injected_as(*operation, *class) as f64;
            if errors != Some(injected) {
                return Err(format!("{labels:?}: {errors:?} on /metrics, {injected} injected"));
            }
        }
    }
    Ok(())
}

#[test]
fn a_failing_object_store_loses_nothing_and_its_errors_are_counted_one_by_one() {
    let Started { _runtime, _data, s3, server } = started();
    create_topic(server.kafka, "orders", 2);
    let (producer, told) = producer(server.kafka, &[("enable.idempotence", "true")]);
    let classes = [
        Fault::Throttled,
        Fault::Denied,
        Fault::ReplyLost,
        Fault::ServerError,
        Fault::Refused,
        Fault::Throttled,
    ];

    let mut sent = 0;
    for fault in classes {
        s3.faults().queue(Operation::Put, [None, Some(fault), Some(fault), None]);
        for _ in 0..200 {
            send(&producer, "orders", (sent % 2) as i32, sent);
            sent += 1;
        }
        flush(&producer);
    }
    told.with(|told| {
        assert!(told.failed.is_empty(), "{:?}", told.failed);
        assert_eq!(told.acknowledged.len() as u64, sent);
        let log = read_all(server.kafka, "orders", 2);
        assert_eq!(log.len() as u64, sent, "nothing is in the log twice");
        for (place, n) in &told.acknowledged {
            assert_eq!(log.get(place).and_then(|bytes| number(bytes)), Some(*n), "{place:?}");
        }
    });
    server.scrape_until("the store's own counts", |scrape| {
        counts_equal(scrape, s3.faults()).inspect_err(|why| println!("{why}")).is_ok()
    });
    assert!(s3.faults().injected_as(Operation::Put, StoreError::Throttling) >= 2);
    let log = server.log().join("\n");
    assert!(!log.contains(SECRET_KEY), "the secret key is in the log");
    let (status, _) = server.stop();
    assert!(status.success(), "{status}");
}

#[test]
fn one_put_that_hangs_for_ever_delays_nobody_beyond_its_budget() {
    let Started { _runtime, _data, s3, server } = started();
    create_topic(server.kafka, "orders", 2);
    let (producer, told) = producer(server.kafka, &[("enable.idempotence", "true")]);

    s3.faults().queue(Operation::Put, [Some(Fault::Hang)]);
    for n in 0..500 {
        send(&producer, "orders", (n % 2) as i32, n);
        if n % 50 == 0 {
            std::thread::park_timeout(Duration::from_millis(20));
        }
    }
    flush(&producer);

    told.with(|told| {
        assert!(told.failed.is_empty(), "{:?}", told.failed);
        assert_eq!(told.acknowledged.len(), 500);
    });
    assert_eq!(read_all(server.kafka, "orders", 2).len(), 500);
}

#[test]
fn a_store_that_can_be_read_but_not_written_makes_unready_until_it_can() {
    let Started { _runtime, _data, s3, server } = started();
    let wait_for = |status: u16| {
        let start = Instant::now();
        loop {
            let answer = http::get(server.admin, "/health/ready").expect("an answer");
            if answer.status == status {
                return answer.body;
            }
            assert!(start.elapsed() < PATIENCE, "never {status}: {}", answer.body);
            std::thread::park_timeout(Duration::from_millis(100));
        }
    };
    wait_for(200);

    s3.faults().always(Operation::Put, Some(Fault::Denied));
    let unready = wait_for(503);
    assert!(unready.contains(r#""status":"unready""#) && unready.contains("denied"), "{unready}");
    s3.faults().always(Operation::Put, None);
    let ready = wait_for(200);
    assert!(ready.contains(r#""object_store":"ok""#), "{ready}");
}
