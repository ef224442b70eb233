//! Log files of processes as the supervisor writes them: read in blocks, merged by time, filtered
//! and shown.
//!
//! A package of its own because its speed matters to users: it is optimised in every profile. Knows
//! the format of the files and nothing of a stack: the caller decides which processes there are and
//! where the output goes. Must not print.

mod files;
mod level;
mod line;
mod literal;
mod merge;
mod show;
mod since;
mod source;
mod text;

pub use files::{chain, processes};
pub use level::Level;
pub use merge::merge;
pub use regex_lite::Regex;
pub use show::{Filter, Format, Show};
pub use source::Source;
pub use text::append as append_text;
