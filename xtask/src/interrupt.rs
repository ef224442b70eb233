//! Ctrl-C, SIGTERM and a terminal that is closed while a command is at work: noticed, not obeyed at
//! once, so that what was begun is ended in order.

use std::fmt;
use std::io::IsTerminal as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// Whether the user asked to end.
#[derive(Debug, Clone, Default)]
pub struct Interrupt {
    flags: Vec<(i32, Arc<AtomicBool>)>,
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
    /// An end that is asked for by a flag instead of a signal; it counts as SIGTERM.
    pub fn by_flag(flag: Arc<AtomicBool>) -> Self {
        Self {
            flags: vec![(SIGTERM, flag)],
        }
    }

    /// The same, and an end that is asked for by a flag.
    #[must_use]
    pub fn or_flag(&self, flag: Arc<AtomicBool>) -> Self {
        let mut flags = self.flags.clone();
        flags.push((SIGTERM, flag));
        Self { flags }
    }

    /// Begins to notice. A second signal of the same kind ends the command at once.
    pub fn watch() -> anyhow::Result<Self> {
        // `nohup` takes the terminal away from stderr: what it is to survive is not noticed then.
        let hang_up = std::io::stderr().is_terminal().then_some(SIGHUP);
        let mut flags = Vec::new();
        for signal in [SIGINT, SIGTERM].into_iter().chain(hang_up) {
            let flag = Arc::new(AtomicBool::new(false));
            // In this order: the flag that the first signal sets arms the shutdown.
            signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, flag.clone())
                .and_then(|_| signal_hook::flag::register(signal, flag.clone()))
                .context("cannot watch for signals")?;
            flags.push((signal, flag));
        }
        Ok(Self { flags })
    }

    /// The signal that came, if one did.
    pub fn signal(&self) -> Option<Interrupted> {
        let came = |(_, flag): &&(i32, Arc<AtomicBool>)| flag.load(Ordering::Relaxed);
        self.flags
            .iter()
            .find(came)
            .map(|(signal, _)| Interrupted(*signal))
    }
}
