//! Detection of a full disk: servers often report only an unspecific error.
//!
//! Only reads. Must not judge whether a failure comes from it: both are reported together.

use std::path::Path;

use rustix::fs::statvfs;

/// Less free space counts as full: databases write whole pages, and a journal before them.
const ROOM_MIN: u64 = 1024 * 1024;

/// Returns what is short on the disk of `path` (which need not exist), without a full stop.
pub fn shortage(path: &Path) -> Option<String> {
    let place = path.ancestors().find(|place| place.exists())?;
    let found = statvfs(place).ok()?;
    let room = found.f_bavail.saturating_mul(found.f_frsize);
    judge(
        path,
        (found.f_blocks, room),
        (found.f_files, found.f_favail),
    )
}

/// Judges pairs of total and free: blocks and their bytes, and files. A file system that reports a
/// total of 0 does not count them.
fn judge(path: &Path, blocks: (u64, u64), files: (u64, u64)) -> Option<String> {
    let shown = path.display();
    match (blocks, files) {
        ((1.., room), _) if room < ROOM_MIN => {
            Some(format!("the disk of `{shown}` is full ({room} bytes left)"))
        }
        (_, (1.., 0)) => Some(format!(
            "the disk of `{shown}` has no room for another file"
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_disks() {
        let judged = |blocks, files| judge(Path::new("/data"), blocks, files);
        let full = "the disk of `/data` is full (4096 bytes left)";
        assert_eq!(judged((1000, 4096), (10, 5)).as_deref(), Some(full));
        let files = "the disk of `/data` has no room for another file";
        assert_eq!(judged((1000, ROOM_MIN), (10, 0)).as_deref(), Some(files));
        assert_eq!(judged((1000, ROOM_MIN), (10, 1)), None);
        // As `/proc` reports it, and file systems that create inodes on demand.
        assert_eq!(judged((0, 0), (0, 0)), None);
        assert_eq!(judged((1000, ROOM_MIN), (0, 0)), None);
    }

    #[test]
    fn what_does_not_exist_yet_is_on_the_disk_of_its_parent() {
        let dir = tempfile::tempdir().unwrap();
        let here = shortage(dir.path()).is_some();
        assert_eq!(shortage(&dir.path().join("a/b")).is_some(), here);
    }
}
