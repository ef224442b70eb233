//! The result of a check: its id, its severity, what was found and what to do.
//!
//! Owns the list of ids, which are API: scripts use them, and docs/doctor.md explains each.

use std::fmt;

use kit::{Exit, names};
use serde::Serialize;

/// A check. The meaning of its name never changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Id {
    /// cargo and rustc are installed and new enough.
    RustToolchain,
    /// Where binaries could come from besides release archives.
    BinarySources,
    /// The addresses that `dep.lock` names answer.
    SourcesReachable,
    /// The clock agrees with those addresses.
    Clock,
    /// No file of `.data` has a time in the future.
    FileTimes,
    /// `dep.lock` can be read and pins what the manifests require.
    DepLock,
    /// Every file of `.dep` has its digest.
    DepBinaries,
    /// `.env` can be parsed.
    DotenvSyntax,
    /// Only its owner can read an `.env` with secrets.
    DotenvMode,
    /// The manifests are valid, with the variables they use.
    Manifests,
    /// PocketBase accepts the e-mail address of its superuser.
    SuperuserEmail,
    /// No service refuses its settings.
    Settings,
    /// No other program holds a port of the stack.
    Ports,
    /// No process of the instance runs without its supervisor.
    Leftovers,
    /// The supervisor's socket belongs to a supervisor.
    SupervisorSocket,
    /// No half-written file is left.
    TemporaryFiles,
    /// The holders of the locks.
    Locks,
    /// `localhost` means this machine.
    Localhost,
    /// Enough files may be open.
    FdLimit,
    /// There is enough space for data.
    DiskSpace,
    /// Every program supports the checkout's path.
    CheckoutPath,
    /// The file system locks and renames as it should.
    FileSystem,
    /// The directory for sockets is private and exists.
    RuntimeDirectory,
    /// The socket's path is short enough.
    SocketPath,
    /// Variables that a process-compose started by hand would obey.
    ProcessComposeVariables,
}

impl Id {
    /// Every id, in the order of the report.
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

    /// Returns its name in output.
    pub fn name(self) -> String {
        names::word(self)
    }

    /// Returns the exit code of an error of this check: the one with which `up` would fail.
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
        f.pad(&self.name())
    }
}

/// The severity of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// No problem.
    Ok,
    /// The check was not made: its input is broken or it was not requested.
    Skipped,
    /// Information.
    Info,
    /// The stack works, but something may surprise.
    Warning,
    /// `up` fails, or the running stack is broken.
    Error,
}

/// One finding; a check with several findings reports each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// The check.
    pub id: Id,
    /// Its severity.
    pub severity: Severity,
    /// The finding: a fragment, with several lines for long lists. Contains no secret.
    pub found: String,
    /// What to do: a command if possible.
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

    /// Creates a finding from the error of an operation of ours, with its hint as the fix.
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

/// Returns the findings, or one that there are none.
pub(super) fn or_ok(findings: Vec<Check>, id: Id, found: impl Into<String>) -> Vec<Check> {
    if findings.is_empty() {
        vec![Check::ok(id, found)]
    } else {
        findings
    }
}
