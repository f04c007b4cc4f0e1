//! Metrics of other programs, passed on to an OTLP receiver in this process.

mod bad_input;
mod deliver;
mod series;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message as _;
use streamhouse_observability::relay::{Client, Draft, Message, MessageError, Terms};
use uuid::Uuid;

const CLIENT: Client<'static> = Client {
    id: "orders-1",
    instance: Uuid::from_u128(7),
    software: "librdkafka",
    version: "2.12.1",
    principal: "User:ANONYMOUS",
};

fn text(key: &str, text: &str) -> KeyValue {
    let value = Some(AnyValue { value: Some(Value::StringValue(text.into())) });
    KeyValue { key: key.into(), value, ..KeyValue::default() }
}

fn sum(name: &str, points: usize) -> Metric {
    let point = |n: usize| NumberDataPoint {
        attributes: vec![text("node_id", &n.to_string())],
        time_unix_nano: 1,
        ..NumberDataPoint::default()
    };
    let data_points = (0..points).map(point).collect();
    let sum = Sum { data_points, aggregation_temporality: 2, is_monotonic: true };
    Metric { name: name.into(), data: Some(Data::Sum(sum)), ..Metric::default() }
}

/// What a client pushes: `metrics` under a resource of its own.
fn resource(attributes: Vec<KeyValue>, metrics: Vec<Metric>) -> ResourceMetrics {
    let scope = InstrumentationScope { name: "orders-1#producer-1".into(), ..Default::default() };
    let scope = ScopeMetrics { scope: Some(scope), metrics, ..ScopeMetrics::default() };
    ResourceMetrics {
        resource: Some(Resource { attributes, ..Resource::default() }),
        scope_metrics: vec![scope],
        ..ResourceMetrics::default()
    }
}

fn push(resource_metrics: Vec<ResourceMetrics>) -> Vec<u8> {
    ExportMetricsServiceRequest { resource_metrics }.encode_to_vec()
}

fn read(plain: &[u8], series: usize) -> Result<Message, MessageError> {
    draft(plain, &[String::new()], series).map(Draft::finish)
}

/// `plain` as it is read when metrics of these prefixes are asked for.
fn draft(plain: &[u8], prefixes: &[String], series: usize) -> Result<Draft, MessageError> {
    Draft::read(plain, &CLIENT, &Terms { prefixes, series })
}

/// A good push of as many series.
fn message(series: usize) -> Message {
    let metrics = vec![sum("org.apache.kafka.producer.connection.creation.total", series)];
    read(&push(vec![resource(Vec::new(), metrics)]), series).expect("good metrics")
}
