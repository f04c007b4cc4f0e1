//! The ends of the partitions that any group has a place in.

use std::collections::HashMap;
use streamhouse_metadata::{TopicPartition, Watermarks};

/// A partition's place among [`Ends`].
pub(super) type Place = usize;

/// Ends by place, each kept for as long as a group asks for it.
#[derive(Debug, Default)]
pub(super) struct Ends {
    places: HashMap<TopicPartition, Place>,
    slots: Vec<Slot>,
    free: Vec<Place>,
}

#[derive(Debug)]
struct Slot {
    partition: TopicPartition,
    users: usize,
    ends: Option<Watermarks>,
}

impl Ends {
    /// The place of `partition`, for one user more.
    pub fn add(&mut self, partition: TopicPartition) -> Place {
        if let Some(&place) = self.places.get(&partition) {
            self.slots[place].users += 1;
            return place;
        }
        let slot = Slot { partition, users: 1, ends: None };
        let place = match self.free.pop() {
            Some(place) => {
                self.slots[place] = slot;
                place
            }
            None => {
                self.slots.push(slot);
                self.slots.len() - 1
            }
        };
        self.places.insert(partition, place);
        place
    }

    /// Takes a user from `place`.
    pub fn remove(&mut self, place: Place) {
        let slot = &mut self.slots[place];
        slot.users -= 1;
        if slot.users == 0 {
            slot.ends = None;
            self.places.remove(&slot.partition);
            self.free.push(place);
        }
    }

    /// What was told last of `place`.
    pub fn get(&self, place: Place) -> Option<Watermarks> {
        self.slots[place].ends
    }

    /// All partitions in use, with their places.
    pub fn wanted(&self) -> impl Iterator<Item = (Place, TopicPartition)> {
        let used = self.slots.iter().enumerate().filter(|(_, slot)| slot.users > 0);
        used.map(|(place, slot)| (place, slot.partition))
    }

    /// Takes note of what was told; `None`: the partition does not exist.
    pub fn set(&mut self, place: Place, ends: Option<Watermarks>) {
        self.slots[place].ends = ends;
    }

    /// How many partitions are in use.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.places.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use streamhouse_metadata::TopicId;
    use uuid::Uuid;

    #[test]
    fn a_partition_is_kept_until_its_last_user_goes_and_its_place_is_used_again() {
        let partition = |n| TopicPartition { topic: TopicId(Uuid::nil()), partition: n };
        let mut ends = Ends::default();
        let (first, again) = (ends.add(partition(1)), ends.add(partition(1)));
        assert_eq!(first, again);
        ends.set(first, Some(Watermarks { log_start: 0, high_watermark: 5 }));
        ends.remove(first);
        assert!(ends.get(first).is_some());
        ends.remove(first);
        assert_eq!((ends.len(), ends.wanted().count()), (0, 0));
        let other = ends.add(partition(2));
        assert_eq!((other, ends.get(other)), (first, None), "nothing is left of the former one");
    }
}
