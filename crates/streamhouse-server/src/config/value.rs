//! Values: how a setting's text becomes meaning, and how it is shown again.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use streamhouse_storage::object_store::OpenError;

/// A type that a setting can have.
pub trait Value: Sized {
    /// What the text looks like, with its unit where there is one.
    const FORM: &'static str;
    /// Whether the value must never be shown.
    const SECRET: bool = false;
    /// Parses the text. The error says what to write instead.
    fn parse(text: &str) -> Result<Self, String>;
    /// The text that [`parse`](Self::parse) turns into this value again.
    fn show(&self) -> String;
}

/// A text that appears in no output: not in `Debug`, not in errors, not in `streamhouse config`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps `text` from being shown.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<redacted>")
    }
}

impl Value for Secret {
    const FORM: &'static str = "text, kept secret";
    const SECRET: bool = true;

    fn parse(text: &str) -> Result<Self, String> {
        Ok(Self(text.to_owned()))
    }

    fn show(&self) -> String {
        "<redacted>".into()
    }
}

impl<T: Value> Value for Option<T> {
    const FORM: &'static str = T::FORM;
    const SECRET: bool = T::SECRET;

    /// Empty text is none.
    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() { Ok(None) } else { T::parse(text).map(Some) }
    }

    fn show(&self) -> String {
        self.as_ref().map_or_else(String::new, T::show)
    }
}

impl Value for String {
    const FORM: &'static str = "text";

    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }

    fn show(&self) -> String {
        self.clone()
    }
}

impl Value for PathBuf {
    const FORM: &'static str = "path";

    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() { Err("give a path".into()) } else { Ok(text.into()) }
    }

    fn show(&self) -> String {
        self.display().to_string()
    }
}

impl Value for bool {
    const FORM: &'static str = "true or false";

    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "write true or false".into())
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Value for usize {
    const FORM: &'static str = "number";

    fn parse(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(0) | Err(_) => Err("write a whole number above 0".into()),
            Ok(number) => Ok(number),
        }
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Value for SocketAddr {
    const FORM: &'static str = "IP address and port";

    fn parse(text: &str) -> Result<Self, String> {
        let local = text.replacen("localhost:", "127.0.0.1:", 1);
        let fix = "write an IP address and a port, such as 127.0.0.1:9092 or [::1]:0";
        local.parse().map_err(|_| fix.into())
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// A host's name or address, and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// The name or address, without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl Value for HostPort {
    const FORM: &'static str = "host and port";

    fn parse(text: &str) -> Result<Self, String> {
        let fix = "write a host and a port, such as log-1.example.org:9092";
        let (host, port) = text.rsplit_once(':').ok_or(fix)?;
        let port = port.parse().map_err(|_| fix)?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() || host.chars().any(char::is_whitespace) {
            return Err(fix.into());
        }
        Ok(Self { host: host.to_owned(), port })
    }

    fn show(&self) -> String {
        let Self { host, port } = self;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }
}

impl Value for Duration {
    const FORM: &'static str = "duration, such as 100ms or 5s";

    fn parse(text: &str) -> Result<Self, String> {
        let fix = "write a number with its unit, such as 100ms, 5s, 2m or 1h";
        let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(split);
        let number: u64 = number.parse().map_err(|_| fix)?;
        let milliseconds = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ if number == 0 && unit.is_empty() => 1,
            _ => return Err(fix.into()),
        };
        number.checked_mul(milliseconds).map(Self::from_millis).ok_or_else(|| fix.into())
    }

    fn show(&self) -> String {
        let milliseconds = self.as_millis();
        let units = [("h", 3_600_000), ("m", 60_000), ("s", 1_000)];
        let whole = units
            .iter()
            .find(|(_, size)| milliseconds >= *size && milliseconds.is_multiple_of(*size));
        match whole {
            Some((unit, size)) => format!("{}{unit}", milliseconds / size),
            None => format!("{milliseconds}ms"),
        }
    }
}

/// The time between two rounds of some work, in milliseconds from `LEAST`, below which the work is
/// all there is, to `MOST`, above which what it promises does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval<const LEAST: u64, const MOST: u64 = { u64::MAX }>(pub Duration);

impl<const LEAST: u64, const MOST: u64> Value for Interval<LEAST, MOST> {
    const FORM: &'static str = match (LEAST, MOST) {
        (10, u64::MAX) => "duration of at least 10ms",
        (100, u64::MAX) => "duration of at least 100ms",
        (100, 30_000) => "duration from 100ms to 30s",
        (100, 3_600_000) => "duration from 100ms to 1h",
        _ => panic!("these bounds need their text here"),
    };

    fn parse(text: &str) -> Result<Self, String> {
        let interval = Duration::parse(text)?;
        let bounds = Duration::from_millis(LEAST)..=Duration::from_millis(MOST);
        let legal = bounds.contains(&interval).then_some(Self(interval));
        legal.ok_or_else(|| format!("write a {}", Self::FORM))
    }

    fn show(&self) -> String {
        self.0.show()
    }
}

/// Names or patterns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List(pub Vec<String>);

impl List {
    /// The list that names everything.
    pub fn all() -> Self {
        Self(vec!["*".into()])
    }
}

impl Value for List {
    const FORM: &'static str = "names separated by commas";

    /// Empty text is the empty list.
    fn parse(text: &str) -> Result<Self, String> {
        let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
        Ok(Self(names.map(str::to_owned).collect()))
    }

    fn show(&self) -> String {
        self.0.join(",")
    }
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

impl Bytes {
    /// This many mebibytes.
    pub const fn mib(count: u64) -> Self {
        Self(count << 20)
    }

    /// As a size in memory.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl Value for Bytes {
    const FORM: &'static str = "size, such as 512KiB or 8MiB";

    fn parse(text: &str) -> Result<Self, String> {
        let fix = "write a number of bytes with its unit, such as 4096B, 512KiB, 8MiB or 1GiB";
        let split = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(split);
        let number: u64 = number.parse().map_err(|_| fix)?;
        let size = match unit {
            "B" | "" => 1,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            _ => return Err(fix.into()),
        };
        number.checked_mul(size).map(Self).ok_or_else(|| fix.into())
    }

    fn show(&self) -> String {
        let units = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
        let whole = units.iter().find(|(_, size)| self.0 >= *size && self.0.is_multiple_of(*size));
        match whole {
            Some((unit, size)) => format!("{}{unit}", self.0 / size),
            None => format!("{}B", self.0),
        }
    }
}

/// A bound that there need not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit(pub i64);

impl Value for Limit {
    const FORM: &'static str = "number, or -1 for no limit";

    fn parse(text: &str) -> Result<Self, String> {
        let fix = "write a whole number, or -1 for no limit";
        text.parse().ok().filter(|limit| *limit >= -1).map(Self).ok_or_else(|| fix.into())
    }

    fn show(&self) -> String {
        self.0.to_string()
    }
}

/// Where segment objects are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObjectStoreUrl {
    /// In the folder `objects` of the data directory.
    DataDir,
    /// Elsewhere.
    At(streamhouse_storage::object_store::ObjectStoreUrl),
}

impl Value for ObjectStoreUrl {
    const FORM: &'static str = "local, file:///path, s3://bucket/prefix or memory:";

    fn parse(text: &str) -> Result<Self, String> {
        if text == "local" {
            return Ok(Self::DataDir);
        }
        let fix = "write local, memory:, file:///path or s3://bucket/prefix";
        text.parse().map(Self::At).map_err(|error| match error {
            OpenError::Url { why, .. } => format!("{why}; {fix}"),
            _ => fix.to_owned(),
        })
    }

    fn show(&self) -> String {
        match self {
            Self::DataDir => "local".into(),
            Self::At(url) => url.to_string(),
        }
    }
}

/// Where topics, offsets and producers are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MetadataUrl {
    /// In the file `metadata.db` of the data directory.
    DataDir,
    /// In this SQLite file.
    Sqlite(PathBuf),
}

impl Value for MetadataUrl {
    const FORM: &'static str = "local or sqlite:///path";

    fn parse(text: &str) -> Result<Self, String> {
        if text == "local" {
            return Ok(Self::DataDir);
        }
        match text.strip_prefix("sqlite://").filter(|path| path.starts_with('/')) {
            Some(path) => Ok(Self::Sqlite(path.into())),
            None => Err("write local or sqlite:///path".into()),
        }
    }

    fn show(&self) -> String {
        match self {
            Self::DataDir => "local".into(),
            Self::Sqlite(path) => format!("sqlite://{}", path.display()),
        }
    }
}

/// Defines an enum whose values are words.
macro_rules! words {
    ($(#[doc = $about:literal])+ $name:ident($form:literal) {
        $($(#[doc = $help:literal])+ $value:ident = $word:literal,)+
    }) => {
        $(#[doc = $about])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[doc = $help])+ $value,)+ }

        impl Value for $name {
            const FORM: &'static str = $form;

            fn parse(text: &str) -> Result<Self, String> {
                match text {
                    $($word => Ok(Self::$value),)+
                    _ => Err(concat!("write ", $form).into()),
                }
            }

            fn show(&self) -> String {
                match self { $(Self::$value => $word,)+ }.into()
            }
        }
    };
}

words! {
    /// What log lines look like.
    LogFormat("auto, text or json") {
        /// Text on a terminal, JSON otherwise.
        Auto = "auto",
        /// Text.
        Text = "text",
        /// JSON.
        Json = "json",
    }
}

words! {
    /// Into how many series lag is split.
    LagDetail("partition, topic or group") {
        /// One for each partition.
        Partition = "partition",
        /// One for each topic of a group.
        Topic = "topic",
        /// One for each group.
        Group = "group",
    }
}

words! {
    /// What writes `/metrics`.
    Exposition("native or bridge") {
        /// StreamHouse's own renderer.
        Native = "native",
        /// The stock exporter of OpenTelemetry for Prometheus; no exemplars.
        Bridge = "bridge",
    }
}

words! {
    /// How signals travel to the collector.
    OtlpProtocol("grpc or http/protobuf") {
        /// gRPC.
        Grpc = "grpc",
        /// HTTP with protobuf bodies.
        Http = "http/protobuf",
    }
}

#[cfg(test)]
mod tests;
