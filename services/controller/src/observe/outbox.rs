//! The bounded queue of notices that are not stored yet.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use engine::topology::events::Event;
use tokio::sync::Notify;

use super::fold::Seen;

/// Most entries of the queue, some 500 bytes each. A process that crashes every second fills it in
/// five minutes; NATS should be back by then.
const WAITING_MAX: usize = 1000;

/// An observation.
#[derive(Debug, Clone)]
pub(crate) enum Notice {
    /// The state of a process: events follow from this and the previous one.
    Seen(Box<Seen>),
    /// A complete event.
    Event(Box<Event>),
}

/// The queue. When it is full, the oldest entry is dropped.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    waiting: Mutex<Waiting>,
    added: Notify,
    emptied: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    notices: VecDeque<Notice>,
    /// How many were lost since the last query.
    lost: usize,
    /// Whether the last entry that was taken is still being processed.
    at_work: bool,
}

impl Outbox {
    /// Adds a notice. Never waits.
    pub(crate) fn add(&self, notice: Notice) {
        let mut waiting = self.lock();
        if waiting.notices.len() >= WAITING_MAX {
            waiting.notices.pop_front();
            waiting.lost += 1;
        }
        waiting.notices.push_back(notice);
        self.added.notify_one();
    }

    /// Resolves when the queue has an entry.
    pub(super) async fn filled(&self) {
        while self.lock().notices.is_empty() {
            self.added.notified().await;
        }
    }

    /// Takes the oldest entry; the one taken before is finished.
    pub(super) fn take(&self) -> Option<Notice> {
        let mut waiting = self.lock();
        let notice = waiting.notices.pop_front();
        waiting.at_work = notice.is_some();
        if notice.is_none() {
            self.emptied.notify_one();
        }
        notice
    }

    /// Returns how many were lost since the last call.
    pub(super) fn lost(&self) -> usize {
        std::mem::take(&mut self.lock().lost)
    }

    /// Resolves when the queue is empty.
    pub(super) async fn emptied(&self) {
        loop {
            {
                let waiting = self.lock();
                if waiting.notices.is_empty() && !waiting.at_work {
                    return;
                }
            }
            self.emptied.notified().await;
        }
    }

    /// No holder of the lock can panic halfway, so a poisoned lock can be used.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use engine::checkout::paths::Paths;
    use engine::topology::events::Kind;

    use super::*;

    fn notice(generation: u64) -> Notice {
        let paths = Paths::new("/x".into());
        let mut event = Event::new(Kind::Applied, String::new(), &paths);
        event.generation = Some(generation);
        Notice::Event(Box::new(event))
    }

    #[tokio::test]
    async fn the_oldest_goes_when_there_is_too_much() {
        let outbox = Outbox::default();
        outbox.emptied().await;
        for generation in 0..=WAITING_MAX as u64 {
            outbox.add(notice(generation));
        }
        outbox.filled().await;
        assert_eq!((outbox.lost(), outbox.lost()), (1, 0));
        let Some(Notice::Event(first)) = outbox.take() else {
            panic!("there is one")
        };
        assert_eq!(first.generation, Some(1));
        let mut count = 1;
        while outbox.take().is_some() {
            count += 1;
        }
        assert_eq!(count, WAITING_MAX);
        outbox.emptied().await;
    }
}
