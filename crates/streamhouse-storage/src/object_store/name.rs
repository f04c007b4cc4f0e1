//! Names of objects: what every store accepts, checked before anything is touched.

use crate::error::StoreError;
use std::ops::Range;
use streamhouse_observability::labels::{self, Operation};

/// The longest name, in bytes: a tenth of what S3 allows, and below any file system's limit.
const MAX_NAME: usize = 512;
/// The longest part between two slashes, in bytes: the limit of common file systems.
const MAX_PART: usize = 255;

/// Refuses a name that is not a `/`-separated path of `[A-Za-z0-9._-]`, or that could leave the
/// store's root.
pub(super) fn check(operation: Operation, name: &str) -> Result<(), StoreError> {
    let usable = name.len() <= MAX_NAME && name.split('/').all(is_part);
    if usable { Ok(()) } else { Err(refuse(operation, name)) }
}

/// Refuses a prefix that no name can begin with. It may be empty and may end within a part.
pub(super) fn check_prefix(prefix: &str) -> Result<(), StoreError> {
    let (parents, last) = prefix.rsplit_once('/').unwrap_or(("", prefix));
    let usable = prefix.len() <= MAX_NAME
        && (!prefix.contains('/') || parents.split('/').all(is_part))
        && last.len() <= MAX_PART
        && last.bytes().all(is_allowed);
    if usable { Ok(()) } else { Err(refuse(Operation::List, prefix)) }
}

/// Refuses an empty range: stores disagree about it.
pub(super) fn check_range(name: &str, range: &Range<u64>) -> Result<(), StoreError> {
    if range.start < range.end {
        return Ok(());
    }
    let message = format!("bytes {range:?} are none");
    Err(StoreError::new(Operation::Get, name, labels::StoreError::Invalid, message))
}

fn is_part(part: &str) -> bool {
    !matches!(part, "" | "." | "..") && part.len() <= MAX_PART && part.bytes().all(is_allowed)
}

fn is_allowed(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}

fn refuse(operation: Operation, name: &str) -> StoreError {
    let message = "an object's name is a `/`-separated path of letters, digits, `.`, `_` and `-`, \
                   without empty, `.` or `..` parts";
    let shown: String = name.chars().take(MAX_NAME).collect();
    StoreError::new(operation, shown, labels::StoreError::Invalid, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_leave_the_root_are_refused() {
        for name in ["", "/", "/a", "a/", "a//b", "..", "../a", "a/../b", ".", "a/./b", "a\\b"] {
            assert!(check(Operation::Put, name).is_err(), "{name:?} was accepted");
        }
        for name in ["a\0b", "ä", "a b", "a%2e", "c:a", &"a".repeat(256), &"a/".repeat(300)] {
            assert!(check(Operation::Put, name).is_err(), "{name:?} was accepted");
        }
        for name in ["a", "0f/2025-11-25T02/agent-01", "a.b/_/-", "..a", "..."] {
            assert!(check(Operation::Put, name).is_ok(), "{name:?} was refused");
        }
    }

    #[test]
    fn prefixes_may_be_empty_and_end_anywhere() {
        for prefix in ["", "a", "a/", "a/b", "a/b.", "."] {
            assert!(check_prefix(prefix).is_ok(), "{prefix:?} was refused");
        }
        for prefix in ["/", "/a", "../", "a/../b", "a b", "a//"] {
            assert!(check_prefix(prefix).is_err(), "{prefix:?} was accepted");
        }
    }
}
