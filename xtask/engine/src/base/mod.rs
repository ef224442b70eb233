//! What every other floor uses: messages to the user, waiting, running programs, digests.
//!
//! Must not know what a stack is.

pub mod digest;
pub mod interrupt;
pub mod limits;
pub mod poll;
pub mod threads;
pub mod tool;
pub mod ui;
