//! Checks of the machine: the address of `localhost`, the limit of open files, free space, times of
//! files.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, SystemTime};

use rustix::process::{Resource, getrlimit};

use super::check::{Check, Id};
use super::scene::Scene;
use engine::plan::env::Env;

/// How long a name may take to be resolved: this one is in a file of the machine.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(2);

/// Below this limit, the first clients cannot connect: measured, process-compose has 24 open files
/// and PocketBase 21 without any request.
const FILES_MIN: u64 = 64;

/// Below this limit, some hundred clients are too many. Each is a file, and PocketBase keeps up to
/// 140 `SQLite` connections (120 for data, 20 for logs, its defaults) of 2 or 3 files each.
const FILES_GOOD: u64 = 4096;

/// Below this, the next write fails.
const ROOM_MIN: u64 = 64 << 20;

/// Below this, `JetStream` refuses streams of usual size.
const ROOM_GOOD: u64 = 1 << 30;

/// The part of the free space that `JetStream` takes as its limit when it starts, in quarters: the
/// rule of nats-server for a configuration without `max_file_store`.
const JETSTREAM_QUARTERS: u64 = 3;

/// How far in the future a file's time may be: clocks of network file systems differ.
const FUTURE_MAX: Duration = Duration::from_mins(1);

/// How many files of `.data` are checked, and down to which depth.
const FILES_LOOKED_AT: usize = 10_000;
const DEPTH: usize = 4;

pub(super) fn check(scene: &Scene<'_>) -> Vec<Check> {
    let data = scene.paths().data();
    let future = in_the_future(&data, SystemTime::now());
    let future = future.map(|(path, ahead)| (scene.shown(&path), ahead));
    vec![
        judge_localhost(localhost().as_deref()),
        judge_files(getrlimit(Resource::Nofile).maximum),
        judge_room(room(&data)),
        judge_times(future),
        judge_variables(&supervisor_variables(&Env::of_process())),
    ]
}

/// Returns the addresses of `localhost`, in order; `None` when that takes too long.
fn localhost() -> Option<Vec<IpAddr>> {
    let (sender, receiver) = mpsc::channel();
    // A look-up that hangs cannot be stopped: its thread ends with our process.
    let looking = thread::Builder::new().spawn(move || {
        let found = ("localhost", 0).to_socket_addrs();
        let found = found.map(|found| found.map(|address| address.ip()).collect());
        let _ = sender.send(found.unwrap_or_default());
    });
    looking.ok()?;
    receiver.recv_timeout(LOOKUP_TIMEOUT).ok()
}

pub(super) fn judge_localhost(addresses: Option<&[IpAddr]>) -> Check {
    let id = Id::Localhost;
    let fix = "put a line into /etc/hosts: 127.0.0.1 localhost";
    let Some(addresses) = addresses else {
        let found = format!("`localhost` is not looked up within {LOOKUP_TIMEOUT:?}");
        return Check::warning(id, found).fix(fix);
    };
    let known = [
        IpAddr::from(Ipv4Addr::LOCALHOST),
        Ipv6Addr::LOCALHOST.into(),
    ];
    let all: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    let all = all.join(", ");
    if addresses.is_empty() {
        Check::warning(id, "`localhost` cannot be looked up").fix(fix)
    } else if addresses.iter().any(|address| !known.contains(address)) {
        Check::warning(
            id,
            format!("`localhost` means {all}: not this machine alone"),
        )
        .fix(fix)
    } else if !addresses.contains(&known[0]) {
        let found = "`localhost` means ::1 alone, and everything listens on 127.0.0.1";
        Check::warning(id, found).fix(fix)
    } else if addresses[0].is_ipv6() {
        let found = "`localhost` means ::1 first: a client that tries no second address fails";
        Check::info(id, found).fix("use 127.0.0.1 in addresses")
    } else {
        Check::ok(id, format!("`localhost` means {all}"))
    }
}

/// Judges the hard `limit`, to which Go programs raise their own; `None` is no limit.
pub(super) fn judge_files(limit: Option<u64>) -> Check {
    let id = Id::FdLimit;
    let fix = format!("raise the hard limit of open files to {FILES_GOOD} or more: `ulimit -Hn`");
    match limit {
        None => Check::ok(id, "no limit of open files"),
        Some(limit) if limit < FILES_MIN => {
            let found =
                format!("{limit} open files at most: servers need some {FILES_MIN} for themselves");
            Check::error(id, found).fix(fix)
        }
        Some(limit) if limit < FILES_GOOD => {
            let found = format!("{limit} open files at most: too few for some hundred clients");
            Check::warning(id, found).fix(fix)
        }
        Some(limit) => Check::ok(id, format!("{limit} open files at most")),
    }
}

/// Returns the free bytes where `data` is or will be.
fn room(data: &Path) -> Option<u64> {
    let place = data.ancestors().find(|place| place.exists())?;
    let found = rustix::fs::statvfs(place).ok()?;
    Some(found.f_bavail.saturating_mul(found.f_frsize))
}

pub(super) fn judge_room(room: Option<u64>) -> Check {
    let id = Id::DiskSpace;
    let Some(room) = room else {
        return Check::skipped(id, "the file system does not tell");
    };
    let megabytes = room / 1_000_000;
    let limit = room / 4 * JETSTREAM_QUARTERS / 1_000_000;
    let found = format!("{megabytes} MB free for `.data`, of which JetStream takes {limit} MB");
    let fix = "make room where `.data` lies, or give streams limits";
    if room < ROOM_MIN {
        Check::error(id, found).fix(fix)
    } else if room < ROOM_GOOD {
        Check::warning(id, found).fix(fix)
    } else {
        Check::ok(id, found)
    }
}

/// Returns the file below `data` with the latest time in the future, if any, and the difference.
pub(super) fn in_the_future(data: &Path, now: SystemTime) -> Option<(PathBuf, Duration)> {
    let mut folders = vec![(data.to_path_buf(), 0)];
    let mut looked_at = 0;
    let mut worst: Option<(PathBuf, Duration)> = None;
    while let Some((folder, depth)) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            looked_at += 1;
            if looked_at > FILES_LOOKED_AT {
                return worst;
            }
            let Ok(meta) = entry.metadata() else { continue };
            if meta.is_dir() && depth < DEPTH {
                folders.push((entry.path(), depth + 1));
            }
            let ahead = meta
                .modified()
                .ok()
                .and_then(|time| time.duration_since(now).ok());
            let ahead = ahead.filter(|ahead| *ahead > FUTURE_MAX);
            if let Some(ahead) = ahead.filter(|ahead| worst.as_ref().is_none_or(|w| *ahead > w.1)) {
                worst = Some((entry.path(), ahead));
            }
        }
    }
    worst
}

pub(super) fn judge_times(future: Option<(String, Duration)>) -> Check {
    let id = Id::FileTimes;
    let Some((file, ahead)) = future else {
        return Check::ok(id, "no file of `.data` is dated in the future");
    };
    let found = format!(
        "`{file}` is dated {} s in the future: the clock was ahead, or is behind now",
        ahead.as_secs()
    );
    Check::warning(id, found).fix("set the clock, for example by NTP: timedatectl set-ntp true")
}

/// Returns names only: a value may contain a token.
fn supervisor_variables(env: &Env) -> Vec<String> {
    let names = env.iter().map(|(name, _)| name);
    let names = names.filter(|name| name.starts_with("PC_"));
    names.map(str::to_owned).collect()
}

pub(super) fn judge_variables(names: &[String]) -> Check {
    let id = Id::ProcessComposeVariables;
    if names.is_empty() {
        return Check::ok(id, "none is set");
    }
    let found = format!(
        "{} in the environment: the stack does not see them, a process-compose that you call does",
        names.join(", ")
    );
    Check::info(id, found).fix(format!("unset {}", names.join(" ")))
}
