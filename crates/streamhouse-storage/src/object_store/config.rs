//! Which store, from a URL; and the store itself, with its decorators.

use super::{
    Budgets, Deadlines, LocalStore, MemoryStore, Metered, ObjectStore, Resilient, S3Store,
};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use streamhouse_observability::instruments::ObjectStoreMetrics;

/// How long a call may take that stores nothing, repetitions included.
const OTHER_BUDGET: Duration = Duration::from_secs(5);
/// How long one attempt of such a call may take, so that a second fits into the budget.
const OTHER_DEADLINE: Duration = Duration::from_secs(2);

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The URL says nothing that can be opened.
    #[error(
        "object store {value:?} is not usable: {why}; write `file:///path`, `memory:` or `s3://bucket/prefix`"
    )]
    Url {
        /// What was given.
        value: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The directory cannot be used.
    #[error(
        "directory {path:?} of the object store is not usable: {error}; choose one that this user can write to"
    )]
    Local {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// The configuration of S3 contradicts itself.
    #[error("configuration of S3: {0}")]
    S3(String),
}

/// Where objects are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObjectStoreUrl {
    /// In a directory: `file:///path`, or a path.
    Local(PathBuf),
    /// In memory, gone with the process: `memory:`.
    Memory,
    /// In a bucket: `s3://bucket` or `s3://bucket/prefix`.
    S3 {
        /// The bucket.
        bucket: String,
        /// What every name begins with, without slashes around it; may be empty.
        prefix: String,
    },
}

impl FromStr for ObjectStoreUrl {
    type Err = OpenError;

    fn from_str(value: &str) -> Result<Self, OpenError> {
        let refuse = |why| OpenError::Url { value: value.to_owned(), why };
        let Some((scheme, rest)) = value.split_once(':') else {
            return match value {
                "" => Err(refuse("it is empty")),
                path => Ok(Self::Local(path.into())),
            };
        };
        match (scheme, rest.strip_prefix("//")) {
            ("memory", None) if rest.is_empty() => Ok(Self::Memory),
            ("memory", Some("")) => Ok(Self::Memory),
            ("file", Some(path)) if path.starts_with('/') => Ok(Self::Local(path.into())),
            ("file", _) => Err(refuse("the path must be absolute, after two slashes")),
            ("s3", Some(place)) => {
                let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
                let prefix = prefix.trim_matches('/');
                if !is_bucket(bucket) {
                    return Err(refuse("the bucket's name is not valid"));
                }
                if super::name::check_prefix(prefix).is_err() {
                    return Err(refuse("the prefix may have letters, digits, `.`, `_`, `-`, `/`"));
                }
                Ok(Self::S3 { bucket: bucket.into(), prefix: prefix.into() })
            }
            _ if Path::new(value).is_absolute() || value.starts_with('.') => {
                Ok(Self::Local(value.into()))
            }
            _ => Err(refuse("the scheme is unknown")),
        }
    }
}

/// A bucket's name: 3 to 63 lower-case letters, digits, dots and hyphens.
fn is_bucket(name: &str) -> bool {
    let is_allowed =
        |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-');
    (3..=63).contains(&name.len())
        && name.bytes().all(is_allowed)
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.ends_with(|c: char| c.is_ascii_alphanumeric())
}

impl fmt::Display for ObjectStoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(path) => match path.is_absolute() {
                true => write!(f, "file://{}", path.display()),
                false => path.display().fmt(f),
            },
            Self::Memory => f.write_str("memory:"),
            Self::S3 { bucket, prefix } if prefix.is_empty() => write!(f, "s3://{bucket}"),
            Self::S3 { bucket, prefix } => write!(f, "s3://{bucket}/{prefix}"),
        }
    }
}

/// A text that is never shown: debugging prints stars.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text. Do not print it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// How to reach S3 or a server that speaks its protocol.
#[derive(Clone, Debug)]
pub struct S3Config {
    /// URL of the server; `None` for AWS itself. `http://` sends everything in the clear.
    pub endpoint: Option<String>,
    /// Region of the bucket.
    pub region: String,
    /// Access key; without one the machine's role is asked (instance metadata).
    pub access_key_id: Option<Secret>,
    /// Secret key.
    pub secret_access_key: Option<Secret>,
    /// Token of temporary keys.
    pub session_token: Option<Secret>,
    /// Whether the bucket stands in the host name instead of the path.
    pub virtual_hosted: bool,
}

impl Default for S3Config {
    /// AWS itself, region `us-east-1`, credentials of the machine's role.
    fn default() -> Self {
        Self {
            endpoint: None,
            region: "us-east-1".into(),
            access_key_id: None,
            secret_access_key: None,
            session_token: None,
            virtual_hosted: false,
        }
    }
}

impl S3Config {
    pub(super) fn check(&self) -> Result<(), OpenError> {
        let refuse = |why: String| Err(OpenError::S3(why));
        if let Some(endpoint) = &self.endpoint {
            let host = endpoint.strip_prefix("https://").or(endpoint.strip_prefix("http://"));
            let Some(host) = host.filter(|host| !host.is_empty()) else {
                return refuse(format!("endpoint {endpoint:?} must be `https://host:port`"));
            };
            if host.contains('@') {
                return refuse("the endpoint must not hold credentials; set the keys".into());
            }
        }
        if self.region.is_empty() {
            return refuse("the region is empty; set it, `us-east-1` suits most servers".into());
        }
        match (&self.access_key_id, &self.secret_access_key, &self.session_token) {
            (Some(_), None, _) => refuse("the access key has no secret key; set both".into()),
            (None, Some(_), _) => refuse("the secret key has no access key; set both".into()),
            (None, None, Some(_)) => refuse("the session token has no keys; set all three".into()),
            _ => Ok(()),
        }
    }
}

/// A store to open.
#[derive(Clone, Debug)]
pub struct ObjectStoreConfig {
    /// Where objects are kept.
    pub url: ObjectStoreUrl,
    /// How to reach S3; unused otherwise.
    pub s3: S3Config,
    /// How long storing one object may take, repetitions included. The store uses 95 % of it.
    pub put_budget: Duration,
}

impl ObjectStoreConfig {
    /// With the defaults: 5 s for a PUT, AWS as S3.
    pub fn new(url: ObjectStoreUrl) -> Self {
        Self { url, s3: S3Config::default(), put_budget: Duration::from_secs(5) }
    }
}

/// Opens a store with its decorators: S3 as `Resilient(Metered(store))`, the others, which either
/// work at once or must not be repeated, as `Metered(store)`.
///
/// # Errors
/// [`OpenError`]: the configuration must be changed. Nothing is sent to S3 yet.
pub fn open(
    metrics: &ObjectStoreMetrics,
    config: &ObjectStoreConfig,
) -> Result<Arc<dyn ObjectStore>, OpenError> {
    // Each end lies a little before the one around it, so that what is stuck fails as `timeout`
    // where it is counted, and is not merely cancelled by a caller whose time is up.
    let put_end = config.put_budget.mul_f64(0.95);
    let deadlines = Deadlines { put: config.put_budget.mul_f64(0.9), other: OTHER_DEADLINE };
    let unrepeated = Deadlines { put: put_end, other: OTHER_BUDGET };
    Ok(match &config.url {
        ObjectStoreUrl::Memory => Arc::new(Metered::new(metrics, MemoryStore::new(), unrepeated)),
        ObjectStoreUrl::Local(path) => {
            let store = LocalStore::open(path)
                .map_err(|error| OpenError::Local { path: path.clone(), error })?;
            Arc::new(Metered::new(metrics, store, unrepeated))
        }
        ObjectStoreUrl::S3 { bucket, prefix } => {
            let store = S3Store::new(bucket, prefix, &config.s3)?;
            let budgets = Budgets { put: put_end, other: OTHER_BUDGET };
            Arc::new(Resilient::new(metrics, Metered::new(metrics, store, deadlines), budgets))
        }
    })
}
