//! The object store: one narrow trait, a backend for each kind of store, decorators around them.
//!
//! [`open`] makes a store from its URL. S3 comes as `Resilient(Metered(S3Store))`, so that each
//! repetition counts as the request that it is; a directory and memory as `Metered(store)`, because
//! what failed on a disk must be written anew under a new name, which only the caller can do.
//!
//! Invariant: nothing calls a backend but through [`Metered`]; otherwise a request is not counted.

mod config;
mod local;
mod memory;
mod metered;
mod name;
mod resilient;
mod s3;

pub use config::{ObjectStoreConfig, ObjectStoreUrl, OpenError, S3Config, Secret, open};
pub use local::LocalStore;
pub use memory::MemoryStore;
pub use metered::{Deadlines, Metered};
pub use resilient::{Budgets, Resilient};
pub use s3::S3Store;

use crate::error::StoreError;
use async_trait::async_trait;
use bytes::Bytes;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// How many objects a listing returns at most.
pub const LIST_LIMIT: usize = 1_000;

/// What is known about a stored object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectMeta {
    /// Its name.
    pub name: String,
    /// Its size in bytes.
    pub size: u64,
}

/// A flat namespace of immutable objects.
///
/// Names are `/`-separated paths of `[A-Za-z0-9._-]`. An object is written once under a fresh
/// name; writing the same bytes again under the same name is allowed and harmless.
/// Dropping a call's future abandons it; it may still take effect.
#[async_trait]
pub trait ObjectStore: fmt::Debug + Send + Sync + 'static {
    /// Stores the concatenation of `body`, durably, before it returns.
    async fn put(&self, name: &str, body: &[Bytes]) -> Result<(), StoreError>;
    /// Reads exactly `range`; one that is empty or leaves the object is an error.
    async fn get(&self, name: &str, range: Range<u64>) -> Result<Bytes, StoreError>;
    /// Size and existence.
    async fn head(&self, name: &str) -> Result<ObjectMeta, StoreError>;
    /// At most a thousand objects under `prefix` whose names come after `after`, by name.
    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Vec<ObjectMeta>, StoreError>;
    /// Deletes an object; one that does not exist is no error.
    async fn delete(&self, name: &str) -> Result<(), StoreError>;
}

#[async_trait]
impl<S: ObjectStore + ?Sized> ObjectStore for Arc<S> {
    async fn put(&self, name: &str, body: &[Bytes]) -> Result<(), StoreError> {
        (**self).put(name, body).await
    }

    async fn get(&self, name: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        (**self).get(name, range).await
    }

    async fn head(&self, name: &str) -> Result<ObjectMeta, StoreError> {
        (**self).head(name).await
    }

    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Vec<ObjectMeta>, StoreError> {
        (**self).list(prefix, after).await
    }

    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        (**self).delete(name).await
    }
}
