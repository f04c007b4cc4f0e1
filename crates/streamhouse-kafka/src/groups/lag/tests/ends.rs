use super::World;
use super::world::{at, commit, commit_at, join};

#[tokio::test(start_paused = true)]
async fn a_group_without_commits_has_no_series_and_is_counted_apart() {
    let mut world = World::new();
    let topic = world.log.create("t", 3);
    world.append(at(topic, 0), 100);
    let (group, idle) = (world.group("g"), world.group("idle"));
    join(&group, 2, &["t", "no-such-topic"]);
    world.cycle().await;
    assert!(world.seen.series("streamhouse.consumer.lag").is_empty());
    assert_eq!(world.value("groups_uncommitted", &[]), Some(1.0));
    let told = world.told("g");
    assert_eq!((told.uncommitted, told.lag, told.commit_age), (3, 0, None));
    assert_eq!(world.told("idle").uncommitted, 0, "it has never wanted anything");
    drop(idle);

    commit(&group, at(topic, 0), 10);
    commit(&group, at(topic, 1), -1);
    world.cycle().await;
    assert_eq!(world.seen.series("streamhouse.consumer.lag").len(), 1);
    assert_eq!((world.told("g").uncommitted, world.told("g").lag), (2, 90));
    commit(&group, at(topic, 1), 0);
    commit(&group, at(topic, 2), 0);
    world.cycle().await;
    assert_eq!(world.value("groups_uncommitted", &[]), Some(0.0));
}

#[tokio::test(start_paused = true)]
async fn a_group_that_never_committed_keeps_its_alarm_when_its_last_member_goes() {
    let mut world = World::new();
    let topic = world.log.create("t", 3);
    let group = world.group("g");
    join(&group, 1, &["t"]);
    commit(&group, at(topic, 0), 0);
    world.cycle().await;
    join(&group, 0, &[]);
    for _ in 0..2 {
        world.after(60).await;
        assert_eq!((world.told("g").members, world.told("g").uncommitted), (0, 2));
        assert_eq!(world.value("groups_uncommitted", &[]), Some(1.0));
        world.restart(world.clock);
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_known_subscription_the_topics_that_have_offsets_are_looked_at() {
    let mut world = World::new();
    let (begun, other) = (world.log.create("begun", 3), world.log.create("other", 5));
    let group = world.group("g");
    commit(&group, at(begun, 1), 0);
    world.cycle().await;
    assert_eq!(world.told("g").uncommitted, 2);
    world.log.delete(other);
    world.log.delete(begun);
    world.cycle().await;
    assert_eq!(world.told("g").uncommitted, 0);
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_was_left_stays_away_after_a_restart_and_one_set_anew_does_not() {
    let mut world = World::new();
    let (kept, left) = (world.log.create("kept", 1), world.log.create("left", 1));
    let anew = world.log.create("anew", 1);
    let group = world.group("g");
    for topic in [kept, left, anew] {
        commit(&group, at(topic, 0), 0);
    }
    join(&group, 1, &["kept"]);
    join(&group, 0, &[]);
    commit_at(&group, at(anew, 0), 0, streamhouse_storage::machine_ms() + 1);
    for _ in 0..2 {
        world.after(5).await;
        let shown = ["kept", "left", "anew"].map(|topic| world.shown("g", topic, "0").is_some());
        assert_eq!(shown, [true, false, true]);
        world.restart(world.clock);
    }
}

#[tokio::test(start_paused = true)]
async fn a_group_that_is_gone_leaves_no_series() {
    let mut world = World::new();
    let topic = world.log.create("t", 2);
    for name in ["a", "b"] {
        let group = world.group(name);
        commit(&group, at(topic, 0), 0);
        commit(&group, at(topic, 1), 0);
    }
    world.cycle().await;
    assert_eq!(world.seen.series("streamhouse.consumer.lag").len(), 4);
    world.groups.remove("a");
    world.cycle().await;
    assert!(world.shown("a", "t", "0").is_none());
    assert!(world.shown("b", "t", "0").is_some());
    assert!(world.lags.view().group("a").is_none());
    let text = world.seen.text();
    for name in ["lag", "lag_time_seconds", "retention_margin_ratio"] {
        assert!(!text.contains(&format!("streamhouse_consumer_{name}{{group=\"a\"")), "{text}");
    }
    assert!(!text.contains("streamhouse_group_commit_age_seconds{group=\"a\""), "{text}");
    assert!(!world.seen.text().contains("group=\"a\""), "counters end after one more scrape");
}

#[tokio::test(start_paused = true)]
async fn a_deleted_topic_goes_and_one_created_under_its_name_has_no_phantom_lag() {
    let mut world = World::new();
    let old = world.log.create("t", 1);
    let group = world.group("g");
    world.append(at(old, 0), 100);
    commit(&group, at(old, 0), 60);
    world.cycle().await;
    assert_eq!(world.shown("g", "t", "0").unwrap().0, 40.0);

    world.log.delete(old);
    let new = world.log.create("t", 1);
    world.append(at(new, 0), 500);
    world.cycle().await;
    assert!(world.shown("g", "t", "0").is_none(), "the group has not begun to read this one");
    assert!(world.told("g").partitions.is_empty());

    commit(&group, at(new, 0), 499);
    world.cycle().await;
    assert_eq!(world.shown("g", "t", "0").unwrap().0, 1.0);

    // And all of it between two looks.
    world.log.delete(new);
    let third = world.log.create("t", 1);
    world.append(at(third, 0), 7);
    group.change(|facts| facts.offsets.clear());
    commit(&group, at(third, 0), 0);
    world.cycle().await;
    assert_eq!(world.shown("g", "t", "0").unwrap().0, 7.0);
    assert_eq!(world.seen.series("streamhouse.consumer.lag").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_topic_that_the_members_left_goes_and_stays_away_when_they_die() {
    let mut world = World::new();
    let (kept, left) = (world.log.create("kept", 1), world.log.create("left", 1));
    let group = world.group("g");
    join(&group, 1, &["kept", "left"]);
    commit(&group, at(kept, 0), 0);
    commit(&group, at(left, 0), 0);
    world.append(at(left, 0), 10);
    world.cycle().await;
    assert!(world.shown("g", "left", "0").is_some());

    join(&group, 1, &["kept"]);
    world.cycle().await;
    assert!(world.shown("g", "left", "0").is_none());
    assert!(world.shown("g", "kept", "0").is_some());
    assert_eq!(world.told("g").lag, 0);

    join(&group, 0, &[]);
    world.after(60).await;
    assert!(world.shown("g", "left", "0").is_none(), "nobody waits for it");
    assert!(world.shown("g", "kept", "0").is_some());

    // Somebody sets an offset anew: it is wanted again.
    commit_at(&group, at(left, 0), 4, streamhouse_storage::machine_ms() + 1);
    world.after(5).await;
    assert_eq!(world.shown("g", "left", "0").unwrap().0, 6.0);
    world.after(5).await;
    assert_eq!(world.shown("g", "left", "0").unwrap().0, 6.0);
}

#[tokio::test(start_paused = true)]
async fn members_whose_subscription_cannot_be_read_leave_nothing() {
    let mut world = World::new();
    let topic = world.log.create("t", 1);
    let group = world.group("g");
    join(&group, 1, &["other"]);
    commit(&group, at(topic, 0), 0);
    world.cycle().await;
    assert!(world.shown("g", "t", "0").is_none());
    group.change(|facts| facts.subscribed = None);
    world.cycle().await;
    assert!(world.shown("g", "t", "0").is_some());
}

#[tokio::test(start_paused = true)]
async fn offsets_that_come_and_go_leave_exactly_the_series_of_what_is_left() {
    let mut world = World::new();
    let topics: Vec<_> = ["a", "b", "c"].iter().map(|name| world.log.create(name, 8)).collect();
    let group = world.group("g");
    let mut state = 7_u64;
    for _ in 0..200 {
        for _ in 0..4 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let (topic, partition) = ((state >> 33) % 3, (state >> 40) % 8);
            let partition = at(topics[topic as usize], partition as i32);
            if state >> 63 == 0 {
                commit(&group, partition, 0);
            } else {
                group.change(|facts| {
                    facts.offsets.remove(&partition);
                });
            }
        }
        world.cycle().await;
        let committed = group.read(|facts| facts.offsets.len());
        assert_eq!(world.seen.series("streamhouse.consumer.lag").len(), committed);
        assert_eq!(world.told("g").partitions.len(), committed);
    }
}
