//! What can be said about a collector configuration without the collector.

use super::{list, yaml};
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// The components that our build has, all of them in the contrib image, too.
const COMPONENTS: &[(&str, &[&str])] = &[
    ("receivers", &["otlp", "host_metrics"]),
    (
        "processors",
        &[
            "memory_limiter",
            "batch",
            "filter",
            "redaction",
            "resource",
            "resource_detection",
            "tail_sampling",
            "transform",
        ],
    ),
    ("connectors", &["span_metrics", "service_graph"]),
    (
        "exporters",
        &[
            "otlp_grpc",
            "otlp_http",
            "debug",
            "file",
            "prometheus",
            "prometheus_remote_write",
            "load_balancing",
        ],
    ),
    ("extensions", &["health_check", "file_storage", "bearertokenauth", "zpages"]),
];

/// Every component exists, is defined and is used; the memory limiter comes first.
pub fn check(name: &str, text: &str) -> Vec<String> {
    let config = match yaml(text) {
        Ok(config) => config,
        Err(error) => return vec![format!("{name}: {error}")],
    };
    let mut wrong = Vec::new();
    let mut used = BTreeSet::new();
    for (pipeline, parts) in config["service"]["pipelines"].as_object().into_iter().flatten() {
        if list(&parts["processors"]).next().and_then(Value::as_str) != Some("memory_limiter") {
            wrong.push(format!("pipeline {pipeline}: memory_limiter comes first"));
        }
        for kind in ["receivers", "processors", "exporters"] {
            for id in list(&parts[kind]).filter_map(Value::as_str) {
                used.insert(id);
                let is_connector = kind != "processors" && config["connectors"].get(id).is_some();
                if config[kind].get(id).is_none() && !is_connector {
                    wrong.push(format!("pipeline {pipeline} uses {id}: define it in `{kind}:`"));
                }
            }
        }
    }
    used.extend(list(&config["service"]["extensions"]).filter_map(Value::as_str));
    for (kind, known) in COMPONENTS {
        for id in config[kind].as_object().into_iter().flat_map(Map::keys) {
            if !known.contains(&id.split('/').next().unwrap_or_default()) {
                wrong.push(format!(
                    "{kind}: the collector has no {id}; it has {}: take one of these, or add it to \
                     tests/stack/otelcol/manifest.yaml and build it",
                    known.join(", ")
                ));
            }
            if !used.contains(id.as_str()) {
                wrong.push(format!("{kind}: {id} is defined and never used: drop it or use it"));
            }
        }
    }
    wrong.iter().map(|what| format!("{name}: {what}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compose::{read, root};

    /// Components whose module is called otherwise.
    const MODULES: [(&str, &str); 2] =
        [("otlp_grpc", "otlpexporter"), ("file_storage", "filestorage")];

    #[test]
    fn the_known_components_are_those_that_are_built() {
        let manifest = read(&root().join("tests/stack/otelcol/manifest.yaml")).expect("it");
        let manifest = yaml(&manifest).expect("YAML");
        for (kind, known) in COMPONENTS {
            let module = |id: &&str| {
                let other = MODULES.iter().find(|(other, _)| other == id);
                let usual = || format!("{}{}", id.replace('_', ""), kind.trim_end_matches('s'));
                other.map_or_else(usual, |(_, module)| (*module).to_owned())
            };
            let built = list(&manifest[*kind]).filter_map(|entry| entry["gomod"].as_str());
            let built = built.filter_map(|gomod| gomod.split(' ').next()?.rsplit('/').next());
            let built: BTreeSet<String> = built.map(str::to_owned).collect();
            assert_eq!(known.iter().map(module).collect::<BTreeSet<_>>(), built, "{kind}");
        }
    }

    #[test]
    fn an_unknown_component_is_named_with_those_that_exist() {
        let told = check(
            "x.yaml",
            "receivers: {otlp: {}}\nprocessors: {memory_limiter: {}}\nexporters: {otlphttp: {}}\n\
             service: {pipelines: {logs: {receivers: [otlp], processors: [memory_limiter], \
             exporters: [otlphttp]}}}\n",
        )
        .join("\n");

        assert!(
            told.contains("exporters: the collector has no otlphttp; it has otlp_grpc"),
            "{told}"
        );
        assert_eq!(told.lines().count(), 1, "{told}");
    }

    #[test]
    fn a_pipeline_without_limiter_and_with_undefined_parts_is_named() {
        let told = check(
            "x.yaml",
            "receivers: {otlp: {}}\nprocessors: {batch: {}, memory_limiter: {}}\nexporters: {}\n\
             extensions: {zpages: {}}\nservice: {pipelines: {logs: {receivers: [otlp], \
             processors: [batch, memory_limiter], exporters: [debug]}}}\n",
        )
        .join("\n");

        assert!(told.contains("pipeline logs: memory_limiter comes first"), "{told}");
        assert!(told.contains("pipeline logs uses debug: define it in `exporters:`"), "{told}");
        assert!(told.contains("extensions: zpages is defined and never used"), "{told}");
    }
}
