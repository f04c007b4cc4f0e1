use crate::declare::{Counter, Gauge, Histogram};
use crate::labels::{MetadataError, MetadataOperation, Outcome};

crate::instruments! {
    /// Operations of the metadata store.
    pub struct MetadataMetrics("streamhouse.metadata") {
        /// Time of one operation, waiting for the writer included.
        duration: Histogram<(MetadataOperation, Outcome)> = "s";
        /// Operations that failed, by class.
        errors: Counter<(MetadataOperation, MetadataError)> = "{error}";
    }
}

crate::instruments! {
    /// What the cluster consists of.
    pub struct ClusterMetrics("streamhouse") {
        /// Topics.
        topics: Gauge<()> = "{topic}", name = "streamhouse.topics.total";
        /// Partitions of all topics.
        partitions: Gauge<()> = "{partition}", name = "streamhouse.partitions.total";
        /// Agents that renewed their registration in time.
        agents: Gauge<()> = "{agent}", name = "streamhouse.agents.active";
    }
}
