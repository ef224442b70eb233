//! From manifests, variables, ports and a topology to the file that process-compose runs.
//!
//! Pure: no file, no process, no clock, no network, which a test checks.

pub mod binaries;
pub mod doubts;
pub mod env;
pub mod render;
pub mod select;
pub mod stack;
