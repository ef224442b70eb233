//! Ctrl-C, SIGTERM and a terminal that is closed while a command is at work: noticed, not obeyed at
//! once, so that what was begun is ended in order.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};

use crate::base::ui::Ui;

/// How often it is looked whether somebody waits for an answer.
const ANSWER_POLL: Duration = Duration::from_millis(20);

/// Whether the user asked to end.
#[derive(Debug, Clone, Default)]
pub struct Interrupt {
    flags: Vec<(i32, Arc<AtomicBool>)>,
}

/// The error of a command that was asked to end. Its exit code is 128 + the signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interrupted(pub i32);

/// That a signal is answered at once, until this is dropped.
#[derive(Debug)]
#[must_use]
pub struct Answer(#[expect(dead_code, reason = "that it is dropped is the message")] Sender<()>);

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
        Self::begin(true)
    }

    /// Begins to notice what comes from now on. No signal ends the command by itself: that is for
    /// those who have to end something first, however impatient the user is.
    pub fn notice() -> anyhow::Result<Self> {
        Self::begin(false)
    }

    fn begin(ends_at_second: bool) -> anyhow::Result<Self> {
        // What ignores them for us, `nohup` above all, wants the command to survive them.
        let optional = [SIGHUP, SIGQUIT].into_iter();
        let wanted = optional.filter(|signal| !is_ignored(*signal));
        let mut flags = Vec::new();
        for signal in [SIGINT, SIGTERM].into_iter().chain(wanted) {
            let flag = Arc::new(AtomicBool::new(false));
            // In this order: the flag that the first signal sets arms the shutdown. A terminal that
            // is closed may hang up more than once, and nobody is impatient there.
            let arm = || {
                let (code, flag) = (128 + signal, flag.clone());
                signal_hook::flag::register_conditional_shutdown(signal, code, flag).map(drop)
            };
            let is_armed = ends_at_second && signal != SIGHUP;
            let armed = if is_armed { arm() } else { Ok(()) };
            armed
                .and_then(|()| signal_hook::flag::register(signal, flag.clone()))
                .context("cannot watch for signals")?;
            flags.push((signal, flag));
        }
        Ok(Self { flags })
    }

    /// Says `what` as soon as the signal comes, whatever the command waits for then: ending in
    /// order may take seconds. Until the answer is dropped.
    pub fn answer(&self, ui: &Ui, what: &str) -> Answer {
        let (answer, dropped) = mpsc::channel();
        let (interrupt, ui, what) = (self.clone(), ui.clone(), what.to_owned());
        let watch = move || {
            while dropped.recv_timeout(ANSWER_POLL) == Err(RecvTimeoutError::Timeout) {
                if interrupt.signal().is_some() {
                    return ui.line(what);
                }
            }
        };
        // Without a thread, the end itself is the answer.
        let _ = thread::Builder::new().spawn(watch);
        Answer(answer)
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

/// Whether we were started with a signal ignored.
#[cfg(target_os = "linux")]
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    ignored.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

/// Whether we were started with a signal ignored: `nohup` takes the terminal away from stderr.
#[cfg(not(target_os = "linux"))]
fn is_ignored(signal: i32) -> bool {
    use std::io::IsTerminal as _;
    signal == SIGHUP && !std::io::stderr().is_terminal()
}
