//! Rules for every source file.

use crate::{Findings, root, text_files};

/// Longest line of a Rust file, in characters.
const COLUMNS_MAX: usize = 100;

/// Longest Rust file, in lines.
const LINES_MAX: usize = 600;

/// Macros for unfinished code. Split, so that this file does not contain them.
const UNFINISHED: [&str; 3] = [
    concat!("todo", "!("),
    concat!("unimplemented", "!("),
    concat!("dbg", "!("),
];

/// Hosts of package registries: a mirror may stand in for each, so none is named here.
const REGISTRIES: [&str; 5] = [
    concat!("py", "pi.org"),
    concat!("python", "hosted.org"),
    concat!("crates", ".io"),
    concat!("proxy.", "golang.org"),
    concat!("sum.", "golang.org"),
];

/// Prefixes of paths that exist on one machine only.
const LOCAL_PATHS: [&str; 2] = [concat!("/ho", "me/"), concat!("/Us", "ers/")];

#[test]
fn rust_files_open_with_their_purpose_and_stay_small() {
    let mut findings = Findings::default();
    for file in text_files().iter().filter(|file| file.has_extension("rs")) {
        if !file.text.starts_with("//!") {
            findings.add(&file.path, "does not begin with `//!`: what it owns");
        }
        let lines = file.text.lines().count();
        if lines > LINES_MAX {
            findings.add(
                &file.path,
                format!("has {lines} lines, more than {LINES_MAX}"),
            );
        }
        let mut in_expectation = false;
        for (number, line) in file.lines() {
            let at = format!("{}:{number}", file.path);
            let columns = line.chars().count();
            // Expected output of a command may have any width.
            in_expectation |= line.contains("expect![[r");
            let is_expectation = in_expectation || line.contains("expect![\"");
            if columns > COLUMNS_MAX && !is_expectation {
                findings.add(
                    &at,
                    format!("has {columns} columns, more than {COLUMNS_MAX}"),
                );
            }
            in_expectation &= !line.contains("\"]]") && !line.contains("#]]");
            for word in UNFINISHED.iter().filter(|word| line.contains(**word)) {
                findings.add(&at, format!("is not finished: `{word}`"));
            }
        }
    }
    findings.finish();
}

/// Ways to start a thread that panic if it cannot be created. Split, so that this file does not
/// contain them.
const PANICKING_THREADS: [&str; 2] = [concat!("thread::", "spawn("), concat!("scope.", "spawn(")];

#[test]
fn no_thread_is_started_that_may_panic() {
    let mut findings = Findings::default();
    let is_test = |path: &str| path.contains("test") || path.contains("/fake/");
    let is_product = |path: &str| path.contains("src/") && !is_test(path);
    let is_product = |file: &&crate::TextFile| file.has_extension("rs") && is_product(&file.path);
    for file in text_files().iter().filter(is_product) {
        let mut lines = file.lines();
        let product = lines
            .by_ref()
            .take_while(|(_, line)| !line.contains("cfg(test)"));
        for (number, line) in product {
            if PANICKING_THREADS.iter().any(|word| line.contains(word)) {
                let what = "panics where a thread is refused: use `thread::Builder`";
                findings.add(format!("{}:{number}", file.path), what);
            }
        }
    }
    findings.finish();
}

#[test]
fn no_text_file_has_blanks_at_line_ends_or_tabs() {
    let mut findings = Findings::default();
    for file in text_files() {
        // Go's own format has tabs.
        let tabs = ["go", "mod", "sum"]
            .iter()
            .any(|extension| file.has_extension(extension));
        for (number, line) in file.lines() {
            let at = format!("{}:{number}", file.path);
            if line.ends_with([' ', '\t', '\r']) {
                findings.add(&at, "ends with a blank");
            }
            if !tabs && line.contains('\t') {
                findings.add(&at, "has a tab");
            }
        }
        if !file.text.is_empty() && (!file.text.ends_with('\n') || file.text.ends_with("\n\n")) {
            findings.add(&file.path, "does not end with exactly one line break");
        }
    }
    findings.finish();
}

#[test]
fn nothing_names_a_registry_or_a_path_of_one_machine() {
    let mut findings = Findings::default();
    let checkout = format!("{}/", root().display());
    // A checkout at `/app` would find itself in any URL.
    let checkout = Some(checkout).filter(|path| path.matches('/').count() > 2);
    let forbidden: Vec<&str> = REGISTRIES
        .into_iter()
        .chain(LOCAL_PATHS)
        .chain(checkout.as_deref())
        .collect();
    for file in text_files() {
        for (number, line) in file.lines() {
            for word in forbidden.iter().filter(|word| line.contains(**word)) {
                findings.add(
                    format!("{}:{number}", file.path),
                    format!("names `{word}`, which is not the same everywhere"),
                );
            }
        }
    }
    findings.finish();
}
