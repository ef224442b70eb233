//! A stack that ends with the command it was started for, however that command ends.
//!
//! A second process, the guardian, reserves the instance before the command creates anything of it,
//! and removes it when the command is gone: it waits for the end of a pipe of which the command has
//! the only other end. It has a session of its own, so a signal to the command's process group or
//! terminal does not reach it. Must not start a stack: the command does.

mod program;

use std::env;
use std::fs;
use std::io::{self, BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::Context as _;
use engine::base::interrupt::Interrupt;
use engine::checkout::context::Ctx;
use engine::checkout::paths::Paths;
use engine::operations::ephemeral;
use engine::supervisor::stop::Stopped;
use kit::{Exit, Failure};

pub use program::run;

/// The hidden command of the guardian.
const COMMAND: &str = "guardian";
/// Its name in lists of processes: `pkill xtask` must end the command and not the guardian.
const NAME: &str = "core-guardian";
/// Where a process on Linux sets its name.
const OWN_NAME: &str = "/proc/self/comm";

/// The guardian of an instance: removes the instance when this is dropped or the process ends.
#[derive(Debug)]
pub struct Guardian {
    process: Child,
    instance: String,
}

impl Guardian {
    /// Starts the guardian, which reserves an instance.
    pub fn start() -> anyhow::Result<Self> {
        let program = env::current_exe().context("cannot find our own program")?;
        let mut command = Command::new(program);
        command
            .arg(COMMAND)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        kit::spawn::new_session(&mut command);
        let cannot = "cannot start the guardian of the instance";
        let mut process = command.spawn().context(cannot)?;
        let mut instance = String::new();
        if let Some(stdout) = process.stdout.take() {
            BufReader::new(stdout)
                .read_line(&mut instance)
                .context(cannot)?;
        }
        if instance.pop() == Some('\n') {
            return Ok(Self { process, instance });
        }
        process.wait().context(cannot)?;
        let message = "cannot reserve an instance, for the reason above";
        Err(Failure::new(Exit::Unexpected, message).into())
    }

    /// Returns the name of the reserved instance.
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// Removes the instance, and waits until it is gone. Returns the exit code of the removal,
    /// whose steps have deadlines and whose error was printed.
    pub fn end(mut self) -> anyhow::Result<u8> {
        drop(self.process.stdin.take());
        let ended = self.process.wait();
        let ended = ended.context("cannot wait for the guardian of the instance")?;
        if ended.code().is_none() {
            // It was killed.
            remove(&self.instance)?;
        }
        Ok(ended
            .code()
            .and_then(|code| u8::try_from(code).ok())
            .unwrap_or(0))
    }
}

/// Reserves an instance, prints its name, and removes the instance when stdin has ended.
pub fn guard() -> anyhow::Result<()> {
    // No signal ends the guardian: its command is gone soon after, if the signal meant that.
    let _signals = Interrupt::notice()?;
    // Impossible on other systems, where the name stays that of the program.
    let _ = fs::write(OWN_NAME, NAME);
    let paths = ephemeral::reserve(&Paths::discover()?)?;
    let told = Ctx::without_dotenv(Some(paths.instance()))?
        .ui
        .data(paths.instance());
    let waited = told.and_then(|()| {
        let copied = io::copy(&mut io::stdin().lock(), &mut io::sink());
        copied.context("cannot wait for the command")
    });
    remove(paths.instance())?;
    waited.map(drop)
}

/// Stops and removes an instance, and reports it.
fn remove(instance: &str) -> anyhow::Result<()> {
    let ctx = Ctx::without_dotenv(Some(instance))?;
    let begun = Instant::now();
    let stopped = ephemeral::remove(&ctx)?;
    let seconds = begun.elapsed().as_secs_f64();
    let how = match stopped {
        Stopped::NothingRan => return Ok(()),
        Stopped::Gracefully => "stopped",
        Stopped::BySignal(_) => "stopped by signal",
    };
    let text = format!("{how} in {seconds:.2} s; nothing is left of the instance `{instance}`");
    ctx.ui.line(text);
    Ok(())
}
