//! A directory as an object store.

mod list;
mod write;

use super::{LIST_LIMIT, ObjectMeta, ObjectStore, name};
use crate::error::StoreError;
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use streamhouse_observability::labels::{self, Operation};

/// Keeps each object as a file under a directory.
///
/// A PUT creates the file under its final name, writes it, and syncs file and directories in
/// parallel before it returns. A crash may leave a torn file under a name that nobody has been
/// told of: the index is the truth, not the directory.
///
/// Invariant: a file is never written twice. A PUT whose write or sync failed removes its file; the
/// kernel may have forgotten which of its pages are not on disk, so nothing is retried on it.
#[derive(Clone, Debug)]
pub struct LocalStore {
    root: Arc<Path>,
    writer: write::Writer,
}

impl LocalStore {
    /// Opens the directory `root`, which is created where it is missing.
    ///
    /// # Errors
    /// The directory cannot be created or synced.
    pub fn open(root: impl Into<PathBuf>) -> io::Result<Self> {
        let root: PathBuf = std::path::absolute(root.into())?;
        write::create_directories(&root)?;
        Ok(Self { root: root.into(), writer: write::Writer::default() })
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Runs `work` where it may block.
    async fn blocking<T: Send + 'static>(
        &self,
        operation: Operation,
        name: &str,
        work: impl FnOnce(&Path, &str) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (root, object) = (self.root.clone(), name.to_owned());
        match tokio::task::spawn_blocking(move || work(&root, &object)).await {
            Ok(result) => result,
            Err(error) => {
                let class = labels::StoreError::Server;
                Err(StoreError::new(operation, name, class, error.to_string()))
            }
        }
    }
}

/// What went wrong with a file, as an error of the store.
fn failed(operation: Operation, object: &str, error: &io::Error) -> StoreError {
    use io::ErrorKind as Kind;
    let class = match error.kind() {
        Kind::StorageFull | Kind::QuotaExceeded | Kind::FileTooLarge => labels::StoreError::Full,
        Kind::PermissionDenied | Kind::ReadOnlyFilesystem => labels::StoreError::Denied,
        Kind::NotFound | Kind::NotADirectory | Kind::IsADirectory => labels::StoreError::NotFound,
        Kind::InvalidInput | Kind::InvalidFilename | Kind::AlreadyExists => {
            labels::StoreError::Invalid
        }
        Kind::TimedOut => labels::StoreError::Timeout,
        _ => labels::StoreError::Server,
    };
    StoreError::new(operation, object, class, error.to_string())
}

fn read(root: &Path, object: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
    let failed = |error| failed(Operation::Get, object, &error);
    let file = File::open(root.join(object)).map_err(failed)?;
    let found = file.metadata().map_err(failed)?;
    if !found.is_file() {
        return Err(failed(io::ErrorKind::NotFound.into()));
    }
    // The size is asked for first, so that an absurd range allocates nothing.
    let length = usize::try_from(range.end.saturating_sub(range.start)).ok();
    let Some(length) = length.filter(|_| range.end <= found.len()) else {
        return Err(StoreError::out_of_range(object, &range, found.len()));
    };
    let mut bytes = BytesMut::zeroed(length);
    file.read_exact_at(&mut bytes, range.start).map_err(failed)?;
    Ok(bytes.freeze())
}

fn size(root: &Path, object: &str) -> Result<ObjectMeta, StoreError> {
    let failed = |error| failed(Operation::Head, object, &error);
    let found = fs::metadata(root.join(object)).map_err(failed)?;
    if !found.is_file() {
        return Err(failed(io::ErrorKind::NotFound.into()));
    }
    Ok(ObjectMeta { name: object.to_owned(), size: found.len() })
}

fn remove(root: &Path, object: &str) -> Result<(), StoreError> {
    let path = root.join(object);
    match fs::remove_file(&path) {
        Ok(()) => {}
        Err(error) => {
            let error = failed(Operation::Delete, object, &error);
            if error.class == labels::StoreError::NotFound {
                return Ok(());
            }
            return Err(error);
        }
    }
    // Directories that have become empty go too; one in use refuses, which ends the walk.
    let parents = path.ancestors().skip(1).take_while(|parent| *parent != root);
    for parent in parents {
        if fs::remove_dir(parent).is_err() {
            break;
        }
    }
    Ok(())
}

#[async_trait]
impl ObjectStore for LocalStore {
    async fn put(&self, name: &str, body: &[Bytes]) -> Result<(), StoreError> {
        name::check(Operation::Put, name)?;
        self.writer.put(&self.root, name, body).await
    }

    async fn get(&self, name: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        name::check(Operation::Get, name)?;
        name::check_range(name, &range)?;
        self.blocking(Operation::Get, name, |root, name| read(root, name, range)).await
    }

    async fn head(&self, name: &str) -> Result<ObjectMeta, StoreError> {
        name::check(Operation::Head, name)?;
        self.blocking(Operation::Head, name, size).await
    }

    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Vec<ObjectMeta>, StoreError> {
        name::check_prefix(prefix)?;
        let after = after.map(str::to_owned);
        let work = move |root: &Path, prefix: &str| {
            list::list(root, prefix, after.as_deref(), LIST_LIMIT)
                .map_err(|error| failed(Operation::List, prefix, &error))
        };
        self.blocking(Operation::List, prefix, work).await
    }

    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        name::check(Operation::Delete, name)?;
        self.blocking(Operation::Delete, name, remove).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_has_a_class_of_its_own() {
        let class = |code| failed(Operation::Put, "a", &io::Error::from_raw_os_error(code)).class;
        assert_eq!(class(libc_code::ENOSPC), labels::StoreError::Full);
        assert_eq!(class(libc_code::EDQUOT), labels::StoreError::Full);
        assert_eq!(class(libc_code::EACCES), labels::StoreError::Denied);
        assert_eq!(class(libc_code::EROFS), labels::StoreError::Denied);
        assert_eq!(class(libc_code::EIO), labels::StoreError::Server);
    }

    /// Numbers of Linux.
    mod libc_code {
        pub const EIO: i32 = 5;
        pub const EACCES: i32 = 13;
        pub const ENOSPC: i32 = 28;
        pub const EROFS: i32 = 30;
        pub const EDQUOT: i32 = 122;
    }
}
