//! Configuration: defaults < `streamhouse.toml` < `STREAMHOUSE_*` < flags.
//!
//! Start at [`Config`], plain structs that are already parsed to meaning. [`SETTINGS`] is the same
//! as a table; [`Loaded::read`] fills it from its [`Sources`]. Nothing here reads the environment:
//! `main` hands it over.
mod error;
mod load;
mod table;
mod value;

pub use error::ConfigError;
pub use load::{DEFAULT_FILE, FILE_VARIABLE, Loaded, Origin, Sources};
pub use table::{
    Admin, Cache, ClientTelemetry, Config, Garbage, Kafka, Lag, Log, Metrics, Otlp, Place,
    Retention, S3, SETTINGS, Setting, Writer,
};
pub use value::{
    Bytes, Exposition, HostPort, Interval, LagDetail, Limit, List, LogFormat, MetadataUrl,
    ObjectStoreUrl, OtlpProtocol, Secret, Value,
};

#[cfg(test)]
mod tests;
