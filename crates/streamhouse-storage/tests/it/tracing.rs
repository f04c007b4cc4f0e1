//! From any record's request one link leads to the PUT that made it durable, and back.

use crate::support::{CommitFault, Log, at, batch, eventually, marked};
use opentelemetry::trace::{SpanContext, SpanId, Status, TraceFlags, TraceId, TraceState};
use opentelemetry_sdk::trace::SpanData;
use streamhouse_metadata::TopicPartition;
use streamhouse_observability::labels::Operation;
use streamhouse_observability::testing;
use streamhouse_storage::testing::Fault;
use streamhouse_storage::{Append, AppendError, Appended};

fn request(id: u64) -> SpanContext {
    let (trace, span) = (TraceId::from(u128::from(id)), SpanId::from(id));
    SpanContext::new(trace, span, TraceFlags::SAMPLED, false, TraceState::NONE)
}

fn append(
    log: &Log,
    partition: TopicPartition,
    span: Option<SpanContext>,
) -> impl Future<Output = Result<Appended, AppendError>> + Send + use<> {
    log.pool.append(Append { partition, batch: batch(&marked("record")), span })
}

fn links(span: &SpanData) -> Vec<SpanContext> {
    span.links.iter().map(|link| link.span_context.clone()).collect()
}

#[tokio::test]
async fn a_flush_and_the_requests_that_it_serves_know_each_other() {
    let traces = testing::traces(0.0);
    let log = Log::start().await;
    let partition = at(&log.topic("orders", 1).await, 0);
    let waits =
        [Some(request(1)), None, Some(request(2))].map(|span| append(&log, partition, span));
    let mut flushes = Vec::new();
    for outcome in waits {
        flushes.push(outcome.await.unwrap().flush.expect("the flush is traced"));
    }
    eventually("the span ends", || !traces.named("segment_flush").is_empty()).await;
    let [flush] = &traces.named("segment_flush")[..] else { panic!("one flush, one span") };
    assert!(flushes.iter().all(|context| *context == flush.span_context));
    assert_eq!(links(flush), [request(1), request(2)]);
    assert_eq!(flush.status, Status::Unset);
}

#[tokio::test]
async fn a_flush_for_nobody_who_is_traced_is_not_traced() {
    let traces = testing::traces(1.0);
    let log = Log::start().await;
    let partition = at(&log.topic("orders", 1).await, 0);
    assert!(append(&log, partition, None).await.unwrap().flush.is_none());
    assert!(traces.named("segment_flush").is_empty());
}

#[tokio::test]
async fn the_span_of_a_flush_that_failed_says_why() {
    let traces = testing::traces(0.0);
    let log = Log::start().await;
    let partition = at(&log.topic("orders", 1).await, 0);
    log.faults.queue(Operation::Put, [Fault::Throttled]);
    append(&log, partition, Some(request(1))).await.unwrap_err();
    log.metadata.queue([CommitFault::Refused]);
    append(&log, partition, Some(request(2))).await.unwrap_err();
    eventually("the spans end", || traces.named("segment_flush").len() == 2).await;
    let why = |span: &SpanData| {
        let why = span.attributes.iter().find(|pair| pair.key.as_str() == "error.type");
        why.map(|pair| pair.value.to_string())
    };
    let said: Vec<_> = traces.named("segment_flush").iter().map(why).collect();
    assert_eq!(said, [Some("throttling".into()), Some("refused".into())]);
}

#[tokio::test]
async fn a_commit_for_several_flushes_is_linked_with_all_of_them() {
    let traces = testing::traces(0.0);
    let log = Log::start().await;
    let partition = at(&log.topic("orders", 1).await, 0);
    log.faults.queue(Operation::Put, [Fault::Hold]);
    let first = append(&log, partition, Some(request(1)));
    eventually("the first PUT", || log.faults.calls(Operation::Put) == 1).await;
    let second = append(&log, partition, Some(request(2)));
    while log.objects().await < 1 {
        tokio::task::yield_now().await;
    }
    log.faults.release();
    let (first, second) = (first.await.unwrap(), second.await.unwrap());
    assert_eq!(log.metadata.commits(), [2]);
    eventually("the spans end", || traces.named("segment_flush").len() == 2).await;
    let of_first = traces
        .named("segment_flush")
        .into_iter()
        .find(|span| Some(&span.span_context) == first.flush.as_ref());
    assert_eq!(links(&of_first.unwrap()), [request(1), second.flush.unwrap()]);
}
