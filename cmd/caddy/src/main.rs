//! The caddy wrapper.

fn main() {}
