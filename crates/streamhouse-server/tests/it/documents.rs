use crate::harness::run;
use std::path::{Path, PathBuf};

fn page(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name)
}

/// Holds a generated page to what the binary prints; `UPDATE=1` writes it anew.
#[track_caller]
fn golden(name: &str, arguments: &[&str]) {
    let printed = run(arguments).expect(0).stdout;
    let path = page(name);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &printed).unwrap();
    }
    let stored = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        stored == printed,
        "docs/{name} is not what `streamhouse {}` prints; run UPDATE=1 cargo test -p streamhouse-server",
        arguments.join(" ")
    );
}

#[test]
fn the_signals_pages_are_what_the_binary_prints() {
    golden("signals.md", &["signals", "--format", "markdown"]);
    golden("signals.json", &["signals", "--format", "json"]);
}

#[test]
fn the_configuration_page_is_what_the_binary_prints() {
    golden("streamhouse.toml", &["config"]);
}

#[test]
fn the_table_of_signals_has_a_line_for_each_metric_and_span() {
    let json: serde_json::Value =
        serde_json::from_str(&run(&["signals", "--output", "json"]).expect(0).stdout).unwrap();
    let metrics = json["metrics"].as_array().unwrap();
    let spans = json["spans"].as_array().unwrap();
    let table = run(&["signals"]).expect(0).stdout;
    assert_eq!(table.lines().count(), metrics.len() + spans.len());
    for metric in metrics {
        let name = metric["prometheus_name"].as_str().unwrap();
        let line = table.lines().find(|line| line.split_whitespace().next() == Some(name));
        let line = line.unwrap_or_else(|| panic!("no line for {name}"));
        assert!(line.contains(metric["help"].as_str().unwrap()), "{line}");
    }
    let names: Vec<_> = metrics.iter().map(|m| m["prometheus_name"].as_str().unwrap()).collect();
    for name in ["streamhouse_producer_records_total", "streamhouse_s3_errors_total"] {
        assert!(names.contains(&name), "{name}");
    }
}
