//! The structure's rules, read from the dependency graph.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

/// Package name to the names that it depends on in a shipped build.
fn shipped() -> BTreeMap<String, BTreeSet<String>> {
    // Without a platform cargo would want the sources of crates for other systems, too.
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--offline"])
        .args(["--filter-platform", &platform])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo metadata runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let mut names = BTreeMap::new();
    for package in metadata["packages"].as_array().expect("packages") {
        names.insert(package["id"].as_str().expect("id"), package["name"].as_str().expect("name"));
    }
    let mut graph: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for node in metadata["resolve"]["nodes"].as_array().expect("nodes") {
        let from = graph.entry(names[node["id"].as_str().expect("id")].to_owned()).or_default();
        for dependency in node["deps"].as_array().expect("deps") {
            let kinds = dependency["dep_kinds"].as_array().expect("kinds");
            if kinds.iter().any(|kind| kind["kind"].is_null()) {
                from.insert(names[dependency["pkg"].as_str().expect("pkg")].to_owned());
            }
        }
    }
    graph
}

/// Everything that `root` ships.
fn reach(graph: &BTreeMap<String, BTreeSet<String>>, root: &str) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    let mut todo = vec![root.to_owned()];
    while let Some(name) = todo.pop() {
        if let Some(next) = graph.get(&name).filter(|_| seen.insert(name)) {
            todo.extend(next.iter().cloned());
        }
    }
    seen
}

#[test]
fn dependencies_between_the_crates_point_one_way() {
    let graph = shipped();
    let ours = |name: &str| -> BTreeSet<String> {
        let next = graph[&format!("streamhouse-{name}")].iter();
        next.filter_map(|other| other.strip_prefix("streamhouse-")).map(str::to_owned).collect()
    };
    let order = ["observability", "metadata", "storage", "kafka", "server"];
    for (place, name) in order.iter().enumerate() {
        let below: BTreeSet<String> = order[..place].iter().map(|name| (*name).into()).collect();
        let mut found = ours(name);
        if *name == "server" {
            found.remove("client");
        }
        assert!(found.is_subset(&below), "{name} depends on {found:?}");
    }
    assert_eq!(ours("observability"), BTreeSet::new());
    assert!(ours("client").is_subset(&BTreeSet::from(["observability".into()])));
}

#[test]
fn the_binary_ships_one_opentelemetry_and_no_second_metrics_library() {
    let graph = shipped();
    let all = reach(&graph, "streamhouse-server");
    // The exporters of `opentelemetry-otlp` are an oracle for tests: they hide partial success.
    for banned in ["metrics", "prometheus-client", "statsd", "cadence", "opentelemetry-otlp"] {
        assert!(!all.contains(banned), "{banned} is shipped");
    }
    let parents: BTreeSet<&str> = graph
        .iter()
        .filter(|(name, next)| all.contains(*name) && next.contains("prometheus"))
        .map(|(name, _)| name.as_str())
        .collect();
    let allowed = BTreeSet::from(["opentelemetry-prometheus", "streamhouse-observability"]);
    assert!(parents.is_subset(&allowed), "prometheus is used by {parents:?}");

    let lock = include_str!("../../Cargo.lock");
    for name in ["opentelemetry", "opentelemetry_sdk", "tracing-opentelemetry"] {
        let versions = lock.matches(&format!("name = \"{name}\"\n")).count();
        assert_eq!(versions, 1, "{versions} versions of {name}");
    }
}

#[test]
fn no_http_client_of_the_otlp_crate_is_switched_on() {
    // These features make its export threads panic for want of a reactor.
    let graph = shipped();
    for name in ["opentelemetry-otlp", "opentelemetry-http"] {
        let client = graph.get(name).is_some_and(|next| next.contains("reqwest"));
        assert!(!client, "{name} has an HTTP client of its own");
    }
}

#[test]
fn every_test_that_the_architecture_page_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = std::fs::read_to_string(root.join("docs/ARCHITECTURE.md")).expect("the page");
    let promises = page.split("## Invariants").nth(1).expect("the section of invariants");
    let mut sources = String::new();
    for folder in ["crates", "tests"] {
        collect(&root.join(folder), &mut sources);
    }
    let named: Vec<&str> =
        promises.split('`').skip(1).step_by(2).filter(|word| word.contains("_")).collect();
    assert!(named.len() > 9, "{named:?}");
    for name in named {
        assert!(sources.contains(&format!("fn {name}(")), "no test is called {name}");
    }
}

#[test]
fn every_link_between_the_pages_leads_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for page in ["README.md", "docs/ARCHITECTURE.md", "docs/PERFORMANCE.md"] {
        let text = std::fs::read_to_string(root.join(page)).expect(page);
        let folder = root.join(page).parent().expect("a folder").to_owned();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = link.split('#').next().unwrap_or(link);
            let leads = link.contains("://") || folder.join(target).exists();
            assert!(leads, "{page} links to {link}, which does not exist");
        }
    }
}

/// Adds the text of every Rust file below `folder`.
fn collect(folder: &Path, text: &mut String) {
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&std::fs::read_to_string(&path).expect("a source file"));
        }
    }
}
