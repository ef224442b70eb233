//! A small HTTP/1.1 client for servers on this machine, over loopback TCP or a unix socket.
//!
//! Owns one request on one new connection, with one deadline and a bounded body. Never uses a
//! proxy, never follows a redirect, never speaks TLS. [`events`] and [`websocket`] read answers
//! without an end, [`kept`] has a connection for several requests.

pub mod events;
pub mod kept;
pub mod websocket;

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;
use std::{fmt, io};

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST, HeaderName};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, timeout_at};

/// Largest response body in bytes. A longer one is an error and is never truncated.
pub const BODY_MAX: usize = 16 * 1024 * 1024;

/// The address of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// A TCP port.
    Tcp {
        /// An IP address without brackets, or a name.
        host: String,
        /// The port.
        port: u16,
    },
    /// A unix socket.
    Unix(PathBuf),
}

impl Endpoint {
    /// Creates a TCP endpoint.
    pub fn tcp(host: impl Into<String>, port: u16) -> Self {
        Self::Tcp {
            host: host.into(),
            port,
        }
    }

    /// Splits `http://HOST[:PORT][/PATH]` into the endpoint and the path with its query. Returns
    /// `None` for anything else.
    pub fn from_url(url: &str) -> Option<(Self, String)> {
        let rest = url.strip_prefix("http://")?;
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let path = path.split('#').next().unwrap_or_default();
        let path = match path.strip_prefix('/') {
            Some(_) => path.to_owned(),
            None => format!("/{path}"),
        };
        let endpoint = Self::from_authority(authority).or_else(|| {
            let bare = !authority.is_empty() && !authority.contains([':', '@']);
            bare.then(|| Self::tcp(authority, 80))
        })?;
        Some((endpoint, path))
    }

    /// Parses `HOST:PORT` or `[V6]:PORT`. Returns `None` for anything else.
    pub fn from_authority(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let port = port.parse().ok().filter(|port| *port != 0)?;
        let bracketed = host
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        let host = match bracketed {
            Some(address) => {
                address.parse::<std::net::Ipv6Addr>().ok()?;
                address
            }
            None if host.contains([':', '@', '/', '[', ']']) || host.is_empty() => return None,
            None => host,
        };
        Some(Self::tcp(host, port))
    }

    /// Returns the `Host` header of a request to it.
    fn host_header(&self) -> String {
        match self {
            Self::Tcp { host, port } if host.contains(':') => format!("[{host}]:{port}"),
            Self::Tcp { host, port } => format!("{host}:{port}"),
            Self::Unix(_) => "localhost".to_owned(),
        }
    }

    /// Opens a connection; the caller sets the deadline.
    async fn connect(&self) -> io::Result<Stream> {
        match self {
            Self::Tcp { host, port } => {
                // An address needs no resolver, which would cost a thread.
                let stream = match host.parse::<IpAddr>() {
                    Ok(address) => TcpStream::connect((address, *port)).await?,
                    Err(_) => TcpStream::connect((host.as_str(), *port)).await?,
                };
                stream.set_nodelay(true)?;
                Ok(Box::new(stream))
            }
            Self::Unix(path) => Ok(Box::new(UnixStream::connect(path).await?)),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { .. } => f.write_str(&self.host_header()),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

trait Connection: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Connection for T {}
type Stream = Box<dyn Connection>;

/// A complete answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The whole body.
    pub body: Vec<u8>,
}

/// Why there is no answer. The variants are those that a caller must distinguish.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// No server listens there: refused, or the socket does not exist.
    #[error("nothing listens at `{0}`")]
    Refused(String),
    /// The connection was not accepted before the deadline.
    #[error("`{0}` did not accept a connection in time")]
    ConnectTimeout(String),
    /// The connection is open, but the answer did not arrive before the deadline.
    #[error("`{0}` accepted the connection and did not answer in time")]
    Silent(String),
    /// The connection failed or was cut, or the response is not HTTP or too long.
    #[error("the exchange with `{endpoint}` failed")]
    Broken {
        /// The address.
        endpoint: String,
        /// What failed.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The answer has a status that does not open a stream.
    #[error("`{endpoint}` answered with status {status}")]
    Status {
        /// The address.
        endpoint: String,
        /// The status.
        status: u16,
    },
    /// The request itself is malformed.
    #[error("the request to `{endpoint}` is malformed")]
    Malformed {
        /// The address.
        endpoint: String,
        /// What is wrong with it.
        source: hyper::http::Error,
    },
}

/// Sends one request and reads the whole answer within `timeout`.
///
/// `path` includes the query. A body of at most [`BODY_MAX`] bytes is accepted.
pub async fn request(
    endpoint: &Endpoint,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<&[u8]>,
    timeout: Duration,
) -> Result<Response, HttpError> {
    let deadline = Instant::now() + timeout;
    let request = build(endpoint, method, path, headers, body)?;
    let stream = connect_until(endpoint, deadline).await?;
    match timeout_at(deadline, exchange(stream, request)).await {
        Err(_) => Err(HttpError::Silent(endpoint.to_string())),
        Ok(result) => result.map_err(|error| broken(endpoint, error)),
    }
}

/// Sends `GET path`, without headers or body.
pub async fn get(
    endpoint: &Endpoint,
    path: &str,
    timeout: Duration,
) -> Result<Response, HttpError> {
    request(endpoint, "GET", path, &[], None, timeout).await
}

/// Opens a connection and closes it again.
pub async fn touch(endpoint: &Endpoint, timeout: Duration) -> Result<(), HttpError> {
    let deadline = Instant::now() + timeout;
    connect_until(endpoint, deadline).await.map(drop)
}

async fn connect_until(endpoint: &Endpoint, deadline: Instant) -> Result<Stream, HttpError> {
    match timeout_at(deadline, endpoint.connect()).await {
        Err(_) => Err(HttpError::ConnectTimeout(endpoint.to_string())),
        Ok(Err(error)) if is_absent(&error) => Err(HttpError::Refused(endpoint.to_string())),
        Ok(result) => result.map_err(|error| broken(endpoint, error)),
    }
}

fn build(
    endpoint: &Endpoint,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<&[u8]>,
) -> Result<hyper::Request<Full<Bytes>>, HttpError> {
    let mut builder = hyper::Request::builder().method(method).uri(path);
    let is_given = |wanted: HeaderName| {
        let mut names = headers.iter().map(|(name, _)| *name);
        names.any(|name| name.eq_ignore_ascii_case(wanted.as_str()))
    };
    if !is_given(HOST) {
        builder = builder.header(HOST, endpoint.host_header());
    }
    if !is_given(CONNECTION) {
        builder = builder.header(CONNECTION, "close");
    }
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    let body = Full::new(Bytes::copy_from_slice(body.unwrap_or_default()));
    builder.body(body).map_err(|source| HttpError::Malformed {
        endpoint: endpoint.to_string(),
        source,
    })
}

async fn exchange(
    stream: Stream,
    request: hyper::Request<Full<Bytes>>,
) -> Result<Response, Box<dyn std::error::Error + Send + Sync>> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let answer = async {
        let response = sender.send_request(request).await?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), BODY_MAX)
            .collect()
            .await?
            .to_bytes()
            .to_vec();
        Ok(Response { status, body })
    };
    tokio::pin!(answer);
    tokio::pin!(connection);
    tokio::select! {
        // The answer first: a server that closes right after it has answered.
        biased;
        result = &mut answer => result,
        // The connection ended; the other half already has what it received.
        _ = &mut connection => answer.await,
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound
    )
}

fn broken(
    endpoint: &Endpoint,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> HttpError {
    HttpError::Broken {
        endpoint: endpoint.to_string(),
        source: source.into(),
    }
}

#[cfg(test)]
mod tests;
