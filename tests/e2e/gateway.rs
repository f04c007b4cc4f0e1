//! The production collector: two of them in a row, so that what the first sends with TLS and a
//! token is taken by the same rules.

use crate::world::{Outcome, STREAMHOUSE, World};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use streamhouse_tests::compose::root;
use streamhouse_tests::http;
use streamhouse_tests::load::{self, Load};
use streamhouse_tests::metrics::Scrape;
use streamhouse_tests::process::Launch;
use streamhouse_tests::stack::{Daemon, PATIENCE, Plan, free_port, until};

const SIGNALS: [(&str, &str); 3] =
    [("traces", "spans"), ("metrics", "metric_points"), ("logs", "log_records")];

/// A gateway's addresses, each with the port that it has in `gateway.yaml`.
struct Gateway {
    daemon: Daemon,
    grpc: SocketAddr,
    http: SocketAddr,
    metrics: SocketAddr,
}

/// Certificate, key and the tokens that open the first and the second gateway.
struct Keys {
    cert: PathBuf,
    key: PathBuf,
    agents: PathBuf,
    backends: PathBuf,
}

impl Keys {
    fn make(folder: &Path) -> Result<Self, String> {
        let told = |error: std::io::Error| error.to_string();
        std::fs::create_dir_all(folder).map_err(told)?;
        let names = vec!["localhost".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).map_err(|error| error.to_string())?;
        let put = |name: &str, text: &str| {
            let path = folder.join(name);
            std::fs::write(&path, text).map(|()| path).map_err(told)
        };
        Ok(Self {
            cert: put("cert.pem", &made.cert.pem())?,
            key: put("key.pem", &made.signing_key.serialize_pem())?,
            agents: put("agents", "the-agents-token")?,
            backends: put("backends", "the-backends-token")?,
        })
    }
}

impl Gateway {
    /// Starts the shipped gateway on free ports; `accepts` is the token it wants, `next` where it
    /// sends to.
    fn start(
        binary: &Path,
        folder: &Path,
        keys: &Keys,
        accepts: &Path,
        next: (SocketAddr, SocketAddr),
    ) -> Result<Self, String> {
        std::fs::create_dir_all(folder).map_err(|error| error.to_string())?;
        let path = root().join("otel-collector/gateway.yaml");
        let mut text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
        let mut at = |from: &str, to: fn(SocketAddr) -> String| -> Result<SocketAddr, String> {
            let addr = free_port()?;
            text = text.replace(from, &to(addr));
            Ok(addr)
        };
        let port = |addr: SocketAddr| format!(":{}", addr.port());
        let grpc = at(":4317", port)?;
        let http = at(":4318", port)?;
        let health = at(":13133", port)?;
        at(":55679", port)?;
        let metrics = at("port: 8888", |addr| format!("port: {}", addr.port()))?;
        let config = folder.join("gateway.yaml");
        std::fs::write(&config, text).map_err(|error| error.to_string())?;
        let show = |path: &Path| path.display().to_string();
        let env = BTreeMap::from([
            ("GATEWAY_LISTEN".to_owned(), "127.0.0.1".to_owned()),
            ("GATEWAY_TLS_CERT".to_owned(), show(&keys.cert)),
            ("GATEWAY_TLS_KEY".to_owned(), show(&keys.key)),
            ("GATEWAY_TOKEN_FILE".to_owned(), show(accepts)),
            ("BACKEND_TOKEN_FILE".to_owned(), show(&keys.backends)),
            ("QUEUE_DIRECTORY".to_owned(), show(&folder.join("queue"))),
            ("TRACES_ENDPOINT".to_owned(), format!("localhost:{}", next.0.port())),
            ("METRICS_ENDPOINT".to_owned(), format!("https://localhost:{}", next.1.port())),
            ("LOGS_ENDPOINT".to_owned(), format!("https://localhost:{}/v1/logs", next.1.port())),
            ("SSL_CERT_FILE".to_owned(), show(&keys.cert)),
        ]);
        let plan = Plan { args: vec![format!("--config={}", config.display())], env };
        let mut daemon = Daemon::new("gateway", binary, plan, folder, (health, "/"));
        daemon.restart()?;
        Ok(Self { daemon, grpc, http, metrics })
    }

    /// How much of a signal it has taken.
    fn taken(&self, what: &str) -> f64 {
        let name = format!("otelcol_receiver_accepted_{what}_total");
        let answer = http::get(self.metrics, "/metrics").ok();
        answer.and_then(|answer| Scrape::parse(&answer.body).sum(&name, &[])).unwrap_or_default()
    }
}

/// A StreamHouse that sends to `gateway` as the README says.
fn agent(data: &Path, gateway: &Gateway, keys: &Keys, token: &str) -> Launch {
    let endpoint = format!("https://localhost:{}", gateway.http.port());
    Launch::serve(STREAMHOUSE, data)
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)
        .env("OTEL_EXPORTER_OTLP_HEADERS", &format!("authorization=Bearer {token}"))
        .env("OTEL_EXPORTER_OTLP_CERTIFICATE", &keys.cert.display().to_string())
        .env("OTEL_METRIC_EXPORT_INTERVAL", "500")
        .env("OTEL_BSP_SCHEDULE_DELAY", "200")
        .env("OTEL_BLRP_SCHEDULE_DELAY", "200")
}

pub fn it_passes_on(world: &mut World) -> Result<(), Outcome> {
    let folder = world.folder().join("gateway");
    let keys = Keys::make(&folder)?;
    let binary = world.binary("otelcol")?;
    let nobody = (free_port()?, free_port()?);
    let last = Gateway::start(binary, &folder.join("last"), &keys, &keys.backends, nobody)?;
    let next = (last.grpc, last.http);
    let mut first = Gateway::start(binary, &folder.join("first"), &keys, &keys.agents, next)?;

    let stranger = agent(&folder.join("stranger"), &first, &keys, "guessed").start();
    stranger.scrape_until("every signal refused without the token", |scrape| {
        SIGNALS.iter().all(|(signal, _)| {
            let labels = [("signal", *signal)];
            let total = |name: &str| scrape.sum(name, &labels).unwrap_or_default();
            total("streamhouse_telemetry_exported_total") == 0.0
                && (*signal == "traces" || total("streamhouse_telemetry_failed_total") > 0.0)
        })
    });
    stranger.stop();
    let taken: f64 = SIGNALS.iter().map(|(_, what)| first.taken(what)).sum();
    if taken > 0.0 {
        return Err(format!("the gateway took {taken} items without its token").into());
    }

    let server = agent(&folder.join("agent"), &first, &keys, "the-agents-token").start();
    load::create_topic(server.kafka, "way", 1).map_err(|error| error.to_string())?;
    let load = Load {
        topic: "way".into(),
        partition: 0,
        records: 1,
        value_bytes: 10,
        in_flight: 1,
        rate: Some(100.0),
        time: Duration::from_secs(3),
    };
    load::run(server.kafka, &load).map_err(|error| error.to_string())?;
    for (_, what) in SIGNALS {
        until(&format!("{what} behind both gateways:\n{}", first.daemon.log()), PATIENCE, || {
            (last.taken(what) > 0.0).then_some(())
        })?;
    }
    // Every trace is decided five seconds after its root; then nothing more comes.
    let (mut kept, mut asked) = (0.0, 0);
    until("an end of what is kept", PATIENCE, || {
        let now = last.taken("spans");
        asked = if now == kept { asked + 1 } else { 0 };
        kept = now;
        (asked == 60).then_some(())
    })?;
    let all = first.taken("spans");
    let part = kept / all;
    if !(0.02..0.3).contains(&part) {
        return Err(format!("of {all} spans {kept} were kept; one trace in ten was due").into());
    }
    if !first.daemon.is_running() {
        return Err(format!("the gateway has ended:\n{}", first.daemon.log()).into());
    }
    println!("the gateway took {all} spans and passed on {kept}");
    Ok(())
}
