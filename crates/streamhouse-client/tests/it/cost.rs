//! What recording costs where nothing is sampled, counted rather than timed.

use crate::support::{cluster, recorded};
use futures_util::FutureExt as _;
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::producer::{FutureProducer, FutureRecord};
use streamhouse_client::Producer;

fn record() -> FutureRecord<'static, [u8], [u8]> {
    FutureRecord::to("orders").partition(0).key(&b"key"[..]).payload(&b"value"[..])
}

#[tokio::test]
async fn a_record_that_is_not_sampled_allocates_no_more_than_without_the_client() {
    const RECORDS: u64 = 100;
    let (cluster, _) = cluster("orders", 1);
    let recorded = recorded();
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", cluster.bootstrap_servers());
    let bare: FutureProducer = config.create().unwrap();
    let ours = Producer::from_config(&config, DefaultClientContext, &recorded.telemetry).unwrap();
    // The topic is known from here on.
    bare.send_result(record()).map_err(|(error, _)| error).unwrap().await.unwrap().unwrap();
    ours.send(record()).await.unwrap();

    let mut waiting = Vec::with_capacity(2 * RECORDS as usize);
    let without = allocation_counter::measure(|| {
        for _ in 0..RECORDS {
            let queued = bare.send_result(record()).map_err(|(error, _)| error).unwrap();
            waiting.push(futures_util::future::Either::Left(queued));
        }
    });
    let with = allocation_counter::measure(|| {
        for _ in 0..RECORDS {
            let queued = ours.enqueue(record()).now_or_never().unwrap().unwrap();
            waiting.push(futures_util::future::Either::Right(queued));
        }
    });

    assert!(with.count_total <= without.count_total, "{with:?} against {without:?}");
    assert!(with.count_total >= RECORDS, "{with:?}: allocations are counted");
    assert_eq!(recorded.spans().len(), 0);
}
