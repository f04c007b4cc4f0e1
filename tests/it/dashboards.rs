//! The shipped boards: what their sources say, all of it asked for in words that exist.

use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use streamhouse_observability::instruments::registry;
use streamhouse_tests::compose::{root, yaml};
use streamhouse_tests::dashboards::{self, Asker, Board, JOB, boards, queries};
use streamhouse_tests::promql;

fn shipped() -> Vec<Board> {
    boards().unwrap_or_else(|error| panic!("{error}"))
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// The panels of a board, headings left out.
fn panels(board: &Board) -> impl Iterator<Item = &Value> {
    list(&board.json["panels"]).filter(|panel| panel["type"] != "row")
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[test]
fn every_board_is_what_its_source_and_the_registry_say() {
    let folder = root().join("dashboards/boards");
    let boards = shipped();
    if std::env::var_os("UPDATE").is_some() {
        fs::create_dir_all(&folder).unwrap();
        for board in &boards {
            fs::write(folder.join(format!("{}.json", board.name)), dashboards::text(board))
                .unwrap();
        }
    }
    for board in &boards {
        let stored = fs::read_to_string(folder.join(format!("{}.json", board.name)));
        assert!(
            stored.unwrap_or_default() == dashboards::text(board),
            "dashboards/boards/{name}.json is not what dashboards/src/{name}.toml renders to: \
             change the source and run UPDATE=1 cargo test -p streamhouse-tests --test it dashboards",
            name = board.name
        );
    }
    let rendered: BTreeSet<_> = boards.iter().map(|board| format!("{}.json", board.name)).collect();
    for entry in fs::read_dir(&folder).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        assert!(rendered.contains(&name), "dashboards/boards/{name} has no source: remove it");
    }
}

#[test]
fn the_six_boards_are_there_and_each_shows_what_its_readers_look_for() {
    let wanted: &[(&str, &[&str])] = &[
        (
            "overview",
            &[
                "Agents",
                "Components",
                "Alerts firing",
                "Version",
                "Topics",
                "Partitions",
                "Connections",
                "Produce and consume requests",
                "Share of requests that fail",
            ],
        ),
        (
            "producer",
            &[
                "Records by topic",
                "Bytes by topic",
                "Latency",
                "How latency is distributed",
                "Records in a batch",
                "Errors by topic",
                "Errors by kind",
            ],
        ),
        (
            "consumer",
            &[
                "Records by topic",
                "Latency",
                "Errors by kind",
                "Lag by group (time)",
                "Lag by group (records)",
                "Lag by partition (time)",
                "Lag by partition (records)",
                "Groups by state",
                "Rebalances by reason",
            ],
        ),
        (
            "storage",
            &[
                "Requests by operation",
                "Errors by class",
                "Throttled calls",
                "Time of a flush",
                "Latency by operation (p99)",
                "Flushes by outcome",
                "Bytes waiting for durability",
                "Oldest unacknowledged byte",
                "Share of blocks found",
                "Size of the cache",
                "Bytes stored",
                "Growth",
            ],
        ),
        (
            "system",
            &[
                "Processor time by mode",
                "Memory",
                "Network",
                "Disk",
                "Open file descriptors",
                "Open connections",
                "Busy workers",
            ],
        ),
        (
            "telemetry",
            &[
                "Accepted by the receiver",
                "Lost",
                "Fill of the queue",
                "Time of a scrape",
                "Series",
                "Instruments at their bound",
                "Log lines dropped",
                "Fill of the collector's queues",
            ],
        ),
    ];
    let boards = shipped();
    assert_eq!(boards.len(), wanted.len());
    for (name, titles) in wanted {
        let board = boards.iter().find(|board| board.name == *name);
        let board = board.unwrap_or_else(|| panic!("no board {name}"));
        let found: BTreeSet<_> = panels(board).map(|panel| text(&panel["title"])).collect();
        for title in *titles {
            assert!(found.contains(title), "{name} has no panel {title:?}: {found:?}");
        }
    }
}

#[test]
fn every_query_of_every_board_asks_for_what_exists() {
    let rows = registry().unwrap();
    for query in queries(JOB, "30s").unwrap() {
        assert!(!query.expr.contains('$'), "{query}: a variable has no value");
        assert_eq!(promql::check(&query.expr, &rows), Vec::<String>::new(), "{query}");
    }
}

#[test]
fn every_query_in_the_json_is_listed_for_those_who_run_them() {
    for board in shipped() {
        let listed: BTreeSet<_> = board
            .queries
            .iter()
            .filter(|query| matches!(query.asker, Asker::Panel(_) | Asker::Annotation(_)))
            .map(|query| query.expr.as_str())
            .collect();
        let asked: BTreeSet<_> = panels(&board)
            .flat_map(|panel| list(&panel["targets"]))
            .chain(list(&board.json["annotations"]["list"]))
            .map(|target| text(&target["expr"]))
            .collect();
        assert_eq!(asked, listed, "{}", board.name);
    }
}

#[test]
fn no_query_adds_up_both_jobs() {
    for query in queries(JOB, "30s").unwrap() {
        if query.asker == Asker::Variable("job") {
            continue;
        }
        for selector in promql::selectors(&query.expr).unwrap() {
            let has_job = selector.matchers.matchers.iter().any(|matcher| matcher.name == "job");
            assert!(has_job, "{query}: {selector} names no job");
        }
    }
}

#[test]
fn every_panel_has_a_description_a_unit_and_a_word_for_nothing() {
    for board in shipped() {
        for panel in panels(&board) {
            let (title, defaults) = (text(&panel["title"]), &panel["fieldConfig"]["defaults"]);
            for told in [&panel["description"], &defaults["unit"], &defaults["noValue"]] {
                assert!(!text(told).is_empty(), "{}, {title}: {panel}", board.name);
            }
            for target in list(&panel["targets"]) {
                assert!(!text(&target["legendFormat"]).is_empty(), "{}, {title}", board.name);
                assert_eq!(target["datasource"]["uid"], "${datasource}", "{}, {title}", board.name);
            }
        }
    }
}

#[test]
fn every_board_has_a_uid_of_its_own_and_links_to_the_others() {
    let mut uids = BTreeSet::new();
    for board in shipped() {
        assert_eq!(board.json["schemaVersion"], 42);
        assert_eq!(board.json["id"], Value::Null);
        assert!(uids.insert(text(&board.json["uid"]).to_owned()), "{}", board.name);
        let tags = &board.json["tags"];
        assert!(list(&board.json["links"]).any(|link| link["tags"] == *tags), "{}", board.name);
        assert!(
            !dashboards::text(&board).contains("${DS_"),
            "{}: filled by imports alone",
            board.name
        );
    }
}

#[test]
fn grafana_is_shown_the_boards_and_nothing_else() {
    let provider =
        fs::read_to_string(root().join("dashboards/provisioning/dashboards/dashboards.yml"));
    let provider = yaml(&provider.unwrap()).unwrap();
    let compose = streamhouse_tests::compose::Compose::shipped().unwrap();
    for one in list(&provider["providers"]) {
        let inside = text(&one["options"]["path"]);
        let mounts = compose.mounted("grafana").unwrap();
        let mount = mounts.iter().find(|mount| mount.inside == inside);
        let mount = mount.unwrap_or_else(|| panic!("grafana has nothing mounted at {inside}"));
        assert_eq!(mount.source, Some(root().join("dashboards/boards")), "{inside}");
    }
}

#[test]
fn the_sources_that_boards_link_to_are_provisioned() {
    let sources =
        fs::read_to_string(root().join("dashboards/provisioning/datasources/datasources.yml"));
    let sources = yaml(&sources.unwrap()).unwrap();
    let uids: BTreeSet<_> = list(&sources["datasources"]).map(|one| text(&one["uid"])).collect();
    for uid in ["prometheus", "jaeger", "logs"] {
        assert!(uids.contains(uid), "{uid} is linked to, but not provisioned: {uids:?}");
    }
}

#[test]
fn the_preview_draws_every_kind_of_panel_that_a_board_has() {
    let main = fs::read_to_string(root().join("dashboards/preview/src/main.jsx")).unwrap();
    for board in shipped() {
        for panel in panels(&board) {
            let kind = text(&panel["type"]);
            let case = format!("case '{kind}':");
            assert!(main.contains(&case), "dashboards/preview/src/main.jsx cannot draw {kind}");
        }
    }
}
