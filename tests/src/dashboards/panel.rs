//! A panel as Grafana's classic model has it.

use super::links;
use super::query::{Queries, Target};
use super::source::{Draw, Panel};
use super::statistic::Statistic;
use serde_json::{Map, Value, json};

/// The version of Grafana whose panels these are.
const PLUGIN_VERSION: &str = "13.2.3";

/// Every query's data source: the one that the board's variable names.
pub fn datasource() -> Value {
    json!({"type": "prometheus", "uid": "${datasource}"})
}

/// How wide and high a panel is, unless it says so.
pub fn size(panel: &Panel) -> (u32, u32) {
    panel.size.unwrap_or(match panel.draw {
        Draw::Stat => (4, 4),
        Draw::Lines | Draw::Stack | Draw::Heatmap => (8, 9),
        Draw::Table => (12, 9),
    })
}

/// The JSON of `panel`, but its place.
///
/// # Errors
/// Thresholds that contradict each other, and a span that does not exist.
pub fn render(panel: &Panel, queries: &Queries) -> Result<Map<String, Value>, String> {
    let mut options = options(panel, &queries.targets);
    let unit = match panel.draw {
        // The value of a cell is a count, the axis has the unit.
        Draw::Heatmap => "short",
        // The title says what is counted.
        Draw::Stat if queries.unit.starts_with("count:") => "short",
        _ => &queries.unit,
    };
    let mut defaults = json!({
        "unit": unit,
        "noValue": panel.empty.as_deref().unwrap_or("No data"),
        "thresholds": thresholds(panel)?,
        "mappings": mappings(panel),
        "color": {"mode": color(panel)},
    });
    let shown = &queries.targets;
    // What cannot be below 0 starts there, so that small changes do not look large.
    if !panel.show.contains(&Statistic::Growth) {
        defaults["min"] = json!(0);
    }
    match panel.draw {
        Draw::Lines | Draw::Stack => {
            defaults["custom"] = lines(panel);
            // Of a share that is 0 all the time Grafana would draw an axis up to 10,000 %.
            if unit == "percentunit" {
                defaults["custom"]["axisSoftMax"] = json!(0.01);
            }
        }
        Draw::Heatmap => options["yAxis"]["unit"] = json!(queries.unit),
        Draw::Stat | Draw::Table => {}
    }
    if let Some(span) = &panel.span {
        defaults["links"] = links::of_span(span)?;
    }
    let targets: Vec<Value> =
        shown.iter().enumerate().map(|(place, one)| target(panel, place, one)).collect();
    let json = json!({
        "type": kind(panel.draw),
        "title": panel.title,
        "description": queries.description,
        "pluginVersion": PLUGIN_VERSION,
        "datasource": datasource(),
        "targets": targets,
        "transformations": transformations(panel, shown),
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
    });
    match json {
        Value::Object(map) => Ok(map),
        _ => Err("a panel is an object".into()),
    }
}

fn kind(draw: Draw) -> &'static str {
    match draw {
        Draw::Lines | Draw::Stack => "timeseries",
        Draw::Heatmap => "heatmap",
        Draw::Stat => "stat",
        Draw::Table => "table",
    }
}

/// Whether only the last value is shown.
fn is_instant(draw: Draw) -> bool {
    matches!(draw, Draw::Stat | Draw::Table)
}

/// `A`, `B` and so on.
fn ref_id(place: usize) -> String {
    char::from_u32('A' as u32 + u32::try_from(place).unwrap_or_default())
        .map_or_else(String::new, String::from)
}

fn target(panel: &Panel, place: usize, target: &Target) -> Value {
    let instant = is_instant(panel.draw);
    let format = match panel.draw {
        Draw::Table => "table",
        Draw::Heatmap => "heatmap",
        Draw::Lines | Draw::Stack | Draw::Stat => "time_series",
    };
    json!({
        "refId": ref_id(place),
        "datasource": datasource(),
        "editorMode": "code",
        "expr": target.expr,
        "legendFormat": target.legend,
        "format": format,
        "instant": instant,
        "range": !instant,
        "exemplar": !instant && target.statistic.is_of_distribution(),
    })
}

/// Colours by value: red above `bad`, or below `good`.
fn thresholds(panel: &Panel) -> Result<Value, String> {
    let step = |color: &str, value: Option<f64>| json!({"color": color, "value": value});
    let between = panel.warn.map(|warn| step("orange", Some(warn)));
    let (base, end) = match (panel.good, panel.bad) {
        (None, None) => (step("green", None), None),
        (None, Some(bad)) => (step("green", None), Some(step("red", Some(bad)))),
        (Some(good), None) => (step("red", None), Some(step("green", Some(good)))),
        (Some(_), Some(_)) => {
            return Err("`good` and `bad` contradict each other: give the end that matters".into());
        }
    };
    if let (Some(warn), Some(end)) = (panel.warn, panel.good.or(panel.bad))
        && warn >= end
    {
        return Err(format!("`warn` = {warn} comes before `good` or `bad` = {end}"));
    }
    let steps: Vec<Value> = [Some(base), between, end].into_iter().flatten().collect();
    Ok(json!({"mode": "absolute", "steps": steps}))
}

fn has_thresholds(panel: &Panel) -> bool {
    panel.warn.or(panel.bad).or(panel.good).is_some()
}

fn color(panel: &Panel) -> &'static str {
    match panel.draw {
        Draw::Stat | Draw::Table => "thresholds",
        Draw::Lines | Draw::Stack | Draw::Heatmap => "palette-classic",
    }
}

fn mappings(panel: &Panel) -> Value {
    if panel.words.is_empty() {
        return json!([]);
    }
    let word = |(place, (value, text)): (usize, (&String, &String))| {
        (value.clone(), json!({"text": text, "index": place}))
    };
    let options: Map<String, Value> = panel.words.iter().enumerate().map(word).collect();
    json!([{"type": "value", "options": options}])
}

fn lines(panel: &Panel) -> Value {
    let is_stacked = panel.draw == Draw::Stack;
    json!({
        "drawStyle": "line",
        "lineInterpolation": "linear",
        "lineWidth": 1,
        "fillOpacity": if is_stacked { 30 } else { 8 },
        "showPoints": "auto",
        "pointSize": 4,
        // A gap is a gap: no data must not look like steady data.
        "spanNulls": false,
        "stacking": {"mode": if is_stacked { "normal" } else { "none" }, "group": "A"},
        "thresholdsStyle": {"mode": if has_thresholds(panel) { "dashed" } else { "off" }},
    })
}

fn options(panel: &Panel, targets: &[Target]) -> Value {
    match panel.draw {
        Draw::Lines | Draw::Stack => json!({
            "legend": {"displayMode": "table", "placement": "bottom", "showLegend": true,
                "calcs": ["lastNotNull", "max"], "sortBy": "Last *", "sortDesc": true},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }),
        Draw::Heatmap => json!({
            "calculate": false,
            "cellGap": 1,
            "color": {"mode": "scheme", "scheme": "Oranges", "scale": "exponential",
                "exponent": 0.5, "steps": 64, "reverse": false, "fill": "dark-orange"},
            "exemplars": {"color": "rgba(255,0,255,0.7)"},
            "filterValues": {"le": 1e-9},
            "legend": {"show": true},
            "rowsFrame": {"layout": "auto"},
            "showValue": "never",
            "tooltip": {"mode": "single", "showColorScale": false, "yHistogram": false},
            "yAxis": {"axisPlacement": "left", "reverse": false},
        }),
        Draw::Stat => json!({
            "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": false},
            "colorMode": if has_thresholds(panel) { "background" } else { "none" },
            "graphMode": "none",
            "justifyMode": "auto",
            "orientation": "auto",
            "textMode": if panel.by.is_empty() && panel.show.len() == 1 { "value" } else { "value_and_name" },
            "wideLayout": true,
            "showPercentChange": false,
            "percentChangeColorMode": "standard",
        }),
        Draw::Table => json!({
            "frameIndex": 0,
            "showHeader": true,
            "cellHeight": "sm",
            "sortBy": [{"displayName": column(&targets[0]), "desc": true}],
        }),
    }
}

/// The column of a query in a table.
fn column(target: &Target) -> &str {
    if target.name.is_empty() { target.statistic.as_str() } else { &target.name }
}

/// A table has one row for each label set and one column for each query.
fn transformations(panel: &Panel, targets: &[Target]) -> Value {
    if panel.draw != Draw::Table {
        return json!([]);
    }
    let many = targets.len() > 1;
    let renamed = |(place, target): (usize, &Target)| {
        let value = if many { format!("Value #{}", ref_id(place)) } else { "Value".into() };
        (value, json!(column(target)))
    };
    let names: Map<String, Value> = targets.iter().enumerate().map(renamed).collect();
    let organize = json!({"id": "organize",
        "options": {"excludeByName": {"Time": true}, "indexByName": {}, "renameByName": names}});
    if many { json!([{"id": "merge", "options": {}}, organize]) } else { json!([organize]) }
}
