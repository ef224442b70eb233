//! An HTTP server on loopback with scripted answers, some of them wrong.

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// Longest life of a connection.
const CONNECTION_MAX: Duration = Duration::from_secs(30);

/// How a path is answered.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// The correct answer.
    Body(Vec<u8>),
    /// The full length, half of the bytes, then the end.
    Truncated(Vec<u8>),
    /// Half of the bytes, then nothing.
    Stalled(Vec<u8>),
    /// Nothing at all.
    Silent,
    /// `302` to an address.
    Redirect(String),
    /// Another status.
    Status(u16),
    /// The correct answer, with further header lines.
    Headers(&'static str),
    /// Endless bytes without a length.
    Endless,
}

/// The server; it stops when it is dropped.
pub(crate) struct Server {
    port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    answers: BTreeMap<String, Answer>,
    asked: Mutex<Vec<String>>,
    ending: AtomicBool,
}

impl Server {
    /// Starts a server that answers these paths, and others with 404.
    pub(crate) fn start<const N: usize>(answers: [(&str, Answer); N]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared {
            answers: answers
                .map(|(path, answer)| (path.to_owned(), answer))
                .into(),
            asked: Mutex::default(),
            ending: AtomicBool::new(false),
        });
        let serving = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if serving.ending.load(Ordering::Relaxed) {
                    return;
                }
                let serving = Arc::clone(&serving);
                // Some tests want a client that hangs up in the middle.
                thread::spawn(move || drop(serving.answer(&stream.unwrap())));
            }
        });
        Self { port, shared }
    }

    /// Returns its address, without a final slash.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Returns the paths that were requested.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.shared.asked.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.ending.store(true, Ordering::Relaxed);
        // Wakes the thread that accepts.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
    }
}

impl Shared {
    fn answer(&self, mut stream: &TcpStream) -> io::Result<()> {
        stream.set_read_timeout(Some(CONNECTION_MAX))?;
        stream.set_write_timeout(Some(CONNECTION_MAX))?;
        let path = read_request(stream)?;
        self.asked.lock().unwrap().push(path.clone());
        let mut head = |status: &str, rest: &str| {
            write!(
                stream,
                "HTTP/1.1 {status}\r\nconnection: close\r\n{rest}\r\n"
            )
        };
        let length = |body: &[u8]| format!("content-length: {}\r\n", body.len());
        match self.answers.get(&path) {
            Some(Answer::Body(body)) => {
                head("200 OK", &length(body))?;
                stream.write_all(body)
            }
            Some(Answer::Truncated(body)) => {
                head("200 OK", &length(body))?;
                stream.write_all(&body[..body.len() / 2])
            }
            Some(Answer::Stalled(body)) => {
                head("200 OK", &length(body))?;
                stream.write_all(&body[..body.len() / 2])?;
                until_closed(stream)
            }
            Some(Answer::Silent) => until_closed(stream),
            Some(Answer::Redirect(to)) => head(
                "302 Found",
                &format!("location: {to}\r\ncontent-length: 0\r\n"),
            ),
            Some(Answer::Status(status)) => {
                head(&format!("{status} Whatever"), "content-length: 0\r\n")
            }
            Some(Answer::Headers(lines)) => {
                head("200 OK", &format!("content-length: 0\r\n{lines}"))
            }
            Some(Answer::Endless) => {
                head("200 OK", "")?;
                loop {
                    stream.write_all(&[b'x'; 4096])?;
                }
            }
            None => head("404 Not Found", "content-length: 0\r\n"),
        }
    }
}

/// Reads a request and returns its path.
fn read_request(stream: &TcpStream) -> io::Result<String> {
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    Ok(first.split(' ').nth(1).unwrap_or_default().to_owned())
}

fn until_closed(mut stream: &TcpStream) -> io::Result<()> {
    stream.read(&mut [0]).map(|_| ())
}
