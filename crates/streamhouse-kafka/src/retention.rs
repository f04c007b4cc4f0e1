//! Moves the starts of logs: because clients ask for it, and because records have become too old
//! or too many.
//!
//! Age is counted from a record's arrival to now. Neither is what clients write into timestamps.
//! Arrivals are told by the agent's clock, within bounds of the metadata store's: a clock that was
//! behind removes nothing early. Now is the machine's clock as it was at the start, moved on by one
//! that nobody can set: a start with a clock that is ahead removes what would be too old then.
//!
//! Several agents may do this at once: each record is removed, and counted, by one of them.

use crate::broker::Broker;
use crate::topics::OpenTopic;
use std::time::Duration;
use streamhouse_metadata::{MetadataError, TopicPartition, Trim, TrimOutcome};
use streamhouse_observability::declare::{HistogramCell, PerValue};
use streamhouse_observability::labels::{Outcome, RetentionReason};
use tokio::time::{Instant, MissedTickBehavior, interval};

/// How many partitions one call looks at.
const PARTITIONS: usize = 64;
/// The pause between two calls: producers go first.
const PAUSE: Duration = Duration::from_millis(2);

/// Moves the starts of logs of `open` until each is where it is to be, and tells what became of
/// each, in the order of `wanted`, with the records that were removed in all.
///
/// # Errors
/// The metadata store failed; what was removed before stays removed.
/// # Cancel safety
/// As after an error.
pub(crate) async fn trim(
    broker: &Broker,
    open: &OpenTopic,
    mut wanted: Vec<(TopicPartition, Trim)>,
    reason: RetentionReason,
) -> Result<Vec<TrimOutcome>, MetadataError> {
    let mut outcomes = vec![TrimOutcome::UnknownPartition; wanted.len()];
    let mut left: Vec<usize> = (0..wanted.len()).rev().collect();
    while !left.is_empty() {
        let places = left.split_off(left.len().saturating_sub(PARTITIONS));
        let slice: Vec<_> = places.iter().filter_map(|place| wanted.get(*place)).copied().collect();
        let told = broker.metadata.trim(&slice).await?;
        for ((place, (partition, _)), outcome) in places.into_iter().zip(slice).zip(told) {
            if let TrimOutcome::Trimmed(trimmed) = &outcome {
                broker.reader.trimmed(partition, trimmed.log_start);
                open.removed.of(reason).add(u64::try_from(trimmed.records).unwrap_or(0));
                if let Some(topic) = &open.topic {
                    broker.handles.lost.record(&topic.name, &trimmed.lost);
                }
                if trimmed.more {
                    left.push(place);
                    // A log that grows meanwhile must not lose what came later.
                    if let Some((_, to @ Trim::ToEnd)) = wanted.get_mut(place) {
                        *to = Trim::To(trimmed.log_start);
                    }
                }
            }
            if let Some(slot) = outcomes.get_mut(place) {
                *slot = outcome;
            }
        }
        if !left.is_empty() {
            tokio::time::sleep(PAUSE).await;
        }
    }
    Ok(outcomes)
}

/// Removes what topics need not keep, again and again, for ever.
pub(crate) async fn keep_within(broker: &Broker) {
    let mut ticks = interval(broker.config.retention_interval.max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let round = Round::begin(&broker.handles.retention);
        round.settle(once(broker).await);
    }
}

/// One round over all topics; false when something could not be done.
async fn once(broker: &Broker) -> bool {
    let mut all_done = true;
    for open in broker.topics.all() {
        for (trimming, reason) in due(broker, &open) {
            let numbers = 0..open.partitions();
            let partitions = numbers.filter_map(|number| open.partition(number));
            let wanted = partitions.map(|partition| (partition, trimming)).collect();
            if let Err(error) = trim(broker, &open, wanted, reason).await {
                let topic = open.name();
                tracing::warn!(topic, %error, "old records could not be removed; tried again later");
                all_done = false;
            }
            tokio::task::yield_now().await;
        }
    }
    all_done
}

/// What is to be removed of a topic.
fn due(broker: &Broker, open: &OpenTopic) -> Vec<(Trim, RetentionReason)> {
    let Some(topic) = &open.topic else { return Vec::new() };
    let ms = topic.retention.ms.unwrap_or(broker.config.retention_ms);
    let bytes = topic.retention.bytes.unwrap_or(broker.config.retention_bytes);
    let mut due = Vec::new();
    if ms >= 0 {
        let before = broker.config.clock.now_ms().saturating_sub(ms);
        due.push((Trim::AppendedBefore(before), RetentionReason::Time));
    }
    if bytes >= 0 {
        due.push((Trim::ToBytes(bytes), RetentionReason::Size));
    }
    due
}

/// A round on its histogram. Dropped unsettled, it counts as cancelled.
struct Round<'h> {
    duration: &'h PerValue<Outcome, HistogramCell>,
    begun: Instant,
    outcome: Outcome,
}

impl<'h> Round<'h> {
    fn begin(duration: &'h PerValue<Outcome, HistogramCell>) -> Self {
        Self { duration, begun: Instant::now(), outcome: Outcome::Cancelled }
    }

    fn settle(mut self, all_done: bool) {
        self.outcome = if all_done { Outcome::Ok } else { Outcome::Error };
    }
}

impl Drop for Round<'_> {
    fn drop(&mut self) {
        self.duration.of(self.outcome).record(self.begun.elapsed().as_secs_f64());
    }
}
