//! Tests that need a program which is not installed.

use std::fs::OpenOptions;
use std::io::Write as _;

/// The file that lists tests without their programs. `cargo xtask ci` sets it and counts.
const VARIABLE: &str = "CORE_TESTS_MISSING";

/// Reports, past the capture of the test's output, that a test was not run, and counts it.
pub(crate) fn tell_missing(test: &str, missing: &str) {
    let line = format!("missing: `{missing}` is not installed, so `{test}` was not run\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
    if let Some(path) = std::env::var_os(VARIABLE) {
        let file = OpenOptions::new().create(true).append(true).open(path);
        let written = file.and_then(|mut file| file.write_all(line.as_bytes()));
        written.expect("what is missing can be counted");
    }
}
