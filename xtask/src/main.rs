//! The `cargo xtask` binary.

fn main() {}
