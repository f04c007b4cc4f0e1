//! Commit and settle: a fixed number of statements over JSON arrays, whatever the segments hold.

use super::failure::unreadable;
use super::session::Session;
use crate::commit::{
    Decision, Known, PartitionState, ProducerState, Remembered, State, decide, decode, encode,
};
use crate::error::MetadataError;
use crate::types::{BatchOutcome, Segment, SegmentId, TopicPartition};
use serde::Serialize;
use sqlx::{query, query_as};
use std::collections::{BTreeSet, HashMap};

/// One argument that holds a whole table.
pub(super) fn json(table: &impl Serialize) -> Result<String, MetadataError> {
    serde_json::to_string(table)
        .map_err(|error| MetadataError::Refused(format!("cannot be bound as JSON: {error}")))
}

pub(super) async fn commit(
    session: &mut Session<'_>,
    segments: Vec<Segment>,
    append_lag_ms: i64,
) -> Result<Vec<Vec<BatchOutcome>>, MetadataError> {
    let (floor_ms, known) = known_segments(session, &segments).await?;
    let mut state = State { floor_ms, segments: known, ..State::default() };
    read_partitions(session, &segments, &mut state).await?;
    let decision = decide(state, &segments)?;
    write_segments(session, &segments, &decision).await?;
    write_runs(session, &decision, append_lag_ms).await?;
    write_partitions(session, &decision).await?;
    Ok(decision.outcomes)
}

pub(super) async fn settle(
    session: &mut Session<'_>,
    segments: Vec<Segment>,
) -> Result<Vec<Option<Vec<BatchOutcome>>>, MetadataError> {
    let rows: Vec<_> =
        segments.iter().map(|one| (one.id.to_string(), &*one.object, one.bytes)).collect();
    let insert = "INSERT INTO segments (id, state, object, bytes, refs)
        SELECT value ->> 0, 'dead', value ->> 1, value ->> 2, 0 FROM jsonb_each(?1) WHERE true
        ON CONFLICT (id) DO NOTHING";
    session.run(query(insert).bind(json(&rows)?)).await?;
    let (_, known) = known_segments(session, &segments).await?;
    let fate = |segment: &Segment| match known.get(&segment.id) {
        Some(Known::Live(outcomes)) => decode(segment, outcomes.as_deref()).map(Some),
        Some(Known::Dead) => Ok(None),
        None => Err(unreadable("segment", segment.id)),
    };
    segments.iter().map(fate).collect()
}

/// The garbage collector's floor, and what is known of `segments`.
async fn known_segments(
    session: &mut Session<'_>,
    segments: &[Segment],
) -> Result<(i64, HashMap<SegmentId, Known>), MetadataError> {
    let ids: Vec<String> = segments.iter().map(|segment| segment.id.to_string()).collect();
    let select = "SELECT store.floor_ms, known.id, known.state, known.outcomes FROM store
        LEFT JOIN (SELECT segments.* FROM json_each(?1) AS asked
            CROSS JOIN segments ON segments.id = asked.value) AS known";
    type Row = (i64, Option<String>, Option<String>, Option<String>);
    let rows = session.rows(query_as::<_, Row>(select).bind(json(&ids)?)).await?;
    let mut floor_ms = 0;
    let mut known = HashMap::new();
    for (floor, id, state, outcomes) in rows {
        floor_ms = floor;
        if let (Some(id), Some(state)) = (id, state) {
            let id = SegmentId(id.parse().map_err(|_| unreadable("segment id", &id))?);
            let fate = if state == "live" { Known::Live(outcomes) } else { Known::Dead };
            known.insert(id, fate);
        }
    }
    Ok((floor_ms, known))
}

/// Reads the state of all partitions of `segments` and of their producers.
async fn read_partitions(
    session: &mut Session<'_>,
    segments: &[Segment],
    state: &mut State,
) -> Result<(), MetadataError> {
    let asked: BTreeSet<(TopicPartition, Option<i64>)> = segments
        .iter()
        .flat_map(|segment| &segment.blocks)
        .flat_map(|block| {
            block.batches.iter().map(|batch| (block.partition, batch.producer.map(|one| one.id)))
        })
        .collect();
    let asked: Vec<_> = asked.into_iter().collect();
    let rows: Vec<_> = asked
        .iter()
        .map(|(at, producer)| (at.topic.to_string(), at.partition, *producer))
        .collect();
    // CROSS JOIN keeps the order: one look-up per row asked for, never a scan.
    let select = "SELECT asked.key, partitions.id, partitions.high_watermark,
            partitions.max_timestamp_ms, partitions.end_bytes,
            sequences.epoch, sequences.batches, producers.epoch
        FROM jsonb_each(?1) AS asked
        CROSS JOIN partitions
            ON partitions.topic = asked.value ->> 0 AND partitions.partition = asked.value ->> 1
        LEFT JOIN sequences
            ON sequences.partition = partitions.id AND sequences.producer = asked.value ->> 2
        LEFT JOIN producers ON producers.id = asked.value ->> 2";
    type Row = (i64, i64, i64, i64, i64, Option<i16>, Option<String>, Option<i16>);
    for row in session.rows(query_as::<_, Row>(select).bind(json(&rows)?)).await? {
        let (key, id, high_watermark, max_timestamp_ms, end_bytes, epoch, batches, min_epoch) = row;
        let Some((at, producer)) = usize::try_from(key).ok().and_then(|key| asked.get(key)) else {
            continue;
        };
        let stored = PartitionState { id, high_watermark, max_timestamp_ms, end_bytes };
        state.partitions.insert(*at, stored);
        let Some(producer) = *producer else { continue };
        if let Some(min_epoch) = min_epoch {
            state.sequences.min_epochs.insert(producer, min_epoch);
        }
        if let (Some(epoch), Some(batches)) = (epoch, batches) {
            let batches: Vec<(i32, i32, i64)> = serde_json::from_str(&batches)
                .map_err(|_| unreadable("producer sequences", &batches))?;
            let batches = batches
                .into_iter()
                .map(|(first, last, offset)| Remembered { first, last, offset })
                .collect();
            let stored = ProducerState { epoch, batches };
            state.sequences.states.insert((id, producer), stored);
        }
    }
    Ok(())
}

async fn write_segments(
    session: &mut Session<'_>,
    segments: &[Segment],
    decision: &Decision,
) -> Result<(), MetadataError> {
    if decision.segments.is_empty() {
        return Ok(());
    }
    let mut objects = 0_i64;
    let mut bytes = 0_i64;
    let mut rows = Vec::with_capacity(decision.segments.len());
    for one in &decision.segments {
        if !one.runs.is_empty() {
            objects += 1;
            bytes = bytes.saturating_add_unsigned(one.bytes);
        }
        let outcomes = encode(&segments[one.place], &decision.outcomes[one.place]);
        rows.push((one.id.to_string(), &*one.object, one.bytes, one.runs.len(), outcomes));
    }
    let insert = "INSERT INTO segments (id, state, object, bytes, refs, outcomes, committed_ms)
        SELECT value ->> 0, 'live', value ->> 1, value ->> 2, value ->> 3, value ->> 4,
            CAST(unixepoch('subsec') * 1000 AS INTEGER)
        FROM jsonb_each(?1)";
    session.run(query(insert).bind(json(&rows)?)).await?;
    let update = "UPDATE store SET objects = objects + ?1, bytes = bytes + ?2";
    session.run(query(update).bind(objects).bind(bytes)).await?;
    Ok(())
}

async fn write_runs(
    session: &mut Session<'_>,
    decision: &Decision,
    append_lag_ms: i64,
) -> Result<(), MetadataError> {
    let rows: Vec<_> = decision
        .segments
        .iter()
        .flat_map(|segment| {
            let id = segment.id.to_string();
            segment.runs.iter().map(move |run| {
                (
                    (run.partition, run.base_offset, run.next_offset, id.clone()),
                    (run.block_position, run.block_length, run.block_crc),
                    (run.position, run.length),
                    (run.max_timestamp_ms, run.reached_ms, run.append_time_ms, run.end_bytes),
                )
            })
        })
        .map(|((a, b, c, d), (e, f, g), (h, i), (j, k, l, m))| {
            (a, b, c, d, e, f, g, h, i, j, k, l, m)
        })
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    // An agent's clock may be ahead; a run of the future would be kept, with all after it, until
    // its time has come. It may be behind; a run of the distant past would be removed at once.
    let insert = "INSERT INTO runs (partition, base_offset, next_offset, segment,
            block_position, block_length, block_crc, position, length, max_timestamp_ms,
            reached_ms, append_time_ms, end_bytes)
        SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3,
            value ->> 4, value ->> 5, value ->> 6, value ->> 7, value ->> 8, value ->> 9,
            value ->> 10,
            max(min(value ->> 11, CAST(unixepoch('subsec') * 1000 AS INTEGER)),
                CAST(unixepoch('subsec') * 1000 AS INTEGER) - ?2),
            value ->> 12
        FROM jsonb_each(?1)";
    session.run(query(insert).bind(json(&rows)?).bind(append_lag_ms)).await?;
    Ok(())
}

async fn write_partitions(
    session: &mut Session<'_>,
    decision: &Decision,
) -> Result<(), MetadataError> {
    if !decision.ends.is_empty() {
        let rows: Vec<_> = decision
            .ends
            .values()
            .map(|end| (end.id, end.high_watermark, end.max_timestamp_ms, end.end_bytes))
            .collect();
        let update = "UPDATE partitions SET high_watermark = risen.value ->> 1,
                max_timestamp_ms = risen.value ->> 2, end_bytes = risen.value ->> 3
            FROM jsonb_each(?1) AS risen WHERE partitions.id = risen.value ->> 0";
        session.run(query(update).bind(json(&rows)?)).await?;
    }
    if !decision.sequences.is_empty() {
        let rows: Vec<_> = decision
            .sequences
            .iter()
            .map(|((partition, producer), state)| {
                let batches: Vec<_> =
                    state.batches.iter().map(|one| (one.first, one.last, one.offset)).collect();
                (partition, producer, state.epoch, batches)
            })
            .collect();
        let upsert = "INSERT INTO sequences (partition, producer, epoch, batches, updated_ms)
            SELECT value ->> 0, value ->> 1, value ->> 2, value -> 3,
                CAST(unixepoch('subsec') * 1000 AS INTEGER)
            FROM jsonb_each(?1) WHERE true
            ON CONFLICT (partition, producer) DO UPDATE SET
                epoch = excluded.epoch, batches = excluded.batches, updated_ms = excluded.updated_ms";
        session.run(query(upsert).bind(json(&rows)?)).await?;
    }
    Ok(())
}
