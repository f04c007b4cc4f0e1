use super::{ShopMetrics, open_metrics, tenant};
use flate2::read::GzDecoder;
use std::io::Read;
use std::net::SocketAddr;
use std::sync::{Mutex, mpsc};
use std::time::Duration;
use streamhouse_observability::exposition::{Exposition, Metrics, Mode};
use streamhouse_observability::testing;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

async fn serve(exposition: &Exposition) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let router = exposition.router();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    addr
}

struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn has(&self, header: &str) -> bool {
        self.head.lines().any(|line| line.eq_ignore_ascii_case(header))
    }
}

async fn ask(addr: SocketAddr, method: &str, headers: &[&str]) -> Answer {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let headers: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
    let request =
        format!("{method} /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head, body: answer[end + 4..].to_vec() }
}

#[tokio::test]
async fn the_answer_is_text_unless_open_metrics_is_asked_for() {
    let (declare, seen) = testing::in_memory();
    let orders = ShopMetrics::declare(&declare).orders.bind(&tenant("a"));
    orders.add(2);
    let addr = serve(&seen.metrics().exposition()).await;

    let text = ask(addr, "GET", &[]).await;
    assert_eq!(text.status, 200);
    assert!(text.has("content-type: text/plain; version=0.0.4; charset=utf-8"), "{}", text.head);
    let body = String::from_utf8(text.body).unwrap();
    assert!(body.contains("shop_orders_total{tenant=\"a\"} 2\n") && !body.contains("# EOF"));

    let open = ask(addr, "GET", &["Accept: application/openmetrics-text; version=1.0.0"]).await;
    let kind = "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert!(open.has(kind), "{}", open.head);
    open_metrics::read(&String::from_utf8(open.body).unwrap());
    assert_eq!(seen.count("streamhouse.telemetry.scrape_duration", &[("outcome", "ok")]), 2);
    let size = seen.value("streamhouse.telemetry.scrape_size", &[]).unwrap();
    assert!(size > 1000.0, "{size}");
    assert!(seen.value("streamhouse.telemetry.series", &[]).unwrap() > 20.0);
}

#[tokio::test]
async fn a_head_request_has_the_headers_and_no_body() {
    let (_declare, seen) = testing::in_memory();
    let addr = serve(&seen.metrics().exposition()).await;
    let answer = ask(addr, "HEAD", &[]).await;
    assert_eq!((answer.status, answer.body.len()), (200, 0));
    assert!(answer.has("content-type: text/plain; version=0.0.4; charset=utf-8"));
    assert_eq!(ask(addr, "POST", &[]).await.status, 405);
}

#[tokio::test]
async fn gzip_is_the_same_text_in_fewer_bytes() {
    let (declare, seen) = testing::in_memory();
    let orders = ShopMetrics::declare(&declare).orders.bind(&tenant("a"));
    orders.add(2);
    let addr = serve(&seen.metrics().exposition()).await;
    // Buffers are used again: the second answer must not hold a rest of the first.
    for _ in 0..3 {
        let packed = ask(addr, "GET", &["Accept-Encoding: gzip"]).await;
        assert!(packed.has("content-encoding: gzip"), "{}", packed.head);
        let mut text = String::new();
        GzDecoder::new(packed.body.as_slice()).read_to_string(&mut text).unwrap();
        assert!(packed.body.len() * 2 < text.len());
        assert!(text.contains("shop_orders_total{tenant=\"a\"} 2\n"));
        assert!(text.starts_with("# HELP shop_orders_total"));
        assert_eq!(text.matches("# TYPE target_info").count(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_third_scrape_at_once_is_refused_at_once_and_counted() {
    let (declare, seen) = testing::in_memory();
    let (entered, wait_entered) = mpsc::channel();
    let (release, wait_release) = mpsc::channel::<()>();
    let (entered, wait_release) = (Mutex::new(entered), Mutex::new(wait_release));
    declare.before_collect(move || {
        let _ = entered.lock().unwrap().send(());
        let _ = wait_release.lock().unwrap().recv_timeout(Duration::from_secs(30));
    });
    let addr = serve(&seen.metrics().exposition()).await;
    let running = [tokio::spawn(ask(addr, "GET", &[])), tokio::spawn(ask(addr, "GET", &[]))];
    for _ in 0..2 {
        wait_entered.recv_timeout(Duration::from_secs(30)).unwrap();
    }

    let refused = ask(addr, "GET", &[]).await;

    assert_eq!(refused.status, 503);
    assert!(refused.has("retry-after: 1"), "{}", refused.head);
    assert!(running.iter().all(|one| !one.is_finished()));
    drop(release);
    for one in running {
        assert_eq!(one.await.unwrap().status, 200);
    }
    assert_eq!(seen.count("streamhouse.telemetry.scrape_duration", &[("outcome", "busy")]), 1);
    assert_eq!(ask(addr, "GET", &[]).await.status, 200, "and then there is room again");
}

#[tokio::test]
async fn after_the_shutdown_a_scrape_is_refused() {
    for mode in [Mode::Native, Mode::Bridge] {
        let resource = opentelemetry_sdk::Resource::builder_empty().build();
        let metrics = Metrics::build(resource, mode).unwrap();
        let addr = serve(&metrics.exposition()).await;
        assert_eq!(ask(addr, "GET", &[]).await.status, 200);
        metrics.provider().shutdown().unwrap();
        assert_eq!(ask(addr, "GET", &[]).await.status, 503);
    }
}

#[tokio::test]
async fn the_bridge_serves_text_whatever_is_asked_for() {
    let resource = opentelemetry_sdk::Resource::builder_empty().build();
    let metrics = Metrics::build(resource, Mode::Bridge).unwrap();
    let orders = ShopMetrics::declare(metrics.declare()).orders.bind(&tenant("a"));
    orders.add(2);
    let addr = serve(&metrics.exposition()).await;
    let answer = ask(addr, "GET", &["Accept: application/openmetrics-text"]).await;
    assert!(answer.has("content-type: text/plain; version=0.0.4; charset=utf-8"));
    let body = String::from_utf8(answer.body).unwrap();
    assert!(body.contains("shop_orders_total{tenant=\"a\"} 2\n"));
}
