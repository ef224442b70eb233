//! One broken and one sound case per id, judged without such a machine.

mod rules;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kit::process::Process;
use kit::{Exit, Failure};

use super::check::{Check, Id, Severity};
use super::locks::Locks;
use super::places::{FileSystem, Runtime};
use super::ports::{Holder, Seen, Wanted};
use super::remains::Living;
use super::toolchain::Tools;
use super::{Report, binaries, inputs, locks, machine, places, ports, remains, sources, toolchain};
use crate::dep::lock::Lock;
use crate::dep::{Reached, Verified};
use engine::checkout::env::exposed::Dotenv;
use engine::plan::binaries::{Kind, Request};
use engine::plan::stack::Port;
use engine::supervisor::operation::AtWork;

fn text(text: &str) -> String {
    text.to_owned()
}

fn tools(rust: &str, others: bool) -> Tools {
    Tools {
        cargo: Some(format!("cargo {rust} (abc 2026-03-01)")),
        rustc: Some(format!("rustc {rust}-nightly (abc 2026-03-01)")),
        pip: others.then(|| "pip 25".to_owned()),
        go: Some(text("go version go1.26.0 linux/amd64")),
    }
}

fn reached(problem: Option<&str>, ahead_seconds: Option<i64>) -> Vec<Reached> {
    vec![Reached {
        name: "server".to_owned(),
        problem: problem.map(str::to_owned),
        ahead_seconds,
    }]
}

fn request(version: &str) -> Request {
    Request {
        name: "process-compose".to_owned(),
        kind: Kind::Fetch {
            version: version.to_owned(),
        },
    }
}

fn committed_lock() -> Lock {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    Lock::load(&root.join("dep.lock")).unwrap()
}

fn pinned() -> String {
    committed_lock().programs["process-compose"].version.clone()
}

fn verified(problem: Option<&str>) -> Vec<Verified> {
    vec![Verified {
        name: "server".to_owned(),
        installed: true,
        problem: problem.map(str::to_owned),
    }]
}

fn invalid(message: &str) -> anyhow::Error {
    Failure::new(Exit::Invalid, message)
        .hint("correct it")
        .into()
}

fn dotenv(mode: u32) -> Dotenv {
    Dotenv {
        mode,
        names: vec!["PORT".to_owned(), "NATS_PASSWORD".to_owned()],
    }
}

fn wanted() -> Wanted {
    Wanted {
        process: "caddy".to_owned(),
        port: Port {
            port: 2015,
            protocol: None,
            listen: std::net::Ipv4Addr::LOCALHOST.into(),
            declared: "`ports.http.port` in x:1".to_owned(),
        },
        variable: Some(text("CORE_PORT_CADDY_HTTP")),
    }
}

fn holder(address: &str, ours: bool) -> Holder {
    Holder {
        pid: 7,
        program: "python3".to_owned(),
        address: address.parse().unwrap(),
        ours,
        directory: Some("/elsewhere".into()),
    }
}

fn held_by(address: &str) -> Seen {
    Seen {
        holders: vec![holder(address, false)],
        ..Seen::default()
    }
}

fn living(programs: &[&str]) -> Living {
    let holder = |program: &&str| Process {
        pid: 7,
        parent: 1,
        group: 7,
        started: 1,
        program: (*program).to_owned(),
        has_ended: false,
    };
    Living {
        held: true,
        holders: programs.iter().map(holder).collect(),
        socket: Some("/run/a.sock".into()),
        ..Living::default()
    }
}

fn supervised() -> Living {
    Living {
        answers: true,
        ..living(&["process-compose", "nats"])
    }
}

fn at_work(seconds: u64) -> Locks {
    Locks {
        operation: Some(AtWork {
            who: "`cargo xtask up` (pid 7)".to_owned(),
            since: Some(Duration::from_secs(seconds)),
        }),
        ..Locks::default()
    }
}

fn runtime(mode: u32) -> Runtime {
    Runtime {
        named: Some("/run/user/7".into()),
        found: Some((7, mode)),
        user: 7,
    }
}

fn addresses(all: &[&str]) -> Vec<IpAddr> {
    all.iter().map(|address| address.parse().unwrap()).collect()
}

/// Returns the findings of a broken case, its severity, and what the text must contain. A new id
/// does not compile without such a case.
#[expect(clippy::too_many_lines, reason = "a table with an entry for each id")]
fn broken(id: Id) -> (Vec<Check>, Severity, &'static str) {
    use Severity::{Error, Info, Warning};
    match id {
        Id::RustToolchain => {
            let checks = toolchain::judge_rust(&tools("1.80.1", true), "1.95");
            (checks, Error, "`cargo` is 1.80.1, the workspace needs 1.95")
        }
        Id::BinarySources => {
            let check = toolchain::judge_sources(&tools("1.95.0", false));
            (vec![check], Info, "no Python with pip")
        }
        Id::SourcesReachable => {
            let problem = reached(Some("github.com cannot be reached"), None);
            let checks = sources::judge_reach(&problem, &["server".to_owned()]);
            (checks, Warning, "github.com cannot be reached")
        }
        Id::Clock => {
            let check = sources::judge_clock(&reached(None, Some(-3600)));
            (vec![check], Warning, "3600 s behind")
        }
        Id::FileTimes => {
            let future = ("a".to_owned(), Duration::from_hours(1));
            (
                vec![machine::judge_times(Some(future))],
                Warning,
                "`a` is dated 3600 s",
            )
        }
        Id::DepLock => {
            let checks = binaries::judge_lock(&committed_lock(), &[request("0.0.1")]);
            (
                checks,
                Error,
                "asks for `process-compose` 0.0.1, `dep.lock` pins",
            )
        }
        Id::DepBinaries => {
            let checks = binaries::judge_binaries(&verified(Some("has sha256 a, not b")));
            (checks, Error, "`.dep/server` has sha256 a, not b")
        }
        Id::DotenvSyntax => {
            let check = Check::failed(id, &invalid("cannot parse `.env`: line 8"));
            (vec![check], Error, "line 8")
        }
        Id::DotenvMode => {
            let check = inputs::judge_mode(Some(&dotenv(0o644)), &BTreeSet::new());
            (
                vec![check],
                Warning,
                "mode 0644: others can read NATS_PASSWORD",
            )
        }
        Id::Manifests => {
            let check = Check::failed(id, &invalid("services/x/service.json:3"));
            (vec![check], Error, "service.json:3")
        }
        Id::SuperuserEmail => (
            vec![inputs::judge_email(Some("admin@localhost"))],
            Error,
            "admin@localhost",
        ),
        Id::Settings => {
            let check = inputs::judge_settings(Err(invalid("`nats` refuses its settings")));
            (vec![check], Error, "`nats` refuses")
        }
        Id::Ports => {
            let check = ports::judge(&wanted(), &held_by("127.0.0.1"));
            (
                check.into_iter().collect(),
                Error,
                "taken by `python3` (pid 7)",
            )
        }
        Id::Leftovers => {
            let check = remains::judge_living(&living(&["nats", "nats-server"]));
            (vec![check], Error, "without its supervisor: `nats` (pid 7)")
        }
        Id::SupervisorSocket => {
            let dead = Living {
                socket: Some("/run/a.sock".into()),
                ..Living::default()
            };
            (
                vec![remains::judge_socket(&dead)],
                Warning,
                "nothing listens at `/run/a.sock`",
            )
        }
        Id::TemporaryFiles => (
            remains::judge_files(&[".core-stack/.tmp-a".to_owned()]),
            Warning,
            ".tmp-a",
        ),
        Id::Locks => (
            locks::judge(&at_work(3600)),
            Warning,
            "`cargo xtask up` (pid 7)",
        ),
        Id::Localhost => {
            let check = machine::judge_localhost(Some(&addresses(&["10.1.2.3"])));
            (vec![check], Warning, "10.1.2.3")
        }
        Id::FdLimit => (vec![machine::judge_files(Some(60))], Error, "60 open files"),
        Id::DiskSpace => (
            vec![machine::judge_room(Some(1_000_000))],
            Error,
            "1 MB free",
        ),
        Id::CheckoutPath => {
            let check = places::judge_path(Path::new("/tmp/a\nb"));
            (vec![check], Warning, "control characters")
        }
        Id::FileSystem => {
            let found = FileSystem {
                broken: Some(text("a lock keeps nobody out")),
                ..FileSystem::default()
            };
            (
                vec![places::judge_file_system(&found)],
                Error,
                "a lock keeps nobody out",
            )
        }
        Id::RuntimeDirectory => {
            let check = places::judge_runtime(&runtime(0o777), None);
            (vec![check], Warning, "mode 0777")
        }
        Id::SocketPath => {
            let path = PathBuf::from(format!("/{}", "a".repeat(120)));
            (vec![places::judge_socket(&path)], Error, "too long")
        }
        Id::ProcessComposeVariables => (
            vec![machine::judge_variables(&["PC_PORT_NUM".to_owned()])],
            Info,
            "PC_PORT_NUM",
        ),
    }
}

/// Returns the findings of a sound case.
fn sound(id: Id) -> Vec<Check> {
    match id {
        Id::RustToolchain => toolchain::judge_rust(&tools("1.95.0", true), "1.95"),
        Id::BinarySources => vec![toolchain::judge_sources(&tools("1.95.0", true))],
        Id::SourcesReachable => sources::judge_reach(&reached(None, None), &[]),
        Id::Clock => vec![sources::judge_clock(&reached(None, Some(2)))],
        Id::FileTimes => vec![machine::judge_times(None)],
        Id::DepLock => binaries::judge_lock(&committed_lock(), &[request(&pinned())]),
        Id::DepBinaries => binaries::judge_binaries(&verified(None)),
        // Reading and resolving judge these themselves; the end-to-end tests cover both.
        Id::DotenvSyntax | Id::Manifests => vec![Check::ok(id, "")],
        Id::DotenvMode => vec![inputs::judge_mode(Some(&dotenv(0o600)), &BTreeSet::new())],
        Id::SuperuserEmail => vec![inputs::judge_email(Some("admin@core.local"))],
        Id::Settings => vec![inputs::judge_settings(Ok(()))],
        Id::Ports => {
            assert_eq!(ports::judge(&wanted(), &Seen::default()), None);
            vec![Check::ok(id, "")]
        }
        Id::Leftovers => vec![remains::judge_living(&supervised())],
        Id::SupervisorSocket => vec![remains::judge_socket(&supervised())],
        Id::TemporaryFiles => remains::judge_files(&[]),
        Id::Locks => locks::judge(&Locks::default()),
        Id::Localhost => {
            vec![machine::judge_localhost(Some(&addresses(&[
                "127.0.0.1",
                "::1",
            ])))]
        }
        Id::FdLimit => vec![machine::judge_files(Some(20_000))],
        Id::DiskSpace => vec![machine::judge_room(Some(10 << 30))],
        Id::CheckoutPath => vec![places::judge_path(Path::new("/"))],
        Id::FileSystem => vec![places::judge_file_system(&FileSystem::default())],
        Id::RuntimeDirectory => vec![places::judge_runtime(&runtime(0o700), None)],
        Id::SocketPath => vec![places::judge_socket(Path::new("/run/a.sock"))],
        Id::ProcessComposeVariables => vec![machine::judge_variables(&[])],
    }
}

#[test]
fn every_id_tells_what_is_broken_and_leaves_what_is_sound() {
    for id in Id::ALL {
        let (checks, severity, words) = broken(id);
        let first = checks
            .first()
            .unwrap_or_else(|| panic!("{id}: no check reports it"));
        assert_eq!((first.id, first.severity), (id, severity), "{first:?}");
        assert!(first.found.contains(words), "{first:?}");
        if severity >= Severity::Warning {
            assert!(first.fix.is_some(), "{first:?}");
        }
        for check in sound(id) {
            assert_eq!((check.id, check.severity), (id, Severity::Ok), "{check:?}");
        }
    }
}

#[test]
fn ids_are_kebab_case_different_and_in_the_order_of_their_type() {
    let names: BTreeSet<String> = Id::ALL.iter().map(|id| id.name()).collect();
    assert_eq!(names.len(), Id::ALL.len());
    assert!(Id::ALL.is_sorted());
    let plain = |c: char| c.is_ascii_lowercase() || c == '-';
    assert!(
        names.iter().all(|name| name.chars().all(plain)),
        "{names:?}"
    );
}

#[test]
fn the_first_error_gives_the_exit_code_and_nothing_else_does() {
    let report = |checks: Vec<Check>| Report {
        schema_version: 1,
        healthy: true,
        checks,
        fixes: Vec::new(),
    };
    let warning = Check::warning(Id::DepLock, "");
    assert_eq!(report(vec![warning.clone()]).exit(), None);
    let errors = [Check::error(Id::Ports, ""), Check::error(Id::FdLimit, "")];
    let [port, limit] = errors;
    let report = report(vec![warning, port, limit]);
    assert_eq!(report.exit(), Some(Exit::PortTaken));
    assert_eq!(report.count(Severity::Error), 2);
}
