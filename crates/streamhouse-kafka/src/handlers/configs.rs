//! The configuration that exists: what a topic and an agent really do, none of it changeable.

use crate::config::BrokerConfig;

/// One setting.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    pub name: &'static str,
    pub value: String,
    pub kind: Kind,
    pub about: &'static str,
}

/// The protocol's numbers for types of values.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Boolean = 1,
    Text = 2,
    Int = 3,
    List = 7,
}

fn setting(name: &'static str, value: impl ToString, kind: Kind, about: &'static str) -> Setting {
    Setting { name, value: value.to_string(), kind, about }
}

/// A topic's settings.
pub(crate) fn of_topics(config: &BrokerConfig) -> Vec<Setting> {
    vec![
        setting("cleanup.policy", "delete", Kind::List, "Records are never compacted by key."),
        setting(
            "compression.type",
            "producer",
            Kind::Text,
            "Batches are stored as the producer compressed them.",
        ),
        setting(
            "max.message.bytes",
            config.max_batch_bytes,
            Kind::Int,
            "The largest record batch accepted.",
        ),
        setting(
            "message.timestamp.type",
            "CreateTime",
            Kind::Text,
            "Records keep the producer's timestamps.",
        ),
    ]
}

/// An agent's settings.
pub(crate) fn of_agents(config: &BrokerConfig) -> Vec<Setting> {
    vec![
        setting(
            "auto.create.topics.enable",
            config.auto_create_topics,
            Kind::Boolean,
            "Whether asking for an unknown topic creates it.",
        ),
        setting(
            "num.partitions",
            config.default_partitions,
            Kind::Int,
            "Partitions of a topic whose creator does not say.",
        ),
        setting(
            "message.max.bytes",
            config.max_batch_bytes,
            Kind::Int,
            "The largest record batch accepted.",
        ),
        setting(
            "socket.request.max.bytes",
            config.max_frame_bytes,
            Kind::Int,
            "The largest request accepted.",
        ),
        setting(
            "fetch.max.bytes",
            config.max_fetch_bytes,
            Kind::Int,
            "The most bytes of records in one fetch answer.",
        ),
        setting(
            "max.connections",
            config.max_connections,
            Kind::Int,
            "Connections open at a time.",
        ),
    ]
}
