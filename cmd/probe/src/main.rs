//! The readiness probe.

fn main() {}
