//! Producer ids and epochs.

use super::failure::unreadable;
use super::session::Session;
use crate::error::MetadataError;
use crate::types::ProducerIdentity;
use sqlx::{query, query_as};

pub(super) async fn init(
    session: &mut Session<'_>,
    known: Option<ProducerIdentity>,
) -> Result<ProducerIdentity, MetadataError> {
    match known {
        None => fresh(session).await,
        Some(known) => raise(session, known).await,
    }
}

async fn fresh(session: &mut Session<'_>) -> Result<ProducerIdentity, MetadataError> {
    let update = "UPDATE store SET next_producer = next_producer + 1 RETURNING next_producer - 1";
    let row = session.first(query_as::<_, (i64,)>(update)).await?;
    let (id,) =
        row.ok_or_else(|| MetadataError::Corrupt("the next producer id is missing".into()))?;
    Ok(ProducerIdentity { id, epoch: 0 })
}

/// Raises the epoch, so that whoever still uses the old one is fenced. An id whose epochs are used
/// up gives way to a fresh one.
async fn raise(
    session: &mut Session<'_>,
    known: ProducerIdentity,
) -> Result<ProducerIdentity, MetadataError> {
    let ProducerIdentity { id, epoch } = known;
    let select = "SELECT coalesce((SELECT epoch FROM producers WHERE id = ?1), 0) FROM store
        WHERE ?1 >= 1 AND ?1 < next_producer";
    let Some((stored,)) = session.first(query_as::<_, (i64,)>(select).bind(id)).await? else {
        return Err(MetadataError::NotFound(format!("producer {id}")));
    };
    let stored = i16::try_from(stored).map_err(|_| unreadable("producer epoch", stored))?;
    if epoch < stored {
        return Err(MetadataError::Fenced { id, epoch });
    }
    // Clients raise their epoch by themselves too, so theirs may be ahead.
    let Some(raised) = epoch.checked_add(1) else {
        return fresh(session).await;
    };
    let upsert = "INSERT INTO producers (id, epoch) VALUES (?1, ?2)
        ON CONFLICT (id) DO UPDATE SET epoch = excluded.epoch";
    session.run(query(upsert).bind(id).bind(raised)).await?;
    Ok(ProducerIdentity { id, epoch: raised })
}
