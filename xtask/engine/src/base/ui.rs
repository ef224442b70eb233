//! Talk on stderr, data on stdout.
//!
//! The only module that prints. What draws bars on a terminal is handed in. Must not decide
//! anything.

use std::fmt;
use std::io::{self, IsTerminal as _, Write as _};
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::Context as _;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// What draws on the user's terminal. Without one there are plain lines.
pub trait Screen: fmt::Debug + Send + Sync {
    /// Prints one line of talk above what is drawn.
    fn line(&self, text: &str) -> io::Result<()>;

    /// Takes away what is drawn while `write` writes data.
    fn apart(&self, write: &mut dyn FnMut() -> io::Result<()>) -> io::Result<()>;

    /// A bar, which goes when it is dropped.
    fn bar(&self) -> Box<dyn Bar>;
}

/// How far work on many bytes is.
pub trait Bar: fmt::Debug {
    /// Begins another piece of work, of about `total` bytes.
    fn begin(&self, doing: &str, total: u64);

    /// So many bytes more are done.
    fn add(&self, bytes: u64);
}

/// The terminal of this process, if anything draws on it.
static SCREEN: OnceLock<Box<dyn Screen>> = OnceLock::new();

/// Lets everything that is said from now on go through `screen`. The first one stays.
pub fn draw_on(screen: Box<dyn Screen>) {
    // There is one terminal.
    let _ = SCREEN.set(screen);
}

/// How the user is talked to.
#[derive(Debug, Clone, Default)]
pub struct Ui;

impl Ui {
    /// Through the screen of this process; plain lines where there is none.
    pub fn new() -> Self {
        Self
    }

    /// A bar; `None` where nothing is drawn.
    pub fn bar(&self) -> Option<Box<dyn Bar>> {
        SCREEN.get().map(|screen| screen.bar())
    }

    /// One line of talk, above any bars. A closed stderr is not an error, nor is a terminal that
    /// was closed.
    pub fn line(&self, text: impl AsRef<str>) {
        let text = text.as_ref();
        let _ = match SCREEN.get() {
            Some(screen) => screen.line(text),
            None => writeln!(io::stderr().lock(), "{text}"),
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
