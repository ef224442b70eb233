//! The text of the protocol: writes and parses frames. Must not know sockets or tasks.

use serde::Deserialize;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _};

use super::error::ClientError;
use super::headers::Headers;

/// The longest line that is read: an INFO names every server of a cluster.
const LINE_MAX: u64 = 256 * 1024;
/// What a server writes between the words of a line. A subject may contain other white space.
const BLANK: char = ' ';
/// The largest message that is read, in bytes. nats-server itself refuses a higher limit.
const MESSAGE_MAX: usize = 64 * 1024 * 1024;

/// A server's description of itself, sent to each client.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ServerInfo {
    /// The name of the server.
    #[serde(default)]
    pub server_name: String,
    /// Its version.
    #[serde(default)]
    pub version: String,
    /// Most bytes of headers and payload of a message together.
    pub max_payload: usize,
    /// Whether messages can have headers.
    #[serde(default)]
    pub headers: bool,
    /// The JetStream domain.
    #[serde(default)]
    pub domain: Option<String>,
    /// The cluster it is in.
    #[serde(default)]
    pub cluster: Option<String>,
}

/// A received message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its subject.
    pub subject: String,
    /// The subject for an answer.
    pub reply: Option<String>,
    /// The status that a server sends in place of a message: 503.
    pub status: Option<u16>,
    /// The text of that status.
    pub description: String,
    /// Its headers.
    pub headers: Headers,
    /// Its payload.
    pub payload: Vec<u8>,
}

/// A frame from a server.
#[derive(Debug)]
pub(super) enum Frame {
    Info(Box<ServerInfo>),
    Message { sid: u64, message: Message },
    Ping,
    Pong,
    Ok,
    Error(String),
}

/// Returns an error for an invalid subject: the protocol has no quoting.
pub(super) fn check_subject(subject: &str) -> Result<(), ClientError> {
    let bad = |c: char| c.is_whitespace() || c.is_control();
    let empty_token = subject.split('.').any(str::is_empty);
    if empty_token || subject.contains(bad) {
        return Err(ClientError::Invalid {
            what: format!("`{}` is no subject", subject.escape_debug()),
        });
    }
    Ok(())
}

/// Returns a message as it is sent, or an error when it exceeds `max` bytes.
pub(super) fn publish(
    subject: &str,
    reply: Option<&str>,
    headers: &Headers,
    payload: &[u8],
    max: usize,
) -> Result<Vec<u8>, ClientError> {
    check_subject(subject)?;
    reply.map_or(Ok(()), check_subject)?;
    let block = headers.encode()?;
    let size = block.len() + payload.len();
    if size > max {
        return Err(ClientError::TooLarge { size, max });
    }
    let reply = reply.map_or_else(String::new, |reply| format!("{reply} "));
    let line = if block.is_empty() {
        format!("PUB {subject} {reply}{size}\r\n")
    } else {
        format!("HPUB {subject} {reply}{} {size}\r\n", block.len())
    };
    let mut frame = line.into_bytes();
    frame.reserve(size + 2);
    frame.extend_from_slice(&block);
    frame.extend_from_slice(payload);
    frame.extend_from_slice(b"\r\n");
    Ok(frame)
}

/// Reads the next frame from a server; `None` at the end. `address` names it in errors.
pub(super) async fn read(
    from: &mut (impl AsyncBufRead + Unpin),
    address: &str,
) -> Result<Option<Frame>, ClientError> {
    let Some(line) = line(from, address).await? else {
        return Ok(None);
    };
    let (word, rest) = line.split_once(BLANK).unwrap_or((&line, ""));
    let rest = rest.trim_matches(BLANK);
    let frame = match word.to_ascii_uppercase().as_str() {
        "MSG" => message(from, rest, false, address).await?,
        "HMSG" => message(from, rest, true, address).await?,
        "PING" => Frame::Ping,
        "PONG" => Frame::Pong,
        "+OK" => Frame::Ok,
        "-ERR" => Frame::Error(rest.trim_matches('\'').to_owned()),
        "INFO" => {
            let info = serde_json::from_str(rest)
                .map_err(|error| ClientError::protocol(address, format!("its INFO: {error}")))?;
            Frame::Info(Box::new(info))
        }
        _ => {
            let begin: String = line.chars().take(40).collect();
            let what = format!("it says `{}`", begin.escape_debug());
            return Err(ClientError::protocol(address, what));
        }
    };
    Ok(Some(frame))
}

async fn line(
    from: &mut (impl AsyncBufRead + Unpin),
    address: &str,
) -> Result<Option<String>, ClientError> {
    let mut bytes = Vec::new();
    let mut limited = from.take(LINE_MAX);
    let read = limited.read_until(b'\n', &mut bytes).await;
    read.map_err(|error| ClientError::io(address, error))?;
    match bytes.pop() {
        Some(b'\n') => {
            let text = String::from_utf8_lossy(&bytes);
            Ok(Some(text.trim_end_matches('\r').to_owned()))
        }
        Some(_) if bytes.len() as u64 + 1 >= LINE_MAX => {
            Err(ClientError::protocol(address, "a line has no end"))
        }
        None | Some(_) => Ok(None),
    }
}

/// Parses `SUBJECT SID [REPLY] [HEADER-SIZE] SIZE`, then the bytes and an end of line.
async fn message(
    from: &mut (impl AsyncBufRead + Unpin),
    rest: &str,
    has_headers: bool,
    address: &str,
) -> Result<Frame, ClientError> {
    let malformed = || ClientError::protocol(address, "a message has a malformed head");
    let words = rest.split(BLANK).filter(|word| !word.is_empty());
    let mut words: Vec<&str> = words.collect();
    let size: usize = words
        .pop()
        .and_then(|word| word.parse().ok())
        .ok_or_else(malformed)?;
    let head: usize = if has_headers {
        let word = words.pop().and_then(|word| word.parse().ok());
        word.ok_or_else(malformed)?
    } else {
        0
    };
    let (subject, sid, reply) = match words[..] {
        [subject, sid] => (subject, sid, None),
        [subject, sid, reply] => (subject, sid, Some(reply.to_owned())),
        _ => return Err(malformed()),
    };
    let sid = sid.parse().map_err(|_| malformed())?;
    if size > MESSAGE_MAX || head > size {
        return Err(malformed());
    }
    let mut payload = vec![0; size];
    let mut end = [0; 2];
    let read = async {
        from.read_exact(&mut payload).await?;
        from.read_exact(&mut end).await
    };
    read.await
        .map_err(|error| ClientError::io(address, error))?;
    if end != *b"\r\n" {
        return Err(ClientError::protocol(address, "a message has no end"));
    }
    let block = if has_headers {
        let block = Headers::decode(&payload[..head]).ok_or_else(malformed)?;
        payload.drain(..head);
        block
    } else {
        super::headers::Block::default()
    };
    let message = Message {
        subject: subject.to_owned(),
        reply,
        status: block.status,
        description: block.description,
        headers: block.headers,
        payload,
    };
    Ok(Frame::Message { sid, message })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn all(text: &[u8]) -> Result<Vec<Frame>, ClientError> {
        let mut from = text;
        let mut frames = Vec::new();
        while let Some(frame) = read(&mut from, "here").await? {
            frames.push(frame);
        }
        Ok(frames)
    }

    fn frames(text: &[u8]) -> Result<Vec<Frame>, ClientError> {
        let runtime = kit::runtime::current_thread().unwrap();
        runtime.block_on(all(text))
    }

    #[test]
    fn messages_are_read_with_and_without_headers() {
        let text = "MSG a.b 7 5\r\nhello\r\n\
            HMSG c 8 reply.1 16 18\r\nNATS/1.0\r\nA:\r\n\r\nhi\r\nPING\r\n";
        let frames = frames(text.as_bytes()).unwrap();
        let [
            Frame::Message {
                sid: 7,
                message: first,
            },
            Frame::Message {
                sid: 8,
                message: second,
            },
            Frame::Ping,
        ] = &frames[..]
        else {
            panic!("{frames:?}");
        };
        assert_eq!(
            (&*first.subject, &first.payload[..]),
            ("a.b", &b"hello"[..])
        );
        assert_eq!(second.reply.as_deref(), Some("reply.1"));
        assert_eq!(second.headers.get("A"), Some(""));
        assert_eq!(second.payload, b"hi");
    }

    #[test]
    fn a_subject_may_contain_what_is_a_blank_elsewhere() {
        let subject = "\u{a0}a\u{c}b";
        let frames = frames(format!("MSG  {subject} 7  1\r\nx\r\n").as_bytes()).unwrap();
        let [Frame::Message { message, .. }] = &frames[..] else {
            panic!("{frames:?}");
        };
        assert_eq!(message.subject, subject);
    }

    #[test]
    fn what_is_no_nats_is_refused() {
        for text in [
            &b"HTTP/1.1 400 Bad Request\r\n"[..],
            b"MSG a 1\r\n",
            b"MSG a 1 99999999999\r\n",
            b"MSG a x 1\r\nz\r\n",
            b"MSG a 1 1\r\nzzz",
            b"HMSG a 1 9 3\r\nabc\r\n",
            b"INFO {\r\n",
        ] {
            let shown = String::from_utf8_lossy(text);
            let error = frames(text).unwrap_err();
            assert!(
                matches!(error, ClientError::Protocol { .. }),
                "{shown}: {error}"
            );
        }
        let endless = vec![b'x'; usize::try_from(LINE_MAX).unwrap() + 1];
        assert!(frames(&endless).is_err());
        assert!(frames(b"PIN").unwrap().is_empty(), "a cut line is the end");
    }

    #[test]
    fn what_is_sent_is_checked() {
        let none = Headers::new();
        let frame = publish("a", Some("b"), &none, b"xyz", 3).unwrap();
        assert_eq!(frame, b"PUB a b 3\r\nxyz\r\n");
        let headers = Headers::new().with("A", "1");
        let frame = publish("a", None, &headers, b"", 99).unwrap();
        assert_eq!(frame, b"HPUB a 18 18\r\nNATS/1.0\r\nA: 1\r\n\r\n\r\n");
        let error = publish("a", None, &none, b"xyz", 2).unwrap_err();
        assert!(matches!(error, ClientError::TooLarge { size: 3, max: 2 }));
        for subject in ["", "a b", "a\r\nPUB", "a..b", ".a", "a."] {
            assert!(
                publish(subject, None, &none, b"", 9).is_err(),
                "{subject:?}"
            );
        }
    }
}
