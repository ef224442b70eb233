//! Leftovers of killed runs, and running commands.

use std::fs::{self};

use kit::files::FileLock;
use rustix::process::Signal;
use serde_json::json;
use xtask::doctor::Id;

use super::{doctor, finds, fixed, found, idle, old_file};
use crate::harness::processes;
use crate::harness::{SOON, Sandbox, eventually, fake_program, same, stranger};

#[test]
fn the_socket_of_a_killed_supervisor_is_stale_until_it_is_removed() {
    let sandbox = Sandbox::core();
    sandbox.up();
    processes::kill(sandbox.supervisor().pid);
    let is_socket = |left: &String| left.starts_with("socket file");
    eventually("the end of everything but the socket", SOON, || {
        sandbox.leftovers().iter().all(is_socket).then_some(())
    });
    let run = doctor(&sandbox, "", &[]).ends(0);
    finds(&run, Id::SupervisorSocket, "warning nothing listens at `");
    finds(&run, Id::Leftovers, "ok nothing runs");
    same("left", sandbox.leftovers().len(), 1);
    let run = doctor(&sandbox, "--fix", &[]).ends(0);
    finds(&run, Id::SupervisorSocket, "ok there is none");
    let fixes = fixed(&run);
    assert!(
        fixes[0].starts_with("supervisor-socket removed the socket `"),
        "{fixes:#?}"
    );
    same("left", sandbox.leftovers(), Vec::new());
    let secrets = sandbox.path(".core-stack/process-compose.yaml");
    same("the file with secrets", secrets.exists(), false);
    let run = doctor(&sandbox, "--fix", &[]).ends(0);
    same("fixes", fixed(&run), Vec::new());
}

#[test]
fn what_lost_its_supervisor_is_ended_and_nobody_else() {
    let mut sandbox = Sandbox::empty();
    let stubborn = json!({"process": {"command": fake_program(), "args": ["--ignore-term"]}});
    sandbox.service("one", &stubborn);
    let report = sandbox.up();
    let orphan = &report["processes"]["one"]["pid"];
    let orphan = i32::try_from(orphan.as_i64().unwrap()).unwrap();
    let stranger = stranger(sandbox.spare_port("stranger"));
    let supervisor = sandbox.supervisor().pid;
    // Its runner would stop it.
    processes::kill(processes::find(orphan).unwrap().parent);
    processes::kill(supervisor);
    let told = format!("error still runs of an earlier start: `xtask-fake` (pid {orphan})");
    let run = doctor(&sandbox, "", &[]).ends(4);
    finds(&run, Id::Leftovers, &told);
    let run = doctor(&sandbox, "--fix", &[]).ends(0);
    let ended = format!("leftovers `xtask-fake` (pid {orphan}) was ended");
    same("fix", fixed(&run)[0].as_str(), ended.as_str());
    finds(&run, Id::Leftovers, "ok nothing runs");
    finds(&run, Id::SupervisorSocket, "ok there is none");
    same("the orphan", processes::find(orphan).is_some(), false);
    same(
        "the stranger",
        processes::find(stranger.pid()).is_some(),
        true,
    );
    drop(stranger);
    let run = doctor(&sandbox, "--fix", &[]).ends(0);
    same("fixes", fixed(&run), Vec::new());
}

#[test]
fn a_supervisor_that_hangs_is_told_and_left_to_the_user() {
    let mut sandbox = Sandbox::empty();
    sandbox.service("one", &idle());
    sandbox.up();
    let supervisor = sandbox.supervisor().pid;
    processes::signal(supervisor, Signal::STOP);
    let run = doctor(&sandbox, "--fix", &[]).ends(4);
    processes::signal(supervisor, Signal::CONT);
    let told = format!("error `process-compose` (pid {supervisor}) does not answer");
    finds(&run, Id::Leftovers, &told);
    same("fixes", fixed(&run), Vec::new());
    sandbox.wait_healthy();
    same("the supervisor", sandbox.supervisor().pid, supervisor);
}

#[test]
fn a_command_at_work_is_named_and_not_disturbed() {
    let sandbox = Sandbox::core();
    let file = ".core-stack/.tmp-left";
    old_file(&sandbox, file);
    let lock = FileLock::try_exclusive(&sandbox.path(".core-stack/operation.lock"));
    let lock = lock.unwrap().unwrap();
    let holder = json!({"command": "up", "pid": std::process::id()});
    fs::write(
        sandbox.path(".core-stack/operation.lock"),
        holder.to_string(),
    )
    .unwrap();
    let data = sandbox.path(".data/nats");
    fs::create_dir_all(&data).unwrap();
    let data = FileLock::try_exclusive(&data.join(".lock"))
        .unwrap()
        .unwrap();
    let run = doctor(&sandbox, "--fix", &[]).ends(0);
    let who = format!("`cargo xtask up` (pid {})", std::process::id());
    finds(
        &run,
        Id::Locks,
        &format!("info {who} has been at work here for"),
    );
    let second = &found(&run, Id::Locks)[1];
    assert!(
        second.starts_with("warning `.data/nats` is in use by a process"),
        "{second}"
    );
    let fix = &run.json()["fixes"][0];
    same("done", &fix["done"], &json!(false));
    let why = format!("cannot begin `doctor`: {who} is at work here");
    same("why", fix["what"].as_str().unwrap(), why.as_str());
    assert!(sandbox.path(file).exists(), "it may be needed");
    drop((lock, data));
    let run = doctor(&sandbox, "--fix", &[]).ends(0);
    same(
        "fix",
        fixed(&run),
        vec![format!("temporary-files removed `{file}`")],
    );
    finds(&run, Id::TemporaryFiles, "ok ");
    finds(&run, Id::Locks, "ok ");
}
