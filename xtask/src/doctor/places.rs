//! Checks of places: the checkout, its file system, and the directory for sockets.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use kit::files::FileLock;

use super::check::{Check, Id};
use super::scene::Scene;
use engine::checkout::paths::Paths;
use engine::operations::backup::disks;
use engine::plan::env::Env;

/// The variable that names the directory for sockets.
const RUNTIME: &str = "XDG_RUNTIME_DIR";

/// Longest path of a socket in bytes: `sun_path` less its final NUL (unix(7): 108 on Linux; 104 on
/// macOS and the BSDs).
const SOCKET_PATH_MAX: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

/// Permissions that allow others to replace files in a directory.
const OTHERS_WRITE: u32 = 0o022;

pub(super) fn check(scene: &Scene<'_>) -> Vec<Check> {
    let root = scene.paths().root();
    let client = scene.ctx.client();
    let socket = client.as_ref().map(|client| client.socket().to_path_buf());
    vec![
        judge_path(root),
        judge_file_system(&FileSystem::look(scene.paths())),
        judge_runtime(
            &Runtime::look(&Env::of_process()),
            socket.as_ref().err().copied(),
        ),
        match &socket {
            Ok(socket) => judge_socket(socket),
            Err(_) => Check::skipped(Id::SocketPath, "its directory is not available"),
        },
    ]
}

pub(super) fn judge_path(root: &Path) -> Check {
    let id = Id::CheckoutPath;
    let text = root.to_string_lossy();
    let shown = format!("{text:?}");
    let odd = if root.to_str().is_none() {
        "is not UTF-8"
    } else if text.contains(char::is_control) {
        "has control characters"
    } else if !root.is_dir() {
        "is no directory"
    } else {
        return Check::ok(id, shown);
    };
    let found = format!("{shown} {odd}, which not every tool can cope with");
    Check::warning(id, found).fix("move the checkout to a plain path")
}

/// The capabilities of the checkout's file system.
#[derive(Debug, Default)]
pub(super) struct FileSystem {
    /// Why locking or renaming does not work.
    pub(super) broken: Option<String>,
    /// The name of the network file system with the data.
    pub(super) network: Option<&'static str>,
    /// Stores that a restore cannot exchange, by their paths below `.data`.
    pub(super) mounted: Vec<PathBuf>,
}

impl FileSystem {
    fn look(paths: &Paths) -> Self {
        let (state, data) = (paths.state(), paths.data());
        let place = data.ancestors().find(|place| place.exists());
        // The directory for generated files, if it exists.
        let tried = if state.is_dir() { &state } else { paths.root() };
        Self {
            broken: try_out(tried).err().map(|error| format!("{error:#}")),
            network: place.and_then(network),
            mounted: disks::mounted(
                paths,
                &service_nats::topology::read(&paths.topology()).unwrap_or_default(),
            ),
        }
    }
}

/// Locks, writes and renames in a temporary directory.
fn try_out(place: &Path) -> anyhow::Result<()> {
    let directory = tempfile::Builder::new().prefix(".tmp-").tempdir_in(place);
    let directory = directory.context("cannot make a directory in the checkout")?;
    let (first, second) = (
        directory.path().join("first"),
        directory.path().join("second"),
    );
    let lock = FileLock::try_exclusive(&first)?.context("a new file is locked already")?;
    anyhow::ensure!(FileLock::is_held(&first)?, "a lock keeps nobody out");
    drop(lock);
    let write = || {
        File::create(&first)?.write_all(b"new")?;
        fs::write(&second, "old")?;
        fs::rename(&first, &second)?;
        fs::read(&second)
    };
    let read = write().context("cannot replace a file in the checkout")?;
    anyhow::ensure!(
        read == b"new",
        "a file that was replaced has its old content"
    );
    Ok(())
}

/// Returns the name of a network file system (magic numbers: linux/magic.h).
#[cfg(target_os = "linux")]
fn network(place: &Path) -> Option<&'static str> {
    const NETWORK: [(u32, &str); 6] = [
        (0x6969, "NFS"),
        (0x517b, "SMB"),
        (0xff53_4d42, "CIFS"),
        (0xfe53_4d42, "SMB2"),
        (0x0102_1997, "9p"),
        (0x00c3_6400, "Ceph"),
    ];
    let magic = rustix::fs::statfs(place).ok()?.f_type;
    let known = NETWORK.into_iter();
    // Its type differs by platform; the numbers have 32 bits.
    let magic = u32::try_from(i128::from(magic) & 0xffff_ffff).ok()?;
    known
        .into_iter()
        .find(|(number, _)| *number == magic)
        .map(|(_, name)| name)
}

/// On other systems numbers differ between versions.
#[cfg(not(target_os = "linux"))]
fn network(_place: &Path) -> Option<&'static str> {
    None
}

pub(super) fn judge_file_system(found: &FileSystem) -> Check {
    let id = Id::FileSystem;
    let fix = "move the checkout to a disk of this machine that you can write to";
    match (&found.broken, found.network) {
        (Some(broken), _) => Check::error(id, broken.clone()).fix(fix),
        (None, Some(name)) => {
            // https://sqlite.org/wal.html: the log does not work over a network file system.
            let found = format!("`.data` lies on {name}: SQLite's log needs a local disk");
            Check::warning(id, found).fix(fix)
        }
        (None, None) if !found.mounted.is_empty() => {
            Check::warning(id, disks::describe(&found.mounted)).fix(disks::MOUNTED_HINT)
        }
        (None, None) => Check::ok(id, "locks and renames as it should"),
    }
}

/// The directory for sockets, according to the environment.
#[derive(Debug, Default)]
pub(super) struct Runtime {
    pub(super) named: Option<PathBuf>,
    /// Its owner and permissions, if it is a directory.
    pub(super) found: Option<(u32, u32)>,
    /// Our user.
    pub(super) user: u32,
}

impl Runtime {
    fn look(env: &Env) -> Self {
        let named = env.non_empty(RUNTIME).map(PathBuf::from);
        let meta = named.as_ref().and_then(|named| fs::metadata(named).ok());
        let meta = meta.filter(fs::Metadata::is_dir);
        Self {
            named,
            found: meta.map(|meta| (meta.uid(), meta.mode() & 0o7777)),
            user: rustix::process::getuid().as_raw(),
        }
    }
}

/// Judges it; `refused` is the reason why a directory for sockets cannot be obtained.
pub(super) fn judge_runtime(runtime: &Runtime, refused: Option<&anyhow::Error>) -> Check {
    let id = Id::RuntimeDirectory;
    let fix = format!("name a directory of your own by {RUNTIME}, or unset it");
    if let Some(refused) = refused {
        return Check::error(id, format!("{refused:#}")).fix(fix);
    }
    let Some(named) = &runtime.named else {
        return Check::ok(
            id,
            format!("{RUNTIME} is not set: the temporary directory is used"),
        );
    };
    let shown = named.display();
    let problem = match runtime.found {
        None => "is no directory: the temporary directory is used".to_owned(),
        Some(_) if !named.is_absolute() => "is relative, so it moves with you".to_owned(),
        Some((owner, _)) if owner != runtime.user => "belongs to another user".to_owned(),
        Some((_, mode)) if mode & OTHERS_WRITE != 0 => {
            format!("has mode {mode:04o}: others may replace the socket")
        }
        Some(_) => return Check::ok(id, format!("`{shown}`")),
    };
    Check::warning(id, format!("{RUNTIME} is `{shown}`, which {problem}")).fix(fix)
}

pub(super) fn judge_socket(socket: &Path) -> Check {
    let id = Id::SocketPath;
    let length = socket.as_os_str().len();
    let found = format!("{length} bytes of {SOCKET_PATH_MAX}");
    if length <= SOCKET_PATH_MAX {
        return Check::ok(id, found);
    }
    let found = format!("`{}` is too long: {found}", socket.display());
    Check::error(id, found).fix(format!("set {RUNTIME} to a directory with a shorter path"))
}
