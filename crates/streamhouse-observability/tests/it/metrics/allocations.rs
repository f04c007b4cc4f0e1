use allocation_counter::measure;
use streamhouse_observability::instruments::ProducerMetrics;
use streamhouse_observability::labels::{Outcome, ProduceError, Topic};
use streamhouse_observability::testing;

#[test]
fn recording_allocates_nothing() {
    let (declare, _seen) = testing::in_memory();
    let metrics = ProducerMetrics::declare(&declare);
    let (topic, requests) = (metrics.topic(&Topic("orders".into())), metrics.requests());
    let allocations = measure(|| {
        for n in 0..1000 {
            topic.records.add(n);
            topic.errors.of(ProduceError::Throttling).add(1);
            requests.latency.of(Outcome::Ok).record(0.001 * n as f64);
        }
    });
    assert_eq!(allocations.count_total, 0);
}

#[test]
fn a_warm_scrape_allocates_no_more_for_ten_thousand_series_than_for_ten() {
    let per_scrape = |topics: usize| {
        let (declare, seen) = testing::in_memory();
        let records = ProducerMetrics::declare(&declare).records;
        let handles: Vec<_> =
            (0..topics).map(|n| records.bind(&Topic(format!("topic-{n}").into()))).collect();
        let (exposition, mut out) = (seen.metrics().exposition(), Vec::new());
        let mut scrape = || {
            out.clear();
            exposition.write_text(&mut out);
        };
        scrape();
        let allocations = measure(&mut scrape);
        assert_eq!(handles.len(), topics);
        allocations.count_total
    };
    assert_eq!(per_scrape(10_000), per_scrape(10));
}
