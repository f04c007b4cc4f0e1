//! The groups that this agent coordinates, and who asks for them.

use super::deadlines::Deadlines;
use super::lane::{self, Committed, Job, Lane};
use super::seat::{Described, Hall, Seat, weight};
use super::state::{Answer, Claim, Event, Join, Limits, Syncing, Ticket};
use super::table::GroupTable;
use super::takeover::{self, Place, Wish};
use crate::config::GroupConfig;
use kafka_protocol::error::ResponseError as Code;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use streamhouse_metadata::{
    CommittedOffset, MetadataError, MetadataStore, OffsetCommit, TopicId, TopicPartition,
};
use streamhouse_observability::instruments::GroupMetrics;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

/// How long a request waits for its group to be taken.
const PATIENCE: Duration = Duration::from_secs(1);
/// How many offsets may wait to be stored; further commits wait before they are looked at.
const BACKLOG: usize = 100_000;

/// The groups that this agent coordinates. Cheap to clone; clones share.
#[derive(Clone, Debug)]
pub(crate) struct Groups(pub(super) Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    pub store: Arc<dyn MetadataStore>,
    pub config: GroupConfig,
    pub limits: Limits,
    pub metrics: GroupMetrics,
    pub table: GroupTable,
    pub hall: Hall,
    pub slots: Mutex<HashMap<Arc<str>, Slot>>,
    pub place: Mutex<Place>,
    /// Whether every stored group that belongs here was taken.
    pub loaded: watch::Sender<bool>,
    pub wishes: mpsc::UnboundedSender<Wish>,
    backlog: Arc<Semaphore>,
    /// What the tasks take when they start.
    inputs: Mutex<Option<Inputs>>,
}

type Inputs = (mpsc::UnboundedReceiver<Job>, mpsc::UnboundedReceiver<Wish>);

/// What is known of a name.
#[derive(Debug)]
pub(super) enum Slot {
    /// It is being taken; ends when that is over.
    Taking(CancellationToken),
    Taken(Arc<Seat>),
    /// Another agent took it, or the store was lost sight of: it is left alone until the agents
    /// are read again.
    Lost,
}

/// What a request waits for.
enum Wait {
    Taken(CancellationToken),
    Loaded,
}

impl Groups {
    pub fn new(store: Arc<dyn MetadataStore>, config: GroupConfig, metrics: GroupMetrics) -> Self {
        let (lane, jobs) = Lane::new();
        let (wishes, wished) = mpsc::unbounded_channel();
        let limits = Limits {
            session: config.min_session..=config.max_session,
            rebalance: config.max_rebalance,
            initial_delay: config.initial_delay,
            members: config.max_members,
            bytes: config.max_group_bytes,
        };
        let hall = Hall {
            lane,
            deadlines: Deadlines::default(),
            memory: AtomicUsize::new(0),
            offsets: AtomicUsize::new(0),
            memory_limit: config.memory,
            durations: metrics.rebalance_duration.bind_each(|reason| reason),
        };
        Self(Arc::new(Inner {
            store,
            config,
            limits,
            metrics,
            table: GroupTable::default(),
            hall,
            slots: Mutex::default(),
            place: Mutex::default(),
            loaded: watch::Sender::new(false),
            wishes,
            backlog: Arc::new(Semaphore::new(BACKLOG)),
            inputs: Mutex::new(Some((jobs, wished))),
        }))
    }

    /// Starts what groups need beside requests, once; it ends when the guard is dropped.
    pub fn start(&self) -> DropGuard {
        let stop = CancellationToken::new();
        let inputs = self.0.inputs.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((jobs, wishes)) = inputs {
            let spawn = |work: std::pin::Pin<Box<dyn Future<Output = ()> + Send>>| {
                let stop = stop.clone();
                tokio::spawn(async move { stop.run_until_cancelled(work).await });
            };
            spawn(Box::pin(lane::run(self.clone(), jobs)));
            spawn(Box::pin(takeover::run(self.clone(), wishes)));
            spawn(Box::pin(takeover::expire(self.clone())));
            spawn(Box::pin(wake(self.clone())));
        }
        stop.drop_guard()
    }

    /// What is known of the groups.
    pub fn table(&self) -> GroupTable {
        self.0.table.clone()
    }

    pub(super) fn store(&self) -> &dyn MetadataStore {
        &*self.0.store
    }

    /// A call of the store that may hang for ever, within its bound; `None` when that is over.
    pub(super) async fn within_bound<T>(
        &self,
        call: impl Future<Output = Result<T, MetadataError>>,
    ) -> Option<Result<T, MetadataError>> {
        tokio::time::timeout(self.0.config.store_timeout, call).await.ok()
    }

    pub(super) fn hall(&self) -> &Hall {
        &self.0.hall
    }

    pub(super) fn slots(&self) -> MutexGuard<'_, HashMap<Arc<str>, Slot>> {
        self.0.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The group of this name.
    ///
    /// # Errors
    /// What to answer; [`Code::GroupIdNotFound`] if there is none and none is to be created.
    async fn find(&self, name: &str, create: bool) -> Result<Arc<Seat>, Code> {
        let until = Instant::now() + PATIENCE;
        let mut asked = false;
        loop {
            let wait = match self.look(name, create && !asked)? {
                Ok(seat) => return Ok(seat),
                // It was asked for, and could not be taken.
                Err(None) if asked => return Err(Code::CoordinatorNotAvailable),
                Err(None) => return Err(Code::GroupIdNotFound),
                Err(Some(wait)) => wait,
            };
            let waiting = async {
                match wait {
                    Wait::Taken(taken) => {
                        asked = create;
                        taken.cancelled().await;
                    }
                    Wait::Loaded => {
                        let _ = self.0.loaded.subscribe().wait_for(|loaded| *loaded).await;
                    }
                }
            };
            if tokio::time::timeout_at(until, waiting).await.is_err() {
                return Err(Code::CoordinatorLoadInProgress);
            }
        }
    }

    /// Looks for a group, and has it taken if it is to be created.
    #[allow(clippy::type_complexity, reason = "found, to be waited for, or not there")]
    fn look(&self, name: &str, create: bool) -> Result<Result<Arc<Seat>, Option<Wait>>, Code> {
        if !self.is_own(name) {
            return Err(Code::NotCoordinator);
        }
        let mut slots = self.slots();
        match slots.get(name) {
            Some(Slot::Taken(seat)) => return Ok(Ok(seat.clone())),
            Some(Slot::Taking(taken)) => return Ok(Err(Some(Wait::Taken(taken.clone())))),
            Some(Slot::Lost) => return Err(Code::NotCoordinator),
            None if !*self.0.loaded.borrow() => return Ok(Err(Some(Wait::Loaded))),
            None if !create => return Ok(Err(None)),
            None => {}
        }
        if slots.len() >= self.0.config.max_groups {
            tracing::warn!(
                limit = self.0.config.max_groups,
                "a group beyond the limit was refused"
            );
            // It may come again: groups go.
            return Err(Code::CoordinatorNotAvailable);
        }
        let taken = CancellationToken::new();
        let name: Arc<str> = name.into();
        slots.insert(name.clone(), Slot::Taking(taken.clone()));
        let _ = self.0.wishes.send(Wish::Take(name)); // at the end nobody takes any more
        Ok(Err(Some(Wait::Taken(taken))))
    }

    /// Joins a group; the answer comes when the group has one.
    ///
    /// # Errors
    /// What to answer at once.
    pub async fn join(
        &self,
        group: &str,
        join: impl FnOnce(Ticket) -> Join,
    ) -> Result<oneshot::Receiver<Answer>, Code> {
        let seat = self.find(group, true).await?;
        seat.ask(&self.0.hall, |ticket| Event::Join(Box::new(join(ticket))))
    }

    /// Asks for a member's part.
    ///
    /// # Errors
    /// What to answer at once.
    pub async fn sync(
        &self,
        group: &str,
        sync: impl FnOnce(Ticket) -> Syncing,
    ) -> Result<oneshot::Receiver<Answer>, Code> {
        let seat = self.find(group, false).await.map_err(unknown_member)?;
        seat.ask(&self.0.hall, |ticket| Event::Sync(sync(ticket)))
    }

    /// Tells that a member is alive.
    ///
    /// # Errors
    /// What to answer.
    pub async fn heartbeat(&self, group: &str, claim: Claim) -> Result<(), Code> {
        let seat = self.find(group, false).await.map_err(unknown_member)?;
        let answer = seat.ask(&self.0.hall, |ticket| Event::Heartbeat(ticket, claim))?;
        match answer.await {
            Ok(Answer::Code(None)) => Ok(()),
            Ok(Answer::Code(Some(code))) => Err(code),
            _ => Err(Code::NotCoordinator),
        }
    }

    /// Lets members go; an outcome for each.
    ///
    /// # Errors
    /// What to answer for all of them.
    pub async fn leave(&self, group: &str, who: Vec<Claim>) -> Result<Vec<Option<Code>>, Code> {
        let seat = self.find(group, false).await.map_err(unknown_member)?;
        let answer = seat.ask(&self.0.hall, |ticket| Event::Leave(ticket, who))?;
        match answer.await {
            Ok(Answer::Left(codes)) => Ok(codes),
            _ => Err(Code::NotCoordinator),
        }
    }

    /// Lets offsets into the lane; the answer comes when they are stored, or not. Who commits
    /// without a group's generation creates the group.
    ///
    /// # Errors
    /// What to answer at once; nothing is stored then.
    pub async fn commit(
        &self,
        group: &str,
        claim: Claim,
        offsets: BTreeMap<TopicPartition, CommittedOffset>,
    ) -> Result<oneshot::Receiver<Committed>, Code> {
        let create = claim.generation < 0;
        let seat = self.find(group, create).await.map_err(unknown_member)?;
        seat.has_room(&self.0.hall, &offsets)?;
        let places = u32::try_from(offsets.len().clamp(1, BACKLOG)).unwrap_or(u32::MAX);
        let place = self.0.backlog.clone().acquire_many_owned(places).await;
        let place = place.map_err(|_| Code::CoordinatorNotAvailable)?;
        let (answer, committed) = oneshot::channel();
        seat.commit(&self.0.hall, &claim, |generation| Job::Commit {
            commit: OffsetCommit {
                group: seat.name.clone(),
                epoch: seat.epoch,
                generation,
                offsets: offsets.into_iter().collect(),
            },
            seat: seat.clone(),
            answer,
            _place: place,
        })?;
        Ok(committed)
    }

    /// Reads a group's offsets; `None` if there is no such group.
    ///
    /// # Errors
    /// What to answer.
    pub async fn offsets<T>(
        &self,
        group: &str,
        read: impl FnOnce(&BTreeMap<TopicPartition, CommittedOffset>) -> T,
    ) -> Result<Option<T>, Code> {
        match self.find(group, false).await {
            Ok(seat) => Ok(Some(seat.view.read(|facts| read(&facts.offsets)))),
            Err(Code::GroupIdNotFound) => Ok(None),
            Err(code) => Err(code),
        }
    }

    /// How a group stands; `None` if there is no such group.
    ///
    /// # Errors
    /// What to answer.
    pub async fn describe(&self, group: &str) -> Result<Option<Described>, Code> {
        match self.find(group, false).await {
            Ok(seat) => Ok(Some(seat.describe())),
            Err(Code::GroupIdNotFound) => Ok(None),
            Err(code) => Err(code),
        }
    }

    /// Whether every group that belongs here is known, waiting a while for it.
    pub async fn is_loaded(&self) -> bool {
        let mut loaded = self.0.loaded.subscribe();
        let loaded = loaded.wait_for(|loaded| *loaded);
        tokio::time::timeout(PATIENCE, loaded).await.is_ok_and(|loaded| loaded.is_ok())
    }

    /// Deletes a group without members.
    ///
    /// # Errors
    /// What to answer.
    pub async fn delete(&self, group: &str) -> Result<(), Code> {
        let seat = self.find(group, false).await?;
        self.delete_seat(&seat, None).await
    }

    /// Deletes a group that nobody has been in for `idle` and that has no offsets to keep.
    ///
    /// # Errors
    /// [`Code::NonEmptyGroup`] if somebody came meanwhile; or what failed.
    pub(super) async fn delete_hollow(&self, seat: &Arc<Seat>, idle: Duration) -> Result<(), Code> {
        self.delete_seat(seat, Some(idle)).await
    }

    async fn delete_seat(
        &self,
        seat: &Arc<Seat>,
        hollow_for: Option<Duration>,
    ) -> Result<(), Code> {
        let (answer, deleted) = oneshot::channel();
        let job = Job::Delete { seat: seat.clone(), answer };
        seat.delete(&self.0.hall, hollow_for, job)?;
        match deleted.await {
            Ok(None) => Ok(()),
            Ok(Some(code)) => Err(code),
            Err(_) => Err(Code::NotCoordinator),
        }
    }

    /// Gives a group up that is somebody else's by now, or whose stored state is not known. It is
    /// not taken again before the agents are read again.
    pub(super) fn lose(&self, seat: &Arc<Seat>, code: Code) {
        if self.remove(seat, Some(Slot::Lost)) {
            tracing::warn!(group = &*seat.name, "a group is not coordinated here any more");
        }
        seat.end(&self.0.hall, code);
    }

    /// Ends a group that does not exist any more, or belongs elsewhere.
    pub(super) fn forget(&self, seat: &Arc<Seat>) {
        self.remove(seat, None);
        seat.end(&self.0.hall, Code::NotCoordinator);
    }

    fn remove(&self, seat: &Arc<Seat>, instead: Option<Slot>) -> bool {
        let mut slots = self.slots();
        let is_here =
            matches!(slots.get(&seat.name), Some(Slot::Taken(it)) if Arc::ptr_eq(it, seat));
        if is_here {
            slots.remove(&seat.name);
            if let Some(instead) = instead {
                slots.insert(seat.name.clone(), instead);
            }
            self.0.table.remove(&seat.name);
        }
        is_here
    }

    /// Drops the offsets of topics that do not exist any more.
    pub fn prune(&self, topics: &[TopicId]) {
        for seat in self.seats() {
            let is_gone = |at: &TopicPartition| topics.contains(&at.topic);
            if !seat.view.read(|facts| facts.offsets.keys().any(is_gone)) {
                continue;
            }
            let mut less = 0;
            seat.view.change(|facts| {
                facts.offsets.retain(|at, offset| {
                    less += if is_gone(at) { weight(offset) } else { 0 };
                    !is_gone(at)
                });
            });
            seat.recount(&self.0.hall, 0, less);
        }
    }
}

/// A member of a group that does not exist is none.
fn unknown_member(code: Code) -> Code {
    match code {
        Code::GroupIdNotFound => Code::UnknownMemberId,
        code => code,
    }
}

/// Tells groups that their time has come, for ever.
async fn wake(groups: Groups) {
    loop {
        for name in groups.hall().deadlines.due().await {
            let seat = match groups.slots().get(&name) {
                Some(Slot::Taken(seat)) => seat.clone(),
                _ => continue,
            };
            seat.tick(groups.hall());
        }
    }
}
