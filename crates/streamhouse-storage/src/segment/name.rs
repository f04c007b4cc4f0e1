use std::fmt;
use std::str::FromStr;
use streamhouse_metadata::SegmentId;
use ulid::Ulid;

/// The name of a segment's object: `<shard>/<hour>/<agent>-<ulid>`.
///
/// - The shard, two hex digits hashed from the ULID, spreads names over prefixes, because stores
///   limit the rate of requests by prefix.
/// - The hour, such as `2025-11-25T02` (UTC), is that of the ULID's stamp: garbage is found by
///   listing one hour of one shard.
/// - The agent is the number of the process that wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentName {
    /// The agent that writes it.
    pub agent: i32,
    /// The segment's id, which carries the stamp.
    pub id: SegmentId,
}

/// A name that is not that of a segment's object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the name of a segment: `<shard>/<hour>/<agent>-<ulid>`, shard and hour of the ulid")]
pub struct NotASegment;

impl SegmentName {
    /// A fresh name, with the time of now as its stamp, or `floor_ms` if that is later.
    pub fn fresh(agent: i32, floor_ms: u64) -> Self {
        let now = Ulid::generate();
        let ulid = match now.timestamp_ms() < floor_ms {
            true => Ulid::from_parts(floor_ms, now.random()),
            false => now,
        };
        Self { agent, id: SegmentId(ulid) }
    }

    /// What the names of a shard's segments stamped in the hour of `stamp_ms` begin with, without
    /// the slash.
    pub fn folder(shard: u8, stamp_ms: u64) -> String {
        format!("{shard:02x}/{}", Hour(stamp_ms))
    }

    fn shard(self) -> u8 {
        (crc_fast::crc32_iscsi(&self.id.0.to_bytes()) >> 24) as u8
    }
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (shard, hour) = (self.shard(), Hour(self.id.stamp_ms()));
        let (agent, id) = (self.agent, self.id);
        write!(f, "{shard:02x}/{hour}/{agent}-{id}")
    }
}

/// The hour of a time in milliseconds since the epoch.
struct Hour(u64);

impl fmt::Display for Hour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hours = self.0 / 3_600_000;
        let (year, month, day) = civil(hours / 24);
        write!(f, "{year:04}-{month:02}-{day:02}T{:02}", hours % 24)
    }
}

impl FromStr for SegmentName {
    type Err = NotASegment;

    fn from_str(text: &str) -> Result<Self, NotASegment> {
        let (_, file) = text.rsplit_once('/').ok_or(NotASegment)?;
        let (agent, ulid) = file.rsplit_once('-').ok_or(NotASegment)?;
        let agent = agent.parse().map_err(|_| NotASegment)?;
        let id = SegmentId(Ulid::from_string(ulid).map_err(|_| NotASegment)?);
        let name = Self { agent, id };
        // Rendering it again checks shard, hour and spelling at once.
        if name.to_string() == text { Ok(name) } else { Err(NotASegment) }
    }
}

/// Year, month and day of a number of days since 1970-01-01.
///
/// Years are counted from March, so that the leap day is a year's last; 400 years always have
/// 146,097 days.
fn civil(days: u64) -> (u64, u64, u64) {
    /// Days from 0000-03-01 to 1970-01-01.
    const TO_EPOCH: u64 = 719_468;
    let days = days + TO_EPOCH;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(stamp_ms: u64) -> SegmentName {
        SegmentName { agent: 3, id: SegmentId(Ulid::from_parts(stamp_ms, 7)) }
    }

    #[test]
    fn a_name_shows_shard_hour_agent_and_id() {
        assert_eq!(
            named(1_764_037_502_000).to_string(),
            "d5/2025-11-25T02/3-01KAWD891G0000000000000007"
        );
    }

    #[test]
    fn every_day_of_eight_hundred_years_follows_its_predecessor() {
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for days in 0..292_194 {
            assert_eq!(civil(days), (year, month, day));
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let length = match month {
                2 => 28 + u64::from(leap),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            day += 1;
            if day > length {
                (month, day) = (month + 1, 1);
            }
            if month > 12 {
                (year, month) = (year + 1, 1);
            }
        }
    }

    #[test]
    fn a_fresh_name_is_never_stamped_below_the_floor_and_lies_in_its_hours_folder() {
        let now = SegmentName::fresh(3, 0).id.stamp_ms();
        let floor = now + 3_600_000;
        let name = SegmentName::fresh(3, floor);
        assert_eq!(name.id.stamp_ms(), floor);
        assert_ne!(SegmentName::fresh(3, floor), name);
        let folder = SegmentName::folder(name.shard(), floor);
        assert!(name.to_string().starts_with(&format!("{folder}/")), "{name} in {folder}");
        assert!(name.to_string() < format!("{folder}/~"));
        assert!(SegmentName::fresh(3, now - 1).id.stamp_ms() >= now);
    }

    #[test]
    fn a_name_is_read_back_with_its_stamp() {
        for stamp in [0, 1_764_037_502_123, (1 << 48) - 1] {
            let name = named(stamp);
            let read: SegmentName = name.to_string().parse().unwrap();
            assert_eq!(read, name);
            assert_eq!(read.id.stamp_ms(), stamp);
        }
    }

    #[test]
    fn names_that_contradict_themselves_are_refused() {
        let good = named(1_764_037_502_000).to_string();
        let wrong = [
            String::new(),
            good.replace("d5/", "d6/"),
            good.replace("T02", "T03"),
            good.to_lowercase(),
            good.replace("/3-", "/03-"),
            format!("prefix/{good}"),
            good[..good.len() - 1].to_owned(),
        ];
        for name in wrong {
            assert!(name.parse::<SegmentName>().is_err(), "{name:?} was accepted");
        }
    }

    #[test]
    fn names_spread_over_prefixes() {
        let shards: std::collections::HashSet<u8> =
            (0..4_096).map(|stamp| named(1_764_037_502_000 + stamp).shard()).collect();
        assert!(shards.len() > 250, "only {} shards of 256", shards.len());
    }
}
