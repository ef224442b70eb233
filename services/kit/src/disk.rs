//! Whether a disk is full: servers often only say that something went wrong.
//!
//! Only looks. Must not judge whether a failure comes from it: it is named beside the failure.

use std::path::Path;

use rustix::fs::statvfs;

/// Less than this is full: databases write whole pages, and a journal of them first.
const ROOM_MIN: u64 = 1024 * 1024;

/// What is short on the disk that `path` is on, or will be, as a sentence without a stop.
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

/// Each pair is how many there are and how much of them, or of their bytes, is left. A file system
/// that has none of a kind does not count it.
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
        // As `/proc` says it, and file systems that make files as they need them.
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
