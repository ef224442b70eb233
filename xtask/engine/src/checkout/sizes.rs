//! The system's limits on the length and number of arguments and variables of a new program.
//!
//! Must not show a value.

use kit::{Exit, Failure};
use rustix::process::{Resource, getrlimit};

use crate::plan::env::Env;
use crate::plan::stack::{Process, Stack, words};

/// Pages of the longest argument or variable that Linux accepts (`MAX_ARG_STRLEN`).
const PAGES: usize = 32;

/// Maximum bytes of all arguments and variables that Linux accepts, whatever the stack's limit.
const TOTAL_MAX: u64 = 6 << 20;

/// The share of the stack's limit that they may fill, and the minimum that Linux grants.
const STACK_SHARE: u64 = 4;
const TOTAL_MIN: u64 = 128 << 10;

/// Maximum bytes on other systems: `ARG_MAX` of macOS.
const TOTAL_ELSEWHERE: u64 = 1 << 20;

/// Reserve for what the supervisor and a runner add, and for quotes.
const MARGIN: usize = 4 << 10;

/// Pointers besides those to the process's variables: to inherited ones and to its arguments.
const POINTERS: usize = 128;

/// The limits of the system.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// Bytes of one argument or of `NAME=value`, with the final zero; `None` means no limit.
    one: Option<usize>,
    /// Bytes of all arguments and variables.
    all: usize,
}

impl Limits {
    fn now() -> Self {
        if !cfg!(target_os = "linux") {
            return Self {
                one: None,
                all: usize::try_from(TOTAL_ELSEWHERE).unwrap_or(usize::MAX),
            };
        }
        let stack = getrlimit(Resource::Stack).current.unwrap_or(u64::MAX);
        let all = (stack / STACK_SHARE).clamp(TOTAL_MIN, TOTAL_MAX);
        Self {
            one: Some(PAGES * rustix::param::page_size()),
            all: usize::try_from(all).unwrap_or(usize::MAX),
        }
    }
}

/// Refuses a stack with a process that could not be started: it would only fail when the supervisor
/// starts it.
pub(crate) fn check(env: &Env, stack: &Stack) -> anyhow::Result<()> {
    let limits = Limits::now();
    let inherited: usize = env.passed_on().map(|(name, value)| size(name, value)).sum();
    let processes = stack.processes.iter().filter(|(_, it)| !it.disabled);
    let refused = processes.flat_map(|(name, it)| refusals(name, it, inherited, limits));
    let refused: Vec<String> = refused.collect();
    if refused.is_empty() {
        return Ok(());
    }
    let hint = "nothing was started; put what is long into a file, and give the process its path";
    Err(Failure::new(Exit::Invalid, refused.join("\n"))
        .hint(hint)
        .into())
}

/// Returns what is too long in one process.
fn refusals(name: &str, process: &Process, inherited: usize, limits: Limits) -> Vec<String> {
    let mut refused = Vec::new();
    // The supervisor passes the whole command to a shell, as one argument.
    let command = words::join(&process.command).len() + MARGIN;
    if let Some(one) = limits.one {
        for (variable, value) in &process.env {
            if size(variable, &value.text) > one {
                refused.push(format!(
                    "the variable {variable} of `{name}` has {} bytes: the system takes at most {}",
                    value.text.len(),
                    one.saturating_sub(variable.len() + 2)
                ));
            }
        }
        if command > one {
            refused.push(format!(
                "the command of `{name}` has {} bytes: the system takes at most {}",
                command - MARGIN,
                one - MARGIN
            ));
        }
    }
    let variables = process.env.iter();
    let variables: usize = variables.map(|(name, value)| size(name, &value.text)).sum();
    let pointers = (process.env.len() + POINTERS) * size_of::<usize>();
    let all = variables + inherited + command + pointers;
    if refused.is_empty() && all > limits.all {
        refused.push(format!(
            "the variables and the command of `{name}` have {all} bytes: the system takes at most \
             {}",
            limits.all
        ));
    }
    refused
}

/// Returns the bytes of `NAME=value` with the final zero.
fn size(name: &str, value: &str) -> usize {
    name.len() + value.len() + 2
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Whether the system starts a program with a value of this length.
    fn starts(length: usize) -> bool {
        let mut command = Command::new("true");
        command.env("BIG", "x".repeat(length));
        command.status().is_ok()
    }

    #[test]
    fn the_system_agrees() {
        let Some(one) = Limits::now().one else {
            return;
        };
        let most = one - "BIG=".len() - 1;
        assert!(starts(most), "{most} bytes");
        assert!(!starts(most + 1), "one byte more");
        assert_eq!(size("BIG", &"x".repeat(most)), one);
        assert!(size("BIG", &"x".repeat(most + 1)) > one);
    }
}
