//! The file of a backup: a tar archive whose last entry is the checksum of everything before it.
//!
//! Only one form of the end is valid: if any bit of the file differs, the file is refused before
//! anything of it is used. Not compressed: the servers have compressed its content already.

use std::fs::{self, File};
use std::io::{self, BufReader, Read, Seek as _, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use kit::{Exit, Failure};
use rustix::fs::OFlags;
use sha2::{Digest as _, Sha256};

use super::manifest::{self, Manifest};
use crate::base::digest::hex;

/// The last entry of an archive.
const CHECKSUM: &str = "checksum";
/// The block size of tar.
const BLOCK: usize = 512;
/// A header, its line, and the two empty blocks that end a tar archive.
const TAIL: usize = 4 * BLOCK;
/// Bytes per read.
const CHUNK: usize = 1024 * 1024;

/// Receives the number of bytes processed; an error stops the work.
pub(crate) type Seen<'a> = &'a mut dyn FnMut(u64) -> anyhow::Result<()>;

/// An archive that was verified.
#[derive(Debug)]
pub(crate) struct Archive {
    file: File,
    /// Its manifest.
    pub(crate) manifest: Manifest,
    /// The offset of each entry of the manifest.
    positions: Vec<u64>,
    /// Size of the file in bytes.
    pub(crate) size: u64,
}

/// Returns the size and digest of a file.
pub(crate) fn digest(file: &mut impl Read, seen: Seen<'_>) -> anyhow::Result<(u64, String)> {
    let (digest, size) = hash(file, seen)?;
    Ok((size, hex(&digest.finalize())))
}

/// Writes an archive. `files` are the paths of the manifest's entries, in its order.
pub(crate) fn write(
    to: &mut File,
    manifest: &Manifest,
    files: &[PathBuf],
    seen: Seen<'_>,
) -> anyhow::Result<()> {
    let mut tar = tar::Builder::new(Hashing {
        inner: to,
        digest: Sha256::new(),
    });
    let mut text = serde_json::to_vec_pretty(manifest)?;
    text.push(b'\n');
    add(
        &mut tar,
        manifest::ENTRY,
        text.len() as u64,
        &text[..],
        seen,
    )?;
    for (entry, path) in manifest.entries.iter().zip(files) {
        let file = File::open(path);
        let file = file.with_context(|| format!("cannot open `{}`", path.display()))?;
        add(&mut tar, &entry.path, entry.size, file, seen)?;
    }
    let line = line(&tar.get_ref().digest.clone().finalize());
    tar.append(&checksum_header(&line)?, line.as_bytes())?;
    tar.into_inner()?;
    Ok(())
}

fn add(
    to: &mut tar::Builder<impl Write>,
    path: &str,
    size: u64,
    bytes: impl Read,
    seen: Seen<'_>,
) -> anyhow::Result<()> {
    let mut failed = None;
    let mut bytes = Watched {
        inner: bytes.take(size),
        seen,
        failed: &mut failed,
    };
    let added = to.append_data(&mut header(size), path, &mut bytes);
    let left = bytes.inner.limit();
    if let Some(error) = failed {
        return Err(error);
    }
    added.with_context(|| format!("cannot write `{path}` into the archive"))?;
    if left > 0 {
        bail!("`{path}` is shorter than it was");
    }
    Ok(())
}

fn header(size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(0o600);
    header
}

fn checksum_header(line: &str) -> anyhow::Result<tar::Header> {
    let mut header = header(line.len() as u64);
    header.set_path(CHECKSUM)?;
    header.set_cksum();
    Ok(header)
}

fn line(digest: &[u8]) -> String {
    format!("sha256 {}\n", hex(digest))
}

/// Returns the only valid end of an archive with this digest.
fn tail(digest: &[u8]) -> anyhow::Result<Vec<u8>> {
    let line = line(digest);
    let mut tail = checksum_header(&line)?.as_bytes().to_vec();
    tail.extend_from_slice(line.as_bytes());
    tail.resize(TAIL, 0);
    Ok(tail)
}

impl Archive {
    /// Opens an archive and verifies every byte of it.
    pub(crate) fn check(path: &Path, seen: Seen<'_>) -> anyhow::Result<Self> {
        let refuse = |what: &str| {
            let message = format!("`{}` is no whole backup: {what}", path.display());
            let hint = "nothing was changed; take another copy of the file, or another backup";
            Failure::new(Exit::Invalid, message).hint(hint)
        };
        let open = || -> io::Result<(File, fs::Metadata)> {
            // Opening a pipe would otherwise wait for its writer.
            let flags = OFlags::NONBLOCK.bits().cast_signed();
            let file = File::options().read(true).custom_flags(flags).open(path)?;
            let data = file.metadata()?;
            Ok((file, data))
        };
        let (mut file, data) = open().map_err(|error| {
            let message = format!("cannot read `{}`", path.display());
            Failure::new(Exit::Invalid, message)
                .source(error)
                .hint("name the file that `cargo xtask backup` made")
        })?;
        if !data.is_file() {
            return Err(refuse("it is no file").into());
        }
        let size = data.len();
        let body = size.checked_sub(TAIL as u64);
        let body = body.ok_or_else(|| refuse("it is too short"))?;
        let (found, _) = hash(&mut (&file).take(body), seen)?;
        let mut end = vec![0; TAIL];
        file.read_exact(&mut end)?;
        if end != tail(&found.finalize())? {
            return Err(refuse("its checksum is not that of its content").into());
        }
        file.rewind()?;
        let (manifest, positions) =
            list(&file, body).map_err(|error| match kit::failure::exit_of(&error) {
                Exit::Unexpected => refuse("its entries cannot be read").source(error).into(),
                _ => error,
            })?;
        let archive = Self {
            file,
            manifest,
            positions,
            size,
        };
        for entry in &archive.manifest.entries {
            let (size, sha256) = digest(&mut archive.open(&entry.path)?, &mut |_| Ok(()))?;
            if (size, &sha256) != (entry.size, &entry.sha256) {
                let what = format!("`{}` is not what its manifest says", entry.path);
                return Err(refuse(&what).into());
            }
        }
        Ok(archive)
    }

    /// Returns a reader of an entry. Only one can be read at a time.
    pub(crate) fn open(&self, path: &str) -> anyhow::Result<impl Read> {
        let entries = self.manifest.entries.iter().zip(&self.positions);
        let mut found = entries.filter(|(entry, _)| entry.path == path);
        let (entry, position) = found
            .next()
            .with_context(|| format!("the archive has no entry `{path}`"))?;
        let mut file = &self.file;
        file.seek(SeekFrom::Start(*position))?;
        Ok(BufReader::with_capacity(CHUNK, file.take(entry.size)))
    }
}

/// Returns the manifest and the offset of each entry; fails unless the archive has exactly these.
fn list(file: &File, body: u64) -> anyhow::Result<(Manifest, Vec<u64>)> {
    let mut archive = tar::Archive::new(file.take(body));
    let mut entries = archive.entries()?;
    let mut first = entries.next().context("it is empty")??;
    if first.path_bytes().as_ref() != manifest::ENTRY.as_bytes() {
        bail!("its first entry is not `{}`", manifest::ENTRY);
    }
    let mut text = Vec::new();
    first.read_to_end(&mut text)?;
    let manifest = Manifest::parse(&text)?;
    let mut positions = Vec::new();
    for wanted in &manifest.entries {
        let entry = entries.next().context("an entry is missing")??;
        if entry.path_bytes().as_ref() != wanted.path.as_bytes() || entry.size() != wanted.size {
            bail!("`{}` is not where it should be", wanted.path);
        }
        positions.push(entry.raw_file_position());
    }
    if entries.next().is_some() {
        bail!("there is more in it than its manifest says");
    }
    Ok((manifest, positions))
}

fn hash(file: &mut impl Read, seen: Seen<'_>) -> anyhow::Result<(Sha256, u64)> {
    let mut digest = Sha256::new();
    let mut chunk = vec![0; CHUNK];
    let mut size = 0;
    loop {
        let read = file.read(&mut chunk).context("cannot read the archive")?;
        if read == 0 {
            return Ok((digest, size));
        }
        digest.update(&chunk[..read]);
        size += read as u64;
        seen(read as u64)?;
    }
}

/// Digests what is written.
struct Hashing<'a> {
    inner: &'a mut File,
    digest: Sha256,
}

impl Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.digest.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Reports the bytes that are read.
struct Watched<'a, R> {
    inner: R,
    seen: Seen<'a>,
    failed: &'a mut Option<anyhow::Error>,
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        if let Err(error) = (self.seen)(read as u64) {
            *self.failed = Some(error);
            return Err(io::Error::other("it was given up"));
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::super::manifest::Entry;
    use super::super::manifest::tests::manifest;
    use super::*;

    #[expect(clippy::unnecessary_wraps, reason = "it may fail elsewhere")]
    fn quiet(_: u64) -> anyhow::Result<()> {
        Ok(())
    }

    /// Creates an archive of two entries in a file of this directory.
    fn archive(dir: &Path) -> PathBuf {
        let long = format!("nats/core/{}.snapshot", "X".repeat(200));
        let mut entries = Vec::new();
        let mut files = Vec::new();
        for (number, path) in ["pocketbase.zip", &long].into_iter().enumerate() {
            let file = dir.join(number.to_string());
            std::fs::write(&file, vec![7; 700 * (number + 1)]).unwrap();
            let mut open = File::open(&file).unwrap();
            let (size, sha256) = digest(&mut open, &mut quiet).unwrap();
            let path = path.to_owned();
            entries.push(Entry { path, size, sha256 });
            files.push(file);
        }
        let path = dir.join("archive.tar");
        let mut file = File::create(&path).unwrap();
        write(&mut file, &manifest(entries), &files, &mut quiet).unwrap();
        path
    }

    #[test]
    fn what_was_written_is_read_and_is_a_tar_archive() {
        let dir = tempfile::tempdir().unwrap();
        let path = archive(dir.path());
        let read = Archive::check(&path, &mut quiet).unwrap();
        let mut bytes = Vec::new();
        let entry = &read.manifest.entries[1].path;
        read.open(entry).unwrap().read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, vec![7; 1400]);
        let mut plain = tar::Archive::new(File::open(&path).unwrap());
        let names = plain.entries().unwrap().map(|entry| {
            let entry = entry.unwrap();
            entry.path().unwrap().to_string_lossy().into_owned()
        });
        let names: Vec<String> = names.collect();
        assert_eq!(names[0], "manifest.json");
        assert_eq!(names[1..3], ["pocketbase.zip", entry]);
        assert_eq!(names[3..], ["checksum"]);
    }

    #[test]
    fn what_is_no_file_is_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, mode).unwrap();
        for path in [
            &*pipe,
            dir.path(),
            Path::new("/dev/zero"),
            &dir.path().join("none"),
        ] {
            let error = Archive::check(path, &mut quiet).unwrap_err();
            assert_eq!(kit::failure::exit_of(&error), Exit::Invalid, "{path:?}");
            assert!(kit::failure::hint_of(&error).is_some(), "{path:?}");
        }
    }

    #[test]
    fn any_other_bit_and_any_other_length_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = archive(dir.path());
        let good = std::fs::read(&path).unwrap();
        let refused = |bytes: &[u8], what: &str| {
            std::fs::write(&path, bytes).unwrap();
            let error = Archive::check(&path, &mut quiet).unwrap_err();
            assert_eq!(kit::failure::exit_of(&error), Exit::Invalid, "{what}");
        };
        for position in (0..good.len()).step_by(37).chain([good.len() - 1]) {
            let mut bad = good.clone();
            bad[position] ^= 1;
            refused(&bad, &format!("bit at {position}"));
        }
        for length in [0, 1, TAIL, good.len() - BLOCK, good.len() - 1] {
            refused(&good[..length], &format!("{length} bytes"));
        }
        refused(&[&good[..], &[0; BLOCK]].concat(), "longer");
        std::fs::write(&path, &good).unwrap();
        Archive::check(&path, &mut quiet).unwrap();
    }
}
