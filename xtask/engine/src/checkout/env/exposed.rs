//! Warns about an `.env` with secrets that other users can read: `up` does once per change of the
//! file, `doctor` always.
//!
//! Owns the note of the last warning. Reports names, must never show values.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::Duration;

use kit::files;

use super::input;
use crate::checkout::paths::Paths;
use crate::plan::stack::Service;

/// Parts of a variable's name that mark it as a secret, whatever uses it.
const SECRET_WORDS: [&str; 6] = [
    "PASSWORD",
    "PASSWD",
    "SECRET",
    "TOKEN",
    "CREDENTIAL",
    "PRIVATE_KEY",
];

/// How long the writer of an `.env` that is a pipe may take.
const PIPE_WAIT: Duration = Duration::from_secs(2);

/// Mode bits that give others than the owner any access.
pub const OTHERS: u32 = 0o077;

/// Mode bits that let others than the owner read the file.
const READABLE: u32 = 0o044;

/// Returns the warning, unless it was given for this very file. The caller changes the instance.
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
    // The warning is given even if the note cannot be written.
    let _ = files::create_private_dir(&paths.state());
    let _ = files::write_for_this_run(&note, stamp.as_bytes(), files::PRIVATE_FILE_MODE);
    let names = exposed.join(", ");
    Some(format!(
        "other users can read {names} in `.env`; `chmod 600 .env` keeps it to yourself"
    ))
}

/// The present state of `.env`.
pub struct Dotenv {
    /// Its permissions.
    pub mode: u32,
    /// The names of its variables, as far as its lines can be parsed.
    pub names: Vec<String>,
}

impl Dotenv {
    /// Reads the file; `None` if it is missing.
    pub fn look(path: &Path) -> io::Result<Option<Self>> {
        let meta = match fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            meta => meta?,
        };
        let text = String::from_utf8_lossy(&input::read(path, PIPE_WAIT)?).into_owned();
        Ok(Some(Self {
            mode: meta.permissions().mode() & 0o7777,
            names: names(&text),
        }))
    }

    /// Returns the variables that hold secrets, if others may read them.
    pub fn exposed(&self, secrets: &BTreeSet<String>) -> Vec<&str> {
        let is_secret = |name: &&String| {
            let name = name.to_ascii_uppercase();
            secrets.contains(&name) || SECRET_WORDS.iter().any(|word| name.contains(word))
        };
        let exposed = self.names.iter().filter(is_secret);
        let exposed = exposed.filter(|_| self.mode & OTHERS != 0);
        exposed.map(String::as_str).collect()
    }
}

/// Returns what is before `=`: also works on a file that cannot be parsed.
fn names(text: &str) -> Vec<String> {
    let name = |line: &str| {
        let (name, _) = line.split_once('=')?;
        let name = name.trim().trim_start_matches("export ").trim();
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        (!name.is_empty() && name.chars().all(plain)).then(|| name.to_owned())
    };
    text.lines().filter_map(name).collect()
}

/// Returns the variables that manifests use in secrets of a process.
pub fn secret_variables(services: &[Service]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for service in services {
        let process = &service.document.manifest.process;
        for value in process
            .secrets
            .iter()
            .filter_map(|name| process.env.get(name))
        {
            for rest in value.split("${env.").skip(1) {
                let plain = |c: &char| c.is_ascii_alphanumeric() || *c == '_';
                found.insert(rest.chars().take_while(plain).collect());
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;

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
