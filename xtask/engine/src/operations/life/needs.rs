//! Dependencies and dependents of processes, and which are missing. Pure.

use std::collections::BTreeSet;

use kit::manifest::Condition;

use crate::plan::stack::{Process, Stack};
use crate::supervisor::state::States;

/// Returns the stack with this process only, enabled.
pub(super) fn only(stack: &Stack, name: &str) -> Stack {
    let own = stack.processes.get(name).map(|process| {
        let process = Process {
            disabled: false,
            ..process.clone()
        };
        (name.to_owned(), process)
    });
    Stack {
        processes: own.into_iter().collect(),
        order: vec![name.to_owned()],
    }
}

/// Returns what must be started before `name`, in order.
pub(super) fn missing(stack: &Stack, states: &States, name: &str) -> Vec<String> {
    let mut needed: BTreeSet<&String> = BTreeSet::new();
    let mut open = vec![name];
    while let Some(name) = open.pop() {
        let depends_on = stack.processes.get(name).map(|process| &process.depends_on);
        for (name, condition) in depends_on.into_iter().flatten() {
            let wants_end = matches!(
                condition,
                Condition::ProcessCompleted | Condition::ProcessCompletedSuccessfully
            );
            let is_missing = states
                .get(name)
                .is_none_or(|state| state.has_ended() && !(wants_end && state.did_its_work()));
            if is_missing && needed.insert(name) {
                open.push(name);
            }
        }
    }
    let order = stack.order.iter();
    order
        .filter(|name| needed.contains(name))
        .cloned()
        .collect()
}

/// Returns all direct and indirect dependents of `names`.
pub(super) fn dependents(stack: &Stack, names: &[String]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    // In this order, the dependencies of a process are visited before it.
    for name in &stack.order {
        let mut on = stack.processes[name].depends_on.keys();
        if on.any(|on| names.contains(on) || found.contains(on)) {
            found.insert(name.clone());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::plan::stack::fixture;
    use crate::supervisor::state::State;

    /// Returns a stack of `c` after `b` after `a`, and `d`, which waits for the end of `once`.
    fn stack() -> Stack {
        fixture::stack([
            ("a", json!({})),
            ("b", json!({"a": "process_healthy"})),
            ("c", json!({"b": "process_started"})),
            ("once", json!({})),
            ("d", json!({"once": "process_completed_successfully"})),
        ])
    }

    fn states(states: &[(&str, &str, i32)]) -> States {
        let state = |(name, status, exit_code): &(&str, &str, i32)| {
            let state = State {
                exit_code: *exit_code,
                ..State::sample(status)
            };
            ((*name).to_owned(), state)
        };
        states.iter().map(state).collect()
    }

    #[test]
    fn what_is_missing_comes_first() {
        let stack = stack();
        let down = states(&[
            ("a", "Completed", 0),
            ("b", "Error", 1),
            ("once", "Completed", 0),
        ]);
        assert_eq!(missing(&stack, &down, "c"), ["a", "b"]);
        assert_eq!(missing(&stack, &down, "d"), [""; 0], "it did its work");
        let failed = states(&[("once", "Completed", 1)]);
        assert_eq!(missing(&stack, &failed, "d"), ["once"]);
        let half = states(&[("a", "Completed", 0), ("b", "Running", 0)]);
        assert_eq!(
            missing(&stack, &half, "c"),
            [""; 0],
            "what runs has what it needs"
        );
        assert_eq!(missing(&stack, &half, "a"), [""; 0]);
    }

    #[test]
    fn dependents_of_dependents() {
        let names = |name: &str| Vec::from_iter(dependents(&stack(), &[name.to_owned()]));
        assert_eq!(names("a"), ["b", "c"]);
        assert_eq!(names("once"), ["d"]);
        assert_eq!(names("c"), [""; 0]);
    }
}
