//! What a check tells: which one it is, how it went, what was found and what to do.
//!
//! Owns the list of ids, which are API: scripts look for them, and docs/doctor.md explains each.

use std::fmt;

use kit::Exit;
use serde::{Serialize, Serializer};

/// A check. Its name never changes its meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Id {
    /// cargo and rustc are there and new enough.
    RustToolchain,
    /// What binaries could be had with besides release archives.
    BinarySources,
    /// The addresses that `dep.lock` names answer.
    SourcesReachable,
    /// The clock agrees with those addresses.
    Clock,
    /// No file of `.data` is dated in the future.
    FileTimes,
    /// `dep.lock` can be read and pins what the manifests ask for.
    DepLock,
    /// Every file of `.dep` has its digest.
    DepBinaries,
    /// `.env` can be parsed.
    DotenvSyntax,
    /// `.env` with secrets is its owner's alone.
    DotenvMode,
    /// The manifests are valid, with the variables they use.
    Manifests,
    /// PocketBase's superuser has an e-mail address that it takes.
    SuperuserEmail,
    /// No service refuses its settings.
    Settings,
    /// No port of the stack is somebody else's.
    Ports,
    /// Nothing of the instance runs without its supervisor.
    Leftovers,
    /// The supervisor's socket belongs to a supervisor.
    SupervisorSocket,
    /// No half-written file lies around.
    TemporaryFiles,
    /// Who is at work here.
    Locks,
    /// `localhost` means this machine.
    Localhost,
    /// Enough files can be open.
    FdLimit,
    /// There is room for data.
    DiskSpace,
    /// Every program can cope with the checkout's path.
    CheckoutPath,
    /// The file system locks and renames as it should.
    FileSystem,
    /// The directory for sockets is private and there.
    RuntimeDirectory,
    /// The socket's path is short enough.
    SocketPath,
    /// Variables that a process-compose called by hand would obey.
    ProcessComposeVariables,
}

impl Id {
    /// Every id, in the order in which checks are told.
    pub const ALL: [Self; 25] = [
        Self::RustToolchain,
        Self::BinarySources,
        Self::SourcesReachable,
        Self::Clock,
        Self::FileTimes,
        Self::DepLock,
        Self::DepBinaries,
        Self::DotenvSyntax,
        Self::DotenvMode,
        Self::Manifests,
        Self::SuperuserEmail,
        Self::Settings,
        Self::Ports,
        Self::Leftovers,
        Self::SupervisorSocket,
        Self::TemporaryFiles,
        Self::Locks,
        Self::Localhost,
        Self::FdLimit,
        Self::DiskSpace,
        Self::CheckoutPath,
        Self::FileSystem,
        Self::RuntimeDirectory,
        Self::SocketPath,
        Self::ProcessComposeVariables,
    ];

    /// Its name in output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RustToolchain => "rust-toolchain",
            Self::BinarySources => "binary-sources",
            Self::SourcesReachable => "sources-reachable",
            Self::Clock => "clock",
            Self::FileTimes => "file-times",
            Self::DepLock => "dep-lock",
            Self::DepBinaries => "dep-binaries",
            Self::DotenvSyntax => "dotenv-syntax",
            Self::DotenvMode => "dotenv-mode",
            Self::Manifests => "manifests",
            Self::SuperuserEmail => "superuser-email",
            Self::Settings => "settings",
            Self::Ports => "ports",
            Self::Leftovers => "leftovers",
            Self::SupervisorSocket => "supervisor-socket",
            Self::TemporaryFiles => "temporary-files",
            Self::Locks => "locks",
            Self::Localhost => "localhost",
            Self::FdLimit => "fd-limit",
            Self::DiskSpace => "disk-space",
            Self::CheckoutPath => "checkout-path",
            Self::FileSystem => "file-system",
            Self::RuntimeDirectory => "runtime-directory",
            Self::SocketPath => "socket-path",
            Self::ProcessComposeVariables => "process-compose-variables",
        }
    }

    /// The exit code of an error of this check: that with which `up` would fail.
    pub const fn exit(self) -> Exit {
        match self {
            Self::RustToolchain
            | Self::BinarySources
            | Self::SourcesReachable
            | Self::DepLock
            | Self::DepBinaries => Exit::Binary,
            Self::DotenvSyntax
            | Self::DotenvMode
            | Self::Manifests
            | Self::SuperuserEmail
            | Self::Settings => Exit::Invalid,
            Self::Ports => Exit::PortTaken,
            Self::Leftovers => Exit::Unhealthy,
            Self::Locks => Exit::Locked,
            Self::Clock
            | Self::FileTimes
            | Self::SupervisorSocket
            | Self::TemporaryFiles
            | Self::Localhost
            | Self::FdLimit
            | Self::DiskSpace
            | Self::CheckoutPath
            | Self::FileSystem
            | Self::RuntimeDirectory
            | Self::SocketPath
            | Self::ProcessComposeVariables => Exit::Unexpected,
        }
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// How a check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// All is well.
    Ok,
    /// It could not be made: what it needs is broken or was not wanted.
    Skipped,
    /// Good to know.
    Info,
    /// The stack works, and something will surprise.
    Warning,
    /// `up` fails, or what runs is broken.
    Error,
}

impl Severity {
    /// Its word in output.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Skipped => "skipped",
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// One thing that was found; a check that found several tells each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Which check.
    pub id: Id,
    /// How it went.
    pub severity: Severity,
    /// What was found: a fragment, of several lines when there is much to tell. Holds no secret.
    pub found: String,
    /// What to do, a command where there is one.
    pub fix: Option<String>,
}

impl Check {
    fn new(id: Id, severity: Severity, found: impl Into<String>) -> Self {
        Self {
            id,
            severity,
            found: found.into(),
            fix: None,
        }
    }

    pub(super) fn ok(id: Id, found: impl Into<String>) -> Self {
        Self::new(id, Severity::Ok, found)
    }

    pub(super) fn skipped(id: Id, why: impl Into<String>) -> Self {
        Self::new(id, Severity::Skipped, why)
    }

    pub(super) fn info(id: Id, found: impl Into<String>) -> Self {
        Self::new(id, Severity::Info, found)
    }

    pub(super) fn warning(id: Id, found: impl Into<String>) -> Self {
        Self::new(id, Severity::Warning, found)
    }

    pub(super) fn error(id: Id, found: impl Into<String>) -> Self {
        Self::new(id, Severity::Error, found)
    }

    /// What an operation of ours failed with, its hint as the fix.
    pub(super) fn failed(id: Id, error: &anyhow::Error) -> Self {
        let mut check = Self::error(id, format!("{error:#}"));
        check.fix = kit::failure::hint_of(error).map(str::to_owned);
        check
    }

    #[must_use]
    pub(super) fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }
}

/// The findings, or that there are none.
pub(super) fn or_ok(findings: Vec<Check>, id: Id, found: impl Into<String>) -> Vec<Check> {
    if findings.is_empty() {
        vec![Check::ok(id, found)]
    } else {
        findings
    }
}
