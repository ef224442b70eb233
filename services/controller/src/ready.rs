//! The sign that the controller is in sync: a lock, which a dead process cannot hold.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::bail;
use kit::files::FileLock;
use tokio::time::{Instant, sleep};

/// Name of the file in the state directory, as in `service.json`.
const LOCK_FILE: &str = "ready.lock";
/// How long checks of the lock may keep it from us: each holds it for an instant.
const LOOKERS_LIMIT: Duration = Duration::from_secs(2);
/// Pause between two attempts.
const RETRY: Duration = Duration::from_millis(1);

/// The sign, shown or not.
#[derive(Debug)]
pub(crate) struct Ready {
    path: PathBuf,
    lock: Option<FileLock>,
}

impl Ready {
    /// Creates the sign, not shown. `directory` exists.
    pub(crate) fn new(directory: &std::path::Path) -> Self {
        Self {
            path: directory.join(LOCK_FILE),
            lock: None,
        }
    }

    /// Takes the lock. Returns whether it was not held before.
    pub(crate) async fn give(&mut self) -> anyhow::Result<bool> {
        if self.lock.is_some() {
            return Ok(false);
        }
        let deadline = Instant::now() + LOOKERS_LIMIT;
        loop {
            self.lock = FileLock::try_exclusive(&self.path)?;
            if self.lock.is_some() {
                return Ok(true);
            }
            if Instant::now() >= deadline {
                bail!("another process holds the lock `{}`", self.path.display());
            }
            sleep(RETRY).await;
        }
    }

    /// Releases the lock.
    pub(crate) fn take_back(&mut self) {
        self.lock = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn given_and_taken_back() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(LOCK_FILE);
        let mut ready = Ready::new(dir.path());
        assert!(!FileLock::is_held(&file).unwrap());
        assert!(ready.give().await.unwrap());
        assert!(!ready.give().await.unwrap());
        assert!(FileLock::is_held(&file).unwrap());
        ready.take_back();
        assert!(!FileLock::is_held(&file).unwrap());
        assert!(ready.give().await.unwrap());
    }

    #[test]
    fn the_manifest_asks_for_this_lock() {
        let manifest = kit::manifest::parse(crate::spec()).unwrap().manifest;
        let probe = manifest.process.compose.readiness_probe.unwrap();
        let directory = &manifest.process.env["CONTROLLER_STATE_DIR"];
        assert_eq!(probe.lock.unwrap(), format!("{directory}/{LOCK_FILE}"));
    }
}
