//! Requests of every kind, made up from bytes.

use super::*;
use kafka_protocol::messages::create_partitions_request::*;
use kafka_protocol::messages::create_topics_request::*;
use kafka_protocol::messages::delete_records_request::*;
use kafka_protocol::messages::delete_topics_request::*;
use kafka_protocol::messages::describe_configs_request::*;
use kafka_protocol::messages::fetch_request::*;
use kafka_protocol::messages::join_group_request::*;
use kafka_protocol::messages::leave_group_request::*;
use kafka_protocol::messages::list_offsets_request::*;
use kafka_protocol::messages::metadata_request::*;
use kafka_protocol::messages::offset_commit_request::*;
use kafka_protocol::messages::offset_fetch_request::*;
use kafka_protocol::messages::produce_request::*;
use kafka_protocol::messages::sync_group_request::*;

/// Arbitrary values out of arbitrary bytes.
pub(super) struct Source<'a>(pub(super) &'a [u8]);

impl Source<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn int(&mut self) -> i32 {
        i32::from(self.byte()) - 1
    }

    fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    pub(super) fn text(&mut self) -> StrBytes {
        let length = self.byte() as usize % 40;
        StrBytes::from_string("µ".repeat(length / 7) + &"x".repeat(length))
    }

    fn name(&mut self) -> TopicName {
        TopicName(self.text())
    }

    fn many<T>(&mut self, mut one: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.byte() % 4).map(|_| one(self)).collect()
    }

    pub(super) fn some<T>(&mut self, one: impl FnOnce(&mut Self) -> T) -> Option<T> {
        if self.flag() { Some(one(self)) } else { None }
    }

    pub(super) fn tags(&mut self, flexible: bool) -> BTreeMap<i32, Bytes> {
        if !flexible {
            return BTreeMap::new();
        }
        let tags = self.many(|s| (100 + s.int(), Bytes::from(vec![7; s.byte() as usize])));
        tags.into_iter().collect()
    }
}

fn produce(s: &mut Source<'_>, version: i16) -> RequestKind {
    let tagged = version >= 9;
    let partition = |s: &mut Source<'_>| {
        PartitionProduceData::default()
            .with_index(s.int())
            .with_records(s.some(|s| Bytes::from(vec![1; s.byte() as usize])))
            .with_unknown_tagged_fields(s.tags(tagged))
    };
    let topic = |s: &mut Source<'_>| {
        TopicProduceData::default()
            .with_name(s.name())
            .with_partition_data(s.many(partition))
            .with_unknown_tagged_fields(s.tags(tagged))
    };
    ProduceRequest::default()
        .with_transactional_id(s.some(|s| TransactionalId(s.text())))
        .with_topic_data(s.many(topic))
        .with_unknown_tagged_fields(s.tags(tagged))
        .into()
}

fn fetch(s: &mut Source<'_>, version: i16) -> RequestKind {
    let tagged = version >= 12;
    let partition = |s: &mut Source<'_>| {
        FetchPartition::default().with_partition(s.int()).with_unknown_tagged_fields(s.tags(tagged))
    };
    let topic = |s: &mut Source<'_>| {
        FetchTopic::default()
            .with_topic(s.name())
            .with_partitions(s.many(partition))
            .with_unknown_tagged_fields(s.tags(tagged))
    };
    let mut request = FetchRequest::default()
        .with_topics(s.many(topic))
        .with_unknown_tagged_fields(s.tags(tagged));
    if version >= 7 {
        request.forgotten_topics_data = s.many(|s| {
            ForgottenTopic::default().with_topic(s.name()).with_partitions(s.many(Source::int))
        });
    }
    if version >= 11 {
        request.rack_id = s.text();
    }
    if version >= 12 {
        request.cluster_id = s.some(Source::text);
    }
    request.into()
}

fn list_offsets(s: &mut Source<'_>, version: i16) -> RequestKind {
    let tagged = version >= 6;
    let partition = |s: &mut Source<'_>| {
        ListOffsetsPartition::default()
            .with_partition_index(s.int())
            .with_unknown_tagged_fields(s.tags(tagged))
    };
    let topic = |s: &mut Source<'_>| {
        ListOffsetsTopic::default()
            .with_name(s.name())
            .with_partitions(s.many(partition))
            .with_unknown_tagged_fields(s.tags(tagged))
    };
    ListOffsetsRequest::default()
        .with_topics(s.many(topic))
        .with_unknown_tagged_fields(s.tags(tagged))
        .into()
}

fn metadata(s: &mut Source<'_>, version: i16) -> RequestKind {
    let tagged = version >= 9;
    let topic = |s: &mut Source<'_>| {
        MetadataRequestTopic::default()
            .with_name(if version >= 10 { s.some(Source::name) } else { Some(s.name()) })
            .with_unknown_tagged_fields(s.tags(tagged))
    };
    let topics = s.many(topic);
    MetadataRequest::default()
        .with_topics(if version >= 1 { s.some(|_| topics) } else { Some(topics) })
        .with_allow_auto_topic_creation(true)
        .with_unknown_tagged_fields(s.tags(tagged))
        .into()
}

fn create_topics(s: &mut Source<'_>, version: i16) -> RequestKind {
    let tagged = version >= 5;
    let assignment = |s: &mut Source<'_>| {
        CreatableReplicaAssignment::default()
            .with_broker_ids(s.many(|s| BrokerId(s.int())))
            .with_unknown_tagged_fields(s.tags(tagged))
    };
    let config = |s: &mut Source<'_>| {
        CreatableTopicConfig::default()
            .with_name(s.text())
            .with_value(s.some(Source::text))
            .with_unknown_tagged_fields(s.tags(tagged))
    };
    let topic = |s: &mut Source<'_>| {
        CreatableTopic::default()
            .with_name(s.name())
            .with_assignments(s.many(assignment))
            .with_configs(s.many(config))
            .with_unknown_tagged_fields(s.tags(tagged))
    };
    CreateTopicsRequest::default()
        .with_topics(s.many(topic))
        .with_unknown_tagged_fields(s.tags(tagged))
        .into()
}

fn create_partitions(s: &mut Source<'_>, version: i16) -> RequestKind {
    let tagged = version >= 2;
    let assignment = |s: &mut Source<'_>| {
        CreatePartitionsAssignment::default()
            .with_broker_ids(s.many(|s| BrokerId(s.int())))
            .with_unknown_tagged_fields(s.tags(tagged))
    };
    let topic = |s: &mut Source<'_>| {
        CreatePartitionsTopic::default()
            .with_name(s.name())
            .with_assignments(s.some(|s| s.many(assignment)))
            .with_unknown_tagged_fields(s.tags(tagged))
    };
    CreatePartitionsRequest::default()
        .with_topics(s.many(topic))
        .with_unknown_tagged_fields(s.tags(tagged))
        .into()
}

fn delete_topics(s: &mut Source<'_>, version: i16) -> RequestKind {
    let request = DeleteTopicsRequest::default();
    if version < 6 {
        return request.with_topic_names(s.many(Source::name)).into();
    }
    let topic = |s: &mut Source<'_>| {
        DeleteTopicState::default()
            .with_name(s.some(Source::name))
            .with_unknown_tagged_fields(s.tags(true))
    };
    request.with_topics(s.many(topic)).into()
}

fn describe_configs(s: &mut Source<'_>, version: i16) -> RequestKind {
    let tagged = version >= 4;
    let resource = |s: &mut Source<'_>| {
        DescribeConfigsResource::default()
            .with_resource_name(s.text())
            .with_configuration_keys(s.some(|s| s.many(Source::text)))
            .with_unknown_tagged_fields(s.tags(tagged))
    };
    DescribeConfigsRequest::default()
        .with_resources(s.many(resource))
        .with_unknown_tagged_fields(s.tags(tagged))
        .into()
}

fn group(s: &mut Source<'_>) -> GroupId {
    GroupId(s.text())
}

fn join_group(s: &mut Source<'_>, version: i16) -> RequestKind {
    let tagged = version >= 6;
    let protocol = |s: &mut Source<'_>| {
        JoinGroupRequestProtocol::default()
            .with_name(s.text())
            .with_metadata(Bytes::from(vec![2; s.byte() as usize]))
            .with_unknown_tagged_fields(s.tags(tagged))
    };
    let mut request = JoinGroupRequest::default()
        .with_group_id(group(s))
        .with_member_id(s.text())
        .with_protocol_type(s.text())
        .with_protocols(s.many(protocol))
        .with_unknown_tagged_fields(s.tags(tagged));
    if version >= 1 {
        request.rebalance_timeout_ms = s.int();
    }
    if version >= 5 {
        request.group_instance_id = s.some(Source::text);
    }
    if version >= 8 {
        request.reason = s.some(Source::text);
    }
    request.into()
}

fn sync_group(s: &mut Source<'_>, version: i16) -> RequestKind {
    let tagged = version >= 4;
    let assignment = |s: &mut Source<'_>| {
        SyncGroupRequestAssignment::default()
            .with_member_id(s.text())
            .with_assignment(Bytes::from(vec![3; s.byte() as usize]))
            .with_unknown_tagged_fields(s.tags(tagged))
    };
    let mut request = SyncGroupRequest::default()
        .with_group_id(group(s))
        .with_member_id(s.text())
        .with_assignments(s.many(assignment))
        .with_unknown_tagged_fields(s.tags(tagged));
    if version >= 3 {
        request.group_instance_id = s.some(Source::text);
    }
    if version >= 5 {
        request.protocol_type = s.some(Source::text);
        request.protocol_name = s.some(Source::text);
    }
    request.into()
}

fn heartbeat(s: &mut Source<'_>, version: i16) -> RequestKind {
    let request = HeartbeatRequest::default()
        .with_group_id(group(s))
        .with_member_id(s.text())
        .with_unknown_tagged_fields(s.tags(version >= 4));
    match version >= 3 {
        true => request.with_group_instance_id(s.some(Source::text)).into(),
        false => request.into(),
    }
}

fn leave_group(s: &mut Source<'_>, version: i16) -> RequestKind {
    let request = LeaveGroupRequest::default().with_group_id(group(s));
    if version < 3 {
        return request.with_member_id(s.text()).into();
    }
    let member = |s: &mut Source<'_>| {
        let member = MemberIdentity::default()
            .with_member_id(s.text())
            .with_group_instance_id(s.some(Source::text))
            .with_unknown_tagged_fields(s.tags(version >= 4));
        if version >= 5 { member.with_reason(s.some(Source::text)) } else { member }
    };
    request.with_members(s.many(member)).with_unknown_tagged_fields(s.tags(version >= 4)).into()
}

fn offset_commit(s: &mut Source<'_>, version: i16) -> RequestKind {
    let tagged = version >= 8;
    let partition = |s: &mut Source<'_>| {
        let partition = OffsetCommitRequestPartition::default()
            .with_partition_index(s.int())
            .with_committed_metadata(s.some(Source::text))
            .with_unknown_tagged_fields(s.tags(tagged));
        if version >= 6 { partition.with_committed_leader_epoch(s.int()) } else { partition }
    };
    let topic = |s: &mut Source<'_>| {
        OffsetCommitRequestTopic::default()
            .with_name(s.name())
            .with_partitions(s.many(partition))
            .with_unknown_tagged_fields(s.tags(tagged))
    };
    let mut request = OffsetCommitRequest::default()
        .with_group_id(group(s))
        .with_member_id(s.text())
        .with_topics(s.many(topic))
        .with_unknown_tagged_fields(s.tags(tagged));
    if version <= 4 {
        request.retention_time_ms = i64::from(s.int());
    }
    if version >= 7 {
        request.group_instance_id = s.some(Source::text);
    }
    request.into()
}

fn offset_fetch(s: &mut Source<'_>, version: i16) -> RequestKind {
    let tagged = version >= 6;
    if version >= 8 {
        let topic = |s: &mut Source<'_>| {
            OffsetFetchRequestTopics::default()
                .with_name(s.name())
                .with_partition_indexes(s.many(Source::int))
                .with_unknown_tagged_fields(s.tags(tagged))
        };
        let group = |s: &mut Source<'_>| {
            OffsetFetchRequestGroup::default()
                .with_group_id(group(s))
                .with_topics(s.some(|s| s.many(topic)))
                .with_unknown_tagged_fields(s.tags(tagged))
        };
        return OffsetFetchRequest::default().with_groups(s.many(group)).into();
    }
    let topic = |s: &mut Source<'_>| {
        OffsetFetchRequestTopic::default()
            .with_name(s.name())
            .with_partition_indexes(s.many(Source::int))
            .with_unknown_tagged_fields(s.tags(tagged))
    };
    let topics = s.many(topic);
    OffsetFetchRequest::default()
        .with_group_id(group(s))
        .with_topics(if version >= 2 { s.some(|_| topics) } else { Some(topics) })
        .with_require_stable(version >= 7 && s.flag())
        .with_unknown_tagged_fields(s.tags(tagged))
        .into()
}

fn delete_records(s: &mut Source<'_>, version: i16) -> RequestKind {
    let tagged = version >= 2;
    let partition = |s: &mut Source<'_>| {
        DeleteRecordsPartition::default()
            .with_partition_index(s.int())
            .with_unknown_tagged_fields(s.tags(tagged))
    };
    let topic = |s: &mut Source<'_>| {
        DeleteRecordsTopic::default()
            .with_name(s.name())
            .with_partitions(s.many(partition))
            .with_unknown_tagged_fields(s.tags(tagged))
    };
    DeleteRecordsRequest::default()
        .with_topics(s.many(topic))
        .with_unknown_tagged_fields(s.tags(tagged))
        .into()
}

fn alter_configs(s: &mut Source<'_>, version: i16) -> RequestKind {
    let tagged = version >= 2;
    let config = |s: &mut Source<'_>| {
        alter_configs_request::AlterableConfig::default()
            .with_name(s.text())
            .with_value(s.some(Source::text))
            .with_unknown_tagged_fields(s.tags(tagged))
    };
    let resource = |s: &mut Source<'_>| {
        alter_configs_request::AlterConfigsResource::default()
            .with_resource_name(s.text())
            .with_configs(s.many(config))
            .with_unknown_tagged_fields(s.tags(tagged))
    };
    AlterConfigsRequest::default()
        .with_resources(s.many(resource))
        .with_unknown_tagged_fields(s.tags(tagged))
        .into()
}

fn incremental_alter_configs(s: &mut Source<'_>, version: i16) -> RequestKind {
    let tagged = version >= 1;
    let config = |s: &mut Source<'_>| {
        incremental_alter_configs_request::AlterableConfig::default()
            .with_name(s.text())
            .with_value(s.some(Source::text))
            .with_unknown_tagged_fields(s.tags(tagged))
    };
    let resource = |s: &mut Source<'_>| {
        incremental_alter_configs_request::AlterConfigsResource::default()
            .with_resource_name(s.text())
            .with_configs(s.many(config))
            .with_unknown_tagged_fields(s.tags(tagged))
    };
    IncrementalAlterConfigsRequest::default()
        .with_resources(s.many(resource))
        .with_unknown_tagged_fields(s.tags(tagged))
        .into()
}

pub(super) fn request(key: ApiKey, s: &mut Source<'_>, version: i16) -> RequestKind {
    match key {
        ApiKey::JoinGroup => join_group(s, version),
        ApiKey::SyncGroup => sync_group(s, version),
        ApiKey::Heartbeat => heartbeat(s, version),
        ApiKey::LeaveGroup => leave_group(s, version),
        ApiKey::OffsetCommit => offset_commit(s, version),
        ApiKey::OffsetFetch => offset_fetch(s, version),
        ApiKey::DescribeGroups => DescribeGroupsRequest::default()
            .with_groups(s.many(group))
            .with_include_authorized_operations(version >= 3 && s.flag())
            .with_unknown_tagged_fields(s.tags(version >= 5))
            .into(),
        ApiKey::ListGroups if version < 4 => {
            ListGroupsRequest::default().with_unknown_tagged_fields(s.tags(version >= 3)).into()
        }
        ApiKey::ListGroups => ListGroupsRequest::default()
            .with_states_filter(s.many(Source::text))
            .with_unknown_tagged_fields(s.tags(true))
            .into(),
        ApiKey::DeleteGroups => DeleteGroupsRequest::default()
            .with_groups_names(s.many(group))
            .with_unknown_tagged_fields(s.tags(version >= 2))
            .into(),
        ApiKey::Produce => produce(s, version),
        ApiKey::Fetch => fetch(s, version),
        ApiKey::ListOffsets => list_offsets(s, version),
        ApiKey::Metadata => metadata(s, version),
        ApiKey::CreateTopics => create_topics(s, version),
        ApiKey::CreatePartitions => create_partitions(s, version),
        ApiKey::DeleteTopics => delete_topics(s, version),
        ApiKey::DescribeConfigs => describe_configs(s, version),
        ApiKey::DeleteRecords => delete_records(s, version),
        ApiKey::AlterConfigs => alter_configs(s, version),
        ApiKey::IncrementalAlterConfigs => incremental_alter_configs(s, version),
        ApiKey::FindCoordinator if version < 4 => {
            FindCoordinatorRequest::default().with_key(s.text()).into()
        }
        ApiKey::FindCoordinator => FindCoordinatorRequest::default()
            .with_coordinator_keys(s.many(Source::text))
            .with_unknown_tagged_fields(s.tags(true))
            .into(),
        ApiKey::ApiVersions if version < 3 => ApiVersionsRequest::default().into(),
        ApiKey::ApiVersions => ApiVersionsRequest::default()
            .with_client_software_name(s.text())
            .with_client_software_version(s.text())
            .with_unknown_tagged_fields(s.tags(true))
            .into(),
        ApiKey::InitProducerId => InitProducerIdRequest::default()
            .with_transactional_id(s.some(|s| TransactionalId(s.text())))
            .with_unknown_tagged_fields(s.tags(version >= 2))
            .into(),
        ApiKey::GetTelemetrySubscriptions => GetTelemetrySubscriptionsRequest::default()
            .with_client_instance_id(Uuid::from_bytes([s.byte(); 16]))
            .with_unknown_tagged_fields(s.tags(true))
            .into(),
        ApiKey::PushTelemetry => PushTelemetryRequest::default()
            .with_client_instance_id(Uuid::from_bytes([s.byte(); 16]))
            .with_subscription_id(s.int())
            .with_terminating(s.flag())
            .with_compression_type(s.byte() as i8)
            .with_metrics(Bytes::from(vec![1; s.byte() as usize]))
            .with_unknown_tagged_fields(s.tags(true))
            .into(),
        ApiKey::DescribeCluster => {
            DescribeClusterRequest::default().with_unknown_tagged_fields(s.tags(true)).into()
        }
        other => panic!("no request is made up for {other:?}"),
    }
}
