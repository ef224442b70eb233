//! Unpacks PocketBase's own backup, a zip archive, within bounds.
//!
//! An archive may come from anywhere, and a few bytes of it can unpack to more than a disk has. So
//! the unpacked size is determined first, and never more than that is written.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use kit::files::create_private_dir;
use kit::{Exit, Failure};
use zip::ZipArchive;
use zip::read::ZipFile;

use super::progress::Progress;

/// The file of the database in it.
pub(super) const DATABASE_FILE: &str = "data.db";

/// Bytes that are copied between two checks for an interrupt.
const CHUNK: u64 = 1024 * 1024;
/// Maximum of unpacked size to file size, for an archive that does not record the former, ...
const RATIO_MAX: u64 = 100;
/// ... if the unpacked size is more than this.
const RATIO_FREE: u64 = 256 * 1024 * 1024;
/// Bytes that are left free on the disk, because the servers keep writing.
const SPARE: u64 = 256 * 1024 * 1024;

/// An archive that is being unpacked.
pub(super) struct Unpacking<'a> {
    zip: ZipArchive<File>,
    /// Its size in bytes.
    packed: u64,
    /// Total size of its files in bytes, according to its own list.
    size: u64,
    progress: &'a Progress<'a>,
}

impl<'a> Unpacking<'a> {
    /// Reads the list of its files.
    pub(super) fn open(file: File, progress: &'a Progress<'a>) -> anyhow::Result<Self> {
        let packed = file.metadata().context("cannot read the archive")?.len();
        let mut zip = ZipArchive::new(file).map_err(damaged)?;
        let mut size: u64 = 0;
        for number in 0..zip.len() {
            let entry = zip.by_index_raw(number).map_err(damaged)?;
            size = size.saturating_add(entry.size());
        }
        Ok(Self {
            zip,
            packed,
            size,
            progress,
        })
    }

    /// Returns the total size of its files in bytes.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Refuses an archive that is larger than is possible, or than the disk has room for. `told` is
    /// its size according to the manifest.
    pub(super) fn check(&self, told: Option<u64>, directory: &Path) -> anyhow::Result<()> {
        let size = self.size;
        if told.is_some_and(|told| told != size) {
            let what = "the database of the backup has not the size that its manifest says";
            return Err(refuse(what.to_owned()).into());
        }
        if told.is_none() && size > RATIO_FREE && size / self.packed.max(1) > RATIO_MAX {
            let what = format!(
                "the database of the backup has {} MB and would have {} MB unpacked: more than \
                 {RATIO_MAX} times as many",
                megabytes(self.packed),
                megabytes(size)
            );
            return Err(refuse(what).into());
        }
        let disk = rustix::fs::statvfs(directory)
            .with_context(|| format!("cannot look at the disk of `{}`", directory.display()))?;
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        if size.saturating_add(SPARE) > free {
            let what = format!(
                "the database of the backup has {} MB unpacked, and there are {} MB left for \
                 `{}`",
                megabytes(size),
                megabytes(free),
                directory.display()
            );
            return Err(refuse(what)
                .hint("nothing was changed; make room there")
                .into());
        }
        Ok(())
    }

    /// Unpacks the wanted files into a new directory.
    pub(super) fn unpack(
        &mut self,
        to: &Path,
        wanted: impl Fn(&Path) -> bool,
    ) -> anyhow::Result<()> {
        self.progress.stage("reading the database", self.size)?;
        create_private_dir(to)?;
        for number in 0..self.zip.len() {
            let mut entry = self.zip.by_index(number).map_err(damaged)?;
            let Some(path) = entry.enclosed_name() else {
                let what = format!(
                    "`{}` in the backup of the database is no path",
                    entry.name()
                );
                return Err(refuse(what).into());
            };
            if !wanted(&path) {
                continue;
            }
            let path = to.join(path);
            if entry.is_dir() {
                create_private_dir(&path)?;
                continue;
            }
            if let Some(parent) = path.parent() {
                create_private_dir(parent)?;
            }
            copy(&mut entry, &path, self.progress)?;
        }
        if !to.join(DATABASE_FILE).is_file() {
            let what = "there is no database in the backup of PocketBase";
            return Err(refuse(what.to_owned()).into());
        }
        Ok(())
    }
}

/// Copies a file of the archive, at most as many bytes as the list says.
fn copy(
    entry: &mut ZipFile<'_, File>,
    path: &PathBuf,
    progress: &Progress<'_>,
) -> anyhow::Result<()> {
    let mut file =
        File::create_new(path).with_context(|| format!("cannot make `{}`", path.display()))?;
    let mut left = entry.size();
    let mut chunk = Vec::new();
    loop {
        chunk.clear();
        let part = entry.by_ref().take(CHUNK).read_to_end(&mut chunk);
        part.map_err(|error| damaged(error.into()))?;
        if chunk.is_empty() {
            break;
        }
        let read = chunk.len() as u64;
        let more = "a file in it is longer than it says";
        left = left
            .checked_sub(read)
            .ok_or_else(|| damaged(io::Error::other(more).into()))?;
        let written = file.write_all(&chunk);
        written.with_context(|| format!("cannot write `{}`", path.display()))?;
        progress.add(read)?;
    }
    Ok(())
}

fn damaged(error: zip::result::ZipError) -> anyhow::Error {
    let what = "the database of the backup cannot be unpacked";
    refuse(what.to_owned()).source(error).into()
}

fn megabytes(bytes: u64) -> u64 {
    bytes / 1_000_000
}

pub(super) fn refuse(what: String) -> Failure {
    let failure = Failure::new(Exit::Invalid, what);
    failure.hint("nothing was changed; take another backup")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use kit::Exit;
    use kit::failure::{exit_of, hint_of};
    use zip::ZipWriter;
    use zip::write::SimpleFileOptions;

    use super::*;
    use crate::base::interrupt::Interrupt;
    use crate::base::ui::Ui;

    /// Returns a zip archive of these files, with this number of zeros in each.
    fn archive(files: &[(&str, usize)]) -> Vec<u8> {
        let mut zip = ZipWriter::new(io::Cursor::new(Vec::new()));
        for (name, size) in files {
            zip.start_file(*name, SimpleFileOptions::default()).unwrap();
            let zeros = vec![0; 1024 * 1024];
            for start in (0..*size).step_by(zeros.len()) {
                zip.write_all(&zeros[..zeros.len().min(size - start)])
                    .unwrap();
            }
        }
        zip.finish().unwrap().into_inner()
    }

    /// Unpacks it as a restore does, with its size according to the manifest.
    fn unpack(bytes: &[u8], told: Option<u64>) -> anyhow::Result<u64> {
        let dir = tempfile::tempdir()?;
        let file = dir.path().join("a.zip");
        fs::write(&file, bytes)?;
        let (ui, interrupt) = (Ui::new(), Interrupt::default());
        let progress = Progress::new(&ui, &interrupt);
        let mut zip = Unpacking::open(File::open(file)?, &progress)?;
        zip.check(told, dir.path())?;
        zip.unpack(&dir.path().join("to"), |_| true)?;
        Ok(fs::metadata(dir.path().join("to/data.db"))?.len())
    }

    #[test]
    fn what_is_whole_is_unpacked() {
        let bytes = archive(&[("data.db", 3_000_000), ("storage/x/y", 5)]);
        assert_eq!(unpack(&bytes, Some(3_000_005)).unwrap(), 3_000_000);
        assert_eq!(unpack(&bytes, None).unwrap(), 3_000_000, "of an older Core");
    }

    #[test]
    fn what_is_not_is_refused_with_what_to_do() {
        let good = archive(&[("data.db", 3_000_000)]);
        let mut flipped = good.clone();
        let middle = flipped.len() / 3;
        flipped[middle] ^= 0xff;
        let bomb = archive(&[("data.db", 100), ("storage/x", 300 * 1024 * 1024)]);
        // Its list has less than the content: the size is in the local header and in the list.
        let mut liar = archive(&[("data.db", 4000)]);
        for position in 0..liar.len() - 4 {
            if liar[position..position + 4] == 4000_u32.to_le_bytes() {
                liar[position..position + 4].copy_from_slice(&40_u32.to_le_bytes());
            }
        }
        for (what, bytes, told) in [
            ("a bomb", &bomb[..], None),
            ("a liar", &liar[..], None),
            ("another size", &good[..], Some(7)),
            ("another bit", &flipped[..], None),
            ("half of it", &good[..good.len() / 2], None),
            ("nothing", &[], None),
            ("a path out of it", &archive(&[("../data.db", 5)])[..], None),
            ("no database", &archive(&[("other.db", 5)])[..], None),
        ] {
            let error = unpack(bytes, told).unwrap_err();
            assert_eq!(exit_of(&error), Exit::Invalid, "{what}: {error:#}");
            let hint = hint_of(&error).unwrap_or_default();
            assert!(hint.starts_with("nothing was changed"), "{what}: {hint}");
        }
        // More than any disk has, according to its own list.
        let (ui, interrupt) = (Ui::new(), Interrupt::default());
        let progress = Progress::new(&ui, &interrupt);
        let huge = Unpacking {
            zip: ZipArchive::new(tempfile_of(&good)).unwrap(),
            packed: u64::MAX / 50,
            size: u64::MAX - 1,
            progress: &progress,
        };
        let error = huge.check(None, Path::new("/tmp")).unwrap_err();
        assert_eq!(exit_of(&error), Exit::Invalid, "{error:#}");
    }

    fn tempfile_of(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }
}
