//! When each process started and became ready, from the times the supervisor keeps; what time it
//! is.

use std::time::Duration;

use crate::supervisor::state::{State, States};

/// Times of a process, in milliseconds since the first process of the stack was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// When it was started: what it depends on was ready.
    pub started_ms: i64,
    /// When it was ready.
    pub ready_ms: i64,
}

/// The times of a process, when the supervisor knows both.
pub fn timing(state: &State, all: &States) -> Option<Timing> {
    let begins = all
        .values()
        .filter_map(|state| millis(state.process_start_time.as_deref()?));
    let zero = begins.min()?;
    let started = millis(state.process_start_time.as_deref()?)?;
    let ready = millis(state.process_ready_time.as_deref()?)?;
    Some(Timing {
        started_ms: started - zero,
        ready_ms: ready - zero,
    })
}

/// Milliseconds from a process's start until it was ready.
pub fn ready_ms(state: &State) -> Option<i64> {
    let ready = millis(state.process_ready_time.as_deref()?)?;
    let started = millis(state.process_start_time.as_deref()?)?;
    Some(ready - started)
}

/// The present time, RFC 3339, in UTC and whole milliseconds.
pub fn now() -> String {
    written(jiff::Timestamp::now())
}

/// The time that was so long ago, written as [`now`].
pub fn ago(time: Duration) -> String {
    let now = jiff::Timestamp::now();
    let then = now.checked_sub(time).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    written(then)
}

/// A time, RFC 3339, written as [`now`]; as it is when it is none.
pub fn uniform(text: &str) -> String {
    text.parse().map_or_else(|_| text.to_owned(), written)
}

fn written(time: jiff::Timestamp) -> String {
    format!("{time:.3}")
}

/// Milliseconds of an RFC 3339 time since the Unix epoch.
fn millis(text: &str) -> Option<i64> {
    let time: jiff::Timestamp = text.parse().ok()?;
    Some(time.as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_with_any_offset() {
        assert_eq!(millis("1970-01-01T00:00:01.25Z"), Some(1250));
        assert_eq!(millis("1970-01-01T01:00:00.123456789+01:00"), Some(123));
        assert_eq!(millis("soon"), None);
        let uniform = |text| super::uniform(text);
        assert_eq!(uniform("1970-01-01T00:00:01Z"), "1970-01-01T00:00:01.000Z");
        assert_eq!(
            uniform("1970-01-01T01:00:00.123456789+01:00"),
            "1970-01-01T00:00:00.123Z"
        );
        assert_eq!(uniform("soon"), "soon");
        assert!(ago(Duration::from_mins(1)) < now());
    }
}
