//! A small HTTP client. Uses 1.0, so that an answer ends with the connection.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// How long one answer may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Answer {
    /// Returns its body as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Sends one request to a port of this machine.
pub(crate) fn request(
    port: u16,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> io::Result<Answer> {
    request_at(here(port), method, path, headers, body)
}

/// Like [`request`], to any address.
pub(crate) fn request_at(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> io::Result<Answer> {
    let mut stream = connect(address)?;
    let lines = headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"));
    let text = format!(
        "{method} {path} HTTP/1.0\r\nHost: {address}\r\n{}Content-Length: {}\r\n\r\n{body}",
        lines.collect::<String>(),
        body.len()
    );
    stream.write_all(text.as_bytes())?;
    let mut stream = BufReader::new(stream);
    let status = status_line(&mut stream)?;
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest)?;
    let rest = String::from_utf8_lossy(&rest).into_owned();
    let body = rest.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok(Answer {
        status,
        body: body.to_owned(),
    })
}

/// Sends a `GET` of an answer that does not end; returns what has arrived once `text` has.
pub(crate) fn read_until(
    port: u16,
    path: &str,
    headers: &[(&str, &str)],
    text: &str,
) -> io::Result<String> {
    let mut stream = connect(here(port))?;
    let lines = headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"));
    let lines = lines.collect::<String>();
    let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{lines}\r\n");
    stream.write_all(request.as_bytes())?;
    let (mut arrived, mut part) = (String::new(), [0; 4096]);
    while !arrived.contains(text) {
        let length = stream.read(&mut part)?;
        if length == 0 {
            return Err(io::Error::other(format!("it ended with {arrived:?}")));
        }
        arrived.push_str(&String::from_utf8_lossy(&part[..length]));
    }
    Ok(arrived)
}

/// Sends a `GET`, which must be answered.
#[track_caller]
pub(crate) fn get(port: u16, path: &str) -> Answer {
    let answer = request(port, "GET", path, &[], "");
    answer.unwrap_or_else(|error| panic!("GET {path} of port {port}: {error}"))
}

/// Sends a `POST` of JSON, which must be answered.
#[track_caller]
pub(crate) fn post(port: u16, path: &str, token: Option<&str>, body: &Value) -> Answer {
    let mut headers = vec![("Content-Type", "application/json")];
    headers.extend(token.map(|token| ("Authorization", token)));
    let answer = request(port, "POST", path, &headers, &body.to_string());
    answer.unwrap_or_else(|error| panic!("POST {path} of port {port}: {error}"))
}

/// Sends a request as it is, and returns the whole answer.
pub(crate) fn raw(port: u16, request: &str) -> io::Result<String> {
    let mut stream = connect(here(port))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Requests a websocket like a page of `origin`. Returns the status: 101 for success.
pub(crate) fn websocket(port: u16, path: &str, origin: &str) -> io::Result<u16> {
    websocket_at(here(port), path, origin)
}

/// Like [`websocket`], at any address.
pub(crate) fn websocket_at(address: SocketAddr, path: &str, origin: &str) -> io::Result<u16> {
    upgrade(address, path, origin).map(|(status, _)| status)
}

/// Requests a websocket. Returns the status, and the connection.
pub(crate) fn upgrade(
    address: SocketAddr,
    path: &str,
    origin: &str,
) -> io::Result<(u16, BufReader<TcpStream>)> {
    let mut stream = connect(address)?;
    let text = format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nOrigin: {origin}\r\n\
         Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(text.as_bytes())?;
    let mut stream = BufReader::new(stream);
    let status = status_line(&mut stream)?;
    let mut line = String::new();
    while stream.read_line(&mut line)? > 2 {
        line.clear();
    }
    Ok((status, stream))
}

pub(crate) fn here(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(ANSWER_LIMIT))?;
    stream.set_write_timeout(Some(ANSWER_LIMIT))?;
    Ok(stream)
}

fn status_line(stream: &mut BufReader<TcpStream>) -> io::Result<u16> {
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let status = line
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    status.ok_or_else(|| io::Error::other(format!("not HTTP: `{line}`")))
}
