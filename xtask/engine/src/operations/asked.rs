//! What `up` is asked for, and what it did.

use std::time::Duration;

use super::inputs::Selection;
use crate::supervisor::operation::Wait as LockWait;
use crate::supervisor::state::Changes;

/// What is done when nothing runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// `up`: everything is started.
    Up,
    /// `reload`: it is an error.
    Reload,
}

/// What `up` is asked for.
#[derive(Debug, Clone)]
pub struct Options {
    /// What is done when nothing runs.
    pub mode: Mode,
    /// Which services are asked for.
    pub selection: Selection,
    /// How long everything may take to become healthy.
    pub timeout: Duration,
    /// Whether to wait for another operation on this instance.
    pub lock: LockWait,
    /// Whether streams of nodes that go are moved to nodes that stay; otherwise the change is
    /// refused.
    pub move_streams: bool,
}

/// What `up` found and did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing ran: everything was started.
    Started,
    /// It ran already, as described.
    Unchanged,
    /// It ran, and these processes were added, updated, removed or, in place, reloaded.
    Changed(Changes),
}

impl Outcome {
    /// Adds what was done to further processes.
    pub(crate) fn add(&mut self, more: Changes) {
        match self {
            Self::Started => {}
            Self::Unchanged => *self = Self::Changed(more),
            Self::Changed(changes) => changes.extend(more),
        }
    }
}
