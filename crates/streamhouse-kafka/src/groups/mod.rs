//! Consumer groups.

pub(crate) mod table; // what this agent knows of its groups, for whoever looks at them
