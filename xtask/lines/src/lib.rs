//! Log files of processes as the supervisor writes them: read in blocks, merged by time, filtered
//! and shown.
//!
//! A package of its own because its speed is felt: it is optimised in every profile. Knows the
//! form of the files and nothing of a stack: which processes there are, and who reads, is the
//! caller's. Must not print.

mod files;
mod level;
mod line;
mod literal;
mod merge;
mod show;
mod source;
mod text;

pub use files::{chain, processes};
pub use level::Level;
pub use merge::merge;
pub use regex_lite::Regex;
pub use show::{Filter, Format, Show};
pub use source::Source;
pub use text::append as append_text;
