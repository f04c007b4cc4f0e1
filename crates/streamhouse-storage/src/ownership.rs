//! Which cluster an object store belongs to.
//!
//! An object that the metadata store does not know is an orphan only where no other metadata store
//! knows it: not on a prefix that two clusters share, not after the metadata was lost or restored
//! from an old copy. So a cluster marks its object store, and orphans are deleted only under its
//! own mark:
//!
//! - `cluster/ID/id`: the cluster `ID` stores its segments here;
//! - `cluster/ID/swept-FLOOR`: it deleted orphans below this floor (ms since the epoch). A metadata
//!   store whose floor lies below is older than that: it was restored;
//! - `cluster/ID/held`: no orphan is deleted until an operator deletes this object.
//!
//! Each is written once under its name, so that two clusters never overwrite each other's marks.

use crate::error::StoreError;
use crate::object_store::ObjectStore;
use crate::segment::SegmentName;
use bytes::Bytes;
use std::sync::Arc;
use streamhouse_metadata::{MetadataError, MetadataStore};
use uuid::Uuid;

/// Below which name all marks lie. Segments lie below two hexadecimal digits.
const MARKS: &str = "cluster/";
/// How many pages of names are looked at to tell whose segments a store without a mark holds.
const PAGES: usize = 10;
/// What is asked to read the floor without raising it.
const NO_RISE: i64 = i64::MAX;

/// Why no orphan may be deleted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unowned {
    /// The object store carries the mark of another cluster.
    #[error(
        "this object store belongs to cluster {other}, the metadata store is of cluster {cluster}; \
         start with the metadata store of {other}, or choose another bucket, prefix or directory; \
         if {other} is gone for good, delete its segments and the objects below cluster/{other}/"
    )]
    Foreign {
        /// Whose metadata store it is.
        cluster: Uuid,
        /// Whose object store it is.
        other: Uuid,
    },
    /// The metadata store is younger than the objects, or older than what it knew once.
    #[error(
        "the object store holds segments that the metadata store may have known once: it is new, \
         or was restored from an old copy; objects that were never committed are kept. Restore the \
         newest metadata; if all that it does not know may be deleted for good, delete the object \
         {object}"
    )]
    Held {
        /// What holds the deletion.
        object: String,
    },
    /// The metadata store failed.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// The object store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A cluster's claim to an object store.
#[derive(Debug)]
pub struct Ownership {
    store: Arc<dyn ObjectStore>,
    metadata: Arc<dyn MetadataStore>,
    cluster: Uuid,
    /// The floor before this process raised it; none once it was compared with the marks.
    found_floor: Option<u64>,
}

/// The marks that were found.
#[derive(Debug, Default)]
struct Marks {
    other: Option<Uuid>,
    is_marked: bool,
    is_held: bool,
    swept: Vec<(u64, String)>,
}

impl Ownership {
    /// Of the cluster of `metadata` to `store`. Make it before the floor is raised.
    ///
    /// # Errors
    /// The metadata store failed.
    pub async fn new(
        store: Arc<dyn ObjectStore>,
        metadata: Arc<dyn MetadataStore>,
    ) -> Result<Self, MetadataError> {
        let cluster = metadata.cluster_id().await?;
        let floor = metadata.raise_floor(NO_RISE).await?;
        let found_floor = Some(u64::try_from(floor).unwrap_or(0));
        Ok(Self { store, metadata, cluster, found_floor })
    }

    /// Marks the store where nobody did, and tells whether its orphans are this cluster's to delete.
    ///
    /// # Errors
    /// [`Unowned`]: they are not, or it cannot be told.
    /// # Cancel safety
    /// Dropping the future may leave some marks; the next call goes on.
    pub async fn claim(&mut self) -> Result<(), Unowned> {
        let mut marks = self.marks().await?;
        self.refuse_foreign(&marks)?;
        if !marks.is_marked {
            // The hold first: a mark alone says that all is well.
            if !self.is_plausible().await? {
                self.put("held").await?;
            }
            self.put("id").await?;
            // Another cluster may have done the same meanwhile: then each sees the other's mark.
            marks = self.marks().await?;
            self.refuse_foreign(&marks)?;
        }
        let swept = marks.swept.iter().map(|(floor, _)| *floor).max();
        if self.found_floor.is_some_and(|found| swept > Some(found)) {
            self.put("held").await?;
            marks.is_held = true;
        }
        self.found_floor = None;
        if marks.is_held { Err(Unowned::Held { object: self.name("held") }) } else { Ok(()) }
    }

    /// Notes that orphans below `floor_ms` are about to be deleted.
    ///
    /// # Errors
    /// The store failed: none may be deleted.
    pub(crate) async fn sweeping(&self, floor_ms: u64) -> Result<(), StoreError> {
        let before = self.marks().await?.swept;
        if before.iter().any(|(floor, _)| *floor >= floor_ms) {
            return Ok(());
        }
        self.put(&format!("swept-{floor_ms:015}")).await?;
        for (_, name) in before {
            // The greatest one counts: one that is left is deleted by the next sweep.
            let _ = self.store.delete(&name).await;
        }
        Ok(())
    }

    fn refuse_foreign(&self, marks: &Marks) -> Result<(), Unowned> {
        let cluster = self.cluster;
        marks.other.map_or(Ok(()), |other| Err(Unowned::Foreign { cluster, other }))
    }

    async fn marks(&self) -> Result<Marks, StoreError> {
        let mut marks = Marks::default();
        let mut after: Option<String> = None;
        loop {
            let page = self.store.list(MARKS, after.as_deref()).await?;
            let Some(last) = page.last() else { return Ok(marks) };
            after = Some(last.name.clone());
            for found in page {
                self.note(found.name, &mut marks);
            }
        }
    }

    fn note(&self, name: String, marks: &mut Marks) {
        let parts = name.strip_prefix(MARKS).and_then(|rest| rest.split_once('/'));
        let Some((cluster, mark)) = parts else { return };
        let Ok(cluster) = cluster.parse::<Uuid>() else { return };
        if cluster != self.cluster {
            marks.other = Some(cluster);
            return;
        }
        match mark {
            "id" => marks.is_marked = true,
            "held" => marks.is_held = true,
            _ => {
                let floor = mark.strip_prefix("swept-").and_then(|floor| floor.parse().ok());
                marks.swept.extend(floor.map(|floor| (floor, name)));
            }
        }
    }

    /// Whether a store without a mark can be this cluster's: it holds no segment, or the metadata
    /// store knows at least half of those that were looked at.
    async fn is_plausible(&self) -> Result<bool, Unowned> {
        let (mut segments, mut known) = (0, 0);
        let mut after: Option<String> = None;
        for _ in 0..PAGES {
            let page = self.store.list("", after.as_deref()).await?;
            let Some(last) = page.last() else { return Ok(known * 2 >= segments) };
            after = Some(last.name.clone());
            let ids = page.iter().filter_map(|found| found.name.parse::<SegmentName>().ok());
            let ids: Vec<_> = ids.map(|name| name.id).collect();
            segments += ids.len();
            known += self.metadata.is_known(&ids).await?.into_iter().filter(|known| *known).count();
        }
        // What was not seen may hold anything.
        Ok(segments > 0 && known * 2 >= segments)
    }

    fn name(&self, mark: &str) -> String {
        format!("{MARKS}{}/{mark}", self.cluster)
    }

    async fn put(&self, mark: &str) -> Result<(), StoreError> {
        let body = Bytes::from(format!("StreamHouse cluster {}\n", self.cluster));
        self.store.put(&self.name(mark), &[body]).await
    }
}
