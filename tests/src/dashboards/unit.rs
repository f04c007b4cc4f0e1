//! Grafana's name for the unit of a statistic.

use super::metric::Metric;
use super::statistic::Statistic;
use streamhouse_observability::declare::Kind;

/// The unit in which Grafana writes `statistic` of `metric`.
pub fn unit(statistic: Statistic, metric: &Metric) -> String {
    match statistic {
        Statistic::Ratio => "percentunit".into(),
        Statistic::Count => "short".into(),
        // The observations of a histogram are counted, whatever they measure.
        Statistic::Rate if metric.kind == Kind::Histogram => "ops".into(),
        Statistic::Increase if metric.kind == Kind::Histogram => "short".into(),
        Statistic::Rate | Statistic::Growth => per_second(metric.unit),
        _ => plain(metric.unit),
    }
}

fn plain(unit: &str) -> String {
    match unit {
        "s" => "s".into(),
        "By" => "bytes".into(),
        "1" => "percentunit".into(),
        "{status}" | "{build}" => "short".into(),
        other => match things(other) {
            Some(things) => format!("count:{things}"),
            None => "short".into(),
        },
    }
}

fn per_second(unit: &str) -> String {
    match unit {
        // Seconds in a second: 100 % is one processor, or one worker, all the time.
        "s" => "percentunit".into(),
        "By" => "Bps".into(),
        other => match things(other) {
            Some(things) => format!("count:{things}/s"),
            None => "ops".into(),
        },
    }
}

/// The plural of an annotation: `{record}` counts records.
fn things(unit: &str) -> Option<String> {
    let thing = unit.strip_prefix('{')?.strip_suffix('}')?.replace('_', " ");
    Some(match thing.as_str() {
        "series" => thing,
        word if word.ends_with('y') => format!("{}ies", &word[..word.len() - 1]),
        word if ["s", "ch", "sh"].iter().any(|end| word.ends_with(end)) => format!("{word}es"),
        word => format!("{word}s"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_of_the_registry_has_a_name_in_grafana() {
        let rows = streamhouse_observability::instruments::registry().expect("the registry");
        for row in rows {
            let word = plain(row.unit);
            let is_known = ["s", "bytes", "percentunit"].contains(&word.as_str())
                || ["{status}", "{build}"].contains(&row.unit)
                || word.starts_with("count:");
            assert!(is_known, "{}: add the unit {} to unit.rs", row.name, row.unit);
        }
    }

    #[test]
    fn things_are_counted_in_their_plural() {
        for (unit, counted) in [
            ("{record}", "count:records"),
            ("{series}", "count:series"),
            ("{batch}", "count:batches"),
            ("{flush}", "count:flushes"),
            ("{miss}", "count:misses"),
            ("{retry}", "count:retries"),
            ("{file_descriptor}", "count:file descriptors"),
        ] {
            assert_eq!(plain(unit), counted);
        }
    }
}
