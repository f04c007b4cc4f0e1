//! Operations of the stores and the protocol.

use crate::declare::ClosedLabel;

/// A call to the object store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Store an object.
    Put,
    /// Read an object or a range.
    Get,
    /// Delete objects.
    Delete,
    /// List names.
    List,
    /// Ask for size and existence.
    Head,
}

impl ClosedLabel for Operation {
    const KEY: &'static str = "operation";
    const ALL: &'static [Self] = &[Self::Put, Self::Get, Self::Delete, Self::List, Self::Head];

    fn as_str(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Get => "get",
            Self::Delete => "delete",
            Self::List => "list",
            Self::Head => "head",
        }
    }

    fn index(self) -> usize {
        self as usize
    }
}

/// A transaction or query of the metadata store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MetadataOperation {
    /// Commit ready segments.
    Commit,
    /// Find batches from an offset.
    Locate,
    /// Read log starts and ends.
    Watermarks,
    /// Read topics.
    Topics,
    /// Create, change or delete a topic.
    Alter,
    /// Give or read a producer id.
    Producer,
    /// Settle a segment whose commit is in doubt.
    Fate,
    /// Register, renew or read agents.
    Agents,
    /// Read totals.
    Stats,
    /// Take, read or delete consumer groups.
    Groups,
    /// Commit or read offsets of groups.
    Offsets,
    /// Remove records from the start of logs.
    Trim,
    /// Raise the floor, find and forget objects that nothing refers to.
    Garbage,
    /// Health probe.
    Ping,
}

impl ClosedLabel for MetadataOperation {
    const KEY: &'static str = "operation";
    const ALL: &'static [Self] = &[
        Self::Commit,
        Self::Locate,
        Self::Watermarks,
        Self::Topics,
        Self::Alter,
        Self::Producer,
        Self::Fate,
        Self::Agents,
        Self::Stats,
        Self::Groups,
        Self::Offsets,
        Self::Trim,
        Self::Garbage,
        Self::Ping,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Commit => "commit",
            Self::Locate => "locate",
            Self::Watermarks => "watermarks",
            Self::Topics => "topics",
            Self::Alter => "alter",
            Self::Producer => "producer",
            Self::Fate => "fate",
            Self::Agents => "agents",
            Self::Stats => "stats",
            Self::Groups => "groups",
            Self::Offsets => "offsets",
            Self::Trim => "trim",
            Self::Garbage => "garbage",
            Self::Ping => "ping",
        }
    }

    fn index(self) -> usize {
        self as usize
    }
}

/// Which way bytes went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Received.
    In,
    /// Sent.
    Out,
}

impl ClosedLabel for Direction {
    const KEY: &'static str = "direction";
    const ALL: &'static [Self] = &[Self::In, Self::Out];

    fn as_str(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
        }
    }

    fn index(self) -> usize {
        self as usize
    }
}

/// An API of the Kafka protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Api {
    /// Produce.
    Produce,
    /// Fetch.
    Fetch,
    /// ListOffsets.
    ListOffsets,
    /// Metadata.
    Metadata,
    /// FindCoordinator.
    FindCoordinator,
    /// ApiVersions.
    ApiVersions,
    /// CreateTopics.
    CreateTopics,
    /// DeleteTopics.
    DeleteTopics,
    /// InitProducerId.
    InitProducerId,
    /// DescribeConfigs.
    DescribeConfigs,
    /// CreatePartitions.
    CreatePartitions,
    /// DescribeCluster.
    DescribeCluster,
    /// OffsetCommit.
    OffsetCommit,
    /// OffsetFetch.
    OffsetFetch,
    /// JoinGroup.
    JoinGroup,
    /// Heartbeat.
    Heartbeat,
    /// LeaveGroup.
    LeaveGroup,
    /// SyncGroup.
    SyncGroup,
    /// DescribeGroups.
    DescribeGroups,
    /// ListGroups.
    ListGroups,
    /// DeleteGroups.
    DeleteGroups,
    /// DeleteRecords.
    DeleteRecords,
    /// AlterConfigs.
    AlterConfigs,
    /// IncrementalAlterConfigs.
    IncrementalAlterConfigs,
    /// GetTelemetrySubscriptions.
    GetTelemetrySubscriptions,
    /// PushTelemetry.
    PushTelemetry,
    /// A key that is not offered, or a frame without a readable header.
    Unknown,
}

impl ClosedLabel for Api {
    const KEY: &'static str = "api";
    const ALL: &'static [Self] = &[
        Self::Produce,
        Self::Fetch,
        Self::ListOffsets,
        Self::Metadata,
        Self::FindCoordinator,
        Self::ApiVersions,
        Self::CreateTopics,
        Self::DeleteTopics,
        Self::InitProducerId,
        Self::DescribeConfigs,
        Self::CreatePartitions,
        Self::DescribeCluster,
        Self::OffsetCommit,
        Self::OffsetFetch,
        Self::JoinGroup,
        Self::Heartbeat,
        Self::LeaveGroup,
        Self::SyncGroup,
        Self::DescribeGroups,
        Self::ListGroups,
        Self::DeleteGroups,
        Self::DeleteRecords,
        Self::AlterConfigs,
        Self::IncrementalAlterConfigs,
        Self::GetTelemetrySubscriptions,
        Self::PushTelemetry,
        Self::Unknown,
    ];

    fn as_str(self) -> &'static str {
        match self {
            Self::Produce => "produce",
            Self::Fetch => "fetch",
            Self::ListOffsets => "list_offsets",
            Self::Metadata => "metadata",
            Self::FindCoordinator => "find_coordinator",
            Self::ApiVersions => "api_versions",
            Self::CreateTopics => "create_topics",
            Self::DeleteTopics => "delete_topics",
            Self::InitProducerId => "init_producer_id",
            Self::DescribeConfigs => "describe_configs",
            Self::CreatePartitions => "create_partitions",
            Self::DescribeCluster => "describe_cluster",
            Self::OffsetCommit => "offset_commit",
            Self::OffsetFetch => "offset_fetch",
            Self::JoinGroup => "join_group",
            Self::Heartbeat => "heartbeat",
            Self::LeaveGroup => "leave_group",
            Self::SyncGroup => "sync_group",
            Self::DescribeGroups => "describe_groups",
            Self::ListGroups => "list_groups",
            Self::DeleteGroups => "delete_groups",
            Self::DeleteRecords => "delete_records",
            Self::AlterConfigs => "alter_configs",
            Self::IncrementalAlterConfigs => "incremental_alter_configs",
            Self::GetTelemetrySubscriptions => "get_telemetry_subscriptions",
            Self::PushTelemetry => "push_telemetry",
            Self::Unknown => "unknown",
        }
    }

    fn index(self) -> usize {
        self as usize
    }
}

/// How a Kafka request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RequestOutcome {
    /// Answered without an error code.
    Ok,
    /// Answered with an error code in it.
    Error,
    /// Not decodable; the connection was closed.
    Malformed,
    /// A version or API that is not offered.
    Unsupported,
    /// The connection ended before the answer.
    Cancelled,
}

impl ClosedLabel for RequestOutcome {
    const KEY: &'static str = "outcome";
    const ALL: &'static [Self] =
        &[Self::Ok, Self::Error, Self::Malformed, Self::Unsupported, Self::Cancelled];

    fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Error => "error",
            Self::Malformed => "malformed",
            Self::Unsupported => "unsupported",
            Self::Cancelled => "cancelled",
        }
    }

    fn index(self) -> usize {
        self as usize
    }
}

/// What a search for trace context in a record batch found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TraceSearch {
    /// A trace context.
    Found,
    /// None.
    Absent,
    /// Not searched: the rate of searches was used up.
    Capped,
}

impl ClosedLabel for TraceSearch {
    const KEY: &'static str = "result";
    const ALL: &'static [Self] = &[Self::Found, Self::Absent, Self::Capped];

    fn as_str(self) -> &'static str {
        match self {
            Self::Found => "found",
            Self::Absent => "absent",
            Self::Capped => "capped",
        }
    }

    fn index(self) -> usize {
        self as usize
    }
}
