//! All orchestration of a Core stack, as a library: the binary and the controller call it.
//!
//! Knows no command line: that is the binary's. `stack` and `render` are pure; everything else
//! touches files, processes or the network.

pub mod dep;
pub mod env;
pub mod paths;
pub mod ui;
