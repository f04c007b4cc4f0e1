//! Parts whose health is told apart.

use crate::declare::ClosedLabel;

/// A part that is probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Component {
    /// Where offsets are committed.
    MetadataStore,
    /// Where segments are kept.
    ObjectStore,
    /// Blocks kept in memory.
    Cache,
    /// The way of every record to the object store.
    WriterPool,
    /// Export of signals.
    Telemetry,
}

impl ClosedLabel for Component {
    const KEY: &'static str = "component";
    const ALL: &'static [Self] =
        &[Self::MetadataStore, Self::ObjectStore, Self::Cache, Self::WriterPool, Self::Telemetry];

    fn as_str(self) -> &'static str {
        match self {
            Self::MetadataStore => "metadata_store",
            Self::ObjectStore => "object_store",
            Self::Cache => "cache",
            Self::WriterPool => "writer_pool",
            Self::Telemetry => "telemetry",
        }
    }

    fn index(self) -> usize {
        self as usize
    }
}
