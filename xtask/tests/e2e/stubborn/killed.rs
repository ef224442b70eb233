//! kill -9 of the supervisor and of the processes between it and a program: nothing survives, and
//! the next start is alone.

use std::time::Duration;

use super::Stack;
use crate::harness::processes::{self, Proc};

/// How long a process may outlive its guard.
const ORPHAN_LIMIT: Duration = Duration::from_secs(5);

/// Programs that together lose every property by which they could be recognised.
const ALL: [&str; 4] = ["python", "daemon", "title", "shell-script"];

/// Those that keep a mark or the lock: they can be found even when their runner was killed.
const RECOGNISABLE: [&str; 3] = ["python", "workers", "shell-script"];

/// Returns the process between the supervisor and a program.
#[track_caller]
fn runner(stack: &Stack, name: &str) -> Proc {
    let main = processes::find(stack.sandbox.pid(name)).expect("it runs");
    let runner = processes::find(main.parent).expect("its parent runs");
    assert_ne!(runner.program, "process-compose", "{main:?} has no runner");
    runner
}

/// Returns the supervisor, by any of the runners.
#[track_caller]
fn supervisor(stack: &Stack, name: &str) -> i32 {
    let mut process = processes::find(stack.sandbox.pid(name)).expect("it runs");
    while process.program != "process-compose" {
        process = processes::find(process.parent).expect("its parent runs");
    }
    process.pid
}

fn everything_lives(stack: &Stack) -> Vec<i32> {
    let all = stack.records.iter();
    all.flat_map(|(program, _)| stack.living(&program.name))
        .collect()
}

#[test]
fn a_killed_supervisor_leaves_nothing_of_any_program() {
    let Some(stack) = Stack::of("stubborn::killed::a_killed_supervisor", &ALL) else {
        return;
    };
    stack.sandbox.up();
    processes::kill(supervisor(&stack, "python"));
    stack.nothing_lives_within(ORPHAN_LIMIT);
    assert_eq!(stack.sandbox.run("status").code, 3);

    // The next `up` and the next `down` wait for nothing.
    stack.sandbox.up();
    let old = everything_lives(&stack);
    processes::kill(supervisor(&stack, "python"));
    stack.sandbox.up();
    for name in ALL {
        let faults = stack.not_new(name, &old, "first");
        assert!(faults.is_empty(), "`{name}`: {faults:?}");
    }
    stack.nothing_overlapped();
    processes::kill(supervisor(&stack, "python"));
    stack.sandbox.run("down").succeeds();
    stack.nothing_is_left();
}

#[test]
fn a_killed_runner_is_replaced_and_what_it_ran_is_ended_first() {
    let Some(stack) = Stack::of("stubborn::killed::a_killed_runner", &RECOGNISABLE) else {
        return;
    };
    stack.sandbox.up();
    for name in RECOGNISABLE {
        let old = stack.living(name);
        processes::kill(runner(&stack, name).pid);
        stack.wait_for_new(name, &old);
    }
    stack.nothing_overlapped();
    stack.down();
}

#[test]
fn what_lost_runner_and_supervisor_is_ended_by_the_next_command() {
    let Some(stack) = Stack::of("stubborn::killed::lost_both", &RECOGNISABLE) else {
        return;
    };
    for next in ["down", "up", "doctor --fix --offline"] {
        stack.sandbox.up();
        let old = everything_lives(&stack);
        let supervisor = supervisor(&stack, "python");
        let runners = RECOGNISABLE.map(|name| runner(&stack, name).pid);
        // Stopped, so that it starts none of them again. (Stopped runners would go on as soon as
        // it is gone: the kernel continues a process group that it leaves orphaned.)
        processes::signal(supervisor, rustix::process::Signal::STOP);
        for pid in runners {
            processes::kill(pid);
        }
        processes::kill(supervisor);
        let run = stack.sandbox.run(next);
        if next == "up" {
            run.succeeds();
            for name in RECOGNISABLE {
                let faults = stack.not_new(name, &old, "first");
                assert!(faults.is_empty(), "`{name}`: {faults:?}");
            }
            stack.down();
        } else {
            // Findings of `doctor` about this machine do not matter here.
            assert!(run.code == 0 || next != "down", "{run:?}");
            stack.nothing_lives_within(Duration::ZERO);
        }
    }
    stack.nothing_overlapped();
}
