//! Server-sent events: a `GET` whose answer does not end.
//!
//! Owns reading the stream, with a bound on the size of one event. Must not know what events mean,
//! and does not reconnect: its caller knows which events were missed.

use std::collections::VecDeque;
use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use super::{Endpoint, HttpError, broken, build, connect_until};

/// Largest event in bytes. A longer one is an error and is never truncated.
pub const EVENT_MAX: usize = 1024 * 1024;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Event {
    /// Its type; empty when it has none.
    pub name: String,
    /// Its data, lines separated by `\n`.
    pub data: String,
}

/// An open stream of events. Dropping it closes the connection.
#[derive(Debug)]
pub struct Events {
    endpoint: Endpoint,
    body: Incoming,
    parser: Parser,
    _connection: Connection,
}

/// The task that moves the bytes; it is aborted with its owner.
#[derive(Debug)]
pub(super) struct Connection(pub(super) JoinHandle<()>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Events {
    /// Requests the stream `path` within `timeout`. Any status but 200 is an error.
    pub async fn open(
        endpoint: &Endpoint,
        path: &str,
        headers: &[(&str, &str)],
        timeout: Duration,
    ) -> Result<Self, HttpError> {
        let deadline = Instant::now() + timeout;
        let headers = [&[("Accept", "text/event-stream")], headers].concat();
        let request = build(endpoint, "GET", path, &headers, None)?;
        let stream = connect_until(endpoint, deadline).await?;
        let open = async {
            let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
            // The body reports the error of the connection, too.
            let connection = Connection(tokio::spawn(async { drop(connection.await) }));
            Ok((sender.send_request(request).await?, connection))
        };
        let (answer, connection) = match timeout_at(deadline, open).await {
            Err(_) => return Err(HttpError::Silent(endpoint.to_string())),
            Ok(result) => result.map_err(|error: hyper::Error| broken(endpoint, error))?,
        };
        let status = answer.status().as_u16();
        if status != 200 {
            let endpoint = endpoint.to_string();
            return Err(HttpError::Status { endpoint, status });
        }
        Ok(Self {
            endpoint: endpoint.clone(),
            body: answer.into_body(),
            parser: Parser::default(),
            _connection: connection,
        })
    }

    /// Returns the next event; `None` when the server ended the stream regularly. Dropping the call
    /// loses nothing that was read.
    ///
    /// Servers may be silent for long: a caller that cannot wait for ever adds a deadline.
    pub async fn next(&mut self) -> Result<Option<Event>, HttpError> {
        loop {
            if let Some(event) = self.parser.events.pop_front() {
                return Ok(Some(event));
            }
            let frame = match self.body.frame().await {
                None => return Ok(None),
                Some(frame) => frame.map_err(|error| broken(&self.endpoint, error))?,
            };
            if let Some(bytes) = frame.data_ref() {
                self.parser.push(bytes);
            }
            if self.parser.size() > EVENT_MAX {
                return Err(broken(&self.endpoint, "an event is too long"));
            }
        }
    }

    /// Returns the next event, or an error when none arrives within `timeout`.
    pub async fn next_within(&mut self, timeout: Duration) -> Result<Option<Event>, HttpError> {
        let next = tokio::time::timeout(timeout, self.next()).await;
        next.unwrap_or_else(|_| Err(HttpError::Silent(self.endpoint.to_string())))
    }
}

/// Parses bytes into events by <https://html.spec.whatwg.org/multipage/server-sent-events.html>.
/// Ids and retry times are ignored: no caller uses them.
#[derive(Debug, Default)]
struct Parser {
    /// The incomplete line.
    line: Vec<u8>,
    /// Whether the last byte was a CR: a LF after it belongs to the same line end.
    after_cr: bool,
    /// Whether a line was read: only the first may begin with a byte order mark.
    begun: bool,
    /// The incomplete event.
    name: String,
    data: String,
    /// Complete events.
    events: VecDeque<Event>,
}

impl Parser {
    fn size(&self) -> usize {
        self.line.len() + self.name.len() + self.data.len()
    }

    fn push(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match byte {
                b'\n' if self.after_cr => {}
                b'\n' | b'\r' => self.end_line(),
                _ => self.line.push(*byte),
            }
            self.after_cr = *byte == b'\r';
        }
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&line);
        let line = match line.strip_prefix('\u{feff}') {
            Some(rest) if !self.begun => rest,
            _ => &line,
        };
        self.begun = true;
        if line.is_empty() {
            self.end_event();
            return;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.name),
            "data" => {
                self.data.push_str(value);
                self.data.push('\n');
            }
            // A comment, or a field that is not used.
            _ => {}
        }
    }

    /// Ends an event; one without data is discarded.
    fn end_event(&mut self) {
        let name = std::mem::take(&mut self.name);
        let mut data = std::mem::take(&mut self.data);
        if data.pop().is_some() {
            self.events.push_back(Event { name, data });
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);
    const SHORT: Duration = Duration::from_millis(50);
    const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
                        Transfer-Encoding: chunked\r\n\r\n";

    fn parse(pieces: &[&str]) -> Vec<(String, String)> {
        let mut parser = Parser::default();
        for piece in pieces {
            parser.push(piece.as_bytes());
        }
        let events = parser.events.into_iter();
        events.map(|event| (event.name, event.data)).collect()
    }

    fn event(name: &str, data: &str) -> (String, String) {
        (name.to_owned(), data.to_owned())
    }

    #[test]
    fn events_in_every_form() {
        assert_eq!(
            parse(&["id:1\nevent:PB_CONNECT\ndata:{\"clientId\":\"x\"}\n\n"]),
            [event("PB_CONNECT", "{\"clientId\":\"x\"}")]
        );
        assert_eq!(
            parse(&["data: a\ndata:  b\ndata\n\n"]),
            [event("", "a\n b\n")]
        );
        assert_eq!(
            parse(&["\u{feff}data:a\r\n\r\ndata:b\r\rdata:c\n\n"]),
            [event("", "a"), event("", "b"), event("", "c")]
        );
        assert_eq!(parse(&[": a comment\nretry: 5\n\n"]), []);
        assert_eq!(parse(&["event: no data\n\ndata: x\n\n"]), [event("", "x")]);
        assert_eq!(parse(&["data: not complete\n"]), []);
    }

    #[test]
    fn the_size_of_the_pieces_does_not_matter() {
        let text = "event: k\u{e4}se\r\ndata: one\r\ndata: two\r\n\r\n: x\r\ndata: three\r\n\r\n";
        let expected = [event("k\u{e4}se", "one\ntwo"), event("", "three")];
        for size in 1..text.len() {
            let mut parser = Parser::default();
            for piece in text.as_bytes().chunks(size) {
                parser.push(piece);
            }
            let events: Vec<_> = parser.events.drain(..).map(|e| (e.name, e.data)).collect();
            assert_eq!(events, expected, "pieces of {size}");
        }
    }

    /// Starts a server that answers one client with `reply`; returns the connection.
    async fn serve(reply: String) -> (Endpoint, JoinHandle<(TcpStream, String)>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = Endpoint::tcp("127.0.0.1", listener.local_addr().unwrap().port());
        let task = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut seen = vec![0; 4096];
            let length = stream.read(&mut seen).await.unwrap();
            stream.write_all(reply.as_bytes()).await.unwrap();
            (
                stream,
                String::from_utf8_lossy(&seen[..length]).into_owned(),
            )
        });
        (endpoint, task)
    }

    fn chunk(text: &str) -> String {
        format!("{:x}\r\n{text}\r\n", text.len())
    }

    #[tokio::test]
    async fn reads_events_as_they_come_and_the_end() {
        let (endpoint, task) = serve(format!("{HEAD}{}", chunk("data: one\n\ndata: tw"))).await;
        let headers = [("X-Test", "1")];
        let mut events = Events::open(&endpoint, "/api/realtime", &headers, LIMIT)
            .await
            .unwrap();
        let (mut server, request) = task.await.unwrap();
        assert!(
            request.starts_with("GET /api/realtime HTTP/1.1\r\n"),
            "{request}"
        );
        assert!(
            request.contains("accept: text/event-stream\r\n"),
            "{request}"
        );
        assert!(request.contains("x-test: 1\r\n"), "{request}");
        let next = events.next_within(LIMIT).await.unwrap().unwrap();
        assert_eq!(next.data, "one");

        // Bytes that were read are not lost when the wait times out.
        let error = events.next_within(SHORT).await.unwrap_err();
        assert!(matches!(error, HttpError::Silent(_)), "{error:?}");
        server.write_all(chunk("o\n\n").as_bytes()).await.unwrap();
        let next = events.next_within(LIMIT).await.unwrap().unwrap();
        assert_eq!(next.data, "two");
        server.write_all(b"0\r\n\r\n").await.unwrap();
        assert_eq!(events.next_within(LIMIT).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_connection_that_is_cut_is_an_error() {
        let (endpoint, task) = serve(HEAD.to_owned()).await;
        let mut events = Events::open(&endpoint, "/", &[], LIMIT).await.unwrap();
        drop(task.await.unwrap());
        let error = events.next_within(LIMIT).await.unwrap_err();
        assert!(matches!(error, HttpError::Broken { .. }), "{error:?}");
    }

    #[tokio::test]
    async fn a_dropped_stream_closes_the_connection() {
        let (endpoint, task) = serve(HEAD.to_owned()).await;
        let events = Events::open(&endpoint, "/", &[], LIMIT).await.unwrap();
        let (mut server, _) = task.await.unwrap();
        drop(events);
        let read = tokio::time::timeout(LIMIT, server.read(&mut [0; 8])).await;
        assert_eq!(read.unwrap().unwrap(), 0);
    }

    #[tokio::test]
    async fn what_is_no_stream_is_refused() {
        let reply = "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n".to_owned();
        let (endpoint, _task) = serve(reply).await;
        let error = Events::open(&endpoint, "/", &[], LIMIT).await.unwrap_err();
        assert!(
            matches!(error, HttpError::Status { status: 403, .. }),
            "{error:?}"
        );
        let (endpoint, _task) = serve(String::new()).await;
        let error = Events::open(&endpoint, "/", &[], SHORT).await.unwrap_err();
        assert!(matches!(error, HttpError::Silent(_)), "{error:?}");
    }

    #[tokio::test]
    async fn an_event_without_end_is_an_error() {
        let (endpoint, task) = serve(HEAD.to_owned()).await;
        let mut events = Events::open(&endpoint, "/", &[], LIMIT).await.unwrap();
        let (mut server, _) = task.await.unwrap();
        let writer = tokio::spawn(async move {
            let piece = chunk(&format!("data: {}\n", "x".repeat(64 * 1024)));
            // Ends when the client has closed the connection.
            while server.write_all(piece.as_bytes()).await.is_ok() {}
        });
        let error = events.next_within(LIMIT).await.unwrap_err();
        assert!(matches!(error, HttpError::Broken { .. }), "{error:?}");
        drop(events);
        tokio::time::timeout(LIMIT, writer).await.unwrap().unwrap();
    }
}
