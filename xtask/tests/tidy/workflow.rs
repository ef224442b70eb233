//! The workflow of GitHub Actions runs pinned actions, and its last job stands for all others.

use std::collections::BTreeSet;

use serde_yaml::Value;

use crate::{Findings, own, read};

const FILE: &str = ".github/workflows/ci.yml";
/// The job whose success a change needs.
const GATE: &str = "conclusion";
/// Characters of a full commit hash.
const HASH_CHARS: usize = 40;

#[test]
fn every_action_is_pinned_with_its_version_beside_it() {
    if !own::is_cores(FILE) {
        return;
    }
    let mut findings = Findings::default();
    for (number, line) in read(FILE).lines() {
        let Some((_, action)) = line.split_once("uses: ") else {
            continue;
        };
        let pinned = action.split_once('@').and_then(|(_, pin)| {
            let (hash, version) = pin.split_once(" # v")?;
            let is_hash = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
            (hash.len() == HASH_CHARS && hash.chars().all(is_hash)).then_some(version)
        });
        if pinned.is_none() {
            let what = format!("`{action}` is no full hash with its version in a comment");
            findings.add(format!("{FILE}:{number}"), what);
        }
    }
    findings.finish();
}

#[test]
fn the_last_job_needs_all_others() {
    if !own::is_cores(FILE) {
        return;
    }
    let workflow: Value = serde_yaml::from_str(&read(FILE).text).expect("the workflow is YAML");
    let jobs = workflow["jobs"].as_mapping().expect("it has jobs");
    let names = jobs.keys().filter_map(Value::as_str);
    let others: BTreeSet<&str> = names.filter(|name| *name != GATE).collect();
    let gate = &workflow["jobs"][GATE];
    let needs = gate["needs"].as_sequence().into_iter().flatten();
    let needs: BTreeSet<&str> = needs.filter_map(Value::as_str).collect();
    assert_eq!(needs, others, "`{GATE}` does not need every other job");
    // Without this it is skipped when another job fails, which counts as a success.
    assert_eq!(gate["if"].as_str(), Some("always()"), "`{GATE}`");
}
