//! Errors by the reaction of the caller.

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use std::time::Duration;

/// Why a call failed, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// No broker answered.
    #[error("cannot reach {brokers} ({reason}): check the address, and that a server runs there")]
    Unreachable {
        /// The addresses tried.
        brokers: String,
        /// What the transport said.
        reason: String,
    },
    /// The topic or partition does not exist; create the topic first.
    #[error("{0} does not exist: see `streamhouse topic list`, or create it first")]
    Unknown(String),
    /// A topic of this name exists.
    #[error("{0} already exists: choose another name, or delete it first")]
    AlreadyExists(String),
    /// The offset lies outside the log.
    #[error(
        "offset {offset} is outside the log of topic {topic:?}, {partitions}: begin at earliest or \
         latest"
    )]
    OffsetOutOfRange {
        /// The topic.
        topic: String,
        /// The partitions that it lies outside of.
        partitions: String,
        /// The offset where reading began; several where it differed by partition.
        offset: String,
    },
    /// A record or batch is larger than client or broker allow.
    #[error("the record is too large for the broker: split it, or raise the limit there")]
    TooLarge,
    /// It did not happen in time; it may still take effect.
    #[error("{action} took longer than {} s: the broker is busy or cut off; try again", .after.as_secs_f64())]
    TimedOut {
        /// What was tried.
        action: &'static str,
        /// How long it was waited for.
        after: Duration,
    },
    /// Too many records wait for delivery; wait for some of them first.
    #[error("too many records wait for delivery: wait for some of them first")]
    QueueFull,
    /// Too many records were received and neither processed nor skipped.
    #[error("{waiting} records were received and not settled: process or skip them first")]
    Unsettled {
        /// How many.
        waiting: usize,
    },
    /// The partition belongs to another member of the group by now, which reads again what was not
    /// committed: go on with the next record.
    #[error(
        "the partition belongs to another member of the group by now: go on with the next record"
    )]
    Rebalanced,
    /// A newer client has this one's identity: end this one.
    #[error("a newer client has taken this one's place: end this one")]
    Fenced,
    /// The broker refused.
    #[error("{action} was refused: {reason}")]
    Refused {
        /// What was tried.
        action: &'static str,
        /// What the broker said.
        reason: String,
        /// Whether the same call can succeed later.
        retryable: bool,
    },
    /// The input can never be accepted.
    #[error("{0}")]
    Invalid(String),
}

impl ClientError {
    /// The error for a partition that `topic` does not have; its last one is `last`.
    pub(crate) fn no_partition(topic: &str, partition: i32, last: i32) -> Self {
        Self::Unknown(format!("partition {partition} of topic {topic:?} (0 to {last})"))
    }

    /// Whether the same call can succeed later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::TimedOut { .. }
            | Self::QueueFull
            | Self::Unsettled { .. } => true,
            Self::Refused { retryable, .. } => *retryable,
            _ => false,
        }
    }

    /// The typed form of `error`, which befell `call`.
    pub(crate) fn explain(error: &KafkaError, call: Call<'_>) -> Self {
        let action = call.action;
        match error {
            KafkaError::ClientConfig(_, reason, key, value) => {
                let secret = ["password", "secret", "pem"].iter().any(|word| key.contains(word));
                let value = if secret { "***" } else { value };
                return Self::Invalid(format!("{key} = {value:?} is not possible: {reason}"));
            }
            KafkaError::ClientCreation(reason) | KafkaError::AdminOpCreation(reason) => {
                return Self::Invalid(reason.clone());
            }
            KafkaError::Nul(_) => return Self::Invalid("a name contains a zero byte".into()),
            _ => {}
        }
        match code(error) {
            Some(code) => Self::from_code(code, call),
            None => Self::Refused { action, reason: error.to_string(), retryable: false },
        }
    }

    /// The typed form of the protocol's or librdkafka's `code`, which `call` met.
    pub(crate) fn from_code(code: RDKafkaErrorCode, call: Call<'_>) -> Self {
        use RDKafkaErrorCode as Code;
        let Call { action, subject, brokers, after, transport } = call;
        let refused = |reason| Self::Refused { action, reason, retryable: false };
        let unreachable = |reason: String| Self::Unreachable { brokers: brokers.into(), reason };
        match (code, transport) {
            (Code::BrokerTransportFailure | Code::AllBrokersDown | Code::Resolve, transport) => {
                unreachable(transport.unwrap_or_else(|| "no connection".into()))
            }
            // A call that runs out of time because nobody listens says only that it timed out.
            (
                Code::OperationTimedOut | Code::MessageTimedOut | Code::TimedOutQueue,
                Some(transport),
            ) => unreachable(transport),
            (Code::OperationTimedOut | Code::MessageTimedOut | Code::TimedOutQueue, None) => {
                Self::TimedOut { action, after }
            }
            (
                Code::UnknownTopic
                | Code::UnknownTopicOrPartition
                | Code::UnknownPartition
                | Code::UnknownTopicId,
                _,
            ) => Self::Unknown(subject.to_owned()),
            (Code::TopicAlreadyExists, _) => Self::AlreadyExists(subject.to_owned()),
            (Code::GroupIdNotFound, _) => {
                refused(format!("{subject} does not exist: see `streamhouse group list`"))
            }
            (Code::NonEmptyGroup, _) => refused(format!("{subject} has members: {MEMBERS}")),
            (Code::InvalidTopic, _) => refused(NAMES.into()),
            (Code::InvalidPartitions, _) => refused(PARTITIONS.into()),
            (Code::InvalidSessionTimeout, _) => refused(SESSION.into()),
            (Code::QueueFull, _) => Self::QueueFull,
            (
                Code::IllegalGeneration
                | Code::UnknownMemberId
                | Code::RebalanceInProgress
                | Code::AssignmentLost
                | Code::State,
                _,
            ) => Self::Rebalanced,
            (Code::Fenced | Code::ProducerFenced | Code::FencedInstanceId, _) => Self::Fenced,
            (Code::MessageSizeTooLarge, _) => Self::TooLarge,
            (code, _) => {
                Self::Refused { action, reason: code.to_string(), retryable: is_retryable(code) }
            }
        }
    }
}

/// How a group gets rid of its members.
const MEMBERS: &str = "end them first; one that was killed leaves after its session timeout";
/// The rule for names; an answer's own text does not get through librdkafka's binding.
const NAMES: &str = "a topic's name has 1 to 249 letters, digits, '.', '_' or '-'";
/// The usual rule for session timeouts. Another broker than StreamHouse may have other limits.
const SESSION: &str =
    "the session timeout is outside the broker's limits: write 1s to 30m for StreamHouse";
/// The rule for numbers of partitions. Another broker than StreamHouse may have another limit.
const PARTITIONS: &str =
    "a topic has 1 to 10000 partitions, and adding some means more than it has now";

/// The circumstances of a call that failed.
#[derive(Clone, Debug)]
pub(crate) struct Call<'a> {
    /// What was tried, as the beginning of a sentence.
    pub(crate) action: &'static str,
    /// What it was tried on.
    pub(crate) subject: &'a str,
    /// The brokers' addresses.
    pub(crate) brokers: &'a str,
    /// How long the call may take.
    pub(crate) after: Duration,
    /// The connection's last error, if it had one since it last worked.
    pub(crate) transport: Option<String>,
}

fn code(error: &KafkaError) -> Option<RDKafkaErrorCode> {
    match error {
        KafkaError::AdminOp(code) => Some(*code),
        error => error.rdkafka_error_code(),
    }
}

fn is_retryable(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        code,
        Code::RequestTimedOut
            | Code::NotEnoughReplicas
            | Code::KafkaStorageError
            | Code::LeaderNotAvailable
            | Code::NotLeaderForPartition
            | Code::CoordinatorLoadInProgress
            | Code::CoordinatorNotAvailable
            | Code::NotCoordinator
            | Code::WaitingForCoordinator
    )
}
