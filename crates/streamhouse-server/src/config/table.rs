//! The table of settings: what there is, what it means, what it is unless someone says otherwise.
//!
//! A setting's variable is its key in capitals after `STREAMHOUSE_`, dots becoming underscores:
//! `kafka.addr` is `STREAMHOUSE_KAFKA_ADDR`.

use super::value::{
    Bytes, Exposition, HostPort, Interval, LagDetail, Limit, List, LogFormat, MetadataUrl,
    ObjectStoreUrl, OtlpProtocol, Secret, Value,
};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// One setting: a row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Its key in `streamhouse.toml`, sections separated by dots.
    pub key: &'static str,
    /// What it decides.
    pub help: &'static str,
    /// What its text looks like, with the unit.
    pub form: &'static str,
    /// Whether its value is never shown.
    pub secret: bool,
    pub(super) set: fn(&mut Config, &str) -> Result<(), String>,
    pub(super) get: fn(&Config) -> String,
}

impl Setting {
    /// The environment variable that sets it.
    pub fn variable(&self) -> String {
        format!("STREAMHOUSE_{}", self.key.replace('.', "_").to_ascii_uppercase())
    }

    /// Its value in `config`, as text; a secret one is redacted.
    pub fn value(&self, config: &Config) -> String {
        (self.get)(config)
    }
}

/// Declares sections of settings: the structs, their defaults and the table, from one row each.
macro_rules! settings {
    ($($(#[doc = $about:literal])+ $section:ident: $group:ident($prefix:literal) {
        $($(#[doc = $help:literal])+ $field:ident: $kind:ty = $default:expr;)+
    })+) => {
        $($(#[doc = $about])+
        #[derive(Clone, Debug, PartialEq)]
        pub struct $group {
            $($(#[doc = $help])+
            #[doc = concat!("\n\nKey: `", $prefix, stringify!($field), "`. ",
                "Default: `", stringify!($default), "`.")]
            pub $field: $kind,)+
        })+

        /// Everything that the server can be told.
        #[derive(Clone, Debug, PartialEq)]
        pub struct Config { $($(#[doc = $about])+ pub $section: $group,)+ }

        impl Default for Config {
            fn default() -> Self {
                Self { $($section: $group { $($field: $default,)+ },)+ }
            }
        }

        /// Every setting, in the order of the documentation.
        pub const SETTINGS: &[Setting] = &[$($(Setting {
            key: concat!($prefix, stringify!($field)),
            help: concat!($($help),+),
            form: <$kind as Value>::FORM,
            secret: <$kind as Value>::SECRET,
            set: |config, text| {
                config.$section.$field = Value::parse(text)?;
                Ok(())
            },
            get: |config| config.$section.$field.show(),
        },)+)+];
    };
}

const fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

settings! {
    /// Where the log is kept.
    place: Place("") {
        /// Folder of everything that is kept on this machine.
        data_dir: PathBuf = PathBuf::from("streamhouse-data");
        /// Where records are kept: the folder `objects` of the data directory (local), another
        /// folder, a bucket, or memory, which forgets everything at the end.
        object_store: ObjectStoreUrl = ObjectStoreUrl::DataDir;
        /// Where topics, offsets and producers are kept: the file `metadata.db` of the data
        /// directory (local), or another SQLite file.
        metadata: MetadataUrl = MetadataUrl::DataDir;
        /// How long a shutdown may take before what is left is abandoned.
        shutdown_timeout: Duration = Duration::from_secs(14);
    }

    /// The Kafka port.
    kafka: Kafka("kafka.") {
        /// Address that Kafka clients connect to. Port 0 takes a free one.
        addr: SocketAddr = loopback(9092);
        /// Host and port that clients are told to connect to, when they differ from the address.
        advertised: Option<HostPort> = None;
        /// Whether a client that asks for a topic which does not exist creates it.
        auto_create_topics: bool = true;
        /// Partitions of a topic whose creator does not say.
        default_partitions: usize = 1;
        /// Largest record batch.
        max_batch: Bytes = Bytes((1 << 20) + 12);
        /// Largest request.
        max_request: Bytes = Bytes::mib(32);
        /// Memory for requests under way; further ones wait in their sockets.
        request_memory: Bytes = Bytes::mib(256);
        /// Memory for fetch answers under way; further ones wait.
        response_memory: Bytes = Bytes::mib(256);
        /// Connections open at a time; further ones are closed at once.
        max_connections: usize = 4_096;
        /// How long a connection may be idle.
        idle_timeout: Duration = Duration::from_secs(600);
        /// How long the offsets of a consumer group are kept that has no members and commits
        /// nothing.
        offsets_retention: Duration = Duration::from_secs(7 * 24 * 3_600);
    }

    /// Metrics that Kafka clients push about themselves, passed on over OTLP.
    client_telemetry: ClientTelemetry("client_telemetry.") {
        /// Whether clients are asked for metrics; empty asks them when metrics are exported over
        /// OTLP, without which there is nowhere to pass them on.
        enabled: Option<bool> = None;
        /// Which metrics are asked for, by the beginning of their names; * asks for all.
        metrics: List = List::all();
        /// Time from one push of a client to its next.
        interval: Interval<100, 3_600_000> = Interval(Duration::from_secs(60));
        /// Which clients are asked, by client id; * stands for any text.
        client_ids: List = List::all();
        /// Which clients are asked, by the name of their library (librdkafka, apache-kafka-java,
        /// kgo); * stands for any text.
        software: List = List::all();
        /// Largest push, before and after decompression.
        max_push: Bytes = Bytes::mib(1);
        /// Series in one push, which is refused if it has more, and series of one client instance
        /// for as long as it is known; data points of further ones are left out.
        max_series: usize = 2_000;
        /// Client instances known at a time; further ones are not asked. An instance is forgotten
        /// after three intervals of silence.
        max_instances: usize = 4_096;
        /// Client instances that were not known before, in any hour; further ones are not asked.
        new_instances_per_hour: usize = 10_000;
    }

    /// The admin port: metrics, health, log level.
    admin: Admin("admin.") {
        /// Address of the admin HTTP server. Port 0 takes a free one.
        addr: SocketAddr = loopback(9464);
        /// Bearer token that every admin request must carry, except health checks.
        token: Option<Secret> = None;
    }

    /// S3 and stores that speak like it; used with `object_store = "s3://…"`.
    s3: S3("s3.") {
        /// URL of the store; empty for AWS itself.
        endpoint: Option<String> = None;
        /// Region of the bucket.
        region: String = "us-east-1".into();
        /// Access key; empty asks the environment of the process (AWS_ACCESS_KEY_ID).
        access_key_id: Option<Secret> = None;
        /// Secret key; empty asks the environment of the process (AWS_SECRET_ACCESS_KEY).
        secret_access_key: Option<Secret> = None;
        /// Token of temporary keys (AWS_SESSION_TOKEN).
        session_token: Option<Secret> = None;
        /// Whether the bucket stands in the host name instead of the path.
        virtual_hosted: bool = false;
    }

    /// The way of records into the object store.
    writer: Writer("writer.") {
        /// How long a segment waits for more records; empty chooses by store (none on a local
        /// disk, 100ms on S3).
        linger: Option<Duration> = None;
        /// Size at which a segment is closed.
        segment_size: Bytes = Bytes::mib(8);
        /// Segments stored at the same time; empty chooses by store (2 on a local disk, 8 on S3).
        puts: Option<usize> = None;
        /// Time for storing one segment, retries included.
        put_timeout: Duration = Duration::from_secs(5);
    }

    /// How long and how much of a topic is kept that does not say so itself.
    retention: Retention("retention.") {
        /// Milliseconds after which records are removed, counted from their arrival (7 days);
        /// a topic's own `retention.ms` goes before.
        ms: Limit = Limit(604_800_000);
        /// Bytes of one partition that are kept at least; records before them are removed in whole
        /// runs, as they were written. A topic's own `retention.bytes` goes before.
        bytes: Limit = Limit(-1);
        /// How often it is looked for records to remove.
        interval: Interval<10> = Interval(Duration::from_secs(60));
    }

    /// The deletion of objects that no record lies in.
    garbage: Garbage("garbage.") {
        /// Age below which no object is deleted, whatever is known of it. An agent that is paused
        /// for longer between storing records and committing them is refused; its producers send
        /// them again. Minutes are safe; less is for trying it out.
        grace: Interval<100> = Interval(Duration::from_secs(900));
        /// How often objects are deleted whose records have all been removed.
        interval: Interval<10> = Interval(Duration::from_secs(60));
        /// How often it is looked for objects that were stored and never committed, which lists
        /// the objects of the last hours.
        sweep: Interval<10> = Interval(Duration::from_secs(3_600));
        /// Whether objects are deleted that were stored and never committed. Switch it off before
        /// the metadata store is restored from a copy: the copy does not know what came after it.
        orphans: bool = true;
    }

    /// The cache of what was written or read.
    cache: Cache("cache.") {
        /// Memory for blocks of segments.
        size: Bytes = Bytes::mib(128);
    }

    /// How far consumer groups are behind.
    lag: Lag("lag.") {
        /// Into how many series lag is split: one for each partition, topic or group. Less detail
        /// sums records and shows the greatest age and the least margin.
        detail: LagDetail = LagDetail::Partition;
        /// Time from one computation of all lags to the next. At most 30s: what is gone is to leave
        /// the metrics within a minute.
        interval: Interval<100, 30_000> = Interval(Duration::from_secs(5));
    }

    /// Log lines on standard error.
    log: Log("log.") {
        /// What log lines look like; auto is text on a terminal and JSON otherwise.
        format: LogFormat = LogFormat::Auto;
        /// Which lines are written: a level, or several `target=level` separated by commas.
        /// RUST_LOG has the same effect.
        level: String = "info".into();
    }

    /// `/metrics`.
    metrics: Metrics("metrics.") {
        /// What writes `/metrics`: our own renderer or the stock one of OpenTelemetry.
        exposition: Exposition = Exposition::Native;
    }

    /// Export of metrics, traces and logs over OTLP. The standard OTEL_ variables go before these.
    otlp: Otlp("otlp.") {
        /// URL of the collector; empty exports nothing.
        endpoint: Option<String> = None;
        /// How signals travel.
        protocol: OtlpProtocol = OtlpProtocol::Http;
        /// Headers sent with every export, as `key=value` separated by commas.
        headers: Option<Secret> = None;
        /// Time for one export, retries included.
        timeout: Duration = Duration::from_secs(10);
    }
}
