//! Options of child processes: sessions, groups, death of the parent, inherited descriptors and
//! variables.
//!
//! Owns the only unsafe code of the workspace, which runs between `fork` and `exec`, and its effect
//! on open files. Must not decide which program is run or with which arguments.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, RawFd};
use std::process::Command;

use rustix::io::FdFlags;

/// The variables of our own environment that every process of a stack inherits. A manifest must
/// name any other: a stack must not depend on the shell that started it.
pub const PASSED_VARIABLES: [&str; 6] = ["PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "USER"];

/// Makes the kernel send SIGTERM to the child when the calling thread ends without having stopped
/// it. Linux only; elsewhere it does nothing.
///
/// The signal is bound to the thread that spawns, so spawn from one that lives as long as the
/// process: the main thread of a current-thread runtime.
pub fn stop_with_parent(command: &mut Command) {
    #[cfg(target_os = "linux")]
    {
        let parent = rustix::process::getpid();
        let tie = move || {
            use rustix::process::{Signal, getppid, set_parent_process_death_signal};
            set_parent_process_death_signal(Some(Signal::TERM))?;
            // The parent may have died between `fork` and the line above.
            if getppid() != Some(parent) {
                return Err(rustix::io::Errno::SRCH.into());
            }
            Ok(())
        };
        before_exec(command, tie);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = command;
}

/// Starts the child in its own session: without a terminal and without signals to our group.
pub fn new_session(command: &mut Command) {
    before_exec(command, || {
        rustix::process::setsid()?;
        Ok(())
    });
}

/// Makes every child that is started from now on inherit the descriptor.
///
/// Meant for lock files: a `flock` is held until the last copy of its descriptor is closed.
pub fn keep_open_on_exec(fd: impl AsFd) -> io::Result<()> {
    let flags = rustix::io::fcntl_getfd(&fd)?;
    rustix::io::fcntl_setfd(&fd, flags.difference(FdFlags::CLOEXEC))?;
    Ok(())
}

/// Lets no child that is started from now on inherit a descriptor, except the standard ones and
/// those that [`keep_open_on_exec`] names later. Our parent may have passed on its locks, and a
/// child that holds them would be taken for one of the parent's.
pub fn close_on_exec() -> io::Result<()> {
    let numbers = fs::read_dir("/dev/fd")?.flatten();
    let numbers = numbers.filter_map(|entry| entry.file_name().to_str()?.parse::<RawFd>().ok());
    for number in numbers.filter(|number| *number > 2) {
        set_close_on_exec(number);
    }
    Ok(())
}

#[expect(
    unsafe_code,
    reason = "a descriptor that we did not open is known by its number alone"
)]
fn set_close_on_exec(number: RawFd) {
    // SAFETY: the descriptor is used for this one call, which neither closes it nor reads from it;
    // if it was closed since it was listed, the call fails, which does no harm.
    let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
    let flags = rustix::io::fcntl_getfd(descriptor);
    let _ = flags.map(|flags| rustix::io::fcntl_setfd(descriptor, flags | FdFlags::CLOEXEC));
}

#[expect(
    unsafe_code,
    reason = "`pre_exec` is the only way to run code between fork and exec"
)]
fn before_exec(
    command: &mut Command,
    hook: impl FnMut() -> io::Result<()> + Send + Sync + 'static,
) {
    use std::os::unix::process::CommandExt as _;
    // SAFETY: the hooks of this module make system calls only: they allocate nothing, take no
    // lock and touch no memory that another thread could have been changing at the fork.
    unsafe {
        command.pre_exec(hook);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::fd::AsRawFd as _;
    use std::process::Stdio;

    use rustix::process::Pid;

    #[test]
    fn child_leads_its_own_session() {
        let mut command = Command::new("cat");
        command.stdin(Stdio::piped());
        new_session(&mut command);
        let mut child = command.spawn().unwrap();
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        assert_eq!(rustix::process::getsid(pid).ok(), pid);
        drop(child.stdin.take());
        assert!(child.wait().unwrap().success());
    }

    #[test]
    fn descriptor_is_inherited_only_when_asked() {
        let dir = tempfile::tempdir().unwrap();
        let file = File::create(dir.path().join("f")).unwrap();
        let seen = || {
            let script = format!("true >&{}", file.as_raw_fd());
            let mut command = Command::new("bash");
            command.args(["-c", &script]);
            command.output().unwrap().status.success()
        };
        assert!(!seen());
        keep_open_on_exec(&file).unwrap();
        assert!(seen());
        close_on_exec().unwrap();
        assert!(!seen());
    }
}
