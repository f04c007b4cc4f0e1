//! An OTLP receiver in this process, with faults: the witness of what was really delivered.
//!
//! One port takes gRPC and HTTP. It runs on a thread of its own, on which nothing is recorded.
#![expect(clippy::expect_used, reason = "a witness that cannot start is a failed test")]

mod received;
mod serve;

pub use received::{Received, RequestInfo};

use crate::labels::Signal;
use opentelemetry::Context;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::oneshot;

/// How long [`OtlpReceiver::wait_for`] waits.
const PATIENCE: Duration = Duration::from_secs(30);

/// How the receiver answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// As it should.
    #[default]
    None,
    /// Never.
    Hang,
    /// As it should, after this time.
    Slow(Duration),
    /// HTTP 503, gRPC `UNAVAILABLE`; with the pause that it asks for.
    Unavailable(Option<Duration>),
    /// HTTP 400, gRPC `INVALID_ARGUMENT`: repeating cannot help.
    Invalid,
    /// Takes the request but refuses this many of its items.
    Reject(u64),
    /// With this many bytes of rubbish.
    Rubbish(usize),
}

/// A receiver at work; it stops when dropped.
#[derive(Debug)]
pub struct OtlpReceiver {
    address: SocketAddr,
    scheme: &'static str,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    fault: Fault,
    received: Received,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }
}

impl OtlpReceiver {
    /// Starts a receiver on a free port of the loopback interface.
    pub fn start() -> Self {
        Self::start_at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
    }

    /// Starts a receiver at `address`: a receiver that comes back.
    pub fn start_at(address: SocketAddr) -> Self {
        Self::start_with(address, None)
    }

    /// Starts a receiver that speaks TLS, on a free port of the loopback interface.
    pub fn start_tls(tls: rustls::ServerConfig) -> Self {
        let mut tls = tls;
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Self::start_with(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), Some(Arc::new(tls)))
    }

    fn start_with(address: SocketAddr, tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let scheme = if tls.is_some() { "https" } else { "http" };
        let shared = Arc::<Shared>::default();
        let (stop, stopped) = oneshot::channel();
        let (bound, address_of) = std::sync::mpsc::channel();
        let serving = shared.clone();
        let thread = std::thread::spawn(move || {
            let _quiet = Context::enter_telemetry_suppressed_scope();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async move {
                let listener = TcpListener::bind(address).await.expect("the port is free");
                let _ = bound.send(listener.local_addr().expect("a bound address"));
                tokio::select! {
                    () = serve::serve(listener, tls, serving) => {}
                    _ = stopped => {}
                }
            });
        });
        let address = address_of.recv().expect("the receiver has started");
        Self { address, scheme, shared, stop: Some(stop), thread: Some(thread) }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The endpoint to configure, for both protocols.
    pub fn endpoint(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    /// From now on the receiver answers like this.
    pub fn set_fault(&self, fault: Fault) {
        self.shared.change(|state| state.fault = fault);
    }

    /// Everything received so far.
    pub fn received(&self) -> Received {
        self.shared.lock().received.clone()
    }

    /// Waits until `enough` is true of what was received.
    /// # Panics
    /// It is not within 30 s.
    pub fn wait_for(&self, what: &str, enough: impl Fn(&Received) -> bool) -> Received {
        let start = Instant::now();
        let mut state = self.shared.lock();
        while !enough(&state.received) {
            let left = PATIENCE.saturating_sub(start.elapsed());
            assert!(!left.is_zero(), "waited in vain for {what}");
            let waited = self.shared.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.received.clone()
    }
}

impl Drop for OtlpReceiver {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A port that refuses connections and is nobody else's as long as this is kept.
#[derive(Debug)]
pub struct RefusingPort {
    address: SocketAddr,
    _socket: TcpSocket,
}

impl RefusingPort {
    /// Reserves a port.
    pub fn reserve() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).expect("a free port");
        Self { address: socket.local_addr().expect("a bound address"), _socket: socket }
    }

    /// The endpoint to configure.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// The last part of a signal's path.
fn path(signal: Signal) -> &'static str {
    match signal {
        Signal::Traces => "/v1/traces",
        Signal::Logs => "/v1/logs",
        Signal::Metrics => "/v1/metrics",
    }
}
