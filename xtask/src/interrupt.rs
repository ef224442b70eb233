//! Ctrl-C and SIGTERM while a command is at work: noticed, not obeyed at once, so that what was
//! begun is ended in order.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use signal_hook::consts::{SIGINT, SIGTERM};

/// Whether the user asked to end.
#[derive(Debug, Clone)]
pub struct Interrupt {
    interrupted: Arc<AtomicBool>,
    terminated: Arc<AtomicBool>,
}

/// The error of a command that was asked to end. Its exit code is 128 + the signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interrupted(pub i32);

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

impl Interrupt {
    /// Begins to notice. A second signal of the same kind ends the command at once.
    pub fn watch() -> anyhow::Result<Self> {
        let flag = |signal| -> std::io::Result<Arc<AtomicBool>> {
            let flag = Arc::new(AtomicBool::new(false));
            // In this order: the flag that the first signal sets arms the shutdown.
            signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, flag.clone())?;
            signal_hook::flag::register(signal, flag.clone())?;
            Ok(flag)
        };
        let context = "cannot watch for signals";
        Ok(Self {
            interrupted: flag(SIGINT).context(context)?,
            terminated: flag(SIGTERM).context(context)?,
        })
    }

    /// The signal that came, if one did.
    pub fn signal(&self) -> Option<Interrupted> {
        if self.interrupted.load(Ordering::Relaxed) {
            Some(Interrupted(SIGINT))
        } else if self.terminated.load(Ordering::Relaxed) {
            Some(Interrupted(SIGTERM))
        } else {
            None
        }
    }
}
