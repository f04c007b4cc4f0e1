//! What a client is asked for.

use super::config::ClientTelemetryConfig;
use kafka_protocol::protocol::StrBytes;
use std::time::Duration;

/// Which metrics, and how often.
#[derive(Debug)]
pub(crate) struct Subscription {
    /// The same for the same subscription, on every agent: a client may push to another one.
    pub id: i32,
    pub interval: Duration,
    /// Prefixes of names.
    pub metrics: Vec<StrBytes>,
}

impl Subscription {
    /// A subscription to the metrics whose names begin with one of `prefixes`.
    pub fn new(config: &ClientTelemetryConfig, prefixes: &[String]) -> Self {
        let interval = config.interval;
        let mut hash = Fnv::default();
        hash.write(&interval.as_millis().to_be_bytes());
        hash.write(&config.max_push_bytes.to_be_bytes());
        for prefix in prefixes {
            hash.write(&prefix.len().to_be_bytes());
            hash.write(prefix.as_bytes());
        }
        let metrics = prefixes.iter().map(|prefix| StrBytes::from_string(prefix.clone()));
        Self { id: hash.0 as i32, interval, metrics: metrics.collect() }
    }
}

/// FNV-1a in 32 bits: the same in every build, which the standard hasher does not promise.
struct Fnv(u32);

impl Default for Fnv {
    fn default() -> Self {
        Self(0x811c_9dc5)
    }
}

impl Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
        }
    }
}
