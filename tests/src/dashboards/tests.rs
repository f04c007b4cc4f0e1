//! What a source that is wrong is told, and what one that is right becomes.

use super::{Asker, Board, render, substitute, text};
use serde_json::Value;
use streamhouse_observability::instruments::registry;

/// A board with these panels.
fn board(panels: &str) -> Result<Board, String> {
    let rows = registry().expect("the registry");
    let head =
        "title = \"T\"\nabout = \"A\"\nvariables = [\"topic\"]\n[[section]]\ntitle = \"S\"\n";
    render("any", &format!("{head}{panels}"), &rows)
}

fn panel(title: &str, rest: &str) -> String {
    format!("[[section.panel]]\ntitle = \"{title}\"\n{rest}\n")
}

/// What the source with this one panel is told.
#[track_caller]
fn told(rest: &str) -> String {
    board(&panel("P", rest)).err().unwrap_or_else(|| panic!("{rest} is taken"))
}

/// The first query of the board with this one panel.
#[track_caller]
fn expr(rest: &str) -> String {
    let board = board(&panel("P", rest)).unwrap_or_else(|error| panic!("{rest}: {error}"));
    let own = |query: &&super::Query| query.asker == Asker::Panel("P".into());
    board.queries.iter().find(own).expect("a query").expr.clone()
}

/// The last panel of the board with this one panel.
fn json(rest: &str) -> Value {
    let board = board(&panel("P", rest)).unwrap_or_else(|error| panic!("{rest}: {error}"));
    board.json["panels"].as_array().and_then(|all| all.last()).cloned().expect("a panel")
}

#[test]
fn a_metric_that_does_not_exist_is_named_with_its_panel_and_where_to_look() {
    let told = told("metric = \"streamhouse.producer.recrods\"\nshow = [\"rate\"]");
    assert!(told.starts_with("any.toml, panel \"P\": there is no metric"), "{told}");
    assert!(told.contains("\"streamhouse.producer.recrods\""), "{told}");
    assert!(told.contains("take an OpenTelemetry name of docs/signals.md"), "{told}");
}

#[test]
fn a_prometheus_name_is_answered_with_the_name_to_write() {
    let told = told("metric = \"streamhouse_producer_records_total\"\nshow = [\"rate\"]");
    assert!(told.contains("as \"streamhouse.producer.records\""), "{told}");
}

#[test]
fn a_label_that_the_metric_does_not_have_is_answered_with_those_it_has() {
    let metric = "metric = \"streamhouse.s3.errors\"\nshow = [\"rate\"]\n";
    for rest in ["by = [\"topic\"]", "where = { topic = \"a\" }"] {
        let told = told(&format!("{metric}{rest}"));
        assert!(told.contains("streamhouse.s3.errors has no label \"topic\": it has "), "{told}");
        assert!(told.contains("operation, error, job, instance"), "{told}");
    }
}

#[test]
fn a_label_value_that_is_never_there_is_answered_with_those_that_are() {
    let told = told(
        "metric = \"streamhouse.s3.errors\"\nshow = [\"rate\"]\nwhere = { error = [\"throttling\", \"slow\"] }",
    );
    assert!(told.contains("error is never \"slow\": it is throttling, timeout"), "{told}");
}

#[test]
fn a_statistic_that_its_kind_does_not_have_is_answered_with_those_it_has() {
    for (metric, statistic, kind) in [
        ("streamhouse.cache.size", "rate", "a gauge: show value, max, min, growth, count, ratio"),
        ("streamhouse.cache.size", "p99", "a gauge: show value"),
        ("streamhouse.producer.records", "p99", "a counter: show rate, increase, ratio"),
        ("streamhouse.producer.records", "value", "a counter: show rate"),
        ("streamhouse.producer.latency", "value", "a histogram: show p50, p95, p99"),
    ] {
        let told = told(&format!("metric = \"{metric}\"\nshow = [\"{statistic}\"]"));
        assert!(told.contains(&format!("{statistic} of {metric}, which is {kind}")), "{told}");
    }
}

#[test]
fn times_and_shares_are_never_added_up() {
    let told = told("metric = \"process.uptime\"\nshow = [\"value\"]");
    assert!(told.contains("would add up times or shares: show max or min"), "{told}");
}

#[test]
fn two_panels_of_one_title_are_told_apart() {
    let one = panel("P", "metric = \"streamhouse.cache.hits\"\nshow = [\"rate\"]");
    let told = board(&format!("{one}{one}")).expect_err("two of one title");
    assert!(told.contains("panel \"P\": another panel has this title"), "{told}");
    assert!(told.contains("give one of them a new one"), "{told}");
}

#[test]
fn an_unknown_key_is_named_with_those_that_exist() {
    let told = told("metric = \"streamhouse.cache.hits\"\nshow = [\"rate\"]\ncolour = 1");
    assert!(told.starts_with("any.toml: "), "{told}");
    assert!(told.contains("unknown field `colour`, expected one of `title`"), "{told}");
}

#[test]
fn an_unknown_statistic_is_named_with_those_that_exist() {
    let told = told("metric = \"streamhouse.cache.hits\"\nshow = [\"p98\"]");
    assert!(told.contains("unknown variant `p98`, expected one of `rate`"), "{told}");
}

#[test]
fn metrics_of_different_units_do_not_share_an_axis() {
    let told = told(
        "metric = [\"streamhouse.cache.hits\", \"streamhouse.producer.bytes\"]\nshow = [\"rate\"]",
    );
    assert!(told.contains("share no axis: make two panels of it"), "{told}");
}

#[test]
fn a_ratio_says_of_what_and_only_a_ratio_does() {
    for rest in ["show = [\"ratio\"]", "show = [\"rate\"]\nover = [\"streamhouse.cache.hits\"]"] {
        let told = told(&format!("metric = \"streamhouse.cache.hits\"\n{rest}"));
        assert!(told.contains("`over` says what a ratio is a share of: give both"), "{told}");
    }
}

#[test]
fn a_span_that_does_not_exist_and_thresholds_that_contradict_each_other_are_refused() {
    let metric = "metric = \"streamhouse.cache.hits\"\nshow = [\"rate\"]\n";
    for (rest, why) in [
        ("span = \"produce\"", "there is no span \"produce\": it is produce_request"),
        ("good = 1\nbad = 2", "`good` and `bad` contradict each other"),
        ("warn = 2\nbad = 1", "`warn` = 2 comes before `good` or `bad` = 1"),
        ("top = 1\nleast = 1", "`top` and `least` contradict each other"),
        ("size = [25, 8]", "give 1 to 24 columns"),
        ("draw = \"heatmap\"", "buckets are drawn as a heatmap"),
    ] {
        let told = told(&format!("{metric}{rest}"));
        assert!(told.contains(why), "{told}");
    }
}

#[test]
fn a_panel_of_five_lines_has_query_unit_description_and_legend_of_its_row() {
    let json = json(
        "metric = \"streamhouse.producer.errors\"\nshow = [\"rate\"]\nby = [\"topic\", \"error\"]",
    );
    let target = &json["targets"][0];
    assert_eq!(
        target["expr"],
        "sum by (topic, error) (rate(streamhouse_producer_errors_total{job=\"$job\",\
         instance=~\"$instance\",topic=~\"$topic\"}[$__rate_interval]))"
    );
    assert_eq!(target["legendFormat"], "{{topic}} {{error}}");
    assert_eq!(json["fieldConfig"]["defaults"]["unit"], "count:errors/s");
    assert_eq!(
        json["description"],
        "Batches that were not accepted, by reason.\n\n`streamhouse_producer_errors_total`"
    );
}

#[test]
fn a_quantile_is_taken_of_added_buckets_and_absent_without_events() {
    assert_eq!(
        expr("metric = \"streamhouse.s3.duration\"\nshow = [\"p99\"]\nby = [\"operation\"]"),
        "histogram_quantile(0.99, sum by (le, operation) (rate(streamhouse_s3_duration_seconds_bucket\
         {job=\"$job\",instance=~\"$instance\"}[$__rate_interval]))) and sum by (operation) \
         (rate(streamhouse_s3_duration_seconds_count{job=\"$job\",instance=~\"$instance\"}\
         [$__rate_interval])) > 0"
    );
}

#[test]
fn a_ratio_is_absent_where_it_would_divide_by_nothing() {
    assert_eq!(
        expr(
            "metric = \"streamhouse.cache.hits\"\nshow = [\"ratio\"]\n\
             over = [\"streamhouse.cache.hits\", \"streamhouse.cache.misses\"]"
        ),
        "sum(rate(streamhouse_cache_hits_total{job=\"$job\",instance=~\"$instance\"}\
         [$__rate_interval])) / ((sum(rate(streamhouse_cache_hits_total{job=\"$job\",\
         instance=~\"$instance\"}[$__rate_interval])) + sum(rate(streamhouse_cache_misses_total\
         {job=\"$job\",instance=~\"$instance\"}[$__rate_interval]))) > 0)"
    );
}

#[test]
fn a_dotted_label_is_written_as_prometheus_has_it() {
    let expr = expr("metric = \"process.cpu.time\"\nshow = [\"rate\"]\nby = [\"cpu.mode\"]");
    assert!(expr.starts_with("sum by (cpu_mode) (rate(process_cpu_time_seconds_total{"), "{expr}");
}

#[test]
fn latency_over_time_shows_exemplars_and_leads_to_its_traces() {
    let json = json(
        "metric = \"streamhouse.producer.latency\"\nshow = [\"p50\", \"p99\"]\nspan = \"produce_request\"",
    );
    let targets = json["targets"].as_array().expect("targets");
    assert!(targets.iter().all(|target| target["exemplar"] == true), "{targets:?}");
    let links = &json["fieldConfig"]["defaults"]["links"];
    assert!(links[0]["url"].as_str().expect("a URL").contains("produce_request"), "{links}");
}

#[test]
fn panels_fill_lines_of_twenty_four_columns_and_never_overlap() {
    let one = |title: &str, size: &str| {
        panel(
            title,
            &format!("metric = \"streamhouse.cache.hits\"\nshow = [\"rate\"]\nsize = {size}"),
        )
    };
    let panels = [one("a", "[12, 8]"), one("b", "[8, 4]"), one("c", "[8, 8]")].concat();
    let board = board(&panels).expect("a board");
    let places: Vec<_> = board.json["panels"]
        .as_array()
        .expect("panels")
        .iter()
        .map(|panel| {
            let at = &panel["gridPos"];
            (at["x"].as_u64(), at["y"].as_u64(), at["w"].as_u64(), at["h"].as_u64())
        })
        .collect();
    let place = |x, y, w, h| (Some(x), Some(y), Some(w), Some(h));
    assert_eq!(
        places,
        [place(0, 0, 24, 1), place(0, 1, 12, 8), place(12, 1, 8, 4), place(0, 9, 8, 8)]
    );
}

#[test]
fn variables_are_replaced_by_what_all_stands_for() {
    let expr = substitute(
        "a{job=\"$job\",instance=~\"$instance\",topic=~\"$topic\"}[$__rate_interval]",
        "j",
        "30s",
    );
    assert_eq!(expr, "a{job=\"j\",instance=~\".+\",topic=~\".*\"}[30s]");
}

#[test]
fn a_board_s_text_ends_with_a_line_and_is_the_same_each_time() {
    let panels = panel("P", "metric = \"streamhouse.cache.hits\"\nshow = [\"rate\"]");
    let (one, other) = (board(&panels).expect("a board"), board(&panels).expect("a board"));
    assert!(text(&one).ends_with("}\n"));
    assert_eq!(text(&one), text(&other));
}
