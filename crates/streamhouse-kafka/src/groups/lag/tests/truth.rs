use super::World;
use super::world::{BEGIN_MS, at, commit, commit_at, join};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use streamhouse_metadata::Retention;
use streamhouse_observability::labels::GroupState;
use streamhouse_storage::{Clock, machine_ms};

/// A group `g` at offset 0 of a topic `t` with one partition.
async fn at_zero() -> (World, Arc<crate::GroupView>, streamhouse_metadata::TopicPartition) {
    let mut world = World::new();
    let partition = at(world.log.create("t", 1), 0);
    let group = world.group("g");
    join(&group, 1, &["t"]);
    commit(&group, partition, 0);
    world.cycle().await;
    (world, group, partition)
}

#[tokio::test(start_paused = true)]
async fn lag_is_the_records_after_the_commit_and_the_age_of_the_first_of_them() {
    let (mut world, group, partition) = at_zero().await;
    assert_eq!(world.shown("g", "t", "0"), Some((0.0, 0.0, 1.0)));
    world.append(partition, 10);
    world.after(7).await;
    world.append(partition, 5);
    world.after(3).await;
    assert_eq!(world.shown("g", "t", "0"), Some((15.0, 10.0, 1.0)));

    commit(&group, partition, 10);
    world.after(0).await;
    assert_eq!(world.shown("g", "t", "0"), Some((5.0, 3.0, 1.0)));
    commit(&group, partition, 15);
    world.after(60).await;
    assert_eq!(world.shown("g", "t", "0"), Some((0.0, 0.0, 1.0)), "0 exactly when there is none");

    let told = world.told("g");
    assert_eq!((told.state, told.members, told.lag), (GroupState::Stable, 1, 0));
    let place = &told.partitions[0];
    assert_eq!((&*place.topic, place.partition), ("t", 0));
    assert_eq!((place.committed, place.log_start, place.end), (15, 0, 15));
}

#[tokio::test(start_paused = true)]
async fn the_lag_of_a_group_outlives_every_consumer() {
    let (mut world, group, partition) = at_zero().await;
    world.append(partition, 100);
    commit(&group, partition, 40);
    world.cycle().await;
    join(&group, 0, &[]);
    world.append(partition, 20);
    world.after(3_600).await;
    assert_eq!(world.shown("g", "t", "0"), Some((80.0, 3_600.0, 1.0)));
    let told = world.told("g");
    assert_eq!((told.state, told.members, told.lag), (GroupState::Empty, 0, 80));
    assert_eq!(told.seconds, 3_600.0);
}

#[tokio::test(start_paused = true)]
async fn a_group_that_lives_but_never_commits_again_ages_exactly() {
    let (mut world, group, partition) = at_zero().await;
    for round in 1..=20 {
        world.append(partition, 1);
        group.change(|_| {}); // a heartbeat
        world.after(5).await;
        let told = world.told("g");
        assert_eq!((told.state, told.lag), (GroupState::Stable, round));
        assert_eq!(told.seconds, 5.0 * round as f64, "the first record is the oldest");
        let age = told.commit_age.unwrap();
        let expected = 5.0 * round as f64;
        assert!((expected..expected + 1.0).contains(&age), "{age} is not {expected}");
    }
    let shown = world.seen.value("streamhouse.group.commit_age", &[("group", "g")]).unwrap();
    assert!((100.0..101.0).contains(&shown), "{shown}");
}

#[tokio::test(start_paused = true)]
async fn a_group_reset_to_an_old_offset_is_as_old_as_the_record_there() {
    let (mut world, group, partition) = at_zero().await;
    for _ in 0..10 {
        world.append(partition, 10);
        commit(&group, partition, 0);
        world.after(60).await;
    }
    commit(&group, partition, 100);
    world.cycle().await;
    assert_eq!(world.shown("g", "t", "0"), Some((0.0, 0.0, 1.0)));
    join(&group, 0, &[]);
    commit(&group, partition, 35);
    world.cycle().await;
    assert_eq!(world.shown("g", "t", "0"), Some((65.0, 420.0, 1.0)));
}

#[tokio::test(start_paused = true)]
async fn retention_that_overtakes_a_group_takes_from_its_lag_and_tells_what_was_lost() {
    let (mut world, _group, partition) = at_zero().await;
    let limits = Retention { ms: Some(100_000), bytes: None };
    world.log.keep(partition.topic, limits);
    world.append(partition, 50);
    world.after(80).await;
    let (lag, seconds, margin) = world.shown("g", "t", "0").unwrap();
    assert_eq!((lag, seconds), (50.0, 80.0));
    assert!((margin - 0.2).abs() < 1e-9, "{margin}");
    let labels = [("group", "g"), ("topic", "t")];
    assert_eq!(world.value("records_lost", &labels), Some(0.0), "the first loss is an increase");

    world.append(partition, 30);
    world.after(30).await;
    assert_eq!(world.shown("g", "t", "0"), Some((80.0, 110.0, 0.0)));
    world.log.trim(partition, 50);
    world.metrics.lost().record(&"t".into(), &[("g".into(), 50)]);
    world.cycle().await;
    let (lag, seconds, margin) = world.shown("g", "t", "0").unwrap();
    assert_eq!((lag, seconds), (30.0, 30.0), "what is lost is no lag");
    assert!((margin - 0.7).abs() < 1e-9, "{margin}");
    assert_eq!(world.value("records_lost", &labels), Some(50.0));
    let place = &world.told("g").partitions[0];
    assert_eq!((place.committed, place.log_start, place.end), (0, 50, 80));
}

#[tokio::test(start_paused = true)]
async fn the_margin_falls_while_the_commit_stands_still_by_time_and_by_size() {
    let (mut world, _group, partition) = at_zero().await;
    *world.log.default_retention.lock().unwrap() = Retention { ms: None, bytes: Some(9_900) };
    world.append(partition, 10);
    let mut last = 1.0;
    for _ in 0..9 {
        world.append(partition, 10);
        world.after(5).await;
        let (_, _, margin) = world.shown("g", "t", "0").unwrap();
        assert!(margin < last, "{margin} after {last}");
        last = margin;
    }
    assert_eq!(last, 0.0);
    world.log.keep(partition.topic, Retention { ms: Some(-1), bytes: Some(-1) });
    world.cycle().await;
    assert_eq!(world.shown("g", "t", "0"), Some((100.0, 45.0, 1.0)), "without limit");
}

#[tokio::test(start_paused = true)]
async fn a_process_that_begins_again_knows_the_same_lag() {
    let (mut world, group, partition) = at_zero().await;
    world.append(partition, 30);
    commit_at(&group, partition, 10, machine_ms() - 50_000);
    world.after(45).await;
    world.restart(Clock::at(world.clock.now_ms()));
    world.after(15).await;
    assert_eq!(world.shown("g", "t", "0"), Some((20.0, 60.0, 1.0)));
    let age = world.told("g").commit_age.unwrap();
    assert!((50.0..55.0).contains(&age), "{age}: by the store's clock, which does not move here");
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_was_set_back_before_the_start_makes_no_age_negative_or_frozen() {
    let (mut world, _group, partition) = at_zero().await;
    world.append(partition, 5);
    world.restart(Clock::at(BEGIN_MS - 3_600_000));
    world.cycle().await;
    assert_eq!(world.shown("g", "t", "0"), Some((5.0, 0.0, 1.0)));
    world.after(40).await;
    assert_eq!(world.shown("g", "t", "0"), Some((5.0, 40.0, 1.0)), "it has waited here");
}

#[tokio::test(start_paused = true)]
async fn the_age_of_a_commit_is_bounded_by_the_time_between_two_looks() {
    let (mut world, group, partition) = at_zero().await;
    // The store's clock is an hour behind, and then a day ahead.
    commit_at(&group, partition, 0, machine_ms() - 3_600_000);
    let first = world.told("g").commit_age.unwrap();
    assert!(first < 1.0, "{first}");
    world.after(5).await;
    commit_at(&group, partition, 0, machine_ms() + 86_400_000);
    world.after(5).await;
    let age = world.told("g").commit_age.unwrap();
    assert!((0.0..=5.0).contains(&age), "{age}");
    world.after(5).await;
    let later = world.told("g").commit_age.unwrap();
    assert_eq!(later, age + 5.0);
}

#[tokio::test(start_paused = true)]
async fn no_end_is_older_than_the_offset_that_it_is_compared_with() {
    let (mut world, group, partition) = at_zero().await;
    let consumer = group.clone();
    *world.log.after_ends.lock().unwrap() = Some(Box::new(move |log| {
        log.append(partition, 10, BEGIN_MS);
        let end = consumer.read(|facts| facts.offsets[&partition].offset) + 10;
        commit(&consumer, partition, end);
    }));
    for _ in 0..10 {
        world.cycle().await;
        let told = world.told("g");
        let place = &told.partitions[0];
        assert!(place.committed <= place.end, "{place:?}");
        assert_eq!(told.lag, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_consumed_at_once_is_no_lag_however_long_a_cycle_takes() {
    let mut world = World::new();
    let groups: Vec<_> = ["a", "b", "c", "d"]
        .map(|name| (world.group(name), world.log.create(name, 600)))
        .into_iter()
        .collect();
    for (group, topic) in &groups {
        (0..600).for_each(|partition| commit(group, at(*topic, partition), 0));
    }
    *world.log.after_ends.lock().unwrap() = Some(Box::new(move |log| {
        for (group, topic) in &groups {
            let end = group.read(|facts| facts.offsets[&at(*topic, 7)].offset) + 10;
            log.append(at(*topic, 7), 10, BEGIN_MS);
            commit(group, at(*topic, 7), end);
        }
    }));
    world.cycle().await;
    for name in ["a", "b", "c", "d"] {
        let told = world.told(name);
        assert_eq!((told.lag, told.seconds, told.partitions.len()), (0, 0.0, 600), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn while_the_store_is_down_lags_stay_ages_go_on_and_the_page_says_so() {
    let (mut world, group, partition) = at_zero().await;
    world.append(partition, 10);
    world.after(5).await;
    world.log.is_down.store(true, Ordering::Relaxed);
    world.append(partition, 90);
    commit(&group, partition, 4);
    world.after(5).await;
    assert_eq!(world.shown("g", "t", "0"), Some((6.0, 0.0, 1.0)), "at least that");
    world.after(5).await;
    assert_eq!(world.shown("g", "t", "0"), Some((6.0, 5.0, 1.0)));
    assert!(!world.lags.view().is_complete);
    let failed = [("outcome", "error")];
    assert_eq!(world.seen.count("streamhouse.consumer.lag_duration", &failed), 2);
    world.log.is_down.store(false, Ordering::Relaxed);
    world.after(5).await;
    assert_eq!(world.shown("g", "t", "0"), Some((96.0, 20.0, 1.0)));
    assert!(world.lags.view().is_complete);
}

#[tokio::test(start_paused = true)]
async fn the_time_that_is_told_is_that_of_the_last_whole_computation_and_its_age_goes_on() {
    let mut world = World::new();
    let age = |world: &World| world.value("lag_age", &[]).unwrap();
    commit(&world.group("g"), at(world.log.create("t", 1), 0), 0);
    tokio::time::advance(std::time::Duration::from_secs(7)).await;
    assert_eq!((age(&world), world.lags.view().computed_ms), (7.0, None), "not once yet");
    world.cycle().await;
    let whole = world.clock.now_ms();
    assert_eq!((age(&world), world.lags.view().computed_ms), (0.0, Some(whole)));

    world.log.is_down.store(true, Ordering::Relaxed);
    for seconds in [30.0, 60.0] {
        world.after(30).await;
        assert_eq!((age(&world), world.lags.view().computed_ms), (seconds, Some(whole)));
    }
    tokio::time::advance(std::time::Duration::from_secs(40)).await;
    assert_eq!(age(&world), 100.0, "nobody computes any more");
    world.log.is_down.store(false, Ordering::Relaxed);
    world.cycle().await;
    assert_eq!((age(&world), world.lags.view().computed_ms), (0.0, Some(whole + 100_000)));
}

#[tokio::test(start_paused = true)]
async fn positions_are_asked_for_where_something_changed() {
    let (mut world, group, partition) = at_zero().await;
    world.append(partition, 100);
    world.cycle().await;
    let asked = || world.log.positions_asked.load(Ordering::Relaxed);
    assert_eq!(asked(), 1);
    for _ in 0..5 {
        world.append(partition, 1);
        world.after(5).await;
    }
    assert_eq!(world.log.positions_asked.load(Ordering::Relaxed), 1, "the record is the same");
    commit(&group, partition, 1);
    world.cycle().await;
    assert_eq!(world.log.positions_asked.load(Ordering::Relaxed), 2);
}
