//! Groups of librdkafka's consumers, as applications use them.

use crate::group_wire::{group, join, offsets_of, subscription};
use crate::server::{PATIENCE, Server, eventually};
use crate::wire::Wire;
use kafka_protocol::messages::OffsetFetchRequest;
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext, Rebalance};
use rdkafka::message::Message as _;
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::{Offset, TopicPartitionList};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use streamhouse_kafka::BrokerConfig;
use tracing::field::{Field, Visit};
use tracing::span;

pub const TOPIC: &str = "orders";
pub const GROUP: &str = "billing";
pub const PARTITIONS: i32 = 6;
const REBALANCES: &str = "streamhouse.consumer.rebalances";
/// How long consumers come and go.
const CHURN: Duration = Duration::from_secs(60);

pub fn config() -> BrokerConfig {
    BrokerConfig { default_partitions: PARTITIONS, ..BrokerConfig::default() }
}

/// What a group of consumers has seen, all of it together.
#[derive(Default)]
pub struct Seen {
    offsets: Mutex<BTreeMap<i32, BTreeSet<i64>>>,
}

impl Seen {
    pub fn note(&self, partition: i32, offset: i64) {
        self.offsets.lock().unwrap().entry(partition).or_default().insert(offset);
    }

    pub fn count(&self) -> usize {
        self.offsets.lock().unwrap().values().map(BTreeSet::len).sum()
    }
}

/// Commits what was consumed before partitions are given up.
struct Careful {
    consumed: Arc<Mutex<BTreeMap<i32, i64>>>,
}

impl ClientContext for Careful {}

impl ConsumerContext for Careful {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if matches!(rebalance, Rebalance::Revoke(_)) {
            commit(consumer, &self.consumed);
        }
    }
}

/// Commits, and forgets, what was consumed. It may be refused: then others consume it again.
fn commit(consumer: &BaseConsumer<Careful>, consumed: &Mutex<BTreeMap<i32, i64>>) {
    let consumed = std::mem::take(&mut *consumed.lock().unwrap());
    let mut offsets = TopicPartitionList::new();
    for (partition, offset) in consumed {
        offsets.add_partition_offset(TOPIC, partition, Offset::Offset(offset + 1)).unwrap();
    }
    if offsets.count() > 0 {
        let _ = consumer.commit(&offsets, CommitMode::Sync);
    }
}

struct Consumer {
    inner: BaseConsumer<Careful>,
    consumed: Arc<Mutex<BTreeMap<i32, i64>>>,
}

impl Consumer {
    fn start(bootstrap: &str, settings: &[(&str, &str)]) -> Self {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", bootstrap)
            .set("broker.address.family", "v4")
            .set("group.id", GROUP)
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "earliest")
            .set("session.timeout.ms", "6000")
            .set("heartbeat.interval.ms", "200")
            .set("reconnect.backoff.ms", "20")
            .set("reconnect.backoff.max.ms", "200");
        for (key, value) in settings {
            config.set(*key, *value);
        }
        let consumed = Arc::new(Mutex::default());
        let context = Careful { consumed: consumed.clone() };
        let inner: BaseConsumer<Careful> = config.create_with_context(context).unwrap();
        inner.subscribe(&[TOPIC]).unwrap();
        Self { inner, consumed }
    }

    /// Consumes for a while; commits now and then.
    fn consume(&self, seen: &Seen, time: Duration) {
        let began = Instant::now();
        let mut uncommitted = 0;
        while began.elapsed() < time {
            let Some(Ok(message)) = self.inner.poll(Duration::from_millis(20)) else { continue };
            seen.note(message.partition(), message.offset());
            let mut consumed = self.consumed.lock().unwrap();
            let last = consumed.entry(message.partition()).or_insert(message.offset());
            *last = message.offset().max(*last);
            drop(consumed);
            uncommitted += 1;
            if uncommitted >= 20 {
                commit(&self.inner, &self.consumed);
                uncommitted = 0;
            }
        }
        commit(&self.inner, &self.consumed);
    }

    /// Closes it. librdkafka can wait for ever where the close meets a rebalance (it waits for the
    /// answer of a group that it has ended already): such a one is left to itself.
    fn close(self) {
        let (done, closed) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            drop(self.inner);
            let _ = done.send(());
        });
        let _ = closed.recv_timeout(Duration::from_secs(10));
    }
}

/// Lives once: it goes in good order, or it is killed, with no commit and no word to the group. Of
/// that a static member is capable, whose end does not leave the group; under a name of its own for
/// each life nobody takes its place, and it must be missed. What it has read last is lost with it, so
/// that others must read it again.
fn live(bootstrap: &str, seen: &Seen, time: Duration, killed: Option<&str>) {
    let Some(name) = killed else {
        let consumer = Consumer::start(bootstrap, &[]);
        consumer.consume(seen, time);
        return consumer.close();
    };
    let settings = [("group.instance.id", name), ("session.timeout.ms", "1500")];
    let consumer = Consumer::start(bootstrap, &settings);
    consumer.consume(seen, time);
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(200) {
        drop(consumer.inner.poll(Duration::from_millis(20)));
    }
    consumer.close();
}

/// Numbers that look random, the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }
}

pub async fn send(producer: &FutureProducer, count: usize) {
    let mut sent = Vec::new();
    for n in 0..count {
        let partition = (n % PARTITIONS as usize) as i32;
        let record = FutureRecord::<(), _>::to(TOPIC).partition(partition).payload("payload");
        sent.push(producer.send_result(record).unwrap());
    }
    for one in sent {
        one.await.unwrap().unwrap();
    }
}

pub fn producer(bootstrap: &str) -> FutureProducer {
    ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("broker.address.family", "v4")
        .set("linger.ms", "5")
        .create()
        .unwrap()
}

/// The group's offsets by partition.
async fn committed(wire: &mut Wire) -> BTreeMap<i32, i64> {
    let request = OffsetFetchRequest::default().with_groups(vec![
        OffsetFetchRequestGroup::default().with_group_id(group(GROUP)).with_topics(None),
    ]);
    let answer = wire.ask(&request, 8).await;
    let parts = answer.groups[0].topics.iter().flat_map(|topic| &topic.partitions);
    parts.map(|part| (part.partition_index, part.committed_offset)).collect()
}

/// Joins and is never heard of again.
async fn drop_in(server: &Server) {
    let mut wire = server.wire().await;
    let mut request = join(GROUP, "").with_session_timeout_ms(1_000);
    request.protocols[0].metadata = subscription(TOPIC);
    wire.send(&request, 3).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
}

/// Counts the lines that tell of the group's completed rebalances.
struct Ledger(Arc<AtomicUsize>);

#[derive(Default)]
struct OfGroup(bool, bool);

impl Visit for OfGroup {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let value = format!("{value:?}");
        self.0 |= field.name() == "group" && value.contains(GROUP);
        self.1 |= field.name() == "message" && value.contains("shared out");
    }
}

impl tracing::Subscriber for Ledger {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target() == "streamhouse_kafka::groups::seat"
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut of_group = OfGroup::default();
        event.record(&mut of_group);
        self.0.fetch_add(usize::from(of_group.0 && of_group.1), Ordering::SeqCst);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[test]
fn five_consumers_that_come_go_and_vanish_skip_nothing_and_commit_forwards() {
    let ledger = Arc::new(AtomicUsize::new(0));
    let lines = ledger.clone();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .on_thread_start(move || {
            // In force on the server's threads alone: other tests have subscribers of their own.
            std::mem::forget(tracing::subscriber::set_default(Ledger(lines.clone())));
        })
        .build()
        .unwrap();
    runtime.block_on(churn(ledger));
}

async fn churn(ledger: Arc<AtomicUsize>) {
    let server = Arc::new(Server::with(config()).await);
    let mut wire = server.wire().await;
    wire.topic(TOPIC).await;
    let (seen, stop) = (Arc::new(Seen::default()), Arc::new(AtomicBool::new(false)));
    let killed = Arc::new(AtomicUsize::new(0));
    let consumers: Vec<_> = (0..5u64)
        .map(|n| {
            let (bootstrap, seen, stop) = (server.bootstrap(), seen.clone(), stop.clone());
            let kills = killed.clone();
            std::thread::spawn(move || {
                let mut dice = Dice(n * 7919 + 1);
                for life in 0.. {
                    if stop.load(Ordering::SeqCst) {
                        break;
                    }
                    let time = Duration::from_millis(1_500 + dice.roll(2_500));
                    // One of the five at a time.
                    let killed = ((n + life) % 5 == 0).then(|| format!("consumer-{n}-{life}"));
                    live(&bootstrap, &seen, time, killed.as_deref());
                    kills.fetch_add(usize::from(killed.is_some()), Ordering::SeqCst);
                    std::thread::sleep(Duration::from_millis(dice.roll(400)));
                }
            })
        })
        .collect();
    let producer = producer(&server.bootstrap());
    let (began, mut sent) = (Instant::now(), 0);
    let mut before = BTreeMap::new();
    while began.elapsed() < CHURN {
        send(&producer, 30).await;
        sent += 30;
        if sent % 900 == 0 {
            drop_in(&server).await;
        }
        let now = committed(&mut wire).await;
        for (partition, offset) in &before {
            assert!(now[partition] >= *offset, "partition {partition}: {now:?} after {before:?}");
        }
        before = now;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    stop.store(true, Ordering::SeqCst);
    for one in consumers {
        tokio::task::spawn_blocking(move || one.join().unwrap()).await.unwrap();
    }
    drain(&server, &seen, sent).await;
    let at_most: i64 = committed(&mut wire).await.values().sum();
    assert!(at_most <= i64::try_from(sent).unwrap());
    // Everybody has left or was missed: what is counted does not change any more.
    server.gauge_of("streamhouse.group.members", &[("group", GROUP)], 0.0).await;
    let counted = server.count(REBALANCES, &[("group", GROUP)]);
    assert_eq!(counted, ledger.load(Ordering::SeqCst) as u64);
    assert!(counted >= 5, "{counted} rebalances");
    let killed = killed.load(Ordering::SeqCst);
    assert!(killed >= 5, "only {killed} were killed");
}

/// One more consumer takes what is left.
async fn drain(server: &Server, seen: &Arc<Seen>, sent: usize) {
    let (bootstrap, all) = (server.bootstrap(), seen.clone());
    tokio::task::spawn_blocking(move || {
        let (consumer, began) = (Consumer::start(&bootstrap, &[]), Instant::now());
        while all.count() < sent {
            assert!(began.elapsed() < PATIENCE, "{} of {sent} records", all.count());
            consumer.consume(&all, Duration::from_millis(100));
        }
    })
    .await
    .unwrap();
    for (partition, offsets) in &*seen.offsets.lock().unwrap() {
        let end = i64::try_from(offsets.len()).unwrap() - 1;
        assert_eq!(offsets.last(), Some(&end), "partition {partition} has a gap");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_go_on_after_a_restart_and_offsets_are_kept() {
    let server = Server::with(config()).await;
    server.wire().await.topic(TOPIC).await;
    let (seen, stop) = (Arc::new(Seen::default()), Arc::new(AtomicBool::new(false)));
    send(&producer(&server.bootstrap()), 600).await;
    let consumers: Vec<_> = (0..2)
        .map(|_| {
            let (bootstrap, seen, stop) = (server.bootstrap(), seen.clone(), stop.clone());
            std::thread::spawn(move || {
                let consumer = Consumer::start(&bootstrap, &[]);
                while !stop.load(Ordering::SeqCst) {
                    consumer.consume(&seen, Duration::from_millis(50));
                }
            })
        })
        .collect();
    eventually("all records", || (seen.count() == 600).then_some(())).await;
    let mut wire = server.wire().await;
    let began = Instant::now();
    while committed(&mut wire).await.values().sum::<i64>() < 600 {
        assert!(began.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop(wire);
    let server = server.again().await;
    let mut wire = server.wire().await;
    let answer = wire.ask(&offsets_of(GROUP, true, 8), 8).await;
    let kept = answer.groups[0].topics.iter().flat_map(|it| &it.partitions);
    assert_eq!(kept.map(|it| it.committed_offset).collect::<Vec<_>>(), [100; 6]);
    send(&producer(&server.bootstrap()), 600).await;
    eventually("all later records", || (seen.count() == 1_200).then_some(())).await;
    stop.store(true, Ordering::SeqCst);
    for one in consumers {
        tokio::task::spawn_blocking(move || one.join().unwrap()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_static_consumer_that_comes_back_goes_on_without_a_rebalance() {
    let server = Server::with(config()).await;
    server.wire().await.topic(TOPIC).await;
    let producer = producer(&server.bootstrap());
    let seen = Arc::new(Seen::default());
    send(&producer, 60).await;
    let start = |id: &'static str| {
        let bootstrap = server.bootstrap();
        let start = move || Consumer::start(&bootstrap, &[("group.instance.id", id)]);
        tokio::task::spawn_blocking(start)
    };
    let consume = |consumer: Consumer, all: usize| {
        let seen = seen.clone();
        tokio::task::spawn_blocking(move || {
            let began = Instant::now();
            while seen.count() < all {
                assert!(began.elapsed() < PATIENCE, "{} of {all} records", seen.count());
                consumer.consume(&seen, Duration::from_millis(50));
            }
            consumer
        })
    };
    let consumer = consume(start("one").await.unwrap(), 60).await.unwrap();
    let rebalances = server.count(REBALANCES, &[("group", GROUP)]);
    assert_eq!(rebalances, 1);
    tokio::task::spawn_blocking(move || drop(consumer)).await.unwrap();
    for round in 2..5 {
        send(&producer, 60).await;
        let again = start("one").await.unwrap();
        let again = consume(again, 60 * round).await.unwrap();
        tokio::task::spawn_blocking(move || drop(again)).await.unwrap();
    }
    assert_eq!(server.count(REBALANCES, &[("group", GROUP)]), rebalances);
    server.gauge_of("streamhouse.group.members", &[("group", GROUP)], 1.0).await;
}
