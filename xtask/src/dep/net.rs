//! Downloads over HTTP(S), bounded in every respect.
//!
//! Owns redirects, deadlines, sizes, proxies and the list of unreachable hosts. The clients are
//! created on first use, because loading certificates costs tens of milliseconds. Must not judge
//! what was downloaded: digests do. A cancellation takes effect between two reads.

use std::collections::BTreeSet;
use std::error::Error as _;
use std::io::{Read, Write};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use reqwest::blocking::{Client, Response};
use reqwest::header::HeaderMap;
use reqwest::{Method, Url, redirect};

use super::limits::Limits;
use engine::base::digest::BUFFER_BYTES;

/// Most redirects of a download. GitHub needs one.
const REDIRECTS_MAX: usize = 5;
/// Our user agent.
const USER_AGENT: &str = concat!("core-xtask/", env!("CARGO_PKG_VERSION"));
/// The host that `CORE_DEP_MIRROR` replaces.
const MIRRORED: &str = "https://github.com";

/// Why a download failed.
#[derive(Debug)]
pub(super) enum Problem {
    /// Its host is unreachable: reported quietly, since another source may work.
    Unreachable(String),
    /// The host returned an unexpected answer.
    Failed(String),
    /// Another download failed fatally.
    Cancelled,
}

/// The network during one `ensure`.
#[derive(Debug)]
pub(super) struct Net {
    limits: Limits,
    mirror: Option<String>,
    clients: OnceLock<Result<Clients, String>>,
    unreachable: Mutex<BTreeSet<String>>,
}

#[derive(Debug)]
struct Clients {
    /// Uses the proxies of the environment, if there are any.
    internet: Client,
    /// For loopback addresses, which must never go through a proxy.
    direct: Client,
}

impl Net {
    /// Creates a network that downloads from `mirror` instead of GitHub, if given.
    pub(super) fn new(limits: Limits, mirror: Option<&str>) -> Self {
        Self {
            limits,
            mirror: mirror.map(|base| base.trim_end_matches('/').to_owned()),
            clients: OnceLock::new(),
            unreachable: Mutex::default(),
        }
    }

    /// Downloads `url` into `target`. `progress` receives the bytes done and expected.
    pub(super) fn download(
        &self,
        url: &str,
        target: &mut impl Write,
        cancel: &AtomicBool,
        progress: &dyn Fn(u64, Option<u64>),
    ) -> Result<(), Problem> {
        let deadline = Instant::now() + self.limits.download_total;
        let response = self.open(&self.mirrored(url), deadline, cancel)?;
        self.receive(response, target, deadline, cancel, progress)
    }

    /// Returns the address that is actually requested.
    pub(super) fn mirrored(&self, url: &str) -> String {
        match (&self.mirror, url.strip_prefix(MIRRORED)) {
            (Some(mirror), Some(path)) => format!("{mirror}{path}"),
            _ => url.to_owned(),
        }
    }

    /// Follows redirects itself: each hop selects its client, and none may leave TLS or lead to
    /// loopback.
    fn open(&self, url: &str, deadline: Instant, cancel: &AtomicBool) -> Result<Response, Problem> {
        let mut url = parse(url)?;
        for _ in 0..=REDIRECTS_MAX {
            if cancel.load(Ordering::Relaxed) {
                return Err(Problem::Cancelled);
            }
            let response = self.get(&url)?;
            let status = response.status();
            if status.is_success() {
                return Ok(response);
            }
            if !status.is_redirection() {
                return Err(Problem::Failed(format!("{url} answers {status}")));
            }
            if Instant::now() >= deadline {
                return Err(self.too_slow(&url));
            }
            url = next_hop(&url, &response)?;
        }
        let message = format!("{url}: more than {REDIRECTS_MAX} redirects");
        Err(Problem::Failed(message))
    }

    /// Returns the headers of the answer to `HEAD url`, or to its place at the mirror. A redirect
    /// is an answer.
    pub(super) fn head(&self, url: &str) -> Result<HeaderMap, Problem> {
        let url = parse(&self.mirrored(url))?;
        let response = self.send(Method::HEAD, &url)?;
        let status = response.status();
        if status.is_success() || status.is_redirection() {
            return Ok(response.headers().clone());
        }
        Err(Problem::Failed(format!("{url} answers {status}")))
    }

    fn get(&self, url: &Url) -> Result<Response, Problem> {
        self.send(Method::GET, url)
    }

    fn send(&self, method: Method, url: &Url) -> Result<Response, Problem> {
        let host = host_of(url);
        if self.known_unreachable().contains(&host) {
            return Err(Problem::Unreachable(unreachable(&host)));
        }
        let clients = self.clients.get_or_init(|| Clients::new(&self.limits));
        let clients = clients.as_ref().map_err(|e| Problem::Failed(e.clone()))?;
        let client = if is_loopback(url) {
            &clients.direct
        } else {
            &clients.internet
        };
        client.request(method, url.clone()).send().map_err(|error| {
            if error.is_connect() {
                self.known_unreachable().insert(host.clone());
                return Problem::Unreachable(unreachable(&host));
            }
            Problem::Failed(self.explain(url, &error))
        })
    }

    fn receive(
        &self,
        mut response: Response,
        target: &mut impl Write,
        deadline: Instant,
        cancel: &AtomicBool,
        progress: &dyn Fn(u64, Option<u64>),
    ) -> Result<(), Problem> {
        let url = response.url().clone();
        let limit = self.limits.download_bytes;
        let total = response.content_length();
        let too_big = || Problem::Failed(format!("{url} is larger than {limit} bytes"));
        if total.is_some_and(|total| total > limit) {
            return Err(too_big());
        }
        let mut buffer = vec![0; BUFFER_BYTES];
        let mut done = 0;
        loop {
            if cancel.load(Ordering::Relaxed) {
                return Err(Problem::Cancelled);
            }
            if Instant::now() >= deadline {
                return Err(self.too_slow(&url));
            }
            let count = match response.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => count,
                Err(error) => return Err(Problem::Failed(self.broken(&url, done, &error))),
            };
            done += count as u64;
            if done > limit {
                return Err(too_big());
            }
            let written = target.write_all(&buffer[..count]);
            written.map_err(|e| Problem::Failed(format!("cannot write the download: {e}")))?;
            progress(done, total);
        }
    }

    fn known_unreachable(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        let lock = self.unreachable.lock();
        lock.unwrap_or_else(PoisonError::into_inner)
    }

    fn explain(&self, url: &Url, error: &reqwest::Error) -> String {
        if error.is_timeout() {
            return format!("{url} is silent for {}", seconds(self.limits.stall));
        }
        format!("{url}: {}", innermost(error))
    }

    fn broken(&self, url: &Url, done: u64, error: &std::io::Error) -> String {
        let inner = error
            .get_ref()
            .and_then(|e| e.downcast_ref::<reqwest::Error>());
        match inner {
            Some(error) if error.is_timeout() => {
                let stall = seconds(self.limits.stall);
                format!("{url} is silent for {stall} after {done} bytes")
            }
            Some(error) => format!("{url} breaks off after {done} bytes: {}", innermost(error)),
            None => format!("{url} breaks off after {done} bytes: {error}"),
        }
    }

    fn too_slow(&self, url: &Url) -> Problem {
        let total = seconds(self.limits.download_total);
        Problem::Failed(format!("{url} takes longer than {total}"))
    }
}

impl Clients {
    fn new(limits: &Limits) -> Result<Self, String> {
        // A provider that is already installed works as well.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = || {
            Client::builder()
                .user_agent(USER_AGENT)
                .redirect(redirect::Policy::none())
                .connect_timeout(limits.connect)
                // In a blocking client this limits the wait for the answer and for each read.
                .timeout(limits.stall)
        };
        let build = |builder: reqwest::blocking::ClientBuilder| {
            let client = builder.build();
            let client =
                client.map_err(|error| format!("no HTTP client: {}", innermost(&error)))?;
            // Dropping the last copy of a client waits for its thread, which may hang in name
            // resolution for longer than any of our deadlines.
            std::mem::forget(client.clone());
            Ok::<_, String>(client)
        };
        Ok(Self {
            internet: build(builder())?,
            direct: build(builder().no_proxy())?,
        })
    }
}

fn parse(url: &str) -> Result<Url, Problem> {
    let url = Url::parse(url).map_err(|e| Problem::Failed(format!("`{url}` is no URL: {e}")))?;
    if matches!(url.scheme(), "http" | "https") {
        Ok(url)
    } else {
        Err(Problem::Failed(format!("{url} is not http or https")))
    }
}

fn next_hop(url: &Url, response: &Response) -> Result<Url, Problem> {
    let refuse = |why: String| Problem::Failed(format!("{url} redirects {why}"));
    let location = response.headers().get(reqwest::header::LOCATION);
    let location = location.and_then(|value| value.to_str().ok());
    let location = location.ok_or_else(|| refuse("to nowhere".into()))?;
    let next = url
        .join(location)
        .map_err(|_| refuse(format!("to `{location}`, no URL")))?;
    let next = parse(next.as_str())?;
    if url.scheme() == "https" && next.scheme() != "https" {
        return Err(refuse(format!("to {next}, without TLS")));
    }
    if is_loopback(&next) && !is_loopback(url) {
        return Err(refuse(format!("to this machine: {next}")));
    }
    Ok(next)
}

fn is_loopback(url: &Url) -> bool {
    let Some(host) = url.host_str() else {
        return false;
    };
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || host.ends_with(".localhost")
        || address.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn host_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port()
        .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn unreachable(host: &str) -> String {
    format!("{host} cannot be reached")
}

fn seconds(duration: Duration) -> String {
    format!("{} s", duration.as_secs_f32())
}

/// Returns the cause at the end of a chain: the outer errors repeat the address.
fn innermost(error: &reqwest::Error) -> String {
    let mut cause = error.source();
    let mut text = error.to_string();
    while let Some(inner) = cause {
        text = inner.to_string();
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirror_stands_in_for_github_alone() {
        let net = Net::new(Limits::default(), Some("http://mirror.example/gh/"));
        assert_eq!(
            net.mirrored("https://github.com/a/b"),
            "http://mirror.example/gh/a/b"
        );
        assert_eq!(
            net.mirrored("https://other.example/a"),
            "https://other.example/a"
        );
    }

    #[test]
    fn loopback_is_known_by_name_and_address() {
        for (url, loopback) in [
            ("http://localhost:1/", true),
            ("http://a.localhost/", true),
            ("http://127.0.0.9/", true),
            ("http://[::1]:80/", true),
            ("https://github.com/", false),
            ("http://10.0.0.1/", false),
        ] {
            assert_eq!(is_loopback(&parse(url).unwrap()), loopback, "{url}");
        }
    }
}
