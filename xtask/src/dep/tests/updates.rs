//! `dep update` with a server in place of GitHub, and fake `pip` and `go`.

use std::fs;

use kit::Exit;
use sha2::{Digest as _, Sha512};

use super::{exit, told};
use crate::dep::lock::{Artefacts, Lock};
use crate::dep::testing::{Answer, Bed, PLATFORM, Server, artefact, tar_gz, zip_with};
use engine::base::digest;

const SUMS: &str = "/o/tool/releases/download/v2.0.0/sums-2.0.0.txt";
const LINUX: &str = "/o/tool/releases/download/v2.0.0/tool-linux-amd64.tar.gz";
const GO_MOD: &str = "module x\n\ngo 1.26\n\nrequire example.com/tool v1.0.0\n";

fn archive() -> Vec<u8> {
    tar_gz(&[("tool", "new")], None)
}

/// Returns a bed with the tool pinned at 1.0.0, a wheel for Linux and a Go that writes a go.mod.
fn bed(server: &Server) -> Bed {
    let mut bed = Bed::new();
    bed.mirror(&server.url());
    bed.pin([(
        "tool",
        Artefacts {
            archive: Some(artefact("https://github.com/o/old", Some(b"old"), None)),
            wheel: None,
        },
    )]);
    let wheel = zip_with(&[("tool_bin-2.0.0.data/scripts/tool", "wheel")], None);
    let wheel = bed.write("the.whl", wheel);
    bed.tool(
        "python3",
        &format!(
            "case \"$*\" in *'--platform tag_a'*) /bin/cp {} a.whl;;\n\
             *) echo 'ERROR: No matching distribution found' >&2; exit 1;; esac",
            wheel.display()
        ),
    );
    bed.write("xtask/go/tool/go.mod", GO_MOD);
    bed.write("xtask/go/tool/go.sum", "old");
    bed.write("xtask/go/tool/sub/file", "");
    bed.tool(
        "go",
        "echo require example.com/tool v2.0.0 > go.mod; echo new > go.sum",
    );
    bed.write(
        "services/x/service.json",
        r#"{"binaries": [{"name": "tool", "source": "fetch", "version": "1.0.0"}]}"#,
    );
    bed
}

#[test]
fn pins_come_from_checksums_wheels_and_go() {
    let sums = format!(
        "{}  tool-linux-amd64.tar.gz\n",
        digest::of_bytes(&archive())
    );
    let server = Server::start([(SUMS, Answer::Body(sums.into_bytes()))]);
    let bed = bed(&server);
    let update = bed.update(&["tool@2.0.0"]).unwrap();
    assert!(update.changed);
    let tool = &update.programs[0];
    assert_eq!(
        (tool.previous.as_deref(), tool.version.as_str()),
        (Some("1.0.0"), "2.0.0")
    );
    assert_eq!(tool.pins, ["linux-amd64 archive", "linux-amd64 wheel"]);
    let edit = "edit `services/x/service.json`: `tool` is 1.0.0 there, not 2.0.0";
    let missing = [
        "no release archive for darwin-arm64",
        "no wheel for darwin-arm64",
    ];
    assert_eq!(tool.notes, [missing[0], missing[1], edit]);

    let lock = Lock::load(&bed.paths.dep_lock()).unwrap();
    let pinned = lock.programs["tool"].artefacts(PLATFORM);
    let expected = artefact(
        &format!("https://github.com{LINUX}"),
        Some(&archive()),
        None,
    );
    assert_eq!(pinned.archive, Some(expected));
    let wheel = pinned.wheel.unwrap();
    assert_eq!(wheel.location, "tool-bin==2.0.0");
    assert_eq!(wheel.binary, Some(digest::of_bytes(b"wheel")));
    let read = |file: &str| fs::read_to_string(bed.paths.root().join(file)).unwrap();
    assert_eq!(
        read("xtask/go/tool/go.mod"),
        "require example.com/tool v2.0.0\n"
    );
    assert_eq!(read("xtask/go/tool/go.sum"), "new\n");

    assert!(!bed.update(&["tool@2.0.0"]).unwrap().changed, "nothing new");
    assert_eq!(
        fs::read_dir(bed.paths.dep().join(".work")).unwrap().count(),
        0
    );
}

#[test]
fn a_checksum_of_another_kind_is_used_to_check_the_download() {
    let sha512 = digest::hex(&Sha512::digest(archive()));
    let sums = format!("{sha512}  tool-linux-amd64.tar.gz\n").into_bytes();
    let server = Server::start([
        (SUMS, Answer::Body(sums.clone())),
        (LINUX, Answer::Body(archive())),
    ]);
    let bed = bed(&server);
    bed.update(&["tool@2.0.0"]).unwrap();
    let lock = Lock::load(&bed.paths.dep_lock()).unwrap();
    let archive = lock.programs["tool"].artefacts(PLATFORM).archive.unwrap();
    assert_eq!(archive.download, Some(digest::of_bytes(&self::archive())));
    assert_eq!(archive.binary, Some(digest::of_bytes(b"new")));

    let lie = tar_gz(&[("tool", "evil")], None);
    let server = Server::start([(SUMS, Answer::Body(sums)), (LINUX, Answer::Body(lie))]);
    let bed = self::bed(&server);
    let error = bed.update(&["tool@2.0.0"]).unwrap_err();
    assert!(
        told(&error).contains("wrong digest of https://"),
        "{error:#}"
    );
}

#[test]
fn a_failure_changes_nothing() {
    let good = format!(
        "{}  tool-linux-amd64.tar.gz\n",
        digest::of_bytes(&archive())
    );
    let good = || Answer::Body(good.clone().into_bytes());
    for (answer, python, go, expected) in [
        (Answer::Status(404), None, None, "answers 404"),
        (
            Answer::Body(b"<html>".to_vec()),
            None,
            None,
            "holds no checksums",
        ),
        (
            good(),
            Some("echo 'ERROR: broken' >&2; exit 1"),
            None,
            "broken",
        ),
        (
            good(),
            None,
            Some("echo no such version; exit 1"),
            "no such version",
        ),
        (
            good(),
            None,
            Some("exit 0"),
            "go did not take example.com/tool v2.0.0",
        ),
    ] {
        let server = Server::start([(SUMS, answer)]);
        let bed = bed(&server);
        for (name, script) in [("python3", python), ("go", go)] {
            if let Some(script) = script {
                bed.tool(name, script);
            }
        }
        let before = fs::read(bed.paths.dep_lock()).unwrap();
        let error = bed.update(&["tool@2.0.0"]).unwrap_err();
        assert!(told(&error).contains(expected), "{}", told(&error));
        assert_eq!(exit(&error), Exit::Binary);
        assert_eq!(fs::read(bed.paths.dep_lock()).unwrap(), before);
        let go_mod = fs::read_to_string(bed.paths.root().join("xtask/go/tool/go.mod"));
        assert_eq!(go_mod.unwrap(), GO_MOD);
    }
}

#[test]
fn unknown_programs_are_refused() {
    let server = Server::start([]);
    let bed = bed(&server);
    let error = bed.update(&["absent@1.0.0"]).unwrap_err();
    let expected = "error: cannot pin `absent`: it is not a known upstream\n\
                    hint: add it to `xtask/upstreams.json`";
    assert_eq!(told(&error), expected);
    assert_eq!(exit(&error), Exit::Binary);
}
