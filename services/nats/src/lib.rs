//! The nats service: a NATS server with JetStream, ready to become a leaf of a larger cluster.
//!
//! Owns the server's configuration file, its credentials and the mark on its store. Must not
//! start anything but the server and its configuration check.

pub mod client;
pub mod cluster;
mod config;
pub mod credentials;
pub mod events;
pub mod jetstream;
mod reload;
mod run;
mod settings;
mod store;
pub mod topology;

pub use run::run;
pub use settings::{Settings, check};
