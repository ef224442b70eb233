//! When each process started and became ready, from the supervisor's timestamps; the present time.

use serde::Serialize;

use crate::plan::stack::Stack;
use crate::supervisor::state::{State, States};

/// Times of a process, in milliseconds since the first process of the stack was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// When it was started: its dependencies were ready.
    pub started_ms: i64,
    /// When it became ready.
    pub ready_ms: i64,
}

/// Returns the times of a process, if the supervisor knows both.
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

/// A step of the critical path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// The process.
    pub process: String,
    /// The process before it, for which it waited.
    pub waited_for: Option<String>,
    /// When it was started, in milliseconds since the start of the first process of the path.
    pub started_ms: i64,
    /// When it became ready.
    pub ready_ms: i64,
    /// How long it took.
    pub took_ms: i64,
}

/// Returns the processes that determined the duration of a start, in order: the last one that
/// became ready, and before each the dependency that became ready last. `is_new` says which
/// processes were started. Only these could make the start shorter.
pub fn critical_path(stack: &Stack, states: &States, is_new: impl Fn(&str) -> bool) -> Vec<Step> {
    let time = |name: &String| {
        let state = states.get(name).filter(|_| is_new(name))?;
        let started = millis(state.process_start_time.as_deref()?)?;
        Some((started, millis(state.process_ready_time.as_deref()?)?))
    };
    let last = |names: &mut dyn Iterator<Item = &String>| {
        let timed = names.filter_map(|name| Some((name.clone(), time(name)?)));
        timed.max_by_key(|(_, (_, ready))| *ready)
    };
    let mut path = Vec::new();
    let mut next = last(&mut stack.order.iter());
    while let Some((name, times)) = next {
        next = last(&mut stack.processes[&name].depends_on.keys());
        path.push((name, times));
    }
    path.reverse();
    let zero = path.first().map_or(0, |(_, (started, _))| *started);
    let step = |(index, (process, (started, ready))): (usize, &(String, (i64, i64)))| Step {
        process: process.clone(),
        waited_for: index.checked_sub(1).map(|before| path[before].0.clone()),
        started_ms: started - zero,
        ready_ms: ready - zero,
        took_ms: ready - started,
    };
    path.iter().enumerate().map(step).collect()
}

/// Returns the milliseconds from a process's start until it was ready.
pub fn ready_ms(state: &State) -> Option<i64> {
    let ready = millis(state.process_ready_time.as_deref()?)?;
    let started = millis(state.process_start_time.as_deref()?)?;
    Some(ready - started)
}

/// Returns the present time, RFC 3339, in UTC and whole milliseconds.
pub fn now() -> String {
    written(jiff::Timestamp::now())
}

/// Formats milliseconds since the Unix epoch like [`now`]; times out of range become the epoch.
pub fn at(millis: i64) -> String {
    let time = jiff::Timestamp::from_millisecond(millis);
    written(time.unwrap_or(jiff::Timestamp::UNIX_EPOCH))
}

/// Formats an RFC 3339 time like [`now`]; returns other text unchanged.
pub fn uniform(text: &str) -> String {
    text.parse().map_or_else(|_| text.to_owned(), written)
}

fn written(time: jiff::Timestamp) -> String {
    format!("{time:.3}")
}

/// Parses an RFC 3339 time to milliseconds since the Unix epoch.
fn millis(text: &str) -> Option<i64> {
    let time: jiff::Timestamp = text.parse().ok()?;
    Some(time.as_millisecond())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::plan::stack::fixture;

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
        assert_eq!(at(1250), "1970-01-01T00:00:01.250Z");
        assert_eq!(at(i64::MIN), "1970-01-01T00:00:00.000Z");
    }

    #[test]
    fn the_critical_path_goes_through_what_was_ready_last() {
        let healthy = json!("process_healthy");
        let stack = fixture::stack([
            ("fast", json!({})),
            ("slow", json!({})),
            ("aside", json!({"fast": healthy})),
            ("both", json!({"fast": healthy, "slow": healthy})),
        ]);
        let times = [
            ("fast", 0, 1),
            ("slow", 0, 5),
            ("both", 6, 8),
            ("aside", 2, 7),
        ];
        let state = |(name, started, ready): (&str, u8, u8)| {
            let time = |second: u8| format!("1970-01-01T00:00:0{second}Z");
            let state = State {
                has_ready_probe: true,
                is_ready: "Ready".to_owned(),
                process_start_time: Some(time(started)),
                process_ready_time: Some(time(ready)),
                ..State::sample("Running")
            };
            (name.to_owned(), state)
        };
        let states: States = times.into_iter().map(state).collect();
        let step = |process: &str, waited_for: Option<&str>, started_ms, ready_ms| Step {
            process: process.to_owned(),
            waited_for: waited_for.map(str::to_owned),
            started_ms,
            ready_ms,
            took_ms: ready_ms - started_ms,
        };
        let expected = [
            step("slow", None, 0, 5000),
            step("both", Some("slow"), 6000, 8000),
        ];
        assert_eq!(critical_path(&stack, &states, |_| true), expected);
        let only = critical_path(&stack, &states, |name| name == "both");
        assert_eq!(only, [step("both", None, 0, 2000)]);
        assert_eq!(critical_path(&stack, &states, |_| false), []);
    }
}
