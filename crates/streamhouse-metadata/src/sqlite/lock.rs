//! One process per store: a lock on a file beside the database.

use crate::error::MetadataError;
use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

/// Held while the store is open. The system gives it up when the process ends, however it ends.
#[derive(Debug)]
pub(super) struct Lock {
    // Declared first: unlocked before the directory goes.
    _file: File,
    _directory: Option<TempDirectory>,
}

/// A directory that goes with its owner.
#[derive(Debug)]
pub(super) struct TempDirectory(pub(super) PathBuf);

impl Drop for TempDirectory {
    fn drop(&mut self) {
        // What is left behind lies in the system's temporary directory.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl Lock {
    /// Takes the lock of the database at `path`, at once or not at all.
    pub(super) fn take(
        path: &Path,
        directory: Option<TempDirectory>,
    ) -> Result<Self, MetadataError> {
        let mut name = path.as_os_str().to_owned();
        name.push(".lock");
        let name = PathBuf::from(name);
        let refused = |error: std::io::Error| {
            MetadataError::Refused(format!(
                "cannot lock metadata store {}: {error}; check that the directory exists and is \
                 writable",
                path.display()
            ))
        };
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&name)
            .map_err(refused)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file, _directory: directory }),
            Err(TryLockError::WouldBlock) => Err(MetadataError::Refused(format!(
                "metadata store {} is in use by another process; stop it or choose another \
                 directory",
                path.display()
            ))),
            Err(TryLockError::Error(error)) => Err(refused(error)),
        }
    }
}
