//! Spans: whether there is one, decided before anything of it is built, and how it looks.

use super::ErrorType;
use super::headers::{Inject, with_context};
use crate::semconv::{self, Operation};
use opentelemetry::global::{self, BoxedSpan, BoxedTracer};
use opentelemetry::trace::{
    Link, Span, SpanBuilder, SpanContext, SpanKind, Status, TraceContextExt, Tracer,
};
use opentelemetry::{Context, KeyValue};
use rdkafka::message::ToBytes;
use rdkafka::producer::FutureRecord;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

/// How many links a span of ours carries at most.
pub(crate) const LINKS: usize = 128;

/// Where spans go, and whether they may begin traces.
#[derive(Clone)]
pub(crate) struct Traces {
    to: To,
    roots: bool,
}

#[derive(Clone)]
enum To {
    Nowhere,
    /// To what is the global provider whenever a span begins.
    Global,
    Tracer(Arc<BoxedTracer>),
}

impl fmt::Debug for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let to = match self.to {
            To::Nowhere => "nowhere",
            To::Global => "global",
            To::Tracer(_) => "tracer",
        };
        f.debug_struct("Traces").field("to", &to).field("roots", &self.roots).finish()
    }
}

/// The span of a record on its way; boxed, because most records have none.
pub(crate) type SendSpan = Option<Box<BoxedSpan>>;

/// What a span is about.
pub(crate) struct About<'a> {
    pub(crate) operation: Operation,
    /// `None` when it is about several topics, or none.
    pub(crate) topic: Option<&'a str>,
    pub(crate) attributes: Vec<KeyValue>,
    pub(crate) links: Vec<SpanContext>,
    /// `None` is now.
    pub(crate) start: Option<SystemTime>,
}

/// The trace that the work at hand belongs to.
enum Ambient {
    Sampled(Context),
    Unsampled,
    None,
}

impl Ambient {
    fn now() -> Self {
        Context::map_current(|context| {
            if context.is_telemetry_suppressed() {
                return Self::Unsampled;
            }
            if !context.has_active_span() {
                return Self::None;
            }
            let current = context.span();
            let current = current.span_context();
            match (current.is_valid(), current.is_sampled()) {
                (true, true) => Self::Sampled(context.clone()),
                (true, false) => Self::Unsampled,
                (false, _) => Self::None,
            }
        })
    }
}

impl Traces {
    pub(crate) fn off() -> Self {
        Self { to: To::Nowhere, roots: false }
    }

    pub(crate) fn global() -> Self {
        Self { to: To::Global, roots: false }
    }

    pub(crate) fn given(tracer: BoxedTracer) -> Self {
        Self { to: To::Tracer(Arc::new(tracer)), roots: false }
    }

    /// Whether there can be spans at all.
    pub(crate) fn are_wanted(&self) -> bool {
        !matches!(self.to, To::Nowhere)
    }

    pub(crate) fn begin_roots(&mut self) {
        self.roots = true;
    }

    /// The parent of a span that begins now; `None` if there is to be no span.
    #[inline]
    pub(crate) fn parent(&self) -> Option<Context> {
        if !self.are_wanted() {
            return None;
        }
        match Ambient::now() {
            Ambient::Sampled(context) => Some(context),
            Ambient::None if self.roots => Some(Context::new()),
            _ => None,
        }
    }

    /// What becomes of a commit that begins now in the work at hand.
    pub(crate) fn commit_parent(&self) -> CommitParent {
        if !self.are_wanted() {
            return CommitParent::Never;
        }
        match Ambient::now() {
            Ambient::Sampled(context) => CommitParent::Given(context),
            Ambient::Unsampled => CommitParent::Never,
            Ambient::None => self.own_commit_parent(),
        }
    }

    /// What becomes of a commit that begins now by itself, whatever work is at hand.
    pub(crate) fn own_commit_parent(&self) -> CommitParent {
        match (self.are_wanted(), self.roots) {
            (false, _) => CommitParent::Never,
            (true, true) => CommitParent::Given(Context::new()),
            (true, false) => CommitParent::IfLinked,
        }
    }

    /// The parent of a `process` span that begins now, and the context of the record's creation.
    ///
    /// The work at hand is the parent where it is part of a trace. Otherwise the record's creation
    /// is, which makes one trace of the record's way.
    pub(crate) fn process_parent(
        &self,
        created: impl FnOnce() -> Option<SpanContext>,
    ) -> Option<(Context, Option<SpanContext>)> {
        if !self.are_wanted() {
            return None;
        }
        match Ambient::now() {
            Ambient::Sampled(context) => Some((context, created())),
            Ambient::Unsampled => None,
            Ambient::None => match created() {
                Some(created) if created.is_sampled() => {
                    let parent = Context::new().with_remote_span_context(created.clone());
                    Some((parent, Some(created)))
                }
                // Whoever sent it has decided already.
                Some(_) => None,
                None => self.roots.then(|| (Context::new(), None)),
            },
        }
    }

    /// The span of `record`, whose headers get its context unless the user has set one.
    #[inline]
    pub(crate) fn send<K, P>(
        &self,
        record: &mut FutureRecord<'_, K, P>,
        client_id: Option<&Arc<str>>,
    ) -> SendSpan
    where
        K: ToBytes + ?Sized,
        P: ToBytes + ?Sized,
    {
        let parent = self.parent()?;
        let (span, headers) = self.begin_send(
            &parent,
            Sending {
                topic: record.topic,
                partition: record.partition,
                is_tombstone: record.payload.is_none(),
                client_id,
                inject: Inject::decide(record.headers.as_ref()),
            },
        );
        if let Some(context) = headers {
            record.headers = Some(with_context(record.headers.take(), &context));
        }
        Some(span)
    }

    #[cold]
    fn begin_send(
        &self,
        parent: &Context,
        sending: Sending<'_>,
    ) -> (Box<BoxedSpan>, Option<SpanContext>) {
        let mut attributes = Vec::with_capacity(6);
        attributes.extend(sending.partition.map(partition));
        let client_id = |id: &Arc<str>| KeyValue::new(semconv::CLIENT_ID, id.clone());
        attributes.extend(sending.client_id.map(client_id));
        if sending.is_tombstone {
            attributes.push(KeyValue::new(semconv::KAFKA_TOMBSTONE, true));
        }
        let (links, set) = match sending.inject {
            Inject::Keep(context) => (context.into_iter().collect(), false),
            Inject::Set => (Vec::new(), true),
        };
        let topic = Some(sending.topic);
        let operation = Operation::Send;
        let span = self.start(parent, About { operation, topic, attributes, links, start: None });
        let context = span.span_context();
        let context = (set && context.is_valid()).then(|| context.clone());
        (Box::new(span), context)
    }

    /// Begins a span.
    pub(crate) fn start(&self, parent: &Context, about: About<'_>) -> BoxedSpan {
        let operation = about.operation;
        let mut attributes = about.attributes;
        attributes.extend(super::common(operation));
        attributes.push(KeyValue::new(semconv::OPERATION_TYPE, operation.kind()));
        let name = match about.topic {
            Some(topic) => {
                attributes.push(KeyValue::new(semconv::DESTINATION_NAME, topic.to_owned()));
                format!("{} {topic}", operation.name()).into()
            }
            None => operation.name().into(),
        };
        let links = about.links.into_iter().take(LINKS).map(Link::with_context).collect();
        let mut builder = SpanBuilder::from_name::<std::borrow::Cow<'static, str>>(name)
            .with_kind(kind(operation))
            .with_attributes(attributes)
            .with_links(links);
        if let Some(start) = about.start {
            builder = builder.with_start_time(start);
        }
        match &self.to {
            To::Tracer(tracer) => tracer.build_with_context(builder, parent),
            _ => global::tracer_with_scope(super::scope()).build_with_context(builder, parent),
        }
    }
}

/// Whether a commit has a span, as far as that is known when it begins.
pub(crate) enum CommitParent {
    /// It has, below this one.
    Given(Context),
    /// It begins a trace if it settles a traced record.
    IfLinked,
    /// It has none.
    Never,
}

impl CommitParent {
    /// The parent of a commit that is over.
    pub(crate) fn decide(self, links: &[SpanContext]) -> Option<Context> {
        match self {
            Self::Given(parent) => Some(parent),
            Self::IfLinked => (!links.is_empty()).then(Context::new),
            Self::Never => None,
        }
    }
}

/// What the span of a record on its way is about.
struct Sending<'a> {
    topic: &'a str,
    partition: Option<i32>,
    is_tombstone: bool,
    client_id: Option<&'a Arc<str>>,
    inject: Inject,
}

fn kind(operation: Operation) -> SpanKind {
    match operation {
        Operation::Send => SpanKind::Producer,
        Operation::Process => SpanKind::Consumer,
        Operation::Poll | Operation::Commit => SpanKind::Client,
    }
}

pub(crate) fn partition(partition: i32) -> KeyValue {
    KeyValue::new(semconv::DESTINATION_PARTITION_ID, partition.to_string())
}

/// Ends `span`, as failed if there is an `error`.
pub(crate) fn end(span: &mut impl Span, error: Option<ErrorType>) {
    if let Some(error) = error {
        span.set_attribute(KeyValue::new(semconv::ERROR_TYPE, error.as_str()));
        span.set_status(Status::error(""));
    }
    span.end();
}
