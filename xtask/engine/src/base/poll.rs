//! Polls a condition until it holds, a deadline passes or the user interrupts.
//!
//! The only place that sleeps between two polls. Must not know what the condition is.

use std::convert::Infallible;
use std::thread;
use std::time::{Duration, Instant};

use crate::base::interrupt::{Interrupt, Interrupted};

/// The result of a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Waited<T> {
    /// The condition held; this is its value.
    Done(T),
    /// The deadline passed first.
    Deadline,
    /// The user gave up first.
    Interrupted(Interrupted),
}

impl<T> Waited<T> {
    /// Returns the value of the condition, if it held.
    pub fn done(self) -> Option<T> {
        match self {
            Self::Done(value) => Some(value),
            Self::Deadline | Self::Interrupted(_) => None,
        }
    }
}

/// Returns how long to wait for what may never happen: a tenth of `limit` in tests of this crate,
/// whose supervisor is a thread that does everything at once or not at all.
pub const fn patience(limit: Duration) -> Duration {
    match limit.checked_div(10) {
        Some(tenth) if cfg!(test) => tenth,
        _ => limit,
    }
}

/// Calls `predicate` every `interval` until it returns a value, `deadline` passes or the user
/// interrupts. It is called at least once, and one last time after the deadline.
pub fn wait_until<T, E>(
    deadline: Instant,
    interval: Duration,
    interrupt: &Interrupt,
    mut predicate: impl FnMut() -> Result<Option<T>, E>,
) -> Result<Waited<T>, E> {
    loop {
        // Read before the call, so that the last call is not older than the deadline.
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

/// Polls a condition that cannot fail, without interruption by the user. Returns whether it held
/// before the deadline.
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
