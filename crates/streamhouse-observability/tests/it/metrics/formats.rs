use super::open_metrics::{self, labels};
use super::{ShopMetrics, tenant, value_of};
use opentelemetry::KeyValue;
use opentelemetry::metrics::MeterProvider;
use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};
use opentelemetry_sdk::Resource;
use proptest::prelude::*;
use streamhouse_observability::exposition::{Metrics, Mode};
use streamhouse_observability::instruments::Instruments;
use streamhouse_observability::labels::{CpuMode, Outcome, Topic};
use streamhouse_observability::testing;

fn metrics(mode: Mode) -> Metrics {
    let resource = Resource::builder_empty()
        .with_service_name("shop")
        .with_attribute(KeyValue::new("service.instance.id", "a\"b"))
        .build();
    Metrics::build(resource, mode).unwrap()
}

/// Records into every kind of instrument, ours and another library's; the handles must live on.
fn record_everything(metrics: &Metrics) -> impl Sized {
    let all = Instruments::declare(metrics.declare());
    let topic = all.producer.topic(&Topic("orders".into()));
    topic.records.add(7);
    topic.bytes.add(1 << 40);
    let requests = all.producer.requests();
    for value in [0.0005, 0.001, 0.3, 100.0] {
        requests.latency.of(Outcome::Ok).record(value);
    }
    requests.batch_size.of(Outcome::Error).record(1000.0);
    let cpu = all.process.cpu_time.bind(&CpuMode::User);
    cpu.advance_to(1.25);
    let size = all.cache.size.bind(&());
    size.set(-3);
    let uptime = all.process.uptime.bind(&());
    uptime.set(0.125);

    let meter = metrics.global_provider().meter("other.library");
    let red = [KeyValue::new("color", "red"), KeyValue::new("a.size", 3)];
    meter.u64_counter("lib.calls").with_description("Calls.").build().add(5, &red);
    meter.f64_counter("lib.waits").with_unit("s").build().add(0.5, &[]);
    meter.i64_up_down_counter("lib.in_flight").with_unit("{call}").build().add(-2, &red);
    meter.f64_up_down_counter("lib.level").build().add(2.5, &red);
    meter.u64_gauge("lib.version").build().record(12, &red);
    meter.i64_gauge("lib.offset").build().record(-12, &red);
    meter.f64_gauge("lib.temperature").with_unit("Cel").build().record(21.5, &[]);
    meter.u64_histogram("lib.sizes").with_unit("By").build().record(77, &red);
    meter.f64_histogram("lib.times").with_unit("s").build().record(7.5, &[]);
    meter.u64_observable_counter("lib.seen").with_callback(|o| o.observe(9, &[])).build();
    meter.f64_observable_gauge("lib.load").with_callback(|o| o.observe(0.5, &[])).build();
    meter.i64_observable_up_down_counter("lib.net").with_callback(|o| o.observe(-9, &[])).build();
    (topic, requests, cpu, size, uptime)
}

fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    lines
}

#[test]
fn the_native_text_equals_the_bridges_for_every_kind_of_instrument() {
    let (native, bridge) = (metrics(Mode::Native), metrics(Mode::Bridge));
    let _handles = (record_everything(&native), record_everything(&bridge));

    let (ours, theirs) = (native.exposition().text(), bridge.exposition().text());

    assert_same_lines(&ours, &theirs);
    let series = |metrics: &Metrics| {
        let name = "streamhouse_telemetry_series";
        super::value_of(&metrics.exposition().text(), name).unwrap()
    };
    assert_eq!(series(&native), series(&bridge));
    assert!(series(&native) > 100.0);
    assert!(ours.contains("streamhouse_producer_bytes_total{topic=\"orders\"} 1099511627776\n"));
    assert!(ours.contains("target_info{service_instance_id=\"a\\\"b\",service_name=\"shop\"} 1\n"));
    assert!(ours.contains("lib_calls_total{a_size=\"3\",color=\"red\"} 5\n"));
}

/// Fails with the first line that differs.
fn assert_same_lines(ours: &str, theirs: &str) {
    let (ours, theirs) = (sorted(ours), sorted(theirs));
    for (our, their) in ours.iter().zip(&theirs) {
        assert_eq!(our, their);
    }
    assert_eq!(ours.len(), theirs.len());
}

#[test]
fn the_families_stand_in_the_order_of_their_names() {
    let native = metrics(Mode::Native);
    let _handles = record_everything(&native);
    let text = native.exposition().text();
    let names: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    assert!(names.is_sorted(), "{names:?}");
    assert!(names.contains(&"target_info gauge"));
}

#[test]
fn open_metrics_is_well_formed_and_holds_the_same_values() {
    let native = metrics(Mode::Native);
    let _handles = record_everything(&native);

    let mut out = Vec::new();
    native.exposition().write_open_metrics(&mut out);
    let families = open_metrics::read(&String::from_utf8(out).unwrap());

    let bytes = &families["streamhouse_producer_bytes"];
    assert_eq!((bytes.kind.as_str(), bytes.unit.as_str()), ("counter", "bytes"));
    assert_eq!(bytes.samples[0].name, "streamhouse_producer_bytes_total");
    assert_eq!(bytes.samples[0].value, (1_u64 << 40) as f64);
    assert_eq!(families["streamhouse_producer_latency_seconds"].unit, "seconds");
    assert_eq!(families["target"].kind, "info");
    assert_eq!(families["lib_sizes_bytes"].kind, "histogram");
    assert_eq!(families["streamhouse_cache_size_bytes"].samples[0].value, -3.0);
}

#[test]
fn a_traced_record_shows_its_trace_on_its_bucket_in_open_metrics_only() {
    let (declare, seen) = testing::in_memory();
    let latency = Instruments::declare(&declare).producer.requests().latency;
    let context = |flags| {
        let (trace, span) = (TraceId::from(0xabc_u128), SpanId::from(0xdef_u64));
        SpanContext::new(trace, span, flags, false, TraceState::default())
    };

    latency.of(Outcome::Ok).record_traced(0.3, Some(&context(TraceFlags::SAMPLED)));
    latency.of(Outcome::Error).record_traced(0.3, Some(&context(TraceFlags::default())));
    latency.of(Outcome::Error).record_traced(99.0, None);

    let families = open_metrics::read(&seen.open_metrics());
    let samples = &families["streamhouse_producer_latency_seconds"].samples;
    let traced: Vec<_> = samples.iter().filter(|sample| sample.exemplar.is_some()).collect();
    assert_eq!(traced.len(), 1);
    assert_eq!(
        (traced[0].labels["outcome"].as_str(), traced[0].labels["le"].as_str()),
        ("ok", "0.5")
    );
    let (labels, value) = traced[0].exemplar.as_ref().unwrap();
    assert_eq!(labels["trace_id"], "00000000000000000000000000000abc");
    assert_eq!(labels["span_id"], "0000000000000def");
    assert_eq!(*value, 0.3);
    assert!(!seen.text().contains("trace_id"));
}

#[test]
fn every_known_series_is_there_at_zero_from_the_start() {
    let (declare, seen) = testing::in_memory();
    let all = Instruments::declare(&declare);
    let _handles = (all.producer.topic(&Topic("orders".into())), all.producer.requests());
    let text = seen.text();
    let throttled = "streamhouse_producer_errors_total{error=\"throttling\",topic=\"orders\"}";
    assert_eq!(value_of(&text, throttled), Some(0.0));
    let count = "streamhouse_producer_latency_seconds_count{outcome=\"cancelled\"}";
    assert_eq!(value_of(&text, count), Some(0.0));
}

proptest! {
    #[test]
    fn any_label_value_reads_back_as_it_was(value in any::<String>()) {
        let (declare, seen) = testing::in_memory();
        let shop = ShopMetrics::declare(&declare);
        let orders = shop.orders.bind(&tenant(&value));
        orders.add(1);
        let families = open_metrics::read(&seen.open_metrics());
        prop_assert_eq!(&families["shop_orders"].samples[0].labels["tenant"], &value);
        let text = seen.text();
        let line = text.split('\n').find_map(|line| line.strip_prefix("shop_orders_total"));
        let mut rest = line.unwrap();
        prop_assert_eq!(&labels(&mut rest)["tenant"], &value);
        prop_assert_eq!(rest, " 1");
    }
}
