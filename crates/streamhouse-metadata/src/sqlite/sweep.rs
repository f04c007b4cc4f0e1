//! The sweeper: it removes the rows of deleted partitions in small steps, so that no producer
//! waits for the deletion of a large topic.

use super::session::Session;
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

/// Sweeps whenever `doomed` wakes it, until `stop`.
pub(super) async fn run(writer: Writer, doomed: Arc<Notify>, mut stop: Stop) {
    loop {
        tokio::select! {
            () = stopped(&mut stop) => return,
            () = doomed.notified() => {}
        }
        loop {
            let step = writer.transact(Lane::Other, |session| Box::pin(step(session)));
            let more = tokio::select! {
                () = stopped(&mut stop) => return,
                more = step => more,
            };
            match more {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    tracing::warn!(%error, "sweeping deleted partitions failed; it is tried again");
                    tokio::select! {
                        () = stopped(&mut stop) => return,
                        () = tokio::time::sleep(PAUSE) => {}
                    }
                }
            }
        }
    }
}

/// Removes some rows of one deleted partition; false when there is none.
async fn step(session: &mut Session<'_>) -> Result<bool, MetadataError> {
    let select = "SELECT partition FROM doomed LIMIT 1";
    let Some((partition,)) = session.first(query_as::<_, (i64,)>(select)).await? else {
        return Ok(false);
    };
    let delete = "DELETE FROM runs WHERE partition = ?1 AND base_offset IN
        (SELECT base_offset FROM runs WHERE partition = ?1 ORDER BY base_offset LIMIT ?2)
        RETURNING segment";
    let delete = query_as::<_, (String,)>(delete).bind(partition).bind(STEP);
    let runs = session.rows(delete).await?;
    if !runs.is_empty() {
        release(session, runs).await?;
        return Ok(true);
    }
    let delete = "DELETE FROM sequences WHERE partition = ?1 AND producer IN
        (SELECT producer FROM sequences WHERE partition = ?1 LIMIT ?2)";
    if session.run(query(delete).bind(partition).bind(STEP)).await? == 0 {
        session.run(query("DELETE FROM doomed WHERE partition = ?1").bind(partition)).await?;
    }
    Ok(true)
}

/// Counts down the references of segments; one without any is no longer part of the totals.
async fn release(session: &mut Session<'_>, runs: Vec<(String,)>) -> Result<(), MetadataError> {
    let mut counts = BTreeMap::<String, i64>::new();
    for (segment,) in runs {
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
