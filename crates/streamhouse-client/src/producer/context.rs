//! What librdkafka calls back.

use super::delivery::Pending;
use super::subject;
use crate::connection::Events;
use crate::record::Delivery;
use crate::telemetry::Instruments;
use rdkafka::client::{ClientContext, OAuthToken};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::producer::{DeliveryResult, ProducerContext};
use rdkafka::statistics::Statistics;
use std::error::Error;
use std::sync::Arc;

/// Hears of deliveries; everything else goes on to the user's own context.
pub(super) struct Deliveries<C> {
    pub(super) inner: C,
    pub(super) events: Events,
    pub(super) instruments: Arc<Instruments>,
}

impl<C: ClientContext> ClientContext for Deliveries<C> {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = C::ENABLE_REFRESH_OAUTH_TOKEN;

    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        self.inner.log(level, facility, line);
    }

    fn stats(&self, statistics: Statistics) {
        self.inner.stats(statistics);
    }

    fn stats_raw(&self, statistics: &[u8]) {
        self.inner.stats_raw(statistics);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.inner.error(error, reason);
    }

    fn generate_oauth_token(&self, config: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        self.inner.generate_oauth_token(config)
    }
}

impl<C: ClientContext + 'static> ProducerContext for Deliveries<C> {
    type DeliveryOpaque = Arc<Pending>;

    fn delivery(&self, result: &DeliveryResult<'_>, pending: Arc<Pending>) {
        let result = match result {
            Ok(message) => Ok(delivered(message.partition(), message.offset())),
            Err((error, message)) => {
                let subject = subject(message.topic(), Some(message.partition()), error);
                Err(self.events.explain("producing", &subject, error))
            }
        };
        pending.tell(&self.instruments, result);
    }
}

/// A delivery as librdkafka tells it.
pub(super) fn delivered(partition: i32, offset: i64) -> Delivery {
    Delivery { partition, offset: (offset >= 0).then_some(offset) }
}
