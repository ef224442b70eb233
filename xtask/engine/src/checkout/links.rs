//! Refuses symbolic links where Core writes: a repository may contain some, and they may lead to
//! foreign files. Nothing is written through a link.

use std::fs;
use std::path::{Path, PathBuf};

use kit::{Exit, Failure};

use crate::checkout::paths::{INSTANCES, Paths, STATE};

/// The only link that Core creates.
const OWN: &str = "supervisor.sock";

/// Refuses links in place of the state's directories, its files and its logs.
pub fn refuse(paths: &Paths) -> anyhow::Result<()> {
    let base = paths.root().join(STATE);
    let mut places = vec![
        base.clone(),
        base.join(INSTANCES),
        paths.state(),
        paths.logs(),
    ];
    for directory in [paths.state(), paths.logs()] {
        // What is behind a link is not read.
        if !directory.is_symlink() {
            places.extend(list(&directory));
        }
    }
    let is_link = |path: &&PathBuf| path.is_symlink() && !path.ends_with(OWN);
    let Some(link) = places.iter().find(is_link) else {
        return Ok(());
    };
    let shown = paths.shown(link);
    let message = format!("`{shown}` is a link, and nothing is written through one");
    let hint = format!("remove it: rm '{shown}'");
    Err(Failure::new(Exit::Invalid, message).hint(hint).into())
}

fn list(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn every_place_that_is_written_to() {
        let dir = tempfile::tempdir().unwrap();
        let (root, outside) = (dir.path().join("root"), dir.path().join("outside"));
        let paths = Paths::new(root.clone());
        let named = paths.of_instance("b").unwrap();
        let target = outside.join("file");
        for (paths, link) in [
            (&paths, ".core-stack"),
            (&paths, ".core-stack/logs"),
            (&paths, ".core-stack/logs/nats.log"),
            (&paths, ".core-stack/operation.lock"),
            (&paths, ".core-stack/inputs.json"),
            (&named, ".core-stack/instances"),
            (&named, ".core-stack/instances/b"),
            (&named, ".core-stack/instances/b/alive.lock"),
        ] {
            fs::create_dir_all(&outside).unwrap();
            let path = root.join(link);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            refuse(paths).unwrap();
            symlink(&target, &path).unwrap();
            let error = refuse(paths).unwrap_err();
            assert!(
                error.to_string().contains(&format!("`{link}` is a link")),
                "{error}"
            );
            fs::remove_dir_all(&root).unwrap();
        }
        fs::create_dir_all(paths.state()).unwrap();
        symlink(&target, paths.state().join(OWN)).unwrap();
        refuse(&paths).unwrap();
    }
}
