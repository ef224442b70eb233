//! Turns manifests, variables, ports and a topology into the file that process-compose runs.
//!
//! Pure: no files, processes, clock or network; a test checks this.

pub mod binaries;
pub mod doubts;
pub mod env;
pub mod render;
pub mod select;
pub mod stack;
