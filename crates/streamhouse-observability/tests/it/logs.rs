use opentelemetry::Key;
use opentelemetry::logs::AnyValue;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};
use std::fmt;
use std::sync::Arc;
use streamhouse_observability::labels::{LogDrop, Operation};
use streamhouse_observability::logging::{Format, LogConfig};
use streamhouse_observability::spans::{self, Arrival, RequestIds, Sampling};
use streamhouse_observability::testing::{self, Traces};
use tracing::{Instrument, debug, error, info, trace, warn};

fn logs(change: impl FnOnce(&mut LogConfig)) -> Traces {
    let mut config = LogConfig::new("streamhouse", "i-1");
    config.lines_per_second = u32::MAX;
    config.format = Format::Json;
    change(&mut config);
    testing::telemetry(Sampling { ratio: 0.0, ..Sampling::default() }, config)
}

fn dropped(logs: &Traces, reason: LogDrop) -> u64 {
    logs.metrics().log_lines_dropped.bind(&reason).get()
}

#[test]
fn a_json_line_has_the_documented_shape() {
    let logs = logs(|_| {});
    let error = std::io::Error::other("disk");
    info!(
        target: "a::b",
        text = "x",
        negative = -5,
        big = u64::MAX,
        float = 1.5,
        odd = f64::NAN,
        yes = true,
        huge = u128::MAX,
        debug = ?Some(1),
        error = &error as &dyn std::error::Error,
        "it {}", "happened"
    );
    let [line] = logs.lines().try_into().unwrap();
    let stamp = line["timestamp"].as_str().unwrap();
    assert!(stamp.len() == 27 && stamp.ends_with('Z') && stamp.starts_with("20"), "{stamp}");
    let mut expected = serde_json::json!({
        "level": "INFO",
        "target": "a::b",
        "message": "it happened",
        "fields": {
            "text": "x",
            "negative": -5,
            "big": u64::MAX,
            "float": 1.5,
            "odd": "NaN",
            "yes": true,
            "huge": u128::MAX.to_string(),
            "debug": "Some(1)",
            "error": "disk",
        },
        "service.name": "streamhouse",
        "service.instance.id": "i-1",
    });
    expected["timestamp"] = stamp.into();
    assert_eq!(line, expected);
}

#[test]
fn a_text_line_is_for_people_and_coloured_on_a_terminal_only() {
    for (terminal, format) in [(false, Format::Text), (true, Format::Auto)] {
        let logs = logs(|config| {
            config.format = format;
            config.terminal = terminal;
        });
        warn!(target: "a::b", word = "one", text = "two words", number = 3, "it happened");
        let text = logs.text();
        assert_eq!(text.contains('\x1b'), terminal, "{text:?}");
        let plain = text.replace("\x1b[0;2m", "").replace("\x1b[33m", "");
        let plain = plain.replace("\x1b[0m", "").replace("\x1b[2m", "");
        let (stamp, rest) = plain.split_once(' ').unwrap();
        assert_eq!(stamp.len(), 27);
        assert_eq!(rest, " WARN a::b: it happened word=one text=\"two words\" number=3\n");
    }
}

#[tokio::test]
async fn lines_of_an_unsampled_request_carry_the_ids_of_its_late_span() {
    let traces = testing::traces(0.0);
    let ids = RequestIds { api: "produce", correlation_id: 7, client_id: Some("app".into()) };
    let request = traces.requests().begin(Arrival::now(), &[]).with_ids(ids);
    request
        .run(|| spans::produce_request(1, 1), async {
            info!("first");
            spans::with_partition(Arc::from("orders"), 3, async {
                tokio::task::yield_now().await;
                warn!("inside");
                tokio::spawn(spans::carry(async { warn!("spawned") })).await.unwrap();
            })
            .await;
            info!("last");
        })
        .await;
    let span = request.finish(true, || spans::produce_request(1, 1)).unwrap();
    info!("outside");

    let lines = traces.lines();
    let [first, inside, spawned, last, outside] = lines.as_slice() else { panic!("{lines:?}") };
    for line in [first, inside, spawned, last] {
        assert_eq!(line["trace_id"], span.trace_id().to_string());
        assert_eq!(line["span_id"], span.span_id().to_string());
        assert_eq!(line["request_id"], span.span_id().to_string());
        assert_eq!((&line["api"], &line["client_id"]), (&"produce".into(), &"app".into()));
        assert_eq!(line["correlation_id"], 7);
    }
    for line in [inside, spawned] {
        assert_eq!((&line["topic"], &line["partition"]), (&"orders".into(), &3.into()));
    }
    for line in [first, last, outside] {
        assert!(line.get("topic").is_none() && line.get("partition").is_none());
    }
    assert!(outside.get("trace_id").is_none() && outside.get("request_id").is_none());
}

#[tokio::test]
async fn lines_in_nested_spans_carry_the_inner_span_and_the_request() {
    let traces = testing::traces(1.0);
    let request = traces.requests().begin(Arrival::now(), &[]);
    request
        .run(|| spans::produce_request(1, 1), async {
            async { info!("inner") }.instrument(spans::object_store(Operation::Put, "a")).await;
            info!("outer");
        })
        .await;
    let root = request.finish(false, tracing::Span::none).unwrap();
    let [inner, outer] = traces.lines().try_into().unwrap();
    let put = &traces.named("object_store")[0].span_context;
    assert_eq!(inner["span_id"], put.span_id().to_string());
    assert_eq!(outer["span_id"], root.span_id().to_string());
    for line in [inner, outer] {
        assert_eq!(line["trace_id"], root.trace_id().to_string());
        assert_eq!(line["request_id"], root.span_id().to_string());
    }
}

#[tokio::test]
async fn otlp_records_carry_the_ids_that_lines_show() {
    let traces = testing::traces(0.0);
    let ids = RequestIds { api: "fetch", correlation_id: 9, client_id: None };
    let request = traces.requests().begin(Arrival::now(), &[]).with_ids(ids);
    let work = async {
        warn!("before");
        spans::with_partition(Arc::from("orders"), 3, async { warn!(n = 1, "hello") }).await;
    };
    request.run(|| spans::consume_request(1), work).await;

    let [_before, record] = traces.records().try_into().unwrap();
    let context = record.trace_context().unwrap();
    assert_eq!(context.trace_id, request.context().trace_id());
    assert_eq!(context.span_id, request.context().span_id());
    assert_eq!(record.event_name(), Some(""), "a file and a line are no name");
    let value = |key| {
        let key = Key::new(key);
        record.attributes_iter().find(|pair| pair.0 == key).map(|pair| pair.1.clone())
    };
    assert_eq!(value("api"), Some(AnyValue::from("fetch")));
    assert_eq!(value("correlation_id"), Some(AnyValue::Int(9)));
    let id = request.context().span_id().to_string();
    assert_eq!(value("request_id"), Some(AnyValue::from(id)));
    assert_eq!(value("topic"), Some(AnyValue::from("orders")));
    assert_eq!(value("partition"), Some(AnyValue::Int(3)));
    assert_eq!(value("n"), Some(AnyValue::Int(1)));
}

/// Formats as its text, by every way a field can take.
#[derive(Clone)]
struct Raw(String, Option<Box<Raw>>);

impl fmt::Debug for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Raw {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.1.as_deref().map(|cause| cause as &(dyn std::error::Error + 'static))
    }
}

fn log_everywhere(text: &str) {
    let cause = Raw(text.to_owned(), None);
    let chain = Raw(text.to_owned(), Some(Box::new(cause.clone())));
    info!(
        plain = text,
        debug = ?cause,
        display = %cause,
        error = &chain as &dyn std::error::Error,
        "{text}"
    );
}

/// Text as attackers write it: much of what terminals and viewers act on, and anything else.
fn hostile() -> impl Strategy<Value = String> {
    let evil = proptest::sample::select(vec![
        "\n",
        "\r",
        "\0",
        "\x1b[2J",
        "\u{9b}31m",
        "\u{85}",
        "\u{2028}",
        "\u{2029}",
        "\u{202e}",
        "\u{2066}",
        "\u{200f}",
        "\u{61c}",
        "\u{feff}",
        "\"",
        "\\",
        "\u{7f}",
        "é",
        "日",
        "=",
        " ",
        "{\"level\":\"ERROR\"}\n",
    ]);
    proptest::collection::vec(prop_oneof![evil.prop_map(str::to_owned), any::<String>()], 0..6)
        .prop_map(|parts| parts.concat())
}

fn generated(count: usize) -> Vec<String> {
    let mut runner = TestRunner::new(Config::default());
    (0..count).map(|_| hostile().new_tree(&mut runner).unwrap().current()).collect()
}

#[test]
fn ten_thousand_hostile_strings_make_one_json_line_each_and_are_read_back() {
    let logs = logs(|config| config.queue_bytes = 1 << 30);
    let texts = generated(10_000);
    texts.iter().for_each(|text| log_everywhere(text));
    let lines = logs.lines();
    assert_eq!(lines.len(), texts.len());
    for (line, text) in lines.iter().zip(&texts) {
        assert_eq!(line["message"], text.as_str());
        for field in ["plain", "debug", "display"] {
            assert_eq!(line["fields"][field], text.as_str(), "{field}");
        }
        assert_eq!(line["fields"]["error"], format!("{text}: {text}"));
    }
    let raw = logs.text();
    assert!(!raw.chars().any(forges), "a raw control or bidi character");
}

#[test]
fn ten_thousand_hostile_strings_make_one_text_line_each_that_nothing_acts_on() {
    let logs = logs(|config| {
        config.queue_bytes = 1 << 30;
        config.format = Format::Text;
    });
    generated(10_000).iter().for_each(|text| log_everywhere(text));
    let text = logs.text();
    assert_eq!(text.lines().count(), 10_000);
    assert!(!text.chars().any(forges), "a raw control or bidi character");
}

fn forges(c: char) -> bool {
    (c.is_control() && c != '\n')
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{feff}')
        || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[tokio::test]
async fn a_hostile_client_id_and_topic_cannot_forge_a_line() {
    for format in [Format::Json, Format::Text] {
        let logs = logs(|config| config.format = format);
        let evil = "a\n{\"level\":\"ERROR\"}\u{202e}\x1b[2J".repeat(100);
        let client_id = Some(Arc::from(evil.as_str()));
        let ids = RequestIds { api: "produce", correlation_id: 1, client_id };
        let request = logs.requests().begin(Arrival::now(), &[]).with_ids(ids);
        let work =
            async { spans::with_partition(evil.as_str().into(), 0, async { info!("x") }).await };
        request.run(|| spans::consume_request(1), work).await;
        let text = logs.text();
        assert_eq!(text.lines().count(), 1);
        assert!(!text.chars().any(forges));
    }
}

#[test]
fn a_long_value_is_cut_and_marked() {
    let logs = logs(|_| {});
    let long = "é".repeat(1_000_000);
    info!(a = long, b = %long, c = ?vec![0; 1_000_000], "{long}");
    let [line] = logs.lines().try_into().unwrap();
    for value in
        [&line["message"], &line["fields"]["a"], &line["fields"]["b"], &line["fields"]["c"]]
    {
        let value = value.as_str().unwrap();
        assert!(value.ends_with("…(cut)") && value.len() < 8 * 1024 + 16, "{}", value.len());
    }
}

#[test]
fn a_field_that_panics_while_it_is_formatted_costs_its_value_only() {
    struct Bomb;
    impl fmt::Debug for Bomb {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("half")?;
            panic!("boom")
        }
    }
    let logs = logs(|_| {});
    info!(before = 1, bomb = ?Bomb, after = 2, "still here");
    let line = logs.lines().pop().unwrap();
    assert_eq!(line["message"], "still here");
    assert_eq!(line["fields"]["bomb"], "half…(its formatting panicked)");
    assert_eq!((&line["fields"]["before"], &line["fields"]["after"]), (&1.into(), &2.into()));
}

#[test]
fn a_storm_is_cut_to_the_limit_keeps_each_kind_and_counts_the_rest() {
    let logs = logs(|config| config.lines_per_second = 100);
    let start = std::time::SystemTime::now();
    for n in 0..10_000 {
        error!(n, "storm");
    }
    warn!("the first of another kind");
    let seconds = start.elapsed().unwrap().as_secs() + 2;
    let lines = logs.lines();
    let written = |message: &str| lines.iter().filter(|line| line["message"] == message).count();
    let stormy = written("storm");
    assert!((100..=100 * seconds as usize).contains(&stormy), "{stormy} in {seconds} s");
    assert_eq!(written("the first of another kind"), 1);
    assert_eq!(dropped(&logs, LogDrop::Suppressed), 10_000 - stormy as u64);
}

#[test]
fn the_level_changes_while_the_process_runs_for_lines_and_records() {
    let logs = logs(|_| {});
    let speak = || {
        debug!(target: "streamhouse::x", "debug");
        info!(target: "other", "info");
        trace!(target: "streamhouse::x", "trace");
    };
    speak();
    assert_eq!((logs.lines().len(), logs.records().len()), (1, 1));
    logs.control().set("warn,streamhouse=trace").unwrap();
    speak();
    assert_eq!((logs.lines().len(), logs.records().len()), (3, 3));
    assert_eq!(logs.control().get(), "warn,streamhouse=trace");

    let wrong = logs.control().set("loud[").unwrap_err().to_string();
    assert!(wrong.contains("\"loud[\"") && wrong.contains("info,streamhouse=debug"), "{wrong}");
    logs.control().set(" ").unwrap_err();
    speak();
    assert_eq!(logs.lines().len(), 5, "the old filter stays in force");
}

#[tokio::test]
async fn a_filter_of_logs_deletes_no_span() {
    let traces = logs(|config| config.filter = "warn".into());
    let request = traces.requests().begin(Arrival::now(), &[]);
    request.run(|| spans::consume_request(1), async { info!("not shown") }).await;
    assert!(request.finish(true, || spans::consume_request(1)).is_some());
    assert_eq!((traces.spans().len(), traces.lines().len()), (1, 0));
    assert!(traces.spans()[0].events.is_empty(), "events are log records, not span events");
}

#[test]
fn the_sdk_speaks_once_in_a_while_and_never_to_itself() {
    let logs = logs(|_| {});
    for _ in 0..50 {
        warn!(name: "BatchSpanProcessor.Export.Error", target: "opentelemetry_sdk", "failed");
        warn!(name: "BatchLogProcessor.Export.Error", target: "opentelemetry-otlp", "failed");
        info!(name: "Noise", target: "opentelemetry_sdk", "noise");
    }
    let lines = logs.lines();
    assert_eq!(lines.len(), 2, "one line for each signal: {lines:?}");
    assert_eq!(dropped(&logs, LogDrop::Suppressed), 98);
    assert!(logs.records().is_empty());
}

#[test]
fn logging_inside_of_formatting_neither_hangs_nor_panics() {
    struct Chatty;
    impl fmt::Display for Chatty {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            info!("from inside");
            f.write_str("chatty")
        }
    }
    let logs = logs(|_| {});
    info!(value = %Chatty, "outside");
    let outside = logs.lines().into_iter().find(|line| line["message"] == "outside").unwrap();
    assert_eq!(outside["fields"]["value"], "chatty");
}

#[test]
fn lines_of_many_threads_never_mix() {
    let logs = logs(|_| {});
    let dispatch = tracing::dispatcher::get_default(Clone::clone);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let dispatch = dispatch.clone();
            scope.spawn(move || {
                tracing::dispatcher::with_default(&dispatch, || {
                    (0..2_000).for_each(|n| info!(thread, n, pad = "x".repeat(n % 100), "m"));
                });
            });
        }
    });
    let lines = logs.lines();
    assert_eq!(lines.len(), 8_000);
    for thread in 0..4 {
        let of = lines.iter().filter(|line| line["fields"]["thread"] == thread);
        assert!(of.map(|line| line["fields"]["n"].as_u64().unwrap()).is_sorted());
    }
    assert_eq!(dropped(&logs, LogDrop::QueueFull), 0);
}
