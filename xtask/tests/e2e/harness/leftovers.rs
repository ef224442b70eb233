//! The proof that no process of a sandbox is left.

use std::fs;
use std::net::TcpStream;
use std::path::Path;

use super::ports;

/// Returns a description of everything that is left of the sandbox in `dir`; empty if nothing.
pub(super) fn find(dir: &Path, ports: &[(String, u16)]) -> Vec<String> {
    let mut left = processes(dir);
    for (name, port) in ports {
        if TcpStream::connect(("127.0.0.1", *port)).is_ok() || !ports::is_free(*port) {
            left.push(format!("port {port} ({name}) is still listened on"));
        }
    }
    sockets(dir, &mut left);
    left
}

/// Returns processes that run in the sandbox, name it in arguments or environment, or have one of
/// its files open, above all its alive lock.
#[cfg(target_os = "linux")]
fn processes(dir: &Path) -> Vec<String> {
    let path = dir.to_string_lossy().into_owned();
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    let holds = |bytes: &[u8]| String::from_utf8_lossy(bytes).contains(&path);
    let mut left = Vec::new();
    for process in super::processes::all()
        .into_iter()
        .filter(|process| process.pid != own)
    {
        let proc = format!("/proc/{}", process.pid);
        let cwd = fs::read_link(format!("{proc}/cwd")).unwrap_or_default();
        let environment = fs::read(format!("{proc}/environ")).unwrap_or_default();
        let files = fs::read_dir(format!("{proc}/fd"))
            .into_iter()
            .flatten()
            .flatten();
        let files = files.filter_map(|file| fs::read_link(file.path()).ok());
        let how = if cwd.starts_with(dir) {
            "runs in it"
        } else if process.line.contains(&path) {
            "names it in its arguments"
        } else if holds(&environment) {
            "names it in its environment"
        } else if files.into_iter().any(|file| file.starts_with(dir)) {
            "has a file of it open"
        } else {
            continue;
        };
        left.push(format!("process {} `{}` {how}", process.pid, process.line));
    }
    left
}

#[cfg(not(target_os = "linux"))]
fn processes(dir: &Path) -> Vec<String> {
    let path = dir.to_string_lossy().into_owned();
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    let named = super::processes::all().into_iter();
    named
        .filter(|process| process.pid != own && process.line.contains(&path))
        .map(|process| format!("process {} `{}`", process.pid, process.line))
        .collect()
}

/// Finds socket files below `dir`.
fn sockets(dir: &Path, left: &mut Vec<String>) {
    use std::os::unix::fs::FileTypeExt as _;
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let Ok(kind) = entry.file_type() else {
            continue;
        };
        if kind.is_dir() {
            sockets(&entry.path(), left);
        } else if kind.is_socket() {
            left.push(format!("socket file `{}`", entry.path().display()));
        }
    }
}

/// Kills what a failed test left, so that it does not affect other tests.
pub(super) fn kill(dir: &Path) {
    for text in processes(dir) {
        let pid = text
            .strip_prefix("process ")
            .and_then(|text| text.split(' ').next());
        if let Some(pid) = pid
            .and_then(|pid| pid.parse().ok())
            .and_then(rustix::process::Pid::from_raw)
        {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}
