use super::*;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

fn folder(toml: &str) -> (TempDir, Sources) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(DEFAULT_FILE), toml).unwrap();
    let sources = Sources { folder: folder.path().to_owned(), ..Sources::default() };
    (folder, sources)
}

fn variable(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

fn flag(name: &str, key: &str, value: &str) -> (String, String, String) {
    (name.to_owned(), key.to_owned(), value.to_owned())
}

fn error(sources: &Sources) -> String {
    Loaded::read(sources).unwrap_err().to_string()
}

#[test]
fn flags_go_before_variables_before_the_file_before_defaults() {
    let (folder, mut sources) = folder("[cache]\nsize = \"1MiB\"\n");
    let size = |sources: &Sources| {
        let loaded = Loaded::read(sources).unwrap();
        (loaded.config.cache.size.show(), loaded.origin("cache.size").unwrap().to_string())
    };
    let file = folder.path().join(DEFAULT_FILE).display().to_string();
    assert_eq!(size(&Sources::default()), ("128MiB".into(), "default".into()));
    assert_eq!(size(&sources), ("1MiB".into(), file));
    sources.variables.push(variable("STREAMHOUSE_CACHE_SIZE", "2MiB"));
    assert_eq!(size(&sources), ("2MiB".into(), "STREAMHOUSE_CACHE_SIZE".into()));
    sources.flags.push(flag("--cache-size", "cache.size", "3MiB"));
    assert_eq!(size(&sources), ("3MiB".into(), "--cache-size".into()));
}

#[test]
fn the_variable_of_another_program_yields_to_ours() {
    let mut sources = Sources::default();
    sources.variables.push(variable("STREAMHOUSE_LOG_LEVEL", "warn"));
    sources.variables.push(variable("RUST_LOG", "debug"));
    assert_eq!(Loaded::read(&sources).unwrap().config.log.level, "warn");
    sources.variables.remove(0);
    assert_eq!(Loaded::read(&sources).unwrap().config.log.level, "debug");
}

#[test]
fn a_file_may_hold_numbers_and_truth_values_without_quotes() {
    let (_folder, sources) =
        folder("data_dir = \"/x\"\n[kafka]\nmax_connections = 7\nauto_create_topics = false\n");
    let config = Loaded::read(&sources).unwrap().config;
    assert_eq!(config.place.data_dir, Path::new("/x"));
    assert_eq!(config.kafka.max_connections, 7);
    assert!(!config.kafka.auto_create_topics);
}

#[test]
fn a_named_file_that_is_missing_is_an_error_and_an_absent_default_file_is_not() {
    let file = Some(PathBuf::from("/nonexistent/x.toml"));
    let message = error(&Sources { file, ..Sources::default() });
    assert!(message.contains("cannot read /nonexistent/x.toml"), "{message}");
    assert!(message.contains("leave --config away"), "{message}");
    let folder = tempfile::tempdir().unwrap();
    let sources = Sources { folder: folder.path().into(), ..Sources::default() };
    assert_eq!(Loaded::read(&sources).unwrap().config, Config::default());
}

#[test]
fn broken_toml_is_reported_with_file_and_line() {
    let (_folder, sources) = folder("[kafka]\naddr = \n");
    let message = error(&sources);
    assert!(message.contains("streamhouse.toml:2: not valid TOML"), "{message}");
}

#[test]
fn an_unknown_key_is_refused_with_the_one_that_was_meant() {
    let (_folder, mut sources) = folder("[kafka]\nadr = \"127.0.0.1:1\"\n");
    let message = error(&sources);
    assert!(message.contains("streamhouse.toml: there is no setting \"kafka.adr\""), "{message}");
    assert!(message.contains("did you mean \"kafka.addr\"?"), "{message}");

    sources.folder = PathBuf::from("/nonexistent");
    sources.variables = vec![variable("STREAMHOUSE_KAFKA_ADR", "127.0.0.1:1")];
    assert!(error(&sources).contains("did you mean \"STREAMHOUSE_KAFKA_ADDR\"?"));

    sources.variables.clear();
    sources.flags = vec![flag("--set", "nonsense", "1")];
    let message = error(&sources);
    assert!(message.contains("--set: there is no setting \"nonsense\""), "{message}");
    assert!(message.contains("`streamhouse config` lists all"), "{message}");
}

#[test]
fn variables_that_kubernetes_adds_for_a_service_are_not_ours() {
    let mut sources = Sources::default();
    for name in ["STREAMHOUSE_SERVICE_HOST", "STREAMHOUSE_PORT", "STREAMHOUSE_PORT_9092_TCP_ADDR"] {
        sources.variables.push(variable(name, "tcp://10.0.0.1:9092"));
    }
    assert_eq!(Loaded::read(&sources).unwrap().config, Config::default());
}

#[test]
fn a_bad_value_is_reported_with_file_key_value_and_fix() {
    let (_folder, mut sources) = folder("[writer]\nlinger = 100\n");
    let message = error(&sources);
    assert!(message.contains("streamhouse.toml: writer.linger = 100 is not possible"), "{message}");
    assert!(message.contains("it is duration, such as 100ms or 5s in quotes"), "{message}");

    sources.folder = PathBuf::from("/nonexistent");
    sources.variables = vec![variable("STREAMHOUSE_KAFKA_ADDR", "9092")];
    let message = error(&sources);
    assert!(message.contains("STREAMHOUSE_KAFKA_ADDR: kafka.addr = \"9092\""), "{message}");
    assert!(message.contains("such as 127.0.0.1:9092"), "{message}");
}

#[test]
fn intervals_that_are_too_short_or_too_long_are_refused_with_what_is_possible() {
    for (key, legal, other, possible) in [
        ("lag.interval", "100ms", "99ms", "from 100ms to 30s"),
        ("lag.interval", "30s", "30001ms", "from 100ms to 30s"),
        ("client_telemetry.interval", "1h", "2h", "from 100ms to 1h"),
        ("retention.interval", "10ms", "0s", "of at least 10ms"),
        ("garbage.interval", "10ms", "9ms", "of at least 10ms"),
        ("garbage.sweep", "10ms", "0ms", "of at least 10ms"),
        ("garbage.grace", "100ms", "0s", "of at least 100ms"),
    ] {
        let with = |value| {
            let flags = vec![flag("--set", key, value)];
            Sources { flags, ..Sources::default() }
        };
        let message = error(&with(other));
        assert!(message.contains(&format!("{key} = \"{other}\"")), "{message}");
        assert!(message.contains(&format!("write a duration {possible}")), "{message}");
        Loaded::read(&with(legal)).unwrap();
    }
}

#[test]
fn a_secret_appears_neither_in_debug_nor_in_values() {
    let mut sources = Sources::default();
    for setting in SETTINGS.iter().filter(|setting| setting.secret) {
        sources.variables.push(variable(&setting.variable(), "hunter2"));
    }
    let loaded = Loaded::read(&sources).unwrap();
    assert!(!format!("{loaded:?}").contains("hunter2"));
    for setting in SETTINGS {
        assert!(!setting.value(&loaded.config).contains("hunter2"), "{}", setting.key);
    }
}

#[test]
fn the_text_of_every_default_is_accepted_as_its_value() {
    let mut sources = Sources::default();
    let defaults = Config::default();
    for setting in SETTINGS {
        sources.flags.push(flag("--set", setting.key, &setting.value(&defaults)));
    }
    assert_eq!(Loaded::read(&sources).unwrap().config, defaults);
}
