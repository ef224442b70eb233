//! The output of a wrapper while its server runs: the server's lines, notes, the `READY` line.
//!
//! Owns the writing and the buffer of the last lines. The server never inherits our stdout or
//! stderr: while it held them, a supervisor would take a dead wrapper for a living one. A reader
//! that stalls must not stall the wrapper, so one thread for each stream does the writing: a full
//! stderr must not delay the `READY` line.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

/// Longest line in bytes; a longer one is split, so that memory stays bounded.
const LINE_MAX: usize = 16 * 1024;
/// Lines in the queue. When it is full, the server's pipe fills and the server waits.
const QUEUE_LINES: usize = 64;
/// Number of the server's last lines that are kept.
const TAIL_LINES: usize = 20;
/// How long to wait until the last lines are written and the server's pipes are closed: a
/// descendant of the server may hold them open.
const FINISH_LIMIT: Duration = Duration::from_millis(200);

/// The two output streams of the wrapper.
#[derive(Debug)]
pub struct Output {
    stdout: Writer,
    stderr: Writer,
    /// The queue of the server's lines and of notes.
    talk: mpsc::Sender<Vec<u8>>,
    tail: Tail,
    readers: JoinSet<()>,
}

/// Prints notes from any task. [`Output::finish`] waits for the last of these.
#[derive(Debug, Clone)]
pub struct Notes(mpsc::Sender<Vec<u8>>);

impl Notes {
    /// Like [`Output::note`].
    pub fn note(&self, text: &str) {
        offer(&self.0, text);
    }
}

/// A thread that writes the lines of its queue.
#[derive(Debug)]
struct Writer {
    queue: mpsc::Sender<Vec<u8>>,
    written: oneshot::Receiver<()>,
}

impl Writer {
    fn start<W: io::Write + Send + 'static>(open: fn() -> W) -> Self {
        let (queue, lines) = mpsc::channel::<Vec<u8>>(QUEUE_LINES);
        let (done, written) = oneshot::channel();
        let work = Arc::new(Mutex::new(Some((lines, done))));
        let take = |work: &Mutex<Option<_>>| {
            let mut work = work.lock().unwrap_or_else(PoisonError::into_inner);
            work.take()
        };
        let of_thread = work.clone();
        let thread = std::thread::Builder::new().spawn(move || {
            if let Some((mut lines, done)) = take(&of_thread) {
                let mut stream = open();
                while let Some(line) = lines.blocking_recv() {
                    write(&mut stream, &line);
                }
                let _ = done.send(());
            }
        });
        if thread.is_err()
            && let Some((mut lines, done)) = take(&work)
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            // A thread cannot be created: a reader that stalls does stall the wrapper then, which
            // is better than no output.
            runtime.spawn(async move {
                let mut stream = open();
                while let Some(line) = lines.recv().await {
                    write(&mut stream, &line);
                }
                let _ = done.send(());
            });
        }
        Self { queue, written }
    }

    async fn finish(self) {
        drop(self.queue);
        let _ = tokio::time::timeout(FINISH_LIMIT, self.written).await;
    }
}

/// Errors are ignored: the server matters more than its log.
fn write(stream: &mut impl io::Write, line: &[u8]) {
    let _ = stream.write_all(line).and_then(|()| stream.flush());
}

/// Adds a line, unless the queue is full.
fn offer(queue: &mpsc::Sender<Vec<u8>>, text: &str) {
    let _ = queue.try_send(format!("{text}\n").into_bytes());
}

/// The last lines that the server wrote.
#[derive(Debug, Clone, Default)]
pub struct Tail {
    lines: Arc<Mutex<VecDeque<String>>>,
}

impl Tail {
    /// Returns the newest line that contains `needle`.
    pub fn find(&self, needle: &str) -> Option<String> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines
            .iter()
            .rev()
            .find(|line| line.contains(needle))
            .cloned()
    }

    /// Removes all lines, so that only newer ones are found.
    pub fn clear(&self) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.clear();
    }

    fn push(&self, line: &[u8]) {
        let line = String::from_utf8_lossy(line).trim_end().to_owned();
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == TAIL_LINES {
            lines.pop_front();
        }
        lines.push_back(line);
    }
}

impl Output {
    /// Starts the writing threads. In the foreground, stdout has only the `READY` line, which a
    /// server must not be able to fake: its lines go to stderr. A supervisor puts both streams into
    /// one log and marks lines from stderr as errors: there they go to stdout.
    pub fn start(supervised: bool) -> Self {
        let (stdout, stderr) = (Writer::start(io::stdout), Writer::start(io::stderr));
        let talk = if supervised { &stdout } else { &stderr };
        Self {
            talk: talk.queue.clone(),
            stdout,
            stderr,
            tail: Tail::default(),
            readers: JoinSet::new(),
        }
    }

    /// Forwards everything from `pipe`, line by line.
    pub fn forward(&mut self, pipe: impl AsyncRead + Send + Unpin + 'static) {
        self.forward_to(self.talk.clone(), pipe);
    }

    /// Like `forward`, but to stderr: for a program whose two streams stay separate.
    pub fn forward_errors(&mut self, pipe: impl AsyncRead + Send + Unpin + 'static) {
        self.forward_to(self.stderr.queue.clone(), pipe);
    }

    fn forward_to(
        &mut self,
        queue: mpsc::Sender<Vec<u8>>,
        pipe: impl AsyncRead + Send + Unpin + 'static,
    ) {
        // Removes those of servers that exited: over years of restarts they would add up.
        while self.readers.try_join_next().is_some() {}
        let tail = self.tail.clone();
        self.readers.spawn(async move {
            let mut pipe = BufReader::with_capacity(LINE_MAX, pipe);
            while let Some(line) = next_line(&mut pipe).await {
                tail.push(&line);
                if queue.send(line).await.is_err() {
                    return;
                }
            }
        });
    }

    /// Prints a note for the user. It is dropped when the queue is full.
    pub fn note(&self, text: &str) {
        offer(&self.talk, text);
    }

    /// Returns a handle by which another task can print notes.
    pub fn notes(&self) -> Notes {
        Notes(self.talk.clone())
    }

    /// Prints on stdout that the server is ready.
    pub fn ready(&self, name: &str, address: &str) {
        offer(&self.stdout.queue, &format!("READY: {name} {address}"));
    }

    /// Returns the last lines of the server.
    pub fn tail(&self) -> Tail {
        self.tail.clone()
    }

    /// Waits until everything is written, with a short deadline.
    pub async fn finish(mut self) {
        let drain = async { while self.readers.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(FINISH_LIMIT, drain).await;
        self.readers.shutdown().await;
        drop(self.talk);
        self.stdout.finish().await;
        self.stderr.finish().await;
    }
}

/// Returns the next line with its newline, at most [`LINE_MAX`] bytes; `None` at the end.
async fn next_line(pipe: &mut (impl AsyncBufRead + Unpin)) -> Option<Vec<u8>> {
    let mut line = Vec::new();
    loop {
        let chunk = pipe.fill_buf().await.unwrap_or_default();
        let chunk = &chunk[..chunk.len().min(LINE_MAX - line.len())];
        let end = chunk.iter().position(|byte| *byte == b'\n');
        let taken = end.map_or(chunk.len(), |end| end + 1);
        line.extend_from_slice(&chunk[..taken]);
        pipe.consume(taken);
        let at_end = taken == 0;
        if at_end && line.is_empty() {
            return None;
        }
        if end.is_some() {
            return Some(line);
        }
        if at_end || line.len() == LINE_MAX {
            line.push(b'\n');
            return Some(line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn lines(mut input: &[u8]) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        while let Some(line) = next_line(&mut input).await {
            all.push(line);
        }
        all
    }

    #[tokio::test]
    async fn lines_are_kept_whole_and_bounded() {
        assert_eq!(lines(b"a\n\nb").await, [&b"a\n"[..], b"\n", b"b\n"]);
        assert!(lines(b"").await.is_empty());
        assert_eq!(lines(b"\xff\xfe\0\n").await, [b"\xff\xfe\0\n"]);
        let long = vec![b'x'; LINE_MAX * 2 + 1];
        let mut reader = BufReader::with_capacity(LINE_MAX, long.as_slice());
        let first = next_line(&mut reader).await.unwrap();
        assert_eq!(first.len(), LINE_MAX + 1);
        // Independent of how the bytes arrive: a pipe returns what is available.
        let mut reader = BufReader::with_capacity(LINE_MAX - 1, long.as_slice());
        let mut lengths = Vec::new();
        while let Some(line) = next_line(&mut reader).await {
            lengths.push(line.len());
        }
        assert_eq!(lengths, [LINE_MAX + 1, LINE_MAX + 1, 2]);
    }

    #[test]
    fn tail_remembers_the_newest_lines() {
        let tail = Tail::default();
        for number in 0..=TAIL_LINES {
            tail.push(format!("line {number}\n").as_bytes());
        }
        assert_eq!(tail.find("line 0"), None);
        assert_eq!(tail.find("line 1").as_deref(), Some("line 19"));
        tail.clear();
        assert_eq!(tail.find("line"), None);
    }
}
