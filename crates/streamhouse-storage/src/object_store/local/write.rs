use super::failed;
use crate::error::StoreError;
use bytes::Bytes;
use futures_util::future::{try_join, try_join_all};
use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, IoSlice, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use streamhouse_observability::labels::{self, Operation};
use tokio::task::spawn_blocking;

/// How often directories are made anew when a delete removes them in between.
const PATIENCE: usize = 8;
/// How many parts go into one system call.
const SLICES: usize = 64;

/// Writes files durably.
#[derive(Clone, Debug, Default)]
pub(super) struct Writer {
    /// Names whose file cannot be trusted: its PUT was dropped half-way, or failed and the file
    /// could not be removed. Both are rare, and a name is used once, so the set stays small.
    poisoned: Arc<Mutex<HashSet<String>>>,
}

/// A file whose bytes are written but not synced, and the directories to sync with it.
struct Written {
    file: File,
    directories: Vec<PathBuf>,
    /// Whether this call created the file.
    is_ours: bool,
}

impl Writer {
    pub(super) async fn put(
        &self,
        root: &Arc<Path>,
        object: &str,
        body: &[Bytes],
    ) -> Result<(), StoreError> {
        let poison = self.poison(object)?;
        let path = root.join(object);
        let (place, parts, base) = (path.clone(), body.to_vec(), root.clone());
        let result = match blocking(move || write(&base, &place, &parts)).await {
            Ok(written) => written.sync().await,
            Err(failure) => Err(failure),
        };
        let Err(Failure { error, is_ours }) = result else {
            poison.lift();
            return Ok(());
        };
        // Removed, the file cannot mislead a later PUT under its name, which makes a new one.
        if !is_ours || blocking(move || fs::remove_file(path)).await.is_ok() {
            poison.lift();
        }
        Err(failed(Operation::Put, object, &error))
    }

    /// Marks `object` as not to be trusted until the mark is lifted.
    fn poison<'a>(&'a self, object: &'a str) -> Result<Poison<'a>, StoreError> {
        let mut poisoned = self.poisoned.lock().unwrap_or_else(PoisonError::into_inner);
        if poisoned.insert(object.to_owned()) {
            return Ok(Poison { poisoned: &self.poisoned, object });
        }
        let message = "another write under this name failed or is under way; use a fresh name";
        Err(StoreError::new(Operation::Put, object, labels::StoreError::Invalid, message))
    }
}

struct Poison<'a> {
    poisoned: &'a Mutex<HashSet<String>>,
    object: &'a str,
}

impl Poison<'_> {
    fn lift(self) {
        self.poisoned.lock().unwrap_or_else(PoisonError::into_inner).remove(self.object);
    }
}

impl Written {
    async fn sync(self) -> Result<(), Failure> {
        let Self { file, directories, is_ours } = self;
        // All at once: the file system makes one commit of them.
        let file = blocking(move || file.sync_data());
        let directories = try_join_all(
            directories
                .into_iter()
                .map(|directory| blocking(move || File::open(directory)?.sync_all())),
        );
        match try_join(file, directories).await {
            Ok(_) => Ok(()),
            Err(error) => Err(Failure { error, is_ours }),
        }
    }
}

/// A failed write; `is_ours` when this call created the file.
struct Failure {
    error: io::Error,
    is_ours: bool,
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self { error, is_ours: false }
    }
}

/// Runs `work` where it may block. A panic in it or a shutdown is an error like another.
async fn blocking<T: Send + 'static, E: From<io::Error> + Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, E> {
    match spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(io::Error::other(error).into()),
    }
}

fn write(root: &Path, path: &Path, parts: &[Bytes]) -> Result<Written, Failure> {
    let parent = path.parent().unwrap_or(root);
    let mut directories = vec![parent.to_path_buf()];
    let file = match create(root, path, &mut directories) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return same(path, parts, directories);
        }
        other => other?,
    };
    match write_all(&file, parts) {
        Ok(()) => Ok(Written { file, directories, is_ours: true }),
        Err(error) => Err(Failure { error, is_ours: true }),
    }
}

/// Creates the file, and the directories above it that are missing; those whose entries changed
/// are added to `directories`.
fn create(root: &Path, path: &Path, directories: &mut Vec<PathBuf>) -> io::Result<File> {
    let mut result = File::create_new(path);
    for _ in 0..PATIENCE {
        match &result {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            _ => break,
        }
        let parents = path.ancestors().skip(1).take_while(|parent| parent.starts_with(root));
        let missing: Vec<&Path> = parents.take_while(|parent| !parent.is_dir()).collect();
        for directory in missing.iter().rev() {
            match fs::create_dir(directory) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                other => other?,
            }
        }
        // Also where another call was quicker: its sync may be still to come.
        directories.extend(missing.iter().filter_map(|made| made.parent()).map(Path::to_path_buf));
        result = File::create_new(path);
    }
    result
}

/// An object that is there already: the same bytes again are harmless, others are refused.
fn same(path: &Path, parts: &[Bytes], directories: Vec<PathBuf>) -> Result<Written, Failure> {
    let mut file = File::open(path)?;
    let size: usize = parts.iter().map(Bytes::len).sum();
    let mut is_same = file.metadata()?.len() == size as u64;
    let mut found = Vec::new();
    for part in parts {
        if !is_same {
            break;
        }
        found.resize(part.len(), 0);
        file.read_exact(&mut found)?;
        is_same = found == *part;
    }
    if is_same {
        return Ok(Written { file, directories, is_ours: false });
    }
    let message = "an object of this name holds other bytes; use a fresh name";
    Err(io::Error::new(io::ErrorKind::AlreadyExists, message).into())
}

fn write_all(mut file: &File, parts: &[Bytes]) -> io::Result<()> {
    for some in parts.chunks(SLICES) {
        let mut slices: Vec<IoSlice<'_>> = some.iter().map(|part| IoSlice::new(part)).collect();
        let mut rest: &mut [IoSlice<'_>] = &mut slices;
        IoSlice::advance_slices(&mut rest, 0);
        while !rest.is_empty() {
            match file.write_vectored(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => IoSlice::advance_slices(&mut rest, written),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// Creates `directory` and all above it, and syncs each one whose entries change.
pub(super) fn create_directories(directory: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = directory
        .ancestors()
        .take_while(|place| !place.as_os_str().is_empty() && !place.is_dir())
        .collect();
    for place in missing.iter().rev() {
        match fs::create_dir(place) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && place.is_dir() => {}
            other => other?,
        }
        if let Some(parent) = place.parent() {
            File::open(parent)?.sync_all()?;
        }
    }
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_to_a_full_device_is_full() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let error = write_all(&full, &[Bytes::from_static(b"x")]).unwrap_err();
        assert_eq!(failed(Operation::Put, "a", &error).class, labels::StoreError::Full);
    }

    #[test]
    fn many_small_and_empty_parts_are_written_in_order() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        let parts: Vec<Bytes> =
            (0..1_000_u32).map(|n| n.to_string().repeat((n % 3) as usize).into()).collect();
        write_all(&File::create(&path).unwrap(), &parts).unwrap();
        assert_eq!(fs::read(path).unwrap(), parts.concat());
    }
}
