//! Which APIs are offered, in which versions, and how their requests look on the wire.

use crate::shape::{ShapeError, walk};
use kafka_protocol::messages::ApiKey;
use streamhouse_observability::labels::Api;

/// One API that is offered.
#[derive(Debug)]
pub(crate) struct Offered {
    /// Its key.
    pub key: ApiKey,
    /// Its name on metrics.
    pub label: Api,
    /// The first version offered.
    pub min: i16,
    /// The last version offered.
    pub max: i16,
    /// The last version of a shape, and the shape of the request's body up to it.
    shapes: &'static [(i16, &'static str)],
}

const fn offer(
    key: ApiKey,
    label: Api,
    min: i16,
    max: i16,
    shapes: &'static [(i16, &'static str)],
) -> Offered {
    Offered { key, label, min, max, shapes }
}

/// Everything that is offered: what all clients in use need, with names (not ids) of topics.
pub(crate) const OFFERED: &[Offered] = &[
    offer(ApiKey::Produce, Api::Produce, 3, 9, &[(8, "shi[s[iy]]"), (9, "Shi{S{iYt}t}t")]),
    offer(
        ApiKey::Fetch,
        Api::Fetch,
        4,
        12,
        &[
            (4, "iiiib[s[iqi]]"),
            (6, "iiiib[s[iqqi]]"),
            (8, "iiiibii[s[iqqi]][s[i]]"),
            (10, "iiiibii[s[iiqqi]][s[i]]"),
            (11, "iiiibii[s[iiqqi]][s[i]]s"),
            (12, "iiiibii{S{iiqiqit}t}{S{i}t}St"),
        ],
    ),
    offer(
        ApiKey::ListOffsets,
        Api::ListOffsets,
        1,
        7,
        &[(1, "i[s[iq]]"), (3, "ib[s[iq]]"), (5, "ib[s[iiq]]"), (7, "ib{S{iiqt}t}t")],
    ),
    offer(
        ApiKey::Metadata,
        Api::Metadata,
        0,
        12,
        &[
            (3, "[s]"),
            (7, "[s]b"),
            (8, "[s]bbb"),
            (9, "{St}bbbt"),
            (10, "{uSt}bbbt"),
            (12, "{uSt}bbt"),
        ],
    ),
    offer(
        ApiKey::FindCoordinator,
        Api::FindCoordinator,
        0,
        4,
        &[(0, "s"), (2, "sb"), (3, "Sbt"), (4, "b{S}t")],
    ),
    offer(ApiKey::ApiVersions, Api::ApiVersions, 0, 4, &[(2, ""), (4, "SSt")]),
    offer(
        ApiKey::CreateTopics,
        Api::CreateTopics,
        2,
        7,
        &[(4, "[sih[i[i]][ss]]ib"), (7, "{Sih{i{i}t}{SSt}t}ibt")],
    ),
    offer(
        ApiKey::DeleteTopics,
        Api::DeleteTopics,
        1,
        6,
        &[(3, "[s]i"), (5, "{S}it"), (6, "{Sut}it")],
    ),
    offer(
        ApiKey::InitProducerId,
        Api::InitProducerId,
        0,
        4,
        &[(1, "si"), (2, "Sit"), (4, "Siqht")],
    ),
    offer(
        ApiKey::DescribeConfigs,
        Api::DescribeConfigs,
        1,
        4,
        &[(2, "[bs[s]]b"), (3, "[bs[s]]bb"), (4, "{bS{S}t}bbt")],
    ),
    offer(
        ApiKey::CreatePartitions,
        Api::CreatePartitions,
        0,
        3,
        &[(1, "[si[[i]]]ib"), (3, "{Si{{i}t}t}ibt")],
    ),
    offer(
        ApiKey::OffsetCommit,
        Api::OffsetCommit,
        2,
        8,
        &[
            (4, "sisq[s[iqs]]"),
            (5, "sis[s[iqs]]"),
            (6, "sis[s[iqis]]"),
            (7, "siss[s[iqis]]"),
            (8, "SiSS{S{iqiSt}t}t"),
        ],
    ),
    offer(
        ApiKey::OffsetFetch,
        Api::OffsetFetch,
        1,
        8,
        &[(5, "s[s[i]]"), (6, "S{S{i}t}t"), (7, "S{S{i}t}bt"), (8, "w{S{S{i}t}t}bt")],
    ),
    offer(
        ApiKey::JoinGroup,
        Api::JoinGroup,
        0,
        9,
        &[
            (0, "siss[sy]"),
            (4, "siiss[sy]"),
            (5, "siisss[sy]"),
            (7, "SiiSSS{SYt}t"),
            (9, "SiiSSS{SYt}St"),
        ],
    ),
    offer(ApiKey::Heartbeat, Api::Heartbeat, 0, 4, &[(2, "sis"), (3, "siss"), (4, "SiSSt")]),
    offer(
        ApiKey::LeaveGroup,
        Api::LeaveGroup,
        0,
        5,
        &[(2, "ss"), (3, "sw[ss]"), (4, "Sw{SSt}t"), (5, "Sw{SSSt}t")],
    ),
    offer(
        ApiKey::SyncGroup,
        Api::SyncGroup,
        0,
        5,
        &[(2, "sis[sy]"), (3, "siss[sy]"), (4, "SiSS{SYt}t"), (5, "SiSSSS{SYt}t")],
    ),
    offer(
        ApiKey::DescribeGroups,
        Api::DescribeGroups,
        0,
        5,
        &[(2, "[s]"), (4, "[s]b"), (5, "{S}bt")],
    ),
    offer(ApiKey::ListGroups, Api::ListGroups, 0, 4, &[(2, ""), (3, "t"), (4, "{S}t")]),
    offer(ApiKey::DeleteGroups, Api::DeleteGroups, 0, 2, &[(1, "[s]"), (2, "{S}t")]),
    offer(ApiKey::DeleteRecords, Api::DeleteRecords, 0, 2, &[(1, "[s[iq]]i"), (2, "{S{iqt}t}it")]),
    offer(ApiKey::AlterConfigs, Api::AlterConfigs, 0, 2, &[(1, "[bs[ss]]b"), (2, "{bS{SSt}t}bt")]),
    offer(
        ApiKey::IncrementalAlterConfigs,
        Api::IncrementalAlterConfigs,
        0,
        1,
        &[(0, "[bs[sbs]]b"), (1, "{bS{SbSt}t}bt")],
    ),
    offer(ApiKey::DescribeCluster, Api::DescribeCluster, 0, 1, &[(0, "bt"), (1, "bbt")]),
    offer(ApiKey::GetTelemetrySubscriptions, Api::GetTelemetrySubscriptions, 0, 0, &[(0, "ut")]),
    offer(ApiKey::PushTelemetry, Api::PushTelemetry, 0, 0, &[(0, "uibbYt")]),
];

/// The offer of the API with this key.
pub(crate) fn offered(key: i16) -> Option<&'static Offered> {
    OFFERED.iter().find(|offered| offered.key as i16 == key)
}

impl Offered {
    /// Whether `version` is offered.
    pub fn has(&self, version: i16) -> bool {
        (self.min..=self.max).contains(&version)
    }

    /// Walks a whole frame, header included, of an offered version; tells how many bytes are left.
    pub fn walk(&self, frame: &[u8], version: i16) -> Result<usize, ShapeError> {
        let header = match self.key.request_header_version(version) {
            0 => "hhi",
            1 => "hhis",
            _ => "hhist",
        };
        let body = self.shapes.iter().find(|(last, _)| version <= *last).map_or("", |(_, it)| it);
        walk(frame, header, body)
    }
}

#[cfg(test)]
mod tests;
