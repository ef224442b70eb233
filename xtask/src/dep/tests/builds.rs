//! Wrappers built by the real cargo in a small workspace.

use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use kit::Exit;

use super::{exit, told};
use crate::dep::cargo::Wrapper;
use crate::dep::testing::Bed;
use crate::dep::{Kind, Request};

/// A workspace of one package with two source files, and the cargo that runs the tests.
pub(super) fn workspace() -> Bed {
    let mut bed = Bed::new();
    bed.var("CARGO", &cargo());
    // cargo needs rustc and a linker.
    bed.var("PATH", &std::env::var("PATH").unwrap());
    bed.write(
        "Cargo.toml",
        "[workspace]\nresolver = '3'\nmembers = ['cmd/*']\n",
    );
    let manifest = "[package]\nname = 'one'\nversion = '0.0.0'\nedition = '2024'\n";
    bed.write("cmd/one/Cargo.toml", manifest);
    bed.write(
        "cmd/one/src/main.rs",
        "mod text;\nfn main() { println!(\"{}\", text::TEXT) }\n",
    );
    bed.write(
        "cmd/one/src/text.rs",
        "pub const TEXT: &str = include_str!(\"a file.txt\");\n",
    );
    bed.write("cmd/one/src/a file.txt", "first");
    bed
}

pub(super) fn cargo() -> String {
    std::env::var("CARGO").unwrap_or_else(|_| "cargo".into())
}

pub(super) fn requests() -> [Request; 1] {
    [Request {
        name: "wrapper".into(),
        kind: Kind::CargoBuild {
            path: "./cmd/one".into(),
        },
    }]
}

pub(super) fn is_fresh(bed: &Bed) -> bool {
    let wrapper = Wrapper {
        name: "wrapper",
        path: "cmd/one",
    };
    bed.with_context(|context| {
        let freshness = context.freshness();
        context.built(&freshness, wrapper, false).unwrap().is_some()
    })
}

pub(super) fn run(path: &Path) -> String {
    let mut command = std::process::Command::new(path);
    let limit = std::time::Duration::from_secs(20);
    let finished = engine::base::tool::run(&mut command, limit, &AtomicBool::new(false), &|_| {});
    finished.unwrap().tail.join("\n")
}

/// Builds until the record has a digest: on a file system with coarse times, the sources may seem
/// to be written during the build.
fn build(bed: &Bed) -> std::path::PathBuf {
    for _ in 0..20 {
        let path = bed.ensure(&requests()).unwrap()["wrapper"].path.clone();
        if is_fresh(bed) {
            return path;
        }
    }
    panic!("never fresh after a build");
}

#[test]
fn only_a_change_of_content_is_built_again() {
    let mut bed = workspace();
    let path = build(&bed);
    assert_eq!(run(&path), "first");

    // Fresh without cargo, also when a file was touched or rewritten.
    let broken = bed.tool("broken-cargo", "exit 1");
    bed.var("CARGO", broken.to_str().unwrap());
    let file = bed.write("cmd/one/src/a file.txt", "first");
    let later = std::time::SystemTime::now() + std::time::Duration::from_mins(1);
    fs::File::options()
        .write(true)
        .open(file)
        .unwrap()
        .set_modified(later)
        .unwrap();
    bed.ensure(&requests()).unwrap();

    let stale = |bed: &Bed, name: &str, content: &str| {
        let path = bed.paths.root().join(name);
        let old = fs::read(&path).ok();
        bed.write(name, content);
        assert!(!is_fresh(bed), "{name}");
        match old {
            Some(old) => fs::write(&path, old).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        assert!(is_fresh(bed), "{name}");
    };
    stale(
        &bed,
        "cmd/one/src/text.rs",
        "pub const TEXT: &str = \"\";\n",
    );
    stale(&bed, "cmd/one/src/a file.txt", "second");
    stale(&bed, "cmd/one/Cargo.toml", "");
    stale(&bed, "cmd/one/build.rs", "fn main() {}");
    stale(&bed, "Cargo.toml", "");
    stale(&bed, "Cargo.lock", "");
    stale(&bed, ".cargo/config.toml", "");
    bed.var("RUSTFLAGS", "-g");
    assert!(!is_fresh(&bed));
    bed.unset("RUSTFLAGS");
    assert!(is_fresh(&bed));

    bed.var("CARGO", &cargo());
    bed.write("cmd/one/src/a file.txt", "second");
    assert_eq!(run(&build(&bed)), "second");
}

#[test]
fn a_replaced_wrapper_is_installed_again() {
    let bed = workspace();
    let path = build(&bed);
    fs::write(&path, "#!/bin/sh\necho evil\n").unwrap();
    assert_eq!(run(&build(&bed)), "first");
}

#[test]
fn what_cargo_says_is_shown() {
    let bed = workspace();
    bed.write("cmd/one/src/text.rs", "pub const TEXT: &str = 1;\n");
    let error = bed.ensure(&requests()).unwrap_err();
    let text = told(&error);
    for expected in [
        "cannot build wrapper: `",
        "--profile dev",
        "-p one` in `",
        "exit status: 101",
        "mismatched types",
    ] {
        assert!(text.contains(expected), "{text}");
    }
    assert_eq!(exit(&error), Exit::Binary);
}

#[test]
fn no_cargo_and_no_package_are_said() {
    let mut bed = workspace();
    bed.write("other/file", "");
    let absent = [Request {
        name: "wrapper".into(),
        kind: Kind::CargoBuild {
            path: "./cmd/absent".into(),
        },
    }];
    let error = bed.ensure(&absent).unwrap_err();
    assert!(told(&error).contains("cmd/absent/Cargo.toml"), "{error:#}");
    assert_eq!(exit(&error), Exit::Binary);
    bed.unset("CARGO");
    bed.unset("PATH");
    let error = bed.ensure(&requests()).unwrap_err();
    let expected = "error: cannot build wrapper: no `cargo` on PATH\n\
                    hint: install Rust 1.95 or later with cargo, then run the command again";
    assert_eq!(told(&error), expected);
    assert_eq!(exit(&error), Exit::Binary);
}
