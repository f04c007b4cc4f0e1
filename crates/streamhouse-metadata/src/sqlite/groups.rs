//! Consumer groups: who owns them, and which generation is the last.

use super::commit::json;
use super::failure::unreadable;
use super::session::Session;
use crate::error::MetadataError;
use crate::types::StoredGroup;
use sqlx::{query, query_as};
use std::collections::HashMap;
use std::sync::Arc;

/// How many groups are expired by one call.
const SLICE: i64 = 500;

/// What [`group`] reads of a row.
macro_rules! columns {
    () => {
        "name, epoch, generation, protocol_type, active_ms, subscribed, generation_ms, committed_ms"
    };
}

type Row = (String, i64, i32, String, i64, Option<String>, Option<i64>, Option<i64>);

fn group(row: Row) -> Result<StoredGroup, MetadataError> {
    let (name, epoch, generation, protocol_type, active_ms, subscribed, begun, committed) = row;
    let names = |text: String| {
        serde_json::from_str::<Vec<String>>(&text).map_err(|_| unreadable("subscription", text))
    };
    let subscribed = subscribed.map(names).transpose()?;
    Ok(StoredGroup {
        name: name.into(),
        epoch,
        generation,
        protocol_type,
        active_ms,
        subscribed: subscribed.map(|names| names.into_iter().map(Into::into).collect()),
        generation_ms: begun,
        committed_ms: committed,
    })
}

pub(super) async fn all(session: &mut Session<'_>) -> Result<Vec<StoredGroup>, MetadataError> {
    let select = concat!("SELECT ", columns!(), " FROM consumer_groups ORDER BY name");
    session.rows(query_as::<_, Row>(select)).await?.into_iter().map(group).collect()
}

/// Gives all `names` one fresh epoch: it is given once in the whole store.
pub(super) async fn take(
    session: &mut Session<'_>,
    names: Vec<Arc<str>>,
    create: bool,
) -> Result<Vec<Option<StoredGroup>>, MetadataError> {
    let epoch = "UPDATE store SET next_epoch = next_epoch + 1 RETURNING next_epoch - 1";
    let row = session.first(query_as::<_, (i64,)>(epoch)).await?;
    let (epoch,) = row.ok_or_else(|| MetadataError::Corrupt("the next epoch is missing".into()))?;
    // Taken to serve a client, a group is active. Taken only to know it, it had members until now
    // if any are stored; otherwise every restart of an agent would put off its expiry.
    let take = if create {
        concat!(
            "INSERT INTO consumer_groups
            (name, epoch, generation, protocol_type, members, active_ms)
        SELECT DISTINCT value, ?2, first_generation, '', 0,
            CAST(unixepoch('subsec') * 1000 AS INTEGER)
        FROM json_each(?1) CROSS JOIN store WHERE true
        ON CONFLICT (name) DO UPDATE SET
            epoch = excluded.epoch, members = 0, active_ms = excluded.active_ms
        RETURNING ",
            columns!()
        )
    } else {
        concat!(
            "UPDATE consumer_groups SET epoch = ?2, members = 0, active_ms = iif(members > 0,
            CAST(unixepoch('subsec') * 1000 AS INTEGER), active_ms)
        WHERE name IN (SELECT value FROM json_each(?1))
        RETURNING ",
            columns!()
        )
    };
    let asked: Vec<&str> = names.iter().map(|name| &**name).collect();
    let taken = session.rows(query_as::<_, Row>(take).bind(json(&asked)?).bind(epoch)).await?;
    let mut known: HashMap<Arc<str>, StoredGroup> = HashMap::new();
    for one in taken {
        let one = group(one)?;
        known.insert(one.name.clone(), one);
    }
    Ok(names.iter().map(|name| known.get(name).cloned()).collect())
}

/// A generation that begins.
#[derive(Debug)]
pub(super) struct Begin {
    pub(super) group: String,
    pub(super) epoch: i64,
    pub(super) generation: i32,
    pub(super) protocol_type: String,
    pub(super) members: i64,
    /// A JSON array.
    pub(super) subscribed: Option<String>,
}

pub(super) async fn begin(session: &mut Session<'_>, begin: Begin) -> Result<bool, MetadataError> {
    let update = "UPDATE consumer_groups SET generation = ?3, protocol_type = ?4, members = ?5,
            subscribed = iif(?5 > 0, ?6, subscribed),
            active_ms = CAST(unixepoch('subsec') * 1000 AS INTEGER),
            generation_ms = CAST(unixepoch('subsec') * 1000 AS INTEGER)
        WHERE name = ?1 AND epoch = ?2 AND generation <= ?3";
    let update = query(update)
        .bind(begin.group)
        .bind(begin.epoch)
        .bind(begin.generation)
        .bind(begin.protocol_type)
        .bind(begin.members)
        .bind(begin.subscribed);
    Ok(session.run(update).await? == 1)
}

type Gone = (i64, String, i32);

pub(super) async fn delete(
    session: &mut Session<'_>,
    group: String,
    epoch: i64,
) -> Result<bool, MetadataError> {
    let delete = "DELETE FROM consumer_groups WHERE name = ?1 AND epoch = ?2
        RETURNING id, name, generation";
    let gone = session.rows(query_as::<_, Gone>(delete).bind(group).bind(epoch)).await?;
    doom(session, &gone).await?;
    Ok(!gone.is_empty())
}

pub(super) async fn expire(
    session: &mut Session<'_>,
    idle_ms: i64,
) -> Result<Vec<Arc<str>>, MetadataError> {
    let delete = "DELETE FROM consumer_groups WHERE id IN
            (SELECT id FROM consumer_groups WHERE members = 0
                AND active_ms < CAST(unixepoch('subsec') * 1000 AS INTEGER) - ?1
                ORDER BY active_ms LIMIT ?2)
        RETURNING id, name, generation";
    let gone = session.rows(query_as::<_, Gone>(delete).bind(idle_ms).bind(SLICE)).await?;
    doom(session, &gone).await?;
    Ok(gone.into_iter().map(|(_, name, _)| name.into()).collect())
}

/// Leaves the offsets of deleted groups to the sweeper, and keeps their generations from being
/// used again.
async fn doom(session: &mut Session<'_>, gone: &[Gone]) -> Result<(), MetadataError> {
    let Some(last) = gone.iter().map(|(_, _, generation)| *generation).max() else {
        return Ok(());
    };
    let ids: Vec<i64> = gone.iter().map(|(id, ..)| *id).collect();
    let insert = "INSERT INTO doomed_groups (consumer_group) SELECT value FROM json_each(?1)";
    session.run(query(insert).bind(json(&ids)?)).await?;
    let update = "UPDATE store SET first_generation = max(first_generation, ?1)";
    session.run(query(update).bind(last)).await?;
    Ok(())
}
