//! Waiting until something is so, by looking again and again.
//!
//! The one place that sleeps between two looks. Must not know what is waited for.

use std::convert::Infallible;
use std::thread;
use std::time::{Duration, Instant};

use crate::base::interrupt::{Interrupt, Interrupted};

/// How a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Waited<T> {
    /// What was waited for is there.
    Done(T),
    /// The deadline passed first.
    Deadline,
    /// The user gave up first.
    Interrupted(Interrupted),
}

impl<T> Waited<T> {
    /// What was waited for, if it came.
    pub fn done(self) -> Option<T> {
        match self {
            Self::Done(value) => Some(value),
            Self::Deadline | Self::Interrupted(_) => None,
        }
    }
}

/// How long to wait for what may never come: a tenth of `limit` in tests of this crate, whose
/// supervisor is a thread that does everything at once or not at all.
pub const fn patience(limit: Duration) -> Duration {
    match limit.checked_div(10) {
        Some(tenth) if cfg!(test) => tenth,
        _ => limit,
    }
}

/// Asks `predicate` every `interval` until it returns something, until `deadline`, or until the
/// user gives up. It is asked at least once, and a last time after the deadline.
pub fn wait_until<T, E>(
    deadline: Instant,
    interval: Duration,
    interrupt: &Interrupt,
    mut predicate: impl FnMut() -> Result<Option<T>, E>,
) -> Result<Waited<T>, E> {
    loop {
        // Before the look, so that the last one is not older than the deadline.
        let is_last = Instant::now() >= deadline;
        if let Some(value) = predicate()? {
            return Ok(Waited::Done(value));
        }
        if let Some(interrupted) = interrupt.signal() {
            return Ok(Waited::Interrupted(interrupted));
        }
        if is_last {
            return Ok(Waited::Deadline);
        }
        thread::sleep(interval.min(deadline.saturating_duration_since(Instant::now())));
    }
}

/// The same for a condition that cannot fail and a wait that nobody interrupts. Says whether it
/// came true in time.
pub fn holds_by(
    deadline: Instant,
    interval: Duration,
    mut predicate: impl FnMut() -> bool,
) -> bool {
    let look = || Ok::<_, Infallible>(predicate().then_some(()));
    match wait_until(deadline, interval, &Interrupt::default(), look) {
        Ok(waited) => waited.done().is_some(),
        Err(never) => match never {},
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    use super::*;

    const INTERVAL: Duration = Duration::from_millis(1);
    const SOON: Duration = Duration::from_millis(20);
    const LATE: Duration = Duration::from_secs(20);

    fn after(limit: Duration) -> Instant {
        Instant::now() + limit
    }

    #[test]
    fn what_comes_is_returned() {
        let mut looks = 0;
        let third = || {
            looks += 1;
            Ok::<_, ()>((looks == 3).then_some(looks))
        };
        let waited = wait_until(after(LATE), INTERVAL, &Interrupt::default(), third);
        assert_eq!(waited, Ok(Waited::Done(3)));
        assert_eq!(looks, 3, "and nobody looks any more");
    }

    #[test]
    fn a_deadline_is_kept_and_there_is_a_look_after_it() {
        let begun = Instant::now();
        let mut looks = 0;
        let waited = wait_until(begun + SOON, LATE, &Interrupt::default(), || {
            looks += 1;
            Ok::<Option<()>, ()>(None)
        });
        assert_eq!(waited, Ok(Waited::Deadline));
        assert!(begun.elapsed() >= SOON && begun.elapsed() < LATE);
        assert_eq!(looks, 2, "the pause ends at the deadline");
        assert!(holds_by(begun, INTERVAL, || true), "one look is free");
        assert!(!holds_by(begun, INTERVAL, || false));
    }

    #[test]
    fn an_interrupt_or_an_error_ends_it() {
        let interrupt = Interrupt::by_flag(Arc::new(AtomicBool::new(true)));
        let waited = wait_until(after(LATE), INTERVAL, &interrupt, || {
            Ok::<Option<()>, ()>(None)
        });
        assert!(matches!(waited, Ok(Waited::Interrupted(_))));
        let done = wait_until(after(LATE), INTERVAL, &interrupt, || Ok::<_, ()>(Some(1)));
        assert_eq!(done, Ok(Waited::Done(1)), "what is there counts first");
        let failed = wait_until(after(LATE), INTERVAL, &interrupt, || {
            Err::<Option<()>, _>("x")
        });
        assert_eq!(failed, Err("x"));
    }
}
