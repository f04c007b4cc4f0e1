//! What log lines say about the work they come from: the request, the topic, the partition.
//!
//! It travels beside the OpenTelemetry context, in a thread-local that a future fills while it is
//! polled: two moves a poll, and no allocation.

use opentelemetry::Context;
use opentelemetry::context::FutureExt;
use opentelemetry::trace::SpanId;
use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use tracing::{Instrument, Span};

/// What a client calls itself is cut here.
const CLIENT_LIMIT: usize = 128;

/// What the protocol calls a request.
#[derive(Clone, Debug)]
pub struct RequestIds {
    /// The API or route: from a closed list.
    pub api: &'static str,
    /// The number that the client gave the request on its connection.
    pub correlation_id: i32,
    /// The client's name for itself; log lines show at most 128 bytes of it.
    pub client_id: Option<Arc<str>>,
}

/// The fields that log lines carry beside their own.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scope {
    /// The span id that stands for the request, sampled or not.
    pub(crate) request: Option<SpanId>,
    pub(crate) ids: Option<RequestIds>,
    pub(crate) topic: Option<Arc<str>>,
    pub(crate) partition: Option<i32>,
}

/// A value of a scope's field.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ScopeValue<'a> {
    Text(&'a str),
    Number(i64),
    Id(SpanId),
}

impl Scope {
    /// Shows the fields that are known, with their names.
    pub(crate) fn each(&self, mut show: impl FnMut(&'static str, ScopeValue<'_>)) {
        if let Some(id) = self.request {
            show("request_id", ScopeValue::Id(id));
        }
        if let Some(ids) = &self.ids {
            show("api", ScopeValue::Text(ids.api));
            show("correlation_id", ScopeValue::Number(ids.correlation_id.into()));
            if let Some(client) = &ids.client_id {
                let shown = client.get(..client.floor_char_boundary(CLIENT_LIMIT));
                show("client_id", ScopeValue::Text(shown.unwrap_or_default()));
            }
        }
        if let Some(topic) = &self.topic {
            show("topic", ScopeValue::Text(topic));
        }
        if let Some(partition) = self.partition {
            show("partition", ScopeValue::Number(partition.into()));
        }
    }
}

thread_local! {
    static SCOPE: RefCell<Scope> = const {
        RefCell::new(Scope { request: None, ids: None, topic: None, partition: None })
    };
}

/// Shows the current scope to `read`; `None` if this thread is just changing it.
pub(crate) fn with_scope<T>(read: impl FnOnce(&Scope) -> T) -> Option<T> {
    SCOPE.try_with(|scope| scope.try_borrow().ok().map(|scope| read(&scope))).ok().flatten()
}

fn swap(other: &mut Scope) {
    let _ = SCOPE.try_with(|scope| {
        if let Ok(mut scope) = scope.try_borrow_mut() {
            std::mem::swap(&mut *scope, other);
        }
    });
}

/// Has its scope in force until it is dropped.
struct Entered<'a>(&'a mut Scope);

impl<'a> Entered<'a> {
    fn new(scope: &'a mut Scope) -> Self {
        swap(scope);
        Self(scope)
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        swap(self.0);
    }
}

/// Runs `work` with `scope` in force whenever it is polled.
pub(super) async fn scoped<T>(mut scope: Scope, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    poll_fn(|task| {
        let _entered = Entered::new(&mut scope);
        work.as_mut().poll(task)
    })
    .await
}

/// Runs `work` on behalf of one partition: its log lines say so.
pub fn with_partition<T>(
    topic: Arc<str>,
    partition: i32,
    work: impl Future<Output = T>,
) -> impl Future<Output = T> {
    let mut scope = with_scope(Scope::clone).unwrap_or_default();
    scope.topic = Some(topic);
    scope.partition = Some(partition);
    scoped(scope, work)
}

/// Lets `work` be spawned: it keeps the span, the ids and the log fields of the place where
/// `carry` was called, which `tokio::spawn` alone would lose.
pub fn carry<T>(work: impl Future<Output = T>) -> impl Future<Output = T> {
    let scope = with_scope(Scope::clone).unwrap_or_default();
    let context = Context::current();
    scoped(scope, work.with_context(context).instrument(Span::current()))
}

/// As [`carry`], for work on a thread that may block.
pub fn carry_blocking<T>(work: impl FnOnce() -> T) -> impl FnOnce() -> T {
    let mut scope = with_scope(Scope::clone).unwrap_or_default();
    let context = Context::current();
    let span = Span::current();
    move || {
        let _entered = Entered::new(&mut scope);
        let _attached = context.attach();
        span.in_scope(work)
    }
}
