use std::path::Path;
use std::time::Duration;
use streamhouse_observability::pipeline::{
    Compression, Config, ConfigError, Exporter, Headers, Propagator, Protocol,
};

fn read(variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let get = |asked: &str| {
        let pair = variables.iter().find(|(name, _)| *name == asked);
        pair.map(|(_, value)| (*value).to_owned())
    };
    Config::from_env(Config::new("default", "0.0.1"), get)
}

fn good(variable: &str, value: &str) -> Config {
    read(&[(variable, value)]).unwrap_or_else(|error| panic!("{error}"))
}

/// The error names the variable, the value and something to do.
fn bad(variable: &str, value: &str, advice: &str) {
    let error = read(&[(variable, value)]).expect_err(variable);
    assert_eq!(error.variable, variable, "{error}");
    let text = error.to_string();
    assert!(text.contains(value) && text.contains(advice), "{text}");
}

#[test]
fn nothing_set_means_the_defaults_and_no_export() {
    let config = read(&[]).unwrap();
    assert!(!config.disabled);
    assert_eq!(config.service.name, "default");
    assert_eq!(config.otlp.endpoint, None);
    assert_eq!(config.propagators, [Propagator::TraceContext]);
    assert_eq!((config.traces.sampling.ratio, config.traces.sampling.parent_based), (1.0, true));
    assert_eq!(config.metrics.interval, Duration::from_secs(60));
}

#[test]
fn an_empty_value_counts_as_unset() {
    assert_eq!(good("OTEL_SERVICE_NAME", " ").service.name, "default");
    assert_eq!(good("OTEL_METRIC_EXPORT_INTERVAL", "").metrics.interval.as_secs(), 60);
}

#[test]
fn the_sdk_can_be_disabled() {
    assert!(good("OTEL_SDK_DISABLED", "TRUE").disabled);
    assert!(!good("OTEL_SDK_DISABLED", "false").disabled);
    bad("OTEL_SDK_DISABLED", "yes", "`true` or `false`");
}

#[test]
fn the_service_name_beats_the_resource_attributes() {
    let attributes =
        ("OTEL_RESOURCE_ATTRIBUTES", "service.name=other,team=a%2Cb,service.version=2");
    let config = read(&[attributes]).unwrap();
    assert_eq!((config.service.name.as_str(), config.service.version.as_str()), ("other", "2"));
    assert_eq!(config.service.attributes, [("team".to_owned(), "a,b".to_owned())]);
    let config = read(&[("OTEL_SERVICE_NAME", "mine"), attributes]).unwrap();
    assert_eq!(config.service.name, "mine");
    let config = good("OTEL_RESOURCE_ATTRIBUTES", "service.instance.id=i-1");
    assert_eq!(config.service.instance.as_deref(), Some("i-1"));
    bad("OTEL_RESOURCE_ATTRIBUTES", "team", "key=value");
    bad("OTEL_RESOURCE_ATTRIBUTES", "team=%zz", "percent-encoded");
}

#[test]
fn each_signal_has_its_exporter() {
    let exporters =
        |config: Config| [config.traces.exporter, config.metrics.exporter, config.logs.exporter];
    let (otlp, none) = (Some(Exporter::Otlp), Some(Exporter::None));
    assert_eq!(exporters(good("OTEL_TRACES_EXPORTER", "otlp")), [otlp, None, None]);
    assert_eq!(exporters(good("OTEL_METRICS_EXPORTER", "none")), [None, none, None]);
    assert_eq!(exporters(good("OTEL_LOGS_EXPORTER", "OTLP")), [None, None, otlp]);
    for variable in ["OTEL_TRACES_EXPORTER", "OTEL_METRICS_EXPORTER", "OTEL_LOGS_EXPORTER"] {
        bad(variable, "console", "`otlp` or `none`");
    }
}

#[test]
fn propagators_are_a_list_or_none() {
    let list = good("OTEL_PROPAGATORS", "tracecontext, baggage").propagators;
    assert_eq!(list, [Propagator::TraceContext, Propagator::Baggage]);
    assert_eq!(good("OTEL_PROPAGATORS", "none").propagators, []);
    bad("OTEL_PROPAGATORS", "b3", "`tracecontext`");
    bad("OTEL_PROPAGATORS", "tracecontext,none", "`none`");
}

#[test]
fn the_otlp_variables_are_read_for_all_signals_and_for_one() {
    for part in ["", "TRACES_", "METRICS_", "LOGS_"] {
        let name = |suffix: &str| format!("OTEL_EXPORTER_OTLP_{part}{suffix}");
        let values = [
            (name("ENDPOINT"), "https://collector:4318"),
            (name("PROTOCOL"), "grpc"),
            (name("TIMEOUT"), "2500"),
            (name("HEADERS"), "authorization=Bearer%20abc,x-tenant=blue"),
            (name("COMPRESSION"), "gzip"),
            (name("CERTIFICATE"), "/tls/ca.pem"),
            (name("CLIENT_KEY"), "/tls/key.pem"),
            (name("CLIENT_CERTIFICATE"), "/tls/cert.pem"),
            (name("INSECURE"), "true"),
        ];
        let values: Vec<_> = values.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        let config = read(&values).unwrap();
        let otlp = match part {
            "TRACES_" => config.traces.otlp,
            "METRICS_" => config.metrics.otlp,
            "LOGS_" => config.logs.otlp,
            _ => config.otlp,
        };
        assert_eq!(otlp.endpoint.as_deref(), Some("https://collector:4318"));
        assert_eq!(otlp.protocol, Some(Protocol::Grpc));
        assert_eq!(otlp.timeout, Some(Duration::from_millis(2_500)));
        let headers = [("authorization", "Bearer abc"), ("x-tenant", "blue")];
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(otlp.headers, Some(Headers::new(headers)));
        assert_eq!(otlp.compression, Some(Compression::Gzip));
        assert_eq!(otlp.certificate.as_deref(), Some(Path::new("/tls/ca.pem")));
        assert_eq!(otlp.client_key.as_deref(), Some(Path::new("/tls/key.pem")));
        assert_eq!(otlp.client_certificate.as_deref(), Some(Path::new("/tls/cert.pem")));
        assert_eq!(otlp.insecure, Some(true));

        bad(&name("ENDPOINT"), "ftp://collector", "http://localhost:4318");
        bad(&name("ENDPOINT"), "collector:4318", "http://localhost:4318");
        bad(&name("PROTOCOL"), "http/json", "`grpc` or `http/protobuf`");
        bad(&name("TIMEOUT"), "10s", "milliseconds");
        bad(&name("TIMEOUT"), "0", "above 0");
        bad(&name("COMPRESSION"), "zstd", "`gzip` or `none`");
        bad(&name("INSECURE"), "1", "`true` or `false`");
    }
}

#[test]
fn half_of_a_mutual_tls_identity_is_an_error() {
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector");
    for (half, missing) in
        [("CLIENT_KEY", "CLIENT_CERTIFICATE"), ("CLIENT_CERTIFICATE", "CLIENT_KEY")]
    {
        let variable = format!("OTEL_EXPORTER_OTLP_LOGS_{half}");
        let error = read(&[endpoint, (&variable, "/tls/x.pem")]).unwrap_err();
        assert_eq!(error.variable, variable);
        assert!(error.to_string().contains(&format!("OTEL_EXPORTER_OTLP_{missing}")), "{error}");
    }
}

#[test]
fn secrets_are_shown_nowhere() {
    let config = read(&[("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20s3cret")]).unwrap();
    let shown = format!("{config:?}");
    assert!(shown.contains("authorization") && !shown.contains("s3cret"), "{shown}");

    let error = read(&[("OTEL_EXPORTER_OTLP_HEADERS", "s3cret")]).unwrap_err().to_string();
    assert!(error.contains("OTEL_EXPORTER_OTLP_HEADERS") && !error.contains("s3cret"), "{error}");
    let error = read(&[("OTEL_EXPORTER_OTLP_HEADERS", "a b=s3cret")]).unwrap_err().to_string();
    assert!(error.contains("header names") && !error.contains("s3cret"), "{error}");
    let url = "http://user:s3cret@collector";
    let error = read(&[("OTEL_EXPORTER_OTLP_ENDPOINT", url)]).unwrap_err().to_string();
    assert!(error.contains("OTEL_EXPORTER_OTLP_HEADERS") && !error.contains("s3cret"), "{error}");
}

#[test]
fn the_sampler_is_chosen_with_its_ratio() {
    let sampler = |name: &str, argument: &str| {
        let variables = [("OTEL_TRACES_SAMPLER", name), ("OTEL_TRACES_SAMPLER_ARG", argument)];
        let sampling = read(&variables).unwrap().traces.sampling;
        (sampling.parent_based, sampling.ratio)
    };
    assert_eq!(sampler("always_on", ""), (false, 1.0));
    assert_eq!(sampler("always_off", "0.5"), (false, 0.0));
    assert_eq!(sampler("traceidratio", "0.25"), (false, 0.25));
    assert_eq!(sampler("parentbased_always_on", ""), (true, 1.0));
    assert_eq!(sampler("parentbased_always_off", ""), (true, 0.0));
    assert_eq!(sampler("parentbased_traceidratio", "0.01"), (true, 0.01));
    assert_eq!(sampler("parentbased_traceidratio", ""), (true, 1.0));
    bad("OTEL_TRACES_SAMPLER", "jaeger_remote", "`always_on`");
    for ratio in ["1.5", "-0.1", "NaN", "many"] {
        let error =
            read(&[("OTEL_TRACES_SAMPLER", "traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", ratio)]);
        let error = error.unwrap_err();
        assert_eq!(
            (error.variable.as_str(), error.value.as_str()),
            ("OTEL_TRACES_SAMPLER_ARG", ratio)
        );
    }
}

#[test]
fn queues_batches_and_delays_are_read() {
    for (prefix, spans) in [("OTEL_BSP_", true), ("OTEL_BLRP_", false)] {
        let name = |suffix: &str| format!("{prefix}{suffix}");
        let (queue, size) = (name("MAX_QUEUE_SIZE"), name("MAX_EXPORT_BATCH_SIZE"));
        let delay = name("SCHEDULE_DELAY");
        let config = read(&[(&queue, "100"), (&size, "10"), (&delay, "250")]).unwrap();
        let batch = if spans { config.traces.batch } else { config.logs.batch };
        assert_eq!((batch.queue, batch.size), (100, 10));
        assert_eq!(batch.delay, Duration::from_millis(250));

        let config = good(&queue, "16");
        let batch = if spans { config.traces.batch } else { config.logs.batch };
        assert_eq!((batch.queue, batch.size), (16, 16));

        bad(&queue, "0", "above 0");
        bad(&delay, "soon", "milliseconds");
        let error = read(&[(&queue, "16"), (&size, "17")]).unwrap_err();
        assert_eq!(error.variable, size);
        assert!(error.to_string().contains("at most the size of the queue, 16"), "{error}");
    }
}

#[test]
fn the_interval_of_metrics_is_more_than_zero() {
    assert_eq!(good("OTEL_METRIC_EXPORT_INTERVAL", "5000").metrics.interval.as_secs(), 5);
    bad("OTEL_METRIC_EXPORT_INTERVAL", "0", "above 0");
}

#[test]
fn delta_temporality_is_refused_with_the_way_out() {
    let variable = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE";
    good(variable, "cumulative");
    bad(variable, "delta", "cumulativetodelta");
    bad(variable, "lowmemory", "cumulativetodelta");
}

#[test]
fn the_filter_of_logs_is_read() {
    assert_eq!(good("RUST_LOG", "warn,streamhouse=debug").log.filter, "warn,streamhouse=debug");
    bad("RUST_LOG", "streamhouse=loud", "write it like info,streamhouse=debug");
}
