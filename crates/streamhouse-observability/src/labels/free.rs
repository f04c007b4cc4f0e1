//! The free labels: names that users choose. Each row that has one states a bound on series.

use crate::declare::Label;
use opentelemetry::StringValue;
use std::sync::Arc;

/// Stands for every name beyond a row's bound on series. Not a legal topic or group name.
pub const OTHER: &str = "<other>";
/// Stands for every topic that does not exist. Not a legal topic name.
pub const UNKNOWN: &str = "<unknown>";

/// Stands for all topics or all partitions together, where a metric is kept in less detail.
pub const ALL: &str = "<all>";

/// A topic's name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Topic(pub Arc<str>);

impl Topic {
    /// The label of requests for topics that do not exist.
    pub fn unknown() -> Self {
        Self(UNKNOWN.into())
    }

    /// The label of all topics together.
    pub fn all() -> Self {
        Self(ALL.into())
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

/// A consumer group's name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Group(pub Arc<str>);

impl Label for Group {
    const KEY: &'static str = "group";

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

/// A partition's number, or what stands for all of a topic.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Partition(pub Arc<str>);

impl Partition {
    /// The label of one partition.
    pub fn number(number: i32) -> Self {
        Self(itoa::Buffer::new().format(number).into())
    }

    /// The label of all partitions together.
    pub fn all() -> Self {
        Self(ALL.into())
    }
}

impl Label for Partition {
    const KEY: &'static str = "partition";

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
