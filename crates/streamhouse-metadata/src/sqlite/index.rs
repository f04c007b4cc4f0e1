//! Reading the index: from offsets and times to places in objects.

use super::commit::json;
use super::failure::unreadable;
use super::session::Session;
use crate::error::MetadataError;
use crate::types::{IndexRow, Locate, Located, Position, TopicPartition, Watermarks};
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

/// Halves the range of offsets that holds the answer: within `low..high`, or at `high`, whose row
/// has reached the time. Two look-ups for each halving, whatever is stored; none when the time
/// lies past the end.
const LOCATE_TIME: &str = "
    WITH RECURSIVE search (place, low, high) AS (
        SELECT id, log_start, high_watermark FROM partitions
        WHERE topic = ?1 AND partition = ?2 AND max_timestamp_ms >= ?3
        UNION ALL
        SELECT place, iif(reached_ms >= ?3, low, next_offset), iif(reached_ms >= ?3, base_offset, high)
        FROM search CROSS JOIN runs ON runs.partition = place
            AND base_offset = (SELECT max(base_offset) FROM runs AS before
                WHERE before.partition = place AND before.base_offset <= low + (high - low) / 2)
        WHERE low < high
    )
    SELECT object, runs.* FROM search
        -- What was reached before the log start says nothing: then the rows after it decide.
        CROSS JOIN runs ON runs.partition = place
            AND runs.base_offset = (SELECT base_offset FROM runs AS later
                WHERE later.partition = place AND later.base_offset >= high
                    AND later.max_timestamp_ms >= ?3
                ORDER BY later.base_offset LIMIT 1)
        CROSS JOIN segments ON segments.id = runs.segment
    WHERE low >= high";

pub(super) async fn locate_time(
    session: &mut Session<'_>,
    partition: TopicPartition,
    timestamp_ms: i64,
) -> Result<Option<IndexRow>, MetadataError> {
    let select = query_as::<_, Stored>(LOCATE_TIME)
        .bind(partition.topic.to_string())
        .bind(partition.partition)
        .bind(timestamp_ms);
    Ok(session.first(select).await?.map(|row| row.0))
}

pub(super) async fn max_timestamp(
    session: &mut Session<'_>,
    partition: TopicPartition,
) -> Result<Option<i64>, MetadataError> {
    let select = "SELECT max_timestamp_ms FROM partitions
        WHERE topic = ?1 AND partition = ?2 AND max_timestamp_ms >= 0";
    let select =
        query_as::<_, (i64,)>(select).bind(partition.topic.to_string()).bind(partition.partition);
    Ok(session.first(select).await?.map(|(time,)| time))
}

/// Where the run that holds each offset, or else the log start, was appended and lies.
const POSITIONS: &str = "
    SELECT json_group_array(json_array(
        wanted.key, append_time_ms, partitions.end_bytes - runs.end_bytes))
    FROM jsonb_each(?1) AS wanted
    CROSS JOIN partitions
        ON partitions.topic = wanted.value ->> 0 AND partitions.partition = wanted.value ->> 1
    CROSS JOIN runs ON runs.partition = partitions.id
        AND runs.base_offset = (SELECT max(base_offset) FROM runs AS before
            WHERE before.partition = partitions.id
                AND before.base_offset <= max(wanted.value ->> 2, log_start))
    WHERE next_offset > max(wanted.value ->> 2, log_start)";

pub(super) async fn positions(
    session: &mut Session<'_>,
    wanted: Vec<(TopicPartition, i64)>,
) -> Result<Vec<Option<Position>>, MetadataError> {
    let rows: Vec<_> =
        wanted.iter().map(|(at, offset)| (at.topic.to_string(), at.partition, offset)).collect();
    let select = query_as(POSITIONS).bind(json(&rows)?);
    let mut found = vec![None; wanted.len()];
    for (place, append_time_ms, bytes_after) in
        session.elements::<(usize, i64, i64)>(select).await?
    {
        let slot = found.get_mut(place).ok_or_else(|| unreadable("place", place))?;
        *slot = Some(Position { append_time_ms, bytes_after });
    }
    Ok(found)
}

/// Neighbouring partitions are read as one range, in less time than by a look-up each.
const WATERMARKS: &str = "
    SELECT json_group_array(json_array(asked.key, partition, log_start, high_watermark))
    FROM jsonb_each(?1) AS asked CROSS JOIN partitions
        ON partitions.topic = asked.value ->> 0
        AND partition BETWEEN asked.value ->> 1 AND asked.value ->> 2";

pub(super) async fn watermarks(
    session: &mut Session<'_>,
    partitions: Vec<TopicPartition>,
) -> Result<Vec<Option<Watermarks>>, MetadataError> {
    let is_next = |a: &TopicPartition, b: &TopicPartition| {
        a.topic == b.topic && a.partition.checked_add(1) == Some(b.partition)
    };
    let (mut ranges, mut starts, mut start) = (Vec::new(), Vec::new(), 0);
    for range in partitions.chunk_by(is_next) {
        let (first, last) = (range[0], range[range.len() - 1]);
        ranges.push((first.topic.to_string(), first.partition, last.partition));
        starts.push((start, first.partition));
        start += range.len();
    }
    let select = query_as(WATERMARKS).bind(json(&ranges)?);
    let mut found = vec![None; partitions.len()];
    for (range, partition, log_start, high_watermark) in
        session.elements::<(usize, i32, i64, i64)>(select).await?
    {
        let (start, first) = *starts.get(range).ok_or_else(|| unreadable("range", range))?;
        let place = usize::try_from(partition - first).ok().map(|place| start + place);
        let slot = place.and_then(|place| found.get_mut(place));
        let slot = slot.ok_or_else(|| unreadable("partition", partition))?;
        *slot = Some(Watermarks { log_start, high_watermark });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Batch, Block, Retention, Segment, SegmentId, Trim, TrimOutcome};
    use crate::{MetadataStore as _, SqliteStore};
    use sqlx::ConnectOptions as _;
    use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// A partition whose `runs` rows have the times 0, 1, 2, …
    async fn filled(runs: u32) -> (SqliteStore, TopicPartition) {
        filled_with((0..runs).map(i64::from)).await
    }

    async fn filled_with(times: impl Iterator<Item = i64>) -> (SqliteStore, TopicPartition) {
        let store = SqliteStore::in_memory().await.unwrap();
        let topic = store.create_topic("t", 1, Retention::default()).await.unwrap();
        let partition = TopicPartition { topic: topic.id, partition: 0 };
        let block = |time: i64| Block {
            partition,
            position: 0,
            length: 1,
            crc: 0,
            append_time_ms: 0,
            batches: vec![Batch {
                position: 0,
                length: 1,
                records: 1,
                max_timestamp_ms: time,
                producer: None,
            }],
        };
        let id = SegmentId(ulid::Ulid::generate());
        let blocks = times.map(block).collect();
        store.commit(&[Segment { id, object: "o".into(), bytes: 1, blocks }]).await.unwrap();
        (store, partition)
    }

    async fn counted(store: &SqliteStore) -> (SqliteConnection, Arc<AtomicU64>) {
        let options = SqliteConnectOptions::new().filename(store.path());
        let mut connection = options.connect().await.unwrap();
        let operations = Arc::<AtomicU64>::default();
        let count = operations.clone();
        connection.lock_handle().await.unwrap().set_progress_handler(1, move || {
            count.fetch_add(1, Ordering::Relaxed);
            true
        });
        (connection, operations)
    }

    /// How many operations SQLite's machine takes to find `time`.
    async fn work(store: &SqliteStore, partition: TopicPartition, time: i64) -> u64 {
        let (mut connection, operations) = counted(store).await;
        let statements = Arc::default();
        let mut session = Session::new(&mut connection, &statements);
        let found = locate_time(&mut session, partition, time).await.unwrap();
        let greatest = max_timestamp(&mut session, partition).await.unwrap().unwrap();
        assert_eq!(found.map(|row| row.base_offset), (time <= greatest).then_some(time));
        operations.load(Ordering::Relaxed)
    }

    #[tokio::test]
    async fn no_question_of_time_scans_the_rows() {
        let (store, partition) = filled(10_000).await;
        let (small, of_small) = filled(10).await;
        let ends = work(&store, partition, 10_000).await;
        assert_eq!(ends, work(&small, of_small, 10).await, "past the end");
        for time in [0, 1, 5_000, 9_998, 9_999] {
            let operations = work(&store, partition, time).await;
            assert!(operations < 2_000, "time {time}: {operations} operations");
        }

        let (mut connection, _) = counted(&store).await;
        let moved = sqlx::query("UPDATE partitions SET log_start = 5000");
        moved.execute(&mut connection).await.unwrap();
        for (time, offset) in [(0, 5_000), (5_000, 5_000), (5_001, 5_001)] {
            let row = store.locate_time(partition, time).await.unwrap().unwrap();
            assert_eq!(row.base_offset, offset, "time {time}");
        }
    }

    #[tokio::test]
    async fn a_removed_time_of_the_far_future_makes_no_search_scan() {
        let times = std::iter::once(9_000_000_000_000).chain(1..5_000);
        let (store, partition) = filled_with(times).await;
        while let TrimOutcome::Trimmed(done) =
            store.trim(&[(partition, Trim::To(1))]).await.unwrap().remove(0)
            && done.more
        {}
        for time in [1, 2_500, 4_999, 5_000] {
            let operations = work(&store, partition, time).await;
            assert!(operations < 2_000, "time {time}: {operations} operations");
        }
    }
}
