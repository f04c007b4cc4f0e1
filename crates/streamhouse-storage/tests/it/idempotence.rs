//! After a failure, no batch of an idempotent producer overtakes the one that failed.

use crate::support::{CommitFault, Log, at, config, eventually, is};
use streamhouse_metadata::{Rejection, TopicPartition};
use streamhouse_observability::labels::Operation;
use streamhouse_storage::testing::{BatchSpec, Fault};
use streamhouse_storage::{AppendError, Appended, WriterConfig};

const PRODUCER: i64 = 77;

/// The batch of one record with this sequence.
fn of(sequence: i32) -> BatchSpec {
    in_epoch(0, sequence)
}

fn in_epoch(epoch: i16, sequence: i32) -> BatchSpec {
    let value = format!("{epoch}/{sequence}").into();
    BatchSpec { value, ..BatchSpec::new(1) }.producer(PRODUCER, epoch, sequence)
}

fn offset(outcome: Result<Appended, AppendError>) -> i64 {
    outcome.unwrap().base_offset
}

fn assert_waits_for_predecessor(outcome: Result<Appended, AppendError>) {
    assert!(matches!(outcome, Err(AppendError::PredecessorFailed)), "{outcome:?}");
}

async fn assert_log_is(log: &Log, partition: TopicPartition, specs: &[BatchSpec]) {
    let read = log.read_all(partition).await;
    assert_eq!(read.len(), specs.len());
    for (stored, spec) in read.iter().zip(specs) {
        assert!(is(stored, spec), "{spec:?}");
    }
}

#[tokio::test]
async fn a_failed_first_request_and_a_stored_second_leave_no_gap_no_loss_and_no_double() {
    let log = Log::start().await;
    let topic = log.topic("orders", 1).await;
    let partition = at(&topic, 0);
    log.faults.queue(Operation::Put, [Fault::Hang]);
    let first = log.append(partition, &of(0));
    eventually("the first PUT", || log.faults.calls(Operation::Put) == 1).await;
    let second = log.append(partition, &of(1));
    eventually("the second PUT", || log.faults.calls(Operation::Put) == 2).await;
    assert!(matches!(first.await, Err(AppendError::Store(_))));
    assert_waits_for_predecessor(second.await);
    assert_eq!(log.objects().await, 1, "the second is stored, and not committed");
    assert_waits_for_predecessor(log.append(partition, &of(2)).await);

    let again = [0, 1, 2].map(|sequence| log.append(partition, &of(sequence)));
    for (expected, outcome) in (0..).zip(again) {
        assert_eq!(offset(outcome.await), expected);
    }
    let repeated = log.append(partition, &of(1)).await.unwrap();
    assert_eq!((repeated.base_offset, repeated.duplicate), (1, true));
    assert_log_is(&log, partition, &[of(0), of(1), of(2)]).await;
}

#[tokio::test]
async fn batches_that_were_open_when_their_predecessor_failed_are_not_committed() {
    let log = Log::with(WriterConfig { put_slots: 1, ..config() }).await;
    let topic = log.topic("orders", 2).await;
    log.faults.queue(Operation::Put, [Fault::Hang]);
    let first = log.append(at(&topic, 0), &of(0));
    eventually("the first PUT", || log.faults.calls(Operation::Put) == 1).await;
    let open = [1, 2].map(|sequence| log.append(at(&topic, 0), &of(sequence)));
    let elsewhere = log.append(at(&topic, 1), &of(0));
    let nobodys = log.append(at(&topic, 0), &BatchSpec::new(1));
    assert!(matches!(first.await, Err(AppendError::Store(_))));
    for outcome in open {
        assert_waits_for_predecessor(outcome.await);
    }
    assert_eq!(offset(elsewhere.await), 0, "another partition has another sequence");
    assert_eq!(offset(nobodys.await), 0, "a batch without a producer waits for nobody");
}

#[tokio::test]
async fn a_failed_commit_keeps_later_batches_out_as_a_failed_put_does() {
    let log = Log::start().await;
    let topic = log.topic("orders", 1).await;
    let partition = at(&topic, 0);
    assert_eq!(offset(log.append(partition, &of(0)).await), 0);
    log.metadata.queue([CommitFault::Refused]);
    assert!(matches!(log.append(partition, &of(1)).await, Err(AppendError::Metadata(_))));
    assert_waits_for_predecessor(log.append(partition, &of(2)).await);
    let again = [1, 2].map(|sequence| log.append(partition, &of(sequence)));
    for (expected, outcome) in (1..).zip(again) {
        assert_eq!(offset(outcome.await), expected);
    }
}

#[tokio::test]
async fn a_batch_that_fails_again_goes_on_keeping_later_ones_out() {
    let log = Log::start().await;
    let topic = log.topic("orders", 1).await;
    let partition = at(&topic, 0);
    log.faults.queue(Operation::Put, [Some(Fault::ServerError), None, Some(Fault::ServerError)]);
    log.append(partition, &of(0)).await.unwrap_err();
    assert_waits_for_predecessor(log.append(partition, &of(1)).await);
    log.append(partition, &of(0)).await.unwrap_err();
    assert_waits_for_predecessor(log.append(partition, &of(1)).await);
    assert_eq!(offset(log.append(partition, &of(0)).await), 0);
    assert_eq!(offset(log.append(partition, &of(1)).await), 1);
}

#[tokio::test]
async fn a_higher_epoch_begins_anew_after_a_failure() {
    let log = Log::start().await;
    let topic = log.topic("orders", 1).await;
    let partition = at(&topic, 0);
    log.faults.queue(Operation::Put, [Fault::ServerError]);
    log.append(partition, &of(0)).await.unwrap_err();
    assert_waits_for_predecessor(log.append(partition, &of(1)).await);
    assert_eq!(offset(log.append(partition, &in_epoch(1, 0)).await), 0);
    assert_eq!(offset(log.append(partition, &in_epoch(1, 1)).await), 1);
}

#[tokio::test]
async fn a_gap_is_called_a_gap_only_by_the_agent_that_committed_the_predecessor() {
    let log = Log::start().await;
    let topic = log.topic("orders", 1).await;
    let partition = at(&topic, 0);
    assert_eq!(offset(log.append(partition, &of(0)).await), 0);
    let other = log.another();
    assert_waits_for_predecessor(other.append(partition, &of(2)).await);
    let gap = log.append(partition, &of(2)).await;
    let expected = Rejection::OutOfOrder { expected: 1 };
    assert!(matches!(gap, Err(AppendError::Rejected(found)) if found == expected), "{gap:?}");

    assert_eq!(offset(other.append(partition, &of(1)).await), 1);
    assert_waits_for_predecessor(log.append(partition, &of(3)).await);
}

#[tokio::test]
async fn no_gap_is_called_a_gap_by_an_agent_that_saw_a_failure() {
    let log = Log::start().await;
    let topic = log.topic("orders", 1).await;
    let partition = at(&topic, 0);
    log.faults.queue(Operation::Put, [Fault::ServerError]);
    log.append(partition, &of(0)).await.unwrap_err();
    assert_eq!(offset(log.append(partition, &of(0)).await), 0);
    assert_waits_for_predecessor(log.append(partition, &of(2)).await);
    assert_eq!(offset(log.append(partition, &of(1)).await), 1);
}

#[tokio::test]
async fn a_producer_without_state_must_begin_at_zero() {
    let log = Log::start().await;
    let topic = log.topic("orders", 1).await;
    let outcome = log.append(at(&topic, 0), &of(5)).await;
    let unknown = matches!(outcome, Err(AppendError::Rejected(Rejection::UnknownProducer)));
    assert!(unknown, "{outcome:?}");
    assert_eq!(offset(log.append(at(&topic, 0), &of(0)).await), 0);
}

#[tokio::test]
async fn a_failed_sequence_that_another_agent_committed_does_not_shut_its_producer_out() {
    let log = Log::start().await;
    let topic = log.topic("orders", 1).await;
    let partition = at(&topic, 0);
    log.faults.queue(Operation::Put, [Fault::ServerError]);
    log.append(partition, &of(0)).await.unwrap_err();
    assert_eq!(offset(log.another().append(partition, &of(0)).await), 0);
    let known = log.append(partition, &of(0)).await.unwrap();
    assert_eq!((known.base_offset, known.duplicate), (0, true));
    assert_eq!(offset(log.append(partition, &of(1)).await), 1);
}
