//! From configuration to the stores.

use super::error::StartError;
use crate::config::{Config, MetadataUrl, ObjectStoreUrl, Secret as Shown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use streamhouse_metadata::{MetadataStore, SqliteOptions, SqliteStore};
use streamhouse_storage::object_store::{
    ObjectStore, ObjectStoreConfig, ObjectStoreUrl as Url, S3Config, Secret,
};
use streamhouse_storage::{Clock, GarbageConfig, Ownership, Unowned, WriterConfig};

/// How long a start waits for the object store to tell whose it is.
const CLAIM: Duration = Duration::from_secs(3);

/// What the object store is opened with.
pub(super) fn object_store(config: &Config) -> ObjectStoreConfig {
    let hidden = |secret: &Option<Shown>| secret.as_ref().map(|text| Secret::new(text.reveal()));
    let url = match &config.place.object_store {
        ObjectStoreUrl::DataDir => Url::Local(config.place.data_dir.join("objects")),
        ObjectStoreUrl::At(url) => url.clone(),
    };
    let s3 = S3Config {
        endpoint: config.s3.endpoint.clone(),
        region: config.s3.region.clone(),
        access_key_id: hidden(&config.s3.access_key_id),
        secret_access_key: hidden(&config.s3.secret_access_key),
        session_token: hidden(&config.s3.session_token),
        virtual_hosted: config.s3.virtual_hosted,
    };
    ObjectStoreConfig { s3, put_budget: config.writer.put_timeout, ..ObjectStoreConfig::new(url) }
}

/// How the writer pool of agent number `agent` makes segments of batches.
pub(super) fn writer(config: &Config, url: &Url, agent: i32, clock: Clock) -> WriterConfig {
    let defaults = match url {
        Url::S3 { .. } => WriterConfig::s3(agent),
        Url::Local(_) | Url::Memory => WriterConfig::local(agent),
    };
    let writer = &config.writer;
    WriterConfig {
        linger: writer.linger.unwrap_or(defaults.linger),
        put_slots: writer.puts.unwrap_or(defaults.put_slots),
        segment_bytes: writer.segment_size.as_usize(),
        // The store's own deadline is to end first: it knows, and counts, what went wrong.
        put_budget: writer.put_timeout + Duration::from_secs(1),
        clock,
        ..defaults
    }
}

/// How agent number `agent` collects garbage.
pub(super) fn garbage(config: &Config, agent: i32) -> GarbageConfig {
    let garbage = &config.garbage;
    GarbageConfig {
        grace: garbage.grace.0,
        interval: garbage.interval.0,
        sweep: garbage.sweep.0,
        orphans: garbage.orphans,
        ..GarbageConfig::new(agent)
    }
}

/// Marks the object store as the cluster's, and warns when its orphans cannot be deleted. Whoever
/// deletes them asks again, so a store that does not answer holds no start up.
///
/// # Errors
/// The object store is another cluster's.
pub(super) async fn claim(
    objects: &Arc<dyn ObjectStore>,
    metadata: &Arc<dyn MetadataStore>,
) -> Result<(), StartError> {
    let claim = async { Ownership::new(objects.clone(), metadata.clone()).await?.claim().await };
    match tokio::time::timeout(CLAIM, claim).await {
        Ok(Ok(())) => {}
        Ok(Err(foreign @ Unowned::Foreign { .. })) => return Err(foreign.into()),
        Ok(Err(reason)) => tracing::warn!(%reason, "orphans are not deleted"),
        Err(_) => {
            let seconds = CLAIM.as_secs();
            tracing::warn!(seconds, "the object store did not tell in time whose it is");
        }
    }
    Ok(())
}

/// Opens the metadata store.
pub(super) async fn metadata(config: &Config) -> Result<SqliteStore, StartError> {
    let path = match &config.place.metadata {
        MetadataUrl::DataDir => config.place.data_dir.join("metadata.db"),
        MetadataUrl::Sqlite(path) => path.clone(),
    };
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        make(folder)?;
    }
    let opened = SqliteStore::open(&path, SqliteOptions::default()).await;
    opened.map_err(|source| StartError::Metadata { path, source })
}

fn make(folder: &Path) -> Result<(), StartError> {
    std::fs::create_dir_all(folder).map_err(|error| StartError::DataDir {
        path: PathBuf::from(folder),
        reason: error.to_string(),
    })
}

/// How long each part of a shutdown may take: the drain of connections, then the writer.
pub(super) fn budgets(whole: Duration) -> (Duration, Duration) {
    (whole * 2 / 3, whole / 3)
}
