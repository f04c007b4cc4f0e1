//! Metrics that clients push about themselves (KIP-714): who may, how often, how much.
//!
//! A client asks for its subscription, which names metrics and an interval, and pushes OTLP. Each
//! push is checked here, cheapest first, and given to the relay; its ledger accounts for all.
//!
//! Invariant: what a client can make this hold is bounded: instances by a limit, a push by its
//! size before and after decompression, series by limits for a push, for the life of an instance
//! and for all instances, pushes being read by [`READERS`].

mod config;
mod instances;
mod reader;
mod series;
mod software;
mod subscription;

pub use config::{ClientTelemetryConfig, Pattern};
pub(crate) use software::Software;
pub(crate) use subscription::Subscription;

use bytes::Bytes;
use instances::Instances;
use kafka_protocol::error::ResponseError as Code;
use kafka_protocol::messages::PushTelemetryRequest;
use reader::Reader;
use std::sync::{Arc, MutexGuard};
use std::time::Duration;
use streamhouse_observability::declare::ClosedLabel as _;
use streamhouse_observability::instruments::ClientTelemetryMetrics;
use streamhouse_observability::labels::PushRefusal;
use streamhouse_observability::relay::{Full, Message, PushLedger, Relay};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use uuid::Uuid;

/// Pushes that are decompressed and decoded at the same time.
const READERS: usize = 2;
/// The longest pause that a refused client is asked for. Some clients stop all requests of the
/// connection for so long, and their data must not wait for their metrics.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Compressions accepted, in the order in which clients should choose: zstd, lz4, gzip, snappy.
pub(crate) const COMPRESSIONS: [i8; 4] = [4, 3, 1, 2];

/// Who is not logged in.
const ANONYMOUS: &str = "User:ANONYMOUS";

/// Who asks or pushes, as the connection knows it.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// The client's name for itself.
    pub id: Option<Arc<str>>,
    /// Its library.
    pub software: Arc<Software>,
}

/// The metrics of clients, from their subscription to the relay.
#[derive(Debug)]
pub(crate) struct ClientTelemetry {
    config: Arc<ClientTelemetryConfig>,
    /// Where pushes go; without it client telemetry is off.
    relay: Option<Relay>,
    ledger: PushLedger,
    wanted: Subscription,
    none: Subscription,
    reader: Arc<Reader>,
    readers: Arc<Semaphore>,
}

/// What a client is told when it asks.
#[derive(Debug)]
pub(crate) struct Told<'a> {
    pub instance: Uuid,
    pub subscription: &'a Subscription,
    /// Why it has no subscription although one matches it.
    pub refused: Option<Refused>,
}

/// An error of the protocol, and how long the client is to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub code: Code,
    pub pause: Duration,
}

impl ClientTelemetry {
    /// Client telemetry as `config` says; off until there is a [relay](Self::through).
    pub fn new(config: ClientTelemetryConfig, metrics: &ClientTelemetryMetrics) -> Self {
        let config = Arc::new(config);
        let ledger = PushLedger::new(metrics);
        let instances = Instances::new(&config, metrics.instances.bind(&()));
        Self {
            wanted: Subscription::new(&config, &config.metrics),
            none: Subscription::new(&config, &[]),
            reader: Arc::new(Reader::new(config.clone(), instances, ledger.clone())),
            ledger,
            readers: Arc::new(Semaphore::new(READERS)),
            relay: None,
            config,
        }
    }

    /// Passes pushes on through `relay`.
    pub fn through(mut self, relay: Option<Relay>) -> Self {
        self.relay = relay;
        self
    }

    /// The largest push, compressed or not.
    pub fn max_push_bytes(&self) -> usize {
        self.config.max_push_bytes
    }

    /// The subscription of `caller`, whose instance is `instance`, nil if it has none yet.
    pub fn subscribe(&self, caller: &Caller, instance: Uuid) -> Told<'_> {
        let instance = if instance.is_nil() { Uuid::new_v4() } else { instance };
        if !self.wants(caller) {
            return Told { instance, subscription: &self.none, refused: None };
        }
        match self.instances().meet(instance, Instant::now()) {
            Ok(()) => Told { instance, subscription: &self.wanted, refused: None },
            Err(refusal) => {
                let refused = Some(self.refused(refusal));
                Told { instance, subscription: &self.none, refused }
            }
        }
    }

    /// Takes a push of `caller`: on its way to the receiver afterwards, or refused.
    pub async fn push(
        &self,
        caller: &Caller,
        request: PushTelemetryRequest,
    ) -> Result<(), Refused> {
        let push = self.ledger.receive(request.metrics.len());
        match self.accept(caller, request).await {
            Ok((relay, message)) => {
                relay.offer(message, push).map_err(|Full| self.refused(PushRefusal::Full))
            }
            Err(refusal) => {
                let (client, reason) = (caller.id.as_deref(), refusal.as_str());
                tracing::debug!(client, reason, "metrics of a client were refused");
                push.refuse(refusal);
                Err(self.refused(refusal))
            }
        }
    }

    /// Forgets instances that have been silent for too long.
    pub fn sweep(&self) {
        self.instances().sweep(Instant::now());
    }

    fn wants(&self, caller: &Caller) -> bool {
        self.relay.is_some()
            && !self.config.metrics.is_empty()
            && Pattern::any(&self.config.client_ids, caller.id.as_deref().unwrap_or_default())
            && Pattern::any(&self.config.software, &caller.software.name)
    }

    async fn accept(
        &self,
        caller: &Caller,
        request: PushTelemetryRequest,
    ) -> Result<(&Relay, Message), PushRefusal> {
        let relay = self.relay.as_ref().filter(|_| self.wants(caller));
        let relay = relay.ok_or(PushRefusal::Disabled)?;
        let instance = request.client_instance_id;
        if instance.is_nil() || request.subscription_id != self.wanted.id {
            return Err(PushRefusal::UnknownSubscription);
        }
        self.instances().push(instance, request.terminating, Instant::now())?;
        let codec = request.compression_type;
        if codec != 0 && !COMPRESSIONS.contains(&codec) {
            return Err(PushRefusal::UnsupportedCompression);
        }
        if request.metrics.len() > self.config.max_push_bytes {
            return Err(PushRefusal::TooLarge);
        }
        let message = self.read(caller.clone(), instance, codec as u8, request.metrics).await?;
        Ok((relay, message))
    }

    /// Reads a push on a thread that may take its time.
    async fn read(
        &self,
        caller: Caller,
        instance: Uuid,
        codec: u8,
        metrics: Bytes,
    ) -> Result<Message, PushRefusal> {
        let permit = self.readers.clone().acquire_owned().await;
        let reader = self.reader.clone();
        let reading = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            reader.read(&caller, instance, codec, &metrics)
        });
        reading.await.unwrap_or(Err(PushRefusal::Invalid))
    }

    /// What a client is told of a refusal.
    fn refused(&self, refusal: PushRefusal) -> Refused {
        let code = match refusal {
            // It asks again, and is then told what is wanted.
            PushRefusal::Disabled
            | PushRefusal::UnknownSubscription
            | PushRefusal::NotSubscribed => Code::UnknownSubscriptionId,
            PushRefusal::Terminated => Code::InvalidRequest,
            // It goes on, and is heard when there is room.
            PushRefusal::TooEarly
            | PushRefusal::TooManyInstances
            | PushRefusal::TooManySeries
            | PushRefusal::Full => Code::ThrottlingQuotaExceeded,
            PushRefusal::UnsupportedCompression => Code::UnsupportedCompressionType,
            PushRefusal::TooLarge => Code::TelemetryTooLarge,
            PushRefusal::Invalid | PushRefusal::NotCumulative => Code::InvalidRecord,
        };
        let throttled = code == Code::ThrottlingQuotaExceeded;
        let pause =
            if throttled { self.config.interval.min(LONGEST_PAUSE) } else { Duration::ZERO };
        Refused { code, pause }
    }

    fn instances(&self) -> MutexGuard<'_, Instances> {
        self.reader.instances()
    }
}

#[cfg(test)]
mod tests;
