//! One wrapper as our child: its output, its readiness, its exit.
//!
//! It is signalled only while it has not been waited for, so its pid is its own.

use std::collections::VecDeque;
use std::io::{self, BufRead as _, BufReader, Read};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use kit::parent::SUPERVISED_VARIABLE;
use kit::server::unasked_code;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use engine::base::interrupt::Interrupt;
use engine::base::poll::wait_until;
use engine::base::ui::Ui;
use engine::checkout::context::Ctx;
use engine::plan::stack::Process;

/// Number of lines that are printed when a node exits by itself.
const TAIL_LINES: usize = 15;
/// Poll interval for the exit.
const POLL: Duration = Duration::from_millis(5);
/// Printed by a wrapper once its server answers.
const READY: &str = "READY: ";

/// A running node.
#[derive(Debug)]
pub(super) struct Running {
    name: String,
    child: Child,
    pid: Pid,
    ready: Arc<OnceLock<String>>,
    tail: Tail,
    readers: Vec<JoinHandle<()>>,
}

/// How a node exited by itself.
#[derive(Debug)]
pub(super) struct Ended {
    /// Its exit status, with its last lines.
    pub(super) description: String,
    /// Its exit code, 128 + n for signal n; never 0, as no stop was requested.
    pub(super) code: u8,
}

type Tail = Arc<Mutex<VecDeque<String>>>;

impl Running {
    /// Starts the wrapper of `process` as the supervisor would. `one_ended` is set when it exits.
    pub(super) fn start(
        ctx: &Ctx,
        name: &str,
        process: &Process,
        one_ended: &Arc<AtomicBool>,
    ) -> anyhow::Result<Self> {
        let mut command = ctx.command(process, &process.command);
        command
            .env(SUPERVISED_VARIABLE, "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C in a terminal reaches us alone: a node that is asked twice kills its server.
            .process_group(0);
        let child = command
            .spawn()
            .with_context(|| format!("cannot start `{name}`"))?;
        let mut running = Self {
            name: name.to_owned(),
            pid: Pid::from_child(&child),
            ready: Arc::default(),
            tail: Tail::default(),
            readers: Vec::new(),
            child,
        };
        if let Err(error) = show_output(&mut running, &ctx.ui, one_ended) {
            // Its output has no reader: it exits when its pipes close, and is waited for here.
            let _ = running.child.kill();
            let _ = running.child.wait();
            return Err(error).context("cannot start a thread that reads the output of a node");
        }
        Ok(running)
    }

    /// Returns its `READY` line, once its server has answered.
    pub(super) fn ready_line(&self) -> Option<&str> {
        self.ready.get().map(String::as_str)
    }

    /// Returns how it ended, if it has exited.
    pub(super) fn ended(&mut self) -> anyhow::Result<Option<Ended>> {
        let Some(status) = self.status()? else {
            return Ok(None);
        };
        // Its last lines are in the pipe, which is closed when it exits.
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
        let tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = tail.iter().map(|line| format!("\n  {line}"));
        let (name, lines) = (&self.name, lines.collect::<String>());
        Ok(Some(Ended {
            description: format!("`{name}` ended by itself ({status}){lines}"),
            code: unasked_code(status),
        }))
    }

    /// Asks it to stop gracefully.
    pub(super) fn ask_to_stop(&mut self) -> anyhow::Result<()> {
        if self.status()?.is_none() {
            // It may exit at this moment.
            let _ = kill_process(self.pid, Signal::TERM);
        }
        Ok(())
    }

    /// Waits for its exit, and kills it with its server at the deadline. Returns whether it had to.
    pub(super) fn wait_until(mut self, deadline: Instant) -> anyhow::Result<bool> {
        let ended = wait_until(deadline, POLL, &Interrupt::default(), || self.status())?;
        if ended.done().is_some() {
            return Ok(false);
        }
        let _ = kill_process_group(self.pid, Signal::KILL);
        self.child.wait().context("cannot wait for a node")?;
        Ok(true)
    }

    fn status(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        self.child.try_wait().context("cannot wait for a node")
    }
}

/// Prints both streams of a child, line by line, with the node's name as a prefix.
fn show_output(running: &mut Running, ui: &Ui, one_ended: &Arc<AtomicBool>) -> io::Result<()> {
    let stdout = running.child.stdout.take().map(|pipe| Box::new(pipe) as _);
    let stderr = running.child.stderr.take().map(|pipe| Box::new(pipe) as _);
    let pipes: [Option<Box<dyn Read + Send>>; 2] = [stdout, stderr];
    for pipe in pipes.into_iter().flatten() {
        let (name, ui) = (running.name.clone(), ui.clone());
        let (ready, tail) = (running.ready.clone(), running.tail.clone());
        let one_ended = one_ended.clone();
        let reader = thread::Builder::new().spawn(move || {
            for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line);
                show(&ui, &name, line.trim_end(), &ready, &tail);
            }
            // A wrapper holds its output until it exits, and its server never has it.
            one_ended.store(true, Ordering::Relaxed);
        });
        running.readers.push(reader?);
    }
    Ok(())
}

fn show(ui: &Ui, name: &str, line: &str, ready: &OnceLock<String>, tail: &Tail) {
    let address = line.strip_prefix(READY);
    if let Some((_, address)) = address.and_then(|rest| rest.split_once(' ')) {
        let line = format!("{READY}{name} {address}");
        // Stdout may have no reader, which does not matter to the servers.
        let _ = ui.data(&line);
        // A node prints it once.
        let _ = ready.set(line);
        return;
    }
    ui.line(format!("{name} | {line}"));
    let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
    if tail.len() == TAIL_LINES {
        tail.pop_front();
    }
    tail.push_back(line.to_owned());
}
