//! Reads a file of the user's that may not be a regular file: a pipe that a password manager writes
//! to, a device, a stream without end.
//!
//! Owns the deadline and the size limit. Must not know the content of a file.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;

/// Larger than any file that is written by hand.
const BYTES_MAX: u64 = 16 << 20;

/// How often a pipe without a writer is polled.
const POLL: Duration = Duration::from_millis(10);

/// Bytes per read.
const CHUNK_BYTES: usize = 64 << 10;

/// Reads a file to its end. A file that is not regular must reach its end within `limit`.
pub fn read(path: &Path, limit: Duration) -> io::Result<Vec<u8>> {
    let nonblocking = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    let mut file = OpenOptions::new()
        .read(true)
        // Opening a pipe would otherwise wait for its writer.
        .custom_flags(nonblocking)
        .open(path)?;
    let meta = file.metadata()?;
    if meta.is_file() {
        let mut bytes = Vec::with_capacity(usize::try_from(meta.len()).unwrap_or_default());
        file.take(BYTES_MAX + 1).read_to_end(&mut bytes)?;
        return bounded(bytes);
    }
    read_stream(&mut file, limit)
}

/// Reads a file to its end as text, within `limit` like [`read`].
pub fn read_text(path: &Path, limit: Duration) -> io::Result<String> {
    let text = String::from_utf8(read(path, limit)?);
    text.map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8"))
}

fn read_stream(file: &mut File, limit: Duration) -> io::Result<Vec<u8>> {
    let deadline = Instant::now() + limit;
    let is_pipe = file.metadata()?.file_type().is_fifo();
    let mut bytes = Vec::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if !wait(file, left)? {
            let message = match bytes.len() {
                0 => format!("nothing was written into it within {limit:?}"),
                _ => format!("its writer did not end within {limit:?}"),
            };
            return Err(io::Error::new(io::ErrorKind::TimedOut, message));
        }
        match file.read(&mut chunk) {
            // A pipe without a writer so far looks like a closed one.
            Ok(0) if bytes.is_empty() && is_pipe => thread::sleep(POLL),
            Ok(0) => return Ok(bytes),
            Ok(count) => bytes.extend_from_slice(&chunk[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        bytes = bounded(bytes)?;
    }
}

/// Waits until data or the end can be read. Returns false when the limit has passed.
fn wait(file: &File, limit: Duration) -> io::Result<bool> {
    if limit.is_zero() {
        return Ok(false);
    }
    let limit = Timespec::try_from(limit).map_err(io::Error::other)?;
    let mut polled = [PollFd::new(file, PollFlags::IN)];
    match poll(&mut polled, Some(&limit)) {
        Ok(count) => Ok(count > 0),
        Err(rustix::io::Errno::INTR) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

fn bounded(bytes: Vec<u8>) -> io::Result<Vec<u8>> {
    if u64::try_from(bytes.len()).is_ok_and(|count| count <= BYTES_MAX) {
        return Ok(bytes);
    }
    let message = format!("it has more than {} MiB", BYTES_MAX >> 20);
    Err(io::Error::new(io::ErrorKind::FileTooLarge, message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Write as _;
    use std::process::Command;

    const SHORT: Duration = Duration::from_millis(50);
    const LONG: Duration = Duration::from_secs(20);

    fn pipe(dir: &Path) -> std::path::PathBuf {
        let path = dir.join("pipe");
        let made = Command::new("mkfifo").arg(&path).status();
        assert!(made.unwrap().success());
        path
    }

    #[test]
    fn a_pipe_without_a_writer_ends_at_the_deadline() {
        let dir = tempfile::tempdir().unwrap();
        let path = pipe(dir.path());
        let error = read(&path, SHORT).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        // A writer that keeps the pipe open.
        let mut writer = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .unwrap();
        writer.write_all(b"A=").unwrap();
        let error = read(&path, SHORT).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn what_is_written_into_a_pipe_is_read_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = pipe(dir.path());
        let text = "A=1\n".repeat(100_000);
        let written = text.clone();
        let to = path.clone();
        let writer = thread::spawn(move || fs::write(to, written).unwrap());
        assert!(read_text(&path, LONG).unwrap() == text);
        writer.join().unwrap();
    }

    #[test]
    fn what_has_no_end_is_refused() {
        let error = read(Path::new("/dev/zero"), LONG).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
        assert!(read(Path::new("/"), LONG).is_err());
    }
}
