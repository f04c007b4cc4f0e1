//! Topics and partitions, totals and the ping.

use super::failure::unreadable;
use super::session::Session;
use crate::error::MetadataError;
use crate::types::{Retention, RetentionChange, Topic, TopicId, Totals};
use sqlx::{query, query_as};
use std::sync::Arc;
use uuid::Uuid;

type Row = (String, String, i32, i64, Option<i64>, Option<i64>);

fn topic((id, name, partitions, created_ms, ms, bytes): Row) -> Result<Topic, MetadataError> {
    let id = TopicId(id.parse().map_err(|_| unreadable("topic id", &id))?);
    let retention = Retention { ms, bytes };
    Ok(Topic { id, name: name.into(), partitions, created_ms, retention })
}

pub(super) async fn all(session: &mut Session<'_>) -> Result<Vec<Topic>, MetadataError> {
    let select = "SELECT id, name, partitions, created_ms, retention_ms, retention_bytes
        FROM topics ORDER BY name";
    session.rows(query_as::<_, Row>(select)).await?.into_iter().map(topic).collect()
}

pub(super) async fn create(
    session: &mut Session<'_>,
    name: Arc<str>,
    partitions: i32,
    retention: Retention,
) -> Result<Topic, MetadataError> {
    let id = TopicId(Uuid::new_v4());
    let insert = "INSERT INTO topics
            (id, name, partitions, created_ms, retention_ms, retention_bytes)
        VALUES (?1, ?2, ?3, CAST(unixepoch('subsec') * 1000 AS INTEGER), ?4, ?5)
        ON CONFLICT (name) DO NOTHING
        RETURNING id, name, partitions, created_ms, retention_ms, retention_bytes";
    let insert = query_as::<_, Row>(insert)
        .bind(id.to_string())
        .bind(name.to_string())
        .bind(partitions)
        .bind(retention.ms)
        .bind(retention.bytes);
    let Some(row) = session.first(insert).await? else {
        return Err(MetadataError::AlreadyExists(name.to_string()));
    };
    add_partitions(session, id, 0, partitions).await?;
    topic(row)
}

pub(super) async fn set_retention(
    session: &mut Session<'_>,
    id: TopicId,
    change: RetentionChange,
) -> Result<Topic, MetadataError> {
    let update = "UPDATE topics SET retention_ms = iif(?2, ?3, retention_ms),
            retention_bytes = iif(?4, ?5, retention_bytes)
        WHERE id = ?1
        RETURNING id, name, partitions, created_ms, retention_ms, retention_bytes";
    let update = query_as::<_, Row>(update)
        .bind(id.to_string())
        .bind(change.ms.is_some())
        .bind(change.ms.flatten())
        .bind(change.bytes.is_some())
        .bind(change.bytes.flatten());
    let row = session.first(update).await?;
    topic(row.ok_or_else(|| MetadataError::NotFound(format!("topic {id}")))?)
}

async fn add_partitions(
    session: &mut Session<'_>,
    topic: TopicId,
    from: i32,
    to: i32,
) -> Result<(), MetadataError> {
    let insert = "WITH RECURSIVE added (partition) AS
            (SELECT ?2 UNION ALL SELECT partition + 1 FROM added WHERE partition + 1 < ?3)
        INSERT INTO partitions (topic, partition, log_start, high_watermark, max_timestamp_ms)
        SELECT ?1, partition, 0, 0, -1 FROM added";
    session.run(query(insert).bind(topic.to_string()).bind(from).bind(to)).await?;
    Ok(())
}

pub(super) async fn grow(
    session: &mut Session<'_>,
    id: TopicId,
    total: i32,
) -> Result<Topic, MetadataError> {
    let select = "SELECT id, name, partitions, created_ms, retention_ms, retention_bytes
        FROM topics WHERE id = ?1";
    let Some(row) = session.first(query_as::<_, Row>(select).bind(id.to_string())).await? else {
        return Err(MetadataError::NotFound(format!("topic {id}")));
    };
    let mut topic = topic(row)?;
    if total <= topic.partitions {
        return Err(MetadataError::Refused(format!(
            "topic {:?} has {} partitions: their number can only grow, not become {total}",
            topic.name, topic.partitions
        )));
    }
    add_partitions(session, id, topic.partitions, total).await?;
    let update = "UPDATE topics SET partitions = ?2 WHERE id = ?1";
    session.run(query(update).bind(id.to_string()).bind(total)).await?;
    topic.partitions = total;
    Ok(topic)
}

/// Takes the topic away at once; its index rows are left to the sweeper, because a transaction
/// over millions of rows would make producers wait.
pub(super) async fn delete(session: &mut Session<'_>, id: TopicId) -> Result<(), MetadataError> {
    let delete = "DELETE FROM topics WHERE id = ?1";
    if session.run(query(delete).bind(id.to_string())).await? == 0 {
        return Err(MetadataError::NotFound(format!("topic {id}")));
    }
    let doom = "INSERT INTO doomed (partition) SELECT id FROM partitions WHERE topic = ?1";
    session.run(query(doom).bind(id.to_string())).await?;
    let delete = "DELETE FROM partitions WHERE topic = ?1";
    session.run(query(delete).bind(id.to_string())).await?;
    Ok(())
}

pub(super) async fn totals(session: &mut Session<'_>) -> Result<Totals, MetadataError> {
    let select = "SELECT (SELECT count(*) FROM topics),
        (SELECT coalesce(sum(partitions), 0) FROM topics), objects, bytes FROM store";
    let row = session.first(query_as::<_, (i64, i64, i64, i64)>(select)).await?;
    let (topics, partitions, objects, bytes) =
        row.ok_or_else(|| MetadataError::Corrupt("the row of totals is missing".into()))?;
    let whole = |name, value: i64| u64::try_from(value).map_err(|_| unreadable(name, value));
    Ok(Totals {
        topics: whole("number of topics", topics)?,
        partitions: whole("number of partitions", partitions)?,
        objects: whole("number of objects", objects)?,
        bytes: whole("number of bytes", bytes)?,
    })
}

/// Writes, because a store that only reads does not commit.
pub(super) async fn ping(session: &mut Session<'_>) -> Result<(), MetadataError> {
    session.run(query("UPDATE store SET pings = pings + 1")).await?;
    Ok(())
}
