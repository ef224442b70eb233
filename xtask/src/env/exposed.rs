//! An `.env` with secrets that other users can read: said once for each change of the file, by
//! `up`; `doctor` says it always.
//!
//! Owns the note of what was said. Names are told, values never.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use kit::files;

use crate::doctor::{Dotenv, secret_variables};
use crate::paths::Paths;
use crate::stack::Service;

/// Bits of a file's mode by which others than the owner may read it.
const READABLE: u32 = 0o044;

/// The sentence, unless it was said of this very file. The caller changes the instance.
pub(crate) fn warning(paths: &Paths, services: &[Service]) -> Option<String> {
    let path = paths.dotenv();
    let meta = fs::metadata(&path).ok()?;
    if !meta.is_file() || meta.mode() & READABLE == 0 {
        return None;
    }
    let stamp = format!(
        "{} {} {}.{}\n",
        meta.ino(),
        meta.mode(),
        meta.ctime(),
        meta.ctime_nsec()
    );
    let note = paths.dotenv_note();
    if fs::read_to_string(&note).is_ok_and(|said| said == stamp) {
        return None;
    }
    let dotenv = Dotenv::look(&path).ok()??;
    let exposed = dotenv.exposed(&secret_variables(services));
    if exposed.is_empty() {
        return None;
    }
    // Not being able to note it is no reason not to say it.
    let _ = files::create_private_dir(&paths.state());
    let _ = files::write_for_this_run(&note, stamp.as_bytes(), files::PRIVATE_FILE_MODE);
    let names = exposed.join(", ");
    Some(format!(
        "other users can read {names} in `.env`; `chmod 600 .env` keeps it to yourself"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn it_is_said_once_for_each_change() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(dir.path().to_path_buf());
        let write = |text: &str, mode: u32| {
            fs::write(paths.dotenv(), text).unwrap();
            fs::set_permissions(paths.dotenv(), Permissions::from_mode(mode)).unwrap();
        };
        assert_eq!(warning(&paths, &[]), None);
        write("MY_PASSWORD=hunter2\nB=1\n", 0o644);
        let told = warning(&paths, &[]).unwrap();
        assert!(
            told.contains("MY_PASSWORD") && !told.contains("hunter2"),
            "{told}"
        );
        assert_eq!(warning(&paths, &[]), None, "it was said");
        write("MY_PASSWORD=hunter3\n", 0o640);
        assert!(warning(&paths, &[]).is_some());
        write("MY_PASSWORD=hunter3\n", 0o600);
        assert_eq!(warning(&paths, &[]), None);
        write("B=1\n", 0o644);
        assert_eq!(warning(&paths, &[]), None, "there is no secret in it");
    }
}
