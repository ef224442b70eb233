//! Every test that docs/reliability.md names exists and runs.

use crate::{Findings, read, root};

/// The document.
const DOCUMENT: &str = "docs/reliability.md";
/// The directory of tests that are named by their module alone.
const END_TO_END: &str = "xtask/tests/e2e";
/// The fewest promises: a table that cannot be parsed has none.
const PROMISES_MIN: usize = 40;

/// Returns what is wrong with a test of this name, if anything is.
fn problem(name: &str) -> Option<String> {
    let Some((module, test)) = name.rsplit_once("::") else {
        return Some(format!("`{name}` is no `module::test`"));
    };
    let path = if module.contains('/') {
        module.to_owned()
    } else {
        format!("{END_TO_END}/{module}.rs")
    };
    let Ok(text) = std::fs::read_to_string(root().join(&path)) else {
        return Some(format!("`{path}` is not there"));
    };
    attributes(&text, test).map_or_else(
        || Some(format!("`{path}` has no test `{test}`")),
        |attributes| {
            let is_ignored = attributes.iter().any(|line| line.contains("ignore"));
            is_ignored.then(|| format!("`{name}` is ignored"))
        },
    )
}

/// Returns the attributes of a test; `None` when no test has that name.
fn attributes<'a>(text: &'a str, test: &str) -> Option<Vec<&'a str>> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let heads = [format!("fn {test}("), format!("async fn {test}(")];
    let at = lines
        .iter()
        .position(|line| heads.iter().any(|head| line.starts_with(head)))?;
    let above = lines[..at].iter().rev();
    let attributes: Vec<&str> = above
        .take_while(|line| !line.is_empty() && **line != "}")
        .copied()
        .collect();
    let is_test = |line: &&str| line.starts_with("#[test]") || line.starts_with("#[tokio::test");
    attributes.iter().any(is_test).then_some(attributes)
}

#[test]
fn every_promise_names_tests_that_run() {
    let mut findings = Findings::default();
    let document = read(DOCUMENT);
    let mut promises = 0;
    for (number, line) in document.lines() {
        let cells: Vec<&str> = line.split(" | ").collect();
        let [_, tests] = cells.as_slice() else {
            continue;
        };
        if !line.starts_with("| ") || line.starts_with("| promise |") {
            continue;
        }
        let at = format!("{DOCUMENT}:{number}");
        promises += 1;
        let tests: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
        if tests.is_empty() {
            findings.add(&at, "names no test");
        }
        for problem in tests.into_iter().filter_map(problem) {
            findings.add(&at, problem);
        }
    }
    if promises < PROMISES_MIN {
        findings.add(
            DOCUMENT,
            format!("has {promises} promises: was it understood?"),
        );
    }
    findings.finish();
}

#[test]
fn a_test_that_is_gone_or_ignored_is_found() {
    for name in [
        "answers",
        "nowhere::a_test",
        "backup::no_such_test",
        // A function that is no test.
        "backup::make_notes",
    ] {
        assert!(problem(name).is_some(), "{name}");
    }
    assert_eq!(
        problem("backup::a_restore_that_is_killed_is_taken_back"),
        None
    );
    let ignored = "#[test]\n#[ignore = \"slow\"]\nfn x() {}\n";
    assert!(attributes(ignored, "x").is_some_and(|all| all.len() == 2));
}
