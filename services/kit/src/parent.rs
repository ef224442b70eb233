//! Detects that the process which started us is gone.
//!
//! Owns the watch and nothing else: the caller decides what follows. It waits on a pidfd of the
//! parent (Linux) or polls the parent's pid (elsewhere), and on our own stdout, which reports an
//! error once no process can read that pipe: the latter has no start race, as it does not matter
//! when the parent died.
//!
//! A separate thread waits in `poll`: it costs nothing while nothing happens.

use std::io::{self, IsTerminal as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::FileType;
use rustix::process::{Pid, getppid};
use tokio::sync::oneshot;

/// The environment variable that is `1` when the supervisor started us.
pub const SUPERVISED_VARIABLE: &str = "CORE_SUPERVISED";

/// Poll interval of the parent where it cannot be waited for.
const PARENT_POLL_INTERVAL: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 500_000_000,
};

/// The flags of `poll` for a process that exited and for a pipe without a reader.
const ENDED: PollFlags = PollFlags::IN.union(PollFlags::ERR).union(PollFlags::HUP);

/// A watch on the process that started us, from its creation on.
#[derive(Debug)]
pub struct ParentWatch {
    gone: oneshot::Receiver<()>,
}

impl ParentWatch {
    /// Starts to watch the parent process only.
    pub fn process() -> io::Result<Self> {
        Self::start(None)
    }

    /// Starts to watch the parent process and, if our stdout is a pipe, its reader.
    pub fn process_and_output() -> io::Result<Self> {
        Self::start(output_pipe()?)
    }

    fn start(output: Option<OwnedFd>) -> io::Result<Self> {
        let (sender, gone) = oneshot::channel();
        // Before the thread starts, to keep the start race small.
        let parent = Parent::find();
        std::thread::Builder::new()
            .name("parent-watch".to_owned())
            .spawn(move || {
                if wait(&parent, output.as_ref()).is_ok() {
                    let _ = sender.send(());
                }
            })?;
        Ok(Self { gone })
    }

    /// Resolves when the parent is gone, at once if it already was; never when it cannot be
    /// watched.
    pub async fn gone(self) {
        if self.gone.await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// The parent, by the best available way to watch it.
#[derive(Debug)]
enum Parent {
    /// It exited before it could be watched.
    #[cfg(target_os = "linux")]
    Gone,
    /// It belongs to another process namespace.
    Unknown,
    /// By its pid, which changes once we are an orphan.
    Number(Pid),
    /// By a descriptor, which cannot refer to another process.
    #[cfg(target_os = "linux")]
    Descriptor(OwnedFd),
}

impl Parent {
    fn find() -> Self {
        let Some(pid) = getppid() else {
            return Self::Unknown;
        };
        Self::by_descriptor(pid).unwrap_or(Self::Number(pid))
    }

    #[cfg(target_os = "linux")]
    fn by_descriptor(pid: Pid) -> Option<Self> {
        use rustix::process::{PidfdFlags, pidfd_open};
        let descriptor = match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(descriptor) => descriptor,
            Err(rustix::io::Errno::SRCH) => return Some(Self::Gone),
            // A kernel or a sandbox without pidfds.
            Err(_) => return None,
        };
        // If it died meanwhile, the pid may already have belonged to another process.
        let same = getppid() == Some(pid);
        Some(if same {
            Self::Descriptor(descriptor)
        } else {
            Self::Gone
        })
    }

    #[cfg(not(target_os = "linux"))]
    fn by_descriptor(_pid: Pid) -> Option<Self> {
        None
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        match self {
            #[cfg(target_os = "linux")]
            Self::Descriptor(descriptor) => Some(descriptor.as_fd()),
            _ => None,
        }
    }

    fn is_gone(&self) -> bool {
        match self {
            #[cfg(target_os = "linux")]
            Self::Gone => true,
            Self::Number(pid) => getppid() != Some(*pid),
            _ => false,
        }
    }
}

/// Returns a copy of stdout, if it is a pipe.
fn output_pipe() -> io::Result<Option<OwnedFd>> {
    let stdout = io::stdout();
    if stdout.is_terminal() {
        return Ok(None);
    }
    let kind = FileType::from_raw_mode(rustix::fs::fstat(stdout.as_fd())?.st_mode);
    if kind != FileType::Fifo {
        return Ok(None);
    }
    stdout.as_fd().try_clone_to_owned().map(Some)
}

/// Returns when the parent is gone or `output` has no reader left.
fn wait(parent: &Parent, output: Option<&OwnedFd>) -> io::Result<()> {
    let interval = matches!(parent, Parent::Number(_)).then_some(&PARENT_POLL_INTERVAL);
    while !parent.is_gone() {
        let mut watched = Vec::new();
        if let Some(descriptor) = parent.descriptor() {
            watched.push(PollFd::from_borrowed_fd(descriptor, PollFlags::IN));
        }
        if let Some(output) = output {
            // No flag: errors and hang-ups are always reported.
            watched.push(PollFd::new(output, PollFlags::empty()));
        }
        match poll(&mut watched, interval) {
            Ok(0) | Err(rustix::io::Errno::INTR) => {}
            Ok(_) if watched.iter().any(|one| one.revents().intersects(ENDED)) => return Ok(()),
            Ok(_) => return Err(io::Error::other("a descriptor cannot be watched")),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unread_pipe_ends_the_wait() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        wait(&Parent::Unknown, Some(&OwnedFd::from(writer))).unwrap();
    }

    #[test]
    fn another_number_is_another_parent() {
        let other = Pid::from_raw(i32::MAX).unwrap();
        wait(&Parent::Number(other), None).unwrap();
        assert!(!Parent::find().is_gone());
    }
}
