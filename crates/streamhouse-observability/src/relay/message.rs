//! One push as it is passed on: the client's metrics under a resource that says whose they are.

use super::walk::{self, WalkError};
use bytes::Bytes;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::{Metric, ResourceMetrics, ScopeMetrics};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message as _;
use std::collections::BTreeMap;
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
}

impl Message {
    /// Reads `plain`, the OTLP metrics of `client` without compression, and puts them under a
    /// resource that names the client. At most `series` data points are allowed.
    ///
    /// Memory is bounded by the length of `plain` and by `series`, whatever the bytes are.
    /// # Errors
    /// [`MessageError`]: repeating cannot help.
    pub fn read(plain: &[u8], client: &Client<'_>, series: usize) -> Result<Self, MessageError> {
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
        let resource_metrics = attributed(request.resource_metrics, &client.attributes())?;
        let body = ExportMetricsServiceRequest { resource_metrics }.encode_to_vec().into();
        Ok(Self { body, points: points as u64 })
    }
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
