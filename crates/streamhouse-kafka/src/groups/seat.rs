//! One group that this agent coordinates: its state machine, those who wait for it, its series.

use super::deadlines::Deadlines;
use super::lane::{Generation, Job, Lane};
use super::state::{Answer, Effect, Event, Group, Limits, Ticket};
use super::subscription::topics;
use super::table::{GroupFacts, GroupView};
use bytes::Bytes;
use kafka_protocol::error::ResponseError as Code;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use streamhouse_metadata::{CommittedOffset, StoredGroup, TopicPartition};
use streamhouse_observability::declare::{ClosedLabel as _, HistogramCell, PerValue};
use streamhouse_observability::instruments::GroupCells;
use streamhouse_observability::labels::{GroupState, RebalanceReason};
use streamhouse_storage::machine_ms;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// What groups of consumers say that they are.
const CONSUMER: &str = "consumer";
/// What a committed offset takes in memory beyond the consumer's remark.
const OFFSET: usize = 128;

/// The part of the memory for offsets that one group may take: this many would fill it.
const SHARE: usize = 8;

/// What a committed offset takes in memory.
pub(super) fn weight(offset: &CommittedOffset) -> usize {
    OFFSET + offset.metadata.len()
}

/// What all seats share.
#[derive(Debug)]
pub(super) struct Hall {
    pub lane: Lane,
    pub deadlines: Deadlines,
    /// Bytes of what all members brought.
    pub memory: AtomicUsize,
    /// Bytes of all committed offsets.
    pub offsets: AtomicUsize,
    pub memory_limit: usize,
    pub durations: PerValue<RebalanceReason, HistogramCell>,
}

impl Hall {
    /// Whether members may bring `growth` bytes more. What takes no more is never refused: a group
    /// goes on while others fill the memory.
    fn admits(&self, growth: usize) -> Result<(), Code> {
        let taken = self.memory.load(Ordering::Relaxed);
        if growth == 0 || taken.saturating_add(growth) <= self.memory_limit {
            return Ok(());
        }
        tracing::warn!(
            taken,
            growth,
            limit = self.memory_limit,
            "a member was refused: groups take all their memory"
        );
        Err(Code::CoordinatorNotAvailable)
    }
}

/// A group that was taken.
#[derive(Debug)]
pub(super) struct Seat {
    pub name: Arc<str>,
    /// The owner epoch that taking it gave.
    pub epoch: i64,
    /// What others may see of it.
    pub view: Arc<GroupView>,
    pub cells: GroupCells,
    /// Bytes of its offsets, as they are counted with those of all.
    offsets: AtomicUsize,
    live: Mutex<Live>,
}

#[derive(Debug)]
struct Live {
    group: Group,
    waiting: HashMap<Ticket, oneshot::Sender<Answer>>,
    tickets: Ticket,
    idle_since: Instant,
    /// Why nobody is answered here any more.
    over: Option<Code>,
    /// Whether the store is being asked to delete it.
    deleting: bool,
    wake: Option<Instant>,
    /// The subscription that is stored with the generation.
    stored: Option<Vec<Arc<str>>>,
    /// What the series and the view show.
    shown: (GroupState, usize),
    bytes: usize,
}

/// A group, as it is described to those who ask.
#[derive(Debug)]
pub(crate) struct Described {
    pub state: GroupState,
    pub protocol_type: Arc<str>,
    pub protocol: Arc<str>,
    pub members: Vec<DescribedMember>,
}

/// A member, as it is described.
#[derive(Debug)]
pub(crate) struct DescribedMember {
    pub id: Arc<str>,
    pub instance: Option<Arc<str>>,
    pub client: Arc<str>,
    pub host: Arc<str>,
    pub metadata: Bytes,
    pub assignment: Bytes,
}

impl Seat {
    pub fn new(stored: StoredGroup, limits: Limits, facts: GroupFacts, cells: GroupCells) -> Self {
        let group = Group::new(limits, stored.generation, stored.protocol_type.as_str().into());
        cells.state.of(GroupState::Empty).set(1);
        Self {
            view: Arc::new(GroupView::new(stored.name.clone(), facts)),
            name: stored.name,
            epoch: stored.epoch,
            cells,
            offsets: AtomicUsize::new(0),
            live: Mutex::new(Live {
                idle_since: Instant::now(),
                group,
                waiting: HashMap::new(),
                tickets: 0,
                over: None,
                deleting: false,
                wake: None,
                stored: None,
                shown: (GroupState::Empty, 0),
                bytes: 0,
            }),
        }
    }

    /// Lets something happen to the group, and gives out the answer's place.
    ///
    /// # Errors
    /// The group is not coordinated here any more, is being deleted, or would grow beyond the memory
    /// of all groups.
    pub fn ask(
        self: &Arc<Self>,
        hall: &Hall,
        event: impl FnOnce(Ticket) -> Event,
    ) -> Result<oneshot::Receiver<Answer>, Code> {
        let mut live = self.open()?;
        let (sender, answer) = oneshot::channel();
        live.tickets += 1;
        live.idle_since = Instant::now();
        let ticket = live.tickets;
        let event = event(ticket);
        hall.admits(live.group.growth(&event))?;
        live.waiting.insert(ticket, sender);
        self.step(hall, &mut live, event);
        Ok(answer)
    }

    /// Tells the group that time has passed.
    pub fn tick(self: &Arc<Self>, hall: &Hall) {
        let mut live = self.lock();
        live.wake = None;
        if live.over.is_none() {
            self.step(hall, &mut live, Event::Tick);
        }
    }

    /// Tells the group that a generation is stored.
    pub fn stored(self: &Arc<Self>, hall: &Hall, generation: i32) {
        let mut live = self.lock();
        if live.over.is_none() {
            self.step(hall, &mut live, Event::Stored(generation));
        }
    }

    /// Lets a commit into the lane if whoever asks may commit; what is before it in the lane was
    /// before it in the group.
    ///
    /// # Errors
    /// What to answer.
    pub fn commit(
        self: &Arc<Self>,
        hall: &Hall,
        claim: &super::state::Claim,
        job: impl FnOnce(Option<i32>) -> Job,
    ) -> Result<(), Code> {
        let mut live = self.open()?;
        let generation = live.group.committable(Instant::now(), claim)?;
        live.idle_since = Instant::now();
        hall.lane.send(job(generation));
        self.schedule(hall, &mut live);
        Ok(())
    }

    /// Asks the lane to delete the group, unless there is somebody in it; with `hollow_for`, also
    /// unless it [is hollow](Self::is_hollow) for that long.
    ///
    /// # Errors
    /// What to answer.
    pub fn delete(
        self: &Arc<Self>,
        hall: &Hall,
        hollow_for: Option<Duration>,
        job: Job,
    ) -> Result<(), Code> {
        let mut live = self.open()?;
        if !live.group.is_vacant() || hollow_for.is_some_and(|idle| !self.hollow(&live, idle)) {
            return Err(Code::NonEmptyGroup);
        }
        live.deleting = true;
        hall.lane.send(job);
        Ok(())
    }

    /// The store did not delete it.
    pub fn keep(&self) {
        self.lock().deleting = false;
    }

    /// Ends the group here; whoever waits, or still has hold of it, is answered `code`.
    pub fn end(&self, hall: &Hall, code: Code) {
        let mut live = self.lock();
        if live.over.replace(code).is_some() {
            return;
        }
        for effect in live.group.disband(code) {
            live.answer(effect);
        }
        let bytes = std::mem::take(&mut live.bytes);
        hall.memory.fetch_sub(bytes, Ordering::Relaxed);
        hall.offsets.fetch_sub(self.offsets.swap(0, Ordering::Relaxed), Ordering::Relaxed);
        hall.deadlines.set(&self.name, live.wake.take(), None);
        self.cells.state.of(live.shown.0).set(0);
        self.cells.members.set(0);
    }

    /// Whether the group may keep these offsets too. What takes no more than what it replaces is
    /// never refused, and one group has no more than its share.
    ///
    /// # Errors
    /// [`Code::InvalidCommitOffsetSize`] beyond the group's share,
    /// [`Code::CoordinatorNotAvailable`] if the groups together take all there is.
    pub fn has_room(
        &self,
        hall: &Hall,
        offsets: &BTreeMap<TopicPartition, CommittedOffset>,
    ) -> Result<(), Code> {
        let brought: usize = offsets.values().map(weight).sum();
        let replaced: usize = self.view.read(|facts| {
            let had = |at| facts.offsets.get(at).map_or(0, weight);
            offsets.keys().map(had).sum()
        });
        let growth = brought.saturating_sub(replaced);
        let (own, all) =
            (self.offsets.load(Ordering::Relaxed), hall.offsets.load(Ordering::Relaxed));
        let (limit, share) = (hall.memory_limit, hall.memory_limit / SHARE);
        if growth == 0 {
            return Ok(());
        }
        if own.saturating_add(growth) > share {
            let group = &*self.name;
            tracing::warn!(
                group,
                own,
                growth,
                share,
                "a commit beyond a group's share was refused"
            );
            return Err(Code::InvalidCommitOffsetSize);
        }
        if all.saturating_add(growth) > limit {
            tracing::warn!(
                all,
                growth,
                limit,
                "a commit was refused: offsets take all their memory"
            );
            return Err(Code::CoordinatorNotAvailable);
        }
        Ok(())
    }

    /// Counts bytes of offsets that came, and of those that went.
    pub fn recount(&self, hall: &Hall, more: usize, less: usize) {
        let live = self.lock();
        if live.over.is_none() {
            for counted in [&hall.offsets, &self.offsets] {
                counted.fetch_add(more, Ordering::Relaxed);
                counted.fetch_sub(less, Ordering::Relaxed);
            }
        }
    }

    /// Whether nobody has been in the group for this long, and it has no offsets to keep.
    pub fn is_hollow(&self, idle: Duration) -> bool {
        self.hollow(&self.lock(), idle)
    }

    fn hollow(&self, live: &Live, idle: Duration) -> bool {
        live.group.is_vacant()
            && live.idle_since.elapsed() >= idle
            && self.view.read(|facts| facts.offsets.is_empty())
    }

    /// How the group stands now.
    pub fn describe(&self) -> Described {
        let live = self.lock();
        let group = &live.group;
        let members = group.members().map(|(id, member)| DescribedMember {
            id: id.clone(),
            instance: member.instance.clone(),
            client: member.client.clone(),
            host: member.host.clone(),
            metadata: member.metadata(group.protocol()).cloned().unwrap_or_default(),
            assignment: match group.state() {
                GroupState::Stable => member.assignment.clone(),
                _ => Bytes::new(),
            },
        });
        Described {
            state: group.state(),
            protocol_type: group.protocol_type().clone(),
            protocol: group.protocol().clone(),
            members: members.collect(),
        }
    }

    fn open(&self) -> Result<MutexGuard<'_, Live>, Code> {
        let live = self.lock();
        match live.over {
            Some(code) => Err(code),
            None if live.deleting => Err(Code::CoordinatorLoadInProgress),
            None => Ok(live),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn step(self: &Arc<Self>, hall: &Hall, live: &mut Live, event: Event) {
        for effect in live.group.step(Instant::now(), event) {
            match effect {
                Effect::Store { generation: number, members } => {
                    let subscribed = (members > 0).then(|| subscribed(&live.group, None));
                    self.store(hall, live, number, members, subscribed.flatten());
                }
                Effect::Stable { reason, took } => self.is_stable(hall, live, reason, took),
                answer @ Effect::Answer(..) => live.answer(answer),
            }
        }
        let bytes = live.group.bytes();
        hall.memory.fetch_add(bytes, Ordering::Relaxed);
        hall.memory.fetch_sub(std::mem::replace(&mut live.bytes, bytes), Ordering::Relaxed);
        self.schedule(hall, live);
        self.show(live);
    }

    fn schedule(&self, hall: &Hall, live: &mut Live) {
        let wake = live.group.wake();
        if wake != live.wake {
            hall.deadlines.set(&self.name, live.wake, wake);
            live.wake = wake;
        }
    }

    fn store(
        self: &Arc<Self>,
        hall: &Hall,
        live: &mut Live,
        number: i32,
        members: usize,
        subscribed: Option<Vec<Arc<str>>>,
    ) {
        live.stored.clone_from(&subscribed);
        let protocol_type = live.group.protocol_type().clone();
        let begun = Generation { number, protocol_type, members, subscribed };
        hall.lane.send(Job::Generation(self.clone(), begun));
    }

    fn is_stable(
        self: &Arc<Self>,
        hall: &Hall,
        live: &mut Live,
        reason: RebalanceReason,
        took: Duration,
    ) {
        self.cells.rebalances.of(reason).add(1);
        hall.durations.of(reason).record(took.as_secs_f64());
        tracing::info!(
            group = &*self.name,
            generation = live.group.generation(),
            members = live.group.members().len(),
            reason = reason.as_str(),
            ?took,
            "a group's partitions are shared out"
        );
        let subscribed = subscribed(&live.group, Some(live.group.protocol()));
        if live.stored != subscribed {
            // Somebody came, or a protocol was chosen, while the generation was being stored.
            let (number, members) = (live.group.generation(), live.group.members().len());
            self.store(hall, live, number, members, subscribed.clone());
        }
        self.view.change(|facts| facts.subscribed = subscribed);
    }

    /// Brings series and view to where the group stands.
    fn show(&self, live: &mut Live) {
        let now @ (state, members) = (live.group.state(), live.group.members().len());
        let (was, had) = std::mem::replace(&mut live.shown, now);
        if (was, had) == now {
            return;
        }
        if was != state {
            self.cells.state.of(was).set(0);
            self.cells.state.of(state).set(1);
        }
        self.cells.members.set(i64::try_from(members).unwrap_or(i64::MAX));
        self.view.change(|facts| {
            facts.state = state;
            facts.members = members;
            facts.protocol_type = live.group.protocol_type().clone();
            if members == 0 {
                facts.generation_ms = Some(machine_ms());
            }
        });
    }
}

impl Live {
    fn answer(&mut self, effect: Effect) {
        if let Effect::Answer(ticket, answer) = effect
            && let Some(waiting) = self.waiting.remove(&ticket)
        {
            let _ = waiting.send(answer); // whoever asked may be gone
        }
    }
}

/// The topics that any member subscribes to, if all of them are consumers; before a `protocol` is
/// chosen, by the first that each of them offers.
fn subscribed(group: &Group, protocol: Option<&str>) -> Option<Vec<Arc<str>>> {
    if &**group.protocol_type() != CONSUMER {
        return None;
    }
    let mut all = BTreeSet::new();
    for (_, member) in group.members() {
        all.extend(match protocol {
            Some(protocol) => topics(member.metadata(protocol)?)?,
            None => member.offers().find_map(|metadata| topics(metadata))?,
        });
    }
    Some(all.into_iter().map(Into::into).collect())
}
