//! `/groups`: how far consumer groups are behind, as last computed.

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use serde_json::{Value, json};
use streamhouse_kafka::{GroupLag, Lags, PartitionLag};
use streamhouse_observability::declare::ClosedLabel as _;

/// The pages of groups.
pub(super) fn router(lags: Lags) -> Router {
    let routes = Router::new().route("/groups", get(all)).route("/groups/{name}", get(one));
    routes.with_state(lags)
}

async fn all(State(lags): State<Lags>) -> Response {
    let view = lags.view();
    let groups: Vec<Value> = view.groups.iter().map(group).collect();
    let page = json!({
        "computed_ms": view.computed_ms,
        "complete": view.is_complete,
        "groups": groups,
    });
    answer(StatusCode::OK, &page)
}

async fn one(State(lags): State<Lags>, Path(name): Path<String>) -> Response {
    let view = lags.view();
    let Some(found) = view.group(&name) else {
        let why = "this agent coordinates no such group";
        return answer(StatusCode::NOT_FOUND, &json!({"error": why, "group": name}));
    };
    let mut page = group(found);
    page["computed_ms"] = json!(view.computed_ms);
    page["complete"] = json!(view.is_complete);
    page["partitions"] = found.partitions.iter().map(partition).collect();
    answer(StatusCode::OK, &page)
}

fn group(group: &GroupLag) -> Value {
    json!({
        "group": &*group.name,
        "state": group.state.as_str(),
        "protocol_type": &*group.protocol_type,
        "members": group.members,
        "lag": group.lag,
        "lag_seconds": group.seconds,
        "retention_margin": group.margin,
        "commit_age_seconds": group.commit_age,
        "committed_partitions": group.partitions.len(),
        "uncommitted_partitions": group.uncommitted,
    })
}

fn partition(place: &PartitionLag) -> Value {
    json!({
        "topic": &*place.topic,
        "partition": place.partition,
        "committed": place.committed,
        "log_start": place.log_start,
        "end": place.end,
        "lag": place.lag,
        "lag_seconds": place.seconds,
        "retention_margin": place.margin,
    })
}

fn answer(status: StatusCode, page: &Value) -> Response {
    (status, [(CONTENT_TYPE, "application/json")], format!("{page}\n")).into_response()
}
