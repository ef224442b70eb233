//! Every way to move or split cargo's output directories, on trees that the real cargo made.

use std::fs;
use std::path::{Path, PathBuf};

use super::builds::{cargo, is_fresh, requests, run, workspace};
use crate::dep::record::Record;
use crate::dep::testing::Bed;

/// Returns cargo's name of this machine's platform.
fn triple() -> String {
    let output = std::process::Command::new("rustc").arg("-vV").output();
    let text = String::from_utf8(output.unwrap().stdout).unwrap();
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.unwrap().to_owned()
}

/// Finds all files of a name below a directory.
fn find(folder: &Path, name: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.is_symlink() {
            find(&path, name, found);
        } else if path.file_name().is_some_and(|own| own == name) {
            found.push(path);
        }
    }
}

/// Returns the program that cargo built last.
fn program(bed: &Bed) -> PathBuf {
    let mut found = Vec::new();
    find(bed.paths.root(), "one", &mut found);
    let is_uplifted = |path: &PathBuf| !path.starts_with(bed.paths.dep());
    found.retain(is_uplifted);
    let modified = |path: &PathBuf| fs::metadata(path).unwrap().modified().unwrap();
    found.into_iter().max_by_key(modified).unwrap()
}

/// Builds until the record has a digest, as a file system may have coarse times.
fn build(bed: &Bed, what: &str) -> String {
    for _ in 0..20 {
        let path = bed.ensure(&requests()).unwrap()["wrapper"].path.clone();
        if is_fresh(bed) {
            return run(&path);
        }
    }
    panic!("{what}: never fresh after a build");
}

/// Builds with a configuration and variables: first as a program outside a target directory, then
/// as one where cargo put its first, then after a change of the source. Programs must be in
/// `within`.
#[track_caller]
fn check(config: &str, variables: &[(&str, &str)], profile: Option<&str>, within: &str) {
    let what = format!("{config} {variables:?}");
    let mut bed = workspace();
    let settings = variables
        .iter()
        .map(|(name, value)| format!("{name}='{value}' "))
        .collect::<String>();
    // An option of the user's cargo call, or an argument of its own.
    let option = profile.map_or_else(String::new, |name| format!("--profile {name}"));
    let real = cargo();
    let script = format!("{settings}exec '{real}' \"$@\"");
    let wrapped = bed.tool("wrapped-cargo", &script);
    bed.var("CARGO", wrapped.to_str().unwrap());
    bed.write(".cargo/config.toml", config);
    let mut manifest = fs::read_to_string(bed.paths.root().join("Cargo.toml")).unwrap();
    manifest.push_str("[profile.fast]\ninherits = 'dev'\n");
    bed.write("Cargo.toml", manifest);

    bed.program = Some(bed.paths.dep().join("elsewhere"));
    assert_eq!(build(&bed, &what), "first", "{what}");
    // Like `cargo xtask` does.
    let by_hand = format!(
        "cd '{}' && '{}' build {option}",
        bed.paths.root().display(),
        wrapped.display()
    );
    let done = std::process::Command::new("/bin/sh")
        .args(["-c", &by_hand])
        .output();
    assert!(done.as_ref().unwrap().status.success(), "{what}: {done:?}");
    let own = program(&bed);
    let expected = bed.paths.root().join(within).join("one");
    assert_eq!(own, expected, "{what}");
    bed.program = Some(own.clone());
    bed.write("cmd/one/src/a file.txt", "second");
    assert_eq!(build(&bed, &what), "second", "{what}");
    assert_eq!(program(&bed), own, "{what}: built where its own program is");
    let mut programs = Vec::new();
    find(bed.paths.root(), "one", &mut programs);
    programs.retain(|path| !path.starts_with(bed.paths.dep()));
    let places = 1 + usize::from(profile.is_some());
    assert_eq!(
        programs.len(),
        places,
        "{what}: nothing is built twice: {programs:?}"
    );

    // Nothing is built, so cargo is not called.
    let broken = bed.tool("broken-cargo", "exit 1");
    bed.var("CARGO", broken.to_str().unwrap());
    bed.ensure(&requests()).unwrap();
    // Nor by a program that is stored elsewhere, unless the layout has one more directory.
    let record = Record::load(&bed.paths.dep().join(".records/wrapper.json")).unwrap();
    let place = record.build.unwrap().place.unwrap();
    assert!(
        !place.target.starts_with(bed.paths.root()),
        "{what}: {place:?}"
    );
    bed.program = Some(bed.paths.dep().join("elsewhere"));
    assert!(is_fresh(&bed), "{what}");
}

#[test]
fn a_platform_that_is_configured() {
    let triple = triple();
    let within = format!("target/{triple}/debug");
    check(
        &format!("[build]\ntarget = '{triple}'\n"),
        &[],
        None,
        &within,
    );
    check(
        &format!("[build]\ntarget = ['{triple}']\n"),
        &[],
        None,
        &within,
    );
    check("", &[("CARGO_BUILD_TARGET", &triple)], None, &within);
}

#[test]
fn a_target_directory_that_is_moved() {
    check("", &[], None, "target/debug");
    check(
        "[build]\ntarget-dir = 'out/of'\n",
        &[],
        None,
        "out/of/debug",
    );
    check("", &[("CARGO_TARGET_DIR", "other")], None, "other/debug");
    check(
        "",
        &[("CARGO_BUILD_TARGET_DIR", "other")],
        None,
        "other/debug",
    );
    // Inside another one, as editors do.
    check(
        "",
        &[("CARGO_TARGET_DIR", "target/editor")],
        None,
        "target/editor/debug",
    );
}

#[test]
fn a_build_directory_of_its_own() {
    let triple = triple();
    check("[build]\nbuild-dir = 'b'\n", &[], None, "target/debug");
    check("", &[("CARGO_BUILD_BUILD_DIR", "b")], None, "target/debug");
    let config = "[build]\nbuild-dir = '{workspace-root}/b/{workspace-path-hash}'\n";
    check(config, &[], None, "target/debug");
    let config = format!("[build]\nbuild-dir = 'b'\ntarget-dir = 't'\ntarget = '{triple}'\n");
    check(&config, &[], None, &format!("t/{triple}/debug"));
}

#[test]
fn another_profile() {
    check("", &[], Some("release"), "target/release");
    check("", &[], Some("fast"), "target/fast");
    check(
        "[build]\nbuild-dir = 'b'\n",
        &[],
        Some("fast"),
        "target/fast",
    );
}
