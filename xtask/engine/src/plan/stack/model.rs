//! The typed model of a stack, from which every target is rendered.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use kit::http::Endpoint;
use kit::manifest::Condition;
use kit::server::reachable;
use serde::{Deserialize, Serialize};

/// What is shown instead of a secret.
pub const MASK: &str = "********";

/// A resolved stack: every value is final, every name is checked, the order is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stack {
    /// Processes by name.
    pub processes: BTreeMap<String, Process>,
    /// Process names, each after its dependencies.
    pub order: Vec<String>,
}

/// One entry of the supervisor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// The service it belongs to.
    pub service: String,
    /// Its purpose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Left out of `up`.
    pub disabled: bool,
    /// Program and arguments.
    pub command: Vec<String>,
    /// Environment variables, besides those that every process receives.
    pub env: BTreeMap<String, Value>,
    /// Names of the values of `env` that it reloads from a file while it runs.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub reloadable: BTreeSet<String>,
    /// Command that checks the environment before any process is started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<Vec<String>>,
    /// Its working directory, if not the root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    /// The processes that it depends on.
    pub depends_on: BTreeMap<String, Condition>,
    /// When it counts as ready; without it, as soon as it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub readiness: Option<Readiness>,
    /// When it is started again.
    pub restart: RestartPolicy,
    /// How it is stopped.
    pub shutdown: Shutdown,
    /// Whether it runs below a runner. A wrapper does not: it stops its own child processes.
    #[serde(default)]
    pub runner: bool,
    /// Its log file.
    pub log: Log,
    /// Ports it listens on, by name.
    pub ports: BTreeMap<String, Port>,
    /// Paths of the front that lead to it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
    /// Variables that tell other programs its address.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub exports: BTreeMap<String, String>,
    /// Variables with secrets for the services that name them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secret_exports: BTreeMap<String, Value>,
    /// The URL of its page for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open: Option<String>,
    /// Who that page is for, and how they log in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<String>,
}

impl Process {
    /// Returns its working directory.
    pub fn directory(&self, root: &Path) -> PathBuf {
        let own = self.working_dir.as_ref();
        own.map_or_else(|| root.to_path_buf(), PathBuf::from)
    }

    /// Returns the seconds from the order to stop until the supervisor kills its process group.
    pub fn stop_limit_seconds(&self) -> u32 {
        let margin = if self.runner {
            kit::runner::STOP_MARGIN_SECONDS
        } else {
            0
        };
        self.shutdown.timeout_seconds.saturating_add(margin)
    }

    /// Returns the path of a program as seen from `directory`, unless it is looked up on PATH.
    pub fn program(directory: &Path, word: &str) -> PathBuf {
        if word.contains('/') {
            directory.join(word)
        } else {
            PathBuf::from(word)
        }
    }

    /// Returns the URL for users: behind the front, else of its port `client`, else `http`, else
    /// its only one.
    pub fn url(&self) -> Option<String> {
        if let Some(url) = self.routes.first().and_then(|route| route.url.clone()) {
            return Some(url);
        }
        let only = || self.ports.values().next().filter(|_| self.ports.len() == 1);
        let client = self.ports.get("client");
        let port = client.or_else(|| self.ports.get("http")).or_else(only)?;
        Some(port.url())
    }
}

/// A value of the environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    /// The text that the process receives.
    pub text: String,
    /// Whether it must not be shown.
    pub secret: bool,
}

impl Value {
    /// Returns the text for output: a secret is masked.
    pub fn shown(&self) -> &str {
        if self.secret && !self.text.is_empty() {
            MASK
        } else {
            &self.text
        }
    }
}

impl Serialize for Value {
    /// A model is serialised for output, so a secret is masked.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.shown())
    }
}

impl<'de> Deserialize<'de> for Value {
    /// Reads what was serialised for output: a secret is its mask.
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Ok(Self {
            secret: text == MASK,
            text,
        })
    }
}

/// When a process counts as ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readiness {
    /// What is checked.
    pub check: ReadinessCheck,
    /// Seconds before the first check.
    pub initial_delay_seconds: u32,
    /// Seconds between two checks.
    pub period_seconds: u32,
    /// Seconds one check may take.
    pub timeout_seconds: u32,
    /// Successes in a row after which it is ready.
    pub success_threshold: u32,
    /// Failures in a row after which it is not ready.
    pub failure_threshold: u32,
}

/// How readiness is checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReadinessCheck {
    /// A GET request that must be answered with 2xx, or with `status`.
    Http {
        /// The complete URL.
        url: String,
        /// The only status that counts.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        status: Option<u16>,
    },
    /// A connection that must be accepted.
    Tcp {
        /// `HOST:PORT`.
        address: String,
    },
    /// A lock that another process must hold.
    Lock {
        /// Its file, relative to the directory of the process.
        path: String,
    },
    /// A command that must exit with code 0.
    Exec {
        /// Program and arguments.
        command: Vec<String>,
    },
}

/// When a process is started again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestartPolicy {
    /// After which exits.
    pub restart: kit::manifest::Restart,
    /// Seconds before the restart.
    pub backoff_seconds: u32,
    /// How often; 0 means without limit.
    pub max_restarts: u32,
}

/// How a process is stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shutdown {
    /// By which signal.
    pub signal: u8,
    /// Seconds before it is killed, with all its descendants.
    pub timeout_seconds: u32,
    /// Whether only the process receives the signal, not its process group.
    pub parent_only: bool,
}

/// A log file and its rotation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Log {
    /// Megabytes at which it is rotated.
    pub max_size_mb: u32,
    /// Number of rotated files that are kept.
    pub max_files: u32,
    /// Whether lines begin with the time.
    pub timestamps: bool,
}

/// A port that a process listens on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// Its number.
    pub port: u16,
    /// Its protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// The address it listens on; omitted from output if it is 127.0.0.1.
    #[serde(default = "loopback", skip_serializing_if = "is_loopback")]
    pub listen: IpAddr,
    /// Where it is declared: `services/nats/service.json:41`, or the variable that overrides it.
    #[serde(skip)]
    pub declared: String,
}

impl Port {
    /// Returns its address on this machine as a URL.
    pub fn url(&self) -> String {
        let scheme = self.protocol.as_deref().unwrap_or("tcp");
        format!("{scheme}://{}", self.address())
    }

    /// Returns the address that it is bound to.
    pub fn bound(&self) -> SocketAddr {
        SocketAddr::new(self.listen, self.port)
    }

    /// Returns the address at which this machine reaches it.
    pub fn address(&self) -> SocketAddr {
        reachable(self.listen, self.port)
    }

    /// Returns the address at which this machine reaches it, for the HTTP client.
    pub fn endpoint(&self) -> Endpoint {
        let address = self.address();
        Endpoint::tcp(address.ip().to_string(), address.port())
    }
}

/// A path of the front that leads to a process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The path, and all below it: `/app`.
    pub path: String,
    /// The host of the requests; any if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Whether the process receives paths without `path`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub strip_prefix: bool,
    /// Where the front connects to, `HOST:PORT`.
    pub address: String,
    /// Its URL for users.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}{}",
            self.host.as_deref().unwrap_or_default(),
            self.path
        )
    }
}

fn loopback() -> IpAddr {
    super::hosts::LOOPBACK
}

fn is_loopback(host: &IpAddr) -> bool {
    *host == loopback()
}

impl fmt::Display for ReadinessCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http { url, .. } => write!(f, "GET {url}"),
            Self::Tcp { address } => write!(f, "a connection to {address}"),
            Self::Lock { path } => write!(f, "a holder of the lock `{path}`"),
            Self::Exec { command } => write!(f, "`{}`", super::words::join(command)),
        }
    }
}
