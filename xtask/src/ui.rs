//! Talk on stderr: progress, plain lines, colour only on a terminal. Data goes to stdout.
//!
//! The only module that prints. Must not decide anything.

use std::io::{self, IsTerminal as _, Write as _};

use anyhow::Context as _;
use indicatif::{MultiProgress, ProgressDrawTarget};

/// How the user is talked to.
#[derive(Debug, Clone)]
pub struct Ui {
    bars: MultiProgress,
    interactive: bool,
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

    /// One line of talk, above any bars. A closed stderr is not an error.
    pub fn line(&self, text: impl AsRef<str>) {
        self.bars.suspend(|| {
            let _ = writeln!(io::stderr().lock(), "{}", text.as_ref());
        });
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
}

impl Default for Ui {
    fn default() -> Self {
        Self::new()
    }
}
