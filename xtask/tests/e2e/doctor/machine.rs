//! Binaries, places and limits.

use std::fs::{self, File};
use std::path::Path;

use serde_json::json;
use xtask::doctor::Id;

use super::{CANARY, doctor, finds, found};
use crate::harness::{Sandbox, same, stranger};

/// Changes a byte of a binary, but none of its metadata.
fn damage(path: &Path) {
    let modified = fs::metadata(path).unwrap().modified().unwrap();
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
    let file = File::options().append(true).open(path).unwrap();
    file.set_modified(modified).unwrap();
}

#[test]
fn damaged_binaries_are_told_and_never_run() {
    let sandbox = Sandbox::core();
    sandbox.own_binaries();
    damage(&sandbox.path(".dep/pocketbase-server"));
    let run = doctor(&sandbox, "", &[]).ends(12);
    finds(
        &run,
        Id::DepBinaries,
        "error `.dep/pocketbase-server` has sha256 ",
    );
    finds(&run, Id::Settings, "ok ");
    // Without a network it cannot be obtained again: this is reported, and the file stays.
    let run = doctor(&sandbox, "--fix", &[]).ends(12);
    let fix = &run.json()["fixes"][0];
    same("id", &fix["id"], &json!("dep-binaries"));
    same("done", &fix["done"], &json!(false));
    assert!(sandbox.path(".dep/pocketbase-server").exists());
    damage(&sandbox.path(".dep/nats"));
    let run = doctor(&sandbox, "", &[]).ends(12);
    finds(
        &run,
        Id::Settings,
        "skipped the program that checks `nats` is damaged",
    );
    fs::remove_file(sandbox.path(".dep/nats")).unwrap();
    let run = doctor(&sandbox, "", &[]).ends(12);
    finds(
        &run,
        Id::Settings,
        "skipped the program that checks `nats` is not installed yet",
    );
    assert!(found(&run, Id::DepBinaries)[1].starts_with("info not installed yet: nats"));
}

#[test]
fn directories_for_sockets_and_variables() {
    let sandbox = Sandbox::core();
    let long = sandbox.path(&"d".repeat(100));
    fs::create_dir(&long).unwrap();
    let long = long.to_str().unwrap();
    let run = doctor(&sandbox, "", &[("XDG_RUNTIME_DIR", long)]).ends(1);
    finds(&run, Id::SocketPath, "error `");
    let run = doctor(&sandbox, "", &[("XDG_RUNTIME_DIR", "/nowhere/at/all")]).ends(0);
    finds(
        &run,
        Id::RuntimeDirectory,
        "warning XDG_RUNTIME_DIR is `/nowhere/at/all`",
    );
    let run = doctor(&sandbox, "", &[("PC_API_TOKEN", CANARY)]).ends(0);
    finds(
        &run,
        Id::ProcessComposeVariables,
        "info PC_API_TOKEN in the environment",
    );
}

#[test]
fn few_open_files_are_an_error() {
    let sandbox = Sandbox::core();
    let script = format!(
        "ulimit -n 60; exec {} doctor --offline --json",
        env!("CARGO_BIN_EXE_xtask")
    );
    let run = sandbox
        .program(Path::new("/bin/sh"), &["-c", &script])
        .ends(1);
    finds(&run, Id::FdLimit, "error 60 open files at most");
}

#[test]
fn sources_are_asked_when_they_may_be() {
    let mut sandbox = Sandbox::core();
    let port = sandbox.spare_port("mirror");
    let mirror = format!("http://127.0.0.1:{port}");
    let absent = sandbox.run_with("doctor --json", &[("CORE_DEP_MIRROR", &mirror)]);
    let told = format!("info 127.0.0.1:{port} cannot be reached; nothing is needed");
    finds(&absent.succeeds(), Id::SourcesReachable, &told);
    let server = stranger(port);
    let run = sandbox.run_with("doctor --json", &[("CORE_DEP_MIRROR", &mirror)]);
    finds(
        &run.succeeds(),
        Id::SourcesReachable,
        "ok 5 archives answer",
    );
    drop(server);
}

#[test]
fn a_place_that_is_no_checkout_is_told() {
    let sandbox = Sandbox::core();
    let run = doctor(&sandbox, "", &[("CORE_ROOT", "/nowhere/at/all")]).ends(12);
    finds(
        &run,
        Id::CheckoutPath,
        "warning \"/nowhere/at/all\" is no directory",
    );
    finds(&run, Id::Manifests, "error cannot find the services");
    finds(
        &run,
        Id::FileSystem,
        "error cannot make a directory in the checkout",
    );
}
