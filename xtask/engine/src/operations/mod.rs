//! What the commands do, as generic steps on the floors below.
//!
//! Must not read the command line, and print no more than a line of progress.

pub mod asked;
pub mod backup;
pub mod change;
pub mod clean;
pub mod converge;
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
