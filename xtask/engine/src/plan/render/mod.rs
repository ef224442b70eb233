//! PURE: [`Stack`](crate::plan::stack::Stack) -> text for a target. Deterministic: the same stack
//! gives the same bytes on any machine, and entries that a change does not concern stay the same.

pub mod compose;
pub mod difference;
pub mod graph;
pub mod settings;
pub mod variables;
mod yaml;
