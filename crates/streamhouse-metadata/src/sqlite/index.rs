//! Reading the index: from offsets and times to places in objects.

use super::commit::json;
use super::failure::unreadable;
use super::session::Session;
use crate::error::MetadataError;
use crate::types::{IndexRow, Locate, Located, TopicPartition, Watermarks};
use sqlx::sqlite::SqliteRow;
use sqlx::{FromRow, Row as _, query_as};

/// How many rows one partition gets at most, so that an answer stays small whatever was asked.
const MOST_ROWS: i64 = 1_000;

/// An index row as it is selected: its columns are named as its fields.
struct Stored(IndexRow);

impl FromRow<'_, SqliteRow> for Stored {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        Ok(Self(IndexRow {
            base_offset: row.try_get("base_offset")?,
            next_offset: row.try_get("next_offset")?,
            object: row.try_get::<String, _>("object")?.into(),
            block_position: row.try_get::<i64, _>("block_position")?.cast_unsigned(),
            block_length: row.try_get("block_length")?,
            block_crc: row.try_get("block_crc")?,
            position: row.try_get("position")?,
            length: row.try_get("length")?,
            max_timestamp_ms: row.try_get("max_timestamp_ms")?,
            append_time_ms: row.try_get("append_time_ms")?,
        }))
    }
}

/// A partition's ends, with one of its rows if it has any.
struct LocatedRow {
    place: i64,
    watermarks: Watermarks,
    row: Option<IndexRow>,
}

impl FromRow<'_, SqliteRow> for LocatedRow {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        let watermarks = Watermarks {
            log_start: row.try_get("log_start")?,
            high_watermark: row.try_get("high_watermark")?,
        };
        let found = row.try_get::<Option<i64>, _>("base_offset")?.is_some();
        let index = if found { Some(Stored::from_row(row)?.0) } else { None };
        Ok(Self { place: row.try_get("place")?, watermarks, row: index })
    }
}

/// Walks from row to row of each partition, since a row begins where its predecessor ends: the
/// work is that of the rows returned, however long the log is.
const LOCATE: &str = "
    WITH RECURSIVE asked AS MATERIALIZED (
        SELECT wanted.key AS place, partitions.id AS partition, log_start, high_watermark,
            max(wanted.value ->> 2, log_start) AS start, wanted.value ->> 3 AS budget
        FROM jsonb_each(?1) AS wanted CROSS JOIN partitions
            ON partitions.topic = wanted.value ->> 0
            AND partitions.partition = wanted.value ->> 1
    ),
    walk (place, partition, budget, base_offset, next_offset, bytes, steps) AS (
        SELECT place, asked.partition, budget, runs.base_offset, next_offset, length, 1
        FROM asked CROSS JOIN runs ON runs.partition = asked.partition
            AND runs.base_offset = (SELECT max(base_offset) FROM runs AS before
                WHERE before.partition = asked.partition AND before.base_offset <= asked.start)
        WHERE next_offset > asked.start
        UNION ALL
        SELECT place, walk.partition, budget, runs.base_offset, runs.next_offset,
            bytes + length, steps + 1
        FROM walk CROSS JOIN runs
            ON runs.partition = walk.partition AND runs.base_offset = walk.next_offset
        WHERE bytes < budget AND steps < ?2
    )
    SELECT asked.place, log_start, high_watermark, object, runs.*
    FROM asked LEFT JOIN walk ON walk.place = asked.place
        LEFT JOIN runs
            ON runs.partition = walk.partition AND runs.base_offset = walk.base_offset
        LEFT JOIN segments ON segments.id = runs.segment
    ORDER BY asked.place, runs.base_offset";

pub(super) async fn locate(
    session: &mut Session<'_>,
    wanted: Vec<Locate>,
) -> Result<Vec<Option<Located>>, MetadataError> {
    let rows: Vec<_> = wanted
        .iter()
        .map(|one| {
            let TopicPartition { topic, partition } = one.partition;
            let budget = i64::try_from(one.max_bytes).unwrap_or(i64::MAX);
            (topic.to_string(), partition, one.offset, budget)
        })
        .collect();
    let select = query_as::<_, LocatedRow>(LOCATE).bind(json(&rows)?).bind(MOST_ROWS);
    let mut located: Vec<Option<Located>> = vec![None; wanted.len()];
    for LocatedRow { place, watermarks, row } in session.rows(select).await? {
        let slot = usize::try_from(place).ok().and_then(|place| located.get_mut(place));
        let slot = slot.ok_or_else(|| unreadable("place", place))?;
        slot.get_or_insert_with(|| Located { watermarks, rows: Vec::new() }).rows.extend(row);
    }
    Ok(located)
}

pub(super) async fn locate_time(
    session: &mut Session<'_>,
    partition: TopicPartition,
    timestamp_ms: i64,
) -> Result<Option<IndexRow>, MetadataError> {
    let select = "SELECT object, runs.* FROM partitions
        CROSS JOIN runs ON runs.partition = partitions.id
        CROSS JOIN segments ON segments.id = runs.segment
        WHERE partitions.topic = ?1 AND partitions.partition = ?2
            AND next_offset > log_start AND max_timestamp_ms >= ?3
        ORDER BY base_offset LIMIT 1";
    let select = query_as::<_, Stored>(select)
        .bind(partition.topic.to_string())
        .bind(partition.partition)
        .bind(timestamp_ms);
    Ok(session.first(select).await?.map(|row| row.0))
}

pub(super) async fn watermarks(
    session: &mut Session<'_>,
    partitions: Vec<TopicPartition>,
) -> Result<Vec<Option<Watermarks>>, MetadataError> {
    let rows: Vec<_> =
        partitions.iter().map(|one| (one.topic.to_string(), one.partition)).collect();
    let select = "SELECT asked.key, log_start, high_watermark
        FROM jsonb_each(?1) AS asked CROSS JOIN partitions
            ON partitions.topic = asked.value ->> 0 AND partitions.partition = asked.value ->> 1";
    let select = query_as::<_, (i64, i64, i64)>(select).bind(json(&rows)?);
    let mut found = vec![None; partitions.len()];
    for (place, log_start, high_watermark) in session.rows(select).await? {
        let slot = usize::try_from(place).ok().and_then(|place| found.get_mut(place));
        let slot = slot.ok_or_else(|| unreadable("place", place))?;
        *slot = Some(Watermarks { log_start, high_watermark });
    }
    Ok(found)
}
