//! A connection that is kept for the next request, as browsers and most clients do.
//!
//! Owns opening and reopening it. A server may close such a connection at any time between two
//! requests; a request that was not answered for that reason is sent again on a new one, if that is
//! allowed (RFC 9110, 9.2.2).

use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::CONNECTION;
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, timeout_at};

use super::events::Connection;
use super::{BODY_MAX, Endpoint, HttpError, Response, broken, build, connect_until};

/// Methods whose requests may be sent twice.
const IDEMPOTENT: [&str; 4] = ["GET", "HEAD", "PUT", "DELETE"];

/// A client of one server with at most one connection.
#[derive(Debug)]
pub struct Kept {
    endpoint: Endpoint,
    open: Option<Open>,
    opened: u64,
}

#[derive(Debug)]
struct Open {
    sender: SendRequest<Full<Bytes>>,
    _connection: Connection,
}

impl Kept {
    /// Creates a client without a connection.
    pub fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            open: None,
            opened: 0,
        }
    }

    /// How many connections it has opened so far.
    pub fn opened(&self) -> u64 {
        self.opened
    }

    /// Sends one request and reads the whole answer within `timeout`.
    pub async fn request(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
        timeout: Duration,
    ) -> Result<Response, HttpError> {
        let deadline = Instant::now() + timeout;
        if let Some(open) = self.open.take().filter(|open| !open.sender.is_closed()) {
            let request = self.build(method, path, headers, body)?;
            match self.exchange(open, request, deadline).await? {
                Ok(response) => return Ok(response),
                // It was not sent, or may be sent again.
                Err(error) if error.is_canceled() || IDEMPOTENT.contains(&method) => {}
                Err(error) => return Err(broken(&self.endpoint, error)),
            }
        }
        let request = self.build(method, path, headers, body)?;
        let open = self.connect(deadline).await?;
        let answer = self.exchange(open, request, deadline).await?;
        answer.map_err(|error| broken(&self.endpoint, error))
    }

    fn build(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Result<hyper::Request<Full<Bytes>>, HttpError> {
        let mut request = build(&self.endpoint, method, path, headers, body)?;
        request.headers_mut().remove(CONNECTION);
        Ok(request)
    }

    async fn connect(&mut self, deadline: Instant) -> Result<Open, HttpError> {
        let stream = connect_until(&self.endpoint, deadline).await?;
        let handshake = http1::handshake(TokioIo::new(stream)).await;
        let (sender, connection) = handshake.map_err(|error| broken(&self.endpoint, error))?;
        self.opened += 1;
        Ok(Open {
            sender,
            // The request reports the error of the connection, too.
            _connection: Connection(tokio::spawn(async { drop(connection.await) })),
        })
    }

    /// The inner error is that of the connection, the outer one is final.
    async fn exchange(
        &mut self,
        mut open: Open,
        request: hyper::Request<Full<Bytes>>,
        deadline: Instant,
    ) -> Result<Result<Response, hyper::Error>, HttpError> {
        let exchange = timeout_at(deadline, open.sender.send_request(request)).await;
        let silent = || HttpError::Silent(self.endpoint.to_string());
        let answer = match exchange.map_err(|_| silent())? {
            Ok(answer) => answer,
            Err(error) => return Ok(Err(error)),
        };
        let status = answer.status().as_u16();
        let body = Limited::new(answer.into_body(), BODY_MAX).collect();
        let body = timeout_at(deadline, body).await.map_err(|_| silent())?;
        let body = body
            .map_err(|error| broken(&self.endpoint, error))?
            .to_bytes()
            .to_vec();
        self.open = Some(open);
        Ok(Ok(Response { status, body }))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(5);

    /// Answers as many requests on each connection as `counts` has, then closes it.
    fn server(counts: &'static [usize]) -> Endpoint {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            for count in counts {
                let (mut stream, _) = listener.accept().unwrap();
                for _ in 0..*count {
                    let mut request = [0; 1024];
                    if stream.read(&mut request).unwrap_or_default() == 0 {
                        break;
                    }
                    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
                    stream.write_all(answer).unwrap();
                }
                // Reads and does not answer.
                let _ = stream.read(&mut [0; 1]);
            }
        });
        Endpoint::tcp("127.0.0.1", port)
    }

    async fn ask(kept: &mut Kept, method: &str) -> Result<Response, HttpError> {
        kept.request(method, "/", &[], None, LIMIT).await
    }

    #[tokio::test]
    async fn a_connection_is_used_again() {
        let mut kept = Kept::new(server(&[3]));
        for _ in 0..3 {
            assert_eq!(ask(&mut kept, "GET").await.unwrap().body, b"ok");
        }
        assert_eq!(kept.opened(), 1);
    }

    #[tokio::test]
    async fn what_may_be_sent_twice_is_when_the_connection_was_closed() {
        let mut kept = Kept::new(server(&[1, 1]));
        for _ in 0..2 {
            assert_eq!(ask(&mut kept, "GET").await.unwrap().status, 200);
        }
        assert_eq!(kept.opened(), 2);
    }

    #[tokio::test]
    async fn what_may_not_be_sent_twice_is_not() {
        let mut kept = Kept::new(server(&[1, 1]));
        ask(&mut kept, "POST").await.unwrap();
        let error = ask(&mut kept, "POST").await.unwrap_err();
        assert!(matches!(error, HttpError::Broken { .. }), "{error}");
        ask(&mut kept, "POST").await.unwrap();
    }
}
