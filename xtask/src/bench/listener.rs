//! The server of the benchmark's services, and of those of the tests that need no other language.

use std::env;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use anyhow::Context as _;

use super::programs;

/// Answers every connection to `port` with `PID GENERATION`, for ever. The latter comes from the
/// environment.
pub fn listen(port: u16) -> anyhow::Result<()> {
    programs::record()?;
    let listener = TcpListener::bind(("127.0.0.1", port)).context("cannot listen")?;
    let generation = env::var(programs::GENERATION).unwrap_or_default();
    let body = format!("{} {generation}\n", std::process::id());
    let length = body.len();
    let answer =
        format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
    for stream in listener.incoming() {
        let mut stream = stream.context("cannot accept")?;
        let mut request = [0; 1024];
        // A client that disconnected does not matter.
        let _ = stream.read(&mut request);
        let _ = stream.write_all(answer.as_bytes());
    }
    Ok(())
}
