//! One push as it is passed on: the client's metrics under a resource that says whose they are.

use super::points;
use super::terms::{self, Terms};
use super::walk::{self, WalkError};
use bytes::Bytes;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::{Metric, ResourceMetrics, ScopeMetrics};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message as _;
use std::collections::BTreeMap;
use std::hash::RandomState;
use uuid::Uuid;

/// Submessages and strings that a series may take, and those of a push without any.
const ITEMS: (usize, usize) = (24, 1_024);
/// Resources that a push may speak of.
const RESOURCES: usize = 4;
/// Attributes of a client's own resource that are kept.
const ATTRIBUTES: usize = 16;
/// The longest text in a resource, in bytes.
const TEXT: usize = 256;

/// Whose metrics they are.
#[derive(Clone, Copy, Debug)]
pub struct Client<'a> {
    /// What the client calls itself.
    pub id: &'a str,
    /// The instance, which tells two clients of one name apart.
    pub instance: Uuid,
    /// The name of its library.
    pub software: &'a str,
    /// The version of its library.
    pub version: &'a str,
    /// Who it has proven to be.
    pub principal: &'a str,
}

impl Client<'_> {
    /// The attributes that say so. The client's own yield to them.
    fn attributes(&self) -> [(&'static str, String); 7] {
        let instance = self.instance.to_string();
        [
            ("service.name", "kafka-client".into()),
            ("service.instance.id", instance.clone()),
            ("client_id", bounded(self.id)),
            ("client_instance_id", instance),
            ("client_software_name", bounded(self.software)),
            ("client_software_version", bounded(self.version)),
            ("principal", bounded(self.principal)),
        ]
    }
}

/// Metrics that can be passed on.
#[derive(Clone, Debug)]
pub struct Message {
    pub(super) body: Bytes,
    pub(super) points: u64,
}

/// Metrics that were read, of which some may still be left out.
#[derive(Debug)]
pub struct Draft {
    resource_metrics: Vec<ResourceMetrics>,
    points: usize,
    left_out: usize,
}

/// Why what a client pushed is not passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// The bytes are not what they should be.
    #[error("not metrics of the OpenTelemetry protocol: {0}")]
    Invalid(&'static str),
    /// There are too many data points in it.
    #[error("{series} series in a push, of which {limit} are allowed")]
    TooManySeries {
        /// Data points in the push.
        series: usize,
        /// How many are allowed.
        limit: usize,
    },
    /// A sum or a histogram is not cumulative.
    #[error("a sum or a histogram is not cumulative; delta temporality was not asked for")]
    NotCumulative,
    /// A text is too long.
    #[error("{what} of {length} bytes, of which {limit} are allowed")]
    TooLong {
        /// What kind of text it is.
        what: &'static str,
        /// Its length in bytes.
        length: usize,
        /// How many bytes are allowed.
        limit: usize,
    },
    /// A data point has too much of something.
    #[error("a data point of {number} {what}, of which {limit} are allowed")]
    TooMany {
        /// What it has too much of.
        what: &'static str,
        /// How many it has.
        number: usize,
        /// How many are allowed.
        limit: usize,
    },
}

impl Draft {
    /// Reads `plain`, the OTLP metrics of `client` without compression, and puts those that
    /// `terms` ask for under a resource that names the client.
    ///
    /// Memory is bounded by the length of `plain` and by the series allowed, whatever the bytes
    /// are.
    /// # Errors
    /// [`MessageError`]: repeating cannot help.
    pub fn read(
        plain: &[u8],
        client: &Client<'_>,
        terms: &Terms<'_>,
    ) -> Result<Self, MessageError> {
        let series = terms.series;
        let items = series.saturating_mul(ITEMS.0).saturating_add(ITEMS.1);
        let points = walk::points(plain, items).map_err(|error| match error {
            WalkError::Torn => MessageError::Invalid("a field is torn"),
            WalkError::TooDeep => MessageError::Invalid("values nest too deeply"),
            WalkError::TooMany => MessageError::Invalid("it has more parts than its series need"),
        })?;
        if points > series {
            return Err(MessageError::TooManySeries { series: points, limit: series });
        }
        // A push has the shape of a request: resources under field 1.
        let request = ExportMetricsServiceRequest::decode(plain)
            .map_err(|_| MessageError::Invalid("a field has another type"))?;
        let mut pushed = request.resource_metrics;
        let (points, left_out) = select(&mut pushed, terms)?;
        if left_out > 0 {
            pushed.retain(|it| it.scope_metrics.iter().any(|scope| !scope.metrics.is_empty()));
        }
        let resource_metrics = attributed(pushed, &client.attributes())?;
        Ok(Self { resource_metrics, points, left_out })
    }

    /// How many data points are in it.
    pub fn points(&self) -> usize {
        self.points
    }

    /// How many data points are not in it, because nobody asked for them.
    pub fn left_out(&self) -> usize {
        self.left_out
    }

    /// The series of every data point, in order: hashes with `key`, equal for the same series.
    pub fn series(&self, key: &RandomState) -> Vec<u64> {
        points::series(&self.resource_metrics, key)
    }

    /// Keeps the data points for which `kept`, in the order of their [series](Self::series), is
    /// true; returns how many it has left out.
    pub fn retain(&mut self, kept: &[bool]) -> usize {
        let left_out = kept.iter().filter(|kept| !**kept).count();
        if left_out > 0 {
            let mut kept = kept.iter();
            points::retain(&mut self.resource_metrics, || kept.next().is_some_and(|kept| *kept));
            self.points = self.points.saturating_sub(left_out);
        }
        left_out
    }

    /// What is left of it, to be passed on.
    pub fn finish(self) -> Message {
        let request = ExportMetricsServiceRequest { resource_metrics: self.resource_metrics };
        Message { body: request.encode_to_vec().into(), points: self.points as u64 }
    }
}

/// Takes from `pushed` what `terms` do not ask for: how many data points there are then, and how
/// many there were more.
fn select(
    pushed: &mut [ResourceMetrics],
    terms: &Terms<'_>,
) -> Result<(usize, usize), MessageError> {
    let (mut points, mut left_out) = (0, 0);
    for scope in pushed.iter_mut().flat_map(|resource| &mut resource.scope_metrics) {
        let wanted = |metric: &Metric| {
            let wanted = terms.wants(&metric.name);
            *(if wanted { &mut points } else { &mut left_out }) += points::count(metric);
            wanted
        };
        scope.metrics.retain(wanted);
        scope.metrics.iter().try_for_each(terms::check)?;
    }
    Ok((points, left_out))
}

/// `pushed` under resources of the client's attributes and `ours`, each with one scope.
///
/// The Java client wraps every metric into a resource of its own: equal ones become one. Names of
/// scopes are dropped: librdkafka writes the client's name and a number into them.
fn attributed(
    pushed: Vec<ResourceMetrics>,
    ours: &[(&'static str, String)],
) -> Result<Vec<ResourceMetrics>, MessageError> {
    let mut resources: BTreeMap<BTreeMap<String, String>, Vec<Metric>> = BTreeMap::new();
    for metrics in pushed {
        let theirs = metrics.resource.unwrap_or_default().attributes;
        let theirs = theirs.into_iter().filter_map(kept).take(ATTRIBUTES).collect();
        let list = resources.entry(theirs).or_default();
        list.extend(metrics.scope_metrics.into_iter().flat_map(|scope| scope.metrics));
        if resources.len() > RESOURCES {
            return Err(MessageError::Invalid("it speaks of too many resources"));
        }
    }
    let under = |(mut attributes, metrics): (BTreeMap<String, String>, _)| {
        attributes.extend(ours.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
        let attributes = attributes.into_iter().map(|(key, text)| KeyValue {
            key,
            value: Some(AnyValue { value: Some(Value::StringValue(text)) }),
            ..KeyValue::default()
        });
        let resource = Resource { attributes: attributes.collect(), ..Resource::default() };
        ResourceMetrics {
            resource: Some(resource),
            scope_metrics: vec![ScopeMetrics { metrics, ..ScopeMetrics::default() }],
            ..ResourceMetrics::default()
        }
    };
    Ok(resources.into_iter().map(under).collect())
}

/// An attribute of a client's own resource, if it may stay: a text, and no claim to be a service.
fn kept(attribute: KeyValue) -> Option<(String, String)> {
    let KeyValue { key, value, .. } = attribute;
    let Some(AnyValue { value: Some(Value::StringValue(text)) }) = value else { return None };
    let legal = !key.is_empty() && key.len() <= TEXT && !key.starts_with("service.");
    legal.then(|| (key, bounded(&text)))
}

/// A text of a client, cut to what a resource should hold.
fn bounded(text: &str) -> String {
    text[..text.floor_char_boundary(TEXT)].to_owned()
}
