//! The states of the inputs of builds: while they are equal, contents need not be read again.
//!
//! Owns `.dep/.records/NAME.inputs`, which is written only when the contents were read and found to
//! be those of the build. It can be deleted at any time. A file that changed just now could change
//! again without another state, as times are coarse: then nothing is written.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sha2::{Digest as _, Sha256};

use engine::base::digest::hex;
use engine::plan::env::Env;

/// How old the last change of a file must be: more than the 2 s by which FAT counts time.
const SETTLED: Duration = Duration::from_secs(3);
/// The file is no secret.
const MODE: u32 = 0o644;

/// The states of files, each read once, and before their contents.
pub(super) struct States<'a> {
    root: &'a Path,
    /// Whether equal states are trusted.
    trusted: bool,
    /// Seconds since 1970: what changed later has not settled.
    settled_until: i64,
    seen: RefCell<HashMap<String, Seen>>,
}

/// One file.
struct Seen {
    state: String,
    has_settled: bool,
}

/// The states of the inputs of one build, and the file of those that were recorded.
pub(super) struct Inputs {
    file: PathBuf,
    stamp: String,
    has_settled: bool,
}

impl<'a> States<'a> {
    pub(super) fn new(root: &'a Path, env: &Env) -> Self {
        let until = SystemTime::now() - SETTLED;
        let seconds = until.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            root,
            trusted: env.non_empty(launcher::ALWAYS).is_none(),
            settled_until: i64::try_from(seconds.as_secs()).unwrap_or_default(),
            seen: RefCell::default(),
        }
    }

    /// Returns the states of the inputs of the build with this `digest` of its contents; `None`
    /// when they are not to be trusted.
    pub(super) fn of(&self, digest: &str, inputs: &[String], file: PathBuf) -> Option<Inputs> {
        if !self.trusted {
            return None;
        }
        let mut hasher = Sha256::new();
        hasher.update(digest);
        let mut has_settled = true;
        let mut seen = self.seen.borrow_mut();
        for input in inputs {
            if !seen.contains_key(input) {
                seen.insert(input.clone(), self.look(input));
            }
            let one = &seen[input];
            has_settled &= one.has_settled;
            hasher.update(format!("\n{input}\t{}", one.state));
        }
        Some(Inputs {
            file,
            stamp: hex(&hasher.finalize()),
            has_settled,
        })
    }

    fn look(&self, input: &str) -> Seen {
        let meta = fs::metadata(self.root.join(input)).ok();
        let changed = |meta: &Metadata| meta.mtime().max(meta.ctime());
        Seen {
            state: launcher::state(meta.as_ref()),
            has_settled: meta.is_none_or(|meta| changed(&meta) < self.settled_until),
        }
    }
}

impl Inputs {
    /// Whether they are as they were when the contents were compared.
    pub(super) fn are_recorded(&self) -> bool {
        fs::read_to_string(&self.file).is_ok_and(|text| text == self.stamp)
    }

    /// Records that the contents, which were read after the states, are those of the build.
    pub(super) fn record(&self) {
        if self.has_settled {
            // Without it, contents are compared again.
            let bytes = self.stamp.as_bytes();
            let _ = kit::files::write_for_this_run(&self.file, bytes, MODE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the states of `inputs` when everything has settled.
    fn settled(root: &Path, digest: &str, inputs: &[&str]) -> Inputs {
        let mut states = States::new(root, &Env::default());
        states.settled_until = i64::MAX;
        let inputs = inputs.iter().map(|input| (*input).to_owned());
        let inputs: Vec<String> = inputs.collect();
        states.of(digest, &inputs, root.join("record")).unwrap()
    }

    #[test]
    fn what_changed_just_now_is_not_recorded() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a"), "1").unwrap();
        let states = States::new(dir.path(), &Env::default());
        let record = dir.path().join("record");
        let inputs = states.of("digest", &["a".to_owned()], record.clone());
        let inputs = inputs.unwrap();
        inputs.record();
        assert!(!record.exists() && !inputs.are_recorded());
    }

    #[test]
    fn any_change_of_a_file_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a");
        fs::write(&file, "1").unwrap();
        let inputs = ["a", "absent"];
        settled(dir.path(), "digest", &inputs).record();
        let are_recorded =
            |digest: &str, inputs: &[&str]| settled(dir.path(), digest, inputs).are_recorded();
        assert!(are_recorded("digest", &inputs));
        assert!(!are_recorded("other", &inputs));
        assert!(!are_recorded("digest", &inputs[..1]));

        // Another content of the same length, at the same time, in the same file.
        let modified = fs::metadata(&file).unwrap().modified().unwrap();
        let opened = fs::File::options().write(true).open(&file).unwrap();
        let changed = || fs::metadata(&file).map(|meta| (meta.ctime(), meta.ctime_nsec()));
        let before = changed().unwrap();
        while changed().unwrap() == before {
            fs::write(&file, "2").unwrap();
            opened.set_modified(modified).unwrap();
        }
        assert!(!are_recorded("digest", &inputs));

        settled(dir.path(), "digest", &inputs).record();
        fs::write(dir.path().join("absent"), "").unwrap();
        assert!(!are_recorded("digest", &inputs));
    }

    #[test]
    fn nothing_is_trusted_when_told_so() {
        let dir = tempfile::tempdir().unwrap();
        let env = Env::from_pairs([(launcher::ALWAYS, "1")]);
        let states = States::new(dir.path(), &env);
        assert!(
            states
                .of("digest", &[], dir.path().join("record"))
                .is_none()
        );
    }
}
