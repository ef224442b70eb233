//! Where the processes of a stack actually listen, to explain a wrong port or address: a failing
//! probe and a process without one do not show the reason.
//!
//! Only connects and reads data of the kernel. Must not judge health.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use kit::http::{self, Endpoint, HttpError};
use kit::process;
use listeners::{Protocol, SocketState};
use tokio::task::JoinSet;

use super::state::States;
use crate::plan::stack::{Process, ReadinessCheck, Stack};

/// How long a server may take to accept a connection or to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// How often, and after which initial delay, the awaited servers are asked: a successful start is
/// over by then.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Maximum of addresses in a message.
const TOLD_MAX: usize = 8;

/// Returns the probe's present result for a process, and where the process and its descendants
/// listen, as the rest of a sentence; empty without information. `pid` is 0 if it is not running.
pub(super) fn describe(process: &Process, pid: i32) -> String {
    let Some(readiness) = &process.readiness else {
        return String::new();
    };
    let Ok(runtime) = kit::runtime::current_thread() else {
        return String::new();
    };
    let (refused, mut text) = match runtime.block_on(ask(&readiness.check)) {
        Answer::Nothing => return String::new(),
        Answer::Refused => (true, ", where nothing listens".to_owned()),
        Answer::Other(text) => (false, format!(", which {text}")),
    };
    if refused && pid > 0 {
        text.push_str("; ");
        text.push_str(&tell(&addresses(pid)));
    }
    text
}

/// The last answers of servers that are not healthy yet. The supervisor restarts a process whose
/// probe fails, and knows only that it did.
#[derive(Debug)]
pub(super) struct Answers {
    next: Instant,
    last: BTreeMap<String, String>,
}

impl Answers {
    pub(super) fn new() -> Self {
        Self {
            next: Instant::now() + LOOK_INTERVAL,
            last: BTreeMap::new(),
        }
    }

    /// Asks the running processes of `waiting`, at most once per interval.
    pub(super) fn look(&mut self, stack: &Stack, states: &States, waiting: &[String]) {
        if Instant::now() < self.next {
            return;
        }
        let Ok(runtime) = kit::runtime::current_thread() else {
            return;
        };
        let runs = |name: &&String| states.get(*name).is_some_and(|state| state.is_running);
        for name in waiting.iter().filter(runs) {
            let process = stack.processes.get(name);
            if let Some(readiness) = process.and_then(|process| process.readiness.as_ref())
                && let Answer::Other(text) = runtime.block_on(ask(&readiness.check))
            {
                let text = format!("; {} {text}", readiness.check);
                self.last.insert(name.clone(), text);
            }
        }
        self.next = Instant::now() + LOOK_INTERVAL;
    }

    /// Returns the last answer of a process, as the end of a sentence.
    pub(super) fn of(&self, name: &str) -> &str {
        self.last.get(name).map_or("", String::as_str)
    }
}

/// The result of a probe.
enum Answer {
    /// It explains nothing.
    Nothing,
    Refused,
    /// The rest of a sentence.
    Other(String),
}

async fn ask(check: &ReadinessCheck) -> Answer {
    let result = match check {
        ReadinessCheck::Http { url, .. } => {
            let Some((endpoint, path)) = Endpoint::from_url(url) else {
                return Answer::Nothing;
            };
            let answer = http::get(&endpoint, &path, ANSWER_TIMEOUT).await;
            answer.map(|answer| Some(answer.status))
        }
        ReadinessCheck::Tcp { address } => match Endpoint::from_authority(address) {
            Some(endpoint) => http::touch(&endpoint, ANSWER_TIMEOUT).await.map(|()| None),
            None => return Answer::Nothing,
        },
        ReadinessCheck::Lock { .. } | ReadinessCheck::Exec { .. } => return Answer::Nothing,
    };
    match result {
        Ok(None) => Answer::Nothing,
        Ok(Some(status)) => Answer::Other(format!("answered with status {status}")),
        Err(HttpError::Refused(_)) => Answer::Refused,
        Err(HttpError::Silent(_) | HttpError::ConnectTimeout(_)) => {
            Answer::Other("accepted the connection and did not answer".to_owned())
        }
        Err(error) => Answer::Other(format!("failed: {:#}", anyhow::Error::from(error))),
    }
}

fn tell(addresses: &BTreeSet<SocketAddr>) -> String {
    if addresses.is_empty() {
        return "none of its processes listens on a TCP port".to_owned();
    }
    let told: Vec<String> = addresses
        .iter()
        .take(TOLD_MAX)
        .map(ToString::to_string)
        .collect();
    let more = match addresses.len() - told.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("its processes listen on {}{more}", told.join(", "))
}

/// Returns the addresses on which a process and its descendants listen.
fn addresses(pid: i32) -> BTreeSet<SocketAddr> {
    let all = listeners::get_all().unwrap_or_default().into_iter();
    let listening =
        all.filter(|it| it.protocol == Protocol::TCP && it.state == SocketState::Listen);
    let of_ours = listening.filter(|it| is_below(it.process.pid, pid));
    of_ours
        .map(|it| SocketAddr::new(it.socket.ip().to_canonical(), it.socket.port()))
        .collect()
}

fn is_below(pid: u32, top: i32) -> bool {
    let pid = i32::try_from(pid).ok();
    pid.is_some_and(|pid| process::comes_from(pid, |process| process.pid == top).is_some())
}

/// Returns the ports without a listener, by process: of processes for which `runs` is true and
/// whose probe uses no port.
pub fn silent(
    stack: &Stack,
    runs: impl Fn(&str) -> bool,
) -> anyhow::Result<BTreeMap<String, Vec<String>>> {
    let runtime = kit::runtime::current_thread()?;
    runtime.block_on(async {
        let mut questions = JoinSet::new();
        for (name, process) in &stack.processes {
            if is_asked_by_a_port(process) || !runs(name) {
                continue;
            }
            for (port_name, port) in &process.ports {
                if port.protocol.as_deref().is_some_and(is_without_connections) {
                    continue;
                }
                let found = (name.clone(), port_name.clone());
                let listen = port.listen;
                let number = port.port;
                questions.spawn(async move { (found, is_silent(listen, number).await) });
            }
        }
        let mut silent: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for ((process, port), is_silent) in questions.join_all().await {
            if is_silent {
                silent.entry(process).or_default().push(port);
            }
        }
        for ports in silent.values_mut() {
            ports.sort();
        }
        Ok(silent)
    })
}

fn is_asked_by_a_port(process: &Process) -> bool {
    let check = process.readiness.as_ref().map(|it| &it.check);
    matches!(
        check,
        Some(ReadinessCheck::Http { .. } | ReadinessCheck::Tcp { .. })
    )
}

/// Whether a protocol is based on UDP, so that a connection tests nothing.
fn is_without_connections(protocol: &str) -> bool {
    let protocol = protocol.to_ascii_lowercase();
    ["udp", "quic", "h3", "dns", "dtls", "rtp"]
        .iter()
        .any(|begin| protocol.starts_with(begin))
}

async fn is_silent(listen: IpAddr, port: u16) -> bool {
    let address = kit::server::reachable(listen, port);
    let endpoint = Endpoint::tcp(address.ip().to_string(), address.port());
    let touched = http::touch(&endpoint, ANSWER_TIMEOUT).await;
    matches!(touched, Err(HttpError::Refused(_)))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_listener_of_a_process_is_found_below_it() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(addresses(own).contains(&address));
        let above = process::Process::own().unwrap().parent;
        assert!(addresses(above).contains(&address));
        // A process that does not exist has no descendants.
        assert_eq!(addresses(i32::MAX), BTreeSet::new());
    }

    #[test]
    fn addresses_are_told_shortly() {
        assert_eq!(
            tell(&BTreeSet::new()),
            "none of its processes listens on a TCP port"
        );
        let all = (1..=10).map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let text = tell(&all.collect());
        assert!(text.ends_with("127.0.0.1:8 and 2 more"), "{text}");
    }
}
