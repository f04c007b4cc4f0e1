//! Consumer groups: who owns them, and which generation is the last.

use super::commit::json;
use super::session::Session;
use crate::error::MetadataError;
use crate::types::StoredGroup;
use sqlx::{query, query_as};
use std::collections::HashMap;
use std::sync::Arc;

/// How many groups are expired by one call.
const SLICE: i64 = 500;

type Row = (String, i64, i32, String, i64);

fn group((name, epoch, generation, protocol_type, active_ms): Row) -> StoredGroup {
    StoredGroup { name: name.into(), epoch, generation, protocol_type, active_ms }
}

pub(super) async fn all(session: &mut Session<'_>) -> Result<Vec<StoredGroup>, MetadataError> {
    let select = "SELECT name, epoch, generation, protocol_type, active_ms FROM consumer_groups
        ORDER BY name";
    Ok(session.rows(query_as::<_, Row>(select)).await?.into_iter().map(group).collect())
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
        "INSERT INTO consumer_groups (name, epoch, generation, protocol_type, members, active_ms)
        SELECT DISTINCT value, ?2, first_generation, '', 0,
            CAST(unixepoch('subsec') * 1000 AS INTEGER)
        FROM json_each(?1) CROSS JOIN store WHERE true
        ON CONFLICT (name) DO UPDATE SET
            epoch = excluded.epoch, members = 0, active_ms = excluded.active_ms
        RETURNING name, epoch, generation, protocol_type, active_ms"
    } else {
        "UPDATE consumer_groups SET epoch = ?2, members = 0, active_ms = iif(members > 0,
            CAST(unixepoch('subsec') * 1000 AS INTEGER), active_ms)
        WHERE name IN (SELECT value FROM json_each(?1))
        RETURNING name, epoch, generation, protocol_type, active_ms"
    };
    let asked: Vec<&str> = names.iter().map(|name| &**name).collect();
    let taken = session.rows(query_as::<_, Row>(take).bind(json(&asked)?).bind(epoch)).await?;
    let taken: HashMap<Arc<str>, StoredGroup> =
        taken.into_iter().map(group).map(|one| (one.name.clone(), one)).collect();
    Ok(names.iter().map(|name| taken.get(name).cloned()).collect())
}

/// A generation that begins.
#[derive(Debug)]
pub(super) struct Begin {
    pub(super) group: String,
    pub(super) epoch: i64,
    pub(super) generation: i32,
    pub(super) protocol_type: String,
    pub(super) members: i64,
}

pub(super) async fn begin(session: &mut Session<'_>, begin: Begin) -> Result<bool, MetadataError> {
    let update = "UPDATE consumer_groups SET generation = ?3, protocol_type = ?4, members = ?5,
            active_ms = CAST(unixepoch('subsec') * 1000 AS INTEGER)
        WHERE name = ?1 AND epoch = ?2 AND generation <= ?3";
    let update = query(update)
        .bind(begin.group)
        .bind(begin.epoch)
        .bind(begin.generation)
        .bind(begin.protocol_type)
        .bind(begin.members);
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
