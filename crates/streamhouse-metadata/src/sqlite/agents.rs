//! Agents and their leases, by the store's clock.

use super::failure::unreadable;
use super::session::Session;
use crate::error::MetadataError;
use crate::types::Agent;
use sqlx::{query, query_as};
use uuid::Uuid;

type Row = (i32, String, String, u16);

fn agent((id, incarnation, host, port): Row) -> Result<Agent, MetadataError> {
    let incarnation = incarnation.parse().map_err(|_| unreadable("agent", incarnation))?;
    Ok(Agent { id, incarnation, host, port })
}

/// Registers or renews. An agent at the same address is gone, since an address has one listener:
/// its successor takes over its number. Otherwise the lowest free number is given.
pub(super) async fn register(
    session: &mut Session<'_>,
    incarnation: Uuid,
    host: String,
    port: u16,
    lease_ms: i64,
) -> Result<Agent, MetadataError> {
    let expired = "DELETE FROM agents WHERE incarnation <> ?1 AND NOT (host = ?2 AND port = ?3)
        AND expires_ms <= CAST(unixepoch('subsec') * 1000 AS INTEGER)";
    let expired = query(expired).bind(incarnation.to_string()).bind(host.clone()).bind(port);
    session.run(expired).await?;
    // The agent's own row decides before that of its address: an agent keeps its number.
    let select = "SELECT coalesce(
        (SELECT id FROM agents WHERE incarnation = ?1 OR (host = ?2 AND port = ?3)
            ORDER BY incarnation = ?1 DESC LIMIT 1),
        (SELECT min(id) FROM (SELECT 1 AS id UNION ALL SELECT id + 1 FROM agents)
            WHERE id NOT IN (SELECT id FROM agents)))";
    let select =
        query_as::<_, (i32,)>(select).bind(incarnation.to_string()).bind(host.clone()).bind(port);
    let row = session.first(select).await?;
    let (id,) = row.ok_or_else(|| MetadataError::Corrupt("no agent number is free".into()))?;
    let former = "DELETE FROM agents WHERE incarnation = ?1 OR (host = ?2 AND port = ?3)";
    session.run(query(former).bind(incarnation.to_string()).bind(host.clone()).bind(port)).await?;
    let insert = "INSERT INTO agents (id, incarnation, host, port, expires_ms) VALUES
        (?1, ?2, ?3, ?4, CAST(unixepoch('subsec') * 1000 AS INTEGER) + ?5)";
    let insert = query(insert)
        .bind(id)
        .bind(incarnation.to_string())
        .bind(host.clone())
        .bind(port)
        .bind(lease_ms);
    session.run(insert).await?;
    Ok(Agent { id, incarnation, host, port })
}

pub(super) async fn remove(
    session: &mut Session<'_>,
    incarnation: Uuid,
) -> Result<(), MetadataError> {
    let delete = "DELETE FROM agents WHERE incarnation = ?1";
    session.run(query(delete).bind(incarnation.to_string())).await?;
    Ok(())
}

pub(super) async fn alive(session: &mut Session<'_>) -> Result<Vec<Agent>, MetadataError> {
    let select = "SELECT id, incarnation, host, port FROM agents
        WHERE expires_ms > CAST(unixepoch('subsec') * 1000 AS INTEGER) ORDER BY id";
    session.rows(query_as::<_, Row>(select)).await?.into_iter().map(agent).collect()
}
