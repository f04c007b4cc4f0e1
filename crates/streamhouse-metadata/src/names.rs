//! What topics may be called, and how many partitions they may have.

use crate::error::MetadataError;
use crate::types::{Retention, RetentionChange};

/// The greatest length of a topic's name.
const LONGEST: usize = 249;
/// The greatest number of partitions of one topic.
const MOST_PARTITIONS: i32 = 10_000;

pub(crate) fn check_topic(name: &str) -> Result<(), MetadataError> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let problem = if name.is_empty() {
        "it is empty".to_owned()
    } else if name.len() > LONGEST {
        format!("it has {} bytes and the limit is {LONGEST}", name.len())
    } else if name == "." || name == ".." {
        "it is reserved".to_owned()
    } else if let Some(c) = name.chars().find(|c| !legal(*c)) {
        format!("{c:?} is not allowed; use letters, digits, '.', '_' and '-'")
    } else {
        return Ok(());
    };
    let shown: String = name.chars().take(LONGEST).collect();
    Err(MetadataError::Refused(format!("topic name {shown:?} is not valid: {problem}")))
}

pub(crate) fn check_partitions(partitions: i32) -> Result<(), MetadataError> {
    if (1..=MOST_PARTITIONS).contains(&partitions) {
        return Ok(());
    }
    Err(MetadataError::Refused(format!(
        "{partitions} partitions are not possible: a topic has 1 to {MOST_PARTITIONS}"
    )))
}

pub(crate) fn check_retention(retention: Retention) -> Result<(), MetadataError> {
    for (name, value) in [("retention.ms", retention.ms), ("retention.bytes", retention.bytes)] {
        if let Some(value) = value.filter(|value| *value < -1) {
            return Err(MetadataError::Refused(format!(
                "{name} cannot be {value}: it must be at least 0, or -1 for no limit"
            )));
        }
    }
    Ok(())
}

pub(crate) fn check_change(change: RetentionChange) -> Result<(), MetadataError> {
    check_retention(Retention { ms: change.ms.flatten(), bytes: change.bytes.flatten() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topic_names_follow_kafka_and_errors_say_what_is_wrong() {
        for good in ["a", "orders.v1", "A_b-9", &"x".repeat(249)] {
            check_topic(good).unwrap();
        }
        for (bad, why) in [
            ("", "it is empty"),
            (".", "reserved"),
            ("..", "reserved"),
            ("a b", "' ' is not allowed"),
            ("a/b", "'/' is not allowed"),
            ("größe", "'ö' is not allowed"),
            ("<other>", "'<' is not allowed"),
            (&"x".repeat(250), "it has 250 bytes and the limit is 249"),
        ] {
            let error = check_topic(bad).unwrap_err().to_string();
            assert!(error.contains(why), "{bad:?}: {error}");
        }
    }

    #[test]
    fn a_topic_has_between_one_and_ten_thousand_partitions() {
        for (partitions, possible) in [(-1, false), (0, false), (1, true), (10_000, true)] {
            assert_eq!(check_partitions(partitions).is_ok(), possible, "{partitions}");
        }
        assert!(check_partitions(10_001).unwrap_err().to_string().contains("10001"));
    }
}
