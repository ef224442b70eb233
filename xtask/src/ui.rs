//! Talk on stderr: progress, plain lines, colour only on a terminal. Data goes to stdout.
//!
//! The only module that prints. Must not decide anything.

use std::io::{self, IsTerminal as _, Write as _};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// How the user is talked to.
#[derive(Debug, Clone)]
pub struct Ui {
    bars: MultiProgress,
    interactive: bool,
}

/// Lets a bar turn by itself. Its library starts a thread for that and panics where none can be
/// had, so it is tried first: without one the bar stands still.
pub fn spin(bar: &ProgressBar, period: Duration) {
    if thread::Builder::new().spawn(|| {}).is_ok() {
        bar.enable_steady_tick(period);
    }
}

impl Ui {
    /// Progress bars when stderr is a terminal and `CI` is not set, plain lines elsewhere.
    pub fn new() -> Self {
        let ci = std::env::var_os("CI").is_some_and(|ci| !ci.is_empty());
        let interactive = io::stderr().is_terminal() && !ci;
        let target = if interactive {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        Self {
            bars: MultiProgress::with_draw_target(target),
            interactive,
        }
    }

    /// Whether bars are drawn.
    pub fn interactive(&self) -> bool {
        self.interactive
    }

    /// Where progress bars are added; hidden unless [`Ui::interactive`].
    pub fn bars(&self) -> &MultiProgress {
        &self.bars
    }

    /// One line of talk, above any bars. A closed stderr is not an error, nor is a terminal that
    /// was closed: `suspend` panics there.
    pub fn line(&self, text: impl AsRef<str>) {
        let text = text.as_ref();
        let _ = if self.interactive {
            self.bars.println(text)
        } else {
            writeln!(io::stderr().lock(), "{text}")
        };
    }

    /// One line of data on stdout. A reader that has seen enough (`| head`) is not an error.
    pub fn data(&self, text: impl AsRef<str>) -> anyhow::Result<()> {
        match self.stream(text) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            written => written.context("cannot write to stdout"),
        }
    }

    /// The same for data without an end: it must be told when nobody reads it any more.
    pub fn stream(&self, text: impl AsRef<str>) -> io::Result<()> {
        self.bars.suspend(|| {
            let mut stdout = io::stdout().lock();
            stdout.write_all(text.as_ref().as_bytes())?;
            stdout.write_all(b"\n")?;
            stdout.flush()
        })
    }

    /// Where data goes that comes in blocks of whole lines.
    pub fn blocks(&self) -> impl io::Write {
        io::stdout().lock()
    }

    /// Whether data goes to a person's terminal.
    pub fn is_watched(&self) -> bool {
        io::stdout().is_terminal()
    }

    /// Whether data may have colours: on a terminal, unless `NO_COLOR` is set.
    pub fn has_colours(&self) -> bool {
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        self.is_watched() && !dumb && !set("NO_COLOR")
    }

    /// Waits so long, or until nobody can read our data any more. Says whether that is so.
    pub fn pause(&self, time: Duration) -> bool {
        let stdout = io::stdout();
        // Asked for nothing, a pipe tells only that its other end was closed.
        let mut ends = [PollFd::new(&stdout, PollFlags::empty())];
        let timeout = Timespec::try_from(time).ok();
        // A signal ends the wait: whoever waits looks at that.
        let found = poll(&mut ends, timeout.as_ref()).unwrap_or(0);
        found > 0
            && ends[0]
                .revents()
                .intersects(PollFlags::ERR | PollFlags::HUP)
    }
}

impl Default for Ui {
    fn default() -> Self {
        Self::new()
    }
}
