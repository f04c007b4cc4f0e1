//! The list of health checks.

use async_trait::async_trait;
use bytes::Bytes;
use std::sync::Arc;
use streamhouse_metadata::MetadataStore;
use streamhouse_observability::declare::ClosedLabel as _;
use streamhouse_observability::health::Check;
use streamhouse_observability::labels::Component;
use streamhouse_storage::object_store::ObjectStore;
use streamhouse_storage::{Cache, WriterPool};

/// Everything that is probed.
pub(crate) fn checks(
    metadata: Arc<dyn MetadataStore>,
    objects: Arc<dyn ObjectStore>,
    cache: Cache,
    writer: WriterPool,
) -> Vec<Arc<dyn Check>> {
    vec![
        Arc::new(MetadataCheck(metadata)),
        Arc::new(StoreCheck(objects)),
        Arc::new(cache),
        Arc::new(writer),
    ]
}

/// What the probe writes, always the same under the same name: a store that can be read but not
/// written is no place for a log.
const PROBE: (&str, Bytes) = ("health/probe", Bytes::from_static(b"StreamHouse can write here"));

struct MetadataCheck(Arc<dyn MetadataStore>);

#[async_trait]
impl Check for MetadataCheck {
    fn component(&self) -> Component {
        Component::MetadataStore
    }

    fn required(&self) -> bool {
        true
    }

    async fn probe(&self) -> Result<(), String> {
        self.0.ping().await.map_err(|error| error.class().as_str().to_owned())
    }
}

struct StoreCheck(Arc<dyn ObjectStore>);

#[async_trait]
impl Check for StoreCheck {
    fn component(&self) -> Component {
        Component::ObjectStore
    }

    fn required(&self) -> bool {
        true
    }

    async fn probe(&self) -> Result<(), String> {
        let (name, body) = PROBE;
        self.0.put(name, &[body]).await.map_err(|error| error.class.as_str().to_owned())
    }
}
