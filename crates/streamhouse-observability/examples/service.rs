//! A service of your own: `cargo run -p streamhouse-observability --example service`, then
//! `curl 127.0.0.1:9464/metrics`. Set OTEL_EXPORTER_OTLP_ENDPOINT to send all three signals.
#![expect(clippy::disallowed_macros, reason = "the ban is on spans of StreamHouse itself")]
use streamhouse_observability::declare::{ClosedLabel, Counter};
use streamhouse_observability::{Config, Observability, instruments};

#[derive(Clone, Copy, Debug)]
enum Kind {
    Tea,
    Coffee,
}
impl ClosedLabel for Kind {
    const KEY: &'static str = "kind";
    const ALL: &'static [Self] = &[Self::Tea, Self::Coffee];
    fn as_str(self) -> &'static str {
        ["tea", "coffee"][self as usize]
    }
    fn index(self) -> usize {
        self as usize
    }
}

instruments! {
    /// What the kitchen does.
    struct Kitchen("kitchen") {
        /// Cups served.
        cups: Counter<Kind> = "{cup}";
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let config = Config::from_env(Config::new("kitchen", "1.0"), |name| std::env::var(name).ok())?;
    let telemetry = Observability::start(config)?;
    let cups = Kitchen::declare(telemetry.declare()).cups.bind_each(|kind: Kind| kind);
    cups.of(Kind::Tea).add(2);
    tracing::info_span!("serve").in_scope(|| tracing::info!(table = 7, "tea is served"));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:9464").await?;
    Ok(axum::serve(listener, telemetry.exposition().router()).await?)
}
