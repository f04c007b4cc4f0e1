//! The limit on lines per second: it tames a storm, and still shows each kind of line in it.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use tracing::Metadata;

/// Kinds of lines that are told apart.
const KINDS: usize = 1024;
/// How many places a kind may take after its own.
const PROBES: usize = 32;
/// The SDK speaks about each signal at most once in so many seconds.
const SDK_SECONDS: u64 = 30;

/// Whether a line comes from the OpenTelemetry crates.
pub(super) fn is_sdk(metadata: &Metadata<'_>) -> bool {
    metadata.target().starts_with("opentelemetry")
}

/// Lets at most so many lines a second pass, and beyond that the first line of each kind (each
/// place in the code) in that second.
#[derive(Debug)]
pub(super) struct Limit {
    per_second: u64,
    /// The second (upper 40 bits) and the lines in it so far.
    window: AtomicU64,
    kinds: Box<[Kind]>,
    /// When the SDK last spoke about traces, logs, metrics, anything else.
    sdk: [AtomicU64; 4],
}

#[derive(Debug, Default)]
struct Kind {
    place: AtomicUsize,
    second: AtomicU64,
}

impl Limit {
    pub(super) fn new(per_second: u32) -> Self {
        Self {
            per_second: per_second.into(),
            window: AtomicU64::new(0),
            kinds: (0..KINDS).map(|_| Kind::default()).collect(),
            sdk: Default::default(),
        }
    }

    /// Whether a line from this place may be written in this second.
    pub(super) fn admits(&self, metadata: &'static Metadata<'static>, second: u64) -> bool {
        if is_sdk(metadata) {
            return self.admits_sdk(metadata, second);
        }
        const COUNT: u64 = (1 << 24) - 1;
        let window = self.window.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |window| {
            let same = window >> 24 == second;
            Some(if same { window + u64::from(window & COUNT < COUNT) } else { second << 24 | 1 })
        });
        let before = match window {
            Ok(window) if window >> 24 == second => window & COUNT,
            _ => 0,
        };
        let first = self.first(std::ptr::from_ref(metadata) as usize, second);
        before < self.per_second || first
    }

    /// Whether `place` has not been seen in this second. A place for which there is no room in the
    /// table is not told apart.
    fn first(&self, place: usize, second: u64) -> bool {
        let start = (place >> 4).wrapping_mul(0x9e37_79b9) % KINDS;
        for kind in self.kinds[start..].iter().chain(&self.kinds[..start]).take(PROBES) {
            let taken = kind.place.compare_exchange(0, place, Ordering::Relaxed, Ordering::Relaxed);
            if taken.is_ok() || taken == Err(place) {
                return kind.second.load(Ordering::Relaxed) != second
                    && kind.second.swap(second, Ordering::Relaxed) != second;
            }
        }
        false
    }

    fn admits_sdk(&self, metadata: &Metadata<'_>, second: u64) -> bool {
        let name = metadata.name();
        let about = |words: &[&str]| words.iter().any(|word| name.contains(word));
        let signal = match () {
            () if about(&["Span", "Trace"]) => 0,
            () if about(&["Log"]) => 1,
            () if about(&["Metric", "Meter", "Reader"]) => 2,
            () => 3,
        };
        self.sdk[signal]
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| {
                (last == 0 || second >= last.saturating_add(SDK_SECONDS)).then_some(second)
            })
            .is_ok()
    }
}
