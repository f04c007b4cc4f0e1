//! The streamhouse binary.
fn main() {}
