//! The controller's view of the stack: what runs, what its manifests require, how it is changed.
//!
//! A boundary, so that tests can use a fake. Must not decide anything.

use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use engine::Ctx;
use engine::base::interrupt::Interrupt;
use engine::checkout::paths::Paths;
use engine::checkout::recorded::Recorded;
use engine::operations::change::{self, Change};
use kit::files::FileLock;
use service_nats::topology::{self, Origin, Spec};

/// The state of the stack at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct World {
    /// The services.
    pub(crate) services: BTreeSet<String>,
    /// The topology that was applied last.
    pub(crate) spec: Spec,
    /// Who requested it.
    pub(crate) origin: Origin,
    /// The topology that the manifests require.
    pub(crate) declared: Spec,
    /// Whether a command or we are changing the stack: the fields above may be inconsistent.
    pub(crate) busy: bool,
}

/// A running stack.
pub(crate) trait Stack: Send + Sync + 'static {
    /// Reads its state. Takes a millisecond.
    fn look(&self) -> anyhow::Result<World>;

    /// Applies `change`, or leaves the stack unchanged. Takes seconds, or minutes while other
    /// commands run; gives up when `interrupt` is set.
    fn apply(&self, change: &Change, interrupt: Arc<AtomicBool>) -> anyhow::Result<()>;

    /// Whether the whole stack is being stopped.
    fn is_stopping(&self) -> bool;
}

/// The stack that this controller is part of.
#[derive(Debug)]
pub(crate) struct Live {
    paths: Paths,
    /// The recorded inputs, which rarely change.
    read: Mutex<Option<Declared>>,
}

/// The content of the recorded inputs.
#[derive(Debug, Clone)]
struct Declared {
    /// The bytes that it was read from.
    from: Vec<u8>,
    services: BTreeSet<String>,
    spec: Spec,
}

impl Live {
    pub(crate) fn new(paths: Paths) -> Self {
        Self {
            paths,
            read: Mutex::new(None),
        }
    }

    fn declared(&self) -> anyhow::Result<Declared> {
        let from = fs::read(self.paths.recorded()).unwrap_or_default();
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(read) = read.as_ref().filter(|read| read.from == from) {
            return Ok(read.clone());
        }
        let recorded = Recorded::load(&self.paths)?;
        let chosen = |name: &String| recorded.chosen().is_none_or(|names| names.contains(name));
        let services = recorded.services()?.into_iter();
        let declared = Declared {
            from,
            services: services.map(|s| s.name).filter(chosen).collect(),
            spec: change::declared(&Ctx::recorded(self.paths.clone())?)?,
        };
        Ok(read.insert(declared).clone())
    }
}

impl Stack for Live {
    fn look(&self) -> anyhow::Result<World> {
        let busy = || FileLock::is_held(&self.paths.operation_lock());
        let busy_before = busy()?;
        let declared = self.declared()?;
        let facts = topology::read(&self.paths.topology())?;
        Ok(World {
            services: declared.services,
            spec: facts.spec,
            origin: facts.origin,
            declared: declared.spec,
            busy: busy_before || busy()?,
        })
    }

    fn apply(&self, change: &Change, interrupt: Arc<AtomicBool>) -> anyhow::Result<()> {
        let ctx = Ctx::recorded(self.paths.clone())?;
        change::apply(&ctx, change, &Interrupt::by_flag(interrupt))
    }

    fn is_stopping(&self) -> bool {
        FileLock::is_held(&self.paths.down_lock()).unwrap_or(false)
    }
}
