//! One look at a server by blocking calls. Most checks find a healthy server, and need neither a
//! runtime, a thread that watches the parent nor an HTTP library.
//!
//! Owns the decision what is plainly an answer. Everything else is left to the full look, which
//! also has the reasons: this one has no errors.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs as _};
use std::time::{Duration, Instant};

use kit::files::FileLock;
use kit::http::Endpoint;

use crate::arguments::Target;

/// Longest answer that is read here.
const ANSWER_MAX: usize = 64 * 1024;

/// Whether the target is ready. `false` says nothing: it may be, or may be within `limit`.
pub(crate) fn is_ready(target: &Target, limit: Duration) -> bool {
    let deadline = Instant::now() + limit;
    match target {
        Target::Lock(file) => FileLock::is_held(file).is_ok_and(|held| held),
        Target::Tcp(endpoint) => connect(endpoint, limit).is_some(),
        Target::Http { endpoint, path, .. } => {
            let status = ask(endpoint, path, deadline);
            status.is_some_and(|status| crate::is_wanted(target, status))
        }
    }
}

/// Opens a connection. Of names only `localhost` is looked up, which needs no network: many servers
/// of development listen on just one of its addresses.
fn connect(endpoint: &Endpoint, limit: Duration) -> Option<TcpStream> {
    let Endpoint::Tcp { host, port } = endpoint else {
        return None;
    };
    if host == "localhost" {
        let mut addresses = (host.as_str(), *port).to_socket_addrs().ok()?;
        return addresses.find_map(|address| TcpStream::connect_timeout(&address, limit).ok());
    }
    let address = SocketAddr::new(host.parse::<IpAddr>().ok()?, *port);
    TcpStream::connect_timeout(&address, limit).ok()
}

/// Sends `GET path` and returns the status of the answer, once it is complete.
fn ask(endpoint: &Endpoint, path: &str, deadline: Instant) -> Option<u16> {
    // Whatever could end the line is for the library to judge.
    if !path.bytes().all(|byte| byte.is_ascii_graphic()) {
        return None;
    }
    let left = || {
        let left = deadline.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    };
    let mut stream = connect(endpoint, left()?)?;
    stream.set_write_timeout(Some(left()?)).ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {endpoint}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    let mut part = [0; 4096];
    while answer.len() <= ANSWER_MAX {
        stream.set_read_timeout(Some(left()?)).ok()?;
        let length = stream.read(&mut part).ok()?;
        answer.extend_from_slice(&part[..length]);
        let status = complete(&answer, length == 0);
        if status.is_some() || length == 0 {
            return status;
        }
    }
    None
}

/// Returns the status of an answer if it is complete: by its length or, without one, when the
/// connection has `ended`. Chunks are not read.
fn complete(answer: &[u8], ended: bool) -> Option<u16> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.strip_prefix("HTTP/1.1 ")?;
    let status: u16 = status.get(..3)?.parse().ok().filter(|it| *it >= 200)?;
    let mut length = None;
    for line in lines {
        let (name, value) = line.split_once(':')?;
        if name.eq_ignore_ascii_case("transfer-encoding") {
            return None;
        }
        if name.eq_ignore_ascii_case("content-length") {
            length = Some(value.trim().parse::<usize>().ok()?);
        }
    }
    let body = answer.len() - end - 4;
    let is_whole = length.map_or(ended, |length| body >= length);
    is_whole.then_some(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_that_are_complete() {
        for (answer, ended, expected) in [
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
                false,
                Some(200),
            ),
            (
                "HTTP/1.1 503 x\r\ncontent-length: 0\r\n\r\n",
                false,
                Some(503),
            ),
            ("HTTP/1.1 200 OK\r\n\r\nok", true, Some(200)),
            (
                "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n",
                false,
                Some(200),
            ),
            ("HTTP/1.1 200 OK\r\n\r\nok", false, None),
            ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok", true, None),
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n", true, None),
            ("HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", true, None),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                true,
                None,
            ),
            ("HTTP/1.1 100 Continue\r\n\r\n", true, None),
            ("HTTP/1.1 20\r\n\r\n", true, None),
            ("SSH-2.0-OpenSSH\r\n\r\n", true, None),
            ("", true, None),
        ] {
            assert_eq!(complete(answer.as_bytes(), ended), expected, "{answer:?}");
        }
    }
}
