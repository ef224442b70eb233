//! Runs the program of the user as a child, as if it had taken our place: in our process group,
//! with our stdin and terminal, and with the signals that are sent to us.

use std::fs::File;
use std::io;
use std::process::{Command, ExitStatus};
use std::thread;

use engine::base::interrupt::{Interrupt, is_ignored};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, getpgrp, kill_process, waitid};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;

/// Signals that are passed on: their senders mean the program.
const PASSED_ON: [i32; 6] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2];

/// The terminal of this process, whatever its standard streams are.
const TERMINAL: &str = "/dev/tty";

/// Runs a program until it has ended; on Linux it receives SIGTERM if we are killed. An `interrupt`
/// from before its start is returned as an error. To be called by the main thread: the kernel's
/// signal at our death is bound to it.
pub fn run(command: &mut Command, interrupt: &Interrupt) -> anyhow::Result<io::Result<ExitStatus>> {
    // Before the program is there, so that no signal is lost.
    let heard = PASSED_ON.into_iter().filter(|signal| !is_ignored(*signal));
    let mut signals = Signals::new(heard)?;
    if let Some(interrupted) = interrupt.signal() {
        return Err(interrupted.into());
    }
    kit::spawn::stop_with_parent(command);
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => return Ok(Err(error)),
    };
    let pid = Pid::from_child(&child);
    let handle = signals.handle();
    let pass_on = thread::Builder::new().spawn(move || {
        for number in signals.forever() {
            if let Some(signal) = Signal::from_named_raw(number).filter(|_| !is_typed(number)) {
                // It has not been waited for, so the pid is its own.
                let _ = kill_process(pid, signal);
            }
        }
    });
    let ended = until_end(pid);
    handle.close();
    if let Ok(thread) = pass_on {
        let _ = thread.join();
    }
    ended?;
    Ok(child.wait())
}

/// Waits until the program has ended, and leaves it to be waited for.
fn until_end(pid: Pid) -> io::Result<()> {
    loop {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        match waitid(WaitId::Pid(pid), options) {
            Err(rustix::io::Errno::INTR) => {}
            ended => return ended.map(drop).map_err(io::Error::from),
        }
    }
}

/// Whether a signal comes from a terminal of which we are in the foreground, as far as can be
/// known: it sends this one to the whole process group, so the program has it already.
fn is_typed(signal: i32) -> bool {
    let typed = [SIGINT, SIGQUIT].contains(&signal);
    typed
        && File::open(TERMINAL)
            .is_ok_and(|terminal| rustix::termios::tcgetpgrp(terminal) == Ok(getpgrp()))
}
