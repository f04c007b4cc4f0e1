//! `/metrics` over HTTP.

use super::buffers::Buffers;
use super::head::Format;
use super::render::{Gathered, Renderer};
use super::{Metrics, negotiate};
use crate::declare::{Collecting, Exit, HistogramCell, PerValue, collecting};
use crate::labels::ScrapeOutcome;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER, VARY};
use http::{HeaderMap, HeaderValue, StatusCode};
use prometheus::{Encoder, TextEncoder};
use std::io::Write;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many scrapes may gather at once.
const GATHERS: usize = 2;

/// Serves `/metrics`. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Exposition(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    metrics: Metrics,
    renderer: Renderer,
    buffers: Buffers,
    gathers: Arc<Semaphore>,
    duration: PerValue<ScrapeOutcome, HistogramCell>,
}

/// What a client asked for, and what it gets.
#[derive(Clone, Copy, Debug)]
struct Wanted {
    format: Format,
    gzip: bool,
}

impl Exposition {
    pub(super) fn new(metrics: Metrics) -> Self {
        Self(Arc::new(Shared {
            duration: metrics.telemetry().scrape_duration.bind_each(|outcome| outcome),
            metrics,
            renderer: Renderer::default(),
            buffers: Buffers::default(),
            gathers: Arc::new(Semaphore::new(GATHERS)),
        }))
    }

    /// `GET` and `HEAD` of `/metrics`: Prometheus text 0.0.4 or OpenMetrics 1.0 by `Accept`,
    /// compressed if `Accept-Encoding` allows it.
    ///
    /// Two scrapes at once are gathered, each on a blocking thread of the runtime; others get 503
    /// with `Retry-After` at once. After the shutdown of the provider all get 503.
    pub fn router(&self) -> axum::Router {
        axum::Router::new().route("/metrics", get(serve)).with_state(self.clone())
    }

    /// Appends the text of one scrape, 0.0.4, to `out`. Blocks while another collect runs.
    pub fn write_text(&self, out: &mut Vec<u8>) {
        self.gather(Format::Text, out);
    }

    /// As [`write_text`](Self::write_text), in OpenMetrics 1.0; in bridge mode the same as there.
    pub fn write_open_metrics(&self, out: &mut Vec<u8>) {
        self.gather(Format::OpenMetrics, out);
    }

    /// The text of one scrape, 0.0.4: [`write_text`](Self::write_text) for whoever has no buffer.
    pub fn text(&self) -> String {
        let mut out = Vec::new();
        self.write_text(&mut out);
        String::from_utf8_lossy(&out).into_owned()
    }

    /// Whoever gathers: nobody else may, up to a limit, and nobody at all after the shutdown.
    fn admit(&self) -> Option<OwnedSemaphorePermit> {
        let is_open = !self.0.metrics.is_shut_down();
        is_open.then(|| self.0.gathers.clone().try_acquire_owned().ok()).flatten()
    }

    fn answer(&self, wanted: Wanted) -> Response {
        let started = Instant::now();
        let mut out = self.0.buffers.take();
        let gathered = self.gather(wanted.format, &mut out);
        let outcome = if gathered.sdk_failed { ScrapeOutcome::Error } else { ScrapeOutcome::Ok };
        let (body, is_packed) = self.pack(wanted.gzip, out);
        self.0.duration.of(outcome).record(started.elapsed().as_secs_f64());
        let mut response = body.into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(wanted.format.content_type()));
        headers.append(VARY, HeaderValue::from(ACCEPT));
        headers.append(VARY, HeaderValue::from(ACCEPT_ENCODING));
        if is_packed {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        response
    }

    fn gather(&self, format: Format, out: &mut Vec<u8>) -> Gathered {
        self.0.metrics.refresh();
        let before = out.len();
        let gathered = match self.0.metrics.bridge() {
            None => self.0.renderer.render(&self.0.metrics, format, out),
            Some(registry) => gather_bridge(registry, out),
        };
        self.0.metrics.note_scrape(out.len() - before, gathered);
        gathered
    }

    fn pack(&self, gzip: bool, out: Vec<u8>) -> (Bytes, bool) {
        if gzip {
            let mut encoder = GzEncoder::new(self.0.buffers.take(), Compression::fast());
            if encoder.write_all(&out).is_ok()
                && let Ok(packed) = encoder.finish()
            {
                self.0.buffers.give(out);
                return (self.0.buffers.lend(packed), true);
            }
        }
        (self.0.buffers.lend(out), false)
    }
}

async fn serve(State(exposition): State<Exposition>, headers: HeaderMap) -> Response {
    let Some(permit) = exposition.admit() else {
        exposition.0.duration.of(ScrapeOutcome::Busy).record(0.0);
        return refuse("busy or shutting down; retry");
    };
    let format = match exposition.0.metrics.bridge() {
        None => negotiate::format(&headers),
        Some(_) => Format::Text,
    };
    let wanted = Wanted { format, gzip: negotiate::allows_gzip(&headers) };
    let gathering = exposition.clone();
    let answer = tokio::task::spawn_blocking(move || {
        let _permit = permit;
        gathering.answer(wanted)
    });
    match answer.await {
        Ok(response) => response,
        Err(_) => {
            exposition.0.duration.of(ScrapeOutcome::Error).record(0.0);
            refuse("the scrape failed; retry")
        }
    }
}

fn refuse(why: &'static str) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "1")], why).into_response()
}

/// The bridge's own text. Its callbacks observe every cell: that is what makes it slow.
fn gather_bridge(registry: &prometheus::Registry, out: &mut Vec<u8>) -> Gathered {
    let families = collecting(Collecting::For(Exit::Scrape), || registry.gather());
    let before = out.len();
    let sdk_failed = TextEncoder::new().encode(&families, out).is_err() || families.is_empty();
    let text = out.get(before..).unwrap_or_default();
    let series = text.split(|byte| *byte == b'\n').filter(|line| is_sample(line)).count();
    Gathered { series, conflicts: 0, sdk_failed }
}

fn is_sample(line: &[u8]) -> bool {
    !line.is_empty() && !line.starts_with(b"#")
}
