//! How a service is told to stop or to reload, without ever seeing a signal.
//!
//! Owns only the requests, their order and who runs the service. Must not know what sends them:
//! the binaries in `cmd/` translate signals, tests call the methods.

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
    /// A lifecycle in the foreground that nothing has been asked of yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A lifecycle under the supervisor: it kills the process group of a wrapper that does not
    /// stop, so the server must stay in that group.
    pub fn supervised() -> Self {
        Self {
            supervised: true,
            ..Self::default()
        }
    }

    /// The same for a service that began with the settings that `id` names.
    #[must_use]
    pub fn with_settings(mut self, id: Option<&str>) -> Self {
        self.settings = id.map(Arc::from);
        self
    }

    /// What names the settings that the service began with.
    pub fn settings(&self) -> Option<&str> {
        self.settings.as_deref()
    }

    /// Whether the service runs under the supervisor.
    pub fn is_supervised(&self) -> bool {
        self.supervised
    }

    /// Asks the service to stop gracefully; asked again, to end its server at once.
    pub fn stop(&self) {
        if self.cancel.is_cancelled() {
            self.kill.cancel();
        }
        self.cancel.cancel();
    }

    /// Says that whoever started the service is gone: it is to stop gracefully, in less time, as
    /// nobody is left who would end it.
    pub fn orphan(&self) {
        self.orphan.cancel();
        self.cancel.cancel();
    }

    /// Asks the service to re-read what it is configured by. Requests that come while one waits
    /// to be taken become one.
    pub fn reload(&self) {
        self.reload.notify_one();
    }

    /// Resolves when a graceful stop was asked for.
    pub async fn cancelled(&self) {
        self.cancel.cancelled().await;
    }

    /// Whether a graceful stop was asked for.
    pub fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }

    /// Resolves when the server is to be ended at once.
    pub async fn killed(&self) {
        self.kill.cancelled().await;
    }

    /// Resolves when the starter is gone.
    pub async fn orphaned(&self) {
        self.orphan.cancelled().await;
    }

    /// Resolves when a reload was asked for, once for each request taken.
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
