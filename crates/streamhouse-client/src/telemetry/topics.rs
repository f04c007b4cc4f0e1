//! What is kept for each topic, found without a lock.

use std::sync::{Mutex, OnceLock, PoisonError};

/// How many topics have series of their own, for each producer side and each group.
pub const TOPICS: usize = 100;
/// A power of two, far above [`TOPICS`], so that searches end soon.
const SLOTS: usize = 256;

/// The place of a topic that has no series of its own.
const OTHER: u16 = u16::MAX;

/// Where a topic's cells are: keep it instead of the topic's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place(u16);

/// One topic with its cells.
#[derive(Debug)]
pub(crate) struct Topic<T> {
    /// The name; `None` stands for all topics beyond the bound.
    pub(crate) name: Option<Box<str>>,
    pub(crate) cells: T,
}

/// The first [`TOPICS`] topics that were asked for; all others share one place.
///
/// Topics are only ever added, so finding a known one is a few loads: no lock, no reference count.
/// A topic beyond the bound takes the lock that adding takes.
#[derive(Debug)]
pub(crate) struct Topics<T> {
    slots: Box<[OnceLock<Topic<T>>]>,
    taken: Mutex<usize>,
    other: OnceLock<Topic<T>>,
}

impl<T> Default for Topics<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Topics<T> {
    pub(crate) fn new() -> Self {
        let slots = std::iter::repeat_with(OnceLock::new).take(SLOTS).collect();
        Self { slots, taken: Mutex::new(0), other: OnceLock::new() }
    }

    /// The place of topic `name`; `make` makes its cells if it is new.
    pub(crate) fn find(&self, name: &str, make: impl FnOnce(Option<&str>) -> T) -> Place {
        match self.search(name) {
            Ok(place) => place,
            Err(_) => self.add(name, make),
        }
    }

    /// The place of topic `name`, or the free slot where its search ended.
    fn search(&self, name: &str) -> Result<Place, usize> {
        let mut at = hash(name) % SLOTS;
        loop {
            match self.slots[at].get() {
                Some(topic) if topic.name.as_deref() == Some(name) => return Ok(Place(at as u16)),
                Some(_) => at = (at + 1) % SLOTS,
                // There always is one: far fewer topics are added than there are slots.
                None => return Err(at),
            }
        }
    }

    fn add(&self, name: &str, make: impl FnOnce(Option<&str>) -> T) -> Place {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        match self.search(name) {
            Ok(place) => place,
            Err(free) if *taken < TOPICS => {
                *taken += 1;
                let topic = Topic { name: Some(name.into()), cells: make(Some(name)) };
                let _ = self.slots[free].set(topic);
                Place(free as u16)
            }
            Err(_) => {
                self.other.get_or_init(|| Topic { name: None, cells: make(None) });
                Place(OTHER)
            }
        }
    }

    /// What [`find`](Self::find) found.
    pub(crate) fn at(&self, place: Place) -> Option<&Topic<T>> {
        match place.0 {
            OTHER => self.other.get(),
            at => self.slots.get(usize::from(at)).and_then(OnceLock::get),
        }
    }

    /// Every topic, that of all others last.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Topic<T>> {
        self.slots.iter().chain([&self.other]).filter_map(OnceLock::get)
    }
}

/// Spreads names of topics: FNV-1a over at most their last 16 bytes, where names differ.
fn hash(name: &str) -> usize {
    let bytes = name.as_bytes();
    let end = &bytes[bytes.len().saturating_sub(16)..];
    let mix = |hash: u32, byte: &u8| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
    let hash = end.iter().fold(0x811c_9dc5 ^ bytes.len() as u32, mix);
    (hash ^ (hash >> 15)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_keeps_its_place_and_its_cells() {
        let topics = Topics::new();
        let orders = topics.find("orders", |name| name.map(str::to_owned));
        assert_eq!(topics.find("orders", |_| panic!("there already")), orders);
        let payments = topics.find("payments", |name| name.map(str::to_owned));
        assert_ne!(payments, orders);
        assert_eq!(topics.at(payments).unwrap().cells.as_deref(), Some("payments"));
    }

    #[test]
    fn topics_beyond_the_bound_share_one_place_and_the_known_keep_theirs() {
        let topics = Topics::new();
        let names: Vec<_> = (0..TOPICS + 50).map(|number| format!("topic-{number}")).collect();
        let places: Vec<_> = names.iter().map(|name| topics.find(name, |_| ())).collect();
        for place in &places[TOPICS..] {
            assert_eq!(*place, Place(OTHER));
        }
        for (name, place) in names.iter().zip(&places).take(TOPICS) {
            assert_eq!(topics.at(*place).unwrap().name.as_deref(), Some(name.as_str()));
            assert_eq!(topics.find(name, |_| ()), *place);
        }
        assert_eq!(topics.iter().count(), TOPICS + 1);
    }

    #[test]
    fn threads_that_meet_a_topic_at_once_agree_on_its_place() {
        let topics = Topics::new();
        let places: Vec<Vec<Place>> = std::thread::scope(|scope| {
            let find = || (0..TOPICS).map(|n| topics.find(&n.to_string(), |_| ())).collect();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(find)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(places.iter().all(|other| *other == places[0]));
        assert!(places[0].iter().all(|place| *place != Place(OTHER)));
    }
}
