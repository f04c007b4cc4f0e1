//! Records as values of their own.

use crate::error::ClientError;
use crate::record::{Header, Received};
use crate::telemetry::readable;
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use std::sync::{Arc, Mutex, PoisonError};

/// The name of the last record's topic, so that it is not copied for each.
#[derive(Debug, Default)]
pub(super) struct LastTopic(Mutex<Option<Arc<str>>>);

impl LastTopic {
    fn of(&self, name: &str) -> Arc<str> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some(known) if **known == *name => known.clone(),
            _ => last.insert(name.into()).clone(),
        }
    }

    /// A copy of `message`.
    ///
    /// # Errors
    /// [`ClientError::Invalid`]: its headers cannot be told.
    pub(super) fn received(&self, message: &BorrowedMessage<'_>) -> Result<Received, ClientError> {
        let Some(headers) = readable(|| headers(message)) else {
            return Err(ClientError::Invalid(format!(
                "record {} of partition {} of topic {:?} has a header whose name is not UTF-8: \
                 its producer must be mended; reading goes on behind it",
                message.offset(),
                message.partition(),
                message.topic(),
            )));
        };
        Ok(Received {
            topic: self.of(message.topic()),
            partition: message.partition(),
            offset: message.offset(),
            timestamp_ms: message.timestamp().to_millis(),
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            headers,
        })
    }
}

fn headers(message: &BorrowedMessage<'_>) -> Vec<Header> {
    let copy = |header: rdkafka::message::Header<'_, &[u8]>| Header {
        key: header.key.to_owned(),
        value: header.value.map(<[u8]>::to_vec),
    };
    message.headers().map_or_else(Vec::new, |headers| headers.iter().map(copy).collect())
}
