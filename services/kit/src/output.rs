//! What a wrapper writes while its server runs: the server's lines, our notes, the `READY` line.
//!
//! Owns the writing and the memory of the last lines. The server never inherits our stdout or
//! stderr: a supervisor would take a dead wrapper for a living one while the server holds them.
//! A reader that stalls must not stall the wrapper, so threads of their own do the writing, one
//! for each stream: a full stderr must not hold back the `READY` line.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

/// Longest line in bytes; a longer one is broken, so that memory stays bounded.
const LINE_MAX: usize = 16 * 1024;
/// Lines that wait to be written. When they are this many, the server's pipe fills and it waits.
const QUEUE_LINES: usize = 64;
/// Lines of the server that are remembered.
const TAIL_LINES: usize = 20;
/// How long to wait for the last lines to be written, and for the server's pipes to end: a
/// descendant of the server may hold them open.
const FINISH_LIMIT: Duration = Duration::from_millis(200);

/// The two output streams of the wrapper.
#[derive(Debug)]
pub struct Output {
    stdout: Writer,
    stderr: Writer,
    /// Where the server's lines and our notes go.
    talk: mpsc::Sender<Vec<u8>>,
    tail: Tail,
    readers: JoinSet<()>,
}

/// Says something to the user, from anywhere. [`Output::finish`] waits for the last of these.
#[derive(Debug, Clone)]
pub struct Notes(mpsc::Sender<Vec<u8>>);

impl Notes {
    /// As [`Output::note`].
    pub fn note(&self, text: &str) {
        offer(&self.0, text);
    }
}

/// A thread that writes what it is given.
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
            // No thread can be had: a reader that stalls does stall the wrapper, which is better
            // than none.
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

/// Whether anybody reads does not matter: the server matters more than its log.
fn write(stream: &mut impl io::Write, line: &[u8]) {
    let _ = stream.write_all(line).and_then(|()| stream.flush());
}

/// Adds a line, unless nobody reads what came before.
fn offer(queue: &mpsc::Sender<Vec<u8>>, text: &str) {
    let _ = queue.try_send(format!("{text}\n").into_bytes());
}

/// The last lines that the server wrote.
#[derive(Debug, Clone, Default)]
pub struct Tail {
    lines: Arc<Mutex<VecDeque<String>>>,
}

impl Tail {
    /// The newest line that contains `needle`.
    pub fn find(&self, needle: &str) -> Option<String> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines
            .iter()
            .rev()
            .find(|line| line.contains(needle))
            .cloned()
    }

    /// Forgets everything, so that only newer lines are found.
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
    /// Starts the writing threads. Alone, stdout is data and our only datum is the `READY` line,
    /// which a server must not be able to fake: its lines go to stderr. A supervisor puts both
    /// streams into one log and calls all that comes by stderr an error: there they go to stdout.
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

    /// Passes on everything that comes out of `pipe`, line by line.
    pub fn forward(&mut self, pipe: impl AsyncRead + Send + Unpin + 'static) {
        self.forward_to(self.talk.clone(), pipe);
    }

    /// The same, to stderr: for a program whose two streams are to stay apart.
    pub fn forward_errors(&mut self, pipe: impl AsyncRead + Send + Unpin + 'static) {
        self.forward_to(self.stderr.queue.clone(), pipe);
    }

    fn forward_to(
        &mut self,
        queue: mpsc::Sender<Vec<u8>>,
        pipe: impl AsyncRead + Send + Unpin + 'static,
    ) {
        // Those of servers that ended: a server that is started again for years adds up.
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

    /// Says something to the user. Dropped when nobody reads what came before.
    pub fn note(&self, text: &str) {
        offer(&self.talk, text);
    }

    /// A way to say something for a task of its own.
    pub fn notes(&self) -> Notes {
        Notes(self.talk.clone())
    }

    /// Announces on stdout that the server is ready.
    pub fn ready(&self, name: &str, address: &str) {
        offer(&self.stdout.queue, &format!("READY: {name} {address}"));
    }

    /// The last lines of the server.
    pub fn tail(&self) -> Tail {
        self.tail.clone()
    }

    /// Waits a moment until everything is written.
    pub async fn finish(mut self) {
        let drain = async { while self.readers.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(FINISH_LIMIT, drain).await;
        self.readers.shutdown().await;
        drop(self.talk);
        self.stdout.finish().await;
        self.stderr.finish().await;
    }
}

/// The next line with its newline, at most [`LINE_MAX`] bytes of it; `None` at the end.
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
        // However it comes: a pipe hands out what is there.
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
