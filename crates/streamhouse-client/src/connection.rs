//! What every client shares: the address, the time it may take, and what librdkafka says.

use crate::error::{Call, ClientError};
use crate::telemetry::Telemetry;
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How to reach the brokers, and where what is done there is recorded.
#[derive(Clone)]
pub struct Connection {
    /// `host:port`, several separated by commas.
    pub brokers: String,
    /// What the broker's logs call this client.
    pub client_id: String,
    /// How long one call may take, retries included. Default: 30 s.
    pub timeout: Duration,
    settings: Vec<(String, String)>,
    telemetry: Option<Telemetry>,
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A setting's value may be a password.
        let settings: Vec<_> = self.settings.iter().map(|(key, _)| key).collect();
        f.debug_struct("Connection")
            .field("brokers", &self.brokers)
            .field("client_id", &self.client_id)
            .field("timeout", &self.timeout)
            .field("settings", &settings)
            .finish_non_exhaustive()
    }
}

impl Connection {
    /// A connection to `brokers` with the default name and timeout.
    pub fn to(brokers: impl Into<String>) -> Self {
        Self {
            brokers: brokers.into(),
            client_id: "streamhouse-client".into(),
            timeout: Duration::from_secs(30),
            settings: Vec::new(),
            telemetry: None,
        }
    }

    /// The same connection, recorded by `telemetry` instead of the global providers.
    #[must_use]
    pub fn recorded_by(mut self, telemetry: &Telemetry) -> Self {
        self.telemetry = Some(telemetry.clone());
        self
    }

    /// The same connection with one more of librdkafka's settings, such as
    /// `client.rack`. What the client itself needs to set, it sets afterwards.
    #[must_use]
    pub fn with(mut self, setting: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.push((setting.into(), value.into()));
        self
    }

    /// The same connection under another name.
    #[must_use]
    pub fn named(mut self, client_id: impl Into<String>) -> Self {
        self.client_id = client_id.into();
        self
    }

    /// The same connection with another limit on the time of one call.
    #[must_use]
    pub fn within(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The setting that the user has given of `keys`, with its value.
    pub(crate) fn setting(&self, keys: &[&str]) -> Option<(&str, &str)> {
        let given = self.settings.iter().find(|(key, _)| keys.contains(&key.as_str()));
        given.map(|(key, value)| (key.as_str(), value.as_str()))
    }

    pub(crate) fn config(&self) -> Result<ClientConfig, ClientError> {
        if self.brokers.trim().is_empty() {
            return Err(ClientError::Invalid("the broker address is empty: give host:port".into()));
        }
        let mut config = ClientConfig::new();
        self.settings.iter().for_each(|(key, value)| _ = config.set(key, value));
        config
            .set("bootstrap.servers", &self.brokers)
            .set("client.id", &self.client_id)
            .set("socket.nagle.disable", "true")
            // The default waits up to 10 s between attempts: too long for a broker that restarts.
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "1000")
            .set_log_level(RDKafkaLogLevel::Info);
        Ok(config)
    }

    pub(crate) fn telemetry(&self) -> Telemetry {
        self.telemetry.clone().unwrap_or_else(Telemetry::global)
    }

    pub(crate) fn events(&self) -> Events {
        let brokers = self.brokers.clone().into();
        Events { brokers, timeout: self.timeout, transport: Arc::default() }
    }
}

/// What librdkafka says apart from answers. It goes to `tracing`; the last transport error is kept
/// because the error of the call that suffers from it only says "timed out".
#[derive(Clone, Debug)]
pub struct Events {
    brokers: Arc<str>,
    timeout: Duration,
    transport: Arc<Mutex<Option<String>>>,
}

impl Events {
    /// For a client that somebody else has made: its own context hears what librdkafka says.
    pub(crate) fn of_wrapped(timeout: Duration) -> Self {
        Self { brokers: "the brokers".into(), timeout, transport: Arc::default() }
    }

    /// How long one call may take.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The typed form of `error`, which befell `action` on `subject`.
    pub(crate) fn explain(
        &self,
        action: &'static str,
        subject: &str,
        error: &KafkaError,
    ) -> ClientError {
        ClientError::explain(error, self.call(action, subject))
    }

    /// The typed form of `code`, which answered `action` on `subject`.
    pub(crate) fn refuse(
        &self,
        action: &'static str,
        subject: &str,
        code: RDKafkaErrorCode,
    ) -> ClientError {
        ClientError::from_code(code, self.call(action, subject))
    }

    fn call<'a>(&'a self, action: &'static str, subject: &'a str) -> Call<'a> {
        let transport = self.transport.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Call { action, subject, brokers: &self.brokers, after: self.timeout, transport }
    }
}

impl ClientContext for Events {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        // A failed call says what failed; these lines are for looking closer.
        match level {
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error
            | RDKafkaLogLevel::Warning => tracing::info!(facility, line, "librdkafka says"),
            _ => tracing::debug!(facility, line, "librdkafka says"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        use RDKafkaErrorCode::{AllBrokersDown, BrokerTransportFailure, Resolve};
        if matches!(error.rdkafka_error_code(), Some(BrokerTransportFailure | Resolve)) {
            let mut last = self.transport.lock().unwrap_or_else(PoisonError::into_inner);
            *last = Some(reason.to_owned());
        } else if error.rdkafka_error_code() != Some(AllBrokersDown) {
            tracing::info!(%error, reason, "librdkafka reports an error");
        }
    }
}

impl ConsumerContext for Events {}
