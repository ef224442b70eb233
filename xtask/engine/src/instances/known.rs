//! Which instances a checkout has: those with any files left, and those that a mistyped name may
//! mean.

use std::fs;
use std::path::Path;

use kit::files::FileLock;
use kit::{Exit, Failure, names};

use crate::checkout::context::Ctx;
use crate::checkout::levels::Level;
use crate::checkout::paths::Paths;

/// Whether nothing is left of an instance but its locks, as after `clean`. An instance that is
/// running, or on which a command is running, exists whatever files it has.
pub(crate) fn is_gone(paths: &Paths) -> bool {
    let is_held = |lock: &Path| FileLock::is_held(lock).unwrap_or(true);
    let is_empty = |level: Level, directory: &Path| {
        // What is behind a link is not read: it may be foreign.
        !directory.is_symlink() && level.paths(paths).is_ok_and(|paths| paths.is_empty())
    };
    is_empty(Level::State, &paths.state())
        && is_empty(Level::Data, &paths.data())
        && !is_held(&paths.alive_lock())
        && !is_held(&paths.operation_lock())
}

/// Returns the instances of a checkout that were ever started and have any files left, by their
/// directories.
pub(crate) fn of_checkout(checkout: &Paths) -> Vec<Paths> {
    let entries = fs::read_dir(checkout.instances());
    let entries = entries.into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    names.sort();
    let named = names
        .iter()
        .filter(|name| kit::names::problem(name).is_none());
    let default = std::iter::once("");
    let all = default.chain(named.map(String::as_str));
    let found = all.filter_map(|name| checkout.of_instance(name).ok());
    found
        .filter(|paths| paths.operation_lock().exists() && !is_gone(paths))
        .collect()
}

/// Returns the names of the instances of a checkout.
pub fn names(checkout: &Paths) -> Vec<String> {
    let all = of_checkout(checkout).into_iter();
    all.map(|paths| paths.instance().to_owned()).collect()
}

/// Returns the failure of a command on a named instance that does not exist; the hint suggests
/// similar names.
pub fn unknown(ctx: &Ctx, command: &str) -> anyhow::Result<Option<Failure>> {
    let paths = &ctx.paths;
    let is_there = paths.is_default()
        || !is_gone(paths)
        // Its directories were deleted while it ran.
        || ctx.client()?.is_live();
    if is_there {
        return Ok(None);
    }
    let name = paths.instance();
    let known = names(paths);
    let meant = names::nearest(name, known.iter().map(String::as_str));
    let hint = match meant {
        Some(meant) => format!(
            "did you mean `{}`?",
            paths.of_instance(meant)?.command(command)
        ),
        None if known.is_empty() => format!("start it with `{}`", paths.command("up")),
        None => format!("instances here: {}", known.join(", ")),
    };
    let message = format!("there is no instance `{name}` in this checkout");
    Ok(Some(Failure::new(Exit::NotRunning, message).hint(hint)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_is_gone_when_only_locks_are_left() {
        let directory = tempfile::tempdir().unwrap();
        let checkout = Paths::new(directory.path().to_path_buf());
        let paths = checkout.of_instance("b").unwrap();
        assert!(is_gone(&paths), "never started");
        fs::create_dir_all(paths.state()).unwrap();
        let lock = FileLock::try_exclusive(&paths.operation_lock()).unwrap();
        assert!(!is_gone(&paths), "a command is at work on it");
        drop(lock);
        assert!(is_gone(&paths));
        assert!(names(&checkout).is_empty());
        for file in [paths.state().join("x"), paths.data().join("x")] {
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, "").unwrap();
            assert!(!is_gone(&paths));
            assert_eq!(names(&checkout), ["b"]);
            fs::remove_file(&file).unwrap();
        }
        assert!(is_gone(&paths));
        fs::remove_dir(paths.data()).unwrap();
        std::os::unix::fs::symlink("/nowhere", paths.data()).unwrap();
        assert!(!is_gone(&paths), "its data is elsewhere");
    }
}
