//! A store in memory: for tests, and for trying the system without a disk.

use super::{LIST_LIMIT, ObjectMeta, ObjectStore, name};
use crate::error::StoreError;
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Bound, Range};
use std::sync::{Mutex, MutexGuard, PoisonError};
use streamhouse_observability::labels::{self, Operation};

/// Keeps objects in memory. They are gone when it is dropped.
#[derive(Default)]
pub struct MemoryStore {
    objects: Mutex<BTreeMap<String, Bytes>>,
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").field("objects", &self.lock().len()).finish()
    }
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Bytes>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, operation: Operation, name: &str) -> Result<Bytes, StoreError> {
        let missing =
            || StoreError::new(operation, name, labels::StoreError::NotFound, "it does not exist");
        self.lock().get(name).cloned().ok_or_else(missing)
    }
}

#[async_trait]
impl ObjectStore for MemoryStore {
    async fn put(&self, name: &str, body: &[Bytes]) -> Result<(), StoreError> {
        name::check(Operation::Put, name)?;
        let mut object = BytesMut::with_capacity(body.iter().map(Bytes::len).sum());
        body.iter().for_each(|part| object.extend_from_slice(part));
        self.lock().insert(name.to_owned(), object.freeze());
        Ok(())
    }

    async fn get(&self, name: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        name::check(Operation::Get, name)?;
        name::check_range(name, &range)?;
        let object = self.find(Operation::Get, name)?;
        let within = |at: u64| usize::try_from(at).ok().filter(|at| *at <= object.len());
        match (within(range.start), within(range.end)) {
            (Some(start), Some(end)) if start <= end => {
                // A copy, so that a small part does not keep a large object alive.
                Ok(Bytes::copy_from_slice(&object[start..end]))
            }
            _ => Err(StoreError::out_of_range(name, &range, object.len() as u64)),
        }
    }

    async fn head(&self, name: &str) -> Result<ObjectMeta, StoreError> {
        name::check(Operation::Head, name)?;
        let object = self.find(Operation::Head, name)?;
        Ok(ObjectMeta { name: name.to_owned(), size: object.len() as u64 })
    }

    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Vec<ObjectMeta>, StoreError> {
        name::check_prefix(prefix)?;
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let objects = self.lock();
        let found = objects
            .range::<str, _>((from, Bound::Unbounded))
            .take_while(|(name, _)| name.starts_with(prefix))
            .take(LIST_LIMIT)
            .map(|(name, object)| ObjectMeta { name: name.clone(), size: object.len() as u64 })
            .collect();
        Ok(found)
    }

    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        name::check(Operation::Delete, name)?;
        self.lock().remove(name);
        Ok(())
    }
}
