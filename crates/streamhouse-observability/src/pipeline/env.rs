//! The standard environment variables, laid over a configuration.
//!
//! Invariant: the environment is reached through the `get` that the caller passes, never directly.

use super::config::{Batch, Compression, Config, Exporter, Otlp, Propagator, Protocol};
use super::destination;
use super::error::ConfigError;
use super::secret::Headers;
use crate::logging::LogControl;
use crate::spans::Sampling;
use std::time::Duration;

type Result<T> = std::result::Result<T, ConfigError>;

impl Config {
    /// Lays the OpenTelemetry variables and `RUST_LOG`, as `get` knows them, over `defaults`. An empty value counts
    /// as unset.
    /// # Errors
    /// A value that cannot be meant: the error names variable, value, and what is accepted.
    pub fn from_env(defaults: Self, get: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let env = Env(&get);
        let mut config = defaults;
        env.set("OTEL_SDK_DISABLED", boolean, &mut config.disabled)?;
        service(&env, &mut config)?;
        env.set("OTEL_PROPAGATORS", propagators, &mut config.propagators)?;
        otlp(&env, "OTEL_EXPORTER_OTLP_", &mut config.otlp)?;
        otlp(&env, "OTEL_EXPORTER_OTLP_TRACES_", &mut config.traces.otlp)?;
        otlp(&env, "OTEL_EXPORTER_OTLP_METRICS_", &mut config.metrics.otlp)?;
        otlp(&env, "OTEL_EXPORTER_OTLP_LOGS_", &mut config.logs.otlp)?;
        env.option("OTEL_TRACES_EXPORTER", exporter, &mut config.traces.exporter)?;
        env.option("OTEL_METRICS_EXPORTER", exporter, &mut config.metrics.exporter)?;
        env.option("OTEL_LOGS_EXPORTER", exporter, &mut config.logs.exporter)?;
        sampler(&env, &mut config.traces.sampling)?;
        batch(&env, "OTEL_BSP_", &mut config.traces.batch)?;
        batch(&env, "OTEL_BLRP_", &mut config.logs.batch)?;
        env.set("OTEL_METRIC_EXPORT_INTERVAL", positive_millis, &mut config.metrics.interval)?;
        env.set(TEMPORALITY, cumulative, &mut ())?;
        env.set("RUST_LOG", |filter| Ok(filter.to_owned()), &mut config.log.filter)?;
        LogControl::new(&config.log.filter)?;
        destination::check(&config)?;
        Ok(config)
    }
}

const TEMPORALITY: &str = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE";

/// What a parser says: the value, or what is accepted instead.
type Parsed<T> = std::result::Result<T, &'static str>;

struct Env<'a>(&'a dyn Fn(&str) -> Option<String>);

impl Env<'_> {
    fn get(&self, variable: &str) -> Option<String> {
        (self.0)(variable).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    fn read<T>(&self, variable: &str, parse: fn(&str) -> Parsed<T>) -> Result<Option<T>> {
        let Some(value) = self.get(variable) else { return Ok(None) };
        match parse(&value) {
            Ok(parsed) => Ok(Some(parsed)),
            Err(accepted) => {
                let secret = variable.ends_with("_HEADERS");
                let shown = if secret { "<redacted>".to_owned() } else { value };
                Err(ConfigError::new(variable, shown, accepted))
            }
        }
    }

    fn set<T>(&self, variable: &str, parse: fn(&str) -> Parsed<T>, into: &mut T) -> Result<()> {
        if let Some(value) = self.read(variable, parse)? {
            *into = value;
        }
        Ok(())
    }

    fn option<T>(
        &self,
        variable: &str,
        parse: fn(&str) -> Parsed<T>,
        into: &mut Option<T>,
    ) -> Result<()> {
        if let Some(value) = self.read(variable, parse)? {
            *into = Some(value);
        }
        Ok(())
    }
}

fn service(env: &Env<'_>, config: &mut Config) -> Result<()> {
    let service = &mut config.service;
    for (key, value) in env.read("OTEL_RESOURCE_ATTRIBUTES", pairs)?.unwrap_or_default() {
        match key.as_str() {
            "service.name" => service.name = value,
            "service.version" => service.version = value,
            "service.instance.id" => service.instance = Some(value),
            _ => {
                service.attributes.retain(|(known, _)| *known != key);
                service.attributes.push((key, value));
            }
        }
    }
    env.set("OTEL_SERVICE_NAME", |value| Ok(value.to_owned()), &mut service.name)
}

fn otlp(env: &Env<'_>, prefix: &str, otlp: &mut Otlp) -> Result<()> {
    let name = |suffix: &str| format!("{prefix}{suffix}");
    env.option(&name("ENDPOINT"), |value| Ok(value.to_owned()), &mut otlp.endpoint)?;
    env.option(&name("PROTOCOL"), protocol, &mut otlp.protocol)?;
    env.option(&name("TIMEOUT"), positive_millis, &mut otlp.timeout)?;
    env.option(&name("HEADERS"), headers, &mut otlp.headers)?;
    env.option(&name("COMPRESSION"), compression, &mut otlp.compression)?;
    env.option(&name("CERTIFICATE"), |path| Ok(path.into()), &mut otlp.certificate)?;
    env.option(&name("CLIENT_KEY"), |path| Ok(path.into()), &mut otlp.client_key)?;
    let certificate = &mut otlp.client_certificate;
    env.option(&name("CLIENT_CERTIFICATE"), |path| Ok(path.into()), certificate)?;
    env.option(&name("INSECURE"), boolean, &mut otlp.insecure)
}

fn sampler(env: &Env<'_>, sampling: &mut Sampling) -> Result<()> {
    let Some(kind) = env.read("OTEL_TRACES_SAMPLER", sampler_kind)? else { return Ok(()) };
    sampling.parent_based = kind.parent_based;
    match kind.ratio {
        Some(ratio) => sampling.ratio = ratio,
        None => {
            let given = env.read("OTEL_TRACES_SAMPLER_ARG", ratio)?;
            sampling.ratio = given.unwrap_or(1.0);
        }
    }
    Ok(())
}

fn batch(env: &Env<'_>, prefix: &str, batch: &mut Batch) -> Result<()> {
    let (size, queue) =
        (format!("{prefix}MAX_EXPORT_BATCH_SIZE"), format!("{prefix}MAX_QUEUE_SIZE"));
    env.set(&queue, positive, &mut batch.queue)?;
    env.set(&format!("{prefix}SCHEDULE_DELAY"), positive_millis, &mut batch.delay)?;
    match env.read(&size, positive)? {
        Some(asked) if asked > batch.queue => {
            let accepted =
                format!("must be at most the size of the queue, {} ({queue})", batch.queue);
            return Err(ConfigError::new(size, asked.to_string(), accepted));
        }
        Some(asked) => batch.size = asked,
        None => batch.size = batch.size.min(batch.queue),
    }
    Ok(())
}

fn boolean(value: &str) -> Parsed<bool> {
    match value.to_ascii_lowercase().as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err("use `true` or `false`"),
    }
}

fn exporter(value: &str) -> Parsed<Exporter> {
    match value.to_ascii_lowercase().as_str() {
        "otlp" => Ok(Exporter::Otlp),
        "none" => Ok(Exporter::None),
        _ => Err("use `otlp` or `none` (metrics are always served at /metrics as well)"),
    }
}

fn propagators(value: &str) -> Parsed<Vec<Propagator>> {
    let mut chosen = Vec::new();
    for name in value.split(',').map(str::trim) {
        let one = match name.to_ascii_lowercase().as_str() {
            "tracecontext" => Propagator::TraceContext,
            "baggage" => Propagator::Baggage,
            "none" if value == name => return Ok(Vec::new()),
            _ => return Err("use `tracecontext`, `baggage`, both with a comma, or `none`"),
        };
        if !chosen.contains(&one) {
            chosen.push(one);
        }
    }
    Ok(chosen)
}

fn protocol(value: &str) -> Parsed<Protocol> {
    match value.to_ascii_lowercase().as_str() {
        "grpc" => Ok(Protocol::Grpc),
        "http/protobuf" => Ok(Protocol::HttpProtobuf),
        _ => Err("use `grpc` or `http/protobuf`"),
    }
}

fn compression(value: &str) -> Parsed<Compression> {
    match value.to_ascii_lowercase().as_str() {
        "gzip" => Ok(Compression::Gzip),
        "none" => Ok(Compression::None),
        _ => Err("use `gzip` or `none`"),
    }
}

struct SamplerKind {
    parent_based: bool,
    /// `None`: the argument tells it.
    ratio: Option<f64>,
}

fn sampler_kind(value: &str) -> Parsed<SamplerKind> {
    let (parent_based, ratio) = match value.to_ascii_lowercase().as_str() {
        "always_on" => (false, Some(1.0)),
        "always_off" => (false, Some(0.0)),
        "traceidratio" => (false, None),
        "parentbased_always_on" => (true, Some(1.0)),
        "parentbased_always_off" => (true, Some(0.0)),
        "parentbased_traceidratio" => (true, None),
        _ => {
            return Err("use `always_on`, `always_off`, `traceidratio`, or one of them after \
                        `parentbased_`");
        }
    };
    Ok(SamplerKind { parent_based, ratio })
}

fn ratio(value: &str) -> Parsed<f64> {
    let ratio = value.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
    ratio.ok_or("use a share from 0 to 1, such as 0.01")
}

fn positive(value: &str) -> Parsed<usize> {
    value.parse().ok().filter(|n| *n > 0).ok_or("use a whole number above 0")
}

fn positive_millis(value: &str) -> Parsed<Duration> {
    let millis = value.parse().ok().filter(|millis| *millis > 0);
    millis.map(Duration::from_millis).ok_or("use milliseconds: a whole number above 0")
}

fn cumulative(value: &str) -> Parsed<()> {
    match value.to_ascii_lowercase().as_str() {
        "cumulative" => Ok(()),
        _ => Err("only `cumulative` is exported; for delta add the processor \
                  `cumulativetodelta` to the collector's metrics pipeline"),
    }
}

fn headers(value: &str) -> Parsed<Headers> {
    const ACCEPTED: &str = "use `name=value,…` with legal header names, values percent-encoded";
    let pairs = pairs(value).map_err(|_| ACCEPTED)?;
    let legal = pairs.iter().all(|(name, value)| {
        http::HeaderName::try_from(name.as_str()).is_ok()
            && http::HeaderValue::try_from(value.as_str()).is_ok()
    });
    if legal { Ok(Headers::new(pairs)) } else { Err(ACCEPTED) }
}

fn pairs(value: &str) -> Parsed<Vec<(String, String)>> {
    const ACCEPTED: &str = "use `key=value,…`, values percent-encoded";
    let mut pairs = Vec::new();
    for pair in value.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').ok_or(ACCEPTED)?;
        let key = key.trim();
        if key.is_empty() {
            return Err(ACCEPTED);
        }
        pairs.push((key.to_owned(), percent_decoded(value.trim()).ok_or(ACCEPTED)?));
    }
    Ok(pairs)
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let (high, low) = (rest.next()?, rest.next()?);
        let digit = |c: u8| char::from(c).to_digit(16);
        bytes.push((digit(high)? * 16 + digit(low)?) as u8);
    }
    String::from_utf8(bytes).ok()
}
