//! One group: what it has committed, and how far that is behind.

use super::compute::{self, Limits, Moment};
use super::ends::Ends;
use super::series::{Behind, Key, Series, Shared};
use super::source::Source;
use super::{GroupLag, LagDetail, PartitionLag};
use crate::groups::table::{GroupFacts, GroupView};
use std::iter::Peekable;
use std::sync::Arc;
use streamhouse_metadata::{Position, TopicId, TopicPartition, Watermarks};
use streamhouse_observability::declare::{CounterCell, FloatGaugeCell};
use streamhouse_observability::instruments::LagMetrics;
use streamhouse_observability::labels::{Group, GroupState, Partition, Topic};
use tokio::time::Instant;

/// A group as it is followed.
#[derive(Debug)]
pub(super) struct Followed {
    view: Arc<GroupView>,
    /// The view's count when it was copied; `None` before the first time.
    copied: Option<u64>,
    facts: Facts,
    commit: Option<Commit>,
    topics: Vec<Followable>,
    entries: Vec<Entry>,
    folds: Vec<(Key, Behind)>,
    series: Vec<Series>,
    age: Option<FloatGaugeCell>,
    uncommitted: usize,
}

/// What is copied of a group besides its offsets.
#[derive(Debug)]
struct Facts {
    state: GroupState,
    protocol_type: Arc<str>,
    members: usize,
    /// Sorted.
    subscribed: Option<Vec<Arc<str>>>,
    generation_ms: Option<i64>,
    committed_ms: Option<i64>,
}

impl Facts {
    fn of(facts: &GroupFacts) -> Self {
        let mut subscribed = facts.subscribed.clone();
        if let Some(names) = &mut subscribed {
            names.sort_unstable();
            names.dedup();
        }
        Self {
            state: facts.state,
            protocol_type: facts.protocol_type.clone(),
            members: facts.members,
            subscribed,
            generation_ms: facts.generation_ms,
            committed_ms: facts.committed_ms,
        }
    }
}

/// When the group last committed.
#[derive(Clone, Copy, Debug)]
struct Commit {
    /// By the store's clock.
    ms: i64,
    /// How long ago that was when it was noticed, in seconds.
    age: f64,
    /// When it was noticed.
    at: Instant,
}

/// A topic in which the group has committed offsets.
#[derive(Debug)]
struct Followable {
    id: TopicId,
    /// What the topic is called and keeps; `None` while there is no such topic.
    known: Option<(Topic, Limits)>,
    /// The group's members do not subscribe to it any more.
    is_left: bool,
    /// When an offset in it was last committed.
    committed_ms: i64,
    /// Owned for as long as the group can lose records of it.
    lost: Option<CounterCell>,
}

/// A committed offset.
#[derive(Clone, Copy, Debug)]
pub(super) struct Copied {
    partition: TopicPartition,
    offset: i64,
    committed_ms: i64,
}

/// A place that the group has reached.
#[derive(Debug)]
struct Entry {
    copied: Copied,
    /// The partition's ends, as told last.
    ends: Option<Watermarks>,
    /// Its topic's place among the group's.
    topic: usize,
    first: Option<First>,
    behind: Option<Behind>,
}

/// The first record that the group has not consumed.
#[derive(Clone, Copy, Debug)]
struct First {
    offset: i64,
    /// When this process noticed it.
    since: Instant,
    position: Option<Position>,
    /// The end of the log to which the position counts bytes.
    end: i64,
}

impl Followed {
    pub fn new(view: Arc<GroupView>) -> Self {
        let facts = view.read(Facts::of);
        Self {
            view,
            copied: None,
            facts,
            commit: None,
            topics: Vec::new(),
            entries: Vec::new(),
            folds: Vec::new(),
            series: Vec::new(),
            age: None,
            uncommitted: 0,
        }
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Copies what has changed since the last time. `spare` is memory to work in; `before` is when
    /// the last cycle copied.
    pub fn copy(
        &mut self,
        view: &Arc<GroupView>,
        spare: &mut Vec<Copied>,
        now: Moment,
        before: Option<Instant>,
    ) {
        let count = view.changed();
        if Arc::ptr_eq(&self.view, view) && self.copied == Some(count) {
            return;
        }
        self.view = view.clone();
        self.copied = Some(count);
        spare.clear();
        self.facts = view.read(|facts| {
            spare.extend(facts.offsets.iter().filter(|(_, commit)| commit.offset >= 0).map(
                |(partition, commit)| Copied {
                    partition: *partition,
                    offset: commit.offset,
                    committed_ms: commit.committed_ms,
                },
            ));
            Facts::of(facts)
        });
        self.note_commit(now, before);
        self.merge(spare);
    }

    /// The age is told by two clocks when the commit is first seen. A commit that was made between
    /// two cycles is no older than that, whatever the clocks say.
    fn note_commit(&mut self, now: Moment, before: Option<Instant>) {
        let Some(ms) = self.facts.committed_ms else {
            self.commit = None;
            return;
        };
        if self.commit.is_some_and(|commit| commit.ms == ms) {
            return;
        }
        let mut age = (now.machine_ms.saturating_sub(ms) as f64 / 1e3).max(0.0);
        if let (Some(before), true) = (before, self.commit.is_some_and(|commit| commit.ms < ms)) {
            age = age.min(now.at.saturating_duration_since(before).as_secs_f64());
        }
        self.commit = Some(Commit { ms, age, at: now.at });
    }

    fn merge(&mut self, copied: &[Copied]) {
        for topic in &mut self.topics {
            topic.committed_ms = i64::MIN;
        }
        let is_same = self.entries.len() == copied.len()
            && self.entries.iter().zip(copied).all(|(a, b)| a.copied.partition == b.partition);
        if is_same {
            for (entry, copied) in self.entries.iter_mut().zip(copied) {
                entry.copied = *copied;
                self.topics[entry.topic].note(*copied);
            }
            return;
        }
        let mut topics = std::mem::take(&mut self.topics).into_iter().peekable();
        let mut entries = std::mem::take(&mut self.entries).into_iter().peekable();
        self.entries.reserve(copied.len());
        for copied in copied {
            while entries.next_if(|entry| entry.copied.partition < copied.partition).is_some() {}
            let topic = self.place_of(copied.partition.topic, &mut topics);
            let same = entries.next_if(|entry| entry.copied.partition == copied.partition);
            let mut entry = same.unwrap_or(Entry {
                copied: *copied,
                ends: None,
                topic,
                first: None,
                behind: None,
            });
            (entry.topic, entry.copied) = (topic, *copied);
            self.topics[topic].note(*copied);
            self.entries.push(entry);
        }
    }

    /// The place of a topic among the group's, at the end or new there; `former` are those of
    /// before, in order.
    fn place_of(
        &mut self,
        id: TopicId,
        former: &mut Peekable<impl Iterator<Item = Followable>>,
    ) -> usize {
        if self.topics.last().is_none_or(|last| last.id != id) {
            while former.next_if(|topic| topic.id < id).is_some() {}
            let topic = former.next_if(|topic| topic.id == id).unwrap_or_else(|| Followable {
                id,
                known: None,
                is_left: false,
                committed_ms: i64::MIN,
                lost: None,
            });
            self.topics.push(topic);
        }
        self.topics.len() - 1
    }

    pub fn name(&self) -> &str {
        &self.view.name
    }

    /// How many series it has.
    pub fn series(&self) -> usize {
        self.series.len()
    }

    /// Where it has places.
    pub fn partitions(&self) -> impl Iterator<Item = TopicPartition> {
        self.entries.iter().map(|entry| entry.copied.partition)
    }

    /// Takes note of what was told of them.
    pub fn tell_ends(&mut self, ends: &Ends) {
        let mut told = ends.walk();
        for entry in &mut self.entries {
            entry.ends = told(entry.copied.partition);
        }
    }

    /// Finds out which topics there are, which the members still subscribe to, and of which
    /// partitions nothing is committed. Members that went have not unsubscribed.
    pub fn look_at_topics(&mut self, source: &impl Source, metrics: &LagMetrics) {
        let Facts { members, generation_ms, .. } = self.facts;
        let subscribed = self.facts.subscribed.as_deref();
        for topic in &mut self.topics {
            let found = source.topic(topic.id);
            topic.known = found.map(|found| {
                let limits = Limits::of(found.retention, source.default_retention());
                (Topic(found.name), limits)
            });
            let Some((name, _)) = &topic.known else {
                topic.lost = None;
                continue;
            };
            // What was committed after the last member went, somebody has set: it is wanted again.
            let is_old = || generation_ms.is_some_and(|ms| topic.committed_ms <= ms);
            topic.is_left = subscribed.is_some_and(|names| {
                names.binary_search(&name.0).is_err() && (members > 0 || is_old())
            });
            if topic.is_left {
                topic.lost = None;
            } else if topic.lost.is_none() {
                let labels = (Group(self.view.name.clone()), name.clone());
                topic.lost = Some(metrics.records_lost.bind(&labels));
            }
        }
        let without = |topic| self.without_commit(&topic);
        self.uncommitted = match subscribed {
            Some(names) => {
                names.iter().filter_map(|name| source.topic_named(name)).map(without).sum()
            }
            None => {
                self.topics.iter().filter_map(|topic| source.topic(topic.id)).map(without).sum()
            }
        };
    }

    fn without_commit(&self, topic: &streamhouse_metadata::Topic) -> usize {
        let at = |partition| TopicPartition { topic: topic.id, partition };
        let before = |partition| {
            self.entries.partition_point(|entry| entry.copied.partition < at(partition))
        };
        let committed = before(topic.partitions) - before(0);
        usize::try_from(topic.partitions).unwrap_or(0).saturating_sub(committed)
    }

    /// Finds the first record to consume in each partition. What must be asked for goes to
    /// `wanted`, with its entry's place.
    pub fn look(
        &mut self,
        source: &impl Source,
        now: Moment,
        mut wanted: impl FnMut(usize, TopicPartition, i64),
    ) {
        for (number, entry) in self.entries.iter_mut().enumerate() {
            let topic = &self.topics[entry.topic];
            let limits = topic.known.as_ref().map(|(_, limits)| *limits);
            let shown = limits.filter(|_| !topic.is_left).zip(entry.ends);
            let Some((limits, ends)) = shown else {
                (entry.first, entry.behind) = (None, None);
                continue;
            };
            let lag = compute::lag(ends, entry.copied.offset);
            entry.behind = Some(Behind { lag, ..Behind::NOTHING });
            if lag == 0 {
                entry.first = None;
                continue;
            }
            let offset = compute::first(ends, entry.copied.offset);
            let fresh = First { offset, since: now.at, position: None, end: -1 };
            let first = match &mut entry.first {
                Some(first) if first.offset == offset => first,
                other => other.insert(fresh),
            };
            let counts_bytes = limits.bytes.is_some();
            if first.position.is_some() && (!counts_bytes || first.end == ends.high_watermark) {
                continue;
            }
            match source.recent(entry.copied.partition, offset) {
                Some(position) => first.tell(position, ends.high_watermark),
                None => wanted(number, entry.copied.partition, offset),
            }
        }
    }

    /// Takes note of where an entry's first record lies.
    pub fn tell(&mut self, number: usize, offset: i64, position: Position) {
        let Some(entry) = self.entries.get_mut(number) else { return };
        let end = entry.ends.map_or(-1, |ends| ends.high_watermark);
        if let Some(first) = entry.first.as_mut().filter(|first| first.offset == offset) {
            first.tell(position, end);
        }
    }

    /// Computes what every place is behind, and folds it as wanted.
    pub fn compute(&mut self, detail: LagDetail, now: Moment) {
        self.folds.clear();
        for entry in &mut self.entries {
            let Some(behind) = &mut entry.behind else { continue };
            if let Some(first) = &entry.first {
                let limits = self.topics[entry.topic].known.as_ref().map(|(_, limits)| *limits);
                let position = first.position;
                behind.seconds =
                    compute::age(now, position.map(|found| found.append_time_ms), first.since);
                let bytes = position.map_or(0, |found| found.bytes_after);
                behind.margin = limits.unwrap_or_default().margin(behind.seconds, bytes);
            }
            let key = Key::of(entry.copied.partition, detail);
            match self.folds.last_mut() {
                Some((last, fold)) if *last == key => *fold = fold.and(*behind),
                _ => self.folds.push((key, *behind)),
            }
        }
    }

    /// Drops the series of what is gone; tells how many.
    pub fn drop_gone(&mut self) -> usize {
        let before = self.series.len();
        let mut keys = self.folds.iter().map(|(key, _)| *key).peekable();
        self.series.retain(|series| {
            while keys.next_if(|key| *key < series.key).is_some() {}
            keys.next_if(|key| *key == series.key).is_some()
        });
        before - self.series.len()
    }

    /// Drops up to `room` series that share a cell, so that they get one of their own.
    pub fn drop_shared(&mut self, room: &mut usize) {
        self.series.retain(|series| {
            let drops = *room > 0 && series.is_shared();
            *room -= usize::from(drops);
            !drops
        });
    }

    /// Binds the series of what is new, and sets all.
    pub fn publish(&mut self, metrics: &LagMetrics, shared: &mut Shared, now: Moment) {
        if self.series.len() != self.folds.len() {
            self.bind(metrics);
        }
        for (series, (_, behind)) in self.series.iter().zip(&self.folds) {
            series.set(*behind, shared);
        }
        let Some(age) = self.commit_age(now) else {
            self.age = None;
            return;
        };
        let group = || metrics.commit_age.bind(&Group(self.view.name.clone()));
        shared.commit_age.set(self.age.get_or_insert_with(group), age, f64::max);
    }

    fn bind(&mut self, metrics: &LagMetrics) {
        let group = Group(self.view.name.clone());
        let mut former = std::mem::take(&mut self.series).into_iter().peekable();
        for (key, _) in &self.folds {
            let series = former.next_if(|series| series.key == *key).unwrap_or_else(|| {
                let known = key.topic.and_then(|id| {
                    let found = self.topics.binary_search_by_key(&id, |topic| topic.id);
                    self.topics[found.ok()?].known.as_ref().map(|(name, _)| name.clone())
                });
                let topic = known.unwrap_or_else(Topic::all);
                let partition = key.partition.map_or_else(Partition::all, Partition::number);
                Series { key: *key, cells: metrics.cells(&group, &topic, &partition) }
            });
            self.series.push(series);
        }
    }

    fn commit_age(&self, now: Moment) -> Option<f64> {
        let commit = self.commit?;
        Some(commit.age + now.at.saturating_duration_since(commit.at).as_secs_f64())
    }

    /// Whether there are partitions that the group is to consume and has never committed in.
    pub fn is_uncommitted(&self) -> bool {
        self.uncommitted > 0
    }

    /// What others may see of it.
    pub fn view(&self, now: Moment) -> GroupLag {
        let mut whole = Behind::NOTHING;
        let mut partitions = Vec::with_capacity(self.entries.len());
        for entry in &self.entries {
            let (Some(behind), Some(ends)) = (entry.behind, entry.ends) else { continue };
            let Some((topic, _)) = &self.topics[entry.topic].known else { continue };
            whole = whole.and(behind);
            partitions.push(PartitionLag {
                topic: topic.0.clone(),
                partition: entry.copied.partition.partition,
                committed: entry.copied.offset,
                log_start: ends.log_start,
                end: ends.high_watermark,
                lag: behind.lag,
                seconds: behind.seconds,
                margin: behind.margin,
            });
        }
        // Ids have no order that means anything to a person.
        partitions.sort_by(|a, b| (&a.topic, a.partition).cmp(&(&b.topic, b.partition)));
        GroupLag {
            name: self.view.name.clone(),
            state: self.facts.state,
            members: self.facts.members,
            protocol_type: self.facts.protocol_type.clone(),
            commit_age: self.commit_age(now),
            uncommitted: self.uncommitted,
            lag: whole.lag,
            seconds: whole.seconds,
            margin: whole.margin,
            partitions,
        }
    }
}

impl Followable {
    fn note(&mut self, copied: Copied) {
        self.committed_ms = self.committed_ms.max(copied.committed_ms);
    }
}

impl First {
    fn tell(&mut self, position: Position, end: i64) {
        (self.position, self.end) = (Some(position), end);
    }
}
