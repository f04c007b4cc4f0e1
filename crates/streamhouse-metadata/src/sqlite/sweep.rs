//! The sweeper: it removes what is no longer needed in small steps, so that no producer waits for
//! the deletion of a large topic.

use super::session::Session;
use super::trim;
use super::writer::{Lane, Stop, Writer, stopped};
use crate::error::MetadataError;
use sqlx::{query, query_as};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// How many rows go in one transaction.
const STEP: i64 = 500;
/// How long to wait after a failure.
const PAUSE: Duration = Duration::from_secs(5);
/// The pause between two looks for what has expired: at least, at most.
const SHORTEST: Duration = Duration::from_millis(10);
const PERIOD: Duration = Duration::from_secs(600);
/// For how long a commit can be repeated or settled with its first answer.
const ANSWERS_MS: i64 = 86_400_000;

/// Works until `stop`.
pub(super) async fn run(
    writer: Writer,
    doomed: Arc<Notify>,
    producer_expiry: Duration,
    mut stop: Stop,
) {
    tokio::select! {
        () = stopped(&mut stop) => {}
        () = sweep(&writer, &doomed) => {}
        () = expire(&writer, producer_expiry) => {}
    }
}

/// Sweeps deleted partitions and groups whenever `doomed` wakes it.
async fn sweep(writer: &Writer, doomed: &Notify) {
    loop {
        doomed.notified().await;
        loop {
            match writer.transact(Lane::Other, |session| Box::pin(step(session))).await {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    tracing::warn!(%error, "sweeping deleted partitions and groups failed; it is tried again");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

/// Forgets idle producers and old answers, and finishes trims, every now and then.
async fn expire(writer: &Writer, producer_expiry: Duration) {
    let idle_ms = i64::try_from(producer_expiry.as_millis()).unwrap_or(i64::MAX);
    loop {
        tokio::time::sleep(producer_expiry.clamp(SHORTEST, PERIOD)).await;
        if let Err(error) = expire_once(writer, idle_ms).await {
            tracing::warn!(%error, "expiring producers and answers, or finishing trims, failed; it is tried again");
        }
    }
}

async fn expire_once(writer: &Writer, idle_ms: i64) -> Result<(), MetadataError> {
    let mut from = Some((i64::MIN, i64::MIN));
    while let Some(after) = from {
        from = writer
            .transact(Lane::Other, move |session| {
                Box::pin(expire_producers(session, after, idle_ms))
            })
            .await?;
    }
    while writer.transact(Lane::Other, |session| Box::pin(trim_answers(session))).await? {}
    while writer.transact(Lane::Other, |session| Box::pin(trim::finish(session))).await? {}
    Ok(())
}

/// Looks at the next producer states after `after`, and removes those that are idle. Returns where
/// to go on. An index of the times would cost every commit more than this walk costs.
async fn expire_producers(
    session: &mut Session<'_>,
    (partition, producer): (i64, i64),
    idle_ms: i64,
) -> Result<Option<(i64, i64)>, MetadataError> {
    let last = "SELECT partition, producer FROM sequences WHERE (partition, producer) > (?1, ?2)
        ORDER BY partition, producer LIMIT 1 OFFSET ?3";
    let last = query_as::<_, (i64, i64)>(last).bind(partition).bind(producer).bind(STEP - 1);
    let last = session.first(last).await?;
    let (to_partition, to_producer) = last.unwrap_or((i64::MAX, i64::MAX));
    let delete = "DELETE FROM sequences
        WHERE (partition, producer) > (?1, ?2) AND (partition, producer) <= (?3, ?4)
            AND updated_ms <= CAST(unixepoch('subsec') * 1000 AS INTEGER) - ?5";
    let delete = query(delete)
        .bind(partition)
        .bind(producer)
        .bind(to_partition)
        .bind(to_producer)
        .bind(idle_ms);
    session.run(delete).await?;
    Ok(last)
}

/// Drops some answers of commits that nobody can be in doubt about any more, with the rows whose
/// objects are deleted; false when there is none.
async fn trim_answers(session: &mut Session<'_>) -> Result<bool, MetadataError> {
    let update = "UPDATE segments SET outcomes = NULL WHERE id IN
        (SELECT id FROM segments WHERE outcomes IS NOT NULL
            AND committed_ms <= CAST(unixepoch('subsec') * 1000 AS INTEGER) - ?1 LIMIT ?2)
        RETURNING id, object = ''";
    let update = query_as::<_, (String, bool)>(update).bind(ANSWERS_MS).bind(STEP);
    let dropped = session.rows(update).await?;
    let gone: Vec<_> = dropped.iter().filter(|(_, gone)| *gone).map(|(id, _)| id).collect();
    if !gone.is_empty() {
        let delete = "DELETE FROM segments WHERE id IN (SELECT value FROM json_each(?1))";
        session.run(query(delete).bind(super::commit::json(&gone)?)).await?;
    }
    Ok(!dropped.is_empty())
}

/// Removes some rows of one deleted partition or group; false when there is none.
async fn step(session: &mut Session<'_>) -> Result<bool, MetadataError> {
    let select = "SELECT partition FROM doomed LIMIT 1";
    let Some((partition,)) = session.first(query_as::<_, (i64,)>(select)).await? else {
        return group_step(session).await;
    };
    let delete = "DELETE FROM runs WHERE partition = ?1 AND base_offset IN
        (SELECT base_offset FROM runs WHERE partition = ?1 ORDER BY base_offset LIMIT ?2)
        RETURNING segment";
    let delete = query_as::<_, (String,)>(delete).bind(partition).bind(STEP);
    let runs = session.rows(delete).await?;
    if !runs.is_empty() {
        release(session, runs.into_iter().map(|(segment,)| segment)).await?;
        return Ok(true);
    }
    let delete = "DELETE FROM sequences WHERE partition = ?1 AND producer IN
        (SELECT producer FROM sequences WHERE partition = ?1 LIMIT ?2)";
    if session.run(query(delete).bind(partition).bind(STEP)).await? > 0 {
        return Ok(true);
    }
    let delete = "DELETE FROM offsets WHERE partition = ?1 AND consumer_group IN
        (SELECT consumer_group FROM offsets WHERE partition = ?1 LIMIT ?2)";
    if session.run(query(delete).bind(partition).bind(STEP)).await? == 0 {
        session.run(query("DELETE FROM doomed WHERE partition = ?1").bind(partition)).await?;
    }
    Ok(true)
}

/// Removes some offsets of one deleted group; false when there is none.
async fn group_step(session: &mut Session<'_>) -> Result<bool, MetadataError> {
    let select = "SELECT consumer_group FROM doomed_groups LIMIT 1";
    let Some((group,)) = session.first(query_as::<_, (i64,)>(select)).await? else {
        return Ok(false);
    };
    let delete = "DELETE FROM offsets WHERE consumer_group = ?1 AND partition IN
        (SELECT partition FROM offsets WHERE consumer_group = ?1 LIMIT ?2)";
    if session.run(query(delete).bind(group).bind(STEP)).await? == 0 {
        let delete = "DELETE FROM doomed_groups WHERE consumer_group = ?1";
        session.run(query(delete).bind(group)).await?;
    }
    Ok(true)
}

/// Counts down the references of segments by removed runs, given by their segment; one without any is no longer part of the totals.
pub(super) async fn release(
    session: &mut Session<'_>,
    runs: impl Iterator<Item = String>,
) -> Result<(), MetadataError> {
    let mut counts = BTreeMap::<String, i64>::new();
    for segment in runs {
        *counts.entry(segment).or_default() += 1;
    }
    let counts: Vec<_> = counts.into_iter().collect();
    let update = "UPDATE segments SET refs = refs - gone.value ->> 1
        FROM jsonb_each(?1) AS gone WHERE segments.id = gone.value ->> 0 RETURNING refs, bytes";
    let update = query_as::<_, (i64, i64)>(update).bind(super::commit::json(&counts)?);
    let unused = session.rows(update).await?.into_iter().filter(|(refs, _)| *refs == 0);
    let (objects, bytes) =
        unused.fold((0_i64, 0_i64), |(objects, bytes), (_, more)| (objects + 1, bytes + more));
    let update = "UPDATE store SET objects = objects - ?1, bytes = bytes - ?2";
    session.run(query(update).bind(objects).bind(bytes)).await?;
    Ok(())
}
