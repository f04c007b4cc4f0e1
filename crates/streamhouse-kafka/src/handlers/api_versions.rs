//! ApiVersions: what is offered.

use crate::api::OFFERED;
use crate::reply::Reply;
use kafka_protocol::error::ResponseError as Code;
use kafka_protocol::messages::ApiVersionsResponse;
use kafka_protocol::messages::api_versions_response::ApiVersion;
use streamhouse_observability::labels::RequestOutcome;

pub(crate) fn handle() -> Reply {
    Reply::new(response(), false)
}

/// The answer to a version that is not offered, in the body of version 0: the client finds a
/// version in it and asks again.
pub(crate) fn unsupported() -> Reply {
    let response = response().with_error_code(Code::UnsupportedVersion.code());
    Reply { outcome: RequestOutcome::Unsupported, ..Reply::new(response, true) }
}

fn response() -> ApiVersionsResponse {
    let keys = OFFERED.iter().map(|offered| {
        ApiVersion::default()
            .with_api_key(offered.key as i16)
            .with_min_version(offered.min)
            .with_max_version(offered.max)
    });
    ApiVersionsResponse::default().with_api_keys(keys.collect())
}
