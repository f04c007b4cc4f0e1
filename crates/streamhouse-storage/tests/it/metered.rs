//! What is recorded about a call.

use bytes::Bytes;
use opentelemetry::trace::{SpanKind, Status};
use std::time::Duration;
use streamhouse_observability::declare::ClosedLabel as _;
use streamhouse_observability::instruments::ObjectStoreMetrics;
use streamhouse_observability::labels::{Operation, StoreError};
use streamhouse_observability::spans::{self, Arrival};
use streamhouse_observability::testing;
use streamhouse_storage::object_store::{Deadlines, MemoryStore, Metered, ObjectStore};
use streamhouse_storage::testing::{Fault, FaultStore, Faults};

const DEADLINES: Deadlines =
    Deadlines { put: Duration::from_secs(3), other: Duration::from_secs(1) };

#[tokio::test]
async fn every_series_exists_from_the_start() {
    let (declare, seen) = testing::in_memory();
    let metrics = ObjectStoreMetrics::declare(&declare);
    let _store = Metered::new(&metrics, MemoryStore::new(), DEADLINES);
    let operations = Operation::ALL.len();
    assert_eq!(seen.series("streamhouse.s3.requests").len(), operations);
    assert_eq!(seen.series("streamhouse.s3.errors").len(), operations * StoreError::ALL.len());
    assert_eq!(seen.series("streamhouse.s3.duration").len(), operations * 3);
    assert_eq!(seen.series("streamhouse.s3.bytes").len(), operations);
    assert_eq!(seen.count("streamhouse.s3.requests", &[]), 0);
}

#[tokio::test(start_paused = true)]
async fn a_call_without_a_reply_ends_at_its_deadline() {
    let (declare, seen) = testing::in_memory();
    let faults = Faults::none();
    for operation in Operation::ALL {
        faults.always(*operation, Some(Fault::Hang));
    }
    let store = FaultStore::new(MemoryStore::new(), faults);
    let store = Metered::new(&ObjectStoreMetrics::declare(&declare), store, DEADLINES);
    let began = tokio::time::Instant::now();

    let put = store.put("a", &[]).await.unwrap_err();
    assert_eq!(began.elapsed(), DEADLINES.put);
    let others = [
        store.get("a", 0..1).await.unwrap_err(),
        store.head("a").await.unwrap_err(),
        store.list("a", None).await.unwrap_err(),
        store.delete("a").await.unwrap_err(),
    ];
    assert_eq!(began.elapsed(), DEADLINES.put + 4 * DEADLINES.other);
    for error in others.iter().chain([&put]) {
        assert_eq!(error.class, StoreError::Timeout, "{error}");
        assert!(error.is_retryable());
    }
    assert_eq!(seen.count("streamhouse.s3.errors", &[("error", "timeout")]), 5);
    assert_eq!(seen.count("streamhouse.s3.requests", &[]), 5);
}

#[tokio::test]
async fn each_call_is_a_span_below_its_caller_and_a_failed_one_says_why() {
    let traces = testing::traces(1.0);
    let (declare, _seen) = testing::in_memory();
    let faults = Faults::none();
    faults.queue(Operation::Get, [Fault::Throttled]);
    let store = FaultStore::new(MemoryStore::new(), faults);
    let store = Metered::new(&ObjectStoreMetrics::declare(&declare), store, DEADLINES);

    let request = traces.requests().begin(Arrival::now(), &[]);
    let trace = request.context().trace_id();
    let work = async {
        store.put("a", &[Bytes::from_static(b"x")]).await.unwrap();
        store.get("a", 0..1).await.unwrap_err();
    };
    request.run(|| spans::produce_request(1, 1), work).await;
    request.finish(false, || spans::produce_request(1, 1));

    let calls = traces.named("object_store");
    assert_eq!(calls.len(), 2, "{calls:?}");
    for call in &calls {
        assert_eq!(call.span_context.trace_id(), trace);
        assert_eq!(call.span_kind, SpanKind::Client);
    }
    assert_eq!(calls[0].status, Status::Unset);
    assert!(matches!(calls[1].status, Status::Error { .. }));
    let error = calls[1].attributes.iter().find(|pair| pair.key.as_str() == "error.type");
    assert_eq!(error.unwrap().value.as_str(), "throttling");
}
