//! Outcomes: how a measured step ended.

use crate::declare::ClosedLabel;

/// How a step ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It succeeded.
    Ok,
    /// It failed.
    Error,
    /// Its caller went away before it ended.
    Cancelled,
}

impl ClosedLabel for Outcome {
    const KEY: &'static str = "outcome";
    const ALL: &'static [Self] = &[Self::Ok, Self::Error, Self::Cancelled];

    fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Error => "error",
            Self::Cancelled => "cancelled",
        }
    }

    fn index(self) -> usize {
        self as usize
    }
}
