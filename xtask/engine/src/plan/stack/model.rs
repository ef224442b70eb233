//! The typed model of a stack: what every target is rendered from.

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
    /// Process names so that each comes after those it depends on.
    pub order: Vec<String>,
}

/// One entry of the supervisor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// The service it belongs to.
    pub service: String,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Left out of `up`.
    pub disabled: bool,
    /// Program and arguments.
    pub command: Vec<String>,
    /// Environment, besides what every process gets.
    pub env: BTreeMap<String, Value>,
    /// Names of those values of `env` that it takes while it runs, from a file.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub reloadable: BTreeSet<String>,
    /// Command that checks the environment before anything is started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<Vec<String>>,
    /// The directory it runs in, when not the root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    /// Processes that come first.
    pub depends_on: BTreeMap<String, Condition>,
    /// When it counts as ready; without, as soon as it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub readiness: Option<Readiness>,
    /// When it is started again.
    pub restart: RestartPolicy,
    /// How it is stopped.
    pub shutdown: Shutdown,
    /// Whether a runner stands above it: it is no wrapper, which ends what it started by itself.
    #[serde(default)]
    pub runner: bool,
    /// Its log file.
    pub log: Log,
    /// Ports it listens on, by name.
    pub ports: BTreeMap<String, Port>,
    /// Variables that tell others where it is.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub exports: BTreeMap<String, String>,
    /// The page of it that is shown to people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open: Option<String>,
    /// Who that page is for, and how they come in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<String>,
}

impl Process {
    /// The directory it runs in.
    pub fn directory(&self, root: &Path) -> PathBuf {
        let own = self.working_dir.as_ref();
        own.map_or_else(|| root.to_path_buf(), PathBuf::from)
    }

    /// Seconds that the supervisor gives it to stop before it kills its process group.
    pub fn stop_limit_seconds(&self) -> u32 {
        let margin = if self.runner {
            kit::runner::STOP_MARGIN_SECONDS
        } else {
            0
        };
        self.shutdown.timeout_seconds.saturating_add(margin)
    }

    /// Where a program lies, seen from the directory it is run in, unless it is looked up on PATH.
    pub fn program(directory: &Path, word: &str) -> PathBuf {
        if word.contains('/') {
            directory.join(word)
        } else {
            PathBuf::from(word)
        }
    }

    /// The URL a user reaches it at: its port `client`, else `http`, else its only one.
    pub fn url(&self) -> Option<String> {
        let only = || self.ports.values().next().filter(|_| self.ports.len() == 1);
        let client = self.ports.get("client");
        let port = client.or_else(|| self.ports.get("http")).or_else(only)?;
        Some(port.url())
    }
}

/// A value of the environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    /// What the process gets.
    pub text: String,
    /// Whether it must not be shown.
    pub secret: bool,
}

impl Value {
    /// What may be shown.
    pub fn shown(&self) -> &str {
        if self.secret && !self.text.is_empty() {
            MASK
        } else {
            &self.text
        }
    }
}

impl Serialize for Value {
    /// A model is serialised to be shown: a secret never is.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.shown())
    }
}

impl<'de> Deserialize<'de> for Value {
    /// What was shown: a secret is read as its mask.
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
    /// What is asked.
    pub check: ReadinessCheck,
    /// Seconds before the first check.
    pub initial_delay_seconds: u32,
    /// Seconds between two checks.
    pub period_seconds: u32,
    /// Seconds one check may take.
    pub timeout_seconds: u32,
    /// Successes in a row that count.
    pub success_threshold: u32,
    /// Failures in a row that count.
    pub failure_threshold: u32,
}

/// How readiness is found out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReadinessCheck {
    /// A GET that must be answered with 2xx, or with `status`.
    Http {
        /// The whole address.
        url: String,
        /// The one status that counts.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        status: Option<u16>,
    },
    /// A connection that must be accepted.
    Tcp {
        /// `HOST:PORT`.
        address: String,
    },
    /// A lock that somebody must hold.
    Lock {
        /// Its file, seen from the directory of the process.
        path: String,
    },
    /// A command that must end with 0.
    Exec {
        /// Program and arguments.
        command: Vec<String>,
    },
}

/// When a process is started again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestartPolicy {
    /// After which endings.
    pub restart: kit::manifest::Restart,
    /// Seconds before it.
    pub backoff_seconds: u32,
    /// How often, 0 for without end.
    pub max_restarts: u32,
}

/// How a process is stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shutdown {
    /// By which signal.
    pub signal: u8,
    /// Seconds before it is killed, with all that it started.
    pub timeout_seconds: u32,
    /// Whether the signal goes to the process alone, not to its process group.
    pub parent_only: bool,
}

/// A log file and its rotation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Log {
    /// Megabytes at which it is rotated.
    pub max_size_mb: u32,
    /// Old files kept.
    pub max_files: u32,
    /// Whether lines begin with the time.
    pub timestamps: bool,
}

/// A port that is listened on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// Its number.
    pub port: u16,
    /// What is spoken there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// The address it is listened on; left out where it is 127.0.0.1.
    #[serde(default = "loopback", skip_serializing_if = "is_loopback")]
    pub listen: IpAddr,
    /// Where it is declared: `services/nats/service.json:41`, or the variable that overrides it.
    #[serde(skip)]
    pub declared: String,
}

impl Port {
    /// The address on this machine, as a URL.
    pub fn url(&self) -> String {
        let scheme = self.protocol.as_deref().unwrap_or("tcp");
        format!("{scheme}://{}", self.address())
    }

    /// Where it is bound.
    pub fn bound(&self) -> SocketAddr {
        SocketAddr::new(self.listen, self.port)
    }

    /// Where it is reached from this machine.
    pub fn address(&self) -> SocketAddr {
        reachable(self.listen, self.port)
    }

    /// The same, for the client.
    pub fn endpoint(&self) -> Endpoint {
        let address = self.address();
        Endpoint::tcp(address.ip().to_string(), address.port())
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
