//! The hooks and migrations that the server runs: Core's own and the user's, in one directory each.
//!
//! Owns the composed directories entirely: files that are not in the plan are removed. Only reads
//! the user's files. Copies instead of links, so that a running server does not see half of an
//! edit: hooks may load further files while they run.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use kit::files::{PRIVATE_FILE_MODE, create_private_dir, write_if_changed};
use kit::{Exit, Failure};

/// Deepest nesting of directories: a link to a parent directory would never end.
const DEPTH_MAX: usize = 16;

/// Core's own files.
const OWN_FILES: [(&str, &str); 9] = [
    ("pb_hooks/core.pb.js", include_str!("../hooks/core.pb.js")),
    (
        "pb_hooks/core_backup.pb.js",
        include_str!("../hooks/core_backup.pb.js"),
    ),
    (
        "pb_hooks/core_login.js",
        include_str!("../hooks/core_login.js"),
    ),
    (
        "pb_hooks/core_login.pb.js",
        include_str!("../hooks/core_login.pb.js"),
    ),
    (
        "pb_hooks/core_topology.pb.js",
        include_str!("../hooks/core_topology.pb.js"),
    ),
    (
        "pb_hooks/core_topology_spec.js",
        include_str!("../hooks/core_topology_spec.js"),
    ),
    (
        "pb_migrations/1700000001_core_settings.js",
        include_str!("../migrations/1700000001_core_settings.js"),
    ),
    (
        "pb_migrations/1700000002_core_topology.js",
        include_str!("../migrations/1700000002_core_topology.js"),
    ),
    (
        "pb_migrations/1700000003_core_topology_state.js",
        include_str!("../migrations/1700000003_core_topology_state.js"),
    ),
];
/// The directories that are composed.
const FOLDERS: [&str; 2] = ["pb_hooks", "pb_migrations"];

/// The origin of a composed file's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    Own(&'static str),
    User(PathBuf),
}

/// The composed files by their path below the state directory.
pub(crate) type Plan = BTreeMap<PathBuf, Origin>;

/// Finds every file of the composition. Returns an error if a user's file would replace Core's.
pub(crate) fn plan(user_dir: &Path) -> anyhow::Result<Plan> {
    let mut plan = Plan::new();
    for folder in FOLDERS {
        collect(user_dir, Path::new(folder), 0, &mut plan)?;
    }
    for (path, text) in OWN_FILES {
        let previous = plan.insert(PathBuf::from(path), Origin::Own(text));
        if let Some(Origin::User(file)) = previous {
            let message = format!("`{}` has the name of a file of Core's own", file.display());
            let failure = Failure::new(Exit::Invalid, message).hint("rename it");
            return Err(failure.into());
        }
    }
    Ok(plan)
}

/// Adds the files below `user_dir/folder`; skips names that begin with a dot.
fn collect(user_dir: &Path, folder: &Path, depth: usize, plan: &mut Plan) -> anyhow::Result<()> {
    let directory = user_dir.join(folder);
    let entries = match fs::read_dir(&directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => {
            return Err(error).with_context(|| format!("cannot read `{}`", directory.display()));
        }
    };
    if depth > DEPTH_MAX {
        let message = format!("`{}` is nested too deeply", directory.display());
        return Err(Failure::new(Exit::Invalid, message).into());
    }
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot read `{}`", directory.display()))?;
        let name = entry.file_name();
        if name.as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let (source, path) = (entry.path(), folder.join(&name));
        // Follows links: what matters is the file that the server would read.
        let kind =
            fs::metadata(&source).with_context(|| format!("cannot read `{}`", source.display()))?;
        if kind.is_dir() {
            collect(user_dir, &path, depth + 1, plan)?;
        } else if kind.is_file() {
            plan.insert(path, Origin::User(source));
        }
    }
    Ok(())
}

/// Makes the content of the directories below `state_dir` match the plan.
pub(crate) fn write(plan: &Plan, state_dir: &Path) -> anyhow::Result<()> {
    for folder in FOLDERS {
        create_private_dir(&state_dir.join(folder))?;
        remove_others(plan, state_dir, Path::new(folder))?;
    }
    for (path, origin) in plan {
        let target = state_dir.join(path);
        if let Some(parent) = target.parent() {
            create_private_dir(parent)?;
        }
        let user_bytes;
        let bytes = match origin {
            Origin::Own(text) => text.as_bytes(),
            Origin::User(source) => {
                user_bytes = fs::read(source)
                    .with_context(|| format!("cannot read `{}`", source.display()))?;
                &user_bytes
            }
        };
        write_if_changed(&target, bytes, PRIVATE_FILE_MODE)?;
    }
    Ok(())
}

fn remove_others(plan: &Plan, state_dir: &Path, folder: &Path) -> anyhow::Result<()> {
    let directory = state_dir.join(folder);
    let remove = || -> std::io::Result<Vec<PathBuf>> {
        let mut kept = Vec::new();
        for entry in fs::read_dir(&directory)? {
            let entry = entry?;
            let path = folder.join(entry.file_name());
            let is_dir = entry.file_type()?.is_dir();
            let holds_some = |planned: &PathBuf| *planned != path && planned.starts_with(&path);
            if is_dir && plan.keys().any(holds_some) {
                kept.push(path);
            } else if is_dir {
                fs::remove_dir_all(entry.path())?;
            } else if !plan.contains_key(&path) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(kept)
    };
    let kept = remove().with_context(|| format!("cannot clean `{}`", directory.display()))?;
    kept.iter()
        .try_for_each(|path| remove_others(plan, state_dir, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the composed files below `dir`, as relative paths.
    fn files(dir: &Path) -> Vec<String> {
        let mut plan = Plan::new();
        for folder in FOLDERS {
            collect(dir, Path::new(folder), 0, &mut plan).unwrap();
        }
        let paths = plan.keys();
        paths.map(|path| path.display().to_string()).collect()
    }

    fn put(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    const OWN: [&str; 9] = [
        "pb_hooks/core.pb.js",
        "pb_hooks/core_backup.pb.js",
        "pb_hooks/core_login.js",
        "pb_hooks/core_login.pb.js",
        "pb_hooks/core_topology.pb.js",
        "pb_hooks/core_topology_spec.js",
        "pb_migrations/1700000001_core_settings.js",
        "pb_migrations/1700000002_core_topology.js",
        "pb_migrations/1700000003_core_topology_state.js",
    ];

    #[test]
    fn without_user_files_only_our_own() {
        let (user, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        write(&plan(user.path()).unwrap(), state.path()).unwrap();
        assert_eq!(files(state.path()), OWN);
        assert!(plan(Path::new("/nonexistent")).is_ok());
    }

    #[test]
    fn user_files_come_change_and_vanish() {
        let (user, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        put(user.path(), "pb_hooks/a.pb.js", "1");
        put(user.path(), "pb_hooks/lib/deep/b.js", "2");
        put(user.path(), "pb_hooks/.hidden.pb.js", "3");
        put(user.path(), "pb_public/index.html", "4");
        write(&plan(user.path()).unwrap(), state.path()).unwrap();
        let (one, deep) = ("pb_hooks/a.pb.js", "pb_hooks/lib/deep/b.js");
        let (hooks, migrations) = OWN.split_at(6);
        let all = [&[one], hooks, &[deep], migrations].concat();
        assert_eq!(files(state.path()), all);

        put(user.path(), "pb_hooks/a.pb.js", "changed");
        fs::remove_dir_all(user.path().join("pb_hooks/lib")).unwrap();
        put(state.path(), "pb_migrations/stray.js", "5");
        write(&plan(user.path()).unwrap(), state.path()).unwrap();
        assert_eq!(files(state.path()), [&[one], &OWN[..]].concat());
        let text = fs::read_to_string(state.path().join("pb_hooks/a.pb.js")).unwrap();
        assert_eq!(text, "changed");
    }

    #[test]
    fn a_user_file_may_not_replace_ours() {
        let user = tempfile::tempdir().unwrap();
        put(user.path(), OWN[0], "x");
        let error = plan(user.path()).unwrap_err();
        assert_eq!(kit::failure::exit_of(&error), Exit::Invalid);
    }

    #[test]
    fn a_file_where_a_folder_was() {
        let (user, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        put(user.path(), "pb_hooks/x/y.js", "1");
        write(&plan(user.path()).unwrap(), state.path()).unwrap();
        fs::remove_dir_all(user.path().join("pb_hooks/x")).unwrap();
        put(user.path(), "pb_hooks/x", "2");
        write(&plan(user.path()).unwrap(), state.path()).unwrap();
        let (hooks, migrations) = OWN.split_at(6);
        let all = [hooks, &["pb_hooks/x"], migrations].concat();
        assert_eq!(files(state.path()), all);
    }
}
