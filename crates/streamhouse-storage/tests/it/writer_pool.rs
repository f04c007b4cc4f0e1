//! The way in: order, growth, failures of the object store, shutdown.

use crate::support::{CommitFault, Log, at, config, eventually, is, marked};
use std::time::Duration;
use streamhouse_metadata::{MetadataStore as _, Rejection};
use streamhouse_observability::health::Check as _;
use streamhouse_observability::labels::{self, Operation};
use streamhouse_storage::testing::{BatchSpec, Fault};
use streamhouse_storage::{AppendError, WriterConfig};

#[tokio::test]
async fn the_order_of_calls_is_the_order_of_the_log() {
    let log = Log::start().await;
    let topic = log.topic("orders", 2).await;
    let calls: Vec<_> =
        (0..40).map(|n| (n, log.append(at(&topic, n % 2), &marked(&n.to_string())))).collect();
    for (n, outcome) in calls {
        let appended = outcome.await.unwrap();
        assert_eq!((appended.base_offset, appended.duplicate), (i64::from(n / 2), false));
    }
    for partition in 0..2 {
        let read = log.read_all(at(&topic, partition)).await;
        assert_eq!(read.len(), 20);
        for (place, stored) in (0..).zip(&read) {
            assert!(is(stored, &marked(&(place * 2 + partition).to_string())));
        }
    }
}

#[tokio::test]
async fn puts_overlap_and_commits_keep_the_order_of_segments_in_one_transaction() {
    let log = Log::start().await;
    let topic = log.topic("orders", 1).await;
    log.faults.queue(Operation::Put, [Fault::Hold]);
    let first = log.append(at(&topic, 0), &marked("first"));
    eventually("the first PUT", || log.faults.calls(Operation::Put) == 1).await;
    let second = log.append(at(&topic, 0), &marked("second"));
    eventually("the second PUT", || log.faults.calls(Operation::Put) == 2).await;
    while log.objects().await < 1 {
        tokio::task::yield_now().await;
    }
    assert!(log.metadata.commits().is_empty(), "the second was committed before the first");
    log.faults.release();
    assert_eq!(first.await.unwrap().base_offset, 0);
    assert_eq!(second.await.unwrap().base_offset, 1);
    assert_eq!(log.metadata.commits(), [2]);
}

#[tokio::test]
async fn a_segment_grows_while_every_slot_is_taken() {
    let log = Log::with(WriterConfig { put_slots: 1, ..config() }).await;
    let topic = log.topic("orders", 1).await;
    log.faults.queue(Operation::Put, [Fault::Hold]);
    let first = log.append(at(&topic, 0), &marked("first"));
    eventually("the first PUT", || log.faults.calls(Operation::Put) == 1).await;
    let others: Vec<_> =
        (0..50).map(|n| log.append(at(&topic, 0), &marked(&n.to_string()))).collect();
    log.faults.release();
    first.await.unwrap();
    for other in others {
        other.await.unwrap();
    }
    assert_eq!(log.faults.calls(Operation::Put), 2);
}

#[tokio::test]
async fn a_full_segment_closes_before_its_linger_has_passed() {
    let spec = BatchSpec::new(1).value_bytes(5_000);
    let config = WriterConfig {
        linger: Duration::from_secs(3600),
        segment_bytes: 2 * spec.encode().len(),
        ..config()
    };
    let log = Log::with(config).await;
    let topic = log.topic("orders", 1).await;
    let outcomes: Vec<_> = (0..10).map(|_| log.append(at(&topic, 0), &spec)).collect();
    for outcome in outcomes {
        outcome.await.unwrap();
    }
    assert_eq!(log.objects().await, 5, "each segment holds two batches");
}

#[tokio::test]
async fn a_put_that_hangs_for_ever_fails_alone() {
    let log = Log::start().await;
    let topic = log.topic("orders", 2).await;
    log.faults.queue(Operation::Put, [Fault::Hang]);
    let stuck = log.append(at(&topic, 0), &marked("stuck"));
    eventually("the first PUT", || log.faults.calls(Operation::Put) == 1).await;
    let others: Vec<_> =
        (0..5).map(|n| log.append(at(&topic, 1), &marked(&n.to_string()))).collect();
    match stuck.await {
        Err(AppendError::Store(error)) => assert_eq!(error.class, labels::StoreError::Timeout),
        other => panic!("{other:?}"),
    }
    for (offset, other) in (0..).zip(others) {
        assert_eq!(other.await.unwrap().base_offset, offset);
    }
    assert_eq!(log.append(at(&topic, 0), &marked("again")).await.unwrap().base_offset, 0);
}

#[tokio::test]
async fn whatever_the_store_fails_with_nothing_acknowledged_is_lost() {
    let faults = [
        Fault::Throttled,
        Fault::ServerError,
        Fault::Denied,
        Fault::Refused,
        Fault::ReplyLost,
        Fault::Hang,
        Fault::AppliedHang,
        Fault::Torn,
    ];
    for fault in faults {
        let log = Log::start().await;
        let topic = log.topic("orders", 1).await;
        log.append(at(&topic, 0), &marked("before")).await.unwrap();
        log.faults.queue(Operation::Put, [fault, fault]);
        for _ in 0..2 {
            match log.append(at(&topic, 0), &marked("during")).await {
                Err(AppendError::Store(error)) => {
                    assert_eq!(Some(error.class), fault.class(Operation::Put), "{fault:?}");
                }
                other => panic!("{fault:?}: {other:?}"),
            }
        }
        assert_eq!(log.append(at(&topic, 0), &marked("after")).await.unwrap().base_offset, 1);
        let read = log.read_all(at(&topic, 0)).await;
        assert_eq!(read.len(), 2, "{fault:?}");
        assert!(is(&read[0], &marked("before")) && is(&read[1], &marked("after")), "{fault:?}");
    }
}

#[tokio::test]
async fn a_deleted_topic_rejects_its_own_batches_only() {
    let log = Log::start().await;
    let (gone, kept) = (log.topic("gone", 1).await, log.topic("kept", 1).await);
    log.faults.queue(Operation::Put, [Fault::Hold]);
    let holds = log.append(at(&kept, 0), &marked("0"));
    eventually("the PUT", || log.faults.calls(Operation::Put) == 1).await;
    let outcomes: Vec<_> = (1..5)
        .map(|n| {
            let topic = if n % 2 == 0 { &gone } else { &kept };
            (n, log.append(at(topic, 0), &marked(&n.to_string())))
        })
        .collect();
    log.metadata.delete_topic(gone.id).await.unwrap();
    log.faults.release();
    holds.await.unwrap();
    for (n, outcome) in outcomes {
        match outcome.await {
            Ok(appended) => assert_eq!((n % 2, appended.base_offset), (1, i64::from(n / 2 + 1))),
            Err(AppendError::Rejected(Rejection::UnknownPartition)) => assert_eq!(n % 2, 0),
            Err(other) => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_a_consistent_log() {
    let log = Log::start().await;
    let topic = log.topic("orders", 1).await;
    drop(log.append(at(&topic, 0), &marked("gone")));
    assert_eq!(log.append(at(&topic, 0), &marked("here")).await.unwrap().base_offset, 1);
    let read = log.read_all(at(&topic, 0)).await;
    assert!(is(&read[0], &marked("gone")) && is(&read[1], &marked("here")));
}

#[tokio::test]
async fn shutdown_flushes_and_answers_every_batch_and_takes_no_more() {
    let log = Log::with(WriterConfig { linger: Duration::from_secs(3600), ..config() }).await;
    let topic = log.topic("orders", 1).await;
    let outcomes: Vec<_> =
        (0..9).map(|n| log.append(at(&topic, 0), &marked(&n.to_string()))).collect();
    assert!(log.pool.shutdown(Duration::from_secs(20)).await);
    for (offset, outcome) in (0..).zip(outcomes) {
        assert_eq!(outcome.await.unwrap().base_offset, offset);
    }
    let late = log.append(at(&topic, 0), &marked("late")).await;
    assert!(matches!(late, Err(AppendError::ShuttingDown)), "{late:?}");
}

#[tokio::test]
async fn shutdown_does_not_wait_longer_than_it_may() {
    let slow = WriterConfig { put_budget: Duration::from_secs(3600), put_slots: 1, ..config() };
    let log = Log::with(slow).await;
    let topic = log.topic("orders", 1).await;
    log.faults.always(Operation::Put, Some(Fault::Hang));
    let stuck = log.append(at(&topic, 0), &marked("stuck"));
    eventually("the PUT", || log.faults.calls(Operation::Put) == 1).await;
    let open = log.append(at(&topic, 0), &marked("open"));
    assert!(!log.pool.shutdown(Duration::from_millis(20)).await);
    for outcome in [stuck.await, open.await] {
        assert!(matches!(outcome, Err(AppendError::ShuttingDown)), "{outcome:?}");
    }
    assert_eq!(log.pool.oldest_unacknowledged(), None);
}

#[tokio::test]
async fn metrics_tell_what_was_flushed_and_what_waits() {
    let log = Log::start().await;
    let topic = log.topic("orders", 1).await;
    log.append(at(&topic, 0), &marked("0")).await.unwrap();
    log.faults.queue(Operation::Put, [Fault::ServerError, Fault::Hold]);
    log.append(at(&topic, 0), &marked("1")).await.unwrap_err();

    let spec = marked("2");
    let waits = log.append(at(&topic, 0), &spec);
    eventually("the PUT", || log.faults.calls(Operation::Put) == 3).await;
    let bytes = spec.encode().len() as f64;
    assert_eq!(log.seen.value("streamhouse.segment.unflushed", &[]), Some(bytes));
    assert!(log.pool.oldest_unacknowledged().is_some());
    log.pool.record_age();
    assert!(log.seen.value("streamhouse.segment.unacknowledged_age", &[]) > Some(0.0));

    log.faults.release();
    waits.await.unwrap();
    eventually("all is settled", || log.pool.oldest_unacknowledged().is_none()).await;
    log.pool.record_age();
    assert_eq!(log.seen.value("streamhouse.segment.unacknowledged_age", &[]), Some(0.0));
    assert_eq!(log.seen.value("streamhouse.segment.unflushed", &[]), Some(0.0));
    assert_eq!(log.seen.count("streamhouse.segment.writes", &[]), 2);
    for name in ["flushes", "flush_duration", "size"].map(|n| format!("streamhouse.segment.{n}")) {
        assert_eq!(log.seen.count(&name, &[("outcome", "ok")]), 2, "{name}");
        assert_eq!(log.seen.count(&name, &[("outcome", "error")]), 1, "{name}");
        assert_eq!(log.seen.count(&name, &[("outcome", "cancelled")]), 0, "{name}");
    }
}

#[tokio::test]
async fn a_flush_that_is_given_up_counts_as_cancelled() {
    let log = Log::with(WriterConfig { put_budget: Duration::from_secs(3600), ..config() }).await;
    let topic = log.topic("orders", 1).await;
    log.faults.always(Operation::Put, Some(Fault::Hang));
    let stuck = log.append(at(&topic, 0), &marked("stuck"));
    eventually("the PUT", || log.faults.calls(Operation::Put) == 1).await;
    log.pool.shutdown(Duration::ZERO).await;
    stuck.await.unwrap_err();
    let cancelled = [("outcome", "cancelled")];
    assert_eq!(log.seen.count("streamhouse.segment.flushes", &cancelled), 1);
    assert_eq!(log.seen.value("streamhouse.segment.unflushed", &[]), Some(0.0));
}

#[tokio::test]
async fn a_pool_that_makes_no_progress_is_unhealthy_until_it_does() {
    let stuck_after = Duration::from_millis(20);
    let put_budget = Duration::from_secs(3600);
    let log = Log::with(WriterConfig { stuck_after, put_budget, ..config() }).await;
    let topic = log.topic("orders", 1).await;
    log.pool.probe().await.unwrap();
    log.faults.queue(Operation::Put, [Fault::Hold]);
    let waits = log.append(at(&topic, 0), &marked("0"));
    eventually("it is stuck", || log.pool.heartbeat() >= Some(stuck_after)).await;
    log.pool.probe().await.unwrap_err();
    eventually("the PUT", || log.faults.calls(Operation::Put) == 1).await;
    log.faults.release();
    waits.await.unwrap();
    eventually("nothing waits", || log.pool.heartbeat().is_none()).await;
    log.pool.probe().await.unwrap();
    assert!(log.pool.required() && !log.cache.required());
    log.cache.probe().await.unwrap();
}

#[tokio::test]
async fn a_pool_whose_commits_all_fail_is_unhealthy_until_one_succeeds() {
    let log = Log::start().await;
    let topic = log.topic("orders", 1).await;
    for failed in 0..3 {
        log.pool.probe().await.unwrap_or_else(|error| panic!("{failed} failed: {error}"));
        log.metadata.queue([CommitFault::Corrupt]);
        log.append(at(&topic, 0), &marked("lost")).await.unwrap_err();
    }
    log.metadata.ping().await.expect("a ping sees nothing of it");
    assert_eq!(log.pool.probe().await.unwrap_err(), "the last 3 commits failed: corrupt");
    log.append(at(&topic, 0), &marked("kept")).await.unwrap();
    log.pool.probe().await.unwrap();
}

#[tokio::test]
async fn commits_that_the_store_refuses_say_nothing_of_its_health() {
    let log = Log::start().await;
    let topic = log.topic("orders", 1).await;
    for _ in 0..4 {
        log.metadata.queue([CommitFault::Refused]);
        log.append(at(&topic, 0), &marked("refused")).await.unwrap_err();
    }
    log.pool.probe().await.unwrap();
}

#[tokio::test]
async fn a_pool_that_nobody_uses_is_healthy_again_a_while_after_its_last_failed_commit() {
    let stuck_after = Duration::from_millis(500);
    let log = Log::with(WriterConfig { stuck_after, ..config() }).await;
    let topic = log.topic("orders", 1).await;
    log.metadata.queue([CommitFault::Corrupt; 3]);
    for _ in 0..3 {
        log.append(at(&topic, 0), &marked("lost")).await.unwrap_err();
    }
    let since = std::time::Instant::now();
    while log.pool.probe().await.is_err() {
        assert!(since.elapsed() < Duration::from_secs(30), "it stays unhealthy");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
