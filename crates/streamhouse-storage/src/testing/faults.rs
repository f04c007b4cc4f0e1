use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use streamhouse_observability::declare::ClosedLabel as _;
use streamhouse_observability::labels::{self, Operation};
use tokio::sync::watch;

/// What can go wrong with one call to the object store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// 503 SlowDown; nothing happens.
    Throttled,
    /// 500 InternalError; nothing happens.
    ServerError,
    /// 403 AccessDenied; nothing happens.
    Denied,
    /// The connection breaks before anything happens.
    Refused,
    /// The call takes effect, then the connection breaks instead of a reply.
    ReplyLost,
    /// The call never returns, and nothing happens.
    Hang,
    /// The call takes effect and never returns.
    AppliedHang,
    /// The call waits for [`Faults::release`], then goes its normal way. Not a failure.
    Hold,
    /// A PUT stores the first half of the body and fails with 500; a GET returns damaged bytes
    /// as if all were well; other calls fail with 500.
    Torn,
}

impl Fault {
    /// The class under which a caller must count it: `None` where no error comes back, or where
    /// it is the caller's own deadline that ends the call.
    pub fn class(self, operation: Operation) -> Option<labels::StoreError> {
        match self {
            Self::Throttled => Some(labels::StoreError::Throttling),
            Self::ServerError => Some(labels::StoreError::Server),
            Self::Denied => Some(labels::StoreError::Denied),
            Self::Refused | Self::ReplyLost => Some(labels::StoreError::Connection),
            Self::Hang | Self::AppliedHang => Some(labels::StoreError::Timeout),
            Self::Hold => None,
            Self::Torn if operation == Operation::Get => None,
            Self::Torn => Some(labels::StoreError::Server),
        }
    }
}

/// A script of faults and the ledger of those injected. Clones share both.
#[derive(Clone, Debug)]
pub struct Faults {
    script: Arc<Mutex<Script>>,
    released: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Script {
    next: [VecDeque<Option<Fault>>; Operation::ALL.len()],
    always: [Option<Fault>; Operation::ALL.len()],
    injected: Vec<(Operation, Fault)>,
    calls: [u64; Operation::ALL.len()],
}

impl Default for Faults {
    fn default() -> Self {
        Self { script: Arc::default(), released: watch::Sender::new(0) }
    }
}

impl Faults {
    /// No faults.
    pub fn none() -> Self {
        Self::default()
    }

    /// Gives the next calls of `operation` these faults, one each, after those already queued;
    /// `None` lets a call pass.
    pub fn queue(
        &self,
        operation: Operation,
        faults: impl IntoIterator<Item = impl Into<Option<Fault>>>,
    ) {
        self.lock().next[operation.index()].extend(faults.into_iter().map(Into::into));
    }

    /// Gives every call of `operation` this fault once its queue is empty; `None` ends that.
    pub fn always(&self, operation: Operation, fault: Option<Fault>) {
        self.lock().always[operation.index()] = fault;
    }

    /// Ends all faults to come. Calls that hang go on hanging.
    pub fn clear(&self) {
        let mut script = self.lock();
        script.next = Default::default();
        script.always = Default::default();
    }

    /// Lets every call that is held now go on.
    pub fn release(&self) {
        self.released.send_modify(|round| *round += 1);
    }

    /// How often `fault` was injected into `operation`.
    pub fn injected(&self, operation: Operation, fault: Fault) -> u64 {
        let script = self.lock();
        script.injected.iter().filter(|entry| **entry == (operation, fault)).count() as u64
    }

    /// How many injected faults of `operation` a caller must count under `class`.
    pub fn injected_as(&self, operation: Operation, class: labels::StoreError) -> u64 {
        let counts = |entry: &&(Operation, Fault)| {
            entry.0 == operation && entry.1.class(operation) == Some(class)
        };
        self.lock().injected.iter().filter(counts).count() as u64
    }

    /// How many calls of `operation` have arrived, faults included.
    pub fn calls(&self, operation: Operation) -> u64 {
        self.lock().calls[operation.index()]
    }

    /// Counts a call and takes the fault that it must suffer. A held call waits here.
    pub(super) async fn strike(&self, operation: Operation) -> Option<Fault> {
        let mut released = self.released.subscribe();
        let fault = self.take(operation);
        if fault == Some(Fault::Hold) {
            // It cannot fail while `self` holds the sender.
            let _ = released.changed().await;
            return None;
        }
        fault
    }

    fn take(&self, operation: Operation) -> Option<Fault> {
        let mut script = self.lock();
        let place = operation.index();
        script.calls[place] += 1;
        let fault = match script.next[place].pop_front() {
            Some(fault) => fault,
            None => script.always[place],
        };
        script.injected.extend(fault.map(|fault| (operation, fault)));
        fault
    }

    fn lock(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
