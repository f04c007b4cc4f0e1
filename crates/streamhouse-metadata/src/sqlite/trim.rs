//! Moving the starts of logs: the records go at once, the rows of the index in slices.

use super::commit::json;
use super::failure::unreadable;
use super::recheck;
use super::session::Session;
use super::sweep::release;
use crate::error::MetadataError;
use crate::types::{TopicPartition, Trim, TrimOutcome, Trimmed};
use sqlx::{query, query_as};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How many rows one call passes, removes or looks at again, shared by the partitions that it is
/// asked for; each gets one at least.
pub(super) const SLICE: usize = 1_000;

/// How many trims are gone on with at the same time.
const UNFINISHED: usize = 10;

/// Walks from run to run of each partition while they are to go. A question that names no time or
/// no bytes has NULL there, which lets nothing go.
const PASS: &str = "
    WITH RECURSIVE asked AS MATERIALIZED (
        SELECT wanted.key AS place, partitions.id AS partition, log_start, high_watermark,
            end_bytes, wanted.value ->> 2 AS time, wanted.value ->> 3 AS least
        FROM jsonb_each(?1) AS wanted CROSS JOIN partitions
            ON partitions.topic = wanted.value ->> 0
            AND partitions.partition = wanted.value ->> 1
    ),
    passed (place, partition, end_bytes, time, least, next_offset, steps) AS (
        SELECT place, asked.partition, asked.end_bytes, time, least, next_offset, 1
        FROM asked CROSS JOIN runs ON runs.partition = asked.partition
            AND runs.base_offset = (SELECT max(base_offset) FROM runs AS before
                WHERE before.partition = asked.partition AND before.base_offset <= log_start)
        WHERE next_offset > log_start
            AND (append_time_ms <= time OR asked.end_bytes - runs.end_bytes >= least)
        UNION ALL
        SELECT place, passed.partition, passed.end_bytes, time, least, runs.next_offset, steps + 1
        FROM passed CROSS JOIN runs
            ON runs.partition = passed.partition AND runs.base_offset = passed.next_offset
        WHERE steps < ?2
            AND (append_time_ms <= time OR passed.end_bytes - runs.end_bytes >= least)
    )
    SELECT asked.place, asked.partition, log_start, high_watermark,
        max(passed.next_offset), count(passed.place)
    FROM asked LEFT JOIN passed ON passed.place = asked.place
    GROUP BY asked.place";

/// Removes the first rows of each partition that end at or before its log start.
const REMOVE: &str = "
    WITH RECURSIVE gone (run, partition, log_start, next_offset, steps) AS (
        SELECT runs.rowid, partitions.id, log_start, next_offset, 1
        FROM json_each(?1) AS asked CROSS JOIN partitions ON partitions.id = asked.value
        CROSS JOIN runs ON runs.partition = partitions.id
            AND runs.base_offset = (SELECT min(base_offset) FROM runs AS first
                WHERE first.partition = partitions.id)
        WHERE next_offset <= log_start
        UNION ALL
        SELECT runs.rowid, gone.partition, log_start, runs.next_offset, steps + 1
        FROM gone CROSS JOIN runs
            ON runs.partition = gone.partition AND runs.base_offset = gone.next_offset
        WHERE steps < ?2 AND runs.next_offset <= log_start
    )
    DELETE FROM runs WHERE rowid IN (SELECT run FROM gone) RETURNING partition, segment";

/// A partition that the question names, and how far its log start can move in this slice.
#[derive(Clone, Copy)]
struct Asked {
    partition: i64,
    log_start: i64,
    high_watermark: i64,
    /// Where the runs that are to go end, as far as they were looked at.
    passed: Option<i64>,
    /// Whether there may be more of them.
    more: bool,
}

/// One entry's move of a log start.
struct Move {
    partition: i64,
    from: i64,
    to: i64,
    /// Its place in the question.
    place: usize,
}

pub(super) async fn trim(
    session: &mut Session<'_>,
    wanted: Vec<(TopicPartition, Trim)>,
) -> Result<Vec<TrimOutcome>, MetadataError> {
    let limit = (SLICE / wanted.len().max(1)).max(1);
    let asked = pass(session, &wanted, limit).await?;
    let mut outcomes = Vec::with_capacity(wanted.len());
    let mut moves = Vec::<Move>::new();
    let mut starts = BTreeMap::new();
    let mut unfinished = BTreeSet::new();
    for (place, ((_, trim), asked)) in wanted.iter().zip(&asked).enumerate() {
        let Some(one) = asked else {
            outcomes.push(TrimOutcome::UnknownPartition);
            continue;
        };
        let Some(target) = target(*trim, one) else {
            outcomes.push(TrimOutcome::OutOfRange);
            continue;
        };
        let start = starts.entry(one.partition).or_insert(one.log_start);
        let from = std::mem::replace(start, target.max(*start));
        moves.push(Move { partition: one.partition, from, to: *start, place });
        if one.more {
            unfinished.insert(one.partition);
        }
        let lost = Vec::new();
        let done = Trimmed { log_start: *start, records: *start - from, lost, more: false };
        outcomes.push(TrimOutcome::Trimmed(done));
    }
    move_starts(session, &moves).await?;
    tell_lost(session, &moves, &mut outcomes).await?;
    unfinished.extend(remove(session, starts.keys(), limit).await?);
    let settled = starts.keys().filter(|partition| !unfinished.contains(partition)).copied();
    let settled: Vec<i64> = settled.collect();
    unfinished.extend(recheck::step(session, &settled, limit).await?);
    for one in moves.iter().filter(|one| unfinished.contains(&one.partition)) {
        if let TrimOutcome::Trimmed(done) = &mut outcomes[one.place] {
            done.more = true;
        }
    }
    Ok(outcomes)
}

/// Goes on with some trims whose caller did not; false when there is none.
pub(super) async fn finish(session: &mut Session<'_>) -> Result<bool, MetadataError> {
    // Whatever has rows to remove was marked for the recheck that comes after.
    let select = "SELECT id FROM partitions WHERE recheck_from IS NOT NULL LIMIT ?1";
    let select = query_as::<_, (i64,)>(select).bind(UNFINISHED as i64);
    let partitions: BTreeSet<i64> =
        session.rows(select).await?.into_iter().map(|(one,)| one).collect();
    if partitions.is_empty() {
        return Ok(false);
    }
    let limit = SLICE / UNFINISHED;
    let removing = remove(session, partitions.iter(), limit).await?;
    let settled: Vec<i64> =
        partitions.iter().filter(|one| !removing.contains(one)).copied().collect();
    recheck::step(session, &settled, limit).await?;
    Ok(true)
}

/// Where a log is to start, `None` for a place outside of it.
fn target(trim: Trim, asked: &Asked) -> Option<i64> {
    match trim {
        Trim::To(offset) => (0..=asked.high_watermark).contains(&offset).then_some(offset),
        Trim::ToEnd => Some(asked.high_watermark),
        Trim::ToBytes(bytes) if bytes < 0 => None,
        Trim::AppendedBefore(_) | Trim::ToBytes(_) => Some(asked.passed.unwrap_or(asked.log_start)),
    }
}

async fn pass(
    session: &mut Session<'_>,
    wanted: &[(TopicPartition, Trim)],
    limit: usize,
) -> Result<Vec<Option<Asked>>, MetadataError> {
    let row = |(at, trim): &(TopicPartition, Trim)| {
        let (time, least) = match *trim {
            Trim::AppendedBefore(time) => (Some(time), None),
            // Below 0 nothing moves.
            Trim::ToBytes(bytes) => (None, (bytes >= 0).then_some(bytes)),
            Trim::To(_) | Trim::ToEnd => (None, None),
        };
        (at.topic.to_string(), at.partition, time, least)
    };
    let rows: Vec<_> = wanted.iter().map(row).collect();
    type Row = (i64, i64, i64, i64, Option<i64>, i64);
    let select = query_as::<_, Row>(PASS).bind(json(&rows)?).bind(limit as i64);
    let mut found = vec![None; wanted.len()];
    for (place, partition, log_start, high_watermark, passed, steps) in session.rows(select).await?
    {
        let slot = usize::try_from(place).ok().and_then(|place| found.get_mut(place));
        let slot = slot.ok_or_else(|| unreadable("place", place))?;
        let more = steps == limit as i64 && passed < Some(high_watermark);
        *slot = Some(Asked { partition, log_start, high_watermark, passed, more });
    }
    Ok(found)
}

async fn move_starts(session: &mut Session<'_>, moves: &[Move]) -> Result<(), MetadataError> {
    // The last move of a partition is its furthest.
    let moved = moves.iter().filter(|one| one.from < one.to);
    let ends: BTreeMap<i64, i64> = moved.map(|one| (one.partition, one.to)).collect();
    if ends.is_empty() {
        return Ok(());
    }
    let ends: Vec<_> = ends.into_iter().collect();
    let update = "UPDATE partitions SET log_start = moved.value ->> 1
        FROM jsonb_each(?1) AS moved WHERE partitions.id = moved.value ->> 0";
    session.run(query(update).bind(json(&ends)?)).await?;
    Ok(())
}

/// Tells what groups had not consumed of what the moves took away. A group loses nothing of a topic
/// that it has left: one that its members do not subscribe to, unless it has an offset there that
/// was set after the last of them went.
async fn tell_lost(
    session: &mut Session<'_>,
    moves: &[Move],
    outcomes: &mut [TrimOutcome],
) -> Result<(), MetadataError> {
    let rows: Vec<_> = moves.iter().map(|one| (one.partition, one.from, one.to)).collect();
    let select = "SELECT moved.key, consumer_groups.name,
            moved.value ->> 2 - max(moved.value ->> 1, next_offset)
        FROM jsonb_each(?1) AS moved
        CROSS JOIN offsets ON offsets.partition = moved.value ->> 0
        CROSS JOIN consumer_groups ON consumer_groups.id = offsets.consumer_group
        CROSS JOIN partitions ON partitions.id = offsets.partition
        CROSS JOIN topics ON topics.id = partitions.topic
        WHERE moved.value ->> 1 < moved.value ->> 2 AND next_offset < moved.value ->> 2
            AND (subscribed IS NULL
                OR topics.name IN (SELECT value FROM json_each(subscribed))
                OR (members = 0 AND offsets.committed_ms > coalesce(generation_ms, 0)))
        ORDER BY moved.key, consumer_groups.name";
    type Row = (i64, String, i64);
    for (key, group, records) in session.rows(query_as::<_, Row>(select).bind(json(&rows)?)).await?
    {
        let told = usize::try_from(key).ok().and_then(|key| moves.get(key));
        let told = told.ok_or_else(|| unreadable("place", key))?;
        if let TrimOutcome::Trimmed(done) = &mut outcomes[told.place] {
            done.lost.push((Arc::from(group), records));
        }
    }
    Ok(())
}

/// Removes some rows, and returns the partitions that may have more of them.
async fn remove(
    session: &mut Session<'_>,
    partitions: impl Iterator<Item = &i64>,
    limit: usize,
) -> Result<Vec<i64>, MetadataError> {
    let partitions: Vec<i64> = partitions.copied().collect();
    let delete = query_as::<_, (i64, String)>(REMOVE).bind(json(&partitions)?).bind(limit as i64);
    let gone = session.rows(delete).await?;
    let mut counts = BTreeMap::<i64, usize>::new();
    for (partition, _) in &gone {
        *counts.entry(*partition).or_default() += 1;
    }
    if !gone.is_empty() {
        release(session, gone.into_iter().map(|(_, segment)| segment)).await?;
        let shortened: Vec<i64> = counts.keys().copied().collect();
        recheck::mark(session, &shortened).await?;
    }
    Ok(counts.into_iter().filter(|(_, count)| *count >= limit).map(|(one, _)| one).collect())
}
