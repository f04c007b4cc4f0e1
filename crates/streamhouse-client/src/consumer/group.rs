//! The consumer that shares topics with the other members of its group.

use super::commits::{Commits, Failed, GroupEvents, Underway};
use super::progress::Progress;
use super::received::LastTopic;
use crate::connection::Connection;
use crate::error::ClientError;
use crate::record::Received;
use crate::telemetry::{ErrorType, Polling, Reading};
use futures_util::FutureExt as _;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{Consumer as _, StreamConsumer};
use rdkafka::error::KafkaError;
use std::fmt;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tokio::time::MissedTickBehavior;

/// How long a poll waits for records to be settled when as many wait as may.
const SETTLING: Duration = Duration::from_secs(1);
/// Settings that would commit what is not settled, or beside what is recorded.
const OWN: [&str; 4] = [
    "enable.auto.commit",
    "auto.commit.enable",
    "auto.commit.interval.ms",
    "enable.auto.offset.store",
];

/// Where a group begins that has committed nothing yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Begin {
    /// At the first record there is.
    #[default]
    Earliest,
    /// After the last record there is.
    Latest,
}

/// How a member of a group reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupOptions {
    /// Where the group begins if it has committed nothing. Default: at the first record.
    pub begin: Begin,
    /// How often settled records are committed by themselves, and also when partitions go to other
    /// members; `None` leaves commits to the application. Nothing is sent while nothing is settled.
    /// A commit that fails is told as a WARN, at most every 30 s. Default: every 5 s.
    pub commit_every: Option<Duration>,
    /// How long a member may be silent until its partitions go to others. It lets itself be heard
    /// three times as often, and every 3 s at least, unless the connection's
    /// `heartbeat.interval.ms` says otherwise. Default: 45 s.
    pub session_timeout: Duration,
    /// How many received records may wait to be settled. Default: 10,000.
    pub unsettled: usize,
}

impl Default for GroupOptions {
    fn default() -> Self {
        Self {
            begin: Begin::Earliest,
            commit_every: Some(Duration::from_secs(5)),
            session_timeout: Duration::from_secs(45),
            unsettled: 10_000,
        }
    }
}

/// A member of a consumer group: each record goes to one member, at least once. Cheap to clone.
///
/// A received record is *settled* when [`process`](Self::process) ended well or
/// [`settle`](Self::settle) was called. Only settled records are committed, and none beyond the
/// first one that is not: what a member did not settle is read again after it is gone.
///
/// Each commit, asked for or not, counts in `messaging.client.operation.duration`. It has a
/// `commit` span inside a sampled span, and where it settles traced records: the span is linked with
/// their creation.
///
/// End it by [`close`](Self::close): dropping the last clone leaves the group too, and commits if
/// [`GroupOptions::commit_every`] is given, but blocks the thread while it does, or leaves that to a
/// commit that is under way.
#[derive(Clone)]
pub struct GroupConsumer(Arc<Handle>);

/// What the clones share. The member itself is also in the hands of commits under way.
struct Handle {
    member: Arc<Member>,
    periodic: Option<AbortHandle>,
}

struct Member {
    inner: StreamConsumer<GroupEvents>,
    reading: Reading,
    commits: Arc<Commits>,
    names: LastTopic,
    /// What befell a poll that had records to give.
    later: Mutex<Option<ClientError>>,
}

impl fmt::Debug for GroupConsumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reading = &self.member().reading;
        f.debug_struct("GroupConsumer").field("reading", reading).finish_non_exhaustive()
    }
}

impl AsRef<StreamConsumer<GroupEvents>> for Member {
    fn as_ref(&self) -> &StreamConsumer<GroupEvents> {
        &self.inner
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if let Some(periodic) = &self.periodic {
            periodic.abort();
        }
    }
}

impl GroupConsumer {
    /// Joins `group` and asks for a share of `topics`. It connects when it is polled.
    ///
    /// # Errors
    /// [`ClientError::Invalid`]: a name or setting is not possible. Among them are librdkafka's own
    /// settings for commits, such as `enable.auto.commit`: say [`GroupOptions::commit_every`].
    /// # Panics
    /// Outside a Tokio runtime.
    pub fn subscribe(
        connection: &Connection,
        group: &str,
        topics: &[&str],
        options: GroupOptions,
    ) -> Result<Self, ClientError> {
        if group.is_empty() || topics.is_empty() {
            let why = "a group needs a name and at least one topic: give both";
            return Err(ClientError::Invalid(why.into()));
        }
        let config = config(connection, group, &options)?;
        let events = connection.events();
        let reading =
            Reading::new(&connection.telemetry(), Some(group), Some(&connection.client_id));
        let commits = Arc::new(Commits::new(
            Progress::new(options.unsettled),
            events.clone(),
            reading.clone(),
            group,
            options.commit_every.is_some(),
        ));
        let inner: StreamConsumer<GroupEvents> = config
            .create_with_context(GroupEvents(commits.clone()))
            .map_err(|error| events.explain("making a consumer", "the consumer", &error))?;
        inner
            .subscribe(topics)
            .map_err(|error| events.explain("subscribing", &format!("{topics:?}"), &error))?;
        let (names, later) = (LastTopic::default(), Mutex::default());
        let member = Arc::new(Member { inner, reading, commits, names, later });
        let periodic = options.commit_every.map(|every| {
            let commits =
                commit_periodically(Arc::downgrade(&member), member.commits.clone(), every);
            tokio::spawn(commits).abort_handle()
        });
        Ok(Self(Arc::new(Handle { member, periodic })))
    }

    fn member(&self) -> &Member {
        &self.0.member
    }

    /// Waits for the next record.
    ///
    /// Poll at least every five minutes (`max.poll.interval.ms`), or the partitions go to others.
    /// # Errors
    /// [`ClientError::Unsettled`]: for a second as many records waited to be settled as may: settle
    /// some.
    /// [`ClientError::Unknown`]: a topic does not exist; it may be created yet, call again.
    /// [`ClientError::Fenced`]: end this consumer.
    /// Any that [is retryable](ClientError::is_retryable): call again.
    /// # Cancel safety
    /// Dropping the future loses no record.
    pub async fn recv(&self) -> Result<Received, ClientError> {
        let polling = self.member().reading.begin();
        match self.member().receive().await {
            Ok(received) => {
                self.member().reading.polled_one(polling, &received);
                Ok(received)
            }
            Err(error) => Err(self.member().failed(polling, error)),
        }
    }

    /// Waits at most `wait` for a record, and returns it with those that are there by then, at most
    /// `max` of them. They are told as one poll, linked with the contexts of their creation.
    ///
    /// # Errors
    /// As [`recv`](Self::recv).
    /// # Cancel safety
    /// Dropping the future loses no record.
    pub async fn poll(&self, max: usize, wait: Duration) -> Result<Vec<Received>, ClientError> {
        let polling = self.member().reading.begin();
        if let Some(error) = self.member().later().take() {
            return Err(self.member().failed(polling, error));
        }
        let mut records = Vec::new();
        match tokio::time::timeout(wait, self.member().receive()).await {
            Ok(Ok(first)) => records.push(first),
            Ok(Err(error)) => return Err(self.member().failed(polling, error)),
            Err(_nothing_came) => {
                let room = self.member().commits.progress.room();
                let error = room.err().map(|waiting| ClientError::Unsettled { waiting });
                if let Some(error) = error {
                    return Err(self.member().failed(polling, error));
                }
            }
        }
        while !records.is_empty() && records.len() < max {
            match self.member().receive().now_or_never() {
                Some(Ok(next)) => records.push(next),
                None => break,
                Some(Err(error)) => {
                    *self.member().later() = Some(error);
                    break;
                }
            }
        }
        self.member().reading.polled(polling, &records);
        Ok(records)
    }

    /// Runs `work` on `record`, and settles the record if it ends well.
    ///
    /// It counts in `messaging.process.duration`. Where the record or the work at hand is sampled,
    /// `work` runs in a `process` span, linked with the record's creation; outside a trace it
    /// continues that of the creation.
    /// # Errors
    /// Those of `work`: the record is not settled, so nothing from it on is committed until it is
    /// processed again or [settled](Self::settle).
    /// # Cancel safety
    /// Dropped before its end, `work` counts as cancelled and the record is not settled.
    pub async fn process<T, E>(
        &self,
        record: &Received,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let result = self.member().reading.process(record, work).await;
        if result.is_ok() {
            self.settle(record);
        }
        result
    }

    /// Says that `record` need not be read again: it was worked on elsewhere, or is to be skipped.
    pub fn settle(&self, record: &Received) {
        let Member { reading, commits, .. } = self.member();
        let created = reading.link(record);
        commits.progress.settled(&record.topic, record.partition, record.offset, created);
    }

    /// Commits what is settled, and waits until the broker has it.
    ///
    /// # Errors
    /// [`ClientError::Rebalanced`]: partitions went to other members, which read again what was
    /// not committed; go on. Any that [is retryable](ClientError::is_retryable): call again.
    /// # Cancel safety
    /// Dropping the future does not take back what was sent.
    pub async fn commit(&self) -> Result<(), ClientError> {
        self.commit_begun(self.member().commits.begin()).await.map_err(|failed| failed.error)
    }

    /// Commits what is settled and does not wait; a failure is only recorded, and told as a WARN,
    /// at most every 30 s. One that still waits for an earlier commit stands for this one, too.
    /// # Panics
    /// Outside a Tokio runtime.
    pub fn commit_soon(&self) {
        let commits = self.member().commits.clone();
        if commits.soon.swap(true, Ordering::AcqRel) {
            return;
        }
        let (consumer, underway) = (Leaving(Some(self.clone())), commits.begin());
        tokio::spawn(async move {
            let Some(consumer) = &consumer.0 else { return };
            if let Err(failed) = consumer.commit_begun(underway).await {
                commits.soon.store(false, Ordering::Release);
                commits.tell(&failed);
            }
        });
    }

    async fn commit_begun(&self, underway: Arc<Underway>) -> Result<(), Failed> {
        let commits = self.member().commits.clone();
        let timeout = commits.events.timeout();
        let commit = commits.clone().commit(Arc::downgrade(&self.0.member), underway.clone());
        let result = tokio::time::timeout(timeout, commit).await;
        result.unwrap_or_else(|_| Err(commits.too_late(&underway)))
    }

    /// The partitions that this member has now, by topic and number.
    ///
    /// # Errors
    /// [`ClientError::Refused`]: the consumer has failed.
    pub fn assignment(&self) -> Result<Vec<(String, i32)>, ClientError> {
        let list =
            self.member().inner.assignment().map_err(|error| self.member().explain(&error))?;
        let mut all: Vec<_> =
            list.elements().iter().map(|one| (one.topic().to_owned(), one.partition())).collect();
        all.sort();
        Ok(all)
    }

    /// Commits what is settled and leaves the group, so that others get the partitions at once.
    ///
    /// # Errors
    /// As [`commit`](Self::commit); the group is left all the same once the last clone is gone.
    /// [`ClientError::TimedOut`] also if leaving takes too long: then others get the partitions
    /// when the session has timed out.
    /// # Cancel safety
    /// Dropped, what is left to do is done on a thread of its own.
    pub async fn close(self) -> Result<(), ClientError> {
        let after = self.member().commits.events.timeout();
        let mut leaving = Leaving(Some(self));
        let committed = match &leaving.0 {
            Some(consumer) => consumer.commit().await,
            None => Ok(()),
        };
        let left = match leaving.0.take().map(Self::leave) {
            Some(left) => tokio::time::timeout(after, left).await.is_ok(),
            None => true,
        };
        let late = ClientError::TimedOut { action: "leaving the group", after };
        committed.and(if left { Ok(()) } else { Err(late) })
    }

    /// Leaves on a thread of its own: where leaving meets a rebalance librdkafka can wait for ever,
    /// and a runtime would wait for its own threads when it ends.
    fn leave(self) -> oneshot::Receiver<()> {
        let (done, left) = oneshot::channel();
        // If there is no thread, the closure is dropped here, and the group is left on this one.
        let _ = std::thread::Builder::new().name("leave-group".into()).spawn(move || {
            // It holds the member, too.
            self.member().commits.wait_for_rest();
            drop(self);
            let _ = done.send(());
        });
        left
    }
}

/// A consumer in the hands of somebody who is not to wait for librdkafka when it is the last clone.
struct Leaving(Option<GroupConsumer>);

impl Drop for Leaving {
    fn drop(&mut self) {
        let last = self.0.take().and_then(|consumer| Arc::into_inner(consumer.0));
        drop(last.map(|handle| GroupConsumer(Arc::new(handle)).leave()));
    }
}

/// Commits what is settled, every so often. Ends with the member.
async fn commit_periodically(member: Weak<Member>, commits: Arc<Commits>, every: Duration) {
    let mut ticks = tokio::time::interval(every.max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if commits.progress.is_idle() {
            continue;
        }
        let underway = commits.begin_own();
        let mut commit = pin!(commits.clone().commit(member.clone(), underway.clone()));
        match tokio::time::timeout(commits.events.timeout(), &mut commit).await {
            Ok(Ok(())) => {}
            Ok(Err(failed)) => commits.tell(&failed),
            Err(_) => {
                commits.tell(&commits.too_late(&underway));
                // The next one would wait for this one.
                let _ = commit.await;
            }
        }
    }
}

fn config(
    connection: &Connection,
    group: &str,
    options: &GroupOptions,
) -> Result<ClientConfig, ClientError> {
    let begin = match options.begin {
        Begin::Earliest => "earliest",
        Begin::Latest => "latest",
    };
    if let Some((key, value)) = connection.setting(&OWN) {
        let why = "a member of a group commits by itself what is settled, and only that: say \
                   how often by GroupOptions::commit_every, or None to commit yourself";
        return Err(ClientError::Invalid(format!("{key} = {value:?} is not possible: {why}")));
    }
    let mut config = connection.config()?;
    config
        .set("group.id", group)
        .set("auto.offset.reset", begin)
        .set("session.timeout.ms", options.session_timeout.as_millis().to_string())
        // What is stored when partitions go is committed by librdkafka; the rest by us.
        .set("enable.auto.commit", options.commit_every.is_some().to_string())
        .set("auto.commit.interval.ms", "0")
        // Only what the application has settled may be committed.
        .set("enable.auto.offset.store", "false")
        .set("allow.auto.create.topics", "false")
        .set("fetch.wait.max.ms", "500")
        .set("fetch.error.backoff.ms", "50")
        // A slow reader must lag at the broker, where it can be seen, not in its own memory.
        .set("queued.max.messages.kbytes", "65536");
    if connection.setting(&["heartbeat.interval.ms"]).is_none() {
        // One or two may be late.
        let heartbeat = options.session_timeout / 3;
        let heartbeat = heartbeat.clamp(Duration::from_millis(1), Duration::from_secs(3));
        config.set("heartbeat.interval.ms", heartbeat.as_millis().to_string());
    }
    Ok(config)
}

impl Member {
    async fn receive(&self) -> Result<Received, ClientError> {
        if let Some(error) = self.later().take() {
            return Err(error);
        }
        let room = self.commits.progress.wait_for_room(SETTLING).await;
        room.map_err(|waiting| ClientError::Unsettled { waiting })?;
        match self.inner.recv().await {
            Ok(message) => {
                let received = self.names.received(&message);
                let Received { topic, partition, offset, .. } = &received;
                self.commits.progress.received(topic, *partition, *offset);
                Ok(received)
            }
            Err(error) => Err(self.explain(&error)),
        }
    }

    fn later(&self) -> std::sync::MutexGuard<'_, Option<ClientError>> {
        self.later.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, polling: Polling, error: ClientError) -> ClientError {
        self.reading.poll_failed(polling, ErrorType::from(&error));
        error
    }

    fn explain(&self, error: &KafkaError) -> ClientError {
        self.commits.events.explain("reading", "a subscribed topic", error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_heard_three_times_before_its_session_ends() {
        let connection = Connection::to("127.0.0.1:1");
        let heartbeat = |connection: &Connection, seconds| {
            let session_timeout = Duration::from_secs(seconds);
            let options = GroupOptions { session_timeout, ..GroupOptions::default() };
            let config = config(connection, "g", &options).unwrap();
            config.get("heartbeat.interval.ms").map(str::to_owned)
        };
        assert_eq!(heartbeat(&connection, 45).as_deref(), Some("3000"));
        assert_eq!(heartbeat(&connection, 3).as_deref(), Some("1000"));
        let said = connection.with("heartbeat.interval.ms", "7");
        assert_eq!(heartbeat(&said, 3).as_deref(), Some("7"));
    }
}
