//! The ends of the partitions in which some groups have places.

use super::source::Source;
use streamhouse_metadata::{MetadataError, TopicPartition, Watermarks};

/// What was told of partitions, each asked for once however many groups have a place in it.
#[derive(Debug, Default)]
pub(super) struct Ends {
    /// Sorted, once they are asked for.
    partitions: Vec<TopicPartition>,
    told: Vec<Option<Watermarks>>,
}

impl Ends {
    /// Forgets everything.
    pub fn clear(&mut self) {
        self.partitions.clear();
        self.told.clear();
    }

    /// Asks for `partitions` too.
    pub fn want(&mut self, partitions: impl Iterator<Item = TopicPartition>) {
        self.partitions.extend(partitions);
    }

    /// Asks, at most `slice` partitions at a time.
    pub async fn ask(&mut self, source: &impl Source, slice: usize) -> Result<(), MetadataError> {
        // Groups list their places in order: sorting them is merging.
        self.partitions.sort();
        self.partitions.dedup();
        for partitions in self.partitions.chunks(slice) {
            self.told.extend(source.ends(partitions).await?);
        }
        Ok(())
    }

    /// What was told of partitions that are named in order.
    pub fn walk(&self) -> impl FnMut(TopicPartition) -> Option<Watermarks> {
        let mut at = None;
        move |partition| {
            let at = at.get_or_insert_with(|| self.partitions.partition_point(|p| *p < partition));
            while self.partitions.get(*at).is_some_and(|other| *other < partition) {
                *at += 1;
            }
            let is_there = self.partitions.get(*at) == Some(&partition);
            if is_there { self.told.get(*at).copied().flatten() } else { None }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::Log;
    use super::*;

    #[tokio::test]
    async fn a_partition_of_several_groups_is_asked_for_once_and_told_to_each() {
        let log = Log::default();
        let topic = log.create("t", 5);
        let at = |partition| TopicPartition { topic, partition };
        for partition in 0..5 {
            log.append(at(partition), partition as usize, 0);
        }
        let groups = [vec![0, 2, 4, 7], vec![1, 2], vec![], vec![4]];
        let mut ends = Ends::default();
        groups.iter().for_each(|places| ends.want(places.iter().map(|place| at(*place))));
        ends.ask(&log, 2).await.unwrap();
        assert_eq!(ends.told.len(), 5);
        for places in groups {
            let mut told = ends.walk();
            for place in places {
                let expected = (place < 5).then_some(i64::from(place));
                assert_eq!(told(at(place)).map(|ends| ends.high_watermark), expected);
            }
        }
        ends.clear();
        assert_eq!(ends.walk()(at(1)), None);
    }
}
