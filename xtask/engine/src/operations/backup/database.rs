//! The database in a backup: PocketBase writes it, and checks it before a restore uses it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Seek as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use kit::files::create_private_dir;
use kit::{Exit, Failure};
use serde::Deserialize;
use serde_json::json;

use super::archive::Archive;
use super::manifest::Database;
use super::progress::Progress;
use super::running::Running;
use super::unpack::{DATABASE_FILE, Unpacking, refuse};
use crate::checkout::paths::Paths;
use crate::topology::record::RecordError;

/// How long PocketBase may take to write its backup, or to check a database: as long as it lets any
/// request take.
const WORK_LIMIT: Duration = Duration::from_mins(5);
/// How long a short request may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(15);
/// Prefix of the name of its backup; the hook accepts no other.
const TEMPORARY: &str = "core-tmp-";
/// The entry with the generated superuser.
const SUPERUSER_ENTRY: &str = "superuser.json";
/// The entry with PocketBase's backup.
const ENTRY: &str = "pocketbase.zip";

#[derive(Deserialize)]
struct Made {
    files_elsewhere: bool,
}

#[derive(Deserialize)]
struct Checked {
    rows: BTreeMap<String, u64>,
    problems: Vec<String>,
}

#[derive(Deserialize)]
struct Holds {
    collections: Vec<String>,
}

/// Makes a backup of the database. Writes its files to `directory`; returns its description, and
/// the files by their entries.
pub(crate) fn take(
    paths: &Paths,
    running: &Running<'_>,
    directory: &Path,
    progress: &Progress<'_>,
) -> anyhow::Result<(Database, Vec<(String, PathBuf)>)> {
    let backups = data(paths).join("pb_data/backups");
    remove_leftovers(&backups)?;
    let name = format!("{TEMPORARY}{}.zip", kit::secret::generate()?);
    let body = json!({"name": name});
    let mut client = running.database()?;
    let made = client.ask_core("POST", "/core/backup", Some(&body), WORK_LIMIT);
    let made: Result<Made, _> = kit::runtime::current_thread()?.block_on(made);
    let made = made.map_err(|error| told(error, "cannot make a backup of the database"))?;
    let mut files = vec![(ENTRY.to_owned(), directory.join(ENTRY))];
    take_over(&backups.join(name), &files[0].1)?;
    // PocketBase's attributes of each file.
    remove_leftovers(&backups)?;
    let counted = count(paths, running, &files[0].1, progress);
    remove_staged(paths)?;
    let (rows, unpacked) = counted?;
    let superuser = data(paths).join(SUPERUSER_ENTRY);
    let superuser = superuser.exists().then_some(superuser);
    if let Some(file) = &superuser {
        let copy = directory.join(SUPERUSER_ENTRY);
        fs::copy(file, &copy).with_context(|| format!("cannot copy `{}`", file.display()))?;
        files.push((SUPERUSER_ENTRY.to_owned(), copy));
    }
    let database = Database {
        entry: ENTRY.to_owned(),
        superuser: superuser.map(|_| SUPERUSER_ENTRY.to_owned()),
        rows,
        unpacked: Some(unpacked),
        files_elsewhere: made.files_elsewhere,
    };
    Ok((database, files))
}

/// Checks the database in a backup of PocketBase's. Returns its rows per table, and the unpacked
/// size of the whole backup in bytes.
fn count(
    paths: &Paths,
    running: &Running<'_>,
    zip: &Path,
    progress: &Progress<'_>,
) -> anyhow::Result<(BTreeMap<String, u64>, u64)> {
    let directory = staging(paths);
    remove_staged(paths)?;
    create_private_dir(&directory)?;
    let zip = File::open(zip).with_context(|| format!("cannot open `{}`", zip.display()))?;
    let only = |path: &Path| path == Path::new(DATABASE_FILE);
    let mut zip = Unpacking::open(zip, progress)?;
    zip.unpack(&directory.join("pb_data"), only)?;
    Ok((check(running)?, zip.size()))
}

/// Returns the names of the collections in which a user has created records.
pub(crate) fn holds(running: &Running<'_>) -> anyhow::Result<Vec<String>> {
    let mut client = running.database()?;
    let holds = client.ask_core("GET", "/core/backup/holds", None, ANSWER_LIMIT);
    let holds: Result<Holds, _> = kit::runtime::current_thread()?.block_on(holds);
    let holds = holds.map_err(|error| told(error, "cannot ask for the records there are"))?;
    Ok(holds.collections)
}

/// Unpacks the database of an archive beside the present one, and lets PocketBase check it. Returns
/// the directory.
pub(crate) fn stage(
    paths: &Paths,
    running: &Running<'_>,
    archive: &Archive,
    progress: &Progress<'_>,
) -> anyhow::Result<PathBuf> {
    let directory = staging(paths);
    remove_staged(paths)?;
    create_private_dir(&directory)?;
    let database = &archive.manifest.database;
    // A zip archive is read from its end, so it needs a file of its own.
    let mut zip = tempfile::tempfile_in(&directory).context("cannot make a temporary file")?;
    io::copy(&mut archive.open(&database.entry)?, &mut zip)?;
    zip.rewind()?;
    let mut zip = Unpacking::open(zip, progress)?;
    zip.check(database.unpacked, &directory)?;
    zip.unpack(&directory.join("pb_data"), |_| true)?;
    if let Some(entry) = &database.superuser {
        let mut text = Vec::new();
        io::Read::read_to_end(&mut archive.open(entry)?, &mut text)?;
        let file = directory.join(SUPERUSER_ENTRY);
        kit::files::write_atomically(&file, &text, kit::files::PRIVATE_FILE_MODE)?;
    }
    let rows = check(running)?;
    if rows != database.rows {
        let what = "the database of the backup does not have the rows that its manifest says";
        return Err(refuse(what.to_owned()).into());
    }
    Ok(directory)
}

/// Lets PocketBase check the unpacked database. Returns its rows per table.
fn check(running: &Running<'_>) -> anyhow::Result<BTreeMap<String, u64>> {
    let mut client = running.database()?;
    let checked = client.ask_core("POST", "/core/backup/check", None, WORK_LIMIT);
    let checked: Result<Checked, _> = kit::runtime::current_thread()?.block_on(checked);
    let checked = checked.map_err(|error| told(error, "cannot check the database"))?;
    match checked.problems.first() {
        None => Ok(checked.rows),
        Some(problem) => {
            let what = format!("the database of the backup is damaged: {problem}");
            Err(refuse(what).into())
        }
    }
}

/// Removes an unpacked database that was never used.
pub(crate) fn remove_staged(paths: &Paths) -> anyhow::Result<()> {
    let directory = staging(paths);
    match fs::remove_dir_all(&directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove `{}`", directory.display()))
        }
        _ => Ok(()),
    }
}

/// Returns the directory of an unpacked database. The hook that checks it uses the same path.
fn staging(paths: &Paths) -> PathBuf {
    data(paths).join("staged")
}

fn data(paths: &Paths) -> PathBuf {
    paths.data().join("pocketbase")
}

/// Removes our backups that a killed command left.
fn remove_leftovers(backups: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(backups).into_iter().flatten().flatten() {
        if entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(TEMPORARY.as_bytes())
        {
            let path = entry.path();
            fs::remove_file(&path)
                .with_context(|| format!("cannot remove `{}`", path.display()))?;
        }
    }
    Ok(())
}

/// Moves a file, also to another file system.
fn take_over(from: &Path, to: &Path) -> anyhow::Result<()> {
    let moved = fs::rename(from, to).or_else(|_| {
        fs::copy(from, to)?;
        fs::remove_file(from)
    });
    moved.with_context(|| format!("cannot take `{}`", from.display()))
}

fn told(error: RecordError, what: &str) -> anyhow::Error {
    let failure = Failure::new(Exit::Unhealthy, what).source(error);
    failure.hint("cargo xtask status").into()
}
