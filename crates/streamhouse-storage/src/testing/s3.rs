//! An S3 server in process, over real HTTP, with faults on demand.

use super::faults::{Fault, Faults};
use crate::object_store::{ObjectStoreConfig, ObjectStoreUrl, S3Config, Secret};
use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use s3s::Body;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use std::future::pending;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use streamhouse_observability::labels::Operation;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

/// The bucket that exists.
pub const BUCKET: &str = "streamhouse";
/// The access key that is accepted.
pub const ACCESS_KEY: &str = "an-access-key";
/// The secret key that is accepted. No text that leaves the process may hold it.
pub const SECRET_KEY: &str = "a-secret-key-canary";

/// The largest request body that is read to its end before a fault is answered.
const MAX_BODY: usize = 64 << 20;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A server on a free port of this machine, until it is dropped. Objects are kept in a temporary
/// directory.
#[derive(Debug)]
pub struct S3Server {
    address: SocketAddr,
    faults: Faults,
    service: S3Service,
    accepting: Mutex<Option<JoinHandle<()>>>,
    directory: TempDir,
}

impl S3Server {
    /// Starts a server without faults.
    ///
    /// # Errors
    /// No port or no temporary directory can be had.
    pub async fn start() -> io::Result<Self> {
        let directory = TempDir::new()?;
        std::fs::create_dir(directory.path().join(BUCKET))?;
        let files = s3s_fs::FileSystem::new(directory.path())
            .map_err(|error| io::Error::other(format!("{error:?}")))?;
        let mut builder = S3ServiceBuilder::new(files);
        builder.set_auth(SimpleAuth::from_single(ACCESS_KEY, SECRET_KEY));
        let service = builder.build();

        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let server = Self {
            address,
            faults: Faults::none(),
            service,
            accepting: Mutex::default(),
            directory,
        };
        server.accept_on(listener);
        Ok(server)
    }

    /// The script of faults and their ledger.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Where it listens.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How to reach it.
    pub fn s3_config(&self) -> S3Config {
        S3Config {
            endpoint: Some(self.endpoint()),
            access_key_id: Some(Secret::new(ACCESS_KEY)),
            secret_access_key: Some(Secret::new(SECRET_KEY)),
            ..S3Config::default()
        }
    }

    /// A whole configuration for the existing bucket, below `prefix`.
    pub fn config(&self, prefix: &str) -> ObjectStoreConfig {
        let url = ObjectStoreUrl::S3 { bucket: BUCKET.into(), prefix: prefix.into() };
        ObjectStoreConfig { s3: self.s3_config(), ..ObjectStoreConfig::new(url) }
    }

    /// Closes the port and all connections: new ones are refused by the system.
    pub async fn close(&self) {
        let accepting = self.accepting().take();
        if let Some(accepting) = accepting {
            accepting.abort();
            // It ends as aborted, which is what was asked for.
            let _ = accepting.await;
        }
    }

    /// Listens again on the same port.
    ///
    /// # Errors
    /// Somebody else has taken the port.
    pub async fn reopen(&self) -> io::Result<()> {
        self.close().await;
        let listener = TcpListener::bind(self.address).await?;
        self.accept_on(listener);
        Ok(())
    }

    /// The directory that holds the objects of [`BUCKET`], for damage and inspection.
    pub fn directory(&self) -> std::path::PathBuf {
        self.directory.path().join(BUCKET)
    }

    fn accept_on(&self, listener: TcpListener) {
        let (service, faults) = (self.service.clone(), self.faults.clone());
        *self.accepting() = Some(tokio::spawn(accept(listener, service, faults)));
    }

    fn accepting(&self) -> std::sync::MutexGuard<'_, Option<JoinHandle<()>>> {
        self.accepting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        if let Some(accepting) = self.accepting().take() {
            accepting.abort();
        }
    }
}

/// Serves connections until it is aborted, which closes them.
async fn accept(listener: TcpListener, service: S3Service, faults: Faults) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((socket, _)) = accepted else { continue };
                let (service, faults) = (service.clone(), faults.clone());
                let answer = service_fn(move |request: Request<Incoming>| {
                    answer(service.clone(), faults.clone(), request.map(Body::from))
                });
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(socket), answer);
                // How it ended is the client's business.
                connections.spawn(async { connection.await.is_ok() });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn answer(
    service: S3Service,
    faults: Faults,
    request: Request<Body>,
) -> Result<Response<Body>, Failure> {
    let operation = operation(&request);
    let fault = match operation {
        Some(operation) => faults.strike(operation).await,
        None => None,
    };
    match fault {
        None | Some(Fault::Hold) => Ok(service.call(request).await?),
        Some(Fault::Hang) => pending().await,
        Some(Fault::AppliedHang) => {
            service.call(request).await?;
            pending().await
        }
        Some(Fault::ReplyLost) => {
            service.call(request).await?;
            Err("the reply is lost".into())
        }
        Some(Fault::Refused) => Err("refused".into()),
        Some(Fault::Throttled) => {
            refuse(request, StatusCode::SERVICE_UNAVAILABLE, "SlowDown").await
        }
        Some(Fault::Denied) => refuse(request, StatusCode::FORBIDDEN, "AccessDenied").await,
        Some(Fault::Torn) if operation == Some(Operation::Get) => {
            damage(service.call(request).await?).await
        }
        Some(Fault::ServerError | Fault::Torn) => {
            refuse(request, StatusCode::INTERNAL_SERVER_ERROR, "InternalError").await
        }
    }
}

/// Which of our operations a request is; `None` for one that we never make.
fn operation(request: &Request<Body>) -> Option<Operation> {
    let path = request.uri().path().trim_matches('/');
    let is_object = path.contains('/');
    match (request.method(), is_object) {
        (&Method::PUT, true) => Some(Operation::Put),
        (&Method::GET, true) => Some(Operation::Get),
        (&Method::HEAD, true) => Some(Operation::Head),
        (&Method::DELETE, true) => Some(Operation::Delete),
        (&Method::GET, false) => Some(Operation::List),
        _ => None,
    }
}

/// Answers as S3 does when it refuses. The body is read first, because a connection that is closed
/// on unread bytes can take the answer with it.
async fn refuse(
    request: Request<Body>,
    status: StatusCode,
    code: &str,
) -> Result<Response<Body>, Failure> {
    request.into_body().store_all_limited(MAX_BODY).await?;
    let body = format!("<Error><Code>{code}</Code><Message>injected</Message></Error>");
    Ok(Response::builder().status(status).body(Body::from(body))?)
}

/// The same answer, one bit of its body changed.
async fn damage(response: Response<Body>) -> Result<Response<Body>, Failure> {
    let (head, mut body) = response.into_parts();
    let mut bytes = body.store_all_limited(MAX_BODY).await?.to_vec();
    let middle = bytes.len() / 2;
    if let Some(byte) = bytes.get_mut(middle) {
        *byte ^= 1;
    }
    Ok(Response::from_parts(head, Body::from(bytes)))
}
