use crate::object_store::{ObjectMeta, name};
use std::fs;
use std::io;
use std::path::Path;
use streamhouse_observability::labels::Operation;

/// At most `limit` files under `root` whose names begin with `prefix` and come after `after`.
pub(super) fn list(
    root: &Path,
    prefix: &str,
    after: Option<&str>,
    limit: usize,
) -> io::Result<Vec<ObjectMeta>> {
    let mut walk = Walk { root, prefix, after: after.unwrap_or(""), limit, found: Vec::new() };
    // Nothing outside the directory that the prefix names can match.
    let start = prefix.rfind('/').map_or("", |slash| &prefix[..=slash]);
    walk.directory(start)?;
    Ok(walk.found)
}

struct Walk<'a> {
    root: &'a Path,
    prefix: &'a str,
    after: &'a str,
    limit: usize,
    found: Vec<ObjectMeta>,
}

impl Walk<'_> {
    /// Visits a directory whose name is empty or ends in a slash.
    fn directory(&mut self, name: &str) -> io::Result<()> {
        let entries = match fs::read_dir(self.root.join(name)) {
            Ok(entries) => entries,
            // Deleted meanwhile, or never there.
            Err(error) if is_gone(&error) => return Ok(()),
            Err(error) => return Err(error),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry?;
            // What cannot be an object's name was put there by somebody else.
            let Ok(part) = entry.file_name().into_string() else { continue };
            if name::check(Operation::List, &part).is_err() {
                continue;
            }
            let is_directory = entry.file_type()?.is_dir();
            let slash = if is_directory { "/" } else { "" };
            names.push(format!("{name}{part}{slash}"));
        }
        // A directory sorts by its slash, as the names in it do.
        names.sort_unstable();
        for name in names {
            if self.found.len() == self.limit {
                break;
            }
            if name.ends_with('/') {
                if self.may_hold(&name) {
                    self.directory(&name)?;
                }
            } else if name.starts_with(self.prefix) && name.as_str() > self.after {
                self.file(name)?;
            }
        }
        Ok(())
    }

    /// Whether names that begin with `directory` can be wanted.
    fn may_hold(&self, directory: &str) -> bool {
        let matches = directory.starts_with(self.prefix) || self.prefix.starts_with(directory);
        matches && (directory > self.after || self.after.starts_with(directory))
    }

    fn file(&mut self, name: String) -> io::Result<()> {
        match fs::metadata(self.root.join(&name)) {
            Ok(found) => self.found.push(ObjectMeta { name, size: found.len() }),
            Err(error) if is_gone(&error) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
