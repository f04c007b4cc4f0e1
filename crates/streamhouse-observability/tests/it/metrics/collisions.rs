use super::{ShopMetrics, open_metrics, tenant, value_of};
use opentelemetry::KeyValue;
use opentelemetry::metrics::MeterProvider;
use streamhouse_observability::testing::{self, Seen};

fn conflicts(seen: &Seen) -> f64 {
    seen.value("streamhouse.telemetry.name_conflicts", &[]).unwrap()
}

#[test]
fn equal_names_of_one_type_in_two_scopes_are_one_family() {
    let (_declare, seen) = testing::in_memory();
    let provider = seen.metrics().global_provider();
    let (a, b) = (provider.meter("a"), provider.meter("b"));
    a.u64_counter("lib.calls").build().add(1, &[KeyValue::new("from", "a")]);
    b.u64_counter("lib.calls").build().add(2, &[KeyValue::new("from", "b")]);
    b.u64_counter("lib.calls").build().add(9, &[KeyValue::new("from", "a")]);

    let families = open_metrics::read(&seen.open_metrics());

    let samples = &families["lib_calls"].samples;
    assert_eq!(samples.iter().map(|sample| sample.value).collect::<Vec<_>>(), [1.0, 2.0]);
    assert_eq!(conflicts(&seen), 1.0, "the series that both have is shown once");
}

#[test]
fn a_name_that_is_taken_by_another_type_or_by_us_is_left_out_and_counted() {
    let (declare, seen) = testing::in_memory();
    let orders = ShopMetrics::declare(&declare).orders.bind(&tenant("a"));
    orders.add(1);
    let meter = seen.metrics().global_provider().meter("a");
    meter.u64_counter("shop.orders").build().add(100, &[]);
    meter.u64_gauge("shop.orders").build().record(100, &[]);
    meter.f64_histogram("lib.time").build().record(1.0, &[]);
    meter.u64_gauge("lib.time.count").build().record(100, &[]);
    meter.u64_gauge("target.info").build().record(100, &[]);

    let families = open_metrics::read(&seen.open_metrics());

    assert_eq!(families["shop_orders"].samples.len(), 1);
    assert_eq!(families["shop_orders"].samples[0].value, 1.0);
    assert!(!families.contains_key("lib_time_count") || !families.contains_key("lib_time"));
    assert_eq!(conflicts(&seen), 4.0);
}

#[test]
fn hostile_labels_and_names_cannot_break_the_scrape() {
    let (_declare, seen) = testing::in_memory();
    let meter = seen.metrics().global_provider().meter("a");
    let hostile = [
        "", "1st", "le", "quantile", "__name__", "a b", "a\"b", "a\nb", "größe", "a:b", "日本",
        "a__b",
    ];
    let attributes: Vec<_> =
        hostile.iter().map(|key| KeyValue::new(*key, "\\\"\n} 1\nforged 2")).collect();
    meter.u64_counter("lib.calls").build().add(1, &attributes);
    meter.f64_histogram("lib.times").build().record(1.0, &attributes);
    meter
        .u64_gauge("lib.gauge")
        .with_description("\\ \" \n# TYPE forged counter")
        .build()
        .record(1, &[]);
    // Two keys that become one, in two series that become one.
    let twins = meter.u64_counter("lib.twins").build();
    twins.add(1, &[KeyValue::new("a.b", "x")]);
    twins.add(1, &[KeyValue::new("a-b", "x")]);

    let families = open_metrics::read(&seen.open_metrics());

    assert_eq!(families["lib_calls"].samples[0].labels["exported_le"], "\\\"\n} 1\nforged 2");
    assert_eq!(families["lib_calls"].samples[0].labels["key_1st"], "\\\"\n} 1\nforged 2");
    assert!(families["lib_calls"].samples[0].labels.contains_key("key_name_"));
    assert_eq!(families["lib_twins"].samples.len(), 1);
    assert!(families.keys().all(|name| !name.contains("forged")));
    assert!(!seen.text().lines().any(|line| line.starts_with("forged")));
}

#[test]
fn a_panicking_callback_silences_only_itself_and_is_counted() {
    let (declare, seen) = testing::in_memory();
    let orders = ShopMetrics::declare(&declare).orders.bind(&tenant("a"));
    orders.add(1);
    let meter = seen.metrics().global_provider().meter("a");
    meter.u64_counter("lib.calls").build().add(1, &[]);
    meter.u64_observable_gauge("lib.bad").with_callback(|_| panic!("a bug of theirs")).build();
    meter.u64_observable_gauge("lib.good").with_callback(|o| o.observe(4, &[])).build();
    declare.before_collect(|| panic!("a bug of ours"));

    for _ in 0..2 {
        let text = seen.text();
        assert_eq!(value_of(&text, "shop_orders_total{tenant=\"a\"}"), Some(1.0));
        assert_eq!(value_of(&text, "lib_calls_total"), Some(1.0));
        assert_eq!(value_of(&text, "lib_good"), Some(4.0));
        assert!(!text.contains("lib_bad"));
    }
    seen.text();
    assert_eq!(declare.panics(), 6);
    assert_eq!(seen.count("streamhouse.telemetry.callback_panics", &[]), 5, "as of its start");
}
