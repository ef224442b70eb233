//! Messages go to stderr, data to stdout.
//!
//! The only module that prints. The screen that draws bars is passed in. Must not decide anything.

use std::fmt;
use std::io::{self, IsTerminal as _, Write as _};
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::Context as _;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Draws on the user's terminal. Without a screen, output is plain lines.
pub trait Screen: fmt::Debug + Send + Sync {
    /// Prints one line of a message above what is drawn.
    fn line(&self, text: &str) -> io::Result<()>;

    /// Hides what is drawn while `write` writes data.
    fn apart(&self, write: &mut dyn FnMut() -> io::Result<()>) -> io::Result<()>;

    /// Returns a bar, which disappears when it is dropped.
    fn bar(&self) -> Box<dyn Bar>;
}

/// Shows the progress of work on many bytes.
pub trait Bar: fmt::Debug {
    /// Begins another piece of work of about `total` bytes.
    fn begin(&self, doing: &str, total: u64);

    /// Adds `bytes` to what is done.
    fn add(&self, bytes: u64);
}

/// The screen of this process, if it has one.
static SCREEN: OnceLock<Box<dyn Screen>> = OnceLock::new();

/// Sends all later output through `screen`. Only the first call has an effect.
pub fn draw_on(screen: Box<dyn Screen>) {
    // A process has only one terminal.
    let _ = SCREEN.set(screen);
}

/// The output of a command to the user.
#[derive(Debug, Clone, Default)]
pub struct Ui;

impl Ui {
    /// Uses the screen of this process; prints plain lines if there is none.
    pub fn new() -> Self {
        Self
    }

    /// Returns a bar; `None` if there is no screen.
    pub fn bar(&self) -> Option<Box<dyn Bar>> {
        SCREEN.get().map(|screen| screen.bar())
    }

    /// Prints one line of a message above any bars. A closed stderr or a closed terminal is not an
    /// error.
    pub fn line(&self, text: impl AsRef<str>) {
        let text = text.as_ref();
        let _ = match SCREEN.get() {
            Some(screen) => screen.line(text),
            None => writeln!(io::stderr().lock(), "{text}"),
        };
    }

    /// Prints one line of data on stdout. A reader that closed the pipe (`| head`) is not an error.
    pub fn data(&self, text: impl AsRef<str>) -> anyhow::Result<()> {
        match self.stream(text) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            written => written.context("cannot write to stdout"),
        }
    }

    /// Prints one line of data that has no end: a closed pipe is an error, so that the caller
    /// stops.
    pub fn stream(&self, text: impl AsRef<str>) -> io::Result<()> {
        let mut write = || {
            let mut stdout = io::stdout().lock();
            stdout.write_all(text.as_ref().as_bytes())?;
            stdout.write_all(b"\n")?;
            stdout.flush()
        };
        match SCREEN.get() {
            Some(screen) => screen.apart(&mut write),
            None => write(),
        }
    }

    /// Returns stdout for data that is written in blocks of whole lines.
    pub fn blocks(&self) -> impl io::Write {
        io::stdout().lock()
    }

    /// Whether data goes to a terminal.
    pub fn is_watched(&self) -> bool {
        io::stdout().is_terminal()
    }

    /// Whether data may have colours: on a terminal, unless `NO_COLOR` is set.
    pub fn has_colours(&self) -> bool {
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        self.is_watched() && !dumb && !set("NO_COLOR")
    }

    /// Waits for `time` or until the reader of our data has closed it; returns whether it has.
    pub fn pause(&self, time: Duration) -> bool {
        let stdout = io::stdout();
        // With no requested events, a pipe reports only that its other end was closed.
        let mut ends = [PollFd::new(&stdout, PollFlags::empty())];
        let timeout = Timespec::try_from(time).ok();
        // A signal ends the wait; the caller checks for it.
        let found = poll(&mut ends, timeout.as_ref()).unwrap_or(0);
        found > 0
            && ends[0]
                .revents()
                .intersects(PollFlags::ERR | PollFlags::HUP)
    }
}
