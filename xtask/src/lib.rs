//! What `cargo xtask` does besides the engine: getting binaries, checking a checkout, making a
//! service, measuring, and servers in the foreground.
//!
//! Stands on the engine, which the controller shares. Knows no command line: that is the binary's.

pub mod attach;
pub mod bars;
pub mod bench;
pub mod cargo;
pub mod ci;
pub mod dep;
pub mod doctor;
pub mod init;
pub mod load;
pub mod nats_run;
pub mod open;
pub mod service;
pub mod stages;
