//! Exit codes are API: a test produces each that can occur.

use std::collections::BTreeSet;
use std::fs;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;

use expect_test::expect;
use kit::Exit;
use kit::files::FileLock;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde_json::json;

use crate::harness::{Sandbox, expected, fake_program, same};
use crate::{bad_environment, bad_manifest, command_line, failing, lifecycle, operations};

/// Returns the test that produces an exit code. A new code does not compile without one.
fn produced_by(exit: Exit) -> fn() {
    match exit {
        Exit::Unexpected => a_generated_file_that_is_out_of_date,
        Exit::Usage => command_line::mistakes_are_answered_with_what_was_meant,
        Exit::NotRunning => lifecycle::status_tells_everything_about_a_running_stack,
        Exit::Unhealthy => failing::a_server_that_hangs_is_unhealthy,
        Exit::Invalid => bad_manifest::unknown_key,
        Exit::PortTaken => bad_environment::a_port_that_a_stranger_holds,
        Exit::Binary => a_binary_that_cannot_be_had,
        Exit::ServiceFailed => failing::a_service_that_dies_at_start_ends_up_at_once,
        Exit::Timeout => failing::a_service_that_never_gets_healthy_is_given_up_at_the_deadline,
        Exit::Locked => operations::a_command_that_does_not_want_to_wait_gives_up,
        Exit::ReloadFailed => a_reload_that_the_supervisor_refuses,
        Exit::Survivors => something_that_cannot_be_ended,
    }
}

#[test]
fn every_exit_code_has_a_number_and_a_test_of_its_own() {
    let codes: BTreeSet<u8> = Exit::ALL.iter().map(|exit| exit.code()).collect();
    let expected: BTreeSet<u8> = [1, 2, 3, 4].into_iter().chain(10..=17).collect();
    same("codes", codes, expected);
    let tests: BTreeSet<usize> = Exit::ALL
        .iter()
        .map(|exit| produced_by(*exit) as usize)
        .collect();
    same("tests", tests.len(), Exit::ALL.len());
}

#[test]
fn a_generated_file_that_is_out_of_date() {
    let sandbox = Sandbox::core();
    let docs = sandbox.path("docs");
    let _ = fs::remove_file(&docs);
    fs::create_dir(&docs).unwrap();
    fs::write(docs.join("service.schema.json"), "{}").unwrap();
    let run = sandbox.run("schema --check").ends(Exit::Unexpected.code());
    same("stdout", run.stdout.as_str(), "");
    expect![[r"
        error: `docs/service.schema.json` is out of date
        hint: cargo xtask schema"]]
    .assert_eq(&sandbox.normal(&run.stderr));
    sandbox.run("schema").succeeds();
    sandbox.run("schema --check").succeeds();
}

#[test]
fn a_binary_that_cannot_be_had() {
    let mut sandbox = Sandbox::empty();
    let manifest = json!({
        "binaries": [{"name": "nats-server", "source": "fetch", "version": "99.0.0"}],
        "process": {"command": "${dep.nats-server}"},
    });
    sandbox.service("mine", &manifest);
    let run = sandbox.run("up").ends(Exit::Binary.code());
    same("stdout", run.stdout.as_str(), "");
    expected("exit-codes/no-such-binary", &sandbox.normal(&run.stderr));
    sandbox.nothing_was_started();
}

#[test]
fn a_reload_that_the_supervisor_refuses() {
    let mut sandbox = Sandbox::empty();
    sandbox.service("one", &json!({"process": {"command": fake_program()}}));
    let before = sandbox.up();
    // The supervisor reads its file in its working directory. That path gets lost: the directory is
    // moved, and another one with the same content takes its name.
    let root = sandbox.root().to_path_buf();
    let moved = root.with_file_name("moved");
    fs::rename(&root, &moved).unwrap();
    fs::create_dir(&root).unwrap();
    for entry in fs::read_dir(&moved).unwrap() {
        let entry = entry.unwrap();
        fs::rename(entry.path(), root.join(entry.file_name())).unwrap();
    }
    sandbox.dotenv("UNUSED", "x");
    let run = sandbox.run("up").ends(Exit::ReloadFailed.code());
    same("stdout", run.stdout.as_str(), "");
    expected("exit-codes/refused-reload", &sandbox.normal(&run.stderr));
    // The running processes continue.
    let status = sandbox.status();
    let pid = &status["services"]["one"]["processes"]["one"]["pid"];
    same("the process", pid, &before["processes"]["one"]["pid"]);
}

#[test]
fn something_that_cannot_be_ended() {
    let mut sandbox = Sandbox::empty();
    sandbox.service("one", &json!({"process": {"command": fake_program()}}));
    sandbox.run("down").succeeds();
    // The alive lock is held by a descriptor inside a socket's queue: there is no process that
    // could be signalled.
    let (near, far) = UnixStream::pair().unwrap();
    let lock = FileLock::try_exclusive(&sandbox.path(".core-stack/alive.lock"))
        .unwrap()
        .unwrap();
    send(&near, &lock);
    drop(lock);
    let run = sandbox.run("down --timeout 1").ends(Exit::Survivors.code());
    drop(far);
    same("stdout", run.stdout.as_str(), "");
    expected("exit-codes/survivor", &sandbox.normal(&run.stderr));
}

fn send(socket: &UnixStream, lock: &FileLock) {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = [lock.file().as_fd()];
    assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)));
    sendmsg(
        socket,
        &[IoSlice::new(b"x")],
        &mut control,
        SendFlags::empty(),
    )
    .unwrap();
}
