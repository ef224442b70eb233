//! Requests to stop or to reload a service, which never sees a signal itself.
//!
//! Owns only the requests, their order and whether a supervisor runs the service. Must not know who
//! sends them: the binaries in `cmd/` translate signals, tests call the methods.

use std::sync::Arc;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// The requests a running service listens to. Clones share their state.
#[derive(Debug, Clone, Default)]
pub struct Lifecycle {
    supervised: bool,
    settings: Option<Arc<str>>,
    cancel: CancellationToken,
    kill: CancellationToken,
    orphan: CancellationToken,
    reload: Arc<Notify>,
}

impl Lifecycle {
    /// Creates a lifecycle in the foreground without any request.
    pub fn new() -> Self {
        Self::default()
    }

    /// Creates a lifecycle under the supervisor: it kills the process group of a wrapper that does
    /// not stop, so the server must stay in that group.
    pub fn supervised() -> Self {
        Self {
            supervised: true,
            ..Self::default()
        }
    }

    /// Sets the id of the settings that the service started with.
    #[must_use]
    pub fn with_settings(mut self, id: Option<&str>) -> Self {
        self.settings = id.map(Arc::from);
        self
    }

    /// Returns the id of the settings that the service started with.
    pub fn settings(&self) -> Option<&str> {
        self.settings.as_deref()
    }

    /// Whether the service runs under the supervisor.
    pub fn is_supervised(&self) -> bool {
        self.supervised
    }

    /// Requests a graceful stop; a second call requests to kill the server.
    pub fn stop(&self) {
        if self.cancel.is_cancelled() {
            self.kill.cancel();
        }
        self.cancel.cancel();
    }

    /// Reports that the starter of the service is gone: the service stops gracefully, in less time,
    /// as no supervisor is left to kill it.
    pub fn orphan(&self) {
        self.orphan.cancel();
        self.cancel.cancel();
    }

    /// Requests to read the configuration again. Requests that arrive while one is pending are
    /// merged with it.
    pub fn reload(&self) {
        self.reload.notify_one();
    }

    /// Resolves when a graceful stop was requested.
    pub async fn cancelled(&self) {
        self.cancel.cancelled().await;
    }

    /// Whether a graceful stop was requested.
    pub fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }

    /// Resolves when the server must be killed at once.
    pub async fn killed(&self) {
        self.kill.cancelled().await;
    }

    /// Resolves when the starter is gone.
    pub async fn orphaned(&self) {
        self.orphan.cancelled().await;
    }

    /// Resolves when a reload was requested, once for each request taken.
    pub async fn reload_requested(&self) {
        self.reload.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn second_stop_escalates() {
        let lifecycle = Lifecycle::new();
        lifecycle.stop();
        lifecycle.cancelled().await;
        assert!(!lifecycle.kill.is_cancelled());
        lifecycle.stop();
        lifecycle.killed().await;
    }

    #[tokio::test]
    async fn orphan_stops_without_escalating() {
        let lifecycle = Lifecycle::supervised();
        lifecycle.orphan();
        lifecycle.cancelled().await;
        lifecycle.orphaned().await;
        assert!(!lifecycle.kill.is_cancelled());
        assert!(lifecycle.is_supervised());
    }

    #[tokio::test]
    async fn reload_asked_before_anyone_waits_is_not_lost() {
        let lifecycle = Lifecycle::new();
        lifecycle.reload();
        lifecycle.reload_requested().await;
    }
}
