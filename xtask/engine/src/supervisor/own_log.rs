//! Limits the supervisor's own log: it grows with every start and end of a process, and
//! process-compose (1.120.0) does not rotate it. It is opened for appending, so after it is
//! emptied, writing continues at its beginning.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;

use kit::files;

use crate::checkout::logs;
use crate::checkout::paths::Paths;

/// Size at which it is emptied and its content becomes the older file. Some 15,000 restarts.
const SIZE_MAX: u64 = 8 << 20;

/// Keeps it below its limit. To be called regularly; a failure is retried at the next call.
pub fn bound(paths: &Paths) {
    let log = paths.supervisor_log();
    if logs::size(&log) > SIZE_MAX {
        let _ = turn(paths);
    }
}

fn turn(paths: &Paths) -> io::Result<()> {
    let old = paths.supervisor_log_before();
    match fs::remove_file(&old) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // Neither file may be a link that another program created.
    let mut log = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(no_links())
        .open(paths.supervisor_log())?;
    let mut kept = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(files::PRIVATE_FILE_MODE)
        .open(&old)?;
    io::copy(&mut log, &mut kept)?;
    log.set_len(0)
}

/// Returns the flag that refuses to open a link.
fn no_links() -> i32 {
    i32::try_from(rustix::fs::OFlags::NOFOLLOW.bits()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_is_too_large_begins_anew_below_its_writer() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(dir.path().to_owned());
        bound(&paths);
        fs::create_dir_all(paths.logs()).unwrap();
        let log = paths.supervisor_log();
        let mut writer = OpenOptions::new()
            .append(true)
            .create(true)
            .open(&log)
            .unwrap();
        let block = vec![b'x'; 1 << 20];
        for _ in 0..20 {
            writer.write_all(&block).unwrap();
            bound(&paths);
        }
        let both = [log.clone(), paths.supervisor_log_before()].map(|it| logs::size(&it));
        assert!(
            both.iter()
                .all(|size| (1..=SIZE_MAX + (1 << 20)).contains(size)),
            "{both:?}"
        );
        // The file has only text, and ends with the last of it.
        writer.write_all(b"END").unwrap();
        let text = fs::read(&log).unwrap();
        assert!(text.ends_with(b"xEND") && !text.contains(&0));
    }

    #[test]
    fn nothing_is_written_through_links() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(dir.path().to_owned());
        fs::create_dir_all(paths.logs()).unwrap();
        let victim = dir.path().join("victim");
        let size = usize::try_from(SIZE_MAX + 1).unwrap();
        fs::write(&victim, vec![b'x'; size]).unwrap();
        symlink(&victim, paths.supervisor_log()).unwrap();
        bound(&paths);
        assert_eq!(logs::size(&victim), SIZE_MAX + 1);
    }
}
