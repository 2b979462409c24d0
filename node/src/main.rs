//! The binary `steward`.
fn main() {}
