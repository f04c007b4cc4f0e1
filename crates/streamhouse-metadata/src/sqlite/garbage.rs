//! Objects that nothing refers to, and the floor below which they can be deleted.

use super::commit::json;
use super::failure::unreadable;
use super::session::Session;
use crate::error::MetadataError;
use crate::types::{SegmentId, UnusedSegment};
use sqlx::{query, query_as};
use ulid::Ulid;

/// How many unused segments one call tells at most.
const SLICE: i64 = 1_000;

pub(super) async fn raise_floor(
    session: &mut Session<'_>,
    grace_ms: i64,
) -> Result<i64, MetadataError> {
    let update = "UPDATE store SET
            floor_ms = max(floor_ms, CAST(unixepoch('subsec') * 1000 AS INTEGER) - ?1)
        RETURNING floor_ms, floor_ms - CAST(unixepoch('subsec') * 1000 AS INTEGER)";
    let row = session.first(query_as::<_, (i64, i64)>(update).bind(grace_ms)).await?;
    if let Some((floor_ms, ahead_ms)) = row.filter(|(_, ahead_ms)| *ahead_ms > 0) {
        // It never falls: segments are stamped at the floor, and no object becomes garbage.
        tracing::warn!(
            floor_ms,
            ahead_ms,
            "the floor of garbage collection lies in the future: the clock was ahead once, or is \
             behind now; set it right. Until it reaches the floor, nothing new is deleted"
        );
    }
    one(row.map(|(floor_ms, _)| (floor_ms,)))
}

/// The first id that is not below the floor: ids sort by their stamp.
async fn boundary(session: &mut Session<'_>) -> Result<String, MetadataError> {
    let floor_ms = one(session.first(query_as::<_, (i64,)>("SELECT floor_ms FROM store")).await?)?;
    let floor_ms = u64::try_from(floor_ms).map_err(|_| unreadable("floor", floor_ms))?;
    Ok(SegmentId(Ulid::from_parts(floor_ms, 0)).to_string())
}

fn one(row: Option<(i64,)>) -> Result<i64, MetadataError> {
    let row = row.ok_or_else(|| MetadataError::Corrupt("the row of the floor is missing".into()));
    row.map(|(value,)| value)
}

pub(super) async fn unused(
    session: &mut Session<'_>,
) -> Result<(Vec<UnusedSegment>, u64), MetadataError> {
    let boundary = boundary(session).await?;
    let select = "SELECT id, object, bytes FROM segments
        WHERE refs = 0 AND object <> '' AND id < ?1 ORDER BY id LIMIT ?2";
    type Row = (String, String, i64);
    let rows = session.rows(query_as::<_, Row>(select).bind(boundary).bind(SLICE)).await?;
    let segment = |(id, object, bytes): Row| {
        let id = SegmentId(id.parse().map_err(|_| unreadable("segment id", &id))?);
        let bytes = u64::try_from(bytes).map_err(|_| unreadable("number of bytes", bytes))?;
        Ok(UnusedSegment { id, object: object.into(), bytes })
    };
    let segments = rows.into_iter().map(segment).collect::<Result<_, MetadataError>>()?;
    let select = "SELECT count(*) FROM segments WHERE refs = 0 AND object <> ''";
    let count = one(session.first(query_as::<_, (i64,)>(select)).await?)?;
    Ok((segments, count.max(0).cast_unsigned()))
}

/// Below the floor only: until then a row keeps a commit that is still on its way from counting.
///
/// Invariant: a row stays while its answers are kept. Settling the segment must find it, or the
/// segment would be told as never committed. Only the name of its object goes.
pub(super) async fn forget(
    session: &mut Session<'_>,
    ids: Vec<SegmentId>,
) -> Result<(), MetadataError> {
    let boundary = boundary(session).await?;
    let ids: Vec<String> = ids.iter().map(SegmentId::to_string).collect();
    let delete = "DELETE FROM segments WHERE id IN (SELECT value FROM json_each(?1))
        AND refs = 0 AND outcomes IS NULL AND id < ?2";
    session.run(query(delete).bind(json(&ids)?).bind(&boundary)).await?;
    let update = "UPDATE segments SET object = '', bytes = 0
        WHERE id IN (SELECT value FROM json_each(?1)) AND refs = 0 AND id < ?2";
    session.run(query(update).bind(json(&ids)?).bind(&boundary)).await?;
    Ok(())
}

pub(super) async fn is_known(
    session: &mut Session<'_>,
    ids: Vec<SegmentId>,
) -> Result<Vec<bool>, MetadataError> {
    let rows: Vec<String> = ids.iter().map(SegmentId::to_string).collect();
    let select = "SELECT asked.key FROM json_each(?1) AS asked
        CROSS JOIN segments ON segments.id = asked.value";
    let mut known = vec![false; ids.len()];
    for (place,) in session.rows(query_as::<_, (i64,)>(select).bind(json(&rows)?)).await? {
        let slot = usize::try_from(place).ok().and_then(|place| known.get_mut(place));
        *slot.ok_or_else(|| unreadable("place", place))? = true;
    }
    Ok(known)
}
