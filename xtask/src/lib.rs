//! All orchestration of a Core stack, as a library: the binary and the controller call it.
//!
//! Knows no command line: that is the binary's. `stack` and `render` are pure; everything else
//! touches files, processes or the network.

mod addresses;
pub mod applied;
pub mod backup;
pub mod bench;
pub mod blame;
pub mod cargo;
pub mod ci;
pub mod clean;
pub mod context;
mod converge;
pub mod dep;
pub mod doctor;
pub mod env;
pub mod events;
pub mod exports;
pub mod follow;
pub mod hints;
pub mod init;
pub mod inputs;
pub mod instances;
pub mod interrupt;
pub mod kept;
pub mod life;
mod limits;
pub mod links;
pub mod load;
pub mod logs;
pub mod manifests;
pub mod nats_run;
pub mod observe;
pub mod open;
pub mod paths;
pub mod plan;
mod poll;
pub mod ports;
pub mod preflight;
pub mod recorded;
pub mod render;
pub mod scripts;
pub mod select;
pub mod service;
mod settings;
mod sizes;
pub mod stack;
pub mod status;
pub mod supervisor;
mod threads;
pub mod timing;
mod tool;
pub mod topology;
pub mod ui;
pub mod up;

pub use context::Ctx;

/// The version of every document that a command prints as JSON: only additions within one.
pub const SCHEMA_VERSION: u32 = 1;
