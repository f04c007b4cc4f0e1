//! A group's member of raw frames, and every answer of every offered version.

use crate::server::Server;
use crate::wire::{Wire, name};
use bytes::Bytes;
use kafka_protocol::error::ResponseError as Code;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::StrBytes;
use streamhouse_kafka::{BrokerConfig, GroupConfig};

pub fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

pub fn group(name: &str) -> GroupId {
    GroupId(text(name))
}

/// What consumers tell each other: they subscribe to `topic`.
pub fn subscription(topic: &str) -> Bytes {
    let mut bytes = vec![0, 0, 0, 0, 0, 1];
    bytes.extend(u16::try_from(topic.len()).unwrap().to_be_bytes());
    bytes.extend(topic.bytes());
    bytes.extend([0xff; 4]);
    bytes.into()
}

pub fn join(name: &str, member: &str) -> JoinGroupRequest {
    let protocol = JoinGroupRequestProtocol::default()
        .with_name(text("range"))
        .with_metadata(subscription("here"));
    JoinGroupRequest::default()
        .with_group_id(group(name))
        .with_session_timeout_ms(10_000)
        .with_rebalance_timeout_ms(20_000)
        .with_member_id(text(member))
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol])
}

pub fn sync(name: &str, member: &str, generation: i32, parts: &[(&str, &str)]) -> SyncGroupRequest {
    let part = |(member, part): &(&str, &str)| {
        SyncGroupRequestAssignment::default()
            .with_member_id(text(member))
            .with_assignment(Bytes::copy_from_slice(part.as_bytes()))
    };
    SyncGroupRequest::default()
        .with_group_id(group(name))
        .with_member_id(text(member))
        .with_generation_id(generation)
        .with_assignments(parts.iter().map(part).collect())
}

pub fn heartbeat(name: &str, member: &str, generation: i32) -> HeartbeatRequest {
    HeartbeatRequest::default()
        .with_group_id(group(name))
        .with_member_id(text(member))
        .with_generation_id(generation)
}

pub fn leave(name: &str, member: &str, version: i16) -> LeaveGroupRequest {
    let request = LeaveGroupRequest::default().with_group_id(group(name));
    match version >= 3 {
        true => request.with_members(vec![MemberIdentity::default().with_member_id(text(member))]),
        false => request.with_member_id(text(member)),
    }
}

/// Commits `offsets` of partitions of the topic `here`.
pub fn commit(
    name_: &str,
    member: &str,
    generation: i32,
    offsets: &[(i32, i64)],
) -> OffsetCommitRequest {
    let partition = |(partition, offset): &(i32, i64)| {
        OffsetCommitRequestPartition::default()
            .with_partition_index(*partition)
            .with_committed_offset(*offset)
            .with_committed_metadata(Some(text("a remark")))
    };
    let topic = OffsetCommitRequestTopic::default()
        .with_name(name("here"))
        .with_partitions(offsets.iter().map(partition).collect());
    OffsetCommitRequest::default()
        .with_group_id(group(name_))
        .with_member_id(text(member))
        .with_generation_id_or_member_epoch(generation)
        .with_topics(vec![topic])
}

pub fn codes(response: &OffsetCommitResponse) -> Vec<i16> {
    response.topics.iter().flat_map(|topic| &topic.partitions).map(|it| it.error_code).collect()
}

/// Asks for the offsets of partitions 0 and 1 of the topic `here`, or for all.
pub fn offsets_of(name_: &str, all: bool, version: i16) -> OffsetFetchRequest {
    let request = OffsetFetchRequest::default();
    if version >= 8 {
        let topics = OffsetFetchRequestTopics::default()
            .with_name(name("here"))
            .with_partition_indexes(vec![0, 1]);
        let group = OffsetFetchRequestGroup::default()
            .with_group_id(group(name_))
            .with_topics((!all).then(|| vec![topics]));
        return request.with_groups(vec![group]);
    }
    let topics = OffsetFetchRequestTopic::default()
        .with_name(name("here"))
        .with_partition_indexes(vec![0, 1]);
    request.with_group_id(group(name_)).with_topics((!all).then(|| vec![topics]))
}

/// The error, and the offsets of the first topic, of such an answer.
pub fn offsets_in(response: &OffsetFetchResponse, version: i16) -> (i16, Vec<(i32, i64)>) {
    if version >= 8 {
        let group = &response.groups[0];
        let parts = group.topics.first().map_or(&[][..], |topic| &topic.partitions);
        let parts = parts.iter().map(|it| (it.partition_index, it.committed_offset));
        return (group.error_code, parts.collect());
    }
    let parts = response.topics.first().map_or(&[][..], |topic| &topic.partitions);
    let code = parts.first().map_or(0, |part| part.error_code).max(response.error_code);
    (code, parts.iter().map(|it| (it.partition_index, it.committed_offset)).collect())
}

/// Without a wait for further members.
pub fn eager() -> BrokerConfig {
    let groups = GroupConfig { initial_delay: std::time::Duration::ZERO, ..GroupConfig::default() };
    let refresh = std::time::Duration::from_millis(100);
    BrokerConfig { groups, refresh, default_partitions: 2, ..BrokerConfig::default() }
}

/// A member of a group with a connection of its own.
pub struct Member {
    pub wire: Wire,
    pub group: String,
    pub id: String,
    pub generation: i32,
    pub leads: Vec<String>,
}

impl Member {
    /// Joins as a new member, without waiting for the answer.
    pub async fn ask(server: &Server, group: &str) -> Self {
        let mut wire = server.wire().await;
        let invited = wire.ask(&join(group, ""), 5).await;
        assert_eq!(invited.error_code, Code::MemberIdRequired.code());
        let id = invited.member_id.to_string();
        wire.send(&join(group, &id), 5).await;
        Self { wire, group: group.to_owned(), id, generation: -1, leads: Vec::new() }
    }

    /// Joins again, without waiting for the answer.
    pub async fn ask_again(&mut self) {
        self.wire.send(&join(&self.group, &self.id), 5).await;
    }

    /// Waits for the generation.
    pub async fn joined(&mut self) {
        let (_, answer) = self.wire.receive::<JoinGroupRequest>(5).await;
        assert_eq!(answer.error_code, 0);
        assert_eq!(answer.member_id.as_str(), self.id);
        self.generation = answer.generation_id;
        self.leads = answer.members.iter().map(|member| member.member_id.to_string()).collect();
    }

    /// Asks for its part; a leader gives everybody their own id.
    pub async fn synced(&mut self) -> String {
        let parts: Vec<_> = self.leads.iter().map(|id| (id.as_str(), id.as_str())).collect();
        let request = sync(&self.group, &self.id, self.generation, &parts);
        let answer = self.wire.ask(&request, 3).await;
        assert_eq!(answer.error_code, 0);
        String::from_utf8(answer.assignment.to_vec()).unwrap()
    }

    pub async fn heartbeat(&mut self) -> i16 {
        let request = heartbeat(&self.group, &self.id, self.generation);
        self.wire.ask(&request, 3).await.error_code
    }

    pub async fn commit(&mut self, offset: i64) -> i16 {
        let request = commit(&self.group, &self.id, self.generation, &[(0, offset)]);
        codes(&self.wire.ask(&request, 8).await)[0]
    }

    /// A group of one.
    pub async fn alone(server: &Server, group: &str) -> Self {
        let mut member = Self::ask(server, group).await;
        member.joined().await;
        assert_eq!(member.synced().await, member.id);
        member
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_are_served_in_every_version_from_joining_to_deletion() {
    let server = Server::with(eager()).await;
    let mut wire = server.wire().await;
    wire.topic("here").await;
    for round in 0..=9i16 {
        let version = |least: i16, most: i16| round.clamp(least, most);
        let name = format!("group-{round}");
        let fixed = (round >= 5).then(|| text("fixed"));
        let mut request = join(&name, "").with_group_instance_id(fixed.clone());
        if round == 0 {
            request.rebalance_timeout_ms = -1;
        }
        let mut answer = wire.ask(&request, round).await;
        if round == 4 {
            assert_eq!(answer.error_code, Code::MemberIdRequired.code());
            request.member_id = answer.member_id.clone();
            answer = wire.ask(&request, round).await;
        }
        assert_eq!((answer.error_code, answer.members.len()), (0, 1), "version {round}");
        assert_eq!(answer.leader, answer.member_id);
        assert_eq!(answer.members[0].group_instance_id, fixed);
        assert_eq!(answer.protocol_name.as_ref().unwrap().as_str(), "range");
        assert_eq!(answer.protocol_type.is_some(), round >= 7);
        let (id, generation) = (answer.member_id.to_string(), answer.generation_id);

        let sync_version = version(0, 5);
        let mut request = sync(&name, &id, generation, &[(&id, "part")]);
        if sync_version >= 3 {
            request.group_instance_id = fixed.clone();
        }
        let answer = wire.ask(&request, sync_version).await;
        assert_eq!((answer.error_code, &answer.assignment[..]), (0, &b"part"[..]));
        assert_eq!(answer.protocol_name.is_some(), sync_version >= 5);
        let answer = wire.ask(&heartbeat(&name, &id, generation), version(0, 4)).await;
        assert_eq!(answer.error_code, 0);

        let offsets = [(0, 7 + i64::from(round)), (9, 1)];
        let mut request = commit(&name, &id, generation, &offsets);
        let commit_version = version(2, 8);
        if commit_version >= 6 {
            request.topics[0].partitions[0].committed_leader_epoch = 4;
        }
        assert_eq!(codes(&wire.ask(&request, commit_version).await), [0, 3], "{commit_version}");
        let fetch_version = version(1, 8);
        let request = offsets_of(&name, false, fetch_version);
        let answer = wire.ask(&request, fetch_version).await;
        let (code, found) = offsets_in(&answer, fetch_version);
        assert_eq!((code, &found[..]), (0, &[offsets[0], (1, -1)][..]), "{fetch_version}");
        if fetch_version >= 2 {
            let answer = wire.ask(&offsets_of(&name, true, fetch_version), fetch_version).await;
            assert_eq!(offsets_in(&answer, fetch_version), (0, vec![offsets[0]]));
        }

        let describe = DescribeGroupsRequest::default().with_groups(vec![
            group(&name),
            group("nobody"),
            group(&name),
            group("<all>"),
        ]);
        let answer = wire.ask(&describe, version(0, 5)).await;
        let [alive, dead, illegal] = &answer.groups[..] else { panic!("{answer:?}") };
        assert_eq!((dead.group_state.as_str(), dead.error_code), ("Dead", 0));
        assert_eq!(illegal.error_code, Code::InvalidGroupId.code());
        assert_eq!((alive.group_state.as_str(), alive.protocol_data.as_str()), ("Stable", "range"));
        let member = &alive.members[0];
        assert_eq!((member.member_id.as_str(), member.client_id.as_str()), (&*id, "raw"));
        assert_eq!(
            (member.client_host.as_str(), &member.member_assignment[..]),
            ("/127.0.0.1", &b"part"[..])
        );
        assert_eq!(member.member_metadata, subscription("here"));
        assert_eq!(member.group_instance_id.is_some(), round >= 5);

        let list_version = version(0, 4);
        let mut request = ListGroupsRequest::default();
        if list_version == 4 {
            request.states_filter = vec![text("stable")];
        }
        let answer = wire.ask(&request, list_version).await;
        let listed = answer.groups.iter().find(|it| it.group_id.as_str() == name).unwrap();
        assert_eq!(listed.protocol_type.as_str(), "consumer");
        assert_eq!(listed.group_state.as_str(), if list_version >= 4 { "Stable" } else { "" });
        if list_version == 4 {
            assert_eq!(answer.groups.len(), 1, "the others are empty");
        }

        let delete =
            DeleteGroupsRequest::default().with_groups_names(vec![group(&name), group("nobody")]);
        let results = |answer: DeleteGroupsResponse| {
            answer.results.iter().map(|it| it.error_code).collect::<Vec<_>>()
        };
        let refused = [Code::NonEmptyGroup.code(), Code::GroupIdNotFound.code()];
        assert_eq!(results(wire.ask(&delete, version(0, 2)).await), refused);
        let leave_version = version(0, 5);
        let answer = wire.ask(&leave(&name, &id, leave_version), leave_version).await;
        assert_eq!(answer.error_code, 0);
        assert!(answer.members.iter().all(|member| member.error_code == 0));
        let answer = wire.ask(&leave(&name, &id, leave_version), leave_version).await;
        let code = answer.members.first().map_or(answer.error_code, |member| member.error_code);
        assert_eq!(code, Code::UnknownMemberId.code(), "version {leave_version}");
        if round > 3 {
            continue;
        }
        let deleted = [0, Code::GroupIdNotFound.code()];
        assert_eq!(results(wire.ask(&delete, version(0, 2)).await), deleted);
        let answer = wire.ask(&offsets_of(&name, false, fetch_version), fetch_version).await;
        assert_eq!(offsets_in(&answer, fetch_version), (0, vec![(0, -1), (1, -1)]));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_of_groups_are_told_in_every_version() {
    let server = Server::start().await;
    let mut wire = server.wire().await;
    wire.topic("here").await;
    for (name, unknown) in [("nobody", Code::UnknownMemberId), ("", Code::InvalidGroupId)] {
        let unknown = unknown.code();
        for version in 0..=9 {
            let mut request = join(name, "who");
            request.protocols.clear();
            let wanted =
                if name.is_empty() { unknown } else { Code::InconsistentGroupProtocol.code() };
            let answer = wire.ask(&request, version).await;
            assert_eq!((answer.error_code, answer.member_id.as_str()), (wanted, "who"));
        }
        // Joining has created the group.
        let name = if name.is_empty() { "" } else { "never" };
        for version in 0..=5 {
            assert_eq!(wire.ask(&sync(name, "who", 1, &[]), version).await.error_code, unknown);
            let answer = wire.ask(&leave(name, "who", version), version).await;
            let code = answer.members.first().map_or(answer.error_code, |member| member.error_code);
            assert_eq!(code, unknown, "version {version}");
        }
        for version in 0..=4 {
            assert_eq!(wire.ask(&heartbeat(name, "who", 1), version).await.error_code, unknown);
        }
        for version in 2..=8 {
            let answer = wire.ask(&commit(name, "who", 1, &[(0, 1)]), version).await;
            assert_eq!(codes(&answer), [unknown], "version {version}");
        }
        for version in 1..=8 {
            let answer = wire.ask(&offsets_of(name, false, version), version).await;
            let wanted = if name.is_empty() { unknown } else { 0 };
            assert_eq!(offsets_in(&answer, version).0, wanted, "version {version}");
        }
    }
    for version in 0..=4 {
        let request = FindCoordinatorRequest::default();
        let request = if version < 4 {
            request.with_key(text("<other>"))
        } else {
            request.with_coordinator_keys(vec![text("<other>")])
        };
        let answer = wire.ask(&request, version).await;
        let one = answer.coordinators.first();
        let code = one.map_or(answer.error_code, |one| one.error_code);
        assert_eq!(code, Code::InvalidGroupId.code(), "version {version}");
        if version >= 1 {
            let request = request.with_key_type(1);
            let answer = wire.ask(&request, version).await;
            let one = answer.coordinators.first();
            let code = one.map_or(answer.error_code, |one| one.error_code);
            assert_eq!(code, Code::TransactionalIdAuthorizationFailed.code());
        }
    }
}
