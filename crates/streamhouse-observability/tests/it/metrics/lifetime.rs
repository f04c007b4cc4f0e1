use super::{ShopMetrics, tenant, value_of};
use opentelemetry::metrics::MeterProvider;
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData, ResourceMetrics};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;
use streamhouse_observability::declare::{Counter, FloatGauge};
use streamhouse_observability::exposition::{Metrics, Mode};
use streamhouse_observability::instruments::{Instruments, LagMetrics};
use streamhouse_observability::labels::{Outcome, Topic};
use streamhouse_observability::testing;

const A: &str = "shop_orders_total{tenant=\"a\"}";

/// What one push says about a counter: series by their first label's value.
fn push(metrics: &Metrics, name: &str) -> HashMap<String, u64> {
    let mut collected = ResourceMetrics::default();
    metrics.collect_for_push(&mut collected).unwrap();
    let mut series = HashMap::new();
    for metric in collected.scope_metrics().flat_map(|scope| scope.metrics()) {
        if metric.name() == name
            && let AggregatedMetrics::U64(MetricData::Sum(sum)) = metric.data()
        {
            for point in sum.data_points() {
                let pair = point.attributes().next().unwrap();
                let twice = series.insert(pair.value.to_string(), point.value());
                assert_eq!(twice, None, "{pair:?} is exported twice");
            }
        }
    }
    series
}

#[test]
fn a_gauge_ends_with_its_last_owner_and_joint_owners_add_up() {
    let (declare, seen) = testing::in_memory();
    let open = ShopMetrics::declare(&declare).open;
    let (first, second) = (open.bind(&tenant("a")), open.bind(&tenant("a")));
    first.set(5);
    second.set(1000);
    first.add(2);
    assert_eq!(seen.value("shop.open", &[("tenant", "a")]), Some(1007.0));
    assert_eq!(seen.series("shop.open").len(), 1);
    drop(first);
    assert_eq!(seen.value("shop.open", &[]), Some(1000.0));
    drop(second);
    assert_eq!(seen.value("shop.open", &[]), None);
    assert!(!seen.text().contains("shop_open"));
}

#[test]
fn an_ended_counter_is_scraped_once_more_and_then_is_gone() {
    let (declare, seen) = testing::in_memory();
    let orders = ShopMetrics::declare(&declare).orders;
    let handle = orders.bind(&tenant("a"));
    let other = handle.clone();
    handle.add(1);
    drop(handle);
    assert_eq!(value_of(&seen.text(), A), Some(1.0), "it still has an owner");
    assert_eq!(value_of(&seen.text(), A), Some(1.0));
    other.add(1);
    drop(other);
    assert_eq!(value_of(&seen.text(), A), Some(2.0), "its last increment is not lost");
    assert!(!seen.text().contains("shop_orders"));
}

#[test]
fn an_ended_counter_waits_for_the_push_as_well() {
    let (declare, seen) = testing::in_memory();
    seen.metrics().expect_pushes();
    let orders = ShopMetrics::declare(&declare).orders;
    orders.bind(&tenant("a")).add(3);
    assert_eq!(value_of(&seen.text(), A), Some(3.0));
    assert_eq!(value_of(&seen.text(), A), Some(3.0));
    assert_eq!(push(seen.metrics(), "shop.orders")["a"], 3);
    assert_eq!(value_of(&seen.text(), A), None);
    assert_eq!(push(seen.metrics(), "shop.orders").get("a"), None);
}

#[test]
fn an_ended_counter_waits_a_minute_for_an_exit_that_does_not_read() {
    let (declare, seen) = testing::in_memory();
    seen.metrics().expect_pushes();
    let orders = ShopMetrics::declare(&declare).orders;
    orders.bind(&tenant("a")).add(3);
    seen.skip(Duration::from_secs(59));
    assert_eq!(value_of(&seen.text(), A), Some(3.0));
    seen.skip(Duration::from_secs(1));
    assert_eq!(value_of(&seen.text(), A), None);
    assert_eq!(push(seen.metrics(), "shop.orders").get("a"), None);
}

#[test]
fn an_ended_counter_is_not_shown_after_its_minute_to_who_comes_late() {
    let (declare, seen) = testing::in_memory();
    seen.metrics().expect_pushes();
    let orders = ShopMetrics::declare(&declare).orders;
    orders.bind(&tenant("a")).add(3);
    seen.skip(Duration::from_secs(60));
    assert_eq!(seen.value("shop.orders", &[]), None);
    assert_eq!(push(seen.metrics(), "shop.orders").get("a"), None);
    assert_eq!(value_of(&seen.text(), A), None);
}

streamhouse_observability::instruments! {
    /// What a shop's machines measure.
    pub struct MachineMetrics("machine") {
        /// How busy they are.
        load: FloatGauge<super::Tenant> = "1", series = 3;
    }
}

#[test]
fn the_cell_beyond_the_bound_says_that_others_share_it() {
    let (declare, _seen) = testing::in_memory();
    let load = MachineMetrics::declare(&declare).load;
    let within: Vec<_> = ["a", "b", "c"].iter().map(|name| load.bind(&tenant(name))).collect();
    assert!(within.iter().all(|cell| !cell.is_overflow()));
    assert!(load.bind(&tenant("d")).is_overflow());
    drop(within);
    assert!(!load.bind(&tenant("d")).is_overflow(), "there is room again");
}

#[test]
fn an_owner_that_returns_goes_on_until_every_exit_has_seen_the_series_missing() {
    let (declare, seen) = testing::in_memory();
    let orders = ShopMetrics::declare(&declare).orders;
    orders.bind(&tenant("a")).add(3);
    assert_eq!(value_of(&seen.text(), A), Some(3.0));
    let returned = orders.bind(&tenant("a"));
    returned.add(1);
    assert_eq!(value_of(&seen.text(), A), Some(4.0), "nobody has seen it missing: no fall");
    drop(returned);
    seen.text();
    assert_eq!(value_of(&seen.text(), A), None);
    let anew = orders.bind(&tenant("a"));
    anew.add(1);
    assert_eq!(value_of(&seen.text(), A), Some(1.0));
}

#[test]
fn beyond_the_bound_every_increment_is_in_other_and_nothing_is_lost() {
    let (declare, seen) = testing::in_memory();
    let orders = ShopMetrics::declare(&declare).orders;
    let names = ["a", "b", "c", "d", "e"];
    let handles: Vec<_> = names.iter().map(|name| orders.bind(&tenant(name))).collect();
    for (n, handle) in handles.iter().enumerate() {
        handle.add(10_u64.pow(n as u32));
    }
    let text = seen.text();
    assert_eq!(value_of(&text, A), Some(1.0));
    assert_eq!(value_of(&text, "shop_orders_total{tenant=\"<other>\"}"), Some(11_000.0));
    assert_eq!(seen.count("streamhouse.telemetry.series_overflows", &[]), 2);
    assert_eq!(seen.value("streamhouse.telemetry.series_at_limit", &[]), Some(1.0));
    let pushed = push(seen.metrics(), "shop.orders");
    assert_eq!(pushed.len(), 4, "the SDK folds nothing: {pushed:?}");
    assert_eq!(pushed["<other>"], 11_000);

    drop(handles);
    seen.skip(Duration::from_secs(60));
    let _late = orders.bind(&tenant("z"));
    assert_eq!(seen.series("shop.orders").len(), 1, "expired series make room");
}

#[test]
fn what_groups_lost_is_told_for_an_hour_also_where_nobody_else_owns_the_series() {
    let (declare, seen) = testing::in_memory();
    let metrics = LagMetrics::declare(&declare);
    let lost = metrics.lost();
    let topic: std::sync::Arc<str> = "orders".into();
    lost.record(&topic, &[("billing".into(), 3), ("audit".into(), 0), ("bad".into(), -1)]);
    lost.record(&topic, &[("billing".into(), 4)]);
    const LOST: &str =
        "streamhouse_consumer_records_lost_total{group=\"billing\",topic=\"orders\"}";
    for _ in 0..3 {
        assert_eq!(value_of(&seen.text(), LOST), Some(7.0));
    }
    assert_eq!(seen.series("streamhouse.consumer.records_lost").len(), 1);
}

#[test]
fn the_sdk_gives_each_instrument_the_room_that_its_row_states() {
    let (declare, seen) = testing::in_memory();
    let records = Instruments::declare(&declare).producer.records;
    let handles: Vec<_> =
        (0..3000).map(|n| records.bind(&Topic(format!("topic-{n}").into()))).collect();
    handles.iter().for_each(|handle| handle.add(1));
    let pushed = push(seen.metrics(), "streamhouse.producer.records");
    assert_eq!(pushed.len(), 3000);
    assert!(pushed.values().all(|value| *value == 1));
}

#[test]
fn a_bridge_scrape_lets_ended_counters_go_too() {
    let resource = opentelemetry_sdk::Resource::builder_empty().build();
    let metrics = Metrics::build(resource, Mode::Bridge).unwrap();
    let orders = ShopMetrics::declare(metrics.declare()).orders;
    orders.bind(&tenant("a")).add(3);
    assert_eq!(value_of(&metrics.exposition().text(), A), Some(3.0));
    assert_eq!(value_of(&metrics.exposition().text(), A), None);
}

/// Series seen by one reader, over time.
#[derive(Default)]
struct Watched(HashMap<String, u64>);

impl Watched {
    fn see(&mut self, now: HashMap<String, u64>) {
        for (name, value) in &now {
            let before = self.0.get(name).copied().unwrap_or(0);
            assert!(before <= *value, "{name} fell from {before} to {value}");
        }
        self.0 = now;
    }
}

fn scraped(text: &str) -> HashMap<String, u64> {
    let mut series = HashMap::new();
    for line in text.lines().filter(|line| line.starts_with("shop_orders_total{")) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        assert_eq!(series.insert(name.to_owned(), value.parse().unwrap()), None, "twice: {line}");
    }
    series
}

#[test]
fn deleting_and_creating_again_under_load_shows_no_series_twice_and_no_fall() {
    let (declare, seen) = testing::in_memory();
    seen.metrics().expect_pushes();
    let orders = ShopMetrics::declare(&declare).orders;
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _stop = StopOnDrop(&stop);
        for _ in 0..2 {
            let (orders, stop) = (&orders, &stop);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    churn(orders);
                }
            });
        }
        let pusher = scope.spawn(|| {
            let mut watched = Watched::default();
            for _ in 0..100 {
                watched.see(push(seen.metrics(), "shop.orders"));
            }
        });
        let mut watched = Watched::default();
        for _ in 0..100 {
            watched.see(scraped(&seen.text()));
        }
        pusher.join().unwrap();
    });
    for _ in 0..2 {
        push(seen.metrics(), "shop.orders");
        seen.text();
    }
    assert!(!seen.text().contains("shop_orders"), "nothing is left of what is gone");
}

/// Ends the load also when an assertion fails.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn churn(orders: &Counter<super::Tenant>) {
    for name in ["a", "b"] {
        let first = orders.bind(&tenant(name));
        let second = orders.bind(&tenant(name));
        first.add(1);
        drop(first);
        let third = second.clone();
        drop(second);
        third.add(1);
    }
}

#[test]
fn binding_and_recording_do_not_wait_for_a_scrape_that_hangs() {
    let (declare, seen) = testing::in_memory();
    let all = Instruments::declare(&declare);
    let (entered, wait_entered) = mpsc::channel();
    let (release, wait_release) = mpsc::channel::<()>();
    let wait_release = std::sync::Mutex::new(wait_release);
    seen.metrics()
        .global_provider()
        .meter("a")
        .u64_observable_gauge("lib.slow")
        .with_callback(move |_| {
            let _ = entered.send(());
            let _ = wait_release.lock().unwrap().recv_timeout(Duration::from_secs(30));
        })
        .build();
    std::thread::scope(|scope| {
        let scrape = scope.spawn(|| seen.text());
        wait_entered.recv_timeout(Duration::from_secs(30)).unwrap();

        let topic = all.producer.topic(&Topic("orders".into()));
        topic.records.add(1);
        let latency = all.producer.requests().latency;
        latency.of(Outcome::Ok).record(0.1);
        drop(all.producer.topic(&Topic("bills".into())));

        assert!(!scrape.is_finished(), "the scrape must still hang");
        release.send(()).unwrap();
        let text = scrape.join().unwrap();
        let records = "streamhouse_producer_records_total{topic=\"orders\"}";
        assert_eq!(value_of(&text, records), Some(1.0));
    });
}
