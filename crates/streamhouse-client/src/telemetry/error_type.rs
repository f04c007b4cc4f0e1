//! Classes of errors, as they stand on spans and series.

use crate::error::ClientError;

/// The values of `error.type`: all that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorType {
    /// No broker answered.
    Unreachable,
    /// The topic or partition does not exist.
    UnknownTopicOrPartition,
    /// The offset lies outside the log.
    OffsetOutOfRange,
    /// The record or batch is too large.
    MessageTooLarge,
    /// It did not happen in time.
    TimedOut,
    /// Too many records wait.
    QueueFull,
    /// The partition belongs to another member of the group by now.
    Rebalanced,
    /// Another client has taken this one's place.
    Fenced,
    /// The broker refused, for a reason that may pass.
    RefusedForNow,
    /// The broker refused.
    Refused,
    /// The input can never be accepted.
    Invalid,
    /// The application's work was dropped before its end.
    Cancelled,
    /// The application's work panicked.
    Panic,
    /// What the application's work returned as an error.
    Other,
}

impl ErrorType {
    /// All values, in order.
    pub const ALL: [Self; 14] = [
        Self::Unreachable,
        Self::UnknownTopicOrPartition,
        Self::OffsetOutOfRange,
        Self::MessageTooLarge,
        Self::TimedOut,
        Self::QueueFull,
        Self::Rebalanced,
        Self::Fenced,
        Self::RefusedForNow,
        Self::Refused,
        Self::Invalid,
        Self::Cancelled,
        Self::Panic,
        Self::Other,
    ];

    /// The value's text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::UnknownTopicOrPartition => "unknown_topic_or_partition",
            Self::OffsetOutOfRange => "offset_out_of_range",
            Self::MessageTooLarge => "message_too_large",
            Self::TimedOut => "timed_out",
            Self::QueueFull => "queue_full",
            Self::Rebalanced => "rebalanced",
            Self::Fenced => "fenced",
            Self::RefusedForNow => "refused_for_now",
            Self::Refused => "refused",
            Self::Invalid => "invalid",
            Self::Cancelled => "cancelled",
            Self::Panic => "panic",
            // The conventions' own word for what has no class.
            Self::Other => "_OTHER",
        }
    }
}

impl From<&ClientError> for ErrorType {
    fn from(error: &ClientError) -> Self {
        match error {
            ClientError::Unreachable { .. } => Self::Unreachable,
            ClientError::Unknown(_) => Self::UnknownTopicOrPartition,
            ClientError::OffsetOutOfRange { .. } => Self::OffsetOutOfRange,
            ClientError::TooLarge => Self::MessageTooLarge,
            ClientError::TimedOut { .. } => Self::TimedOut,
            ClientError::QueueFull | ClientError::Unsettled { .. } => Self::QueueFull,
            ClientError::Rebalanced => Self::Rebalanced,
            ClientError::Fenced => Self::Fenced,
            ClientError::Refused { retryable: true, .. } => Self::RefusedForNow,
            ClientError::Refused { .. } | ClientError::AlreadyExists(_) => Self::Refused,
            ClientError::Invalid(_) => Self::Invalid,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_values_are_words_each_of_them_once_and_in_the_order_of_their_places() {
        for (place, value) in ErrorType::ALL.into_iter().enumerate() {
            assert_eq!(value as usize, place, "{value:?} counts at its own place");
            let text = value.as_str();
            assert!(text == "_OTHER" || text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'));
            assert_eq!(ErrorType::ALL.iter().filter(|other| other.as_str() == text).count(), 1);
        }
    }
}
