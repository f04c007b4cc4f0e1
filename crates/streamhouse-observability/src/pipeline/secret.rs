//! Headers of OTLP requests: they may hold tokens, so no text of ours shows them.

use std::fmt;

/// Names and values of headers. `Debug` shows the names alone.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers(Vec<(String, String)>);

impl Headers {
    /// Headers from names and values.
    pub fn new(pairs: impl IntoIterator<Item = (String, String)>) -> Self {
        Self(pairs.into_iter().collect())
    }

    /// Names and values, for whoever sends them.
    pub(crate) fn reveal(&self) -> &[(String, String)] {
        &self.0
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.iter().map(|(name, _)| (name, "redacted"))).finish()
    }
}
