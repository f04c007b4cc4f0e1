//! Metrics: names, texts, lifetimes, HTTP.

mod allocations;
mod collisions;
mod formats;
mod http;
mod lifetime;
mod open_metrics;
mod rows;

use opentelemetry::StringValue;
use streamhouse_observability::declare::{Counter, Gauge, Label};

/// A free label of another service.
#[derive(Clone, Debug)]
pub struct Tenant(pub String);

impl Label for Tenant {
    const KEY: &'static str = "tenant";

    fn values() -> Option<Vec<&'static str>> {
        None
    }

    fn value(&self) -> StringValue {
        self.0.clone().into()
    }

    fn overflow(&self) -> Self {
        Self("<other>".into())
    }
}

/// A tenant by name.
pub fn tenant(name: &str) -> Tenant {
    Tenant(name.into())
}

streamhouse_observability::instruments! {
    /// What another service measures.
    pub struct ShopMetrics("shop") {
        /// Orders taken.
        orders: Counter<Tenant> = "{order}", series = 3;
        /// Orders being packed.
        open: Gauge<Tenant> = "{order}", series = 3;
    }
}

/// The value of the line that starts with `series`.
pub fn value_of(text: &str, series: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
    Some(line.parse().unwrap())
}
