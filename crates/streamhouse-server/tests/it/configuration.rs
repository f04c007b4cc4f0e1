use crate::harness::{finish, run, streamhouse};
use serde_json::Value;
use std::path::Path;

fn value<'a>(settings: &'a [Value], key: &str) -> (&'a str, &'a str) {
    let setting = settings.iter().find(|setting| setting["key"] == key).expect("the key");
    (setting["value"].as_str().unwrap(), setting["origin"].as_str().unwrap())
}

fn settings(folder: &Path, variables: &[(&str, &str)], flags: &[&str]) -> Vec<Value> {
    let mut command = streamhouse(folder, &["config", "--output", "json"]);
    command.args(flags).envs(variables.iter().copied());
    finish(command, "").expect(0).json()
}

#[test]
fn each_layer_goes_before_the_one_below_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = "[kafka]\naddr = \"127.0.0.1:1001\"\n[admin]\naddr = \"127.0.0.1:2001\"\n";
    std::fs::write(folder.path().join("streamhouse.toml"), file).unwrap();
    let variables = [("STREAMHOUSE_ADMIN_ADDR", "127.0.0.1:2002"), ("RUST_LOG", "debug")];
    let flags = ["--data-dir", "/elsewhere", "--set", "cache.size=1MiB"];
    let found = settings(folder.path(), &variables, &flags);

    let file = "streamhouse.toml";
    let (addr, origin) = value(&found, "kafka.addr");
    assert_eq!(addr, "127.0.0.1:1001");
    assert!(origin.ends_with(file), "{origin}");
    let variable = ("127.0.0.1:2002", "STREAMHOUSE_ADMIN_ADDR");
    assert_eq!(value(&found, "admin.addr"), variable);
    assert_eq!(value(&found, "log.level"), ("debug", "RUST_LOG"));
    assert_eq!(value(&found, "data_dir"), ("/elsewhere", "--data-dir"));
    assert_eq!(value(&found, "cache.size"), ("1MiB", "--set"));
    assert_eq!(value(&found, "object_store"), ("local", "default"));
}

#[test]
fn an_unusable_configuration_ends_with_two_and_names_place_key_value_and_fix() {
    let folder = tempfile::tempdir().unwrap();
    let cases = [
        ("[kafka]\naddr = 9092\n", &["streamhouse.toml", "kafka.addr", "9092", "127.0.0.1:9092"]),
        ("[kafka]\nadr = \"x\"\n", &["streamhouse.toml", "kafka.adr", "did you mean", "addr"]),
        ("[kafka\n", &["streamhouse.toml:1", "not valid TOML", "unclosed table", "]"]),
        ("[writer]\nlinger = 5\n", &["streamhouse.toml", "writer.linger", "5", "100ms"]),
    ];
    for (file, wanted) in cases {
        std::fs::write(folder.path().join("streamhouse.toml"), file).unwrap();
        for command in ["config", "serve", "demo"] {
            let finished = finish(streamhouse(folder.path(), &[command]), "").expect(2);
            for part in wanted {
                assert!(finished.stderr.contains(part), "{part:?} in {}", finished.stderr);
            }
            assert_eq!(finished.stdout, "");
        }
    }
}

#[test]
fn a_telemetry_variable_that_makes_no_sense_is_named_with_its_value() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = streamhouse(folder.path(), &["serve"]);
    command.env("OTEL_TRACES_SAMPLER", "sometimes");
    let stderr = finish(command, "").expect(2).stderr;
    assert!(stderr.contains("OTEL_TRACES_SAMPLER is `sometimes`"), "{stderr}");

    let stderr = run(&["serve", "--set", "otlp.endpoint=not a url"]).expect(2).stderr;
    assert!(stderr.contains("otlp.endpoint"), "{stderr}");
}

#[test]
fn what_config_prints_can_be_used_as_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = streamhouse(folder.path(), &["config"]);
    command.args(["--kafka-addr", "127.0.0.1:5", "--set", "writer.linger=7ms"]);
    let printed = finish(command, "").expect(0).stdout;
    std::fs::write(folder.path().join("streamhouse.toml"), printed).unwrap();
    let found = settings(folder.path(), &[], &[]);
    assert_eq!(value(&found, "kafka.addr").0, "127.0.0.1:5");
    assert_eq!(value(&found, "writer.linger").0, "7ms");
    assert_eq!(value(&found, "cache.size").0, "128MiB");
}

#[test]
fn secrets_are_printed_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    for output in ["text", "json"] {
        let mut command = streamhouse(folder.path(), &["config", "--output", output]);
        for name in ["ADMIN_TOKEN", "S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY", "OTLP_HEADERS"] {
            command.env(format!("STREAMHOUSE_{name}"), "hunter2=hunter2");
        }
        let finished = finish(command, "").expect(0);
        assert!(finished.stdout.contains("<redacted>"), "{}", finished.stdout);
        assert!(!finished.stdout.contains("hunter2"), "{}", finished.stdout);
    }
}
