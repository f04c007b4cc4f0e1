//! A delivery of a producer that somebody else has made: it is seen where it is awaited.

use super::context::delivered;
use super::delivery::Pending;
use super::subject;
use crate::connection::Events;
use crate::error::ClientError;
use crate::record::Delivery;
use crate::telemetry::Telemetry;
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::producer::future_producer::DeliveryFuture;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

pub(super) struct Watched {
    inner: DeliveryFuture,
    pending: Option<Arc<Pending>>,
    telemetry: Telemetry,
    events: Events,
}

impl Watched {
    pub(super) fn new(
        inner: DeliveryFuture,
        pending: Arc<Pending>,
        telemetry: Telemetry,
        events: Events,
    ) -> Self {
        Self { inner, pending: Some(pending), telemetry, events }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Delivery, ClientError>> {
        let explain =
            |subject: &str, error: &KafkaError| self.events.explain("producing", subject, error);
        let result = match ready!(Pin::new(&mut self.inner).poll(cx)) {
            Ok(Ok(delivery)) => Ok(delivered(delivery.partition, delivery.offset)),
            Ok(Err((error, record))) => {
                let subject = subject(record.topic(), Some(record.partition()), &error);
                Err(explain(&subject, &error))
            }
            Err(_producer_dropped) => Err(explain("the topic", &KafkaError::Canceled)),
        };
        if let Some(pending) = self.pending.take() {
            pending.underway.end(&self.telemetry.instruments, &result);
        }
        Poll::Ready(result)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Some(pending) = self.pending.take() {
            pending.underway.end_unseen(&self.telemetry.instruments);
        }
    }
}
