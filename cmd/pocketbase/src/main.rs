//! The pocketbase wrapper.

fn main() {}
