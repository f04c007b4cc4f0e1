//! Reads pushes, on threads that may take their time.

use super::config::ClientTelemetryConfig;
use super::instances::Instances;
use super::{ANONYMOUS, Caller};
use crate::records::open;
use std::hash::RandomState;
use std::io::Read as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use streamhouse_observability::labels::{LeftOut, PushRefusal};
use streamhouse_observability::relay::{Client, Draft, Message, MessageError, PushLedger, Terms};
use uuid::Uuid;

/// What reading a push takes.
#[derive(Debug)]
pub(super) struct Reader {
    config: Arc<ClientTelemetryConfig>,
    instances: Mutex<Instances>,
    ledger: PushLedger,
    /// Of the hashes of series: nobody outside can make two that are equal.
    key: RandomState,
}

impl Reader {
    pub fn new(
        config: Arc<ClientTelemetryConfig>,
        instances: Instances,
        ledger: PushLedger,
    ) -> Self {
        Self { config, instances: Mutex::new(instances), ledger, key: RandomState::new() }
    }

    pub fn instances(&self) -> MutexGuard<'_, Instances> {
        self.instances.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Decompresses and decodes `metrics` of `caller`, and leaves out what was not asked for and
    /// what would be a series too many. An error: nothing of it is passed on.
    pub fn read(
        &self,
        caller: &Caller,
        instance: Uuid,
        codec: u8,
        metrics: &[u8],
    ) -> Result<Message, PushRefusal> {
        let plain = decompressed(codec, metrics, self.config.max_push_bytes)?;
        let client = Client {
            id: caller.id.as_deref().unwrap_or_default(),
            instance,
            software: &caller.software.name,
            version: &caller.software.version,
            principal: ANONYMOUS,
        };
        let terms = Terms { prefixes: &self.config.metrics, series: self.config.max_series };
        let mut draft = Draft::read(&plain, &client, &terms).map_err(refusal)?;
        let foreign = draft.left_out();
        if foreign > 0 && draft.points() == 0 {
            return Err(PushRefusal::NotSubscribed);
        }
        let series = draft.series(&self.key);
        let kept = self.instances().admit(instance, &series)?;
        let beyond = draft.retain(&kept);
        if beyond > 0 && draft.points() == 0 {
            return Err(PushRefusal::TooManySeries);
        }
        self.ledger.left_out(LeftOut::NotSubscribed, foreign as u64);
        self.ledger.left_out(LeftOut::TooManySeries, beyond as u64);
        Ok(draft.finish())
    }
}

fn refusal(error: MessageError) -> PushRefusal {
    tracing::debug!(%error, "metrics of a client cannot be taken as they are");
    match error {
        MessageError::TooManySeries { .. } => PushRefusal::TooManySeries,
        MessageError::NotCumulative => PushRefusal::NotCumulative,
        _ => PushRefusal::Invalid,
    }
}

/// The plain bytes of `metrics`, at most `limit`.
pub(super) fn decompressed(
    codec: u8,
    metrics: &[u8],
    limit: usize,
) -> Result<Vec<u8>, PushRefusal> {
    let plain = open(codec, metrics).map_err(|_| PushRefusal::Invalid)?;
    let mut whole = Vec::with_capacity(metrics.len().saturating_mul(4).min(limit));
    // One byte more than allowed tells that there is more.
    let read = plain.take(limit as u64 + 1).read_to_end(&mut whole);
    if whole.len() > limit {
        return Err(PushRefusal::TooLarge);
    }
    read.map(|_| whole).map_err(|_| PushRefusal::Invalid)
}
