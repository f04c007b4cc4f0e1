//! Health, on a paused clock where time matters and over HTTP where the answer matters.

use async_trait::async_trait;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::time::Duration;
use streamhouse_observability::health::{Check, Health};
use streamhouse_observability::instruments::ServiceMetrics;
use streamhouse_observability::labels::Component;
use streamhouse_observability::testing::{self, Seen};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const WELL: u8 = 0;
const BROKEN: u8 = 1;
const HANGING: u8 = 2;
const PANICKING: u8 = 3;

/// A component that does as it is told.
struct Scripted {
    component: Component,
    required: bool,
    state: AtomicU8,
    probes: AtomicUsize,
    at_once: AtomicUsize,
}

impl Scripted {
    fn new(component: Component, required: bool, state: u8) -> Arc<Self> {
        Arc::new(Self {
            component,
            required,
            state: state.into(),
            probes: 0.into(),
            at_once: 0.into(),
        })
    }

    fn becomes(&self, state: u8) {
        self.state.store(state, Ordering::SeqCst);
    }
}

#[async_trait]
impl Check for Scripted {
    fn component(&self) -> Component {
        self.component
    }

    fn required(&self) -> bool {
        self.required
    }

    async fn probe(&self) -> Result<(), String> {
        struct Running<'a>(&'a AtomicUsize);
        impl Drop for Running<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::SeqCst);
            }
        }
        self.probes.fetch_add(1, Ordering::SeqCst);
        assert_eq!(self.at_once.fetch_add(1, Ordering::SeqCst), 0, "two probes at the same time");
        let _running = Running(&self.at_once);
        match self.state.load(Ordering::SeqCst) {
            WELL => Ok(()),
            BROKEN => Err("connection refused".into()),
            HANGING => std::future::pending().await,
            _ => panic!("as told"),
        }
    }
}

fn start(checks: &[Arc<Scripted>]) -> (Health, Seen) {
    let (declare, seen) = testing::in_memory();
    let metrics = ServiceMetrics::declare(&declare);
    let checks = checks.iter().map(|one| one.clone() as Arc<dyn Check>).collect();
    (Health::start(&declare, &metrics, checks), seen)
}

/// Lets so many seconds pass.
async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

fn said(health: &Health, component: &str) -> String {
    health.report().checks[component].clone()
}

#[tokio::test(start_paused = true)]
async fn a_service_is_unready_until_its_first_verdicts_and_then_ready_at_once() {
    let store = Scripted::new(Component::MetadataStore, true, WELL);
    let (health, _) = start(&[store]);
    assert!(!health.report().ready);
    assert_eq!(said(&health, "metadata_store"), "starting");
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert!(health.report().ready);
    assert_eq!(said(&health, "metadata_store"), "ok");
}

#[tokio::test(start_paused = true)]
async fn a_failing_component_goes_down_within_twenty_seconds_but_not_by_one_failure() {
    let store = Scripted::new(Component::ObjectStore, true, WELL);
    let (health, _) = start(std::slice::from_ref(&store));
    pass(1).await;
    store.becomes(BROKEN);
    pass(6).await;
    assert!(health.report().ready, "one failure");
    assert_eq!(said(&health, "object_store"), "warn: connection refused");
    pass(13).await;
    assert!(!health.report().ready);
    assert_eq!(said(&health, "object_store"), "fail: connection refused");

    store.becomes(WELL);
    pass(15).await;
    assert!(health.report().ready, "recovered within 15 s");
}

#[tokio::test(start_paused = true)]
async fn a_hanging_or_panicking_probe_is_a_failure_and_never_runs_twice_at_once() {
    for (state, cause) in [(HANGING, "fail: timeout"), (PANICKING, "fail: the probe panicked")] {
        let store = Scripted::new(Component::MetadataStore, true, WELL);
        let (health, _) = start(std::slice::from_ref(&store));
        pass(1).await;
        store.becomes(state);
        pass(20).await;
        assert!(!health.report().ready);
        assert_eq!(said(&health, "metadata_store"), cause);
        assert!(store.probes.load(Ordering::SeqCst) >= 4);
    }
}

#[tokio::test(start_paused = true)]
async fn asking_does_not_probe() {
    let store = Scripted::new(Component::MetadataStore, true, WELL);
    let (health, _) = start(std::slice::from_ref(&store));
    pass(1).await;
    for _ in 0..1_000 {
        health.report();
    }
    pass(60).await;
    let probes = store.probes.load(Ordering::SeqCst);
    assert!((11..=15).contains(&probes), "{probes} probes in a minute");
}

#[tokio::test(start_paused = true)]
async fn a_soft_component_degrades_and_never_makes_unready() {
    let store = Scripted::new(Component::MetadataStore, true, WELL);
    let cache = Scripted::new(Component::Cache, false, BROKEN);
    let (health, seen) = start(&[store, cache]);
    pass(30).await;
    assert!(health.report().ready);
    assert_eq!(said(&health, "cache"), "warn: connection refused");
    let status = |component| seen.value("streamhouse.health.status", &[("component", component)]);
    assert_eq!(status("cache"), Some(0.0));
    assert_eq!(status("metadata_store"), Some(1.0));
    assert_eq!(status("object_store"), None, "not checked: no series");
}

#[tokio::test(start_paused = true)]
async fn a_verdict_that_grows_old_is_no_verdict_and_metrics_agree() {
    let store = Scripted::new(Component::MetadataStore, true, WELL);
    let (health, seen) = start(&[store]);
    pass(1).await;
    assert!(health.report().ready);
    // The clock moves, and no task gets to run: as when the runtime is starved.
    tokio::time::advance(Duration::from_secs(16)).await;
    let report = health.report();
    assert!(!report.ready);
    assert!(report.checks["metadata_store"].starts_with("fail: no verdict for"), "{report:?}");
    let labels = [("component", "metadata_store")];
    assert_eq!(seen.value("streamhouse.health.status", &labels), Some(0.0));
    assert!(seen.value("streamhouse.health.age", &labels).unwrap() > 15.0);
}

#[tokio::test(start_paused = true)]
async fn draining_makes_unready_at_once_while_the_service_stays_alive() {
    let store = Scripted::new(Component::MetadataStore, true, WELL);
    let (health, _) = start(&[store]);
    pass(1).await;
    health.clone().draining();
    let report = health.report();
    assert!(!report.ready && report.draining);
    pass(60).await;
    assert!(!health.report().ready);
    assert!(health.alive().is_alive());
}

#[tokio::test(start_paused = true)]
async fn liveness_depends_on_no_check_and_only_on_heartbeats() {
    let store = Scripted::new(Component::MetadataStore, true, HANGING);
    let (health, _) = start(&[store]);
    let writer = health.heartbeat("writer");
    for _ in 0..10 {
        pass(29).await;
        writer.beat();
        assert!(health.alive().is_alive());
    }
    pass(31).await;
    let alive = health.alive();
    assert!(!alive.is_alive());
    assert_eq!(alive.stalled[0].0, "writer");
    writer.beat();
    assert!(health.alive().is_alive());
    pass(31).await;
    drop(writer);
    assert!(health.alive().is_alive(), "an ended loop is no longer watched");
    assert!(health.alive().uptime >= Duration::from_secs(300));
}

/// Sends one request to a server and returns the whole answer.
async fn ask(address: std::net::SocketAddr, method: &str, path: &str) -> String {
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

async fn serve(health: &Health) -> std::net::SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = health.router();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

fn body(answer: &str) -> serde_json::Value {
    serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap()
}

#[tokio::test]
async fn the_endpoints_answer_with_the_specified_json() {
    let store = Scripted::new(Component::MetadataStore, true, WELL);
    let pool = Scripted::new(Component::WriterPool, true, WELL);
    let cache = Scripted::new(Component::Cache, false, HANGING);
    let (health, _) = start(&[store, pool, cache]);
    while !health.report().ready {
        tokio::task::yield_now().await;
    }
    let address = serve(&health).await;

    let ready = ask(address, "GET", "/health/ready").await;
    assert!(ready.starts_with("HTTP/1.1 200"), "{ready}");
    assert!(ready.contains("content-type: application/json"), "{ready}");
    assert!(ready.contains("cache-control: no-store"), "{ready}");
    let json = body(&ready);
    assert_eq!(json["status"], "ready");
    assert_eq!(json["checks"]["metadata_store"], "ok");
    assert_eq!(json["checks"]["writer_pool"], "ok");
    assert!(json["timestamp"].as_str().unwrap().ends_with('Z'));
    assert_eq!(json.as_object().unwrap().len(), 3);

    let json = body(&ask(address, "GET", "/health").await);
    assert_eq!(json["status"], "ok");
    assert_eq!(json.as_object().unwrap().len(), 2);
    let json = body(&ask(address, "GET", "/health/live").await);
    assert_eq!(json["status"], "alive");
    assert!(json["uptime_seconds"].is_u64());
    assert_eq!(json.as_object().unwrap().len(), 2);

    let head = ask(address, "HEAD", "/health/ready").await;
    assert!(head.starts_with("HTTP/1.1 200") && head.ends_with("\r\n\r\n"), "{head}");
    let post = ask(address, "POST", "/health/ready").await;
    assert!(post.starts_with("HTTP/1.1 405"), "{post}");

    health.draining();
    for path in ["/health", "/health/ready"] {
        let answer = ask(address, "GET", path).await;
        assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
        assert!(answer.contains("retry-after: 5"), "{answer}");
        assert_eq!(body(&answer)["status"], "unready");
    }
    let live = ask(address, "GET", "/health/live").await;
    assert!(live.starts_with("HTTP/1.1 200"), "{live}");
}
