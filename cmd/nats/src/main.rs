//! The nats wrapper.

fn main() {}
