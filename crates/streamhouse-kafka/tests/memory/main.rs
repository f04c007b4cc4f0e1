//! A frame never makes the server allocate more than four times its size and a mebibyte, whatever
//! its lengths claim. A binary of its own: it counts every allocation of the process.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests fail as tests do")]

use bytes::{BufMut as _, Bytes, BytesMut};
use cap::Cap;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Encodable as _, Request, StrBytes};
use std::alloc::System;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use streamhouse_kafka::{Broker, BrokerConfig, serve};
use streamhouse_metadata::{MetadataStore, SqliteStore};
use streamhouse_observability::instruments::Instruments;
use streamhouse_observability::spans::Requests;
use streamhouse_observability::testing::in_memory;
use streamhouse_storage::object_store::MemoryStore;
use streamhouse_storage::testing::BatchSpec;
use streamhouse_storage::{Cache, Partitions, Reader, WriterConfig, WriterPool};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

#[global_allocator]
static MEMORY: Cap<System> = Cap::new(System, usize::MAX);

async fn start() -> SocketAddr {
    let (declare, _) = in_memory();
    let instruments = Instruments::declare(&declare);
    let metadata: Arc<dyn MetadataStore> = Arc::new(SqliteStore::in_memory().await.unwrap());
    let store = Arc::new(MemoryStore::new());
    let (partitions, cache) = (Partitions::new(), Cache::new(1 << 20, &instruments.cache));
    let writer = WriterPool::start(
        WriterConfig::local(1),
        store.clone(),
        metadata.clone(),
        partitions.clone(),
        cache.clone(),
        &instruments.segment,
    );
    let reader = Reader::new(partitions, cache, store, metadata.clone());
    // Nothing else shall allocate meanwhile.
    let config = BrokerConfig {
        refresh: Duration::from_secs(3_600),
        refresh_on_miss: Duration::from_secs(3_600),
        auto_create_topics: false,
        ..BrokerConfig::default()
    };
    let requests = Requests::untraced();
    let broker = Broker::new(config, metadata, writer, reader, &instruments, requests);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(serve(listener, Arc::new(broker), CancellationToken::new()));
    addr
}

fn frame<R: Request>(request: &R, version: i16) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_i32(0);
    RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_client_id(Some(StrBytes::from_static_str("raw")))
        .encode(&mut frame, ApiKey::try_from(R::KEY).unwrap().request_header_version(version))
        .unwrap();
    request.encode(&mut frame, version).unwrap();
    let length = i32::try_from(frame.len() - 4).unwrap();
    frame[..4].copy_from_slice(&length.to_be_bytes());
    frame.freeze()
}

fn frames() -> Vec<Bytes> {
    let name = || TopicName(StrBytes::from_static_str("orders"));
    let records = BatchSpec::new(3).encode();
    let data = PartitionProduceData::default().with_records(Some(records));
    let topic = TopicProduceData::default().with_name(name()).with_partition_data(vec![data]);
    let produce = ProduceRequest::default().with_topic_data(vec![topic]);
    let partitions = vec![FetchPartition::default(); 2];
    let topic = FetchTopic::default().with_topic(name()).with_partitions(partitions);
    let fetch = FetchRequest::default().with_topics(vec![topic]);
    let topic = MetadataRequestTopic::default().with_name(Some(name()));
    let metadata = MetadataRequest::default().with_topics(Some(vec![topic; 3]));
    let config = CreatableTopicConfig::default().with_name(StrBytes::from_static_str("policy"));
    let topic = CreatableTopic::default().with_name(name()).with_configs(vec![config; 2]);
    let create = CreateTopicsRequest::default().with_topics(vec![topic]);
    let text = StrBytes::from_static_str;
    let group = || GroupId(text("group"));
    let member = MemberIdentity::default().with_member_id(text("member"));
    let leave = LeaveGroupRequest::default().with_group_id(group()).with_members(vec![member; 2]);
    let part = SyncGroupRequestAssignment::default().with_member_id(text("member"));
    let sync = SyncGroupRequest::default().with_group_id(group()).with_assignments(vec![part; 2]);
    let partitions = vec![OffsetCommitRequestPartition::default(); 2];
    let topic = OffsetCommitRequestTopic::default().with_name(name()).with_partitions(partitions);
    let commit = OffsetCommitRequest::default().with_group_id(group()).with_topics(vec![topic]);
    let topic = OffsetFetchRequestTopics::default().with_name(name());
    let topic = topic.with_partition_indexes(vec![0, 1]);
    let asked = OffsetFetchRequestGroup::default().with_topics(Some(vec![topic]));
    let offsets = OffsetFetchRequest::default().with_groups(vec![asked.with_group_id(group()); 2]);
    vec![
        frame(&leave, 3),
        frame(&leave, 5),
        frame(&sync, 5),
        frame(&commit, 8),
        frame(&offsets, 8),
        frame(&produce, 3),
        frame(&produce, 9),
        frame(&fetch, 4),
        frame(&fetch, 12),
        frame(&metadata, 1),
        frame(&metadata, 9),
        frame(&create, 2),
        frame(&create, 7),
        frame(&ApiVersionsRequest::default(), 3),
    ]
}

/// Sends a frame and waits for the end of the connection.
async fn send(addr: SocketAddr, frame: &[u8], sink: &mut Vec<u8>) {
    let mut socket = TcpStream::connect(addr).await.unwrap();
    // The server may close before it has read everything.
    let _ = socket.write_all(frame).await;
    let _ = socket.shutdown().await;
    sink.clear();
    let _ = tokio::time::timeout(Duration::from_secs(30), socket.read_to_end(sink)).await.unwrap();
}

#[tokio::test]
async fn absurd_lengths_at_every_place_allocate_at_most_four_times_the_frame_and_a_mebibyte() {
    let addr = start().await;
    let mut sink = Vec::with_capacity(1 << 20);
    let frames = frames();
    for whole in &frames {
        send(addr, whole, &mut sink).await;
    }
    for whole in &frames {
        for at in 12..whole.len() {
            for absurd in [&[0x7f, 0xff, 0xff, 0xff][..], &[0xff, 0xff, 0xff, 0xff, 7], &[0x7f]] {
                let mut frame = whole.to_vec();
                let end = (at + absurd.len()).min(frame.len());
                frame[at..end].copy_from_slice(&absurd[..end - at]);
                let before = MEMORY.total_allocated();
                send(addr, &frame, &mut sink).await;
                let allocated = MEMORY.total_allocated() - before;
                let limit = 4 * frame.len() + (1 << 20);
                assert!(
                    allocated <= limit,
                    "{allocated} bytes for {absurd:?} at {at} of {whole:?}"
                );
            }
        }
    }
}
