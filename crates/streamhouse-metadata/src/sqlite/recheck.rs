//! Putting right what runs have reached, after the first ones were removed.
//!
//! `runs.reached_ms` is the greatest timestamp from the partition's first run on. A removed run
//! with a timestamp of the far future would be remembered by all runs after it: searches by time
//! would then look at run after run. So the runs that remain are looked at again, in slices, until
//! one is found that is right: those after it follow from it.

use super::commit::json;
use super::session::Session;
use crate::error::MetadataError;
use sqlx::{query, query_as};
use std::collections::BTreeMap;

/// Runs from `recheck_from` on with what they have reached in truth. A run that is right ends the
/// walk, but not before `recheck_to`: up to there an earlier walk may have ended anywhere.
const WALK: &str = "
    WITH RECURSIVE asked AS MATERIALIZED (
        SELECT partitions.id AS partition, high_watermark, recheck_from, recheck_to
        FROM json_each(?1) AS wanted CROSS JOIN partitions ON partitions.id = wanted.value
        WHERE recheck_from IS NOT NULL
    ),
    walk (partition, run, base_offset, next_offset, stored, reached, until, steps) AS (
        SELECT asked.partition, runs.rowid, runs.base_offset, runs.next_offset, runs.reached_ms,
            max(runs.max_timestamp_ms, coalesce((SELECT before.reached_ms FROM runs AS before
                WHERE before.partition = asked.partition
                    AND before.base_offset < runs.base_offset
                ORDER BY before.base_offset DESC LIMIT 1), -1)),
            recheck_to, 1
        FROM asked CROSS JOIN runs ON runs.partition = asked.partition
            AND runs.base_offset = (SELECT min(base_offset) FROM runs AS first
                WHERE first.partition = asked.partition AND first.base_offset >= recheck_from)
        UNION ALL
        SELECT walk.partition, runs.rowid, runs.base_offset, runs.next_offset, runs.reached_ms,
            max(runs.max_timestamp_ms, walk.reached), until, steps + 1
        FROM walk CROSS JOIN runs
            ON runs.partition = walk.partition AND runs.base_offset = walk.next_offset
        WHERE steps < ?2 AND (walk.stored <> walk.reached OR walk.base_offset < until)
    )
    SELECT asked.partition, high_watermark, run, next_offset, stored, reached,
        base_offset >= until
    FROM asked LEFT JOIN walk ON walk.partition = asked.partition
    ORDER BY asked.partition, base_offset";

type Row = (i64, i64, Option<i64>, Option<i64>, Option<i64>, Option<i64>, Option<bool>);

/// Takes note that first runs of `partitions` were removed.
pub(super) async fn mark(
    session: &mut Session<'_>,
    partitions: &[i64],
) -> Result<(), MetadataError> {
    let update = "UPDATE partitions SET recheck_from = 0,
            recheck_to = max(coalesce(recheck_to, 0), coalesce(recheck_from, 0))
        WHERE id IN (SELECT value FROM json_each(?1))";
    session.run(query(update).bind(json(&partitions)?)).await?;
    Ok(())
}

/// Puts some runs of `partitions` right, and returns the partitions that have more of them.
pub(super) async fn step(
    session: &mut Session<'_>,
    partitions: &[i64],
    limit: usize,
) -> Result<Vec<i64>, MetadataError> {
    let walk = query_as::<_, Row>(WALK).bind(json(&partitions)?).bind(limit as i64);
    let mut wrong = Vec::new();
    // Where to go on, and the greatest timestamp once it is known.
    let mut states = BTreeMap::<i64, (Option<i64>, Option<i64>)>::new();
    for (partition, high_watermark, run, next_offset, stored, reached, ends) in
        session.rows(walk).await?
    {
        let (Some(run), Some(next), Some(reached)) = (run, next_offset, reached) else {
            // No run is left, so no record has a timestamp.
            states.insert(partition, (None, Some(-1)));
            continue;
        };
        let right = stored == Some(reached);
        if !right {
            wrong.push((run, reached));
        }
        // The last run of the walk decides.
        let state = if next == high_watermark {
            (None, Some(reached))
        } else if right && ends == Some(true) {
            (None, None)
        } else {
            (Some(next), None)
        };
        states.insert(partition, state);
    }
    if states.is_empty() {
        return Ok(Vec::new());
    }
    let update = "UPDATE runs SET reached_ms = found.value ->> 1
        FROM jsonb_each(?1) AS found WHERE runs.rowid = found.value ->> 0";
    session.run(query(update).bind(json(&wrong)?)).await?;
    let rows: Vec<_> = states.iter().map(|(one, (from, time))| (one, from, time)).collect();
    let update = "UPDATE partitions SET recheck_from = found.value ->> 1,
            recheck_to = iif(found.value ->> 1 IS NULL, NULL, recheck_to),
            max_timestamp_ms = coalesce(found.value ->> 2, max_timestamp_ms)
        FROM jsonb_each(?1) AS found WHERE partitions.id = found.value ->> 0";
    session.run(query(update).bind(json(&rows)?)).await?;
    Ok(states.into_iter().filter(|(_, (from, _))| from.is_some()).map(|(one, _)| one).collect())
}

#[cfg(test)]
mod tests {
    use crate::types::{
        Batch, Block, Retention, Segment, SegmentId, TopicId, TopicPartition, Trim, TrimOutcome,
    };
    use crate::{MetadataStore as _, SqliteStore};
    use proptest::prelude::*;
    use sqlx::ConnectOptions as _;
    use sqlx::sqlite::SqliteConnectOptions;

    #[derive(Clone, Debug)]
    enum Step {
        /// Appends runs with these timestamps.
        Append(Vec<i64>),
        /// Trims so many of the runs away, in slices of so many rows, so many times.
        Trim { runs: usize, slice: usize, calls: usize },
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let times = prop_oneof![4 => 0..50_i64, 1 => 1_000..1_010_i64, 1 => Just(-1)];
        let append = prop::collection::vec(times, 1..12).prop_map(Step::Append);
        let trim = (1..8_usize, 1..4_usize, 1..4_usize)
            .prop_map(|(runs, slice, calls)| Step::Trim { runs, slice, calls });
        prop::collection::vec(prop_oneof![append, trim], 1..16)
    }

    struct Log {
        store: SqliteStore,
        partition: TopicPartition,
        times: Vec<i64>,
        start: usize,
    }

    impl Log {
        async fn new() -> Self {
            let store = SqliteStore::in_memory().await.unwrap();
            let topic = store.create_topic("t", 1, Retention::default()).await.unwrap();
            let partition = TopicPartition { topic: topic.id, partition: 0 };
            Self { store, partition, times: Vec::new(), start: 0 }
        }

        async fn append(&mut self, times: &[i64]) {
            let block = |time: &i64| Block {
                partition: self.partition,
                position: 0,
                length: 1,
                crc: 0,
                append_time_ms: 0,
                batches: vec![Batch {
                    position: 0,
                    length: 1,
                    records: 1,
                    max_timestamp_ms: *time,
                    producer: None,
                }],
            };
            let id = SegmentId(ulid::Ulid::generate());
            let blocks = times.iter().map(block).collect();
            let segment = Segment { id, object: "o".into(), bytes: 1, blocks };
            self.store.commit(&[segment]).await.unwrap();
            self.times.extend(times);
        }

        /// One call, which shares its slice with partitions that do not exist.
        async fn trim(&mut self, to: usize, slice: usize) -> bool {
            self.start = to;
            let nowhere = TopicPartition { topic: TopicId(uuid::Uuid::nil()), ..self.partition };
            let mut wanted = vec![(nowhere, Trim::ToEnd); super::super::trim::SLICE / slice];
            wanted[0] = (self.partition, Trim::To(to as i64));
            match self.store.trim(&wanted).await.unwrap().swap_remove(0) {
                TrimOutcome::Trimmed(done) => done.more,
                other => panic!("{other:?}"),
            }
        }

        /// Searches find what a look at every run finds.
        async fn check(&self) {
            for time in [0, 1, 10, 25, 40, 49, 50, 1_000, 1_005, 1_010] {
                let mut kept = self.times.iter().enumerate().skip(self.start);
                let expected = kept.find(|(_, one)| **one >= time).map(|(place, _)| place as i64);
                let found = self.store.locate_time(self.partition, time).await.unwrap();
                assert_eq!(found.map(|row| row.base_offset), expected, "time {time}");
            }
        }

        /// What the runs and the partition have reached, once all is done.
        async fn check_reached(&self) {
            let options = SqliteConnectOptions::new().filename(self.store.path());
            let mut aside = options.connect().await.unwrap();
            let select = "SELECT base_offset, reached_ms FROM runs ORDER BY base_offset";
            let found: Vec<(i64, i64)> =
                sqlx::query_as(select).fetch_all(&mut aside).await.unwrap();
            let mut greatest = -1;
            let mut expected = Vec::new();
            for (place, time) in self.times.iter().enumerate().skip(self.start) {
                greatest = greatest.max(*time);
                expected.push((place as i64, greatest));
            }
            assert_eq!(found, expected);
            let stored = self.store.max_timestamp(self.partition).await.unwrap();
            assert_eq!(stored, (greatest >= 0).then_some(greatest));
            let select = "SELECT count(*) FROM partitions WHERE recheck_to IS NOT NULL";
            let pending: i64 = sqlx::query_scalar(select).fetch_one(&mut aside).await.unwrap();
            assert_eq!(pending, 0);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn searches_by_time_are_right_at_every_step_and_all_is_put_right_in_the_end(
            steps in steps()
        ) {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut log = Log::new().await;
                for step in &steps {
                    match step {
                        Step::Append(times) => log.append(times).await,
                        Step::Trim { runs, slice, calls } => {
                            let to = (log.start + runs).min(log.times.len());
                            for _ in 0..*calls {
                                log.trim(to, *slice).await;
                            }
                        }
                    }
                    log.check().await;
                }
                while log.trim(log.start, 2).await {}
                log.check().await;
                log.check_reached().await;
            });
        }
    }
}
