//! `/groups`: how far consumer groups are behind, as last computed.

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use serde_json::{Value, json};
use streamhouse_kafka::{GroupLag, GroupTable, LagView, Lags, PartitionLag};
use streamhouse_observability::declare::ClosedLabel as _;

/// What the pages are made from.
#[derive(Clone, Debug)]
pub(crate) struct GroupPages {
    /// The groups that this agent coordinates.
    pub(crate) groups: GroupTable,
    /// Their lag.
    pub(crate) lags: Lags,
}

/// The pages of groups.
pub(super) fn router(pages: GroupPages) -> Router {
    let routes = Router::new().route("/groups", get(all)).route("/groups/{name}", get(one));
    routes.with_state(pages)
}

async fn all(State(pages): State<GroupPages>) -> Response {
    let view = pages.lags.view();
    let groups: Vec<Value> = view.groups.iter().map(|found| group(&view, found)).collect();
    let page = json!({
        "computed_ms": view.computed_ms,
        "age_seconds": view.age().map(|age| age.as_secs_f64()),
        "complete": view.is_complete,
        "groups": groups,
    });
    answer(StatusCode::OK, &page)
}

async fn one(State(pages): State<GroupPages>, Path(name): Path<String>) -> Response {
    let view = pages.lags.view();
    let Some(found) = view.group(&name) else {
        // Before the first computation the groups may not have been taken from the store.
        if view.computed_ms.is_none() || pages.groups.get(&name).is_some() {
            let why = "lag has not been computed yet";
            let page = json!({"error": why, "group": name});
            return answer(StatusCode::SERVICE_UNAVAILABLE, &page);
        }
        let why = "this agent coordinates no such group";
        return answer(StatusCode::NOT_FOUND, &json!({"error": why, "group": name}));
    };
    let mut page = group(&view, found);
    page["partitions"] = found.partitions.iter().map(partition).collect();
    answer(StatusCode::OK, &page)
}

/// Where nothing is committed nothing is known of lag.
fn group(view: &LagView, group: &GroupLag) -> Value {
    let is_known = !group.partitions.is_empty();
    json!({
        "group": &*group.name,
        "state": group.state.as_str(),
        "protocol_type": &*group.protocol_type,
        "members": group.members,
        "lag": is_known.then_some(group.lag),
        "lag_seconds": is_known.then_some(group.seconds),
        "retention_margin": is_known.then_some(group.margin),
        "commit_age_seconds": group.commit_age,
        "committed_partitions": group.partitions.len(),
        "uncommitted_partitions": group.uncommitted,
        "computed_ms": view.computed_ms,
        "age_seconds": view.age().map(|age| age.as_secs_f64()),
        "complete": view.is_complete,
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use streamhouse_kafka::{GroupFacts, GroupView};
    use streamhouse_observability::labels::GroupState;

    #[test]
    fn where_nothing_is_committed_the_page_knows_no_lag() {
        let mut nothing = GroupLag {
            name: "g".into(),
            state: GroupState::Stable,
            members: 1,
            protocol_type: "consumer".into(),
            commit_age: None,
            uncommitted: 3,
            lag: 0,
            seconds: 0.0,
            margin: 1.0,
            partitions: Vec::new(),
        };
        let view = LagView::default();
        let page = group(&view, &nothing);
        for field in ["lag", "lag_seconds", "retention_margin", "computed_ms", "age_seconds"] {
            assert!(page[field].is_null(), "{page}");
        }
        assert_eq!(
            (&page["complete"], &page["uncommitted_partitions"]),
            (&json!(false), &json!(3))
        );

        let topic = "t".into();
        let place = PartitionLag {
            topic,
            partition: 0,
            committed: 5,
            log_start: 0,
            end: 5,
            lag: 0,
            seconds: 0.0,
            margin: 1.0,
        };
        nothing.partitions.push(place);
        assert_eq!(group(&view, &nothing)["lag"], 0);
    }

    #[tokio::test]
    async fn a_group_whose_lag_is_not_computed_yet_is_not_said_not_to_exist() {
        let pages = GroupPages { groups: GroupTable::default(), lags: Lags::default() };
        let asked = |name: &str| one(State(pages.clone()), Path(name.to_owned()));
        let nothing_computed = asked("any").await;
        assert_eq!(nothing_computed.status(), StatusCode::SERVICE_UNAVAILABLE);
        let facts = GroupFacts {
            state: GroupState::Empty,
            protocol_type: "".into(),
            members: 0,
            subscribed: None,
            generation_ms: None,
            offsets: BTreeMap::new(),
            committed_ms: None,
        };
        pages.groups.insert(Arc::new(GroupView::new("g".into(), facts)));
        assert_eq!(asked("g").await.status(), StatusCode::SERVICE_UNAVAILABLE);
    }
}
