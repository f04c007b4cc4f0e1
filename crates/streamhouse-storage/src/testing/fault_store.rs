use super::faults::{Fault, Faults};
use crate::error::StoreError;
use crate::object_store::{ObjectMeta, ObjectStore};
use async_trait::async_trait;
use bytes::Bytes;
use std::future::pending;
use std::ops::Range;
use streamhouse_observability::labels::{self, Operation};

/// Passes calls on, unless [`Faults`] says otherwise. Deadlines are the callers': a call that
/// hangs does so until it is dropped.
#[derive(Debug)]
pub struct FaultStore<S> {
    inner: S,
    faults: Faults,
}

impl<S: ObjectStore> FaultStore<S> {
    /// Puts `faults` in front of `inner`.
    pub fn new(inner: S, faults: Faults) -> Self {
        Self { inner, faults }
    }

    /// The store behind the faults.
    pub fn inner(&self) -> &S {
        &self.inner
    }

    /// Makes the call that `apply` is, with `fault`.
    async fn suffer<T>(
        fault: Option<Fault>,
        operation: Operation,
        object: &str,
        apply: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        match fault {
            None | Some(Fault::Hold) => apply.await,
            Some(Fault::Hang) => pending().await,
            Some(Fault::AppliedHang) => {
                let _ = apply.await;
                pending().await
            }
            Some(Fault::ReplyLost) => {
                let _ = apply.await;
                Err(failure(operation, object, Fault::ReplyLost))
            }
            Some(fault) => Err(failure(operation, object, fault)),
        }
    }
}

fn failure(operation: Operation, object: &str, fault: Fault) -> StoreError {
    let class = fault.class(operation).unwrap_or(labels::StoreError::Invalid);
    StoreError::new(operation, object, class, format!("injected fault {fault:?}"))
}

/// The first half of `body`, as a write that was cut off leaves it.
fn first_half(body: &[Bytes]) -> Vec<Bytes> {
    let mut left = body.iter().map(Bytes::len).sum::<usize>() / 2;
    let mut half = Vec::new();
    for part in body {
        let taken = left.min(part.len());
        half.push(part.slice(..taken));
        left -= taken;
    }
    half
}

/// The same bytes, one of them changed.
fn damaged(bytes: Bytes) -> Bytes {
    let mut copy = bytes.to_vec();
    let middle = copy.len() / 2;
    if let Some(byte) = copy.get_mut(middle) {
        *byte ^= 1;
    }
    copy.into()
}

#[async_trait]
impl<S: ObjectStore> ObjectStore for FaultStore<S> {
    async fn put(&self, name: &str, body: &[Bytes]) -> Result<(), StoreError> {
        let fault = self.faults.strike(Operation::Put).await;
        if fault == Some(Fault::Torn) {
            self.inner.put(name, &first_half(body)).await?;
        }
        Self::suffer(fault, Operation::Put, name, self.inner.put(name, body)).await
    }

    async fn get(&self, name: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        let fault = self.faults.strike(Operation::Get).await;
        if fault == Some(Fault::Torn) {
            return self.inner.get(name, range).await.map(damaged);
        }
        Self::suffer(fault, Operation::Get, name, self.inner.get(name, range)).await
    }

    async fn head(&self, name: &str) -> Result<ObjectMeta, StoreError> {
        let fault = self.faults.strike(Operation::Head).await;
        Self::suffer(fault, Operation::Head, name, self.inner.head(name)).await
    }

    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Vec<ObjectMeta>, StoreError> {
        let fault = self.faults.strike(Operation::List).await;
        Self::suffer(fault, Operation::List, prefix, self.inner.list(prefix, after)).await
    }

    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        let fault = self.faults.strike(Operation::Delete).await;
        Self::suffer(fault, Operation::Delete, name, self.inner.delete(name)).await
    }
}
