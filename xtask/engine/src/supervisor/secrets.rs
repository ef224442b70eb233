//! Files of processes in the state directory that are for one run and may hold secrets: removed
//! when no process of the instance is alive. A process that exits by itself has removed its own.

use std::fs;
use std::path::Path;

/// The configuration file of a server of NATS, the settings that a process reloads while it runs,
/// and the secret of one start of PocketBase.
const FILES: [&str; 3] = [
    service_nats::topology::CONFIG_FILE,
    kit::settings::FILE,
    "controller.json",
];

/// Removes them in the directories of all processes below `state`.
pub(super) fn forget(state: &Path) {
    for directory in fs::read_dir(state).into_iter().flatten().flatten() {
        // Links are not followed, because they might lead anywhere.
        if directory.file_type().is_ok_and(|kind| kind.is_dir()) {
            for name in FILES {
                let _ = fs::remove_file(directory.path().join(name));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_of_processes_go() {
        let state = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let node = state.path().join("nats-hub-1");
        fs::create_dir(&node).unwrap();
        fs::create_dir_all(state.path().join("instances/b/nats")).unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), state.path().join("link")).unwrap();
        let of_another = state.path().join("instances/b/nats/nats.conf");
        let behind_a_link = elsewhere.path().join("nats.conf");
        let kept = [node.join("reload.json"), of_another, behind_a_link];
        for name in FILES {
            fs::write(node.join(name), "secret").unwrap();
        }
        for file in &kept {
            fs::write(file, "kept").unwrap();
        }
        forget(state.path());
        for name in FILES {
            assert!(!node.join(name).exists(), "{name}");
        }
        for file in &kept {
            assert!(file.exists(), "{}", file.display());
        }
    }
}
