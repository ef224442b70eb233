//! Warns about an `.env`, or a file that a manifest names, with secrets that other users can read:
//! `up` does once per change of the files, `doctor` about `.env` always.
//!
//! Owns the note of the last warning. Reports names, must never show values.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
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

/// Returns a warning for each file, unless they were given for these very files. The caller changes
/// the instance.
pub(crate) fn warnings(paths: &Paths, services: &[Service]) -> Vec<String> {
    let files = readable(paths, services);
    if files.is_empty() {
        return Vec::new();
    }
    let stamp: String = files.iter().map(|file| file.stamp.as_str()).collect();
    let note = paths.dotenv_note();
    if fs::read_to_string(&note).is_ok_and(|said| said == stamp) {
        return Vec::new();
    }
    let secrets = secret_variables(services);
    let warnings = files.iter().filter_map(|file| {
        let dotenv = Dotenv::look(&file.path).ok()??;
        let exposed = dotenv.exposed(&secrets);
        let (names, shown) = (exposed.join(", "), &file.shown);
        let message = format!(
            "other users can read {names} in `{shown}`; `chmod 600 {shown}` keeps it to yourself"
        );
        (!exposed.is_empty()).then_some(message)
    });
    let warnings: Vec<String> = warnings.collect();
    if !warnings.is_empty() {
        // The warnings are given even if the note cannot be written.
        let _ = files::create_private_dir(&paths.state());
        let _ = files::write_for_this_run(&note, stamp.as_bytes(), files::PRIVATE_FILE_MODE);
    }
    warnings
}

/// A file with variables that others can read.
struct Readable {
    shown: String,
    path: PathBuf,
    /// Its state, which is another one after any change.
    stamp: String,
}

/// Returns `.env` and the files that manifests name, as far as others can read them.
fn readable(paths: &Paths, services: &[Service]) -> Vec<Readable> {
    let named = services.iter().flat_map(|service| &service.env_files);
    let named: BTreeSet<&str> = named.map(|file| file.path.as_str()).collect();
    let dotenv = (".env".to_owned(), paths.dotenv());
    let named = named.into_iter();
    let named = named.map(|path| (path.to_owned(), paths.root().join(path)));
    let look = |(shown, path): (String, PathBuf)| {
        let meta = fs::metadata(&path).ok()?;
        let is_readable = meta.is_file() && meta.mode() & READABLE != 0;
        let stamp = format!(
            "{} {} {}.{}\n",
            meta.ino(),
            meta.mode(),
            meta.ctime(),
            meta.ctime_nsec()
        );
        is_readable.then_some(Readable { shown, path, stamp })
    };
    [dotenv].into_iter().chain(named).filter_map(look).collect()
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

/// Returns the variables that manifests use in secrets.
pub fn secret_variables(services: &[Service]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for service in services {
        let manifest = &service.document.manifest;
        let process = &manifest.process;
        let values = process
            .secrets
            .iter()
            .filter_map(|name| process.env.get(name));
        for value in values.chain(manifest.secret_exports.values()) {
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
    use crate::plan::env::file::EnvFile;
    use std::collections::BTreeMap;
    use std::fs::Permissions;

    #[test]
    fn it_is_said_once_for_each_change() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(dir.path().to_path_buf());
        let write = |text: &str, mode: u32| {
            fs::write(paths.dotenv(), text).unwrap();
            fs::set_permissions(paths.dotenv(), Permissions::from_mode(mode)).unwrap();
        };
        assert_eq!(warnings(&paths, &[]), [""; 0]);
        write("MY_PASSWORD=hunter2\nB=1\n", 0o644);
        let told = warnings(&paths, &[]).concat();
        assert!(
            told.contains("MY_PASSWORD") && !told.contains("hunter2"),
            "{told}"
        );
        assert_eq!(warnings(&paths, &[]), [""; 0], "it was said");
        write("MY_PASSWORD=hunter3\n", 0o640);
        assert_eq!(warnings(&paths, &[]).len(), 1);
        write("MY_PASSWORD=hunter3\n", 0o600);
        assert_eq!(warnings(&paths, &[]), [""; 0]);
        write("B=1\n", 0o644);
        assert_eq!(warnings(&paths, &[]), [""; 0], "there is no secret in it");
    }
    #[test]
    fn files_of_manifests_are_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(dir.path().to_path_buf());
        let text = r#"{"process": {"command": "x", "env_file": ["a", "b"]}}"#;
        let mut service = Service::parse("one", text).unwrap();
        for (name, mode) in [("a", 0o644), ("b", 0o600)] {
            let path = dir.path().join(name);
            fs::write(&path, "API_TOKEN=hush\nPLAIN=1\n").unwrap();
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let file = EnvFile::of_values(name, &BTreeMap::new());
            service.env_files.push(file);
        }
        let services = [service];
        let told = warnings(&paths, &services);
        let expected = "other users can read API_TOKEN in `a`; `chmod 600 a` keeps it to yourself";
        assert_eq!(told, [expected]);
        assert_eq!(warnings(&paths, &services), [""; 0], "it was said");
    }
}
