//! Which agent a partition prefers, which one coordinates a group, and which agents there are.
//!
//! Any agent accepts any partition; a preference only keeps a partition's batches together in
//! fewer segments. Rendezvous hashing: when an agent comes or goes, only its share moves.

use std::sync::{Arc, PoisonError, RwLock};
use streamhouse_metadata::{Agent, MetadataError, MetadataStore, TopicPartition};
use streamhouse_observability::declare::GaugeCell;
use streamhouse_observability::instruments::ClusterMetrics;

/// The live agents, as last read.
#[derive(Debug)]
pub(crate) struct Agents {
    live: RwLock<Arc<[Agent]>>,
    active: GaugeCell,
}

impl Agents {
    pub fn new(cluster: &ClusterMetrics) -> Self {
        Self { live: RwLock::new(Arc::new([])), active: cluster.agents.bind(&()) }
    }

    /// Reads the live agents.
    ///
    /// # Errors
    /// The metadata store failed; what was known stays.
    pub async fn refresh(&self, store: &dyn MetadataStore) -> Result<(), MetadataError> {
        let agents: Arc<[Agent]> = store.agents().await?.into();
        self.active.set(i64::try_from(agents.len()).unwrap_or(i64::MAX));
        *self.live.write().unwrap_or_else(PoisonError::into_inner) = agents;
        Ok(())
    }

    /// The live agents, by id.
    pub fn live(&self) -> Arc<[Agent]> {
        self.live.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The id of the agent that `partition` prefers among `agents`, −1 if there is none.
pub(crate) fn preferred(agents: &[Agent], partition: TopicPartition) -> i32 {
    let (high, low) = partition.topic.0.as_u64_pair();
    let seed = mix(mix(high) ^ low).wrapping_add(u64::from(partition.partition.unsigned_abs()));
    rendezvous(agents, seed).map_or(-1, |agent| agent.id)
}

/// The agent among `agents` that coordinates the group of this name.
pub(crate) fn coordinator<'a>(agents: &'a [Agent], group: &str) -> Option<&'a Agent> {
    // FNV-1a; its weak bits are spread by what follows.
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    rendezvous(agents, group.bytes().fold(0xcbf2_9ce4_8422_2325, step))
}

fn rendezvous(agents: &[Agent], seed: u64) -> Option<&Agent> {
    agents.iter().max_by_key(|agent| mix(mix(seed) ^ u64::from(agent.id.unsigned_abs())))
}

/// Spreads the bits of `x`; the same on every agent and in every version.
fn mix(x: u64) -> u64 {
    let x = (x ^ (x >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    let x = (x ^ (x >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    (x ^ (x >> 32)).wrapping_add(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use super::*;
    use streamhouse_metadata::TopicId;
    use uuid::Uuid;

    fn agents(ids: &[i32]) -> Vec<Agent> {
        let agent =
            |id| Agent { id, incarnation: Uuid::nil(), host: "127.0.0.1".into(), port: 9092 };
        ids.iter().copied().map(agent).collect()
    }

    fn partitions() -> impl Iterator<Item = TopicPartition> {
        let topic = TopicId(Uuid::from_u128(0x1234));
        (0..3_000).map(move |partition| TopicPartition { topic, partition })
    }

    #[test]
    fn partitions_spread_evenly_over_the_agents() {
        let three = agents(&[1, 2, 3]);
        for agent in [1, 2, 3] {
            let share = partitions().filter(|p| preferred(&three, *p) == agent).count();
            assert!((800..1_200).contains(&share), "agent {agent} has {share} of 3000");
        }
    }

    #[test]
    fn a_leaving_agent_moves_only_its_own_partitions() {
        let (three, two) = (agents(&[1, 2, 3]), agents(&[1, 3]));
        for partition in partitions().filter(|p| preferred(&three, *p) != 2) {
            assert_eq!(preferred(&three, partition), preferred(&two, partition));
        }
    }

    #[test]
    fn without_agents_nobody_is_preferred() {
        assert_eq!(partitions().map(|p| preferred(&[], p)).max(), Some(-1));
        assert!(coordinator(&[], "group").is_none());
    }

    #[test]
    fn groups_spread_evenly_and_a_leaving_agent_moves_only_its_own() {
        let (three, two) = (agents(&[1, 2, 3]), agents(&[1, 3]));
        let names: Vec<_> = (0..3_000).map(|n| format!("group-{n}")).collect();
        let id = |agents: &[Agent], name: &str| coordinator(agents, name).unwrap().id;
        for agent in [1, 2, 3] {
            let share = names.iter().filter(|name| id(&three, name) == agent).count();
            assert!((800..1_200).contains(&share), "agent {agent} has {share} of 3000");
        }
        for name in names.iter().filter(|name| id(&three, name) != 2) {
            assert_eq!(id(&three, name), id(&two, name));
        }
    }
}
