//! The shipped alerts, their cases and their pages, for the tests that hold them.

use crate::compose::{root, yaml};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;

/// The files of a folder of the repository, by name without extension, in their order.
///
/// # Errors
/// A file that cannot be read.
pub fn files(folder: &str) -> Result<BTreeMap<String, String>, String> {
    let told = |error: std::io::Error| format!("{folder}: {error}");
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(root().join(folder)).map_err(told)? {
        let path = entry.map_err(told)?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        all.insert(name, fs::read_to_string(&path).map_err(told)?);
    }
    Ok(all)
}

/// The documents of a folder's files, by name.
///
/// # Errors
/// As [`files`], and text that is no YAML.
pub fn documents(folder: &str) -> Result<BTreeMap<String, Value>, String> {
    let parse = |(name, text): (String, String)| {
        let value = yaml(&text).map_err(|error| format!("{folder}/{name}: {error}"))?;
        Ok((name, value))
    };
    files(folder)?.into_iter().map(parse).collect()
}

/// All shipped alerts.
///
/// # Errors
/// As [`documents`].
pub fn all() -> Result<Vec<Value>, String> {
    let rules = documents("alerts/rules")?;
    let groups = rules.values().flat_map(|file| list(&file["groups"]));
    Ok(groups.flat_map(|group| list(&group["rules"])).cloned().collect())
}

/// The pages of the alerts, by name.
///
/// # Errors
/// As [`files`].
pub fn pages() -> Result<BTreeMap<String, String>, String> {
    files("docs/runbooks")
}

/// The queries of a page: its blocks, and what it names inside a sentence.
pub fn queries(page: &str) -> Vec<&str> {
    let blocks = page.split("```promql\n").skip(1).filter_map(|rest| rest.split("```").next());
    let sentences =
        page.split("```").step_by(2).flat_map(|prose| prose.split('`').skip(1).step_by(2));
    blocks.chain(sentences.filter(|code| code.contains("streamhouse_"))).collect()
}

/// The entries of a list; none of what is no list.
pub fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}
