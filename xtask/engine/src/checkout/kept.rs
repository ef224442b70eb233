//! The program that started the stack, kept beside its state: `status`, `logs` and `down` of a
//! running stack need it when cargo cannot build or cannot even load the workspace.
//!
//! Owns `.core-stack/xtask`: a hard link, which costs nothing, and a copy only where a link is
//! impossible. Linkers replace a program rather than write into it, so a later build leaves the
//! link unchanged. Must not run it.

use std::env;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use anyhow::Context as _;

use crate::checkout::paths::Paths;

/// Prefix of its temporary name while it is written.
const UNFINISHED: &str = ".tmp-";

/// Our own program on Linux, even if its file was replaced since we started.
const RUNNING: &str = "/proc/self/exe";

/// Mode of the program, as cargo sets it. Only the owner can enter its directory.
const MODE: u32 = 0o755;

/// Keeps our program beside the state, unless it is there. The caller holds the operation lock.
pub fn keep(paths: &Paths) -> anyhow::Result<()> {
    let kept = paths.kept();
    let own = env::current_exe().context("cannot find our own program")?;
    keep_program(&own, &kept).with_context(|| format!("cannot keep `{}`", kept.display()))
}

/// Removes the kept program.
pub fn forget(paths: &Paths) {
    let _ = fs::remove_file(paths.kept());
}

fn keep_program(own: &Path, kept: &Path) -> io::Result<()> {
    if is_kept(own, kept) {
        return Ok(());
    }
    let directory = kept.parent().unwrap_or(Path::new("."));
    let mut unfinished = tempfile::Builder::new();
    let unfinished = unfinished.prefix(UNFINISHED);
    if let Ok(link) = unfinished.make_in(directory, |path| fs::hard_link(own, path)) {
        link.persist(kept).map_err(|error| error.error)?;
        return Ok(());
    }
    // The state is on another file system, or our file was removed.
    let source = [own, Path::new(RUNNING)]
        .into_iter()
        .find(|path| path.exists())
        .unwrap_or(own);
    let copy = unfinished.tempfile_in(directory)?;
    fs::copy(source, copy.path())?;
    let file: &File = copy.as_file();
    file.set_permissions(fs::Permissions::from_mode(MODE))?;
    file.set_modified(fs::metadata(source)?.modified()?)?;
    copy.persist(kept).map_err(|error| error.error)?;
    Ok(())
}

/// Whether the kept program is our own: the same file, or a copy of the same size and time.
fn is_kept(own: &Path, kept: &Path) -> bool {
    // A symbolic link in its place leads to a foreign file.
    let (Ok(own), Ok(kept)) = (fs::metadata(own), fs::symlink_metadata(kept)) else {
        return false;
    };
    let same_file = (own.dev(), own.ino()) == (kept.dev(), kept.ino());
    same_file || kept.is_file() && (own.size(), own.mtime()) == (kept.size(), kept.mtime())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn it_is_a_link_and_follows_a_new_build() {
        let dir = tempfile::tempdir().unwrap();
        let (own, kept) = (dir.path().join("own"), dir.path().join("xtask"));
        fs::write(&own, "one").unwrap();
        keep_program(&own, &kept).unwrap();
        let inode = |path: &Path| fs::symlink_metadata(path).unwrap().ino();
        assert_eq!(inode(&own), inode(&kept));
        keep_program(&own, &kept).unwrap();
        // Linkers replace the file in this way.
        fs::remove_file(&own).unwrap();
        fs::write(&own, "another").unwrap();
        assert_eq!(fs::read_to_string(&kept).unwrap(), "one");
        keep_program(&own, &kept).unwrap();
        assert_eq!(inode(&own), inode(&kept));
        // A link is neither read nor written through.
        fs::remove_file(&kept).unwrap();
        symlink(&own, &kept).unwrap();
        keep_program(&own, &kept).unwrap();
        assert!(!kept.is_symlink());
        let names = fs::read_dir(dir.path()).unwrap().count();
        assert_eq!(names, 2, "nothing unfinished stays");
    }

    #[test]
    fn a_copy_is_made_once() {
        let dir = tempfile::tempdir().unwrap();
        let kept = dir.path().join("xtask");
        let own = dir.path().join("own");
        fs::write(&own, "text").unwrap();
        let modified = fs::metadata(&own).unwrap().modified().unwrap();
        fs::copy(&own, &kept).unwrap();
        let copy = File::options().write(true).open(&kept).unwrap();
        copy.set_modified(modified).unwrap();
        assert!(is_kept(&own, &kept));
        copy.set_modified(modified - std::time::Duration::from_secs(5))
            .unwrap();
        assert!(!is_kept(&own, &kept));
    }
}
