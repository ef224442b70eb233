//! Directories of hub nodes that are never used again: a node that leaves the hub returns under
//! another name, with another directory, and so does every node of the next hub.
//!
//! Removes those without streams. A directory with a stream stays: a copy of a stream belongs to
//! the user, too. Runs after a change is committed, under the operation lock.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use kit::files::FileLock;
use service_nats::topology::Facts;

use crate::checkout::paths::Paths;

/// Prefix of the directory of a hub node; its number follows.
const HUB_NODE: &str = "nats-hub-";
/// Separates that number from the one that counts the directories of this node.
const GENERATION: &str = "-g";
/// The directory of an account's streams in a store.
const STREAMS: &str = "streams";
/// The account of the server's own state.
const SYSTEM: &str = "SYS";

/// Removes them. `facts` has the present nodes, and how often each left a hub.
pub(crate) fn remove_directories(paths: &Paths, facts: &Facts) -> anyhow::Result<()> {
    for directory in retired(&paths.data(), facts) {
        // A server that is about to exit still uses it.
        let Some(_lock) = FileLock::try_exclusive(&directory.join(".lock"))? else {
            continue;
        };
        if holds_streams(&directory)? {
            continue;
        }
        fs::remove_dir_all(&directory)
            .with_context(|| format!("cannot remove `{}`", directory.display()))?;
    }
    Ok(())
}

/// Returns the directories of nodes that left.
fn retired(data: &Path, facts: &Facts) -> Vec<PathBuf> {
    let present: BTreeSet<String> = facts
        .nodes()
        .into_iter()
        .map(|node| node.directory)
        .collect();
    let entries = fs::read_dir(data).into_iter().flatten().flatten();
    let left = entries.filter(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_directory = entry.file_type().is_ok_and(|kind| kind.is_dir());
        is_directory && !present.contains(&name) && has_left(&name, facts)
    });
    let mut left: Vec<PathBuf> = left.map(|entry| entry.path()).collect();
    left.sort();
    left
}

/// Whether its node will never have the name again.
fn has_left(name: &str, facts: &Facts) -> bool {
    let Some(rest) = name.strip_prefix(HUB_NODE) else {
        return false;
    };
    let (number, generation) = match rest.split_once(GENERATION) {
        Some((number, generation)) => (number, generation.parse::<u32>().ok()),
        None => (rest, Some(1)),
    };
    let process = format!("{HUB_NODE}{number}");
    let next = facts.hub_generation + facts.retired.get(&process).copied().unwrap_or(0);
    number.parse::<u32>().is_ok() && generation.is_some_and(|generation| generation < next)
}

/// Whether any account has a stream, or anything unknown.
fn holds_streams(directory: &Path) -> anyhow::Result<bool> {
    let read = |path: &Path| -> anyhow::Result<Vec<PathBuf>> {
        if !path.exists() {
            return Ok(Vec::new());
        }
        let entries = fs::read_dir(path).and_then(Iterator::collect::<std::io::Result<Vec<_>>>);
        let entries = entries.with_context(|| format!("cannot read `{}`", path.display()))?;
        Ok(entries.into_iter().map(|entry| entry.path()).collect())
    };
    for account in read(&directory.join("jetstream"))? {
        if account.ends_with(SYSTEM) {
            continue;
        }
        let others = read(&account)?.into_iter();
        let others = others.filter(|path| !path.ends_with(STREAMS)).count();
        if others > 0 || !read(&account.join(STREAMS))?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use service_nats::topology::{HubSpoke, Spec};

    use super::*;

    fn hub(nodes: u32) -> Spec {
        Spec::HubSpoke(HubSpoke {
            hub_region: "iad".to_owned(),
            hub_nodes: nodes,
            leaf_regions: vec!["lhr".to_owned()],
            leaf_nodes_per_region: 1,
        })
    }

    #[test]
    fn only_directories_that_never_come_back_and_hold_no_stream_go() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(dir.path().to_path_buf());
        let data = paths.data();
        // The second hub, which had five nodes and now has three.
        let mut facts = Facts::default()
            .with_spec(hub(3))
            .with_spec(Spec::SingleNode);
        facts = facts.with_spec(hub(5)).with_spec(hub(3));
        facts = facts.without_first_leaving().without_first_leaving();
        let kept = [
            "nats",
            "nats-leaf-lhr",
            "nats-leaf-nrt",
            "nats-hub-1-g2",
            "nats-hub-5-g3",
            "nats-hub-x",
            "nats-hub-1-gx",
            "nats-hub-2",
            "nats-hub-3",
        ];
        let gone = ["nats-hub-1", "nats-hub-4-g2", "nats-hub-5-g2", "nats-hub-9"];
        for name in kept.iter().chain(&gone) {
            let meta = data.join(name).join("jetstream/SYS/_js_/_meta_");
            fs::create_dir_all(meta).unwrap();
            fs::create_dir_all(data.join(name).join("jetstream/APP/streams")).unwrap();
        }
        fs::create_dir(data.join("nats-hub-2/jetstream/APP/streams/ORDERS")).unwrap();
        let running = FileLock::try_exclusive(&data.join("nats-hub-3/.lock")).unwrap();
        remove_directories(&paths, &facts).unwrap();
        for name in kept {
            assert!(data.join(name).exists(), "{name}");
        }
        for name in gone {
            assert!(!data.join(name).exists(), "{name}");
        }
        drop(running);
        remove_directories(&paths, &facts).unwrap();
        assert!(!data.join("nats-hub-3").exists());
        assert!(data.join("nats-hub-2").exists());
    }
}
