//! The series of one client instance, in little memory.

use std::collections::HashSet;

/// Hashes of series, in order: eight bytes each and no more.
#[derive(Debug, Default)]
pub(super) struct Series(Box<[u64]>);

impl Series {
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Which of `series` are known or have room, of which there is `room` for new ones; those are
    /// known afterwards.
    pub fn admit(&mut self, series: &[u64], room: usize) -> Vec<bool> {
        let mut new = HashSet::new();
        let admit = |hash: &u64| {
            self.0.binary_search(hash).is_ok()
                || new.contains(hash)
                || (new.len() < room && new.insert(*hash))
        };
        let kept = series.iter().map(admit).collect();
        if !new.is_empty() {
            let mut all = Vec::with_capacity(self.0.len() + new.len());
            all.extend_from_slice(&self.0);
            all.extend(new);
            all.sort_unstable();
            self.0 = all.into_boxed_slice();
        }
        kept
    }
}
