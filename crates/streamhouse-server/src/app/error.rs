//! Why a server does not start, or ends badly. Every message says what to do.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use streamhouse_kafka::KafkaError;
use streamhouse_metadata::MetadataError;
use streamhouse_storage::Unowned;
use streamhouse_storage::object_store::OpenError;

/// Why the server did not start, or did not end well.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Telemetry cannot start as it is configured.
    #[error("telemetry: {0}")]
    Telemetry(#[from] streamhouse_observability::StartError),
    /// An OpenTelemetry variable or setting makes no sense.
    #[error("{0}")]
    TelemetryConfig(#[from] streamhouse_observability::ConfigError),
    /// The data directory cannot be used.
    #[error("cannot use the data directory {}: {reason}; choose another with --data-dir", .path.display())]
    DataDir {
        /// The directory.
        path: PathBuf,
        /// What the operating system said.
        reason: String,
    },
    /// The object store cannot be opened.
    #[error(transparent)]
    ObjectStore(#[from] OpenError),
    /// The object store is another cluster's.
    #[error(transparent)]
    Owner(#[from] Unowned),
    /// The metadata store cannot be opened.
    #[error("{}", metadata(.path, .source))]
    Metadata {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: MetadataError,
    },
    /// A port cannot be listened on.
    #[error("cannot listen on {addr}: {reason}; stop what listens there, or choose with {flag}")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// What the operating system said.
        reason: String,
        /// The flag that changes it.
        flag: &'static str,
    },
    /// The Kafka port is not served any more.
    #[error("the Kafka port is not served any more: {0}; restart the server")]
    Kafka(String),
    /// The admin port cannot be served.
    #[error("the admin port cannot be served: {0}; free threads and file descriptors")]
    Admin(String),
    /// What was under way was not finished in time.
    #[error("shutdown took longer than {seconds} s; batches that were not acknowledged are lost")]
    Shutdown {
        /// How long it was waited for.
        seconds: u64,
    },
}

/// What the metadata store said, with its file, which it names itself where the file is the matter.
fn metadata(path: &Path, source: &MetadataError) -> String {
    let (path, said) = (path.display().to_string(), source.to_string());
    if said.contains(&path) { said } else { format!("metadata store {path}: {said}") }
}

impl From<KafkaError> for StartError {
    fn from(error: KafkaError) -> Self {
        Self::Kafka(error.to_string())
    }
}
