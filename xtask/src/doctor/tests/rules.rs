//! Detailed rules of single checks.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use crate::doctor::check::Severity;
use crate::doctor::locks::{Held, Locks};
use crate::doctor::places::{FileSystem, Runtime};
use crate::doctor::ports::{Holder, Seen};
use crate::doctor::remains::{Living, abandoned};
use crate::doctor::{inputs, locks, machine, places, ports, remains, sources};
use engine::checkout::env::exposed::{Dotenv, secret_variables};
use engine::checkout::paths::Paths;
use engine::plan::stack::Service;

use super::{
    addresses, at_work, held_by, holder, living, reached, runtime, supervised, text, wanted,
};

#[test]
fn a_port_is_judged_by_where_it_is_held() {
    let judged = |seen: &Seen| ports::judge(&wanted(), seen).map(|check| check.severity);
    let (error, warning) = (Some(Severity::Error), Some(Severity::Warning));
    for (address, expected) in [
        ("127.0.0.1", error),
        ("0.0.0.0", error),
        ("::1", warning),
        ("10.0.0.1", warning),
    ] {
        assert_eq!(judged(&held_by(address)), expected, "{address}");
    }
    let refused = Some(text("Address already in use (os error 98)"));
    let both = |holders: Vec<Holder>| Seen {
        holders,
        v4_refused: refused.clone(),
        v6_taken: false,
    };
    assert_eq!(
        judged(&both(vec![holder("::", false)])),
        error,
        "both stacks"
    );
    assert_eq!(judged(&both(vec![holder("127.0.0.1", true)])), None, "ours");
    assert_eq!(judged(&both(Vec::new())), error, "of another user");
    let unseen = ports::judge(&wanted(), &both(Vec::new())).unwrap();
    assert!(
        unseen.found.contains("cannot be seen from here"),
        "{unseen:?}"
    );
    let v6 = Seen {
        v6_taken: true,
        ..Seen::default()
    };
    assert_eq!(judged(&v6), warning);
    let beside_ours = Seen {
        holders: vec![holder("127.0.0.1", true), holder("::1", false)],
        v4_refused: refused,
        v6_taken: true,
    };
    assert_eq!(judged(&beside_ours), warning);
    let told = ports::judge(&wanted(), &held_by("::1")).unwrap();
    assert!(
        told.found.contains("at [::1]:2015, run in `/elsewhere`"),
        "{told:?}"
    );
    assert!(told.fix.unwrap().contains("CORE_PORT_CADDY_HTTP=NUMBER"));
}

#[test]
fn only_what_lost_its_supervisor_is_orphaned() {
    assert!(living(&["nats", "nats-server"]).is_orphaned());
    assert!(!living(&["process-compose", "nats"]).is_orphaned());
    assert!(!supervised().is_orphaned() && !supervised().has_stale_socket());
    assert!(!Living::default().is_orphaned());
    let silent = remains::judge_living(&living(&["process-compose"]));
    assert_eq!(silent.fix.as_deref(), Some("cargo xtask down"));
    let starting = Living {
        at_work: Some(text("`cargo xtask up` (pid 7)")),
        ..living(&["process-compose"])
    };
    assert_eq!(remains::judge_living(&starting).severity, Severity::Info);
    let forgotten = Living {
        held: false,
        ..supervised()
    };
    assert_eq!(remains::judge_living(&forgotten).severity, Severity::Error);
}

#[test]
fn sources_matter_only_for_what_is_missing() {
    let problem = reached(Some("github.com cannot be reached"), None);
    let check = &sources::judge_reach(&problem, &[])[0];
    assert_eq!(check.severity, Severity::Info, "{check:?}");
    let unknown = sources::judge_clock(&problem);
    assert_eq!(unknown.severity, Severity::Skipped, "{unknown:?}");
}

#[test]
fn secrets_of_an_environment_file_are_known_by_name_or_by_manifest() {
    let manifest = r#"{"process": {"command": "x", "secrets": ["P"],
        "env": {"P": "${env.LOGIN:-}", "Q": "${env.PLAIN:-}"}}}"#;
    let service = Service::parse("a", manifest).unwrap();
    let secrets = secret_variables(&[service]);
    assert_eq!(secrets, BTreeSet::from(["LOGIN".to_owned()]));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(".env");
    assert!(Dotenv::look(&path).unwrap().is_none());
    // The third line cannot be parsed; names are found nevertheless.
    fs::write(
        &path,
        "PLAIN=1\nexport LOGIN='x'\nMY_token = two words\n# A_SECRET\n",
    )
    .unwrap();
    let mut dotenv = Dotenv::look(&path).unwrap().unwrap();
    dotenv.mode = 0o640;
    assert_eq!(dotenv.exposed(&secrets), ["LOGIN", "MY_token"]);
    dotenv.mode = 0o600;
    assert!(dotenv.exposed(&secrets).is_empty());
}

#[test]
fn email_addresses() {
    let severity = |email| inputs::judge_email(Some(email)).severity;
    for good in ["a@b.c", "admin@core.local"] {
        assert_eq!(severity(good), Severity::Ok, "{good}");
    }
    for bad in [
        "nobody", "a@b", "@b.c", "a@b.", "a@b c.d", "a@b@c.d", "a@.c",
    ] {
        assert_eq!(severity(bad), Severity::Error, "{bad}");
    }
    assert_eq!(inputs::judge_email(None).severity, Severity::Ok);
}

#[test]
fn limits_of_the_machine() {
    let files = |limit| machine::judge_files(limit).severity;
    assert_eq!(files(None), Severity::Ok);
    assert_eq!(files(Some(1024)), Severity::Warning);
    let room = |bytes| machine::judge_room(bytes).severity;
    assert_eq!(room(Some(500 << 20)), Severity::Warning);
    assert_eq!(room(None), Severity::Skipped);
    let localhost = |all: &[&str]| machine::judge_localhost(Some(&addresses(all))).severity;
    assert_eq!(localhost(&[]), Severity::Warning);
    assert_eq!(localhost(&["::1"]), Severity::Warning);
    assert_eq!(localhost(&["::1", "127.0.0.1"]), Severity::Info);
    assert_eq!(machine::judge_localhost(None).severity, Severity::Warning);
}

#[test]
fn directories_for_sockets() {
    let severity = |runtime: &Runtime| places::judge_runtime(runtime, None).severity;
    assert_eq!(severity(&Runtime::default()), Severity::Ok);
    let (absent, stranger, relative) = (
        Runtime {
            found: None,
            ..runtime(0)
        },
        Runtime {
            user: 8,
            ..runtime(0o700)
        },
        Runtime {
            named: Some("run".into()),
            ..runtime(0o700)
        },
    );
    for bad in [&absent, &stranger, &relative] {
        assert_eq!(severity(bad), Severity::Warning, "{bad:?}");
    }
    let refused = anyhow::anyhow!("belongs to somebody else");
    let check = places::judge_runtime(&runtime(0o700), Some(&refused));
    assert_eq!(check.severity, Severity::Error);
    let network = FileSystem {
        network: Some("NFS"),
        ..FileSystem::default()
    };
    let mounted = FileSystem {
        mounted: vec!["nats/jetstream".into()],
        ..FileSystem::default()
    };
    for found in [network, mounted] {
        let check = places::judge_file_system(&found);
        assert_eq!(check.severity, Severity::Warning, "{found:?}");
        assert!(check.fix.is_some());
    }
}

#[test]
fn other_locks_are_told() {
    let held = |name: &str| Held {
        name: name.to_owned(),
        pids: vec![7, 8],
    };
    let found = Locks {
        binaries: vec![held("caddy-server")],
        data: vec![held("nats")],
        ..at_work(3)
    };
    let told: BTreeMap<String, Severity> = locks::judge(&found)
        .into_iter()
        .map(|check| (check.found, check.severity))
        .collect();
    let expected = [
        (
            "`.data/nats` is in use by processes 7 and 8, no part of a running stack",
            Severity::Warning,
        ),
        (
            "`caddy-server` is being installed by processes 7 and 8",
            Severity::Info,
        ),
        (
            "`cargo xtask up` (pid 7) has been at work here for 3 s",
            Severity::Info,
        ),
    ];
    let told: Vec<(&str, Severity)> = told.iter().map(|(k, v)| (k.as_str(), *v)).collect();
    assert_eq!(told, expected);
}

#[test]
fn abandoned_files_are_old_and_data_is_not_looked_into() {
    let dir = tempfile::tempdir().unwrap();
    let paths = Paths::new(dir.path().to_path_buf());
    let files = [
        ".core-stack/.tmp-a",
        ".core-stack/nats/.tmp-b",
        ".core-stack/nats/kept",
        ".dep/.records/.tmp-c",
        ".data/nats/.tmp-d",
        ".dep/.work/tool/binary",
    ];
    for file in files {
        let path = dir.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        File::create(path).unwrap();
    }
    let found = |now| -> Vec<String> {
        let found = abandoned(&paths, now).into_iter();
        let relative = |path: PathBuf| path.strip_prefix(dir.path()).unwrap().display().to_string();
        found.map(relative).collect()
    };
    // At any age: no process holds the lock of the tool.
    assert_eq!(found(SystemTime::now()), [".dep/.work/tool"]);
    let later = SystemTime::now() + Duration::from_hours(1);
    let expected = [
        ".core-stack/.tmp-a",
        ".core-stack/nats/.tmp-b",
        ".dep/.records/.tmp-c",
        ".dep/.work/tool",
    ];
    assert_eq!(found(later), expected);
    let lock = kit::files::FileLock::try_exclusive(&dir.path().join("lock")).unwrap();
    fs::create_dir_all(paths.dep().join(".locks")).unwrap();
    fs::hard_link(dir.path().join("lock"), paths.dep().join(".locks/tool")).unwrap();
    assert_eq!(
        found(SystemTime::now()),
        [""; 0],
        "somebody is installing it"
    );
    drop(lock);
}

#[test]
fn a_file_of_the_future_is_found_deep_in_the_data() {
    let dir = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    let deep = dir.path().join("nats/jetstream/a");
    fs::create_dir_all(deep.parent().unwrap()).unwrap();
    let file = File::create(&deep).unwrap();
    assert_eq!(machine::in_the_future(dir.path(), now), None);
    file.set_modified(now + Duration::from_hours(2)).unwrap();
    let (path, ahead) = machine::in_the_future(dir.path(), now).unwrap();
    assert_eq!((path, ahead.as_secs().div_ceil(3600)), (deep, 2));
}
