//! What the stores are asked.

use crate::http;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// One series of an instant query.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Its labels, the name as `__name__`.
    pub labels: BTreeMap<String, String>,
    /// Its value.
    pub value: f64,
}

/// One series of a range query.
#[derive(Clone, Debug, PartialEq)]
pub struct Range {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Unix seconds and values.
    pub points: Vec<(f64, f64)>,
}

/// The result of a query and what was found questionable about it.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// `data` of the answer.
    pub data: Value,
    /// Warnings and notices about the query.
    pub warnings: Vec<String>,
}

/// Prometheus' HTTP API.
#[derive(Clone, Copy, Debug)]
pub struct Prometheus(pub SocketAddr);

impl Prometheus {
    /// Asks `path` below `/api/v1`.
    ///
    /// # Errors
    /// An error of the connection, and what the server calls one.
    pub fn api(&self, path: &str, query: &[(&str, &str)]) -> Result<Answer, String> {
        let mut answer = json(self.0, &format!("/api/v1/{path}"), query)?;
        let texts = |value: &Value| -> Vec<String> {
            let all = value.as_array().into_iter().flatten();
            all.filter_map(|text| text.as_str().map(str::to_owned)).collect()
        };
        let warnings = [texts(&answer["warnings"]), texts(&answer["infos"])].concat();
        Ok(Answer { data: answer["data"].take(), warnings })
    }

    /// The value of each series of `promql` now.
    ///
    /// # Errors
    /// As [`api`](Self::api).
    pub fn query(&self, promql: &str) -> Result<Vec<Point>, String> {
        let data = self.api("query", &[("query", promql)])?.data;
        if data["resultType"] == "scalar" {
            return Ok(vec![Point { labels: BTreeMap::new(), value: number(&data["result"][1]) }]);
        }
        Ok(points(&data))
    }

    /// The value that each series of `promql` had at a Unix time.
    ///
    /// # Errors
    /// As [`api`](Self::api).
    pub fn query_at(&self, promql: &str, at: f64) -> Result<Vec<Point>, String> {
        let data = self.api("query", &[("query", promql), ("time", &at.to_string())])?.data;
        Ok(points(&data))
    }

    /// The values of each series of `promql` between two Unix times, `step` seconds apart.
    ///
    /// # Errors
    /// As [`api`](Self::api).
    pub fn range(&self, promql: &str, from: f64, to: f64, step: f64) -> Result<Vec<Range>, String> {
        let (from, to, step) = (from.to_string(), to.to_string(), step.to_string());
        let query = [("query", promql), ("start", &from), ("end", &to), ("step", &step)];
        let data = self.api("query_range", &query)?.data;
        let point = |pair: &Value| (number(&pair[0]), number(&pair[1]));
        let all = data["result"].as_array().into_iter().flatten();
        Ok(all
            .map(|one| Range {
                labels: labels(&one["metric"]),
                points: one["values"].as_array().into_iter().flatten().map(point).collect(),
            })
            .collect())
    }

    /// All groups of rules with their state.
    ///
    /// # Errors
    /// As [`api`](Self::api).
    pub fn rules(&self) -> Result<Vec<Value>, String> {
        Ok(array(self.api("rules", &[])?.data["groups"].take()))
    }

    /// Alerts that are pending or firing.
    ///
    /// # Errors
    /// As [`api`](Self::api).
    pub fn alerts(&self) -> Result<Vec<Value>, String> {
        Ok(array(self.api("alerts", &[])?.data["alerts"].take()))
    }

    /// Type, help and unit by metric name.
    ///
    /// # Errors
    /// As [`api`](Self::api).
    pub fn metadata(&self) -> Result<Value, String> {
        Ok(self.api("metadata", &[])?.data)
    }

    /// Exemplars of `promql` between two Unix times, by series.
    ///
    /// # Errors
    /// As [`api`](Self::api).
    pub fn exemplars(&self, promql: &str, from: f64, to: f64) -> Result<Vec<Value>, String> {
        let (from, to) = (from.to_string(), to.to_string());
        let query = [("query", promql), ("start", from.as_str()), ("end", to.as_str())];
        Ok(array(self.api("query_exemplars", &query)?.data))
    }

    /// What is scraped, and how that goes.
    ///
    /// # Errors
    /// As [`api`](Self::api).
    pub fn targets(&self) -> Result<Vec<Value>, String> {
        Ok(array(self.api("targets", &[])?.data["activeTargets"].take()))
    }
}

/// Alertmanager's HTTP API.
#[derive(Clone, Copy, Debug)]
pub struct Alertmanager(pub SocketAddr);

impl Alertmanager {
    /// Its active alerts.
    ///
    /// # Errors
    /// An error of the connection or the server.
    pub fn alerts(&self) -> Result<Vec<Value>, String> {
        Ok(array(json(self.0, "/api/v2/alerts", &[])?))
    }
}

/// Jaeger's HTTP API.
#[derive(Clone, Copy, Debug)]
pub struct Jaeger(pub SocketAddr);

impl Jaeger {
    /// The trace with this id, in Jaeger's own JSON; `None` when it is not known.
    ///
    /// # Errors
    /// An error of the connection, or an answer that is no JSON.
    pub fn trace(&self, id: &str) -> Result<Option<Value>, String> {
        let path = format!("/api/traces/{id}");
        let answer = http::get(self.0, &path).map_err(|error| error.to_string())?;
        if answer.status == 404 {
            return Ok(None);
        }
        let mut answer = parse(&path, &answer)?;
        Ok(answer["data"].as_array_mut().and_then(|traces| traces.pop()))
    }

    /// The names of the services that sent traces.
    ///
    /// # Errors
    /// An error of the connection or the server.
    pub fn services(&self) -> Result<Vec<String>, String> {
        let names = json(self.0, "/api/services", &[])?["data"].take();
        Ok(array(names).iter().filter_map(|name| name.as_str().map(str::to_owned)).collect())
    }

    /// The latest traces of `service` with a span called `operation`.
    ///
    /// # Errors
    /// An error of the connection or the server.
    pub fn find(&self, service: &str, operation: &str, limit: u32) -> Result<Vec<Value>, String> {
        let limit = limit.to_string();
        let query = [("service", service), ("operation", operation), ("limit", &limit)];
        Ok(array(json(self.0, "/api/traces", &query)?["data"].take()))
    }
}

/// VictoriaLogs' HTTP API.
#[derive(Clone, Copy, Debug)]
pub struct VictoriaLogs(pub SocketAddr);

impl VictoriaLogs {
    /// The records that `logsql` finds, such as `trace_id:=<id>`.
    ///
    /// # Errors
    /// An error of the connection or the server, and a line that is no JSON.
    pub fn query(&self, logsql: &str) -> Result<Vec<Value>, String> {
        let path = with("/select/logsql/query", &[("query", logsql)]);
        let answer = http::get(self.0, &path).map_err(|error| error.to_string())?;
        if answer.status != 200 {
            return Err(format!("{path}: {}: {}", answer.status, answer.body.trim()));
        }
        let lines = answer.body.lines().filter(|line| !line.is_empty());
        lines.map(|line| serde_json::from_str(line).map_err(|error| error.to_string())).collect()
    }
}

fn json(addr: SocketAddr, path: &str, query: &[(&str, &str)]) -> Result<Value, String> {
    let path = with(path, query);
    let answer = http::get(addr, &path).map_err(|error| format!("{path}: {error}"))?;
    parse(&path, &answer)
}

fn parse(path: &str, answer: &http::Answer) -> Result<Value, String> {
    if answer.status != 200 {
        return Err(format!("{path}: {}: {}", answer.status, answer.body.trim()));
    }
    serde_json::from_str(&answer.body).map_err(|error| format!("{path}: {error}"))
}

fn with(path: &str, query: &[(&str, &str)]) -> String {
    let pairs = query.iter().map(|(key, value)| format!("{key}={}", http::encode(value)));
    let pairs: Vec<String> = pairs.collect();
    if pairs.is_empty() { path.to_owned() } else { format!("{path}?{}", pairs.join("&")) }
}

fn array(value: Value) -> Vec<Value> {
    match value {
        Value::Array(all) => all,
        _ => Vec::new(),
    }
}

/// The series of an instant query.
fn points(data: &Value) -> Vec<Point> {
    let all = data["result"].as_array().into_iter().flatten();
    all.map(|one| Point { labels: labels(&one["metric"]), value: number(&one["value"][1]) })
        .collect()
}

fn labels(metric: &Value) -> BTreeMap<String, String> {
    let all = metric.as_object().into_iter().flatten();
    all.map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned())).collect()
}

/// Prometheus writes values as text, times as numbers.
fn number(value: &Value) -> f64 {
    let text = || value.as_str().and_then(|text| text.replace("Inf", "inf").parse().ok());
    value.as_f64().or_else(text).unwrap_or(f64::NAN)
}
