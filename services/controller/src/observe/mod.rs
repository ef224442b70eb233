//! What happens to the stack, told as events: the supervisor's pushes become events, and events
//! are stored in NATS.
//!
//! Owns two tasks and what waits between them. Nothing here may disturb the topology: when the
//! supervisor or NATS is away, it is tried again, and what waits is bounded.

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

/// The pause before something is tried again: the first one and the longest.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// How long the last events may take to be stored when we stop. It takes milliseconds, and a NATS
/// that is away shall not hold up the end.
const FINISH_LIMIT: Duration = Duration::from_millis(250);

/// The tasks at work.
#[derive(Debug)]
pub(crate) struct Observer {
    outbox: Arc<Outbox>,
    watch: JoinHandle<()>,
    store: JoinHandle<()>,
}

impl Observer {
    /// Begins. What is to be said is put into the log.
    pub(crate) fn start(paths: &Paths, outbox: Arc<Outbox>, output: &Output) -> Self {
        let watch = watch::Watch::new(paths, outbox.clone(), output.notes());
        let store = store::Store::new(paths, outbox.clone(), output.notes());
        Self {
            outbox,
            watch: tokio::spawn(watch.run()),
            store: tokio::spawn(store.run()),
        }
    }

    /// Ends, when what waits is stored or cannot be.
    pub(crate) async fn finish(self) {
        self.watch.abort();
        let _ = timeout(FINISH_LIMIT, self.outbox.emptied()).await;
        self.store.abort();
        // What they hold is free only when they have ended.
        let _ = (self.watch.await, self.store.await);
    }
}

/// The pauses between tries, and what was complained about: told once, not at each try.
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

    /// It has worked.
    fn renew(&mut self) {
        *self = Self::new();
    }

    /// Says whether this is a new complaint.
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
