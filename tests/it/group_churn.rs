//! A group whose members are processes that start, end and are killed at random.

use crate::clients::create_topic;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use streamhouse_tests::process::{Launch, PATIENCE, Server};

const TOPIC: &str = "orders";
const GROUP: &str = "billing";
const PARTITIONS: i32 = 10;
const SLOTS: usize = 5;
const CHURN: Duration = Duration::from_secs(40);
const SESSION: &str = "3s";
/// Records sent at each step, of which there are about twenty in a second.
const AT_ONCE: u64 = 10;
const STEP: Duration = Duration::from_millis(50);
const REBALANCES: &str = "streamhouse_consumer_rebalances_total";

/// A process that is a member of the group, killed when dropped.
struct Member {
    child: Child,
    name: String,
    said: PathBuf,
}

impl Member {
    fn start(folder: &Path, brokers: SocketAddr, name: String) -> Self {
        let file = |of: &str| folder.join(format!("{name}.{of}"));
        let create = |of: &str| Stdio::from(File::create(file(of)).expect("a new file"));
        let child = Command::new(crate::BINARY)
            .env_clear()
            .args(["consume", TOPIC, "--group", GROUP, "--output", "json"])
            .args(["--session-timeout", SESSION, "--brokers", &brokers.to_string()])
            .stdin(Stdio::null())
            .stdout(create("out"))
            .stderr(create("err"))
            .spawn()
            .expect("a process");
        Self { child, said: file("err"), name }
    }

    /// What it ended with and what it said; `None` while it runs.
    fn ended(&mut self) -> Option<(Option<i32>, String)> {
        let status = self.child.try_wait().expect("a child")?;
        Some((status.code(), std::fs::read_to_string(&self.said).expect("a file")))
    }

    fn kill(mut self) {
        self.child.kill().expect("a signal");
        self.child.wait().expect("an end");
    }

    /// Asks it to end (SIGTERM).
    fn ask_to_end(&mut self) {
        let pid = self.child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status().expect("kill");
        assert!(sent.success(), "cannot signal {}", self.name);
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What all members together have printed. A line counts once its end is there.
#[derive(Default)]
struct Printed {
    files: BTreeMap<PathBuf, (File, Vec<u8>)>,
    /// The number in each record, by partition and offset.
    records: BTreeMap<(i32, i64), u64>,
    /// By partition: the first offset that nobody has printed.
    missing: BTreeMap<i32, i64>,
    lines: usize,
}

impl Printed {
    fn watch(&mut self, member: &Member) {
        let path = member.said.with_extension("out");
        let file = File::open(&path).expect("a file");
        self.files.insert(path, (file, Vec::new()));
    }

    /// Reads what was printed until now.
    fn look(&mut self) {
        let mut lines = Vec::new();
        for (file, rest) in self.files.values_mut() {
            file.read_to_end(rest).expect("a readable file");
            let whole = rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
            lines.extend(rest.drain(..whole));
        }
        for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let line: Value = serde_json::from_slice(line).expect("a whole line");
            let partition = line["partition"].as_i64().expect("a partition") as i32;
            let place = (partition, line["offset"].as_i64().expect("an offset"));
            let number = line["value"].as_str().and_then(|value| value.parse().ok());
            let number = number.unwrap_or_else(|| panic!("no number in {line}"));
            let before = self.records.insert(place, number);
            assert!(before.is_none_or(|before| before == number), "{place:?} has two values");
            self.lines += 1;
        }
        for partition in 0..PARTITIONS {
            let missing = self.missing.entry(partition).or_default();
            while self.records.contains_key(&(partition, *missing)) {
                *missing += 1;
            }
        }
    }
}

/// Where the group has come to, asked of the broker, and what must hold of it at any time.
struct Committed {
    asker: BaseConsumer,
    last: BTreeMap<i32, i64>,
    looks: usize,
}

impl Committed {
    fn of(addr: SocketAddr) -> Self {
        let asker = ClientConfig::new()
            .set("bootstrap.servers", addr.to_string())
            .set("group.id", GROUP)
            .create()
            .expect("a client");
        Self { asker, last: BTreeMap::new(), looks: 0 }
    }

    /// Nothing goes back, and nothing is committed that is not printed.
    fn look(&mut self, printed: &mut Printed) {
        let mut asked = TopicPartitionList::new();
        asked.add_partition_range(TOPIC, 0, PARTITIONS - 1);
        let answer = self.asker.committed_offsets(asked, PATIENCE).expect("committed offsets");
        // In this order: what was committed by now had to be printed before.
        printed.look();
        for one in answer.elements() {
            one.error().expect("an offset");
            let committed = match one.offset() {
                Offset::Offset(offset) => offset,
                Offset::Invalid => 0,
                other => panic!("{other:?}"),
            };
            let partition = one.partition();
            let before = self.last.insert(partition, committed).unwrap_or(0);
            assert!(committed >= before, "partition {partition} from {before} back to {committed}");
            let missing = printed.missing[&partition];
            let what = "is committed, but nobody has printed";
            assert!(committed <= missing, "partition {partition}: {committed} {what} {missing}");
        }
        self.looks += 1;
    }
}

/// Five places for members, and those who are still ending.
struct Slots<'a> {
    dice: StdRng,
    folder: &'a Path,
    brokers: SocketAddr,
    /// Who is there, and when that changes.
    places: Vec<(Option<Member>, Instant)>,
    leaving: Vec<(Member, Instant)>,
    started: usize,
    killed: usize,
    asked: usize,
    refused_commits: usize,
}

impl<'a> Slots<'a> {
    fn new(seed: u64, folder: &'a Path, brokers: SocketAddr) -> Self {
        let mut dice = StdRng::seed_from_u64(seed);
        let begun = Instant::now();
        let mut soon = || begun + Duration::from_millis(dice.random_range(0..1_500));
        let places = (0..SLOTS).map(|_| (None, soon())).collect();
        let (leaving, (started, killed, asked, refused_commits)) = (Vec::new(), (0, 0, 0, 0));
        Self { dice, folder, brokers, places, leaving, started, killed, asked, refused_commits }
    }

    fn within(&mut self, ms: std::ops::Range<u64>) -> Instant {
        Instant::now() + Duration::from_millis(self.dice.random_range(ms))
    }

    /// Starts whom it is time to start, and ends whom it is time to end.
    fn step(&mut self, printed: &mut Printed) {
        for place in 0..SLOTS {
            if Instant::now() < self.places[place].1 {
                continue;
            }
            match self.places[place].0.take() {
                None => self.start(place, printed),
                Some(member) => {
                    self.end(member);
                    self.places[place].1 = self.within(0..1_500);
                }
            }
        }
        self.check();
    }

    /// Nobody ends without being asked to, and whoever was asked to does.
    fn check(&mut self) {
        for member in self.places.iter_mut().filter_map(|(member, _)| member.as_mut()) {
            let end = member.ended();
            assert!(end.is_none(), "{} ended by itself: {end:?}", member.name);
        }
        self.see_off();
    }

    fn start(&mut self, place: usize, printed: &mut Printed) {
        let member = Member::start(self.folder, self.brokers, format!("{place}-{}", self.started));
        printed.watch(&member);
        self.started += 1;
        self.places[place] = (Some(member), self.within(2_000..9_000));
    }

    fn end(&mut self, mut member: Member) {
        if self.dice.random_bool(0.4) {
            member.kill();
            self.killed += 1;
        } else {
            member.ask_to_end();
            self.leaving.push((member, Instant::now()));
            self.asked += 1;
        }
    }

    fn see_off(&mut self) {
        let refused = &mut self.refused_commits;
        self.leaving.retain_mut(|(member, since)| match member.ended() {
            None => {
                assert!(since.elapsed() < PATIENCE, "{} does not end", member.name);
                true
            }
            // Asked before it could listen for that.
            Some((None | Some(0), _)) => false,
            Some((Some(code), said)) => {
                assert_eq!(code, 1, "{}: {said}", member.name);
                assert!(said.contains("could not be committed"), "{}: {said}", member.name);
                *refused += 1;
                false
            }
        });
    }

    /// Ends all but two, and lets those be.
    fn survive(&mut self, printed: &mut Printed) {
        for place in 0..SLOTS {
            match (place < 2, self.places[place].0.take()) {
                (true, None) => self.start(place, printed),
                (true, member) => self.places[place].0 = member,
                (false, Some(member)) => self.end(member),
                (false, None) => {}
            }
        }
    }
}

fn send(producer: &ThreadedProducer<DefaultProducerContext>, number: u64) {
    let text = number.to_string();
    let partition = (number % PARTITIONS as u64) as i32;
    let record = BaseRecord::<(), _>::to(TOPIC).partition(partition).payload(&text);
    producer.send(record).map_err(|(error, _)| error).expect("room in the queue");
}

/// What the coordinator wrote down: the number of each generation that was shared out.
fn ledger(server: &Server) -> Vec<i64> {
    let lines = server.log().into_iter().filter_map(|line| serde_json::from_str(&line).ok());
    let field = |line: &Value, name: &str| {
        line.get(name).or_else(|| line["fields"].get(name)).cloned().unwrap_or_default()
    };
    lines
        .filter(|line: &Value| field(line, "message") == "a group's partitions are shared out")
        .filter(|line| field(line, "group") == GROUP)
        .map(|line| field(&line, "generation").as_i64().expect("a generation"))
        .collect()
}

/// The counter by reason equals what the coordinator wrote down.
fn check_rebalances(server: &Server) {
    let group = [("group", GROUP)];
    // Nobody is left, so that nothing is counted any more.
    let is_empty = |members| members == Some(0.0);
    server.scrape_until("an empty group", |seen| {
        is_empty(seen.sum("streamhouse_group_members", &group))
            && seen.sum(REBALANCES, &group) == Some(ledger(server).len() as f64)
    });
    let (scrape, generations) = (server.scrape(), ledger(server));
    assert_eq!(scrape.sum(REBALANCES, &group), Some(generations.len() as f64));
    assert!(generations.is_sorted_by(|a, b| a < b), "{generations:?}");
    assert!(generations.len() >= 5, "{generations:?}");
    for sample in scrape.select(REBALANCES, &group) {
        println!("{} rebalances because of {}", sample.value, sample.labels["reason"]);
    }
    println!("generations shared out: {generations:?}");
}

#[test]
fn processes_that_join_leave_and_are_killed_skip_nothing_and_commit_only_what_they_printed() {
    let seed = std::env::var("STREAMHOUSE_CHURN_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| rand::rng().random());
    println!("STREAMHOUSE_CHURN_SEED={seed}");
    let (data, folder) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir());
    let folder = folder.expect("a folder");
    let server = Launch::serve(crate::BINARY, data.path()).start();
    create_topic(server.kafka, TOPIC, PARTITIONS);
    let producer: ThreadedProducer<DefaultProducerContext> = ClientConfig::new()
        .set("bootstrap.servers", server.kafka.to_string())
        .create()
        .expect("a producer");
    let mut slots = Slots::new(seed, folder.path(), server.kafka);
    let (mut printed, mut committed) = (Printed::default(), Committed::of(server.kafka));

    let (begun, mut sent) = (Instant::now(), 0);
    while begun.elapsed() < CHURN {
        (sent..sent + AT_ONCE).for_each(|number| send(&producer, number));
        sent += AT_ONCE;
        slots.step(&mut printed);
        committed.look(&mut printed);
        std::thread::park_timeout(STEP);
    }
    println!("{} of {sent} records printed in the churn", printed.records.len());
    slots.survive(&mut printed);
    producer.flush(PATIENCE).expect("every record is acknowledged");
    drain(&mut slots, &mut printed, &mut committed, sent);

    let ends = (0..PARTITIONS).map(|partition| {
        let ends = committed.asker.fetch_watermarks(TOPIC, partition, PATIENCE);
        (partition, ends.expect("ends").1)
    });
    let ends: BTreeMap<_, _> = ends.collect();
    assert_eq!(printed.missing, ends, "offsets that nobody has printed");
    assert_eq!(committed.last, ends, "what the survivors have committed at their end");
    let numbers: BTreeSet<u64> = printed.records.values().copied().collect();
    assert!(numbers.into_iter().eq(0..sent), "numbers that nobody has printed");
    check_rebalances(&server);
    let Slots { started, killed, asked, refused_commits, .. } = &slots;
    println!(
        "{started} processes, {killed} killed, {asked} asked to end; {refused_commits} of these could not commit"
    );
    println!("{sent} records, {} lines, {} looks at offsets", printed.lines, committed.looks);
    assert!(*killed >= 3 && *asked >= 3, "{killed} killed, {asked} asked to end");
}

/// The survivors print what is left, commit it and end.
fn drain(slots: &mut Slots<'_>, printed: &mut Printed, committed: &mut Committed, sent: u64) {
    let begun = Instant::now();
    while printed.missing.values().sum::<i64>() < sent as i64 {
        assert!(begun.elapsed() < 2 * PATIENCE, "{sent} sent, not printed: {:?}", printed.missing);
        slots.check();
        committed.look(printed);
        std::thread::park_timeout(STEP);
    }
    println!("drained after {:?}", begun.elapsed());
    for place in 0..SLOTS {
        if let Some(mut member) = slots.places[place].0.take() {
            member.ask_to_end();
            slots.leaving.push((member, Instant::now()));
        }
    }
    while !slots.leaving.is_empty() {
        slots.see_off();
        committed.look(printed);
        std::thread::park_timeout(STEP);
    }
    committed.look(printed);
}
