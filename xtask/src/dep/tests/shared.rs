//! The store of a user: what one checkout has fetched, the next one copies.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::thread;

use tempfile::TempDir;

use crate::dep::lock::Artefacts;
use crate::dep::testing::{Answer, Bed, Server, artefact, tar_gz};

const URL: &str = "https://github.com/o/tool/releases/download/v1.0.0/tool.tar.gz";
const PATH: &str = "/o/tool/releases/download/v1.0.0/tool.tar.gz";
/// A mirror where nothing listens.
const NOWHERE: &str = "http://127.0.0.1:1";
const GO_MOD: &str = "module x\n\ngo 1.26\n\nrequire example.com/tool v1.0.0\n";

fn archive() -> Vec<u8> {
    tar_gz(&[("tool", "the tool")], None)
}

/// Returns a checkout that pins `tool` as an archive.
fn checkout(store: &Path, mirror: &str) -> Bed {
    let mut bed = Bed::new();
    bed.store(store);
    bed.mirror(mirror);
    let pin = artefact(URL, Some(&archive()), Some("the tool"));
    bed.pin([(
        "tool",
        Artefacts {
            archive: Some(pin),
            wheel: None,
        },
    )]);
    bed
}

/// Returns a store into which a checkout has fetched the tool, and the server.
fn filled() -> (TempDir, PathBuf, Server) {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    let server = Server::start([(PATH, Answer::Body(archive()))]);
    checkout(&store, &server.url()).fetch(&["tool"]).unwrap();
    (dir, store, server)
}

fn only_file(directory: &Path) -> PathBuf {
    let mut files = fs::read_dir(directory).unwrap();
    let file = files.next().unwrap().unwrap().path();
    assert!(files.next().is_none(), "{}", directory.display());
    file
}

#[test]
fn the_next_checkout_copies_and_fetches_nothing() {
    let (_dir, store, _server) = filled();
    let bed = checkout(&store, NOWHERE);
    let installed = bed.fetch(&["tool"]).unwrap();
    assert_eq!(installed["tool"].source, "archive");
    assert_eq!(bed.installed("tool").as_deref(), Some("the tool"));
    // Its own file: what one checkout does to it concerns no other.
    fs::write(&installed["tool"].path, "changed").unwrap();
    let other = checkout(&store, NOWHERE);
    other.fetch(&["tool"]).unwrap();
    assert_eq!(other.installed("tool").as_deref(), Some("the tool"));
}

#[test]
fn offline_it_is_a_source_as_well() {
    let (_dir, store, _server) = filled();
    let mut bed = checkout(&store, NOWHERE);
    bed.options.offline = true;
    bed.fetch(&["tool"]).unwrap();
}

#[test]
fn a_damaged_file_is_not_used_and_is_replaced() {
    let (_dir, store, server) = filled();
    let object = only_file(&store.join("objects"));
    for content in ["the toad", ""] {
        fs::write(&object, content).unwrap();
        let bed = checkout(&store, &server.url());
        bed.fetch(&["tool"]).unwrap();
        assert_eq!(bed.installed("tool").as_deref(), Some("the tool"));
        assert_eq!(fs::read_to_string(&object).unwrap(), "the tool");
    }
    let pin = only_file(&store.join("pins"));
    for damage in ["", "{}"] {
        fs::write(&pin, damage).unwrap();
        checkout(&store, &server.url()).fetch(&["tool"]).unwrap();
        assert!(fs::read_to_string(&pin).unwrap().len() > damage.len());
    }
    fs::remove_file(&object).unwrap();
    fs::create_dir(&object).unwrap();
    let bed = checkout(&store, &server.url());
    bed.fetch(&["tool"]).unwrap();
    assert_eq!(bed.installed("tool").as_deref(), Some("the tool"));
}

#[test]
fn the_lock_decides_and_not_the_store() {
    let (_dir, store, _server) = filled();
    // A record that names another file, whose digest is right.
    let text = fs::read_to_string(only_file(&store.join("pins"))).unwrap();
    let evil = engine::base::digest::of_bytes(b"evil");
    let good = engine::base::digest::of_bytes(b"the tool");
    fs::write(store.join("objects").join(&evil), "evil").unwrap();
    fs::write(only_file(&store.join("pins")), text.replace(&good, &evil)).unwrap();
    let bed = checkout(&store, NOWHERE);
    bed.fetch(&["tool"]).unwrap_err();
    assert_eq!(bed.installed("tool"), None);
}

#[test]
fn a_store_that_others_can_write_to_is_not_read() {
    let (_dir, store, _server) = filled();
    fs::set_permissions(&store, fs::Permissions::from_mode(0o777)).unwrap();
    checkout(&store, NOWHERE).fetch(&["tool"]).unwrap_err();
}

#[test]
fn without_a_store_or_a_writable_one_everything_works() {
    let server = Server::start([(PATH, Answer::Body(archive()))]);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    for store in [Path::new(""), Path::new("relative"), &file.join("below")] {
        let bed = checkout(store, &server.url());
        bed.fetch(&["tool"]).unwrap();
        assert!(!bed.paths.root().join("relative").exists());
    }
    assert_eq!(server.asked().len(), 3);
}

#[test]
fn many_checkouts_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    let server = Server::start([(PATH, Answer::Body(archive()))]);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let bed = checkout(&store, &server.url());
                bed.fetch(&["tool"]).unwrap();
                assert_eq!(bed.installed("tool").as_deref(), Some("the tool"));
            });
        }
    });
    checkout(&store, NOWHERE).fetch(&["tool"]).unwrap();
    only_file(&store.join("objects"));
}

#[test]
fn a_build_of_a_go_module_is_kept_for_its_pins_alone() {
    let dir = tempfile::tempdir().unwrap();
    let go = |text: &str, sum: &str| {
        let mut bed = Bed::new();
        bed.store(&dir.path().join("store"));
        bed.pin([("tool", Artefacts::default())]);
        bed.write("xtask/go/tool/go.mod", GO_MOD);
        bed.write("xtask/go/tool/go.sum", sum);
        let script =
            format!("while [ $# -gt 0 ]; do [ \"$1\" = -o ] && echo {text} > \"$2\"; shift; done");
        bed.tool("go", &script);
        bed
    };
    go("first", "a").fetch(&["tool"]).unwrap();
    let second = go("second", "a");
    second.fetch(&["tool"]).unwrap();
    assert_eq!(second.installed("tool").as_deref(), Some("first\n"));
    let third = go("third", "b");
    third.fetch(&["tool"]).unwrap();
    assert_eq!(third.installed("tool").as_deref(), Some("third\n"));
    only_file(&dir.path().join("store/objects"));
}
