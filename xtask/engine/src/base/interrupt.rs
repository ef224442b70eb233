//! Ctrl-C, SIGTERM and a closed terminal while a command runs. Signals are recorded and not obeyed
//! at once, so that the command can finish or undo its work in order.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};

use crate::base::ui::Ui;

/// How often the thread of an [`Answer`] polls for a signal.
const ANSWER_POLL: Duration = Duration::from_millis(20);

/// Records whether the user asked the command to stop.
#[derive(Debug, Clone, Default)]
pub struct Interrupt {
    flags: Vec<(i32, Arc<AtomicBool>)>,
}

/// The error of a command that was asked to stop. Its exit code is 128 + the signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interrupted(pub i32);

/// Until this is dropped, a signal is answered with a message at once.
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
    /// Creates an interrupt that is requested by a flag instead of a signal; it counts as SIGTERM.
    pub fn by_flag(flag: Arc<AtomicBool>) -> Self {
        Self {
            flags: vec![(SIGTERM, flag)],
        }
    }

    /// Returns this interrupt, which `flag` can also request.
    #[must_use]
    pub fn or_flag(&self, flag: Arc<AtomicBool>) -> Self {
        let mut flags = self.flags.clone();
        flags.push((SIGTERM, flag));
        Self { flags }
    }

    /// Starts to record signals. A second signal of the same kind ends the process at once.
    pub fn watch() -> anyhow::Result<Self> {
        Self::begin(true)
    }

    /// Starts to record signals. No signal ends the process by itself: for callers that must stop
    /// other processes first, however often the user presses Ctrl-C.
    pub fn notice() -> anyhow::Result<Self> {
        Self::begin(false)
    }

    fn begin(ends_at_second: bool) -> anyhow::Result<Self> {
        // A parent that ignores these signals, such as `nohup`, wants us to survive them.
        let optional = [SIGHUP, SIGQUIT].into_iter();
        let wanted = optional.filter(|signal| !is_ignored(*signal));
        let mut flags = Vec::new();
        for signal in [SIGINT, SIGTERM].into_iter().chain(wanted) {
            let flag = Arc::new(AtomicBool::new(false));
            // The order matters: the flag that the first signal sets arms the shutdown. A closed
            // terminal may hang up more than once without any user who is impatient.
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

    /// Prints `what` as soon as a signal arrives, whatever the command waits for, because stopping
    /// in order may take seconds. Works until the returned answer is dropped.
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
        // If no thread can be started, the end of the command is the only answer.
        let _ = thread::Builder::new().spawn(watch);
        Answer(answer)
    }

    /// Returns the signal that was received, if any.
    pub fn signal(&self) -> Option<Interrupted> {
        let came = |(_, flag): &&(i32, Arc<AtomicBool>)| flag.load(Ordering::Relaxed);
        self.flags
            .iter()
            .find(came)
            .map(|(signal, _)| Interrupted(*signal))
    }
}

/// Whether this process was started with a signal ignored.
#[cfg(target_os = "linux")]
pub fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    ignored.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

/// Whether this process was started with a signal ignored: `nohup` redirects stderr.
#[cfg(not(target_os = "linux"))]
pub fn is_ignored(signal: i32) -> bool {
    use std::io::IsTerminal as _;
    signal == SIGHUP && !std::io::stderr().is_terminal()
}
