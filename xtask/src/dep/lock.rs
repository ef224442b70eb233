//! `dep.lock`: every upstream artefact with its digests.
//!
//! Owns the format and its guarantee: an artefact has the digest of the download, of the binary
//! inside, or both. Must not fetch anything. Only `dep update` writes it.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::Duration;

use anyhow::anyhow;
use kit::{Exit, Failure};
use serde::{Deserialize, Serialize};

use engine::base::digest;
use engine::checkout::env::input;

/// How long a lock that is a pipe may take to be written.
const PIPE_WAIT: Duration = Duration::from_secs(2);

/// The format this module reads and writes.
const LOCK_VERSION: u32 = 1;
/// Mode of the file: it is committed, so everyone may read it.
const LOCK_FILE_MODE: u32 = 0o644;

/// The whole file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    lock_version: u32,
    /// Programs by their name in `.dep/`.
    pub programs: BTreeMap<String, Program>,
}

/// The pins of one program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Program {
    /// The pinned version, without a leading `v`.
    pub version: String,
    /// Artefacts by platform: `linux-amd64`.
    pub platforms: BTreeMap<String, Artefacts>,
}

/// The artefacts of one platform.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Artefacts {
    /// The release archive of the upstream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<Artefact>,
    /// A wheel that contains the binary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wheel: Option<Artefact>,
}

/// One pinned download.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Artefact {
    /// The address of an archive, or `PACKAGE==VERSION` of a wheel.
    pub location: String,
    /// The path of the binary inside.
    pub file: String,
    /// SHA-256 of the download.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub download: Option<String>,
    /// SHA-256 of the binary inside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub binary: Option<String>,
}

impl Lock {
    /// Returns a lock without pins.
    pub fn empty() -> Self {
        Self {
            lock_version: LOCK_VERSION,
            programs: BTreeMap::new(),
        }
    }

    /// Reads the file; if it is missing, nothing is pinned.
    pub fn load(path: &Path) -> anyhow::Result<Self> {
        let text = match input::read_text(path, PIPE_WAIT) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::empty()),
            Err(error) => return Err(unreadable(path, error)),
        };
        let lock: Self = serde_json::from_str(&text).map_err(|error| unreadable(path, error))?;
        lock.check().map_err(|error| unreadable(path, error))?;
        Ok(lock)
    }

    /// Replaces the file atomically.
    pub fn store(&self, path: &Path) -> anyhow::Result<()> {
        self.check()?;
        kit::files::write_atomically(path, self.render()?.as_bytes(), LOCK_FILE_MODE)
    }

    fn render(&self) -> anyhow::Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    fn check(&self) -> anyhow::Result<()> {
        if self.lock_version != LOCK_VERSION {
            let found = self.lock_version;
            return Err(anyhow!("lock_version is {found}, not {LOCK_VERSION}"));
        }
        for (name, program) in &self.programs {
            for (platform, artefacts) in &program.platforms {
                for artefact in [&artefacts.archive, &artefacts.wheel].into_iter().flatten() {
                    artefact.check().map_err(|problem| {
                        anyhow!("programs.{name}.platforms.{platform}: {problem}")
                    })?;
                }
            }
        }
        Ok(())
    }
}

impl Program {
    /// Returns the pins of a platform; empty when it has none.
    pub fn artefacts(&self, platform: &str) -> Artefacts {
        self.platforms.get(platform).cloned().unwrap_or_default()
    }
}

impl Artefact {
    fn check(&self) -> Result<(), String> {
        let digests = [&self.download, &self.binary];
        if digests.iter().all(|digest| digest.is_none()) {
            return Err(format!("`{}` has no digest", self.location));
        }
        match digests
            .into_iter()
            .flatten()
            .find(|d| !digest::is_sha256(d))
        {
            Some(bad) => Err(format!("`{bad}` is not a sha256 in lower-case hex")),
            None => Ok(()),
        }
    }
}

fn unreadable(path: &Path, error: impl Into<anyhow::Error>) -> anyhow::Error {
    Failure::new(Exit::Binary, format!("cannot read `{}`", path.display()))
        .hint("restore it: git checkout -- dep.lock")
        .source(error)
        .into()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// The lock of this checkout.
    const COMMITTED: &str = include_str!("../../../dep.lock");

    #[test]
    fn committed_lock_is_what_we_would_write() {
        let lock: Lock = serde_json::from_str(COMMITTED).unwrap();
        lock.check().unwrap();
        assert_eq!(lock.render().unwrap(), COMMITTED);
    }

    #[test]
    fn committed_lock_pins_an_archive_of_every_program_for_four_platforms() {
        let lock: Lock = serde_json::from_str(COMMITTED).unwrap();
        for (name, program) in &lock.programs {
            let pinned: Vec<&str> = program.platforms.keys().map(String::as_str).collect();
            let all = ["darwin-amd64", "darwin-arm64", "linux-amd64", "linux-arm64"];
            assert_eq!(pinned, all, "{name}");
            for platform in pinned {
                let archive = program.artefacts(platform).archive;
                assert!(archive.is_some(), "{name} {platform}");
            }
        }
    }

    #[test]
    fn bad_locks_are_named() {
        let digest = "a".repeat(64);
        let lock = |version: u32, artefact: &str| {
            format!(
                r#"{{"lock_version":{version},"programs":{{"x":{{"version":"1","platforms":
                {{"linux-amd64":{{"wheel":{artefact}}}}}}}}}}}"#
            )
        };
        let good = format!(r#"{{"location":"x==1","file":"x","binary":"{digest}"}}"#);
        let cases = [
            (lock(2, &good), "lock_version is 2"),
            (
                lock(1, r#"{"location":"x==1","file":"x"}"#),
                "`x==1` has no digest",
            ),
            (
                lock(1, r#"{"location":"x==1","file":"x","download":"ABC"}"#),
                "programs.x.platforms.linux-amd64: `ABC` is not a sha256",
            ),
            (lock(1, r#"{"loc":1}"#), "unknown field `loc`"),
        ];
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("dep.lock");
        for (text, expected) in cases {
            fs::write(&path, text).unwrap();
            let told = kit::failure::describe(&Lock::load(&path).unwrap_err());
            assert!(told.contains(expected), "{told}");
        }
        fs::write(&path, lock(1, &good)).unwrap();
        assert_eq!(Lock::load(&path).unwrap().programs["x"].version, "1");
    }
}
