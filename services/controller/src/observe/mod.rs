//! Publishes what happens to the stack: turns the supervisor's pushes into events and stores them
//! in NATS.
//!
//! Owns two tasks and the queue between them. Must not disturb the topology: when the supervisor or
//! NATS is away, the tasks retry, and the queue is bounded.

mod fold;
mod outbox;
mod store;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use engine::checkout::paths::Paths;
use kit::output::Output;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

pub(crate) use outbox::{Notice, Outbox};

/// The pause before a retry: the first one and the longest.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// How long the last events may take to be stored when we stop. It takes milliseconds, and a NATS
/// that is away must not delay the exit.
const FINISH_LIMIT: Duration = Duration::from_millis(250);

/// The running tasks.
#[derive(Debug)]
pub(crate) struct Observer {
    outbox: Arc<Outbox>,
    watch: JoinHandle<()>,
    store: JoinHandle<()>,
}

impl Observer {
    /// Starts the tasks. Their messages go to the log.
    pub(crate) fn start(paths: &Paths, outbox: Arc<Outbox>, output: &Output) -> Self {
        let watch = watch::Watch::new(paths, outbox.clone(), output.notes());
        let store = store::Store::new(paths, outbox.clone(), output.notes());
        Self {
            outbox,
            watch: tokio::spawn(watch.run()),
            store: tokio::spawn(store.run()),
        }
    }

    /// Stops when the queue is stored or cannot be.
    pub(crate) async fn finish(self) {
        self.watch.abort();
        let _ = timeout(FINISH_LIMIT, self.outbox.emptied()).await;
        self.store.abort();
        // Their resources are free only when they have ended.
        let _ = (self.watch.await, self.store.await);
    }
}

/// The pauses between retries, and the last complaint: printed once, not at each retry.
#[derive(Debug)]
struct Patience {
    pause: Duration,
    complaint: String,
}

impl Patience {
    fn new() -> Self {
        Self {
            pause: PAUSE_FIRST,
            complaint: String::new(),
        }
    }

    /// Resets both after a success.
    fn renew(&mut self) {
        *self = Self::new();
    }

    /// Whether this is a new complaint.
    fn is_new(&mut self, complaint: &str) -> bool {
        let is_new = self.complaint != complaint;
        complaint.clone_into(&mut self.complaint);
        is_new
    }

    async fn wait(&mut self) {
        sleep(self.pause).await;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
    }
}
