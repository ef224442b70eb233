//! Whether the running programs are the installed ones: the supervisor does not notice when a
//! program is replaced under the same path.
//!
//! Must not signal any process.

#[cfg(not(target_os = "linux"))]
pub use age::outdated;
#[cfg(target_os = "linux")]
pub use proc::outdated;

/// Linux: `/proc` shows the file that a process was started from, and still has its bytes.
#[cfg(target_os = "linux")]
mod proc {
    use std::collections::{BTreeMap, BTreeSet};
    use std::fs;
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::fs::MetadataExt as _;
    use std::path::Path;

    use anyhow::Context as _;
    use kit::process::Process;

    use crate::base::digest;
    use crate::plan::binaries::Installed;
    use crate::plan::stack::Stack;
    use crate::supervisor::state::States;

    /// Suffix that the kernel adds to the path of a program whose file was removed.
    const GONE: &[u8] = b" (deleted)";

    /// Maximum of generations between a server and the process that the supervisor knows.
    const MAX_GENERATIONS: usize = 8;

    /// Returns processes that run another program than installed, themselves or below them.
    pub fn outdated(
        _stack: &Stack,
        installed: &BTreeMap<String, Installed>,
        states: &States,
    ) -> anyhow::Result<BTreeSet<String>> {
        let running = states.values().filter(|state| state.is_running);
        let known: BTreeMap<i32, &String> = running.map(|state| (state.pid, &state.name)).collect();
        let mut found = BTreeSet::new();
        for entry in fs::read_dir("/proc").context("cannot list processes")? {
            let name = entry.context("cannot list processes")?.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else {
                continue;
            };
            if let Some(binary) = program(pid, installed)
                && let Some(process) = owner(pid, &known)
                && runs_another(pid, binary)
            {
                found.insert(process.clone());
            }
        }
        Ok(found)
    }

    /// Returns the installed binary under whose path a process was started.
    fn program(pid: i32, installed: &BTreeMap<String, Installed>) -> Option<&Installed> {
        let path = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
        let path = path.as_os_str().as_bytes();
        let path = path.strip_suffix(GONE).unwrap_or(path);
        let path = Path::new(std::ffi::OsStr::from_bytes(path));
        let binary = installed.get(path.file_name()?.to_str()?)?;
        // The kernel's path contains no links.
        (fs::canonicalize(&binary.path).ok()? == path).then_some(binary)
    }

    /// Returns the process of the stack that this one is or descends from.
    fn owner<'a>(mut pid: i32, known: &BTreeMap<i32, &'a String>) -> Option<&'a String> {
        for _ in 0..MAX_GENERATIONS {
            if let Some(name) = known.get(&pid) {
                return Some(name);
            }
            pid = Process::read(pid)?.parent;
        }
        None
    }

    /// Whether the bytes differ: another file may have the same ones after a download or a build.
    fn runs_another(pid: i32, binary: &Installed) -> bool {
        let running = Path::new("/proc").join(pid.to_string()).join("exe");
        let file = |path: &Path| fs::metadata(path).map(|meta| (meta.dev(), meta.ino())).ok();
        file(&running) != file(&binary.path)
            && digest::of_file(&running).is_ok_and(|digest| digest != binary.sha256)
    }

    #[cfg(test)]
    mod tests {
        use std::process::{Command, Stdio};

        use super::*;
        use crate::plan::stack::fixture;
        use crate::supervisor::state::State;

        fn outdated_below(pid: u32, binary: &Installed) -> BTreeSet<String> {
            let state = State {
                pid: i32::try_from(pid).unwrap(),
                ..State::sample("Running")
            };
            let states = [("x".to_owned(), state)];
            let installed = [("server".to_owned(), binary.clone())];
            outdated(&fixture::stack([]), &installed.into(), &states.into()).unwrap()
        }

        #[test]
        fn a_server_that_was_replaced_is_told_by_its_bytes() {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("server");
            fs::copy("/bin/sleep", &path).unwrap();
            let mut binary = Installed {
                path: path.clone(),
                version: None,
                sha256: digest::of_file(&path).unwrap(),
                source: "archive".to_owned(),
            };
            // The supervisor knows the shell; the server is its child.
            let script = r#""$0" 60 & read -r _; kill $!"#;
            let mut shell = Command::new("/bin/sh")
                .args(["-c", script])
                .arg(&path)
                .stdin(Stdio::piped())
                .spawn()
                .unwrap();
            let pid = shell.id();
            let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
            let children = || fs::read_dir("/proc").unwrap().flatten();
            let started = || {
                children().any(|entry| {
                    fs::read_link(entry.path().join("exe")).is_ok_and(|exe| exe == path)
                })
            };
            while !started() {
                assert!(std::time::Instant::now() < deadline, "the server starts");
                std::thread::yield_now();
            }
            assert!(
                outdated_below(pid, &binary).is_empty(),
                "it is the installed one"
            );

            fs::remove_file(&path).unwrap();
            fs::copy("/bin/sleep", &path).unwrap();
            assert!(outdated_below(pid, &binary).is_empty(), "the same bytes");

            fs::remove_file(&path).unwrap();
            fs::write(&path, "another program").unwrap();
            binary.sha256 = digest::of_file(&path).unwrap();
            assert_eq!(outdated_below(pid, &binary), ["x".to_owned()].into());

            drop(shell.stdin.take());
            shell.wait().unwrap();
            assert!(
                outdated_below(pid, &binary).is_empty(),
                "nothing runs any more"
            );
        }
    }
}

/// Other systems: a process is outdated if its program was installed after it had started.
#[cfg(not(target_os = "linux"))]
mod age {
    use std::collections::{BTreeMap, BTreeSet};
    use std::path::Path;
    use std::time::{Duration, SystemTime};

    use crate::plan::binaries::Installed;
    use crate::plan::stack::{Process, Stack};
    use crate::supervisor::state::{State, States};

    /// Returns the processes whose command or environment names a program newer than they are.
    pub fn outdated(
        stack: &Stack,
        installed: &BTreeMap<String, Installed>,
        states: &States,
    ) -> anyhow::Result<BTreeSet<String>> {
        let now = SystemTime::now();
        let mut found = BTreeSet::new();
        for (name, process) in &stack.processes {
            let started = states.get(name).and_then(|state| started(state, now));
            let newest = installed
                .iter()
                .filter(|(binary, _)| names(process, binary))
                .filter_map(|(_, binary)| binary.path.metadata().ok()?.modified().ok())
                .max();
            if started
                .zip(newest)
                .is_some_and(|(started, newest)| started < newest)
            {
                found.insert(name.clone());
            }
        }
        Ok(found)
    }

    fn started(state: &State, now: SystemTime) -> Option<SystemTime> {
        let age = Duration::from_nanos(u64::try_from(state.age).ok()?);
        now.checked_sub(age).filter(|_| state.is_running)
    }

    fn names(process: &Process, binary: &str) -> bool {
        let path = Path::new(".dep").join(binary);
        let values = process.env.values().map(|value| &value.text);
        values
            .chain(process.command.first())
            .any(|word| Path::new(word).ends_with(&path))
    }
}
