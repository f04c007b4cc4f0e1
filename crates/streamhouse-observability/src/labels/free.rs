//! The free labels: names that users choose. Each row that has one states a bound on series.

use crate::declare::Label;
use opentelemetry::StringValue;
use std::sync::Arc;

/// Stands for every name beyond a row's bound on series. Not a legal topic or group name.
pub const OTHER: &str = "<other>";
/// Stands for every topic that does not exist. Not a legal topic name.
pub const UNKNOWN: &str = "<unknown>";

/// A topic's name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Topic(pub Arc<str>);

impl Topic {
    /// The label of requests for topics that do not exist.
    pub fn unknown() -> Self {
        Self(UNKNOWN.into())
    }
}

impl Label for Topic {
    const KEY: &'static str = "topic";

    fn values() -> Option<Vec<&'static str>> {
        None
    }

    fn value(&self) -> StringValue {
        self.0.clone().into()
    }

    fn overflow(&self) -> Self {
        Self(OTHER.into())
    }
}
