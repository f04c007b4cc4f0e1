//! Two services and one trace: `orders` sends, `payments` works on what it receives.
//!
//! ```sh
//! streamhouse serve &
//! cargo run -p streamhouse-client --example order_pipeline -- 127.0.0.1:9092
//! ```
//!
//! Traces go to `OTEL_EXPORTER_OTLP_ENDPOINT`, or else to a collector on this machine; where there
//! is none, the trace ids are still told. Any Kafka-compatible broker will do.
#![allow(clippy::print_stdout, reason = "an example tells what it does")]

use opentelemetry::context::FutureExt;
use opentelemetry::trace::{TraceContextExt, Tracer};
use opentelemetry::{Context, global};
use std::error::Error;
use std::time::Duration;
use streamhouse_client::{
    Admin, ClientError, Connection, GroupConsumer, GroupOptions, Producer, ProducerOptions,
    Received, Record,
};
use streamhouse_observability::{Config, Observability};

const ORDERS: &str = "orders";
const HOW_MANY: usize = 3;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // In production each service is a process of its own, with its own service name.
    let mut config = Config::new("order-pipeline", env!("CARGO_PKG_VERSION"));
    let endpoint = std::env::var("OTEL_EXPORTER_OTLP_ENDPOINT");
    config.otlp.endpoint = Some(endpoint.unwrap_or_else(|_| "http://127.0.0.1:4318".into()));
    let telemetry = Observability::start(config)?;

    let brokers = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9092".into());
    let connection = Connection::to(brokers).within(Duration::from_secs(10));
    match Admin::new(&connection)?.create_topic(ORDERS, 1).await {
        Ok(()) | Err(ClientError::AlreadyExists(_)) => {}
        Err(error) => return Err(error.into()),
    }
    let (sent, worked) = tokio::join!(orders(&connection), payments(&connection));
    sent?;
    worked?;
    telemetry.shutdown(Duration::from_secs(5));
    Ok(())
}

/// The service that takes orders. Each order is a trace; its record carries the trace on.
async fn orders(connection: &Connection) -> Result<(), ClientError> {
    let connection = connection.clone().named("orders");
    let producer = Producer::new(&connection, ProducerOptions::default())?;
    for number in 0..HOW_MANY {
        let record = Record {
            topic: ORDERS.into(),
            key: Some(format!("customer-{number}").into()),
            value: Some(format!("order {number}").into()),
            ..Record::default()
        };
        let order = Context::new().with_span(global::tracer("orders").start("take order"));
        let trace = order.span().span_context().trace_id();
        let delivery = producer.send(&record).with_context(order).await?;
        println!("orders: order {number} is at offset {:?}, trace {trace}", delivery.offset);
    }
    Ok(())
}

/// The service that takes payments: `process` continues the trace of each order.
async fn payments(connection: &Connection) -> Result<(), ClientError> {
    let connection = connection.clone().named("payments");
    let options = GroupOptions::default();
    let consumer = GroupConsumer::subscribe(&connection, "payments", &[ORDERS], options)?;
    let mut worked = 0;
    while worked < HOW_MANY {
        let record = match consumer.recv().await {
            Ok(record) => record,
            Err(error) if error.is_retryable() => continue,
            Err(error) => return Err(error),
        };
        // A failed payment is not settled: the group reads the record again.
        if consumer.process(&record, pay(&record)).await.is_ok() {
            worked += 1;
        }
    }
    consumer.close().await
}

async fn pay(record: &Received) -> Result<(), &'static str> {
    let trace = Context::current().span().span_context().trace_id();
    println!("payments: paid offset {}, trace {trace}", record.offset);
    Ok(())
}
