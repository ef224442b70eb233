//! Files of the user: `.env`, manifests, `dep.lock`.

use std::fs::{self};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::time::{Duration, SystemTime};

use serde_json::json;
use xtask::doctor::Id;

use super::{CANARY, doctor, finds, fixed, old_file};
use crate::harness::{Sandbox, same};

#[test]
fn secrets_that_others_can_read_are_hidden_and_data_is_not_touched() {
    let mut sandbox = Sandbox::core();
    sandbox.dotenv("NATS_USER", "me");
    sandbox.dotenv("NATS_PASSWORD", CANARY);
    let dotenv = sandbox.path(".env");
    fs::set_permissions(&dotenv, fs::Permissions::from_mode(0o644)).unwrap();
    let data = old_file(&sandbox, ".data/nats/.tmp-mine");
    data.set_modified(SystemTime::now() + Duration::from_hours(2))
        .unwrap();
    let run = doctor(&sandbox, "", &[]).ends(0);
    finds(
        &run,
        Id::DotenvMode,
        "warning mode 0644: others can read NATS_PASSWORD",
    );
    finds(
        &run,
        Id::FileTimes,
        "warning `.data/nats/.tmp-mine` is dated 7",
    );
    let run = doctor(&sandbox, "--fix", &[]).ends(0);
    same(
        "fixes",
        fixed(&run),
        vec!["dotenv-mode `.env` has mode 0600 now".to_owned()],
    );
    finds(&run, Id::DotenvMode, "ok mode 0600");
    same(
        "mode",
        fs::metadata(&dotenv).unwrap().mode() & 0o7777,
        0o600,
    );
    assert!(sandbox.path(".data/nats/.tmp-mine").exists());
    same("fixes", fixed(&doctor(&sandbox, "--fix", &[])), Vec::new());
}

#[test]
fn a_file_that_cannot_be_parsed_is_told_and_the_rest_is_checked() {
    let sandbox = Sandbox::core();
    sandbox.dotenv_line(&format!("MY_TOKEN = two {CANARY}"));
    let lines = sandbox.read(".env").lines().count();
    let run = doctor(&sandbox, "", &[]).ends(10);
    let told = format!("error cannot parse `.env`: line {lines} is not `NAME=value`");
    finds(&run, Id::DotenvSyntax, &told);
    finds(&run, Id::Manifests, "ok 4 are valid by themselves");
    for id in [Id::Ports, Id::Settings, Id::SuperuserEmail] {
        finds(&run, id, "skipped ");
    }
    for id in [
        Id::DepBinaries,
        Id::Leftovers,
        Id::FileSystem,
        Id::RustToolchain,
    ] {
        finds(&run, id, "ok ");
    }
}

#[test]
fn broken_manifests_and_locks_of_versions_are_told_and_the_rest_is_checked() {
    let mut sandbox = Sandbox::core();
    sandbox.service_text("mine", "{\"process\": {\"comand\": \"x\"}}");
    let run = doctor(&sandbox, "", &[]).ends(10);
    finds(&run, Id::Manifests, "error invalid input");
    finds(&run, Id::Ports, "skipped ");
    finds(&run, Id::DepBinaries, "ok ");
    finds(&run, Id::SuperuserEmail, "ok ");
    let binaries = json!([{"name": "nats-server", "source": "fetch", "version": "0.0.1"}]);
    sandbox.service(
        "mine",
        &json!({"binaries": binaries, "process": {"command": "x"}}),
    );
    let run = doctor(&sandbox, "", &[]).ends(12);
    let told = "error the manifest asks for `nats-server` 0.0.1, `dep.lock` pins";
    finds(&run, Id::DepLock, told);
    fs::remove_file(sandbox.path("dep.lock")).unwrap();
    fs::write(sandbox.path("dep.lock"), "{").unwrap();
    let run = doctor(&sandbox, "", &[]).ends(12);
    finds(&run, Id::DepLock, "error cannot read `");
    finds(&run, Id::DepBinaries, "skipped ");
}

#[test]
fn a_superuser_that_is_refused_is_told() {
    let mut sandbox = Sandbox::core();
    sandbox.superuser("admin@localhost", CANARY);
    let run = doctor(&sandbox, "", &[]).ends(10);
    let told = "error CORE_POCKETBASE_ADMIN_EMAIL is `admin@localhost`";
    finds(&run, Id::SuperuserEmail, told);
    finds(
        &run,
        Id::Settings,
        "error `pocketbase` refuses its settings",
    );
    sandbox.superuser("admin@core.local", "short");
    let run = doctor(&sandbox, "", &[]).ends(10);
    finds(&run, Id::SuperuserEmail, "ok ");
    finds(
        &run,
        Id::Settings,
        "error `pocketbase` refuses its settings",
    );
}
