//! Each program through every command that stops it: its descendants are gone before the next
//! start, and the new process answers.

use std::fs;
use std::time::Duration;

use xtask::bench::programs::{FIRST_GENERATION, GENERATION};

use super::{STOP_LIMIT, Stack, checkout, entry, programs_of};
use crate::harness::{Run, SOON, processes, same, within};

/// A running program, and all errors so far, which are reported together.
struct Course {
    name: &'static str,
    stack: Stack,
    limit: Duration,
    generation: String,
    faults: Vec<String>,
}

impl Course {
    fn fault(&mut self, step: &str, faults: impl IntoIterator<Item = String>) {
        let faults = faults.into_iter();
        self.faults
            .extend(faults.map(|fault| format!("{step}: {fault}")));
    }

    /// Runs a command that stops the program and must succeed in time. Returns the old processes.
    fn command(&mut self, line: &str) -> (Run, Vec<i32>) {
        let old = self.stack.living(self.name);
        let run = self.stack.sandbox.run(line);
        if run.code != 0 {
            self.fault(line, [format!("exited with {}: {}", run.code, run.stderr)]);
        }
        if run.took > self.limit {
            self.fault(line, [format!("took {:?}", run.took)]);
        }
        (run, old)
    }

    /// Like `command`, and then the new process must answer.
    fn renews(&mut self, line: &str) {
        let (_, old) = self.command(line);
        let faults = self.stack.not_new(self.name, &old, &self.generation);
        self.fault(line, faults);
        self.overlaps(line);
    }

    fn overlaps(&mut self, step: &str) {
        let records = &self.stack.of_program(self.name).1;
        let overlaps = records.overlaps().unwrap();
        let _ = fs::remove_file(records.path("overlaps"));
        self.fault(step, overlaps);
    }

    /// `status` shows the program's process, not one of ours.
    fn shows_the_program(&mut self) {
        let entry = entry(&self.stack.sandbox, self.name);
        let pid = entry["pid"]
            .as_i64()
            .and_then(|pid| i32::try_from(pid).ok());
        let line = pid
            .and_then(processes::find)
            .map(|process| process.line)
            .unwrap_or_default();
        if line.is_empty() || line.contains("/probe ") {
            self.fault("status", [format!("shows {pid:?}, which is `{line}`")]);
        }
    }

    /// The main process is killed: the supervisor starts another one, beside nothing.
    fn comes_back(&mut self) {
        let old = self.stack.living(self.name);
        let listed = entry(&self.stack.sandbox, self.name)["pid"].clone();
        let Some(main) = listed.as_i64().and_then(|pid| i32::try_from(pid).ok()) else {
            return self.fault("kill -9", ["no process is listed".to_owned()]);
        };
        processes::kill(main);
        let mut faults = Vec::new();
        let back = within(SOON, || {
            faults = self.stack.not_new(self.name, &old, &self.generation);
            faults.is_empty().then_some(())
        });
        if back.is_none() {
            self.fault("kill -9", faults);
        }
        self.overlaps("kill -9");
    }

    /// Everything is stopped, and nothing is left.
    fn down(&mut self) {
        let (run, _) = self.command("down");
        let left = self.stack.left();
        self.fault("down", left);
        if !run.stderr.contains("nothing is left running") {
            self.fault("down", [run.stderr]);
        }
    }
}

#[track_caller]
fn ends_whatever_is_done(name: &'static str) {
    let Some(stack) = Stack::of(&format!("stubborn::programs::{name}"), &[name]) else {
        return;
    };
    let mut course = Course {
        name,
        stack,
        limit: STOP_LIMIT,
        generation: FIRST_GENERATION.to_owned(),
        faults: Vec::new(),
    };
    course.stack.sandbox.up();
    course.shows_the_program();
    course.renews(&format!("restart {name}"));
    course.stack.sandbox.dotenv(GENERATION, "second");
    "second".clone_into(&mut course.generation);
    course.renews("reload");
    course.comes_back();
    let (_, old) = course.command(&format!("stop {name}"));
    let living = course.stack.living(name);
    course.fault("stop", living.iter().map(|pid| format!("{pid} lives")));
    course.fault(
        "stop",
        course
            .stack
            .answer(name)
            .map(|it| format!("{it:?} answers")),
    );
    course.renews(&format!("start {name}"));
    let faults = course.stack.not_new(name, &old, "second");
    course.fault("start", faults);
    course.down();
    let up = course.stack.sandbox.run("up");
    if up.code == 0 {
        let faults = course.stack.not_new(name, &old, "second");
        course.fault("up", faults);
        course.down();
    } else {
        course.fault("up", [format!("exited with {}: {}", up.code, up.stderr)]);
    }
    assert!(
        course.faults.is_empty(),
        "{} faults:\n{}",
        course.faults.len(),
        course.faults.join("\n")
    );
}

/// One test for each program of `programs.json`.
macro_rules! each {
    ($($test:ident: $name:literal,)*) => {
        const TESTED: &[&str] = &[$($name),*];
        $(
            #[test]
            fn $test() {
                ends_whatever_is_done($name);
            }
        )*
    };
}

each! {
    npm_run_dev: "npm",
    go_run: "go",
    a_python_parent_with_subprocess: "python",
    a_reloader: "reloader",
    a_daemon_without_environment_and_descriptors: "daemon",
    a_program_with_another_title: "title",
    workers_in_sessions_of_their_own: "workers",
    a_shell_that_changes_the_directory: "shell-cd",
    a_script_without_exec: "shell-script",
    a_script_with_exec: "shell-exec",
    a_server_that_ignores_sigterm: "ignores-term",
}

#[test]
fn every_program_has_a_test() {
    let all = programs_of::all(&checkout()).unwrap();
    let names: Vec<&str> = all.iter().map(|program| program.name.as_str()).collect();
    same("programs", names.as_slice(), TESTED);
}

/// A reloader replaces its child when a file changes: each generation is stopped.
#[test]
fn a_second_generation_in_a_session_of_its_own_ends_with_its_parent() {
    let Some(stack) = Stack::of("stubborn::programs::a_second_generation", &["reloader"]) else {
        return;
    };
    let touch = stack.of_program("reloader").1.path("touched");
    stack.sandbox.up();
    let first = stack.answer("reloader").unwrap().0;
    fs::write(&touch, "1").unwrap();
    stack.wait_for_another_child("reloader", first);
    let old = stack.living("reloader");
    stack.sandbox.run("restart reloader").succeeds();
    let faults = stack.not_new("reloader", &old, FIRST_GENERATION);
    assert!(faults.is_empty(), "{faults:?}");
    let first = stack.answer("reloader").unwrap().0;
    fs::write(&touch, "2").unwrap();
    stack.wait_for_another_child("reloader", first);
    stack.down();
    stack.nothing_overlapped();
}

impl Stack {
    /// Waits until a process other than `old` answers.
    #[track_caller]
    fn wait_for_another_child(&self, name: &str, old: i32) {
        crate::harness::eventually("the next child", SOON, || {
            self.answer(name).filter(|(pid, _)| *pid != old)
        });
    }
}
