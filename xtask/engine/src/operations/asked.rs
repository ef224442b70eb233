//! The options of `up`, and its result.

use std::time::Duration;

use super::inputs::Selection;
use crate::supervisor::operation::Wait as LockWait;
use crate::supervisor::state::Changes;

/// What to do if no stack is running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// `up`: everything is started.
    Up,
    /// `reload`: fail.
    Reload,
}

/// The options of `up`.
#[derive(Debug, Clone)]
pub struct UpOptions {
    /// What to do if no stack is running.
    pub mode: Mode,
    /// The selected services.
    pub selection: Selection,
    /// How long everything may take to become healthy.
    pub timeout: Duration,
    /// Whether to wait for another operation on this instance.
    pub lock: LockWait,
    /// Whether streams of nodes that leave are moved to nodes that stay; otherwise the change is
    /// refused.
    pub move_streams: bool,
}

/// The result of `up`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// No stack was running: all processes were started.
    Started,
    /// The stack was running as described.
    Unchanged,
    /// It was running, and these processes were added, updated, removed or, in place, reloaded.
    Changed(Changes),
}

impl Outcome {
    /// Adds the changes of further processes.
    pub(crate) fn add(&mut self, more: Changes) {
        match self {
            Self::Started => {}
            Self::Unchanged => *self = Self::Changed(more),
            Self::Changed(changes) => changes.extend(more),
        }
    }
}
