//! Records as values of their own.

use crate::record::{Header, Received};
use crate::telemetry::readable;
use rdkafka::message::{BorrowedMessage, Headers, Message as _};
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
    pub(super) fn received(&self, message: &BorrowedMessage<'_>) -> Received {
        let all: Vec<_> = message.headers().map_or_else(Vec::new, |headers| {
            (0..headers.count()).map(|at| header(headers, at)).collect()
        });
        Received {
            topic: self.of(message.topic()),
            partition: message.partition(),
            offset: message.offset(),
            timestamp_ms: message.timestamp().to_millis(),
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            unreadable_headers: all.iter().filter(|header| header.is_none()).count(),
            headers: all.into_iter().flatten().collect(),
        }
    }
}

/// A copy of the header `at`, if it can be read.
fn header(headers: &impl Headers, at: usize) -> Option<Header> {
    let header = readable(|| headers.try_get(at))??;
    Some(Header { key: header.key.to_owned(), value: header.value.map(<[u8]>::to_vec) })
}
