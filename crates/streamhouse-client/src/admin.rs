//! Topics: create, look at, change, grow, delete. Groups: delete.

use crate::connection::{Connection, Events};
use crate::error::ClientError;
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, ConfigSource, NewPartitions, NewTopic,
    ResourceSpecifier, TopicReplication,
};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::Metadata;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A topic as the broker tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicDetail {
    /// Its name.
    pub name: String,
    /// Its partitions, by number.
    pub partitions: Vec<PartitionDetail>,
}

/// A topic's setting as the broker tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSetting {
    /// Its name.
    pub name: String,
    /// Its value; empty when the broker keeps it to itself.
    pub value: String,
    /// Whether it was set for this topic; otherwise it is the broker's default.
    pub is_own: bool,
}

/// A partition as the broker tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionDetail {
    /// Its number.
    pub partition: i32,
    /// The broker that clients are sent to.
    pub leader: i32,
    /// The first offset that can be read.
    pub log_start: i64,
    /// The offset that the next record will get.
    pub high_watermark: i64,
}

/// Creates, describes, grows and deletes topics, and deletes groups.
#[derive(Clone)]
pub struct Admin {
    inner: Arc<AdminClient<Events>>,
    events: Events,
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").field("events", &self.events).finish_non_exhaustive()
    }
}

impl Admin {
    /// An admin client. It connects at its first call.
    ///
    /// # Errors
    /// [`ClientError::Invalid`]: the connection's settings are not possible.
    pub fn new(connection: &Connection) -> Result<Self, ClientError> {
        let events = connection.events();
        let inner = connection
            .config()?
            .create_with_context(events.clone())
            .map_err(|error| events.explain("making an admin client", "the client", &error))?;
        Ok(Self { inner: Arc::new(inner), events })
    }

    /// Creates a topic.
    ///
    /// # Errors
    /// [`ClientError::AlreadyExists`]; [`ClientError::Refused`]: the name or number is not allowed.
    pub async fn create_topic(&self, name: &str, partitions: i32) -> Result<(), ClientError> {
        self.create_topic_with(name, partitions, &[]).await
    }

    /// Creates a topic with settings of its own, as names and values.
    ///
    /// # Errors
    /// As [`create_topic`](Self::create_topic); [`ClientError::Refused`] also for a setting.
    pub async fn create_topic_with(
        &self,
        name: &str,
        partitions: i32,
        settings: &[(String, String)],
    ) -> Result<(), ClientError> {
        let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        let topic = settings.iter().fold(topic, |topic, (key, value)| topic.set(key, value));
        let results = self.inner.create_topics([&topic], &self.options()).await;
        if let Ok([Err((_, RDKafkaErrorCode::InvalidConfig))]) = results.as_deref() {
            return Err(impossible("creating", settings));
        }
        self.one("creating", &format!("topic {name:?}"), unnamed(results)).await
    }

    /// Deletes a topic and all its records.
    ///
    /// # Errors
    /// [`ClientError::Unknown`]: it does not exist.
    pub async fn delete_topic(&self, name: &str) -> Result<(), ClientError> {
        let results = self.inner.delete_topics(&[name], &self.options()).await;
        self.one("deleting", &format!("topic {name:?}"), unnamed(results)).await
    }

    /// Deletes a group that has no members, with all that it has committed.
    ///
    /// # Errors
    /// [`ClientError::Refused`]: it does not exist, or has members.
    pub async fn delete_group(&self, name: &str) -> Result<(), ClientError> {
        let results = self.inner.delete_groups(&[name], &self.options()).await;
        self.one("deleting", &format!("group {name:?}"), unnamed(results)).await
    }

    /// Raises the number of a topic's partitions to `total`.
    ///
    /// # Errors
    /// [`ClientError::Unknown`]; [`ClientError::Refused`]: it has as many or more already.
    pub async fn set_partitions(&self, name: &str, total: usize) -> Result<(), ClientError> {
        let partitions = NewPartitions::new(name, total);
        let results = self.inner.create_partitions([&partitions], &self.options()).await;
        self.one("adding partitions to", &format!("topic {name:?}"), unnamed(results)).await
    }

    /// A topic's settings, in the broker's order.
    ///
    /// # Errors
    /// [`ClientError::Unknown`]: it does not exist.
    pub async fn settings(&self, name: &str) -> Result<Vec<TopicSetting>, ClientError> {
        let (action, subject) = ("describing", format!("topic {name:?}"));
        let topic = ResourceSpecifier::Topic(name);
        let described = self.inner.describe_configs([&topic], &self.options()).await;
        let described = self.one(action, &subject, described).await?;
        if described.entries.is_empty() {
            // The library hides what the broker says of a single topic.
            return Err(ClientError::Unknown(subject));
        }
        let settings = described.entries.into_iter().map(|entry| TopicSetting {
            is_own: matches!(entry.source, ConfigSource::DynamicTopic),
            value: entry.value.unwrap_or_default(),
            name: entry.name,
        });
        Ok(settings.collect())
    }

    /// Changes settings of a topic: gives those of `set` their values, and those named in `unset`
    /// the broker's default. Others stay as they are, unless somebody changes them meanwhile.
    ///
    /// # Errors
    /// [`ClientError::Unknown`]; [`ClientError::Refused`]: the broker says which setting is wrong.
    pub async fn alter_topic(
        &self,
        name: &str,
        set: &[(String, String)],
        unset: &[String],
    ) -> Result<(), ClientError> {
        // The protocol's plain request replaces all that was set.
        let own = self.settings(name).await?.into_iter().filter(|setting| setting.is_own);
        let mut all: BTreeMap<_, _> = own.map(|setting| (setting.name, setting.value)).collect();
        all.retain(|name, _| !unset.contains(name));
        all.extend(set.iter().cloned());
        let mut change = AlterConfig::new(ResourceSpecifier::Topic(name));
        for (name, value) in &all {
            change = change.set(name, value);
        }
        let (action, subject) = ("altering", format!("topic {name:?}"));
        let results = self.inner.alter_configs([&change], &self.options()).await;
        self.one(action, &subject, unnamed(results)).await?;
        // The library hides what the broker says of a single topic, so look.
        let now = self.settings(name).await?;
        let has = |(name, value): &(String, String)| {
            now.iter().any(|setting| setting.name == *name && setting.value == *value)
        };
        let reset = |name: &String| !now.iter().any(|one| one.name == *name && one.is_own);
        if set.iter().all(has) && unset.iter().all(reset) {
            return Ok(());
        }
        Err(impossible(action, set))
    }

    /// The names of all topics and how many partitions each has, by name.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`], [`ClientError::TimedOut`]: try again.
    pub async fn topics(&self) -> Result<Vec<(String, usize)>, ClientError> {
        let metadata = self.metadata().await?;
        let topics = metadata.topics().iter();
        let mut topics: Vec<_> =
            topics.map(|topic| (topic.name().to_owned(), topic.partitions().len())).collect();
        topics.sort();
        Ok(topics)
    }

    /// One topic with the ends of its partitions.
    ///
    /// # Errors
    /// [`ClientError::Unknown`]: it does not exist.
    pub async fn describe(&self, name: &str) -> Result<TopicDetail, ClientError> {
        let metadata = self.metadata().await?;
        let subject = format!("topic {name:?}");
        let Some(topic) = metadata.topics().iter().find(|topic| topic.name() == name) else {
            return Err(ClientError::Unknown(subject));
        };
        if let Some(code) = topic.error() {
            return Err(self.events.refuse("describing", &subject, code.into()));
        }
        let mut wanted: Vec<_> = topic.partitions().iter().map(|p| (p.id(), p.leader())).collect();
        wanted.sort_unstable();
        let topic = name.to_owned();
        let partitions = self
            .blocking("describing", &subject, move |client, timeout| {
                let detail = |(partition, leader)| {
                    let (log_start, high_watermark) =
                        client.inner().fetch_watermarks(&topic, partition, timeout)?;
                    Ok(PartitionDetail { partition, leader, log_start, high_watermark })
                };
                wanted.into_iter().map(detail).collect()
            })
            .await?;
        Ok(TopicDetail { name: name.to_owned(), partitions })
    }

    async fn metadata(&self) -> Result<Metadata, ClientError> {
        self.metadata_within(self.events.timeout()).await
    }

    async fn metadata_within(&self, timeout: Duration) -> Result<Metadata, ClientError> {
        // Asking for all topics never creates one, unlike asking for one that is missing.
        self.blocking("listing topics", "the topic", move |client, _| {
            client.inner().fetch_metadata(None, timeout)
        })
        .await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        action: &'static str,
        subject: &str,
        call: impl FnOnce(&AdminClient<Events>, Duration) -> Result<T, KafkaError> + Send + 'static,
    ) -> Result<T, ClientError> {
        let (inner, timeout) = (self.inner.clone(), self.events.timeout());
        match tokio::task::spawn_blocking(move || call(&inner, timeout)).await {
            Ok(result) => result.map_err(|error| self.events.explain(action, subject, &error)),
            Err(_) => Err(ClientError::TimedOut { action, after: timeout }),
        }
    }

    fn options(&self) -> AdminOptions {
        let timeout = self.events.timeout();
        AdminOptions::new().request_timeout(Some(timeout)).operation_timeout(Some(timeout))
    }

    /// What the broker answered to a request about one `subject`.
    async fn one<T>(
        &self,
        action: &'static str,
        subject: &str,
        results: Results<T, RDKafkaErrorCode>,
    ) -> Result<T, ClientError> {
        let error = match results.map(|results| results.into_iter().next()) {
            Ok(Some(Ok(answer))) => return Ok(answer),
            Ok(Some(Err(code))) => self.events.refuse(action, subject, code),
            Ok(None) => ClientError::TimedOut { action, after: self.events.timeout() },
            Err(error) => self.events.explain(action, subject, &error),
        };
        if !matches!(error, ClientError::TimedOut { .. }) {
            return Err(error);
        }
        // Where nobody listens, librdkafka says only that these requests took too long, and hands
        // what befell the connections to a queue that this client does not serve.
        match self.metadata_within(A_LOOK).await {
            Err(unreachable @ ClientError::Unreachable { .. }) => Err(unreachable),
            _ => Err(error),
        }
    }
}

/// How long a connection is looked for after a request has waited for one in vain.
const A_LOOK: Duration = Duration::from_millis(100);

/// What the library returns of a request about several things.
type Results<T, E> = Result<Vec<Result<T, E>>, KafkaError>;

/// Results without the names that they are about.
fn unnamed<N>(results: Results<N, (N, RDKafkaErrorCode)>) -> Results<(), RDKafkaErrorCode> {
    let unnamed = |result: Result<N, (N, _)>| result.map(drop).map_err(|(_, code)| code);
    results.map(|results| results.into_iter().map(unnamed).collect())
}

/// The error for settings of which the broker refused one. The library does not pass on which.
fn impossible(action: &'static str, settings: &[(String, String)]) -> ClientError {
    let named: Vec<_> =
        settings.iter().map(|(name, value)| format!("{name} = {value:?}")).collect();
    let reason = format!(
        "{} is not possible: retention.ms and retention.bytes can be set, to a whole number or to \
         -1 for no limit",
        named.join(", ")
    );
    ClientError::Refused { action, reason, retryable: false }
}
