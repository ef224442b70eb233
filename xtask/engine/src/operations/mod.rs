//! The implementations of the commands, as generic steps that use the floors below.
//!
//! Must not read the command line, and must print at most a line of progress.

pub mod asked;
pub mod backup;
pub mod change;
pub mod clean;
pub mod converge;
pub mod ephemeral;
pub mod exports;
pub mod follow;
pub mod inputs;
pub mod life;
pub mod observe;
pub mod ports;
pub mod preflight;
pub mod preview;
pub mod ps;
pub mod status;
pub mod up;
