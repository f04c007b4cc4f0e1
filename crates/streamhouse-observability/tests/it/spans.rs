use opentelemetry::trace::{SpanContext, SpanKind, Status, TraceContextExt};
use opentelemetry::{Context, Value};
use opentelemetry_sdk::trace::SpanData;
use std::time::{Duration, Instant, SystemTime};
use streamhouse_observability::labels::{Api, MetadataOperation, Operation};
use streamhouse_observability::spans::{self, Arrival, Requests, SPANS, Sampling};
use streamhouse_observability::testing::{self, Traces};
use tracing::{Instrument, Span};

fn current() -> SpanContext {
    Context::current().span().span_context().clone()
}

fn attribute(span: &SpanData, key: &str) -> Value {
    span.attributes.iter().find(|pair| pair.key.as_str() == key).unwrap().value.clone()
}

/// Runs `make` as a child of a sampled request and shows the span it made.
async fn child(make: impl FnOnce() -> Span) -> SpanData {
    let traces = testing::traces(1.0);
    let request = traces.requests().begin(Arrival::now(), &[]);
    request.run(|| spans::produce_request(1, 1), async { drop(make()) }).await;
    let root = request.context().clone();
    request.finish(false, Span::none).unwrap();
    let ended = traces.spans();
    assert_eq!(ended.len(), 2);
    assert_eq!(ended[0].parent_span_id, root.span_id());
    assert_eq!(ended[0].span_context.trace_id(), root.trace_id());
    ended[0].clone()
}

/// Runs an empty request with the span that `make` makes and shows it.
async fn root(make: impl FnOnce() -> Span) -> SpanData {
    let traces = testing::traces(1.0);
    let request = traces.requests().begin(Arrival::now(), &[]);
    request.run(make, async {}).await;
    let ids = request.context().clone();
    request.finish(false, Span::none).unwrap();
    let [span] = traces.spans().try_into().unwrap();
    assert_eq!(
        (span.span_context.trace_id(), span.span_context.span_id()),
        (ids.trace_id(), ids.span_id())
    );
    span
}

/// Holds a span to its row in the list.
fn assert_listed(span: &SpanData) {
    let row = SPANS.iter().find(|row| row.name == span.name).unwrap();
    let kind = format!("{:?}", span.span_kind).to_lowercase();
    let keys: Vec<_> = span.attributes.iter().map(|pair| pair.key.as_str()).collect();
    assert_eq!((kind.as_str(), keys.as_slice()), (row.kind, row.attributes), "{}", row.name);
}

#[tokio::test]
async fn a_produce_request_is_a_server_span_with_its_size() {
    let span = root(|| spans::produce_request(3, 4096)).await;
    assert_listed(&span);
    assert_eq!(span.name, "produce_request");
    assert_eq!(attribute(&span, "streamhouse.partitions"), Value::I64(3));
    assert_eq!(attribute(&span, "streamhouse.bytes"), Value::I64(4096));
}

#[tokio::test]
async fn a_consume_request_is_a_server_span() {
    let span = root(|| spans::consume_request(7)).await;
    assert_listed(&span);
    assert_eq!(span.name, "consume_request");
    assert_eq!(span.span_kind, SpanKind::Server);
    assert_eq!(attribute(&span, "streamhouse.partitions"), Value::I64(7));
}

#[tokio::test]
async fn a_group_request_is_a_server_span_that_names_its_operation() {
    let span = root(|| spans::group_request(Api::JoinGroup)).await;
    assert_listed(&span);
    assert_eq!(attribute(&span, "messaging.operation.name"), Value::from("join_group"));
}

#[tokio::test]
async fn an_http_request_shows_known_methods_only() {
    let span = root(|| spans::http_request("GET", "/metrics")).await;
    assert_listed(&span);
    assert_eq!(attribute(&span, "http.request.method"), Value::from("GET"));
    let span = root(|| spans::http_request("G\u{202e}T", "/metrics")).await;
    assert_eq!(attribute(&span, "http.request.method"), Value::from("_OTHER"));
}

#[tokio::test]
async fn a_partition_write_names_topic_and_partition() {
    let span = child(|| spans::partition_write("orders", 12, 1000, 98_765)).await;
    assert_listed(&span);
    assert_eq!(attribute(&span, "messaging.destination.name"), Value::from("orders"));
    assert_eq!(attribute(&span, "messaging.destination.partition.id"), Value::from("12"));
    assert_eq!(attribute(&span, "messaging.batch.message_count"), Value::I64(1000));
}

#[tokio::test]
async fn an_object_store_call_is_a_client_span_that_can_fail() {
    let span = child(|| {
        let span = spans::object_store(Operation::Put, "a/b");
        spans::failed(&span, "throttling");
        span
    })
    .await;
    assert_eq!(span.span_kind, SpanKind::Client);
    assert_eq!(attribute(&span, "aws.s3.key"), Value::from("a/b"));
    assert_eq!(attribute(&span, "error.type"), Value::from("throttling"));
    assert!(matches!(span.status, Status::Error { .. }));
    assert_listed(&child(|| spans::object_store(Operation::Get, "a/b")).await);
}

#[tokio::test]
async fn a_metadata_operation_is_a_client_span() {
    let span = child(|| spans::metadata("sqlite", MetadataOperation::Commit)).await;
    assert_listed(&span);
    assert_eq!(attribute(&span, "db.operation.name"), Value::from("commit"));
}

#[test]
fn a_flush_is_a_trace_of_its_own_linked_with_the_sampled_requests_it_serves() {
    let traces = testing::traces(0.0);
    let sampled = remote(1..=200, true);
    let unsampled = remote(300..=301, false);
    let both: Vec<_> = unsampled.iter().chain(&sampled).cloned().collect();

    let flush = spans::segment_flush("a/b", 10, &both);
    assert!(spans::segment_flush("a/b", 10, &unsampled).is_disabled());
    let own = spans::sampled_context(&flush).unwrap();
    flush.in_scope(|| drop(spans::object_store(Operation::Put, "a/b")));
    drop(flush);

    let [put, flush] = traces.spans().try_into().unwrap();
    assert_listed(&flush);
    assert_eq!(flush.span_context, own);
    assert_eq!(put.parent_span_id, own.span_id());
    assert_eq!(flush.parent_span_id, opentelemetry::trace::SpanId::INVALID);
    assert!(sampled.iter().all(|one| one.trace_id() != own.trace_id()));
    let linked: Vec<_> = flush.links.iter().map(|link| link.span_context.clone()).collect();
    assert_eq!(linked, sampled[..spans::LINKS]);
}

#[tokio::test]
async fn a_request_and_its_flush_are_linked_both_ways() {
    let traces = testing::traces(1.0);
    let request = traces.requests().begin(Arrival::now(), &[]);
    let own = request.context().clone();
    request
        .run(|| spans::produce_request(1, 1), async {
            let here = spans::sampled_context(&Span::current()).unwrap();
            let flush = spans::segment_flush("a", 1, &[here]);
            spans::link(&Span::current(), &spans::sampled_context(&flush).unwrap());
        })
        .await;
    request.finish(false, Span::none);
    let [flush, request] = traces.spans().try_into().unwrap();
    assert_eq!(flush.links.links[0].span_context.span_id(), own.span_id());
    assert_eq!(request.links.links[0].span_context, flush.span_context);
}

fn remote(ids: std::ops::RangeInclusive<u64>, sampled: bool) -> Vec<SpanContext> {
    ids.map(|id| {
        let text = format!("00-{:032x}-{id:016x}-0{}", u128::from(id) << 64, u8::from(sampled));
        spans::propagation::remote_context(text.as_bytes(), None).unwrap()
    })
    .collect()
}

fn arrived_ago(ago: Duration) -> Arrival {
    Arrival { wall: SystemTime::now() - ago, at: Instant::now() - ago }
}

#[tokio::test]
async fn a_slow_request_is_traced_afterwards_with_its_ids_and_its_true_start_and_duration() {
    let traces = testing::traces(0.0);
    // The wall clock was set back by an hour meanwhile: durations are not its business.
    let mut arrival = arrived_ago(Duration::from_secs(3));
    arrival.wall -= Duration::from_secs(3600);
    let request = traces.requests().begin(arrival, &[]);
    let ids = request.context().clone();
    let seen = request.run(|| spans::produce_request(1, 1), async { current() }).await;
    assert!(traces.spans().is_empty());

    let exemplar = request.finish(false, || spans::produce_request(1, 1)).unwrap();

    let [span] = traces.spans().try_into().unwrap();
    assert_eq!(span.span_context, exemplar);
    for other in [&seen, &ids] {
        assert_eq!(other.trace_id(), exemplar.trace_id());
        assert_eq!(other.span_id(), exemplar.span_id());
        assert!(!other.is_sampled());
    }
    assert_eq!(span.start_time, arrival.wall);
    let took = span.end_time.duration_since(span.start_time).unwrap();
    assert_eq!(took.as_millis() / 500, 6, "3 s, took {took:?}");
    assert_eq!(span.status, Status::Unset);
    assert_eq!(traces.metrics().late_traces.bind(&()).get(), 1);
}

#[tokio::test]
async fn a_long_poll_is_not_slow_for_the_time_that_its_client_asked_it_to_wait() {
    let traces = testing::traces(0.0);
    let mut polled = traces.requests().begin(arrived_ago(Duration::from_secs(5)), &[]);
    polled.waited(Duration::from_millis(4_900));
    assert_eq!(polled.finish(false, || spans::consume_request(1)), None);
    let mut slow = traces.requests().begin(arrived_ago(Duration::from_secs(5)), &[]);
    slow.waited(Duration::from_millis(3_900));
    assert!(slow.finish(false, || spans::consume_request(1)).is_some());
}

#[tokio::test]
async fn a_failed_request_is_traced_afterwards_and_a_quick_good_one_is_not() {
    let traces = testing::traces(0.0);
    let quick = traces.requests().begin(Arrival::now(), &[]);
    assert_eq!(quick.finish(false, || spans::consume_request(1)), None);
    let failed = traces.requests().begin(Arrival::now(), &[]);
    assert!(failed.finish(true, || spans::consume_request(1)).is_some());
    let [span] = traces.spans().try_into().unwrap();
    assert!(matches!(span.status, Status::Error { .. }));
}

#[tokio::test]
async fn a_sampled_request_starts_at_its_arrival_and_is_one_span_over_several_runs() {
    let traces = testing::traces(1.0);
    let mut arrival = arrived_ago(Duration::from_millis(250));
    arrival.wall -= Duration::from_secs(3600);
    let request = traces.requests().begin(arrival, &[]);
    for _ in 0..2 {
        let seen = request.run(|| spans::produce_request(1, 1), async { current() }).await;
        assert_eq!(seen.span_id(), request.context().span_id());
        assert!(seen.is_sampled());
    }
    let exemplar = request.finish(true, || spans::produce_request(1, 1)).unwrap();
    let [span] = traces.spans().try_into().unwrap();
    assert_eq!((span.start_time, &span.span_context), (arrival.wall, &exemplar));
    let took = span.end_time.duration_since(span.start_time).unwrap();
    assert!((250..30_000).contains(&took.as_millis()), "{took:?}");
    assert!(matches!(span.status, Status::Error { .. }));
    assert_eq!(traces.metrics().late_traces.bind(&()).get(), 0);
}

#[tokio::test]
async fn late_traces_are_capped_and_the_rest_is_counted() {
    let traces =
        testing::traces_with(Sampling { ratio: 0.0, late_per_second: 50, ..Sampling::default() });
    let arrival = Arrival::now();
    for _ in 0..1000 {
        // All at one instant, as the cap sees it.
        traces.requests().begin(arrival, &[]).finish(true, || spans::produce_request(1, 1));
    }
    let late = traces.metrics().late_traces.bind(&()).get();
    assert_eq!(late as usize, traces.spans().len());
    assert_eq!(late + traces.metrics().capped_traces.bind(&()).get(), 1000);
    let seconds = arrival.at.elapsed().as_secs() + 1;
    assert!((5..=55 * seconds).contains(&late), "{late} in {seconds} s");
}

#[tokio::test]
async fn untrusted_contexts_force_no_more_traces_than_the_cap() {
    let traces = testing::traces_with(Sampling {
        ratio: 0.0,
        remote_per_second: 100,
        ..Sampling::default()
    });
    let asked = remote(5..=5, true);
    let start = Instant::now();
    let mut sampled = 0;
    for n in 0..100_000 {
        let arrival =
            Arrival { wall: SystemTime::now(), at: start + Duration::from_micros(10 * n) };
        let request = traces.requests().begin(arrival, &asked);
        let parented = request.context().trace_id() == asked[0].trace_id();
        assert_eq!(parented, request.context().is_sampled(), "a capped request is a new root");
        sampled += u64::from(parented);
    }
    assert!((100..=110).contains(&sampled), "{sampled} in one second");
    assert_eq!(traces.metrics().capped_traces.bind(&()).get(), 100_000 - sampled);
}

#[tokio::test]
async fn the_first_sampled_context_is_the_parent_and_the_others_are_links() {
    let traces = testing::traces(0.0);
    let mut all = remote(1..=1, false);
    all.extend(remote(2..=4, true));
    let request = traces.requests().begin(Arrival::now(), &all);
    request.run(|| spans::produce_request(1, 1), async {}).await;
    request.finish(false, Span::none);
    let [span] = traces.spans().try_into().unwrap();
    assert_eq!(span.parent_span_id, all[1].span_id());
    assert!(span.parent_span_is_remote);
    assert_eq!(span.span_context.trace_id(), all[1].trace_id());
    let linked: Vec<_> = span.links.iter().map(|link| link.span_context.clone()).collect();
    assert_eq!(linked, all[2..]);
}

#[tokio::test]
async fn an_unsampled_remote_context_hides_nothing() {
    let traces = testing::traces(1.0);
    let request = traces.requests().begin(Arrival::now(), &remote(1..=1, false));
    assert!(request.context().is_sampled());
    let ratio = testing::traces(0.25).requests();
    let sampled =
        (0..10_000).filter(|_| ratio.begin(Arrival::now(), &[]).context().is_sampled()).count();
    assert!((2_200..2_800).contains(&sampled), "{sampled} of 10,000 at 0.25");
}

#[tokio::test]
async fn nothing_is_built_outside_a_sampled_request() {
    let traces = testing::traces(0.0);
    let request = traces.requests().begin(Arrival::now(), &[]);
    let mut made = false;
    request
        .run(
            || {
                made = true;
                Span::none()
            },
            async {
                assert!(spans::partition_write("orders", 0, 1, 1).is_disabled());
                assert!(spans::object_store(Operation::Put, "a").is_disabled());
                assert!(spans::metadata("sqlite", MetadataOperation::Commit).is_disabled());
                assert!(spans::produce_request(1, 1).is_disabled());
                assert_eq!(spans::sampled_context(&Span::current()), None);
            },
        )
        .await;
    assert!(!made);
    assert_eq!(
        traces.metrics().unsampled.bind(&streamhouse_observability::labels::Signal::Traces).get(),
        0
    );
    drop(request);
    let off = Requests::untraced();
    assert!(!off.reads_headers());
    assert!(off.begin(Arrival::now(), &remote(1..=1, true)).context().is_valid());
    assert_eq!(off.begin(Arrival::now(), &[]).finish(true, || spans::consume_request(1)), None);
}

#[tokio::test]
async fn a_foreign_span_follows_the_request_and_is_counted_when_it_is_left_out() {
    fn foreign() -> Span {
        tracing::info_span!("foreign")
    }
    let cell = |traces: &Traces| {
        traces.metrics().unsampled.bind(&streamhouse_observability::labels::Signal::Traces).get()
    };
    let traces = testing::traces(0.0);
    let request = traces.requests().begin(Arrival::now(), &[]);
    request.run(Span::none, async { drop(foreign()) }).await;
    assert_eq!((traces.spans().len(), cell(&traces)), (0, 1));
    drop(traces);

    let traces = testing::traces(1.0);
    let request = traces.requests().begin(Arrival::now(), &[]);
    let own = request.context().clone();
    request.run(|| spans::consume_request(1), async { drop(foreign()) }).await;
    let [span] = traces.spans().try_into().unwrap();
    assert_eq!((span.parent_span_id, cell(&traces)), (own.span_id(), 0));
}

#[tokio::test]
async fn spawned_and_blocking_work_keeps_the_request() {
    for ratio in [0.0, 1.0] {
        let traces = testing::traces(ratio);
        let request = traces.requests().begin(Arrival::now(), &[]);
        let (spawned, blocking, lost) = request
            .run(|| spans::produce_request(1, 1), async {
                let spawned = tokio::spawn(spans::carry(async {
                    let inner = spans::partition_write("a", 1, 1, 1);
                    async { current() }.instrument(inner).await
                }));
                let blocking = spans::carry_blocking(current);
                let blocking = tokio::task::spawn_blocking(blocking).await.unwrap();
                (spawned.await.unwrap(), blocking, tokio::spawn(async { current() }).await)
            })
            .await;
        assert!(!lost.unwrap().is_valid(), "what spawn alone would see");
        assert_eq!(blocking.span_id(), request.context().span_id());
        assert_eq!(spawned.trace_id(), request.context().trace_id());
        assert_eq!(spawned.span_id() != request.context().span_id(), ratio == 1.0);
        request.finish(false, Span::none);
        assert_eq!(traces.named("partition_write").len() as f64, ratio);
    }
}

#[tokio::test]
async fn a_cancelled_request_leaves_a_span_and_no_ids_behind() {
    let traces = testing::traces(1.0);
    let request = traces.requests().begin(Arrival::now(), &[]);
    let work = request.run(|| spans::produce_request(1, 1), std::future::pending::<()>());
    assert!(tokio::time::timeout(Duration::from_millis(1), work).await.is_err());
    assert!(!current().is_valid());
    drop(request);
    assert_eq!(traces.named("produce_request").len(), 1);
}

#[test]
fn a_thousand_nested_spans_and_their_logs_neither_hang_nor_panic() {
    let traces = testing::traces(1.0);
    let entered: Vec<_> = (0..1_000)
        .map(|n: i64| {
            let span = tracing::info_span!("nested", n).entered();
            tracing::info!(n, "inside");
            span
        })
        .collect();
    entered.into_iter().rev().for_each(drop);
    assert_eq!((traces.named("nested").len(), traces.lines().len()), (1_000, 1_000));
    assert!(!current().is_valid());
}

#[tokio::test]
async fn a_span_across_select_and_cancel_belongs_to_its_own_work_only() {
    let traces = testing::traces(1.0);
    let request = traces.requests().begin(Arrival::now(), &[]);
    let own = request.context().span_id();
    request
        .run(|| spans::consume_request(1), async {
            let part = |name| {
                async {
                    tokio::task::yield_now().await;
                    current().span_id()
                }
                .instrument(spans::object_store(Operation::Get, name))
            };
            let endless = std::future::pending::<()>();
            let endless = endless.instrument(spans::object_store(Operation::Get, "endless"));
            for _ in 0..100 {
                let inside = tokio::select! {
                    _ = async { tokio::task::yield_now().await } => current().span_id(),
                    id = part("slower") => id,
                };
                assert!(inside.to_string() != "0000000000000000");
                assert_eq!(current().span_id(), own);
            }
            tokio::select! {
                biased;
                () = endless => {}
                () = tokio::task::yield_now() => {}
            }
            assert_eq!(current().span_id(), own);
        })
        .await;
    request.finish(false, Span::none);
    assert_eq!(traces.named("object_store").len(), 101, "cancelled ones end, too");
    assert!(!current().is_valid());
}
