//! A strict reader of OpenMetrics 1.0, for what we write.

use std::collections::{BTreeMap, HashSet};

/// One sample.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
    pub exemplar: Option<(BTreeMap<String, String>, f64)>,
}

/// One family.
#[derive(Clone, Debug, Default)]
pub struct Family {
    pub kind: String,
    pub help: String,
    pub unit: String,
    pub samples: Vec<Sample>,
}

/// Reads `text`, and panics at the first thing that OpenMetrics forbids.
pub fn read(text: &str) -> BTreeMap<String, Family> {
    let body = text.strip_suffix("# EOF\n").expect("the text must end with EOF");
    let mut families = BTreeMap::<String, Family>::new();
    let (mut current, mut series) = (String::new(), HashSet::new());
    for line in body.split_terminator('\n') {
        assert!(!line.is_empty() && !line.contains('\r'), "a line that is none: {line:?}");
        if let Some(rest) = line.strip_prefix("# ") {
            let mut words = rest.splitn(3, ' ');
            let (what, name) = (words.next().unwrap(), words.next().unwrap());
            let rest = words.next().unwrap_or_default();
            if name != current {
                assert!(!families.contains_key(name), "{name} is opened twice");
                current = name.to_owned();
            }
            let family = families.entry(name.to_owned()).or_default();
            assert!(family.samples.is_empty(), "metadata after samples: {line}");
            let field = match what {
                "HELP" => &mut family.help,
                "TYPE" => &mut family.kind,
                "UNIT" => &mut family.unit,
                other => panic!("unknown comment {other}"),
            };
            assert!(field.is_empty(), "said twice: {line}");
            *field = rest.to_owned();
        } else {
            let sample = sample(line);
            let family = families.get_mut(&current).expect("a sample before any family");
            assert!(series.insert(format!("{}{:?}", sample.name, sample.labels)), "twice: {line}");
            family.samples.push(sample);
        }
    }
    families.iter().for_each(|(name, family)| check(name, family));
    families
}

fn check(name: &str, family: &Family) {
    assert!(is_name(name, true), "{name}");
    assert!(family.unit.is_empty() || name.ends_with(&format!("_{}", family.unit)), "{name}");
    for sample in &family.samples {
        let suffix = sample.name.strip_prefix(name).unwrap_or_else(|| panic!("{sample:?}"));
        let expected: &[&str] = match family.kind.as_str() {
            "counter" => &["_total"],
            "gauge" => &[""],
            "histogram" => &["_bucket", "_sum", "_count"],
            "info" => &["_info"],
            other => panic!("{name} has the type {other:?}"),
        };
        assert!(expected.contains(&suffix), "{} in a {}", sample.name, family.kind);
        assert!(sample.exemplar.is_none() || suffix == "_bucket", "exemplar on {sample:?}");
        assert_eq!(sample.labels.contains_key("le"), suffix == "_bucket", "{sample:?}");
        if family.kind != "gauge" {
            assert!(sample.value >= 0.0, "{sample:?}");
        }
    }
    if family.kind == "histogram" {
        check_histogram(family);
    }
}

fn check_histogram(family: &Family) {
    let mut below = BTreeMap::<BTreeMap<String, String>, Vec<(f64, f64)>>::new();
    for sample in family.samples.iter().filter(|sample| sample.name.ends_with("_bucket")) {
        let mut labels = sample.labels.clone();
        let le = labels.remove("le").unwrap();
        assert!(le == "+Inf" || le.contains('.') || le.contains('e'), "le={le} is no float");
        let le = le.parse().unwrap();
        let buckets = below.entry(labels).or_default();
        assert!(buckets.last().is_none_or(|last| last.0 < le && last.1 <= sample.value));
        if let Some((labels, value)) = &sample.exemplar {
            assert!(*value <= le && buckets.last().is_none_or(|last| last.0 < *value));
            let length: usize = labels.iter().map(|(key, value)| key.len() + value.len()).sum();
            assert!(length <= 128, "{labels:?}");
        }
        buckets.push((le, sample.value));
    }
    for (labels, buckets) in below {
        let last = buckets.last().unwrap();
        assert_eq!(last.0, f64::INFINITY, "{labels:?}");
        let count = family
            .samples
            .iter()
            .find(|sample| sample.name.ends_with("_count") && sample.labels == labels);
        assert_eq!(count.unwrap().value, last.1, "{labels:?}");
    }
}

fn is_name(name: &str, colon: bool) -> bool {
    let is_legal = |c: char| c.is_ascii_alphanumeric() || c == '_' || (colon && c == ':');
    !name.is_empty()
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.chars().all(is_legal)
}

fn sample(line: &str) -> Sample {
    let end = line.find(['{', ' ']).expect("a sample has a value");
    let (name, mut rest) = line.split_at(end);
    assert!(is_name(name, true), "{line}");
    let labels = labels(&mut rest);
    let rest = rest.strip_prefix(' ').unwrap_or_else(|| panic!("no space: {line}"));
    let (value, exemplar) = match rest.split_once(" # ") {
        None => (rest, None),
        Some((value, mut exemplar)) => {
            let labels = self::labels(&mut exemplar);
            let mut numbers = exemplar.strip_prefix(' ').unwrap().split(' ');
            let found = numbers.next().unwrap().parse().unwrap();
            numbers.next().map(|at| at.parse::<f64>().unwrap());
            assert!(numbers.next().is_none(), "{line}");
            (value, Some((labels, found)))
        }
    };
    let value = value.parse().unwrap_or_else(|_| panic!("no number: {line}"));
    Sample { name: name.into(), labels, value, exemplar }
}

/// Reads `{key="value",…}` off the start of `rest`.
pub fn labels(rest: &mut &str) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    let Some(mut text) = rest.strip_prefix('{') else { return labels };
    loop {
        let (key, after) = text.split_once("=\"").expect("key=\"");
        assert!(is_name(key, false), "label key {key:?}");
        let (mut value, mut chars) = (String::new(), after.chars());
        loop {
            match chars.next().expect("an open value") {
                '"' => break,
                '\\' => value.push(match chars.next() {
                    Some('n') => '\n',
                    Some(c @ ('\\' | '"')) => c,
                    other => panic!("escape {other:?}"),
                }),
                c => value.push(c),
            }
        }
        assert!(labels.insert(key.to_owned(), value).is_none(), "label {key} twice");
        text = chars.as_str();
        if let Some(end) = text.strip_prefix('}') {
            *rest = end;
            return labels;
        }
        text = text.strip_prefix(',').expect("a comma between labels");
    }
}
