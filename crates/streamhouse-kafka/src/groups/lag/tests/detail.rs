use super::World;
use super::world::{at, commit};
use crate::groups::lag::LagDetail;
use streamhouse_metadata::Retention;
use streamhouse_observability::instruments::GROUP_PARTITIONS;

/// Two topics of two partitions with 1, 2, 3 and 4 records to consume, each older than the next.
async fn world(detail: LagDetail) -> World {
    let mut world = World::with(detail);
    *world.log.default_retention.lock().unwrap() = Retention { ms: Some(100_000), bytes: None };
    let group = world.group("g");
    let mut records = 0;
    for name in ["a", "b"] {
        let topic = world.log.create(name, 2);
        for partition in 0..2 {
            records += 1;
            world.append(at(topic, partition), records);
            commit(&group, at(topic, partition), 0);
            world.after(10).await;
        }
    }
    world
}

#[tokio::test(start_paused = true)]
async fn less_detail_sums_records_and_shows_the_greatest_age_and_the_least_margin() {
    let mut by_topic = world(LagDetail::Topic).await;
    by_topic.cycle().await;
    assert_eq!(by_topic.shown("g", "a", "<all>"), Some((3.0, 40.0, 0.6)));
    assert_eq!(by_topic.shown("g", "b", "<all>"), Some((7.0, 20.0, 0.8)));
    assert_eq!(by_topic.seen.series("streamhouse.consumer.lag").len(), 2);
    assert_eq!(by_topic.told("g").partitions.len(), 4, "pages have the detail all the same");

    let by_group = world(LagDetail::Group).await;
    assert_eq!(by_group.shown("g", "<all>", "<all>"), Some((10.0, 40.0, 0.6)));
    assert_eq!(by_group.seen.series("streamhouse.consumer.lag").len(), 1);
    let told = by_group.told("g");
    assert_eq!((told.lag, told.seconds, told.margin), (10, 40.0, 0.6));
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_goes_is_taken_out_of_what_is_folded() {
    let mut world = world(LagDetail::Group).await;
    let a = world.told("g").partitions[0].topic.clone();
    assert_eq!(&*a, "a");
    let id = super::super::source::Source::topic_named(&world.log, "a").unwrap().id;
    world.log.delete(id);
    world.cycle().await;
    assert_eq!(world.shown("g", "<all>", "<all>"), Some((7.0, 20.0, 0.8)));
}

#[tokio::test(start_paused = true)]
async fn beyond_the_bound_all_are_in_other_with_sum_greatest_age_and_least_margin() {
    let mut world = World::new();
    *world.log.default_retention.lock().unwrap() = Retention { ms: Some(100_000), bytes: None };
    let topic = world.log.create("t", GROUP_PARTITIONS as i32);
    let (first, second) = (world.group("a"), world.group("b"));
    first.change(|facts| {
        for partition in 0..GROUP_PARTITIONS as i32 {
            let committed = streamhouse_metadata::CommittedOffset {
                offset: 0,
                leader_epoch: -1,
                metadata: "".into(),
                committed_ms: 1,
            };
            facts.offsets.insert(at(topic, partition), committed);
        }
    });
    world.cycle().await;
    assert_eq!(world.seen.metrics().declare().overflowed(), 0);
    world.append(at(topic, 5), 3);
    world.after(30).await;
    world.append(at(topic, 6), 4);
    commit(&second, at(topic, 5), 0);
    commit(&second, at(topic, 6), 0);
    commit(&second, at(topic, 7), 0);
    world.after(10).await;
    let other = world.shown("<other>", "<other>", "<other>").unwrap();
    assert_eq!((other.0, other.1), (7.0, 40.0));
    assert!((other.2 - 0.6).abs() < 1e-9, "{other:?}");
    assert_eq!(world.seen.metrics().declare().overflowed(), 9, "3 of 3 rows");
    world.after(10).await;
    assert_eq!(world.shown("<other>", "<other>", "<other>").unwrap().1, 50.0);

    first.change(|facts| {
        facts.offsets.retain(|partition, _| partition.partition >= 10);
    });
    world.cycle().await;
    assert!(world.shown("<other>", "<other>", "<other>").is_none(), "there is room again");
    assert_eq!(world.shown("b", "t", "6").unwrap().0, 4.0);
}
