//! The shape of a manifest, as Rust types. Their doc comments are the texts of the JSON schema.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::env_file::EnvFiles;

/// Environment of a process: names to values, which may contain placeholders.
pub type EnvMap = BTreeMap<String, String>;

/// Free settings of a service, interpreted by its wrapper.
pub type Config = serde_json::Map<String, serde_json::Value>;

/// A service: the binaries it needs, the process it runs, its ports and settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The address of this schema, for editors.
    #[serde(rename = "$schema", default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    /// Every binary that `${dep.NAME}` may name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub binaries: Vec<Binary>,
    /// The process that runs.
    pub process: Process,
    /// The address the service listens on, an IP address: `${env.HELLO_HOST:-127.0.0.1}`. May
    /// contain `${env.VAR}` only. `${listen}` is this address, and `${host.SERVICE}` the one by
    /// which others reach it. Default 127.0.0.1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen: Option<String>,
    /// Ports by name; `${port.NAME}` is the number of one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ports: BTreeMap<String, Port>,
    /// Paths of the front that lead to a port of this service.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
    /// For the front itself: paths that no route may take, with all below them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reserved_paths: Vec<String>,
    /// Variables with the addresses of the running service, for apps and tests: names to values,
    /// which may contain placeholders and no secret. `cargo xtask env` prints them.
    #[serde(default, skip_serializing_if = "EnvMap::is_empty")]
    pub exports: EnvMap,
    /// Variables with secrets of the running service, for the services that name them in
    /// `process.use_secrets`, and for `cargo xtask exec --secrets`: names to values, which may
    /// contain placeholders. They are shown nowhere.
    #[serde(default, skip_serializing_if = "EnvMap::is_empty")]
    pub secret_exports: EnvMap,
    /// The page that `cargo xtask open` shows. Default: the URL of the service, if it is HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open: Option<String>,
    /// The users of the page in `open` and how they log in, as `cargo xtask up` prints it. May
    /// contain placeholders and no secret.
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

/// A program that is installed as `.dep/NAME`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Binary {
    /// Its name in `.dep/`.
    pub name: String,
    /// Where the binary comes from.
    pub source: Source,
    /// The pinned version of a fetched program; informative for one that is built.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Directory of the workspace package that builds it, relative to the root: `./cmd/nats`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// Where a binary comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// Built from a package of this workspace.
    CargoBuild,
    /// Fetched as pinned in `dep.lock`.
    Fetch,
    /// Declared, but not needed: no command may refer to it.
    Placeholder,
}

/// The process of a service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Process {
    /// The program and optional arguments, in shell quoting but without shell operators.
    pub command: String,
    /// Further arguments, each passed unchanged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Its environment, besides `PATH`, `HOME`, `TMPDIR`, `LANG`, `LC_ALL` and `USER`, and
    /// `PYTHONUNBUFFERED`, which is 1 unless it is set.
    #[serde(default, skip_serializing_if = "EnvMap::is_empty")]
    pub env: EnvMap,
    /// Files with further variables, each a path relative to the root or an object with `path` and
    /// `optional`: one, or a list, in which a later file wins. The rules of `.env` apply. What the
    /// manifest names itself wins over a file. The values count as secret.
    #[serde(default, skip_serializing_if = "EnvFiles::is_empty")]
    pub env_file: EnvFiles,
    /// Names of variables of the caller's environment, or of `.env`, that its environment has, too,
    /// if they are set. The values count as secret.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env_passthrough: Vec<String>,
    /// Names of `secret_exports` of services that it depends on, directly or not, which its
    /// environment has, too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub use_secrets: Vec<String>,
    /// Names of `env` entries whose values are secret: masked wherever they would be shown.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<String>,
    /// Names of `env` entries that can change while the process runs: it reads them from the file
    /// that `CORE_SETTINGS_FILE` names, and again at SIGHUP.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reloadable: Vec<String>,
    /// Whether its environment has the `exports` of the services it depends on, and `CORE_URL`,
    /// unless `env` has an entry of that name. Default: true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inherit_exports: Option<bool>,
    /// A command that checks the resolved environment before anything is started; it runs with the
    /// environment of the process and fails with the reason on stderr.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<String>,
    /// How process-compose runs it.
    #[serde(default, skip_serializing_if = "Compose::is_default")]
    pub compose: Compose,
}

/// Keys of process-compose for a process.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Compose {
    /// The purpose of the process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Whether `up` leaves the process out.
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
    /// Services that must start before this one, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub depends_on: BTreeMap<String, Dependency>,
    /// How the process is stopped.
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
    /// Ready while a process holds the lock (`flock`) on this file: for a process without a port. A
    /// lock is released when its holder exits for any reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<String>,
    /// Ready when this command exits with code 0.
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
    /// Same as `timeout_seconds`, as a duration: `5s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,
    /// Same as `period_seconds`, as a duration: `5s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<String>,
}

/// An HTTP check: either `url`, or `port` with the keys that complete it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpGet {
    /// The complete address, `http` only: `http://127.0.0.1:${port.http}/healthz`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Default: the address by which the service is reached, from its `listen`.
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
    /// Default: the address by which the service is reached, from its `listen`.
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
    /// When the process is restarted after it exited. Default `always`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart: Option<Restart>,
    /// Seconds before a restart, at least 1. Default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backoff_seconds: Option<u32>,
    /// How often the process is restarted before it counts as failed. Default: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_restarts: Option<u32>,
}

/// When a process is restarted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Restart {
    /// After any exit code.
    Always,
    /// After an exit code other than 0.
    OnFailure,
    /// Never.
    No,
    /// Never; all processes are stopped when it fails.
    ExitOnFailure,
}

/// A service that must start first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Dependency {
    /// The condition that must be met.
    pub condition: Condition,
}

/// The condition of a dependency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// Its readiness probe succeeded.
    ProcessHealthy,
    /// It was started.
    ProcessStarted,
    /// It exited.
    ProcessCompleted,
    /// It exited with code 0.
    ProcessCompletedSuccessfully,
}

/// How a process is stopped.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Shutdown {
    /// The signal, by number. Default 15 (SIGTERM).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<u8>,
    /// Seconds before the process and its descendants are killed, at least 1. Default 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<u32>,
    /// Whether only the process itself receives the signal, not its group. Default false. A program
    /// of this workspace with `true` is a wrapper: it stops its child processes itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_only: Option<bool>,
}

/// The log file of a process and its rotation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// Number of old files that are kept. Default 5.
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
    /// The protocol on this port: `http`, `nats`, `ws` ...
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// The address of this port, if it is not that of the service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen: Option<String>,
}

/// A path of the front that leads to a port of the service. The longest path wins, and a route of a
/// host wins over all routes without one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// `/`, or one to three segments: `/app`, `/app/v2`. With all paths below it.
    pub path: String,
    /// The name of a port with HTTP.
    pub port: String,
    /// Whether the service receives paths without this one: `/app/x` as `/x`. Default false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strip_prefix: Option<bool>,
    /// Only for requests to this host: `app.localhost`. Default: to any host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
}
