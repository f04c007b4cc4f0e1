//! What SQLite's errors mean to the caller.

use crate::error::MetadataError;

/// `SQLITE_CORRUPT` and `SQLITE_NOTADB`: the file itself is damaged.
const DAMAGED: [i32; 2] = [11, 26];
/// `SQLITE_CONSTRAINT`: a statement contradicts what is stored.
const CONSTRAINT: i32 = 19;

/// Translates an error of a statement that was rolled back.
pub(super) fn failed(error: sqlx::Error) -> MetadataError {
    match &error {
        sqlx::Error::Database(inner) => {
            let code = inner.code().and_then(|code| code.parse::<i32>().ok()).unwrap_or(0) & 0xff;
            if DAMAGED.contains(&code) || code == CONSTRAINT {
                MetadataError::Corrupt(error.to_string())
            } else {
                MetadataError::Unavailable(error.to_string())
            }
        }
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::RowNotFound => {
            MetadataError::Corrupt(error.to_string())
        }
        _ => MetadataError::Unavailable(error.to_string()),
    }
}

/// A stored value that cannot be one of ours.
pub(super) fn unreadable(what: &str, value: impl std::fmt::Display) -> MetadataError {
    MetadataError::Corrupt(format!("stored {what} {value} is unreadable"))
}
