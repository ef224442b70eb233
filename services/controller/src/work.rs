//! A running change: on a thread of its own, since it blocks and has its own runtime.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Context as _, anyhow};
use engine::operations::change::Change;
use engine::topology::record::Record;
use tokio::sync::oneshot;

use crate::stack::Stack;

/// A running change.
#[derive(Debug)]
pub(crate) struct Work {
    /// The record when the change began.
    record: Record,
    interrupt: Arc<AtomicBool>,
    done: oneshot::Receiver<anyhow::Result<()>>,
}

/// The result of a change.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The record when the change began.
    pub(crate) record: Record,
    /// Why it failed.
    pub(crate) result: anyhow::Result<()>,
    /// Whether it was interrupted because we, or the whole stack, must stop: then the next
    /// controller takes it up again.
    pub(crate) given_up: bool,
}

impl Work {
    /// Starts a change.
    pub(crate) fn begin(
        stack: Arc<dyn Stack>,
        record: Record,
        change: Change,
    ) -> anyhow::Result<Self> {
        let interrupt = Arc::new(AtomicBool::new(false));
        let flag = interrupt.clone();
        let (sender, done) = oneshot::channel();
        let run = move || {
            // The receiver may be gone.
            let _ = sender.send(stack.apply(&change, flag));
        };
        thread::Builder::new()
            .name("apply".to_owned())
            .spawn(run)
            .context("cannot start a thread")?;
        Ok(Self {
            record,
            interrupt,
            done,
        })
    }

    /// Asks it to give up and to roll back.
    pub(crate) fn interrupt(&self) {
        self.interrupt.store(true, Ordering::Relaxed);
    }

    /// Resolves when it is done. Dropping the call loses nothing.
    pub(crate) async fn done(&mut self, stack: &dyn Stack) -> Outcome {
        let result = match (&mut self.done).await {
            Ok(result) => result,
            Err(_) => Err(anyhow!("the change ended without an answer: this is a bug")),
        };
        let told = self.interrupt.load(Ordering::Relaxed) || stack.is_stopping();
        Outcome {
            record: self.record.clone(),
            given_up: result.is_err() && told,
            result,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::{Duration, Instant};

    use serde_json::json;
    use service_nats::topology::{Origin, Spec};

    use super::*;
    use crate::stack::World;

    /// How long a change waits for an interrupt before the test fails.
    const LIMIT: Duration = Duration::from_secs(10);

    /// A stack with scripted changes.
    #[derive(Default)]
    struct Fake {
        waits: bool,
        stopping: bool,
        fails: bool,
        taken: Mutex<Vec<Change>>,
    }

    impl Stack for Fake {
        fn look(&self) -> anyhow::Result<World> {
            anyhow::bail!("nobody looks")
        }

        fn apply(&self, change: &Change, interrupt: Arc<AtomicBool>) -> anyhow::Result<()> {
            self.taken.lock().unwrap().push(change.clone());
            let begun = Instant::now();
            while self.waits && begun.elapsed() < LIMIT {
                if interrupt.load(Ordering::Relaxed) {
                    anyhow::bail!("interrupted");
                }
                thread::yield_now();
            }
            anyhow::ensure!(!self.fails, "broken");
            Ok(())
        }

        fn is_stopping(&self) -> bool {
            self.stopping
        }
    }

    async fn run(fake: Fake, interrupt: bool) -> (Outcome, Arc<Fake>) {
        let stack = Arc::new(fake);
        let record = json!({"id": "x", "service": "nats", "origin": "user", "generation": 2,
            "spec": {"topology": "single-node"}});
        let change = Change {
            spec: Spec::SingleNode,
            origin: Origin::User,
            move_streams: false,
        };
        let record = serde_json::from_value(record).unwrap();
        let mut work = Work::begin(stack.clone(), record, change).unwrap();
        if interrupt {
            work.interrupt();
        }
        (work.done(&*stack).await, stack)
    }

    #[tokio::test]
    async fn what_came_of_it() {
        let (outcome, stack) = run(Fake::default(), false).await;
        assert!(outcome.result.is_ok() && !outcome.given_up);
        assert_eq!(outcome.record.generation, 2);
        assert_eq!(stack.taken.lock().unwrap().len(), 1);
        let fails = Fake {
            fails: true,
            ..Fake::default()
        };
        let (outcome, _) = run(fails, false).await;
        assert_eq!(outcome.result.unwrap_err().to_string(), "broken");
        assert!(!outcome.given_up);
    }

    #[tokio::test]
    async fn who_is_told_to_stop_has_not_failed() {
        let waits = Fake {
            waits: true,
            ..Fake::default()
        };
        let (outcome, _) = run(waits, true).await;
        assert!(outcome.given_up);
        let stopping = Fake {
            fails: true,
            stopping: true,
            ..Fake::default()
        };
        let (outcome, _) = run(stopping, false).await;
        assert!(outcome.given_up);
        let done = Fake {
            stopping: true,
            ..Fake::default()
        };
        let (outcome, _) = run(done, false).await;
        assert!(!outcome.given_up, "it was done in time");
    }
}
