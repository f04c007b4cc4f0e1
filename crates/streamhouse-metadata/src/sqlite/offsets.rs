//! Committed offsets of groups.

use super::commit::json;
use super::failure::unreadable;
use super::session::Session;
use crate::error::MetadataError;
use crate::types::{CommittedOffset, OffsetCommit, OffsetCommitOutcome, TopicId, TopicPartition};
use sqlx::{query, query_as};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// A group as its commits are checked against.
struct Group {
    id: i64,
    epoch: i64,
    generation: i32,
    members: i64,
}

/// Checks and stores in a fixed number of statements, whatever is committed.
pub(super) async fn commit(
    session: &mut Session<'_>,
    commits: Vec<OffsetCommit>,
) -> Result<Vec<OffsetCommitOutcome>, MetadataError> {
    let (now, groups) = groups(session, &commits).await?;
    let partitions = partitions(session, &commits).await?;
    let mut rows = BTreeMap::new();
    let mut active = BTreeSet::new();
    let mut outcomes = Vec::with_capacity(commits.len());
    for commit in &commits {
        let group = match check(groups.get(&*commit.group), commit) {
            Ok(group) => group,
            Err(outcome) => {
                outcomes.push(outcome);
                continue;
            }
        };
        active.insert(group.id);
        let mut unknown = Vec::new();
        for (at, offset) in &commit.offsets {
            match partitions.get(at) {
                // A later one of the same partition takes its place.
                Some(partition) => _ = rows.insert((group.id, *partition), offset),
                None => unknown.push(*at),
            }
        }
        outcomes.push(OffsetCommitOutcome::Committed { committed_ms: now, unknown });
    }
    write(session, now, &rows, &active).await?;
    Ok(outcomes)
}

fn check<'g>(
    group: Option<&'g Group>,
    commit: &OffsetCommit,
) -> Result<&'g Group, OffsetCommitOutcome> {
    let owned = group.filter(|group| group.epoch == commit.epoch);
    let group = owned.ok_or(OffsetCommitOutcome::NotOwner)?;
    let current = match commit.generation {
        Some(generation) => generation == group.generation,
        None => group.members == 0,
    };
    if current { Ok(group) } else { Err(OffsetCommitOutcome::StaleGeneration) }
}

/// The time, and what is stored of the groups that commit.
async fn groups(
    session: &mut Session<'_>,
    commits: &[OffsetCommit],
) -> Result<(i64, HashMap<String, Group>), MetadataError> {
    let names: BTreeSet<&str> = commits.iter().map(|commit| &*commit.group).collect();
    let select = "SELECT CAST(unixepoch('subsec') * 1000 AS INTEGER),
            known.id, known.name, known.epoch, known.generation, known.members
        FROM store LEFT JOIN (SELECT consumer_groups.* FROM json_each(?1) AS asked
            CROSS JOIN consumer_groups ON consumer_groups.name = asked.value) AS known";
    type Row = (i64, Option<i64>, Option<String>, Option<i64>, Option<i32>, Option<i64>);
    let rows = session.rows(query_as::<_, Row>(select).bind(json(&names)?)).await?;
    let mut now = 0;
    let mut groups = HashMap::new();
    for (time, id, name, epoch, generation, members) in rows {
        now = time;
        if let (Some(id), Some(name), Some(epoch), Some(generation), Some(members)) =
            (id, name, epoch, generation, members)
        {
            groups.insert(name, Group { id, epoch, generation, members });
        }
    }
    Ok((now, groups))
}

/// The keys of the partitions that are committed to.
async fn partitions(
    session: &mut Session<'_>,
    commits: &[OffsetCommit],
) -> Result<HashMap<TopicPartition, i64>, MetadataError> {
    let asked: BTreeSet<TopicPartition> =
        commits.iter().flat_map(|commit| &commit.offsets).map(|(at, _)| *at).collect();
    let asked: Vec<_> = asked.into_iter().collect();
    let rows: Vec<_> = asked.iter().map(|at| (at.topic.to_string(), at.partition)).collect();
    let select = "SELECT asked.key, partitions.id FROM jsonb_each(?1) AS asked
        CROSS JOIN partitions
            ON partitions.topic = asked.value ->> 0 AND partitions.partition = asked.value ->> 1";
    let mut keys = HashMap::new();
    for (place, id) in session.rows(query_as::<_, (i64, i64)>(select).bind(json(&rows)?)).await? {
        let at = usize::try_from(place).ok().and_then(|place| asked.get(place));
        keys.insert(*at.ok_or_else(|| unreadable("place", place))?, id);
    }
    Ok(keys)
}

async fn write(
    session: &mut Session<'_>,
    now: i64,
    rows: &BTreeMap<(i64, i64), &CommittedOffset>,
    active: &BTreeSet<i64>,
) -> Result<(), MetadataError> {
    if !rows.is_empty() {
        let rows: Vec<_> = rows
            .iter()
            .map(|((group, partition), one)| {
                (group, partition, one.offset, one.leader_epoch, &*one.metadata)
            })
            .collect();
        let upsert = "INSERT INTO offsets
                (consumer_group, partition, next_offset, leader_epoch, metadata, committed_ms)
            SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, ?2
            FROM jsonb_each(?1) WHERE true
            ON CONFLICT (consumer_group, partition) DO UPDATE SET
                next_offset = excluded.next_offset, leader_epoch = excluded.leader_epoch,
                metadata = excluded.metadata, committed_ms = excluded.committed_ms";
        session.run(query(upsert).bind(json(&rows)?).bind(now)).await?;
    }
    if !active.is_empty() {
        // Whose every partition is unknown has not committed.
        let committed: BTreeSet<i64> = rows.keys().map(|(group, _)| *group).collect();
        let update = "UPDATE consumer_groups SET active_ms = ?2,
                committed_ms = iif(id IN (SELECT value FROM json_each(?3)), ?2, committed_ms)
            WHERE id IN (SELECT value FROM json_each(?1))";
        let update = query(update).bind(json(active)?).bind(now).bind(json(&committed)?);
        session.run(update).await?;
    }
    Ok(())
}

pub(super) async fn read(
    session: &mut Session<'_>,
    names: Vec<Arc<str>>,
) -> Result<Vec<Vec<(TopicPartition, CommittedOffset)>>, MetadataError> {
    let asked: Vec<&str> = names.iter().map(|name| &**name).collect();
    // The join with partitions leaves out those of deleted topics.
    let select = "SELECT asked.key, partitions.topic, partitions.partition,
            next_offset, leader_epoch, metadata, offsets.committed_ms
        FROM json_each(?1) AS asked
        CROSS JOIN consumer_groups ON consumer_groups.name = asked.value
        CROSS JOIN offsets ON offsets.consumer_group = consumer_groups.id
        CROSS JOIN partitions ON partitions.id = offsets.partition
        ORDER BY asked.key, partitions.topic, partitions.partition";
    type Row = (i64, String, i32, i64, i32, String, i64);
    let mut found = vec![Vec::new(); names.len()];
    for (place, topic, partition, offset, leader_epoch, metadata, committed_ms) in
        session.rows(query_as::<_, Row>(select).bind(json(&asked)?)).await?
    {
        let topic = TopicId(topic.parse().map_err(|_| unreadable("topic id", &topic))?);
        let slot = usize::try_from(place).ok().and_then(|place| found.get_mut(place));
        let metadata = metadata.into();
        slot.ok_or_else(|| unreadable("place", place))?.push((
            TopicPartition { topic, partition },
            CommittedOffset { offset, leader_epoch, metadata, committed_ms },
        ));
    }
    Ok(found)
}
