//! The state of the fake: processes, their states, and their next events.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// How one process behaves. Without a script it is healthy at once and ends when ordered to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Script {
    /// Time from its start to its health.
    pub(crate) ready_after: Duration,
    /// It runs and never becomes healthy.
    pub(crate) never_ready: bool,
    /// It cannot be started.
    pub(crate) cannot_start: bool,
    /// It ends by itself at this time after its start, with this code.
    pub(crate) ends_with: Option<(Duration, i32)>,
    /// It is restarted at this time after it has ended by itself, this often.
    pub(crate) restarts: Option<(Duration, u32)>,
    /// Time from the order to stop to the end.
    pub(crate) ends_after: Duration,
    /// It never ends.
    pub(crate) never_ends: bool,
    /// Its end is missed: the order to stop it is answered after this time, with an error.
    pub(crate) missed_for: Option<Duration>,
    /// Time from its end to its removal from the list.
    pub(crate) listed_for: Duration,
    /// Time from an accepted start to its first effect.
    pub(crate) accepted_for: Duration,
    /// It is reported as terminating after it has ended.
    pub(crate) ends_as_terminating: bool,
    /// The script applies only to an entry that `Bed::change` has changed.
    pub(crate) once_changed: bool,
    /// It ends with this code when it receives a signal.
    pub(crate) signal_ends_it: Option<i32>,
}

/// How a request fails.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// It succeeds: the fault is that of a later one.
    Not,
    /// The connection is closed in the middle of the answer.
    Cut,
    /// The connection is closed in the middle of the answer, after the request was carried out.
    CutAfter,
    /// It is never answered.
    Silent,
    /// It is refused.
    Refuse(u16, &'static str),
    /// The answer has an unexpected form.
    Garbage,
    /// The supervisor exits.
    Crash,
}

/// The next event of a process.
#[derive(Debug, Clone, Copy)]
enum Next {
    Launch,
    Ready,
    End(i32),
    Restart,
    Unlist,
}

/// One process.
#[derive(Debug)]
struct Process {
    status: &'static str,
    ready: bool,
    pid: i32,
    restarts: u32,
    exit_code: i32,
    started: Option<Instant>,
    start_time: Option<String>,
    ready_time: Option<String>,
    /// Whether it is on the list of running processes.
    listed: bool,
    /// Whether it waits for others.
    waits: bool,
    /// Whether it has ended.
    done: bool,
    stopping: Option<Instant>,
    next: Option<(Instant, Next)>,
}

impl Process {
    fn new(status: &'static str) -> Self {
        Self {
            status,
            ready: false,
            pid: 0,
            restarts: 0,
            exit_code: 0,
            started: None,
            start_time: None,
            ready_time: None,
            listed: false,
            waits: false,
            done: false,
            stopping: None,
            next: None,
        }
    }

    fn runs(&self) -> bool {
        self.status == "Running"
    }
}

/// The whole state of the fake.
#[derive(Debug, Default)]
pub(super) struct World {
    /// The notes of runners: every process has one.
    runs: PathBuf,
    /// Runs in place of the programs whose process is inspected.
    program: Option<Child>,
    entries: BTreeMap<String, Value>,
    processes: BTreeMap<String, Process>,
    scripts: BTreeMap<String, Script>,
    faults: Vec<(String, Fault)>,
    orders: Vec<String>,
    last_pid: i32,
    /// Counts changes that may be pushed.
    pub(super) changes: u64,
    pub(super) lost: BTreeSet<String>,
    pub(super) listens: bool,
    pub(super) quit: bool,
    /// Whether it does not listen, although it is alive.
    pub(super) silent: bool,
}

/// The result of an order to stop.
pub(super) enum Stop {
    /// It is answered.
    Answer(u16, Value),
    /// It is in progress.
    Wait,
}

impl Drop for World {
    fn drop(&mut self) {
        if let Some(program) = &mut self.program {
            program.kill().unwrap();
            program.wait().unwrap();
        }
    }
}

impl World {
    pub(super) fn new(runs: PathBuf) -> Self {
        let mut world = Self::default();
        world.runs = runs;
        world
    }

    /// Removes the notes, as runners do that end with the supervisor.
    pub(super) fn forget_runs(&self) {
        let _ = fs::remove_dir_all(&self.runs);
    }

    pub(super) fn script(&mut self, name: &str, script: Script) {
        self.scripts.insert(name.to_owned(), script);
    }

    pub(super) fn fault(&mut self, request: &str, fault: Fault) {
        self.faults.push((request.to_owned(), fault));
    }

    pub(super) fn take_fault(&mut self, request: &str) -> Option<Fault> {
        let found = self
            .faults
            .iter()
            .position(|(of, _)| request.starts_with(of.as_str()))?;
        Some(self.faults.remove(found).1)
    }

    pub(super) fn note(&mut self, order: String) {
        self.orders.push(order);
    }

    pub(super) fn take_orders(&mut self) -> Vec<String> {
        std::mem::take(&mut self.orders)
    }

    pub(super) fn lie(&mut self, name: &str, status: &'static str, pid: i32) {
        let process = self.processes.get_mut(name).unwrap();
        (process.status, process.pid, process.next) = (status, pid, None);
        self.changes += 1;
    }

    pub(super) fn end(&mut self, name: &str, code: i32) {
        self.happen(name, Next::End(code), Instant::now());
    }

    pub(super) fn pid(&self, name: &str) -> (i32, bool) {
        let process = &self.processes[name];
        (process.pid, process.listed)
    }

    /// Stops listening.
    pub(super) fn crash(&mut self) {
        self.listens = false;
    }

    /// Ends with the test.
    pub(super) fn quit(&mut self) {
        self.quit = true;
    }

    /// Starts on a file.
    pub(super) fn boot(&mut self, file: &str) {
        self.listens = true;
        self.processes.clear();
        self.entries = entries(file);
        for (name, entry) in self.entries.clone() {
            self.add(&name, &entry);
        }
    }

    fn add(&mut self, name: &str, entry: &Value) {
        let is_disabled = entry["disabled"] == true;
        let mut process = Process::new(if is_disabled { "Disabled" } else { "Pending" });
        if !is_disabled {
            (process.listed, process.waits) = (true, true);
        }
        self.processes.insert(name.to_owned(), process);
        self.changes += 1;
    }

    /// Reads another file. A process that is updated while it is still on the list is lost, because
    /// its removal from the list comes after its successor is added.
    pub(super) fn reload(&mut self, file: &str) -> Value {
        let now = Instant::now();
        let (new, mut answer) = (entries(file), serde_json::Map::new());
        let old = std::mem::replace(&mut self.entries, new.clone());
        for name in old.keys().filter(|name| !new.contains_key(*name)) {
            if self
                .processes
                .remove(name)
                .is_some_and(|process| process.listed)
            {
                self.lost.insert(name.clone());
            }
            answer.insert(name.clone(), json!("removed"));
        }
        // In an adverse order: a successor that comes first sees the end of its dependency.
        for (name, entry) in new.iter().rev() {
            let word = match old.get(name) {
                None => "added",
                Some(old) if old == entry => continue,
                Some(_) => "updated",
            };
            let was_listed = self
                .processes
                .get(name)
                .is_some_and(|process| process.listed);
            self.add(name, entry);
            if was_listed {
                self.lost.insert(name.clone());
                let process = self.processes.get_mut(name).unwrap();
                (process.listed, process.waits) = (false, false);
            }
            self.advance_one(name, now);
            answer.insert(name.clone(), json!(word));
        }
        Value::Object(answer)
    }

    pub(super) fn start(&mut self, name: &str) -> (u16, Value) {
        let accepted_for = self.script_of(name).accepted_for;
        let Some(process) = self.processes.get_mut(name) else {
            return refused(&format!("no such process: {name}"));
        };
        if process.listed {
            return refused(&format!("process {name} is already running"));
        }
        process.listed = true;
        process.stopping = None;
        process.next = Some((Instant::now() + accepted_for, Next::Launch));
        (200, json!({"name": name}))
    }

    /// Begins to stop a process.
    pub(super) fn order_stop(&mut self, name: &str) -> Stop {
        let (script, now) = (self.script_of(name), Instant::now());
        let Some(process) = self.processes.get_mut(name) else {
            let (status, answer) = refused(&format!("process {name} does not exist"));
            return Stop::Answer(status, answer);
        };
        if !process.listed {
            let (status, answer) = refused(&format!("process {name} is not running"));
            return Stop::Answer(status, answer);
        }
        self.changes += 1;
        match process.status {
            "Running" => {
                process.status = "Terminating";
                process.ready = false;
                process.stopping = Some(now);
                let end = (now + script.ends_after, Next::End(0));
                process.next = (!script.never_ends).then_some(end);
                Stop::Wait
            }
            "Restarting" => {
                process.stopping = Some(now);
                process.next = Some((now, Next::End(process.exit_code)));
                Stop::Answer(200, json!({"name": name}))
            }
            "Pending" => {
                process.status = "Terminating";
                process.stopping = Some(now);
                Stop::Answer(200, json!({"name": name}))
            }
            _ => Stop::Answer(200, json!({"name": name})),
        }
    }

    /// Returns the progress of an order to stop that was given at `begun`.
    pub(super) fn look_at_stop(&self, name: &str, begun: Instant) -> Stop {
        let done = Stop::Answer(200, json!({"name": name}));
        let Some(process) = self.processes.get(name) else {
            return done;
        };
        match self.script_of(name).missed_for {
            Some(limit) if begun.elapsed() >= limit => {
                let (status, answer) = refused("no such process");
                Stop::Answer(status, answer)
            }
            None if process.done && !matches!(process.next, Some((_, Next::End(_)))) => done,
            _ => Stop::Wait,
        }
    }

    pub(super) fn signal(&mut self, name: &str) -> (u16, Value) {
        match self.processes.get(name) {
            Some(process) if process.runs() => {
                if let Some(code) = self.script_of(name).signal_ends_it {
                    self.happen(name, Next::End(code), Instant::now());
                }
                (200, json!({"name": name}))
            }
            _ => refused(&format!("process {name} is not running")),
        }
    }

    /// Ends all processes.
    pub(super) fn shut_down(&mut self) {
        let names: Vec<String> = self.processes.keys().cloned().collect();
        for name in names {
            self.happen(&name, Next::End(0), Instant::now());
        }
        self.crash();
    }

    /// Carries out all events that are due.
    pub(super) fn advance(&mut self) {
        let now = Instant::now();
        for _ in 0..=self.processes.len() {
            for name in self.processes.keys().cloned().collect::<Vec<_>>() {
                self.advance_one(&name, now);
            }
        }
    }

    fn advance_one(&mut self, name: &str, now: Instant) {
        while let Some(process) = self.processes.get_mut(name)
            && let Some((due, next)) = process.next.filter(|(due, _)| *due <= now)
        {
            process.next = None;
            self.happen(name, next, due);
        }
        let Some(process) = self.processes.get(name).filter(|process| process.waits) else {
            return;
        };
        let stopped = process.stopping.is_some();
        match self.dependencies(name) {
            None => {}
            Some(_) if stopped => {
                // Its reported state does not change.
                let process = self.processes.get_mut(name).unwrap();
                (process.waits, process.listed, process.done) = (false, false, true);
            }
            Some(true) => self.launch(name, now),
            Some(false) => {
                let process = self.processes.get_mut(name).unwrap();
                (process.waits, process.status, process.exit_code) = (false, "Skipped", 1);
                process.done = true;
                process.next = Some((now, Next::Unlist));
                self.changes += 1;
            }
        }
    }

    fn happen(&mut self, name: &str, next: Next, now: Instant) {
        let script = self.script_of(name);
        let process = self.processes.get_mut(name).unwrap();
        self.changes += 1;
        match next {
            Next::Launch => process.waits = true,
            Next::Ready => {
                process.ready = true;
                process.ready_time = Some(time());
            }
            Next::End(code) => {
                let _ = fs::remove_file(self.runs.join(name));
                process.exit_code = code;
                process.ready = false;
                let again = script
                    .restarts
                    .filter(|(_, often)| process.restarts < *often);
                if let Some((pause, _)) = again.filter(|_| process.stopping.is_none()) {
                    process.status = "Restarting";
                    process.restarts += 1;
                    process.next = Some((now + pause, Next::Restart));
                    return;
                }
                process.status = if script.ends_as_terminating {
                    "Terminating"
                } else {
                    "Completed"
                };
                process.done = true;
                process.next = Some((now + script.listed_for, Next::Unlist));
            }
            Next::Restart => self.launch(name, now),
            Next::Unlist => process.listed = false,
        }
    }

    fn launch(&mut self, name: &str, now: Instant) {
        let script = self.script_of(name);
        let has_probe = self.has_probe(name);
        self.last_pid += 1;
        self.changes += 1;
        // Above all process ids of the kernel.
        let pid = 10_000_000 + self.last_pid;
        let program = if has_probe { pid } else { self.program() };
        let process = self.processes.get_mut(name).unwrap();
        process.waits = false;
        if script.cannot_start {
            (process.status, process.exit_code, process.done) = ("Error", 1, true);
            process.next = Some((now, Next::Unlist));
            return;
        }
        (process.status, process.pid, process.started) = ("Running", pid, Some(now));
        fs::create_dir_all(&self.runs).unwrap();
        let note = format!("{pid} 1\n{program} 1\n");
        fs::write(self.runs.join(name), note).unwrap();
        process.start_time.get_or_insert_with(time);
        process.next = match script.ends_with {
            Some((after, code)) => Some((now + after, Next::End(code))),
            None if has_probe && !script.never_ready => {
                Some((now + script.ready_after, Next::Ready))
            }
            None => None,
        };
    }

    /// Returns a program that runs: without a probe, the process itself is inspected.
    fn program(&mut self) -> i32 {
        let spawn = || Command::new("sleep").arg("600").spawn().unwrap();
        let program = self.program.get_or_insert_with(spawn);
        i32::try_from(program.id()).unwrap()
    }

    /// Whether the conditions on all dependencies hold; `None` while that is undecided.
    fn dependencies(&self, name: &str) -> Option<bool> {
        let depends_on = self.entries.get(name)?["depends_on"].as_object();
        for (on, how) in depends_on.into_iter().flatten() {
            let Some(process) = self.processes.get(on) else {
                continue;
            };
            let is_over = process.done && !process.listed;
            let is_there = match how["condition"].as_str().unwrap_or_default() {
                "process_healthy" if is_over => Some(false),
                "process_healthy" => process.ready.then_some(true),
                "process_completed" => process.done.then_some(true),
                "process_completed_successfully" => process.done.then_some(process.exit_code == 0),
                _ => (process.started.is_some() || is_over).then_some(true),
            };
            // A disabled process is not waited for.
            if process.status != "Disabled" && !is_there? {
                return Some(false);
            }
        }
        Some(true)
    }

    fn has_probe(&self, name: &str) -> bool {
        self.entries
            .get(name)
            .is_some_and(|entry| !entry["readiness_probe"].is_null())
    }

    fn script_of(&self, name: &str) -> Script {
        let environment = self
            .entries
            .get(name)
            .map(|entry| entry["environment"].to_string());
        let is_changed = environment.is_some_and(|environment| environment.contains("CHANGED"));
        let script = self.scripts.get(name).cloned().unwrap_or_default();
        if script.once_changed && !is_changed {
            return Script::default();
        }
        script
    }

    /// Returns the reported states of all processes.
    pub(super) fn states(&self) -> Vec<Value> {
        self.processes
            .iter()
            .map(|(name, process)| self.state(name, process))
            .collect()
    }

    fn state(&self, name: &str, process: &Process) -> Value {
        let has_probe = self.has_probe(name);
        let is_ready = match (has_probe, process.ready) {
            (true, true) => "Ready",
            (true, false) if process.runs() => "Not Ready",
            _ => "-",
        };
        let age = process
            .started
            .map_or(0, |started| started.elapsed().as_nanos());
        json!({
            "name": name, "status": process.status, "is_ready": is_ready,
            "has_ready_probe": has_probe, "restarts": process.restarts,
            "exit_code": process.exit_code, "pid": process.pid, "is_running": process.runs(),
            // A process without a probe counts as started only after a while.
            "age": u64::try_from(age).unwrap() + 100_000_000,
            "process_start_time": process.start_time, "process_ready_time": process.ready_time,
        })
    }
}

fn refused(text: &str) -> (u16, Value) {
    (400, json!({"error": text}))
}

fn entries(file: &str) -> BTreeMap<String, Value> {
    let file: Value = serde_yaml::from_str(file).unwrap();
    let processes = file["processes"].as_object().into_iter().flatten();
    processes
        .map(|(name, entry)| (name.clone(), entry.clone()))
        .collect()
}

fn time() -> String {
    jiff::Timestamp::now().to_string()
}
