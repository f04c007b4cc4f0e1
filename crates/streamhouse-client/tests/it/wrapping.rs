//! Producers and consumers that somebody else has made.

use crate::support::{cluster, recorded};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, StreamConsumer};
use rdkafka::message::Message;
use rdkafka::producer::{FutureProducer, FutureRecord};
use std::time::{Duration, Instant};
use streamhouse_client::{Consumer, Producer};

const SENT: &str = "messaging_client_sent_messages_total";
const CONSUMED: &str = "messaging_client_consumed_messages_total";
const DURATIONS: &str = "messaging_client_operation_duration_seconds_count";

fn config(brokers: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", brokers)
        .set("group.id", "payments")
        .set("enable.auto.commit", "false")
        .set("auto.offset.reset", "earliest");
    config
}

fn order() -> FutureRecord<'static, (), str> {
    FutureRecord::to("orders").payload("one").partition(0)
}

#[tokio::test]
async fn a_wrapped_producer_records_what_is_awaited_and_counts_the_rest() {
    let (cluster, _) = cluster("orders", 1);
    let recorded = recorded();
    let inner: FutureProducer = config(&cluster.bootstrap_servers()).create().unwrap();
    let producer = Producer::wrap(inner, &recorded.telemetry);

    let (_, sent) = recorded.inside(producer.send(order())).await;
    sent.unwrap();
    drop(producer.enqueue(order()).await.unwrap());
    producer.flush().await.unwrap();

    recorded.only("send orders");
    assert_eq!(recorded.count(SENT, &[]), Some(2.0));
    assert_eq!(recorded.count(DURATIONS, &[]), Some(1.0));
}

#[tokio::test]
async fn wrapped_consumers_record_polls_work_and_commits() {
    let (cluster, _) = cluster("orders", 1);
    let recorded = recorded();
    let config = config(&cluster.bootstrap_servers());
    let producer = Producer::wrap(config.create().unwrap(), &recorded.telemetry);
    let producer: Producer<rdkafka::client::DefaultClientContext> = producer;
    recorded.inside(producer.send(order())).await.1.unwrap();
    let created = recorded.only("send orders").span_context;

    let inner: StreamConsumer = config.create().unwrap();
    inner.subscribe(&["orders"]).unwrap();
    let consumer = Consumer::wrap(inner, Some("payments"), &recorded.telemetry);
    let message = consumer.recv().await.unwrap();
    let work = async {
        // The commit belongs to the work on its record.
        consumer.commit_message(&message, CommitMode::Sync)
    };
    consumer.process(&message, work).await.unwrap();

    let process = recorded.only("process orders");
    assert_eq!(process.parent_span_id, created.span_id());
    let commit = recorded.only("commit");
    assert_eq!(commit.parent_span_id, process.span_context.span_id());
    let group = ("messaging_consumer_group_name", "payments");
    assert_eq!(recorded.count(CONSUMED, &[group]), Some(1.0));
    let commits = [group, ("messaging_operation_name", "commit")];
    assert_eq!(recorded.count(DURATIONS, &commits), Some(1.0));
    assert_eq!(recorded.count("messaging_process_duration_seconds_count", &[group]), Some(1.0));
}

#[test]
fn a_wrapped_consumer_of_the_blocking_kind_records_the_same() {
    let (cluster, _) = cluster("orders", 1);
    let recorded = recorded();
    let config = config(&cluster.bootstrap_servers());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let producer = Producer::wrap(config.create::<FutureProducer>().unwrap(), &recorded.telemetry);
    runtime.block_on(async { recorded.inside(producer.send(order())).await.1.unwrap() });

    let inner: BaseConsumer = config.create().unwrap();
    inner.subscribe(&["orders"]).unwrap();
    let consumer = Consumer::wrap(inner, Some("payments"), &recorded.telemetry);
    let start = Instant::now();
    let message = loop {
        if let Some(message) = consumer.poll(Duration::from_millis(100)) {
            break message.unwrap();
        }
        assert!(start.elapsed() < Duration::from_secs(30), "no message");
    };
    let length = consumer.process_here(&message, || message.payload().map(<[u8]>::len).ok_or(()));

    assert_eq!(length, Ok(3));
    recorded.only("process orders");
    assert_eq!(recorded.count(CONSUMED, &[]), Some(1.0));
}
