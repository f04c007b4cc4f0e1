use super::instances::HOUR;
use super::reader::decompressed;
use super::series::Series;
use super::*;
use proptest::prelude::*;
use std::collections::{HashMap, HashSet};
use std::io::Write as _;
use streamhouse_observability::testing::in_memory;

const LIMIT: usize = 1 << 20;

/// `plain`, compressed with the codec of this number; snappy in its raw form.
fn compressed(codec: u8, plain: &[u8]) -> Vec<u8> {
    match codec {
        0 => plain.to_vec(),
        1 => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), Default::default());
            encoder.write_all(plain).unwrap();
            encoder.finish().unwrap()
        }
        2 => snap::raw::Encoder::new().compress_vec(plain).unwrap(),
        3 => {
            let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
            encoder.write_all(plain).unwrap();
            encoder.finish().unwrap()
        }
        _ => zstd::encode_all(plain, 3).unwrap(),
    }
}

#[test]
fn a_compression_bomb_of_any_codec_is_too_large_and_what_fits_is_read() {
    let bomb = vec![0; 64 << 20];
    for codec in [0].into_iter().chain(COMPRESSIONS) {
        let codec = codec as u8;
        let small = compressed(codec, &bomb);
        assert_eq!(decompressed(codec, &small, LIMIT), Err(PushRefusal::TooLarge), "{codec}");
        let fits = vec![7; LIMIT];
        assert_eq!(decompressed(codec, &compressed(codec, &fits), LIMIT), Ok(fits), "{codec}");
    }
}

#[test]
fn a_torn_or_false_compression_is_invalid() {
    let plain: Vec<u8> = (0..5_000u32).flat_map(u32::to_be_bytes).collect();
    for codec in COMPRESSIONS {
        let codec = codec as u8;
        assert_eq!(decompressed(codec, &[0xff; 40], LIMIT), Err(PushRefusal::Invalid), "{codec}");
        let whole = compressed(codec, &plain);
        let torn = decompressed(codec, &whole[..whole.len() / 2], LIMIT);
        // A raw block of snappy may end anywhere: then its metrics are torn.
        assert!(torn != Ok(plain.clone()), "{codec}");
    }
}

#[test]
fn a_star_in_a_pattern_stands_for_any_text() {
    for (pattern, name, matches) in [
        ("*", "", true),
        ("", "", true),
        ("", "a", false),
        ("orders", "orders", true),
        ("orders", "orders-1", false),
        ("orders-*", "orders-1", true),
        ("orders-*", "orders", false),
        ("*-1", "orders-1", true),
        ("a*a", "a", false),
        ("a*b*c", "a-b-b-c", true),
        ("a*b*c", "a-c-b", false),
        ("*b*", "abc", true),
        ("**", "x", true),
    ] {
        assert_eq!(Pattern::new(pattern).matches(name), matches, "{pattern:?} {name:?}");
    }
}

#[test]
fn software_that_is_not_plainly_named_is_unknown() {
    let named = Software::new("apache-kafka-java", "4.1.0");
    assert_eq!((&*named.name, &*named.version), ("apache-kafka-java", "4.1.0"));
    for name in ["", "-a", "a.", "a b", "a\n", "größe", &"x".repeat(65)] {
        assert_eq!(&*Software::new(name, "1").name, "unknown", "{name:?}");
    }
}

#[test]
fn a_subscription_has_the_same_id_everywhere_and_another_one_when_it_differs() {
    let config = ClientTelemetryConfig::default();
    let id = |config: &ClientTelemetryConfig| Subscription::new(config, &config.metrics).id;
    let mut ids = HashSet::from([id(&config)]);
    assert!(!ids.insert(id(&config.clone())));
    let interval = Duration::from_secs(1);
    assert!(ids.insert(id(&ClientTelemetryConfig { interval, ..config.clone() })));
    assert!(ids.insert(id(&ClientTelemetryConfig { max_push_bytes: 1, ..config.clone() })));
    for metrics in [vec![], vec!["ab"], vec!["a", "b"], vec!["b", "a"], vec!["a", "b", ""]] {
        let metrics = metrics.into_iter().map(String::from).collect();
        assert!(ids.insert(id(&ClientTelemetryConfig { metrics, ..config.clone() })));
    }
}

fn instances(config: &ClientTelemetryConfig) -> Instances {
    let (declare, _seen) = in_memory();
    Instances::new(config, ClientTelemetryMetrics::declare(&declare).instances.bind(&()))
}

fn kept(instances: &mut Instances, id: u128, series: std::ops::Range<u64>) -> usize {
    let series: Vec<u64> = series.collect();
    let kept = instances.admit(Uuid::from_u128(id), &series).unwrap();
    kept.into_iter().filter(|kept| *kept).count()
}

#[test]
fn an_instance_makes_no_more_series_in_its_life_than_in_a_push_and_keeps_those_it_has() {
    let mut instances = instances(&ClientTelemetryConfig::default());
    let now = Instant::now();
    instances.meet(Uuid::from_u128(1), now).unwrap();
    instances.meet(Uuid::from_u128(2), now).unwrap();
    let all: usize =
        (0..4).map(|push| kept(&mut instances, 1, push * 1_900..(push + 1) * 1_900)).sum();
    assert_eq!(all, 2_000);
    assert_eq!(kept(&mut instances, 1, 0..2_000), 2_000, "what it has had may come again");
    assert_eq!(kept(&mut instances, 1, 1_990..2_020), 10);
    assert_eq!(kept(&mut instances, 2, 5_000..7_000), 2_000, "of another instance");
    let stranger = instances.admit(Uuid::from_u128(3), &[1]);
    assert_eq!(
        stranger,
        Err(PushRefusal::UnknownSubscription),
        "forgotten meanwhile: it asks again"
    );
}

#[test]
fn the_series_of_all_instances_are_bounded_and_those_forgotten_make_room() {
    let mut instances = instances(&ClientTelemetryConfig::default());
    instances.most_series_of_all = 3_000;
    let start = Instant::now();
    instances.meet(Uuid::from_u128(1), start).unwrap();
    assert_eq!(kept(&mut instances, 1, 0..2_000), 2_000);
    let later = start + Duration::from_secs(120);
    instances.meet(Uuid::from_u128(2), later).unwrap();
    assert_eq!(kept(&mut instances, 2, 0..2_000), 1_000);
    instances.sweep(start + Duration::from_secs(190));
    assert_eq!(kept(&mut instances, 2, 0..2_000), 2_000);
}

#[derive(Clone, Debug)]
enum Step {
    Meet(u8),
    Push(u8, bool),
    Wait(u64),
    Sweep,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..12u8).prop_map(Step::Meet),
        6 => (0..12u8, prop::bool::weighted(0.1)).prop_map(|(id, last)| Step::Push(id, last)),
        2 => (0..20u64).prop_map(Step::Wait),
        1 => Just(Step::Sweep),
    ]
}

proptest! {
    #[test]
    fn a_series_is_kept_if_it_is_known_or_there_is_room(
        pushes in prop::collection::vec((prop::collection::vec(0..40u64, 0..30), 0..15usize), 0..8),
    ) {
        let mut series = Series::default();
        let mut model: HashSet<u64> = HashSet::new();
        for (push, room) in pushes {
            let most = model.len() + room;
            let expected: Vec<bool> = push
                .iter()
                .map(|one| model.contains(one) || (model.len() < most && model.insert(*one)))
                .collect();
            prop_assert_eq!(series.admit(&push, room), expected);
            prop_assert_eq!(series.len(), model.len());
        }
    }

    #[test]
    fn no_instance_is_forgotten_within_its_life_and_no_limit_is_ever_passed(
        steps in prop::collection::vec(step(), 0..150),
    ) {
        let config = ClientTelemetryConfig {
            interval: Duration::from_secs(10),
            max_instances: 4,
            new_instances_per_hour: 7,
            ..ClientTelemetryConfig::default()
        };
        let mut instances = instances(&config);
        let mut now = Instant::now();
        // When each was last heard of, last pushed, and whether that was its last push.
        let mut model: HashMap<u8, (Instant, Option<Instant>, bool)> = HashMap::new();
        let mut met: Vec<Instant> = Vec::new();
        for step in steps {
            let (id, result, last) = match step {
                Step::Wait(seconds) => {
                    now += Duration::from_secs(seconds);
                    continue;
                }
                Step::Sweep => {
                    instances.sweep(now);
                    model.retain(|_, (seen, ..)| now.duration_since(*seen).as_secs() <= 30);
                    continue;
                }
                Step::Meet(id) => (id, instances.meet(Uuid::from_u128(id.into()), now), None),
                Step::Push(id, last) => {
                    (id, instances.push(Uuid::from_u128(id.into()), last, now), Some(last))
                }
            };
            met.retain(|at| now.duration_since(*at) < HOUR);
            let known = model.len();
            let room = model.contains_key(&id) || (known < 4 && met.len() < 7);
            if !room {
                prop_assert_eq!(result, Err(PushRefusal::TooManyInstances));
                continue;
            }
            let (seen, pushed, terminated) = model.entry(id).or_insert_with(|| {
                met.push(now);
                (now, None, false)
            });
            *seen = now;
            let Some(last) = last else {
                prop_assert_eq!(result, Ok(()));
                continue;
            };
            let early = pushed.is_some_and(|at| now.duration_since(at) < Duration::from_secs(9));
            let expected = match (*terminated, early && !last) {
                (true, _) => Err(PushRefusal::Terminated),
                (_, true) => Err(PushRefusal::TooEarly),
                _ => Ok(()),
            };
            prop_assert_eq!(result, expected);
            if expected.is_ok() {
                (*pushed, *terminated) = (Some(now), last);
            }
        }
    }
}
