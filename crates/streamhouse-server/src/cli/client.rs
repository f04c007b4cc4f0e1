//! What the commands that talk to a server share.

use super::format::positive_duration;
use super::output::{Failure, OutputFlag};
use super::{Environment, server};
use clap::Args;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use streamhouse_client::{Connection, Telemetry};

/// Where the server is.
#[derive(Args, Clone, Debug)]
pub(super) struct ClientFlags {
    /// Address of any Kafka-compatible server [default: the configured kafka.addr]
    #[arg(long, value_name = "HOST:PORT")]
    brokers: Option<String>,
    /// How long a call may take
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = positive_duration)]
    timeout: Duration,
    #[command(flatten)]
    pub(super) output: OutputFlag,
}

impl ClientFlags {
    pub(super) fn connection(&self, environment: &Environment) -> Result<Connection, Failure> {
        let brokers = match &self.brokers {
            Some(brokers) => brokers.clone(),
            None => {
                let loaded = server::load(environment, None, Vec::new())?;
                reachable(loaded.config.kafka.addr).to_string()
            }
        };
        let connection = Connection::to(brokers).named("streamhouse-cli").within(self.timeout);
        // A command lives too briefly to be measured.
        Ok(connection.recorded_by(&Telemetry::off()))
    }
}

/// The address to connect to for a server that listens on `addr`.
pub(super) fn reachable(addr: SocketAddr) -> SocketAddr {
    let loopback = match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(loopback, addr.port())
}

/// Runs a client's work to its end.
pub(super) fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::Failed(format!("cannot start: {error}")))?;
    let result = runtime.block_on(work);
    // A call that is stuck in a library's thread must not keep the process alive.
    runtime.shutdown_background();
    result
}
