//! The client side of a websocket (RFC 6455), for servers on this machine: reads messages, answers
//! pings and sends nothing else.
//!
//! Owns the handshake and the frames, with a bound on the size of one message. Must not know what
//! messages mean, and does not reconnect: its caller knows which messages were missed.
//!
//! The server's answer to our key is not checked. That would take SHA-1, and proves only that no
//! cache in between has answered; a socket of this machine has none.

use std::time::Duration;

use hyper::client::conn::http1;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, timeout_at};

use super::{Endpoint, HttpError, broken, build, connect_until};

/// Largest message in bytes. A longer one is an error and is never truncated.
pub const MESSAGE_MAX: usize = 1024 * 1024;
/// Bytes of one read.
const READ_SIZE: usize = 4096;
/// The longest payload of a control frame.
const CONTROL_MAX: usize = 125;
/// The key of the handshake: any 16 bytes, in Base64.
const KEY: &str = "Y29yZS13ZWJzb2NrZXQhIQ==";
/// The key that masks our frames. It protects caches in between.
const MASK: [u8; 4] = *b"core";

/// An open websocket. Dropping it closes the connection.
#[derive(Debug)]
pub struct WebSocket {
    endpoint: Endpoint,
    io: TokioIo<Upgraded>,
    frames: Frames,
    /// Bytes that are not sent yet.
    answers: Vec<u8>,
}

impl WebSocket {
    /// Opens the websocket `path` within `timeout`. Any status but 101 is an error.
    pub async fn open(
        endpoint: &Endpoint,
        path: &str,
        timeout: Duration,
    ) -> Result<Self, HttpError> {
        let deadline = Instant::now() + timeout;
        let headers = [
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", KEY),
        ];
        let request = build(endpoint, "GET", path, &headers, None)?;
        let stream = connect_until(endpoint, deadline).await?;
        let open = async {
            let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
            // The task ends when the connection is upgraded.
            tokio::spawn(async { drop(connection.with_upgrades().await) });
            let answer = sender.send_request(request).await?;
            let status = answer.status().as_u16();
            if status != 101 {
                return Ok(Err(status));
            }
            hyper::upgrade::on(answer).await.map(Ok)
        };
        let opened = match timeout_at(deadline, open).await {
            Err(_) => return Err(HttpError::Silent(endpoint.to_string())),
            Ok(result) => result.map_err(|error: hyper::Error| broken(endpoint, error))?,
        };
        let upgraded = opened.map_err(|status| HttpError::Status {
            endpoint: endpoint.to_string(),
            status,
        })?;
        Ok(Self {
            endpoint: endpoint.clone(),
            io: TokioIo::new(upgraded),
            frames: Frames::default(),
            answers: Vec::new(),
        })
    }

    /// Returns the next message; `None` when the server has closed. Dropping the call loses nothing
    /// that was read.
    ///
    /// Servers may be silent for long: a caller that cannot wait for ever adds a deadline.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, HttpError> {
        loop {
            while !self.answers.is_empty() {
                let written = self.io.write(&self.answers).await;
                let written = written.map_err(|error| broken(&self.endpoint, error))?;
                self.answers.drain(..written);
            }
            let taken = self.frames.take();
            match taken.map_err(|what| broken(&self.endpoint, what))? {
                Some(Taken::Message(message)) => return Ok(Some(message)),
                Some(Taken::Ping(payload)) => self.answers = pong(&payload),
                Some(Taken::Nothing) => {}
                Some(Taken::End) => return Ok(None),
                None => {
                    let mut bytes = [0; READ_SIZE];
                    let read = self.io.read(&mut bytes).await;
                    match read.map_err(|error| broken(&self.endpoint, error))? {
                        0 => return Ok(None),
                        read => self.frames.bytes.extend_from_slice(&bytes[..read]),
                    }
                }
            }
        }
    }
}

/// The result of one frame.
#[derive(Debug, PartialEq, Eq)]
enum Taken {
    /// A complete message.
    Message(Vec<u8>),
    /// A ping with this payload, which must be answered.
    Ping(Vec<u8>),
    /// A part of a message, or a pong.
    Nothing,
    /// The server closes.
    End,
}

/// PURE: parses bytes into messages.
#[derive(Debug, Default)]
struct Frames {
    /// Bytes that are not parsed yet.
    bytes: Vec<u8>,
    /// The incomplete message.
    message: Option<Vec<u8>>,
}

impl Frames {
    /// Parses one frame; returns `None` when it is incomplete.
    fn take(&mut self) -> Result<Option<Taken>, &'static str> {
        let [first, second, rest @ ..] = self.bytes.as_slice() else {
            return Ok(None);
        };
        let (is_last, kind) = (first & 0x80 != 0, first & 0x0f);
        if first & 0x70 != 0 {
            return Err("a frame has an extension that was not asked for");
        }
        if second & 0x80 != 0 {
            return Err("the server masks its frames");
        }
        let (size, head) = match second & 0x7f {
            126 => (
                rest.first_chunk()
                    .map(|size| u16::from_be_bytes(*size).into()),
                4,
            ),
            127 => (rest.first_chunk().map(|size| u64::from_be_bytes(*size)), 10),
            size => (Some(u64::from(size)), 2),
        };
        let Some(size) = size else {
            return Ok(None);
        };
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        let before = self.message.as_ref().map_or(0, Vec::len);
        if size > MESSAGE_MAX - before {
            return Err("a message is too long");
        }
        if self.bytes.len() < head + size {
            return Ok(None);
        }
        let payload = self.bytes[head..head + size].to_vec();
        self.bytes.drain(..head + size);
        self.part(kind, is_last, payload).map(Some)
    }

    fn part(&mut self, kind: u8, is_last: bool, payload: Vec<u8>) -> Result<Taken, &'static str> {
        match kind {
            0..=2 if (kind == 0) != self.message.is_some() => Err("a message has no begin or end"),
            0..=2 => {
                let mut message = self.message.take().unwrap_or_default();
                message.extend(payload);
                if is_last {
                    return Ok(Taken::Message(message));
                }
                self.message = Some(message);
                Ok(Taken::Nothing)
            }
            8..=10 if !is_last || payload.len() > CONTROL_MAX => Err("a control frame is too long"),
            8 => Ok(Taken::End),
            9 => Ok(Taken::Ping(payload)),
            10 => Ok(Taken::Nothing),
            _ => Err("a frame is of no known kind"),
        }
    }
}

/// Returns the answer to a ping.
fn pong(payload: &[u8]) -> Vec<u8> {
    let size = u8::try_from(payload.len()).expect("a control frame is short");
    let mut frame = vec![0x8a, 0x80 | size];
    frame.extend(MASK);
    let masked = payload.iter().zip(MASK.iter().cycle());
    frame.extend(masked.map(|(byte, mask)| byte ^ mask));
    frame
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let size = payload.len();
        let mut bytes = vec![first];
        match u16::try_from(size) {
            Ok(small) if small < 126 => bytes.push(u8::try_from(small).unwrap()),
            Ok(middle) => {
                bytes.push(126);
                bytes.extend(middle.to_be_bytes());
            }
            Err(_) => {
                bytes.push(127);
                bytes.extend((size as u64).to_be_bytes());
            }
        }
        bytes.extend(payload);
        bytes
    }

    /// Returns the result of all frames, with bytes passed one by one.
    fn all(bytes: &[u8]) -> Result<Vec<Taken>, &'static str> {
        let mut frames = Frames::default();
        let mut taken = Vec::new();
        for byte in bytes {
            frames.bytes.push(*byte);
            while let Some(one) = frames.take()? {
                taken.push(one);
            }
        }
        Ok(taken)
    }

    #[test]
    fn messages_of_every_size_and_in_parts() {
        for size in [0, 125, 126, 65_535, 65_536] {
            let payload = vec![b'x'; size];
            assert_eq!(
                all(&frame(0x81, &payload)).unwrap(),
                [Taken::Message(payload)],
                "{size}"
            );
        }
        let parts = [
            frame(0x01, b"one "),
            frame(0x89, b"are you there"),
            frame(0x00, b"two "),
            frame(0x80, b"three"),
            frame(0x8a, b""),
            frame(0x88, b""),
        ];
        let expected = [
            Taken::Nothing,
            Taken::Ping(b"are you there".to_vec()),
            Taken::Nothing,
            Taken::Message(b"one two three".to_vec()),
            Taken::Nothing,
            Taken::End,
        ];
        assert_eq!(all(&parts.concat()).unwrap(), expected);
    }

    #[test]
    fn what_is_no_websocket_is_refused() {
        let too_long = [&[0x81, 127][..], &u64::MAX.to_be_bytes()].concat();
        for (bytes, why) in [
            (frame(0xc1, b"x"), "extension"),
            (vec![0x81, 0x81], "masks"),
            (too_long, "too long"),
            (frame(0x80, b"x"), "no begin"),
            ([frame(0x01, b"x"), frame(0x81, b"y")].concat(), "no begin"),
            (frame(0x89, &[0; 126]), "control"),
            (frame(0x09, b"x"), "control"),
            (frame(0x83, b"x"), "kind"),
        ] {
            let error = all(&bytes).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }

    /// A server that answers the handshake with `answer` and returns the 8 bytes received after it.
    async fn served(answer: Vec<u8>) -> (Endpoint, tokio::task::JoinHandle<Vec<u8>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut seen = Vec::new();
            while !seen.ends_with(b"\r\n\r\n") {
                seen.push(stream.read_u8().await.unwrap());
            }
            stream.write_all(&answer).await.unwrap();
            let mut after = vec![0; 8];
            let _ = stream.read_exact(&mut after).await;
            after
        });
        (Endpoint::tcp("127.0.0.1", port), server)
    }

    #[tokio::test]
    async fn a_ping_is_answered_and_the_end_is_told() {
        let mut answer = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\
            Connection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\n"
            .to_vec();
        answer.extend([frame(0x81, b"hello"), frame(0x89, b"hi"), frame(0x88, b"")].concat());
        let (endpoint, server) = served(answer).await;
        let mut socket = WebSocket::open(&endpoint, "/ws", LIMIT).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), b"hello");
        assert_eq!(socket.next().await.unwrap(), None);
        let pong = server.await.unwrap();
        assert_eq!(
            pong,
            [&[0x8a, 0x82][..], &MASK, &[b'h' ^ b'c', b'i' ^ b'o']].concat()
        );
    }

    #[tokio::test]
    async fn another_answer_is_an_error() {
        let answer = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_vec();
        let (endpoint, _server) = served(answer).await;
        let error = WebSocket::open(&endpoint, "/ws", LIMIT).await.unwrap_err();
        assert!(
            matches!(error, HttpError::Status { status: 404, .. }),
            "{error}"
        );
    }
}
