//! Sources other than archives, and the report when none succeeds.

use std::fs;

use kit::Exit;

use super::{exit, told};
use crate::dep::lock::Artefacts;
use crate::dep::testing::{Bed, artefact, zip_with};
use crate::dep::{Kind, Request};

const WHEEL: &str = "tool-bin==1.0.0";
const ARCHIVE: &str = "https://github.com/o/tool.tar.gz";
/// A mirror where nothing listens.
const NOWHERE: &str = "http://127.0.0.1:1";
const GO_MOD: &str = "module x\n\ngo 1.26\n\nrequire example.com/tool v1.0.0\n";

fn wheel() -> Vec<u8> {
    zip_with(
        &[("tool_bin-1.0.0.data/scripts/tool", "from a wheel")],
        None,
    )
}

fn wheel_pin() -> Artefacts {
    Artefacts {
        archive: None,
        wheel: Some(artefact(WHEEL, Some(&wheel()), Some("from a wheel"))),
    }
}

/// Installs a `pip` that records its arguments and requirements, and leaves the wheel.
fn pip(bed: &Bed) {
    let file = bed.write("the.whl", wheel());
    let root = bed.paths.root().display();
    let script = format!(
        "echo \"$@\" > {root}/args; /bin/cat requirements.txt > {root}/requirements\n\
         /bin/cp {} tool_bin-1.0.0-py3-none-any.whl",
        file.display()
    );
    bed.tool("python3", &script);
}

#[test]
fn a_wheel_comes_after_an_archive_that_cannot_be_reached() {
    let mut bed = Bed::new();
    let mut artefacts = wheel_pin();
    artefacts.archive = Some(artefact(ARCHIVE, Some(b"x"), None));
    bed.pin([("tool", artefacts)]);
    bed.mirror(NOWHERE);
    pip(&bed);
    let installed = bed.fetch(&["tool"]).unwrap();
    assert_eq!(installed["tool"].source, "wheel");
    assert_eq!(bed.installed("tool").as_deref(), Some("from a wheel"));
    let read = |name: &str| fs::read_to_string(bed.paths.root().join(name)).unwrap();
    let args = read("args");
    for flag in ["--no-deps", "--require-hashes", "--only-binary=:all:"] {
        assert!(args.contains(flag), "{args}");
    }
    let sha256 = engine::base::digest::of_bytes(&wheel());
    let expected = format!("{WHEEL} --hash=sha256:{sha256}\n");
    assert_eq!(read("requirements"), expected);
}

#[test]
fn a_wheel_that_is_not_the_pinned_one_is_fatal() {
    let bed = Bed::new();
    bed.pin([("tool", wheel_pin())]);
    bed.write("the.whl", "other bytes");
    let other = zip_with(&[("tool_bin-1.0.0.data/scripts/tool", "evil")], None);
    pip(&bed);
    bed.write("the.whl", other);
    let error = bed.fetch(&["tool"]).unwrap_err();
    assert!(
        told(&error).contains("wrong digest of tool-bin==1.0.0"),
        "{error:#}"
    );
    assert_eq!(exit(&error), Exit::Binary);
    // A wrong digest, noticed by pip.
    bed.tool(
        "python3",
        "echo 'ERROR: THESE PACKAGES DO NOT MATCH THE HASHES' >&2; exit 1",
    );
    let error = bed.fetch(&["tool"]).unwrap_err();
    assert!(
        told(&error).contains("wrong digest of the wheel"),
        "{error:#}"
    );
    assert_eq!(bed.installed("tool"), None);
}

#[test]
fn a_go_build_is_recorded_and_bound_to_its_go_sum() {
    let bed = Bed::new();
    bed.pin([("tool", Artefacts::default())]);
    bed.write("xtask/go/tool/go.mod", GO_MOD);
    bed.write("xtask/go/tool/go.sum", "sums");
    let script = "while [ \"$1\" != -o ]; do shift; done\n\
                  echo \"$CGO_ENABLED $GOFLAGS $GOOS $GOARCH $GOPROXY $3\" > \"$2\"";
    bed.tool("go", script);
    let installed = bed.fetch(&["tool"]).unwrap();
    assert_eq!(installed["tool"].source, "go");
    let built = bed.installed("tool").unwrap();
    assert!(built.starts_with("0 -mod=readonly linux amd64 "), "{built}");
    assert!(built.ends_with(" example.com/tool/cmd\n"), "{built}");
    // Fresh without Go; built again once the sums changed.
    let go = bed.tool("go", "echo broken; exit 1");
    assert_eq!(bed.fetch(&["tool"]).unwrap(), installed);
    bed.write("xtask/go/tool/go.sum", "other sums");
    let text = told(&bed.fetch(&["tool"]).unwrap_err());
    assert!(text.contains("tool 1.0.0: go: "), "{text}");
    assert!(text.contains("exit status: 1: broken"), "{text}");
    fs::write(
        go,
        "#!/bin/sh\necho 'verifying x: checksum mismatch' >&2; exit 1\n",
    )
    .unwrap();
    let text = told(&bed.fetch(&["tool"]).unwrap_err());
    assert!(text.contains("wrong digest of a Go module"), "{text}");
    bed.write("xtask/go/tool/go.mod", GO_MOD.replace("1.0.0", "0.9.0"));
    let text = told(&bed.fetch(&["tool"]).unwrap_err());
    assert!(text.contains("pins another version"), "{text}");
}

#[test]
fn a_machine_with_nothing_gets_one_line_a_source() {
    let mut bed = Bed::new();
    let mut artefacts = wheel_pin();
    artefacts.archive = Some(artefact(ARCHIVE, Some(b"x"), None));
    bed.pin([("tool", artefacts)]);
    bed.write("xtask/go/tool/go.mod", GO_MOD);
    bed.write("xtask/go/tool/go.sum", "");
    bed.mirror(NOWHERE);
    bed.options.system = true;
    let error = bed.fetch(&["tool"]).unwrap_err();
    let expected = "error: no source gives these binaries:\
        \n  tool 1.0.0: system: no `tool` on PATH\
        \n  tool 1.0.0: archive: 127.0.0.1:1 cannot be reached\
        \n  tool 1.0.0: wheel: no `python3` on PATH: install Python 3 with pip\
        \n  tool 1.0.0: go: no `go` on PATH: install Go 1.26 or later\
        \nhint: make one source of each work, then run the command again";
    assert_eq!(told(&error), expected);
    assert_eq!(exit(&error), Exit::Binary);
}

#[test]
fn pip_that_is_missing_or_fails_is_said() {
    let bed = Bed::new();
    bed.pin([("tool", wheel_pin())]);
    for (script, expected) in [
        (
            "echo 'python3: No module named pip' >&2; exit 1",
            "has no pip: install pip",
        ),
        (
            "echo 'ERROR: No matching distribution' >&2; exit 1",
            "pip cannot get tool-bin==1.0.0: No matching distribution",
        ),
        ("exit 0", "pip did not leave one wheel"),
    ] {
        bed.tool("python3", script);
        let text = told(&bed.fetch(&["tool"]).unwrap_err());
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn offline_asks_nobody_and_leaves_go_to_its_cache() {
    let mut bed = Bed::new();
    let mut artefacts = wheel_pin();
    artefacts.archive = Some(artefact(ARCHIVE, Some(b"x"), None));
    bed.pin([("tool", artefacts)]);
    pip(&bed);
    bed.options.offline = true;
    let text = told(&bed.fetch(&["tool"]).unwrap_err());
    assert!(
        text.contains("archive: not tried, because of --offline"),
        "{text}"
    );
    assert!(
        text.contains("wheel: not tried, because of --offline"),
        "{text}"
    );
    assert!(!bed.paths.root().join("args").exists(), "pip must not run");
    bed.write("xtask/go/tool/go.mod", GO_MOD);
    bed.write("xtask/go/tool/go.sum", "");
    bed.tool(
        "go",
        "echo \"module lookup disabled by GOPROXY=$GOPROXY\"; exit 1",
    );
    let text = told(&bed.fetch(&["tool"]).unwrap_err());
    assert!(text.contains("not all in Go's cache"), "{text}");
    assert!(text.contains("disabled by GOPROXY=off"), "{text}");
}

#[test]
fn system_needs_the_exact_version_and_its_flag() {
    let mut bed = Bed::new();
    bed.pin([("tool", wheel_pin())]);
    bed.options.system = true;
    let program = bed.tool("tool", "echo tool version v1.0.1");
    let text = told(&bed.fetch(&["tool"]).unwrap_err());
    let expected = format!("system: `{}` is not version 1.0.0", program.display());
    assert!(text.contains(&expected), "{text}");
    bed.tool("tool", "echo tool version v1.0.0");
    assert_eq!(bed.fetch(&["tool"]).unwrap()["tool"].source, "system");
    assert_eq!(bed.fetch(&["tool"]).unwrap()["tool"].source, "system");
    bed.options.system = false;
    pip(&bed);
    assert_eq!(bed.fetch(&["tool"]).unwrap()["tool"].source, "wheel");
    // An installed and verified binary comes before the system's.
    bed.options.system = true;
    assert_eq!(bed.fetch(&["tool"]).unwrap()["tool"].source, "wheel");
}

#[test]
fn missing_pins_name_the_command_that_makes_them() {
    let bed = Bed::new();
    bed.pin([("tool", Artefacts::default())]);
    let ask = |name: &str, version: &str| {
        let request = Request {
            name: name.into(),
            kind: Kind::Fetch {
                version: version.into(),
            },
        };
        let error = bed.ensure(&[request]).unwrap_err();
        assert_eq!(exit(&error), Exit::Binary);
        told(&error)
    };
    for (name, version, expected) in [
        (
            "tool",
            "1.0.0",
            "`dep.lock` pins nothing of `tool` 1.0.0 for linux-amd64",
        ),
        (
            "tool",
            "2.0.0",
            "asks for `tool` 2.0.0, `dep.lock` pins 1.0.0",
        ),
        ("absent", "1.0.0", "`dep.lock` pins nothing of `absent`"),
    ] {
        let text = ask(name, version);
        assert!(text.contains(expected), "{text}");
        let hint = format!("hint: cargo xtask dep update {name}");
        assert!(text.ends_with(&hint), "{text}");
    }
}

#[test]
fn one_name_cannot_be_two_things() {
    let bed = Bed::new();
    let request = |kind| Request {
        name: "tool".into(),
        kind,
    };
    let fetch = request(Kind::Fetch {
        version: "1.0.0".into(),
    });
    let build = request(Kind::CargoBuild {
        path: "./cmd/tool".into(),
    });
    let error = bed.ensure(&[fetch, build]).unwrap_err();
    assert_eq!(exit(&error), Exit::Invalid);
}
