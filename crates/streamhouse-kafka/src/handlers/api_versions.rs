//! ApiVersions: what is offered.

use crate::api::{OFFERED, Offered};
use crate::reply::Reply;
use kafka_protocol::error::ResponseError as Code;
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::{ApiKey, ApiVersionsResponse};
use streamhouse_observability::labels::RequestOutcome;

pub(crate) fn handle() -> Reply {
    Reply::new(response(OFFERED.iter()), false)
}

/// The answer to a version that is not offered, in the body of version 0: the versions of this API
/// alone, of which the client takes one and asks again.
///
/// With all APIs some clients would be content, and never say what they are.
pub(crate) fn unsupported() -> Reply {
    let own = |offered: &&Offered| offered.key == ApiKey::ApiVersions;
    let response = response(OFFERED.iter().filter(own));
    let response = response.with_error_code(Code::UnsupportedVersion.code());
    Reply { outcome: RequestOutcome::Unsupported, ..Reply::new(response, true) }
}

fn response<'a>(offered: impl Iterator<Item = &'a Offered>) -> ApiVersionsResponse {
    let keys = offered.map(|offered| {
        ApiVersion::default()
            .with_api_key(offered.key as i16)
            .with_min_version(offered.min)
            .with_max_version(offered.max)
    });
    ApiVersionsResponse::default().with_api_keys(keys.collect())
}
