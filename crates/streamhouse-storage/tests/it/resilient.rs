//! Repetition and hedging, on a paused clock: the times are exact.

use bytes::Bytes;
use std::time::Duration;
use streamhouse_observability::instruments::ObjectStoreMetrics;
use streamhouse_observability::labels::{Operation, StoreError as Class};
use streamhouse_observability::testing::{self, Seen};
use streamhouse_storage::object_store::{
    Budgets, Deadlines, MemoryStore, Metered, ObjectStore, Resilient,
};
use streamhouse_storage::testing::{Fault, FaultStore, Faults};
use tokio::time::Instant;

const BUDGET: Duration = Duration::from_secs(5);

struct Rig {
    store: Resilient<Metered<FaultStore<MemoryStore>>>,
    faults: Faults,
    seen: Seen,
}

fn rig() -> Rig {
    let (declare, seen) = testing::in_memory();
    let metrics = ObjectStoreMetrics::declare(&declare);
    let faults = Faults::none();
    let deadlines =
        Deadlines { put: BUDGET - Duration::from_millis(250), other: Duration::from_secs(2) };
    let store = FaultStore::new(MemoryStore::new(), faults.clone());
    let store = Metered::new(&metrics, store, deadlines);
    let store = Resilient::new(&metrics, store, Budgets { put: BUDGET, other: BUDGET });
    Rig { store, faults, seen }
}

fn body() -> Vec<Bytes> {
    vec![Bytes::from_static(b"some "), Bytes::from_static(b"bytes")]
}

impl Rig {
    fn count(&self, what: &str, operation: &str) -> u64 {
        self.seen.count(&format!("streamhouse.s3.{what}"), &[("operation", operation)])
    }

    fn errors(&self, operation: &str, error: &str) -> u64 {
        let labels = [("operation", operation), ("error", error)];
        self.seen.count("streamhouse.s3.errors", &labels)
    }

    fn ended(&self, operation: &str, outcome: &str) -> u64 {
        let labels = [("operation", operation), ("outcome", outcome)];
        self.seen.count("streamhouse.s3.duration", &labels)
    }

    /// Enough quick PUTs that the hedge's delay is known: the shortest there is.
    async fn warm(&self) {
        for n in 0..20 {
            self.store.put(&format!("warm/{n}"), &body()).await.unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn each_attempt_counts_as_a_request_and_each_failure_as_an_error() {
    let rig = rig();
    rig.faults.queue(Operation::Put, [Fault::Throttled, Fault::ServerError, Fault::Refused]);

    rig.store.put("a", &body()).await.unwrap();

    assert_eq!(rig.store.get("a", 0..10).await.unwrap(), "some bytes");
    assert_eq!(rig.count("requests", "put"), 4);
    assert_eq!(rig.count("retries", "put"), 3);
    assert_eq!(rig.count("errors", "put"), 3);
    for class in ["throttling", "server", "connection"] {
        assert_eq!(rig.errors("put", class), 1, "{class}");
    }
    assert_eq!((rig.ended("put", "ok"), rig.ended("put", "error")), (1, 3));
    assert_eq!(rig.count("bytes", "put"), 10);
    assert_eq!(rig.count("bytes", "get"), 10);
}

#[tokio::test(start_paused = true)]
async fn every_operation_is_repeated() {
    let rig = rig();
    rig.store.put("a", &body()).await.unwrap();
    for operation in [Operation::Get, Operation::Head, Operation::List, Operation::Delete] {
        rig.faults.queue(operation, [Fault::Throttled]);
    }
    assert_eq!(rig.store.get("a", 0..4).await.unwrap(), "some");
    assert_eq!(rig.store.head("a").await.unwrap().size, 10);
    assert_eq!(rig.store.list("", None).await.unwrap().len(), 1);
    rig.store.delete("a").await.unwrap();
    for operation in ["get", "head", "list", "delete"] {
        assert_eq!(rig.count("requests", operation), 2, "{operation}");
        assert_eq!(rig.count("retries", operation), 1, "{operation}");
        assert_eq!(rig.errors(operation, "throttling"), 1, "{operation}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_only_throttles_is_asked_ever_less_often_and_the_budget_holds() {
    let rig = rig();
    rig.faults.always(Operation::Put, Some(Fault::Throttled));
    let began = Instant::now();

    let error = rig.store.put("a", &body()).await.unwrap_err();

    assert_eq!(error.class, Class::Throttling);
    assert!(began.elapsed() <= BUDGET, "{:?}", began.elapsed());
    let requests = rig.count("requests", "put");
    assert!((4..=8).contains(&requests), "{requests} requests");
    assert_eq!(rig.errors("put", "throttling"), requests);
    assert_eq!(rig.count("retries", "put"), requests - 1);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_pass_is_not_repeated() {
    let rig = rig();
    rig.faults.queue(Operation::Put, [Fault::Denied]);
    assert_eq!(rig.store.put("a", &body()).await.unwrap_err().class, Class::Denied);
    assert_eq!(rig.store.head("missing").await.unwrap_err().class, Class::NotFound);
    assert_eq!(rig.count("requests", "put") + rig.count("requests", "head"), 2);
    assert_eq!(rig.seen.count("streamhouse.s3.retries", &[]), 0);
}

#[tokio::test(start_paused = true)]
async fn a_put_that_hangs_is_hedged_after_the_p95_of_its_predecessors() {
    let rig = rig();
    rig.warm().await;
    rig.faults.queue(Operation::Put, [Fault::Hang]);
    let began = Instant::now();

    rig.store.put("a", &body()).await.unwrap();

    assert_eq!(began.elapsed(), Duration::from_millis(50));
    assert_eq!(rig.count("requests", "put"), 22);
    assert_eq!(rig.count("retries", "put"), 1);
    assert_eq!(rig.count("errors", "put"), 0);
    assert_eq!((rig.ended("put", "ok"), rig.ended("put", "cancelled")), (21, 1));
}

#[tokio::test(start_paused = true)]
async fn the_delay_of_the_hedge_follows_the_latest_puts() {
    let rig = rig();
    for n in 0..20 {
        rig.faults.queue(Operation::Put, [Fault::Hold]);
        let name = format!("warm/{n}");
        let body = body();
        let put = rig.store.put(&name, &body);
        let release = async {
            tokio::time::sleep(Duration::from_millis(400)).await;
            rig.faults.release();
        };
        tokio::join!(put, release).0.unwrap();
    }
    rig.faults.queue(Operation::Put, [Fault::Hang]);
    let began = Instant::now();
    rig.store.put("a", &body()).await.unwrap();
    assert_eq!(began.elapsed(), Duration::from_millis(400));
}

#[tokio::test(start_paused = true)]
async fn a_slow_first_attempt_can_still_win_against_its_hedge() {
    let rig = rig();
    rig.faults.queue(Operation::Put, [Fault::Hold, Fault::Hang]);
    let release = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        rig.faults.release();
    };
    let body = body();
    tokio::join!(rig.store.put("a", &body), release).0.unwrap();
    assert_eq!(rig.count("requests", "put"), 2);
    assert_eq!((rig.ended("put", "ok"), rig.ended("put", "cancelled")), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_costs_its_budget_and_counts_as_a_timeout() {
    let rig = rig();
    rig.faults.always(Operation::Put, Some(Fault::Hang));
    let began = Instant::now();

    let error = rig.store.put("a", &body()).await.unwrap_err();

    assert_eq!(error.class, Class::Timeout, "{error}");
    assert_eq!(began.elapsed(), BUDGET);
    assert_eq!(rig.errors("put", "timeout"), 1);
    assert_eq!(rig.count("requests", "put"), 2);
    assert_eq!((rig.ended("put", "error"), rig.ended("put", "cancelled")), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_stuck_put_does_not_hold_up_others() {
    let rig = rig();
    rig.warm().await;
    rig.faults.queue(Operation::Put, [Fault::Hang, Fault::Hang]);
    let body = body();
    let stuck = rig.store.put("stuck", &body);
    let others = async {
        let began = Instant::now();
        tokio::time::sleep(Duration::from_millis(60)).await;
        for n in 0..10 {
            rig.store.put(&format!("other/{n}"), &body).await.unwrap();
        }
        began.elapsed()
    };
    let (stuck, took) = tokio::join!(stuck, others);
    assert_eq!(stuck.unwrap_err().class, Class::Timeout);
    assert_eq!(took, Duration::from_millis(60));
}

#[tokio::test(start_paused = true)]
async fn a_get_that_hangs_ends_at_its_deadline_and_is_repeated() {
    let rig = rig();
    rig.store.put("a", &body()).await.unwrap();
    rig.faults.queue(Operation::Get, [Fault::Hang]);
    let began = Instant::now();
    assert_eq!(rig.store.get("a", 5..10).await.unwrap(), "bytes");
    assert!(began.elapsed() < Duration::from_millis(2_100), "{:?}", began.elapsed());
    assert_eq!(rig.errors("get", "timeout"), 1);
    assert_eq!(rig.count("requests", "get"), 2);
}

#[tokio::test(start_paused = true)]
async fn a_put_whose_reply_is_lost_is_repeated_with_the_same_bytes() {
    let rig = rig();
    for n in 0..500 {
        let name = format!("a/{n}");
        let faults = [Fault::ReplyLost, Fault::AppliedHang, Fault::Torn];
        rig.faults.queue(Operation::Put, [faults[n % 3]]);
        rig.store.put(&name, &body()).await.unwrap();
        assert_eq!(rig.store.get(&name, 0..10).await.unwrap(), "some bytes");
    }
    assert_eq!(
        rig.errors("put", "connection"),
        rig.faults.injected(Operation::Put, Fault::ReplyLost)
    );
    assert_eq!(rig.errors("put", "server"), rig.faults.injected(Operation::Put, Fault::Torn));
    let hung = rig.faults.injected(Operation::Put, Fault::AppliedHang);
    assert_eq!(rig.ended("put", "cancelled"), hung);
    assert_eq!(rig.count("requests", "put"), rig.faults.calls(Operation::Put));
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_goes_away_leaves_a_cancelled_request() {
    let rig = rig();
    rig.faults.always(Operation::Put, Some(Fault::Hang));
    let body = body();
    let put = rig.store.put("a", &body);
    assert!(tokio::time::timeout(Duration::from_millis(10), put).await.is_err());
    assert_eq!(rig.count("requests", "put"), 1);
    assert_eq!(rig.ended("put", "cancelled"), 1);
    assert_eq!(rig.count("errors", "put"), 0);
}

#[tokio::test(start_paused = true)]
async fn thirty_percent_of_throttling_costs_no_more_requests_than_it_refuses() {
    let rig = rig();
    let mut state = 7_u32;
    for n in 0..2_000 {
        // A small generator with a fixed seed: the same run every time.
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let fault = (state >> 16).is_multiple_of(3).then_some(Fault::Throttled);
        rig.faults.queue(Operation::Put, [fault]);
        rig.store.put(&format!("a/{n}"), &body()).await.unwrap();
    }
    let injected = rig.faults.injected(Operation::Put, Fault::Throttled);
    assert!(injected > 500, "{injected}");
    assert_eq!(rig.errors("put", "throttling"), injected);
    assert_eq!(rig.count("retries", "put"), injected);
    assert_eq!(rig.count("requests", "put"), 2_000 + injected);
}
