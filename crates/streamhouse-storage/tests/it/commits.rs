//! What the pool makes of a metadata store that fails, or whose answer is lost.

use crate::support::{CommitFault, Log, at, config, eventually, is, marked};
use std::time::Duration;
use streamhouse_metadata::{MetadataStore as _, Trim, TrimOutcome};
use streamhouse_storage::{AppendError, Clock, WriterConfig};

#[tokio::test]
async fn a_commit_whose_reply_was_lost_is_answered_from_what_was_stored() {
    let log = Log::start().await;
    let topic = log.topic("orders", 1).await;
    log.metadata.queue([CommitFault::DoubtCommitted]);
    let outcomes = ["a", "b"].map(|mark| log.append(at(&topic, 0), &marked(mark)));
    for (offset, outcome) in (0..).zip(outcomes) {
        let appended = outcome.await.unwrap();
        assert_eq!((appended.base_offset, appended.duplicate), (offset, false));
    }
    assert_eq!(log.metadata.settle_calls(), 1);
    assert_eq!(log.read_all(at(&topic, 0)).await.len(), 2);
}

#[tokio::test]
async fn a_commit_that_did_not_happen_fails_and_never_happens_later() {
    let log = Log::start().await;
    let topic = log.topic("orders", 1).await;
    log.metadata.queue([CommitFault::DoubtLost]);
    let failed = log.append(at(&topic, 0), &marked("lost")).await;
    assert!(matches!(failed, Err(AppendError::Metadata(_))), "{failed:?}");
    assert_eq!(log.append(at(&topic, 0), &marked("next")).await.unwrap().base_offset, 0);
    let read = log.read_all(at(&topic, 0)).await;
    assert!(read.len() == 1 && is(&read[0], &marked("next")));
}

#[tokio::test]
async fn a_commit_that_would_still_happen_is_settled_first() {
    let log = Log::start().await;
    let topic = log.topic("orders", 1).await;
    log.metadata.queue([CommitFault::DoubtLate]);
    let failed = log.append(at(&topic, 0), &marked("late")).await;
    assert!(matches!(failed, Err(AppendError::Metadata(_))), "{failed:?}");
    for offset in 0..20 {
        let appended = log.append(at(&topic, 0), &marked(&offset.to_string())).await.unwrap();
        assert_eq!(appended.base_offset, offset);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn later_commits_wait_until_the_doubt_is_settled() {
    let log = Log::start().await;
    let topic = log.topic("orders", 1).await;
    log.metadata.fail_settles(u32::MAX);
    log.metadata.queue([CommitFault::DoubtCommitted]);
    let first = log.append(at(&topic, 0), &marked("first"));
    eventually("it is asked", || log.metadata.settle_calls() > 2).await;
    let second = log.append(at(&topic, 0), &marked("second"));
    eventually("it is asked again", || log.metadata.settle_calls() > 5).await;
    assert_eq!(log.metadata.commits(), [1]);
    log.metadata.fail_settles(0);
    assert_eq!(first.await.unwrap().base_offset, 0);
    assert_eq!(second.await.unwrap().base_offset, 1);
}

#[tokio::test]
async fn a_commit_that_never_returns_is_in_doubt() {
    let commit_timeout = Duration::from_millis(200);
    let log = Log::with(WriterConfig { commit_timeout, ..config() }).await;
    let topic = log.topic("orders", 1).await;
    log.metadata.queue([CommitFault::Hang]);
    assert_eq!(log.append(at(&topic, 0), &marked("hangs")).await.unwrap().base_offset, 0);
    assert_eq!(log.metadata.settle_calls(), 1);
}

#[tokio::test]
async fn a_metadata_store_that_is_away_for_a_moment_is_asked_again() {
    let log = Log::start().await;
    let topic = log.topic("orders", 1).await;
    log.metadata.queue([CommitFault::Unavailable; 3]);
    assert_eq!(log.append(at(&topic, 0), &marked("late")).await.unwrap().base_offset, 0);
    assert_eq!(log.metadata.commits(), [1; 4]);
    assert_eq!(log.metadata.settle_calls(), 0);
}

#[tokio::test]
async fn a_metadata_store_that_stays_away_fails_the_segments_for_good() {
    let log = Log::start().await;
    let topic = log.topic("orders", 1).await;
    log.metadata.queue([CommitFault::Unavailable; 1000]);
    let failed = log.append(at(&topic, 0), &marked("failed")).await;
    assert!(matches!(failed, Err(AppendError::Metadata(_))), "{failed:?}");
    log.metadata.clear();
    assert_eq!(log.append(at(&topic, 0), &marked("next")).await.unwrap().base_offset, 0);
    assert_eq!(log.read_all(at(&topic, 0)).await.len(), 1);
    assert_eq!(log.objects().await, 2, "the object of the failed segment is an orphan");
}

#[tokio::test]
async fn while_a_commit_runs_segments_gather_for_the_next_one() {
    let log = Log::start().await;
    let topic = log.topic("orders", 1).await;
    log.metadata.queue([CommitFault::Hold]);
    let mut outcomes = vec![log.append(at(&topic, 0), &marked("0"))];
    eventually("the first commit", || log.metadata.commits() == [1]).await;
    for n in 1..4_u64 {
        outcomes.push(log.append(at(&topic, 0), &marked(&n.to_string())));
        while log.objects().await as u64 <= n {
            tokio::task::yield_now().await;
        }
    }
    log.metadata.release();
    for (offset, outcome) in (0..).zip(outcomes) {
        assert_eq!(outcome.await.unwrap().base_offset, offset);
    }
    assert_eq!(log.metadata.commits(), [1, 3]);
}

#[tokio::test]
async fn what_an_agent_of_the_distant_past_appended_is_not_removed_as_too_old() {
    let (now, day) = (Clock::new().now_ms(), 86_400_000);
    let clock = Clock::at(now - 8 * day);
    let log = Log::with(WriterConfig { clock, ..config() }).await;
    let partition = at(&log.topic("orders", 1).await, 0);
    log.append(partition, &marked("kept")).await.unwrap();
    // The next process begins at the machine's time, and keeps seven days.
    let wanted = [(partition, Trim::AppendedBefore(now - 7 * day))];
    let told = log.metadata.trim(&wanted).await.unwrap().remove(0);
    let TrimOutcome::Trimmed(trimmed) = told else { panic!("{told:?}") };
    assert_eq!((trimmed.log_start, trimmed.records), (0, 0));
    assert_eq!(log.another().read_all(partition).await.len(), 1);
}
