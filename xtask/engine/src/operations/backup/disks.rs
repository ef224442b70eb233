//! Stores on disks of their own: what a restore moves aside stays on its disk.
//!
//! A rename is impossible across file systems and mounts, including bind mounts of the same disk.
//! So a service's directory that is on another one keeps what was replaced itself, and a link in
//! `.data/replaced-ID` leads there. A store that is itself a mount cannot be moved at all.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use kit::files::create_private_dir;
use kit::{Exit, Failure};
use service_nats::topology::Facts;

use super::running::stores;
use crate::checkout::paths::Paths;

/// Prefix of the files that test a rename; doctor removes leftovers.
const TRIED: &str = ".tmp-";

/// Creates the directory `aside/SERVICE` to which a store of the directory `service` of `data` is
/// moved, on the disk of the store.
pub(super) fn make_room(data: &Path, service: &Path, aside: &Path) -> anyhow::Result<()> {
    let room = aside.join(service);
    if room.exists() {
        return Ok(());
    }
    let origin = data.join(service);
    if !origin.is_dir() || !is_elsewhere(&origin, data)? {
        return create_private_dir(&room);
    }
    let name = aside.file_name().unwrap_or_default();
    create_private_dir(&origin.join(name))?;
    create_private_dir(aside)?;
    let target = Path::new("..").join(service).join(name);
    let linked = symlink(&target, &room);
    linked.with_context(|| format!("cannot make the link `{}`", room.display()))
}

/// Removes an empty directory, or a link to one together with it.
pub(super) fn remove_if_empty(directory: &Path) {
    // Fails for a directory that is not empty, which stays.
    if !directory.is_symlink() {
        let _ = fs::remove_dir(directory);
    } else if fs::canonicalize(directory).is_ok_and(|target| fs::remove_dir(target).is_ok()) {
        let _ = fs::remove_file(directory);
    }
}

/// Whether renaming from one directory to the other is impossible. It is tried, because a bind
/// mount looks like the same disk.
fn is_elsewhere(from: &Path, to: &Path) -> anyhow::Result<bool> {
    let tried = tempfile::Builder::new().prefix(TRIED).tempfile_in(from);
    let tried = tried.with_context(|| format!("cannot write to `{}`", from.display()))?;
    let name = tried.path().file_name().unwrap_or_default();
    let moved = to.join(name);
    match fs::rename(tried.path(), &moved) {
        Ok(()) => {
            let removed = fs::remove_file(&moved);
            removed.with_context(|| format!("cannot remove `{}`", moved.display()))?;
            Ok(false)
        }
        Err(error) if error.kind() == ErrorKind::CrossesDevices => Ok(true),
        Err(error) => {
            let from = from.display();
            Err(error).with_context(|| format!("cannot move a file out of `{from}`"))
        }
    }
}

/// Returns stores that cannot be moved, by their paths below `.data`: they are mounts themselves.
pub fn mounted(paths: &Paths, facts: &Facts) -> Vec<PathBuf> {
    let mut stores = stores(facts);
    stores.retain(|store| is_mount(&paths.data().join(store)).unwrap_or(false));
    stores
}

/// What to do about such a store.
pub const MOUNTED_HINT: &str =
    "mount the disk at the directory above instead, the one with the name of the service";

/// Refuses a restore that is impossible, before anything is changed.
pub(super) fn check(paths: &Paths, facts: &Facts) -> anyhow::Result<()> {
    let mounted = mounted(paths, facts);
    if mounted.is_empty() {
        return Ok(());
    }
    let hint = format!("nothing was changed; {MOUNTED_HINT}");
    let failure = Failure::new(Exit::Invalid, describe(&mounted)).hint(hint);
    Err(failure.into())
}

/// Describes what a restore cannot do.
pub fn describe(mounted: &[PathBuf]) -> String {
    let names = mounted
        .iter()
        .map(|store| format!("`.data/{}`", store.display()));
    let names = names.collect::<Vec<_>>().join(", ");
    format!("a restore cannot exchange what is a mount by itself: {names}")
}

#[cfg(target_os = "linux")]
fn is_mount(path: &Path) -> io::Result<bool> {
    use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};
    let found = statx(
        CWD,
        path,
        AtFlags::SYMLINK_NOFOLLOW,
        StatxFlags::BASIC_STATS,
    )?;
    if found
        .stx_attributes_mask
        .contains(StatxAttributes::MOUNT_ROOT)
    {
        return Ok(found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT));
    }
    is_other_device(path)
}

#[cfg(not(target_os = "linux"))]
fn is_mount(path: &Path) -> io::Result<bool> {
    is_other_device(path)
}

/// Whether a path is on another device, which is visible on every system.
fn is_other_device(path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt as _;
    let Some(parent) = path.parent() else {
        return Ok(false);
    };
    Ok(fs::symlink_metadata(path)?.dev() != fs::metadata(parent)?.dev())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_told_from_a_directory() {
        let directory = tempfile::tempdir().unwrap();
        assert!(!is_mount(directory.path()).unwrap());
        // A mount that every system has.
        let mount = if cfg!(target_os = "linux") {
            "/proc"
        } else {
            "/dev"
        };
        assert!(is_mount(Path::new(mount)).unwrap());
        assert!(is_mount(&directory.path().join("nothing")).is_err());
        let text = describe(&["nats/jetstream".into()]);
        assert!(text.ends_with("`.data/nats/jetstream`"), "{text}");
    }

    /// Runs in its own namespace, where another directory is mounted over that of a service.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_bind_mount_of_the_same_disk_is_a_disk_of_its_own() {
        use std::process::Command;

        const MOUNTED: &str = "XTASK_TEST_MOUNTED";
        const NAME: &str =
            "operations::backup::disks::tests::a_bind_mount_of_the_same_disk_is_a_disk_of_its_own";
        if let Some(data) = std::env::var_os(MOUNTED) {
            exchanges(Path::new(&data));
            return;
        }
        let may = Command::new("unshare").args(["-rm", "true"]).output();
        if !may.is_ok_and(|may| may.status.success()) {
            // Namespaces are unavailable.
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data");
        fs::create_dir_all(data.join("pb")).unwrap();
        fs::create_dir_all(directory.path().join("disk/store")).unwrap();
        let script = "mount --bind \"$1/../disk\" \"$1/pb\" && exec \"$2\" --exact \"$3\"";
        let ran = Command::new("unshare")
            .args(["-rm", "sh", "-c", script, "sh"])
            .args([&data, &std::env::current_exe().unwrap()])
            .arg(NAME)
            .env(MOUNTED, &data)
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&ran.stdout);
        assert!(ran.status.success() && told.contains("1 passed"), "{ran:?}");
    }

    /// Moves a store aside and back.
    #[cfg(target_os = "linux")]
    fn exchanges(data: &Path) {
        let (store, aside) = (data.join("pb/store"), data.join("replaced-1"));
        assert!(is_mount(&data.join("pb")).unwrap());
        let direct = fs::rename(&store, data.join("store")).unwrap_err();
        assert_eq!(direct.kind(), ErrorKind::CrossesDevices);
        make_room(data, Path::new("pb"), &aside).unwrap();
        fs::rename(&store, aside.join("pb/store")).unwrap();
        assert!(data.join("pb/replaced-1/store").is_dir());
        remove_if_empty(&aside.join("pb"));
        fs::rename(aside.join("pb/store"), &store).unwrap();
        remove_if_empty(&aside.join("pb"));
        assert!(aside.join("pb").symlink_metadata().is_err());
        assert!(!data.join("pb/replaced-1").exists());
    }
}
