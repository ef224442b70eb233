//! The shape of a manifest, as Rust types. Their docstrings are the texts of the JSON schema.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Environment of a process: names to values, which may hold placeholders.
pub type EnvMap = BTreeMap<String, String>;

/// Free settings of a service, interpreted by its wrapper.
pub type Config = serde_json::Map<String, serde_json::Value>;

/// A service: the binaries it needs, the process it runs, its ports and settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Where an editor finds this schema.
    #[serde(rename = "$schema", default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    /// Every binary that `${dep.NAME}` may name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub binaries: Vec<Binary>,
    /// What is run.
    pub process: Process,
    /// The address the service listens on, an IP address: `${env.HELLO_HOST:-127.0.0.1}`. May hold
    /// `${env.VAR}` only. `${listen}` reads it, and `${host.SERVICE}` where others reach it.
    /// Default 127.0.0.1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen: Option<String>,
    /// Ports by name; `${port.NAME}` reads one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ports: BTreeMap<String, Port>,
    /// Variables that tell apps and tests where the running service is: names to addresses, which
    /// may hold placeholders and no secret. `cargo xtask env` prints them.
    #[serde(default, skip_serializing_if = "EnvMap::is_empty")]
    pub exports: EnvMap,
    /// The page that `cargo xtask open` shows. Default: the URL of the service, if it is HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open: Option<String>,
    /// Who the page that `open` names is for, and how they come in, as `cargo xtask up` says it.
    /// May hold placeholders and no secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<String>,
    /// Free settings of the service, interpreted by its wrapper.
    #[serde(default, skip_serializing_if = "Config::is_empty")]
    pub config: Config,
    /// Whether the service may run more than once. Kept for older manifests; not interpreted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scalable: Option<bool>,
    /// Who scales the service. Kept for older manifests; not interpreted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale_strategy: Option<String>,
}

/// A program that ends up in `.dep/NAME`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Binary {
    /// Its name in `.dep/`.
    pub name: String,
    /// How it is had.
    pub source: Source,
    /// The pinned version of a fetched program; for a built one only informative.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Folder of the workspace package that builds it, relative to the root: `./cmd/nats`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// How a binary is had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// Built from a package of this workspace.
    CargoBuild,
    /// Fetched as pinned in `dep.lock`.
    Fetch,
    /// Declared, but not needed: nothing may refer to it.
    Placeholder,
}

/// The process of a service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Process {
    /// The program and, if wanted, its arguments, in shell quoting but without shell operators.
    pub command: String,
    /// Further arguments, each passed as it stands.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Its environment, besides `PATH`, `HOME`, `TMPDIR`, `LANG`, `LC_ALL` and `USER`, and
    /// `PYTHONUNBUFFERED`, which is 1 unless it is set.
    #[serde(default, skip_serializing_if = "EnvMap::is_empty")]
    pub env: EnvMap,
    /// Names of `env` entries whose values are secret: masked wherever they would be shown.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<String>,
    /// Names of `env` entries that the process takes while it runs: it finds them in the file
    /// that `CORE_SETTINGS_FILE` names and reads it again at SIGHUP.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reloadable: Vec<String>,
    /// A command that checks the resolved environment before anything is started; it gets the
    /// environment of the process and fails with the reason on stderr.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<String>,
    /// How process-compose treats it.
    #[serde(default, skip_serializing_if = "Compose::is_default")]
    pub compose: Compose,
}

/// process-compose keys of a process.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Compose {
    /// What the process is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Leaves the process out of `up`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disabled: Option<bool>,
    /// The directory the process runs in, relative to the root. Default: the root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    /// When the process counts as ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub readiness_probe: Option<ReadinessProbe>,
    /// Restart policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub availability: Option<Availability>,
    /// Services that come first, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub depends_on: BTreeMap<String, Dependency>,
    /// How it is stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shutdown: Option<Shutdown>,
    /// Its log file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<Log>,
}

impl Compose {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// When a process counts as ready. Exactly one of `http_get`, `tcp`, `lock` and `exec`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReadinessProbe {
    /// Ready when this URL answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_get: Option<HttpGet>,
    /// Ready when this port accepts a connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp: Option<TcpProbe>,
    /// Ready while somebody holds the lock (`flock`) on this file: for a process without a port.
    /// A lock ends with its holder, however that ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<String>,
    /// Ready when this command ends with 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exec: Option<ExecProbe>,
    /// Seconds before the first check. Not needed: the check waits for the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial_delay_seconds: Option<u32>,
    /// Seconds between two checks, at least 1. Default 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period_seconds: Option<u32>,
    /// Seconds that one check may take, at least 1. Default 60: a check waits for the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<u32>,
    /// Checks that must succeed in a row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub success_threshold: Option<u32>,
    /// Checks that must fail in a row before the process is restarted. Default 3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_threshold: Option<u32>,
    /// The same as `timeout_seconds`, as a duration: `5s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,
    /// The same as `period_seconds`, as a duration: `5s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<String>,
}

/// An HTTP check: either `url`, or `port` with what goes with it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpGet {
    /// The whole address, `http` only: `http://127.0.0.1:${port.http}/healthz`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Default: where the service is reached, by its `listen`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Only `http`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheme: Option<String>,
    /// Default `/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The port, as text so that it can be `${port.NAME}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<String>,
    /// The status that counts as ready. Default: any from 200 to 299.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status_code: Option<u16>,
}

/// A TCP check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TcpProbe {
    /// Default: where the service is reached, by its `listen`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The port, as text so that it can be `${port.NAME}`.
    pub port: String,
}

/// A check by a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExecProbe {
    /// The command, in shell quoting but without shell operators.
    pub command: String,
}

/// Restart policy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Availability {
    /// When the process is started again after it ended. Default `always`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart: Option<Restart>,
    /// Seconds before it is started again, at least 1. Default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backoff_seconds: Option<u32>,
    /// How often it is started again before it is given up. Default: without end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_restarts: Option<u32>,
}

/// When a process is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Restart {
    /// Whatever its exit code.
    Always,
    /// After an exit code other than 0.
    OnFailure,
    /// Never.
    No,
    /// Never, and the whole project ends when it fails.
    ExitOnFailure,
}

/// A service that comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Dependency {
    /// What must have happened.
    pub condition: Condition,
}

/// What must have happened to a dependency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// Its readiness probe succeeded.
    ProcessHealthy,
    /// It was started.
    ProcessStarted,
    /// It ended.
    ProcessCompleted,
    /// It ended with 0.
    ProcessCompletedSuccessfully,
}

/// How a process is stopped.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Shutdown {
    /// The signal, by number. Default 15 (SIGTERM).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<u8>,
    /// Seconds before the process is killed, with all that it started, at least 1. Default 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<u32>,
    /// Whether only the process itself gets the signal, not its group. Default false. A program of
    /// this workspace that says true is a wrapper: it ends what it started by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_only: Option<bool>,
}

/// The log file of a process and its rotation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// Old files kept. Default 5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_files: Option<u32>,
    /// Size at which a file is rotated: `20mb`. Default 20mb.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_size: Option<String>,
    /// Whether each line begins with the time. Default true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamps: Option<bool>,
}

/// A port the service listens on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Port {
    /// The number, 1 to 65535.
    #[schemars(range(min = 1, max = 65535))]
    pub port: u16,
    /// What is spoken there: `http`, `nats`, `ws` ...
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// The address this port is listened on, when not that of the service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen: Option<String>,
}
