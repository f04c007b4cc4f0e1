//! The configuration that exists: what a topic and an agent really do, and what of it clients may
//! change.

use crate::config::BrokerConfig;
use kafka_protocol::error::ResponseError as Code;
use streamhouse_metadata::{Retention, RetentionChange};

/// The protocol's number for topics, as resources that have settings.
pub(crate) const TOPIC: i8 = 2;
/// The protocol's number for agents.
pub(crate) const BROKER: i8 = 4;

const RETENTION_MS: &str = "retention.ms";
const RETENTION_BYTES: &str = "retention.bytes";

/// Why a setting cannot be as asked: the code, and words for the client.
pub(crate) type Refusal = (Code, String);

/// One setting.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    pub name: &'static str,
    pub value: String,
    pub kind: Kind,
    pub source: Source,
    /// Whether clients may change it.
    pub changeable: bool,
    pub about: &'static str,
}

/// The protocol's numbers for types of values.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Boolean = 1,
    Text = 2,
    Int = 3,
    Long = 5,
    List = 7,
}

/// The protocol's numbers for where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// Somebody set it for the topic.
    Topic = 1,
    /// The server's own settings.
    Broker = 4,
    /// Nobody said anything.
    Default = 5,
}

fn setting(name: &'static str, value: impl ToString, kind: Kind, about: &'static str) -> Setting {
    let (value, source) = (value.to_string(), Source::Default);
    Setting { name, value, kind, source, changeable: false, about }
}

/// The settings of a topic with this retention of its own.
pub(crate) fn of_topic(config: &BrokerConfig, retention: Retention) -> Vec<Setting> {
    let mut all = fixed(config);
    let usual = BrokerConfig::default();
    for (name, own, broker, usual, about) in [
        (
            RETENTION_MS,
            retention.ms,
            config.retention_ms,
            usual.retention_ms,
            "Milliseconds after which a record is removed, counted from its arrival; -1: never.",
        ),
        (
            RETENTION_BYTES,
            retention.bytes,
            config.retention_bytes,
            usual.retention_bytes,
            "Bytes of a partition's record batches that are kept at least; -1: all of them.",
        ),
    ] {
        let source = match own {
            Some(_) => Source::Topic,
            None if broker == usual => Source::Default,
            None => Source::Broker,
        };
        let one = setting(name, own.unwrap_or(broker), Kind::Long, about);
        all.push(Setting { source, changeable: true, ..one });
    }
    all
}

/// The settings that are the same for every topic.
fn fixed(config: &BrokerConfig) -> Vec<Setting> {
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
    let all = [
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
        setting(
            "log.retention.ms",
            config.retention_ms,
            Kind::Long,
            "The retention.ms of topics without one of their own.",
        ),
        setting(
            "log.retention.bytes",
            config.retention_bytes,
            Kind::Long,
            "The retention.bytes of topics without one of their own.",
        ),
    ];
    all.into_iter().map(|one| Setting { source: Source::Broker, ..one }).collect()
}

/// Takes note that a topic's setting `name` is to be `value`, or the broker's default.
///
/// A setting that cannot be changed may be set to what it is: tools send all that they know.
pub(crate) fn note(
    config: &BrokerConfig,
    change: &mut RetentionChange,
    name: &str,
    value: Option<&str>,
) -> Result<(), Refusal> {
    let field = match name {
        RETENTION_MS => &mut change.ms,
        RETENTION_BYTES => &mut change.bytes,
        _ => return unchanged(config, name, value),
    };
    if field.is_some_and(|asked| asked.is_some()) {
        return Err((Code::InvalidRequest, format!("{name} is named more than once")));
    }
    *field = Some(value.map(|value| limit(name, value)).transpose()?);
    Ok(())
}

fn unchanged(config: &BrokerConfig, name: &str, value: Option<&str>) -> Result<(), Refusal> {
    match fixed(config).into_iter().find(|setting| setting.name == name) {
        Some(setting) if value.is_none_or(|value| value == setting.value) => Ok(()),
        Some(setting) => {
            let value = value.unwrap_or_default();
            let message = format!("{name} is {} and cannot be {value:?}", setting.value);
            Err((Code::InvalidConfig, message))
        }
        None => {
            let message = format!(
                "{name:?} is not a setting; topics have retention.ms and \
                retention.bytes"
            );
            Err((Code::InvalidConfig, message))
        }
    }
}

fn limit(name: &str, value: &str) -> Result<i64, Refusal> {
    let parsed = value.trim().parse().ok().filter(|limit| *limit >= -1);
    parsed.ok_or_else(|| {
        let unit = if name == RETENTION_MS { "milliseconds" } else { "bytes" };
        let message = format!(
            "{name} cannot be {value:?}; write a whole number of {unit}, or -1 for no limit"
        );
        (Code::InvalidConfig, message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_makes_no_sense_is_refused_with_the_value_and_what_to_write() {
        for (name, value, unit) in [
            (RETENTION_MS, "soon", "milliseconds"),
            (RETENTION_MS, "-2", "milliseconds"),
            (RETENTION_MS, "", "milliseconds"),
            (RETENTION_BYTES, "1GiB", "bytes"),
            (RETENTION_BYTES, "9223372036854775808", "bytes"),
        ] {
            let mut change = RetentionChange::default();
            let refused = note(&BrokerConfig::default(), &mut change, name, Some(value));
            let (code, message) = refused.unwrap_err();
            assert_eq!(code, Code::InvalidConfig);
            assert!(message.contains(&format!("{name} cannot be {value:?}")), "{message}");
            assert!(message.contains(unit) && message.contains("-1"), "{message}");
            assert_eq!(change, RetentionChange::default());
        }
    }

    #[test]
    fn a_setting_says_whether_the_topic_the_broker_or_nobody_chose_its_value() {
        let told = |config: &BrokerConfig, retention| -> Vec<(String, Source)> {
            let settings = of_topic(config, retention).into_iter();
            settings.filter(|one| one.changeable).map(|one| (one.value, one.source)).collect()
        };
        let usual = BrokerConfig::default();
        let (week, none) = ("604800000".to_owned(), "-1".to_owned());
        assert_eq!(
            told(&usual, Retention::default()),
            [(week, Source::Default), (none, Source::Default)]
        );
        let own = BrokerConfig { retention_bytes: 7, ..usual };
        let retention = Retention { ms: Some(-1), bytes: None };
        assert_eq!(
            told(&own, retention),
            [("-1".into(), Source::Topic), ("7".into(), Source::Broker)]
        );
    }
}
