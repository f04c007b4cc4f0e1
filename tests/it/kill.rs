//! The promise of every acknowledgement, under SIGKILL.

use crate::clients::{Place, create_topic, flush, number, producer, read_all, send};
use rand::RngExt;
use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use streamhouse_tests::process::Launch;

const KILLS: u32 = 25;
const PARTITIONS: i32 = 4;
const PLAIN: &str = "plain";
const IDEMPOTENT: &str = "idempotent";

#[test]
fn nothing_acknowledged_is_lost_torn_moved_or_doubled_by_sigkill() {
    let data = tempfile::tempdir().expect("a directory");
    let launch = Launch::serve(crate::BINARY, data.path());
    let mut server = launch.start();
    let addr = server.kafka;
    let launch = launch.kafka(addr);
    create_topic(addr, PLAIN, PARTITIONS);
    create_topic(addr, IDEMPOTENT, PARTITIONS);
    let (plain, plain_told) = producer(addr, &[("acks", "all")]);
    let (idempotent, idempotent_told) = producer(addr, &[("enable.idempotence", "true")]);

    let running = AtomicBool::new(true);
    let _server = std::thread::scope(|scope| {
        for (producer, topic) in [(&plain, PLAIN), (&idempotent, IDEMPOTENT)] {
            let running = &running;
            scope.spawn(move || {
                for n in (0u64..).take_while(|_| running.load(Ordering::Relaxed)) {
                    send(producer, topic, (n % PARTITIONS as u64) as i32, n);
                    if n % 50 == 0 {
                        std::thread::park_timeout(Duration::from_millis(5));
                    }
                }
            });
        }
        for kill in 0..KILLS {
            let before = plain_told.with(|told| told.acknowledged.len());
            let instant = Duration::from_millis(rand::rng().random_range(50..500));
            std::thread::park_timeout(instant);
            server.kill();
            server = launch.start();
            let after = plain_told.with(|told| told.acknowledged.len());
            println!(
                "kill {kill} after {instant:?}: {} records acknowledged since",
                after - before
            );
        }
        running.store(false, Ordering::Relaxed);
        server
    });
    flush(&plain);
    flush(&idempotent);

    for (topic, told, once) in [(PLAIN, plain_told, false), (IDEMPOTENT, idempotent_told, true)] {
        told.with(|told| {
            assert!(told.failed.is_empty(), "{topic}: {:?}", told.failed);
            assert!(told.acknowledged.len() > 1_000, "{topic}: {}", told.acknowledged.len());
            let log = read_all(addr, topic, PARTITIONS);
            check(topic, &told.acknowledged, &log, once);
        });
    }
}

/// Every acknowledged value stands where its acknowledgement said; the log has no holes.
pub fn check(
    topic: &str,
    acknowledged: &[(Place, u64)],
    log: &BTreeMap<Place, Vec<u8>>,
    once: bool,
) {
    for (place, n) in acknowledged {
        let found = log.get(place).map(|bytes| number(bytes));
        assert_eq!(found, Some(Some(*n)), "{topic} at {place:?}: lost, torn or moved");
    }
    let mut seen = HashSet::new();
    let mut expected = BTreeMap::new();
    for ((partition, offset), bytes) in log {
        let next = expected.entry(*partition).or_insert(0);
        assert_eq!(offset, next, "{topic}: a hole in partition {partition}");
        *next += 1;
        let n = number(bytes).expect("a whole value");
        assert!(seen.insert(n) || !once, "{topic}: {n} is in the log twice");
    }
    println!("{topic}: {} acknowledged, {} in the log", acknowledged.len(), log.len());
}
