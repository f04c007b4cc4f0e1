//! What can be wrong with a configuration. Every message names where, what, and the fix.

use std::path::PathBuf;

/// Why the configuration cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}: {reason}; check the path, or leave --config away", .file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the operating system said.
        reason: String,
    },
    /// The file is not TOML.
    #[error("{}:{line}: not valid TOML: {reason}", .file.display())]
    Syntax {
        /// The file.
        file: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What the parser said.
        reason: String,
    },
    /// There is no such setting.
    #[error("{origin}: there is no setting {key:?}; {fix}")]
    UnknownKey {
        /// Where it was written.
        origin: String,
        /// The key.
        key: String,
        /// What to write instead.
        fix: String,
    },
    /// The value makes no sense.
    #[error("{origin}: {key} = {value} is not possible; {fix}")]
    Value {
        /// Where it was written.
        origin: String,
        /// The key.
        key: String,
        /// The value as it was written, text in quotes; redacted if it is a secret.
        value: String,
        /// What to write instead.
        fix: String,
    },
}
