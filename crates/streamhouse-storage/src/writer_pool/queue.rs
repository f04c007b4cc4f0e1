//! The open segment, and the segments that are full and wait for a slot.

use super::health::Commits;
use super::meters::{Held, Meters};
use super::{Append, Appended, WriterConfig};
use crate::error::AppendError;
use crate::segment::SegmentBuilder;
use opentelemetry::trace::SpanContext;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use streamhouse_metadata::{ProducerBatch, TopicPartition};
use streamhouse_observability::instruments::SegmentMetrics;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

pub(super) type Answer = Result<Appended, AppendError>;

/// What the pool's tasks and its callers share.
#[derive(Debug)]
pub(super) struct Shared {
    pub config: WriterConfig,
    pub meters: Arc<Meters>,
    pub commits: Commits,
    queue: Mutex<Queue>,
    /// Wakes the flusher: there is a new open or full segment, or the pool is to end.
    work: Notify,
    /// Segments must not be stamped below: they could not be committed.
    floor_ms: AtomicU64,
}

#[derive(Debug)]
struct Queue {
    open: Option<OpenSegment>,
    full: VecDeque<OpenSegment>,
    refusing: bool,
    next_number: u64,
    /// When each segment that is not settled was opened.
    unsettled: BTreeMap<u64, Instant>,
    progressed: Instant,
}

/// A segment that takes batches, or waits for a slot.
#[derive(Debug)]
pub(super) struct OpenSegment {
    pub number: u64,
    opened: Instant,
    pub builder: SegmentBuilder,
    /// Who waits, in the order of arrival.
    pub waiting: Vec<Waiting>,
}

/// A batch that is not answered. It keeps none of the batch's bytes.
#[derive(Debug)]
pub(super) struct Waiting {
    pub partition: TopicPartition,
    pub producer: Option<ProducerBatch>,
    pub span: Option<SpanContext>,
    answer: oneshot::Sender<Answer>,
    held: Held,
}

impl Waiting {
    /// Tells the caller, who may have gone away.
    pub fn answer(self, outcome: Answer) {
        drop(self.held);
        let _ = self.answer.send(outcome);
    }
}

/// What the flusher must do next.
enum Next {
    Flush,
    WaitUntil(Instant),
    Wait,
    End,
}

impl Shared {
    pub fn new(config: WriterConfig, metrics: &SegmentMetrics) -> Self {
        let queue = Queue {
            open: None,
            full: VecDeque::new(),
            refusing: false,
            next_number: 0,
            unsettled: BTreeMap::new(),
            progressed: Instant::now(),
        };
        let meters = Arc::new(Meters::bind(metrics));
        Self {
            config,
            meters,
            commits: Commits::default(),
            queue: Mutex::new(queue),
            work: Notify::new(),
            floor_ms: AtomicU64::new(0),
        }
    }

    /// The least stamp that a segment may have.
    pub fn floor_ms(&self) -> u64 {
        self.floor_ms.load(Ordering::Acquire)
    }

    /// Takes note of the garbage collector's floor, which never falls.
    pub fn raise_floor(&self, floor_ms: u64) {
        self.floor_ms.fetch_max(floor_ms, Ordering::AcqRel);
    }

    /// Puts a batch into the open segment.
    pub fn append(&self, append: Append) -> oneshot::Receiver<Answer> {
        let (answer, outcome) = oneshot::channel();
        let Append { partition, batch, span } = append;
        let held = self.meters.hold(batch.bytes().len());
        let producer = batch.producer();
        let waiting = Waiting { partition, producer, span, answer, held };
        let append_time_ms = self.config.clock.now_ms();

        let mut queue = self.lock();
        if queue.refusing {
            drop(queue);
            waiting.answer(Err(AppendError::ShuttingDown));
            return outcome;
        }
        let full = self.config.segment_bytes;
        let mut wake = false;
        let len = batch.bytes().len();
        if queue.open.as_ref().is_some_and(|open| open.builder.bytes() + len > full) {
            let open = queue.open.take();
            queue.full.extend(open);
            wake = true;
        }
        let open = queue.open();
        wake |= open.waiting.is_empty();
        open.builder.add(partition, batch, append_time_ms);
        open.waiting.push(waiting);
        if open.builder.bytes() >= full {
            let open = queue.open.take();
            queue.full.extend(open);
            wake = true;
        }
        drop(queue);
        if wake {
            self.work.notify_one();
        }
        outcome
    }

    /// Waits until a segment may close; `false` when none is left and none will come.
    pub async fn due(&self) -> bool {
        loop {
            let work = self.work.notified();
            let next = self.lock().next(self.config.linger);
            match next {
                Next::Flush => return true,
                Next::End => return false,
                Next::Wait => work.await,
                Next::WaitUntil(at) => tokio::select! {
                    () = work => {}
                    () = tokio::time::sleep_until(at) => {}
                },
            }
        }
    }

    /// Takes the oldest segment out, with all that has come into it by now.
    pub fn close(&self) -> Option<OpenSegment> {
        let mut queue = self.lock();
        queue.full.pop_front().or_else(|| queue.open.take())
    }

    /// Takes note that a segment's batches are answered.
    pub fn settled(&self, number: u64) {
        let mut queue = self.lock();
        queue.unsettled.remove(&number);
        queue.progressed = Instant::now();
    }

    /// Takes no more batches in and closes the open segment as soon as possible.
    pub fn refuse(&self) {
        self.lock().refusing = true;
        self.work.notify_one();
    }

    /// Drops what is left when the tasks are gone: who waits learns of it.
    pub fn abandon(&self) {
        let mut queue = self.lock();
        let left = (queue.open.take(), std::mem::take(&mut queue.full));
        queue.unsettled.clear();
        drop(queue);
        drop(left);
    }

    pub fn oldest(&self) -> Option<Duration> {
        self.lock().unsettled.values().next().map(Instant::elapsed)
    }

    pub fn stalled(&self) -> Option<Duration> {
        let queue = self.lock();
        let oldest = queue.unsettled.values().next()?;
        Some(queue.progressed.max(*oldest).elapsed())
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    fn open(&mut self) -> &mut OpenSegment {
        let (number, unsettled) = (&mut self.next_number, &mut self.unsettled);
        self.open.get_or_insert_with(|| {
            let opened = Instant::now();
            let open = OpenSegment {
                number: *number,
                opened,
                builder: SegmentBuilder::new(),
                waiting: Vec::new(),
            };
            unsettled.insert(*number, opened);
            *number += 1;
            open
        })
    }

    fn next(&self, linger: Duration) -> Next {
        if !self.full.is_empty() {
            return Next::Flush;
        }
        match &self.open {
            None if self.refusing => Next::End,
            None => Next::Wait,
            Some(open) if self.refusing || open.opened.elapsed() >= linger => Next::Flush,
            Some(open) => Next::WaitUntil(open.opened + linger),
        }
    }
}
