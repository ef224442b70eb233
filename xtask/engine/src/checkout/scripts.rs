//! Finds scripts that cannot be started because of their first line: the kernel and shells report
//! only `not found` for a script with Windows line ends.
//!
//! Reads the files that commands name. Must not run them.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use kit::{Exit, Failure};

use crate::plan::stack::{Process, Stack};

/// Bytes of a file that are read: a first line is shorter.
const HEAD_BYTES: u64 = 256;

/// Refuses scripts whose first line ends with a carriage return, all at once.
pub fn check(root: &Path, stack: &Stack) -> anyhow::Result<()> {
    let mut found: Vec<String> = Vec::new();
    for (name, process) in stack.processes.iter().filter(|(_, p)| !p.disabled) {
        let directory = process.directory(root);
        for words in [Some(&process.command), process.check.as_ref()] {
            for path in files(&directory, words.map(Vec::as_slice).unwrap_or_default()) {
                if !has_windows_line_ends(&path) {
                    continue;
                }
                let shown = path.strip_prefix(root).unwrap_or(&path).display();
                let told = format!("`{shown}`, which `{name}` runs");
                if !found.contains(&told) {
                    found.push(told);
                }
            }
        }
    }
    if found.is_empty() {
        return Ok(());
    }
    let message = format!(
        "cannot run {}: the first line ends with a carriage return (Windows line ends)",
        found.join(", ")
    );
    Err(Failure::new(Exit::Invalid, message)
        .hint("sed -i.bak 's/\\r$//' FILE, and `*.sh text eol=lf` in .gitattributes")
        .into())
}

/// Returns the words that may be files: a program that is not looked up on PATH, and every
/// argument, since a shell or an interpreter receives its script as one.
fn files(directory: &Path, words: &[String]) -> Vec<PathBuf> {
    let program = words.first().map(|word| Process::program(directory, word));
    let program = program.filter(|path| path.is_absolute());
    let arguments = words.iter().skip(1).map(|word| directory.join(word));
    program.into_iter().chain(arguments).collect()
}

/// Whether the file is a script whose first line ends with a carriage return.
fn has_windows_line_ends(path: &Path) -> bool {
    // Reading a pipe or a device would block.
    if !path.is_file() {
        return false;
    }
    let mut head = Vec::new();
    let read = File::open(path).and_then(|file| file.take(HEAD_BYTES).read_to_end(&mut head));
    let line = head.split(|byte| *byte == b'\n').next();
    read.is_ok() && line.is_some_and(|line| line.starts_with(b"#!") && line.ends_with(b"\r"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn the_first_line_counts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        for (text, expected) in [
            ("#!/bin/sh\r\necho\r\n", true),
            ("#!/usr/bin/env python3\r", true),
            ("#!/bin/sh\necho\r\n", false),
            ("echo\r\n", false),
            ("", false),
        ] {
            fs::write(&path, text).unwrap();
            assert_eq!(has_windows_line_ends(&path), expected, "{text:?}");
        }
        assert!(!has_windows_line_ends(dir.path()));
        assert!(!has_windows_line_ends(&dir.path().join("absent")));
    }
}
