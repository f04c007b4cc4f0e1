//! S3 and servers that speak its protocol.

mod transport;

use super::config::{OpenError, S3Config};
use super::{LIST_LIMIT, ObjectMeta, ObjectStore, name};
use crate::error::StoreError;
use async_trait::async_trait;
use bytes::Bytes;
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::list::{PaginatedListOptions, PaginatedListStore as _};
use object_store::path::Path;
use object_store::{
    ClientOptions, GetOptions, GetRange, ObjectStore as _, ObjectStoreExt as _, PutPayload,
    RetryConfig,
};
use std::fmt;
use std::ops::Range;
use std::time::Duration;
use streamhouse_observability::labels::{self, Operation};

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(2);

/// One bucket, or a part of it below a prefix.
///
/// A call is exactly one HTTP request: the client's own repetitions are off, and so are its
/// deadlines; [`Metered`](super::Metered) and [`Resilient`](super::Resilient) have them.
pub struct S3Store {
    client: AmazonS3,
    bucket: String,
    /// Empty, or ends in a slash.
    prefix: String,
}

impl fmt::Debug for S3Store {
    /// Without the client, which shows the access key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Store")
            .field("bucket", &self.bucket)
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

impl S3Store {
    /// Makes a client. Nothing is sent yet.
    ///
    /// # Errors
    /// [`OpenError::S3`]: the configuration contradicts itself.
    pub fn new(bucket: &str, prefix: &str, config: &S3Config) -> Result<Self, OpenError> {
        config.check()?;
        // Without a provider the TLS library panics; a second call changes nothing.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let is_plain = config.endpoint.as_deref().is_some_and(|url| url.starts_with("http://"));
        let options = ClientOptions::new()
            .with_allow_http(is_plain)
            .with_timeout_disabled()
            .with_connect_timeout(CONNECT);
        let retry = RetryConfig { max_retries: 0, ..RetryConfig::default() };
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(bucket)
            .with_region(&config.region)
            .with_virtual_hosted_style_request(config.virtual_hosted)
            .with_disable_bulk_delete(true)
            .with_client_options(options)
            .with_retry(retry)
            .with_http_connector(transport::Connector::default());
        if let Some(endpoint) = &config.endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        if let (Some(id), Some(key)) = (&config.access_key_id, &config.secret_access_key) {
            builder = builder.with_access_key_id(id.expose());
            builder = builder.with_secret_access_key(key.expose());
        }
        if let Some(token) = &config.session_token {
            builder = builder.with_token(token.expose());
        }
        let client = builder.build().map_err(|error| OpenError::S3(error.to_string()))?;
        let prefix = match prefix.trim_matches('/') {
            "" => String::new(),
            prefix => format!("{prefix}/"),
        };
        Ok(Self { client, bucket: bucket.to_owned(), prefix })
    }

    fn path(&self, operation: Operation, object: &str) -> Result<Path, StoreError> {
        name::check(operation, object)?;
        Path::parse(format!("{}{object}", self.prefix)).map_err(|error| {
            StoreError::new(operation, object, labels::StoreError::Invalid, error.to_string())
        })
    }
}

/// The error of a call as one of ours.
fn failed(operation: Operation, object: &str) -> impl Fn(object_store::Error) -> StoreError {
    move |error| {
        let (class, message) = transport::classify(&error);
        StoreError::new(operation, object, class, message)
    }
}

#[async_trait]
impl ObjectStore for S3Store {
    async fn put(&self, name: &str, body: &[Bytes]) -> Result<(), StoreError> {
        let path = self.path(Operation::Put, name)?;
        let payload = PutPayload::from_iter(body.iter().cloned());
        self.client.put(&path, payload).await.map_err(failed(Operation::Put, name))?;
        Ok(())
    }

    async fn get(&self, name: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        let path = self.path(Operation::Get, name)?;
        name::check_range(name, &range)?;
        let failed = failed(Operation::Get, name);
        let wanted = Some(GetRange::Bounded(range.clone()));
        let options = GetOptions { range: wanted, ..GetOptions::default() };
        let reply = self.client.get_opts(&path, options).await.map_err(&failed)?;
        let size = reply.meta.size;
        let bytes = reply.bytes().await.map_err(&failed)?;
        if bytes.len() as u64 == range.end - range.start {
            Ok(bytes)
        } else {
            Err(StoreError::out_of_range(name, &range, size))
        }
    }

    async fn head(&self, name: &str) -> Result<ObjectMeta, StoreError> {
        let path = self.path(Operation::Head, name)?;
        let found = self.client.head(&path).await.map_err(failed(Operation::Head, name))?;
        Ok(ObjectMeta { name: name.to_owned(), size: found.size })
    }

    async fn list(&self, prefix: &str, after: Option<&str>) -> Result<Vec<ObjectMeta>, StoreError> {
        name::check_prefix(prefix)?;
        let whole = format!("{}{prefix}", self.prefix);
        let options = PaginatedListOptions {
            offset: after.map(|after| format!("{}{after}", self.prefix)),
            max_keys: Some(LIST_LIMIT),
            ..PaginatedListOptions::default()
        };
        let page = self.client.list_paginated(Some(&whole), options).await;
        let page = page.map_err(failed(Operation::List, prefix))?;
        let ours = page.result.objects.into_iter().filter_map(|found| {
            let name = found.location.as_ref().strip_prefix(&self.prefix)?.to_owned();
            Some(ObjectMeta { name, size: found.size })
        });
        Ok(ours.collect())
    }

    async fn delete(&self, name: &str) -> Result<(), StoreError> {
        let path = self.path(Operation::Delete, name)?;
        let result = self.client.delete(&path).await.map_err(failed(Operation::Delete, name));
        match result {
            // Some servers mind that it does not exist.
            Err(error) if error.class == labels::StoreError::NotFound => Ok(()),
            result => result,
        }
    }
}
