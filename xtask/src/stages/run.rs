//! Runs one stage, or stops it with its descendants.
//!
//! A stage has no deadline: the caller decides how long it may take.

use std::io::{self, Read as _, Write};
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use kit::process::rest::{self, Ask, Signalled};
use kit::process::{descendants, reap};
use kit::server::exit_code;
use kit::{Exit, Failure};

use super::summary::Summary;
use super::{Stage, Surroundings};
use crate::cargo;
use engine::base::interrupt::{Interrupt, Interrupted};

/// Poll interval of the exit of the stage and of signals.
const POLL: Duration = Duration::from_millis(10);
/// How long the last output may take after the exit of the stage: a descendant may hold the pipe
/// open.
const LAST_OUTPUT_WAIT: Duration = Duration::from_secs(5);
/// How long descendants of a stage may take to stop: a graceful stop of a stack takes time.
const GRACE: Duration = Duration::from_secs(20);
/// Bytes of one read.
const BLOCK_BYTES: usize = 16 * 1024;

/// How a stage ended.
#[derive(Debug)]
pub(super) enum End {
    /// By itself: 128 + n when it died of signal n.
    Code(u8),
    /// The user interrupted it.
    Interrupted(Interrupted),
}

/// Runs a stage. Copies the output of tests to `out`, and failures to the summary.
pub(super) fn run(
    stage: &Stage,
    surroundings: &Surroundings<'_>,
    variables: &[(&str, &Path)],
    summary: &mut Summary,
    out: &mut dyn Write,
) -> anyhow::Result<End> {
    if let Some(signal) = surroundings.interrupt.signal() {
        return Ok(End::Interrupted(signal));
    }
    let mut command = command(stage.command)?;
    command
        .current_dir(&surroundings.root)
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        // A signal from the terminal reaches us alone, and we stop the stage in order.
        .process_group(0);
    let blocks = connect(&mut command, stage)?;
    let cannot = || format!("cannot run `{}`", stage.command);
    let mut child = command.spawn().with_context(cannot)?;
    // It holds our ends of the pipe, too.
    drop(command);
    let pid = i32::try_from(child.id()).ok();
    let mut copy = |block: &[u8]| {
        summary.failures.read(block);
        let _ = out.write_all(block).and_then(|()| out.flush());
    };
    let end = loop {
        if let Some(status) = child.try_wait().with_context(cannot)? {
            break End::Code(exit_code(status));
        }
        if let Some(signal) = surroundings.interrupt.signal() {
            if surroundings.owns_children {
                end_all()?;
            } else {
                child.kill()?;
                child.wait()?;
            }
            break End::Interrupted(signal);
        }
        if surroundings.owns_children {
            reap(pid);
        }
        match blocks.recv_timeout(POLL) {
            Ok(block) => copy(&block),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => thread::sleep(POLL),
        }
    };
    let last = Instant::now() + LAST_OUTPUT_WAIT;
    let rest = || blocks.recv_timeout(last.saturating_duration_since(Instant::now()));
    while let Ok(block) = rest() {
        copy(&block);
    }
    Ok(end)
}

/// Returns a stage as a command; cargo is the one that runs us.
fn command(line: &str) -> anyhow::Result<Command> {
    let words = shell_words::split(line).with_context(|| format!("cannot split `{line}`"))?;
    let Some((program, arguments)) = words.split_first() else {
        bail!("a stage has no command");
    };
    let program = match program.as_str() {
        "cargo" => cargo::program(),
        other => other.into(),
    };
    let mut command = cargo::command(program);
    command.args(arguments);
    Ok(command)
}

/// Connects both outputs of a stage to one destination, so that they stay in order: our stdout, or,
/// for tests, the pipe whose blocks are returned.
fn connect(command: &mut Command, stage: &Stage) -> anyhow::Result<Receiver<Vec<u8>>> {
    let (sender, receiver) = mpsc::channel();
    if !stage.has_tests {
        let stdout = || io::stdout().as_fd().try_clone_to_owned();
        let cannot = "cannot pass on stdout";
        command.stdout(stdout().context(cannot)?);
        command.stderr(stdout().context(cannot)?);
        return Ok(receiver);
    }
    let (mut reader, writer) = io::pipe().context("cannot make a pipe")?;
    command.stdout(writer.try_clone().context("cannot make a pipe")?);
    command.stderr(writer);
    let read = move || {
        let mut block = vec![0; BLOCK_BYTES];
        while let Ok(count) = reader.read(&mut block) {
            if count == 0 || sender.send(block[..count].to_vec()).is_err() {
                return;
            }
        }
    };
    thread::Builder::new()
        .spawn(read)
        .context("cannot start a thread that reads the output of the stage")?;
    Ok(receiver)
}

/// Stops all our descendants, from the top, as each parent stops its children in order; at once
/// when the user interrupts again.
fn end_all() -> anyhow::Result<()> {
    let again = Interrupt::notice()?;
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    let find = || {
        reap(None);
        descendants(own, |_| false)
    };
    let left = kit::runtime::current_thread()?.block_on(async {
        let hurry = async {
            while again.signal().is_none() {
                tokio::time::sleep(POLL).await;
            }
        };
        let grace_end = tokio::time::Instant::now() + GRACE;
        let mut signalled = Signalled::default();
        rest::end(find, Ask::Tops, &mut signalled, |_, _| {}, grace_end, hurry).await
    });
    if left.is_empty() {
        return Ok(());
    }
    let left: Vec<String> = left.iter().map(ToString::to_string).collect();
    let message = format!("still running after SIGKILL: {}", left.join(", "));
    Err(Failure::new(Exit::Survivors, message)
        .hint("end them by hand")
        .into())
}
