//! The demo's workload: producers, groups and a few mistakes, all through the Kafka port.

use super::groups;
use opentelemetry::Context;
use opentelemetry::context::FutureExt as _;
use rand::seq::IndexedRandom as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use streamhouse_client::{
    Acks, Admin, ClientError, Compression, Connection, Consumer, Header, Producer, ProducerOptions,
    Record, Start, Telemetry,
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// What the workload has done so far, by its own count.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Records acknowledged (with acks=0: sent).
    pub(super) produced: AtomicU64,
    /// Records that the fast group has processed.
    pub(super) consumed: AtomicU64,
    /// Records that the slow group has processed.
    pub(super) consumed_slowly: AtomicU64,
    /// Calls of clients that failed.
    pub(super) failed: AtomicU64,
}

struct Stream {
    topic: &'static str,
    partitions: i32,
    acks: Acks,
    compression: Compression,
    records_per_tick: u32,
}

/// The workload's beat.
pub(super) const TICK: Duration = Duration::from_millis(100);

/// How long the demo's topics keep records: so short that a person sees them go, and so long that
/// the slow group loses none. All have it, because an object goes with the last of its records.
const RETENTION: (&str, &str) = ("retention.ms", "120000");

const STREAMS: [Stream; 4] = [
    Stream {
        topic: "orders",
        partitions: 3,
        acks: Acks::All,
        compression: Compression::Zstd,
        records_per_tick: 20,
    },
    Stream {
        topic: "payments",
        partitions: 2,
        acks: Acks::Leader,
        compression: Compression::Lz4,
        records_per_tick: 10,
    },
    Stream {
        topic: "clicks",
        partitions: 6,
        acks: Acks::None,
        compression: Compression::Snappy,
        records_per_tick: 60,
    },
    Stream {
        topic: "audit",
        partitions: 1,
        acks: Acks::All,
        compression: Compression::Gzip,
        records_per_tick: 2,
    },
];

/// Creates the topics and starts everything; it ends when `stop` is cancelled. `cycle` is what
/// [`groups::start`] says.
pub(super) async fn start(
    brokers: &str,
    cycle: Duration,
    tally: Arc<Tally>,
    stop: CancellationToken,
) -> Result<JoinSet<()>, ClientError> {
    // The process' own metrics are those of the server.
    let telemetry = Telemetry::spans_only();
    let connection = Connection::to(brokers).recorded_by(&telemetry);
    let traced = connection.clone().recorded_by(&telemetry.with_roots());
    let admin = Admin::new(&connection.clone().named("demo-admin"))?;
    let mut tasks = JoinSet::new();
    let settings = [(RETENTION.0.to_owned(), RETENTION.1.to_owned())];
    for stream in &STREAMS {
        match admin.create_topic_with(stream.topic, stream.partitions, &settings).await {
            Ok(()) | Err(ClientError::AlreadyExists(_)) => {}
            Err(error) => return Err(error),
        }
        let named = traced.clone().named(format!("demo-{}", stream.topic));
        let options = ProducerOptions {
            compression: stream.compression,
            ..ProducerOptions::with_acks(stream.acks)
        };
        let work = produce(Producer::new(&named, options)?, stream, tally.clone());
        spawn(&mut tasks, &stop, work);
    }
    groups::start(&mut tasks, &connection, cycle, &tally, &stop);
    spawn(&mut tasks, &stop, err(connection.named("demo-mistaken"), admin, tally));
    Ok(tasks)
}

fn spawn(
    tasks: &mut JoinSet<()>,
    stop: &CancellationToken,
    work: impl Future<Output = ()> + Send + 'static,
) {
    let stop = stop.clone();
    tasks.spawn(async move {
        stop.run_until_cancelled(work).await;
    });
}

async fn produce(producer: Producer, stream: &'static Stream, tally: Arc<Tally>) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let untraced = Context::new().with_telemetry_suppressed();
    loop {
        ticks.tick().await;
        let mut waiting = Vec::new();
        for number in 0..stream.records_per_tick {
            // One record of each tick begins a trace, which its consumer goes on with.
            let context = if number == 0 { Context::new() } else { untraced.clone() };
            let record = record(stream.topic);
            match producer.enqueue(&record).with_context(context).await {
                Ok(delivering) => waiting.push(delivering),
                Err(_) => count(&tally.failed),
            }
        }
        for delivering in waiting {
            match delivering.await {
                Ok(_) => count(&tally.produced),
                Err(_) => count(&tally.failed),
            }
        }
    }
}

fn record(topic: &str) -> Record {
    let countries = ["br", "de", "in", "jp", "ke", "us"];
    let country = countries.choose(&mut rand::rng()).copied().unwrap_or("nz");
    let customer = rand::random_range(0..10_000);
    let cents = rand::random_range(100..100_000);
    let value = format!(
        r#"{{"customer":{customer},"country":"{country}","cents":{cents},"note":"{topic} of the demo"}}"#
    );
    Record {
        topic: topic.to_owned(),
        key: Some(format!("customer-{customer}").into_bytes()),
        value: Some(value.into_bytes()),
        headers: vec![Header { key: "country".into(), value: Some(country.into()) }],
        ..Record::default()
    }
}

/// Makes the mistakes that applications make, so that error metrics move too.
async fn err(connection: Connection, admin: Admin, tally: Arc<Tally>) {
    let mut ticks = tokio::time::interval(Duration::from_secs(3));
    loop {
        ticks.tick().await;
        // Reads where the log has long ended.
        let beyond = Start::Offset(i64::MAX / 2);
        if let Ok(consumer) = Consumer::new(&connection, "audit", &[], beyond).await {
            let _ = tokio::time::timeout(Duration::from_secs(2), consumer.next()).await;
        }
        // Creates a topic that exists.
        let _ = admin.create_topic("orders", 1).await;
        // A topic that lives for a moment.
        if admin.create_topic("temporary", 1).await.is_ok() {
            let _ = admin.delete_topic("temporary").await;
        }
        count(&tally.failed);
    }
}

/// Adds one.
pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
