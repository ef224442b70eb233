//! Extracts one named regular file from an archive.
//!
//! Owns the bounds: no link, no other file type, no other path, no more bytes than allowed. Nothing
//! else of the archive is ever written.

use std::fs::File;
use std::io::{self, Read, Seek, Write as _};
use std::path::Path;

use anyhow::{Context as _, bail};
use flate2::read::GzDecoder;

use engine::base::digest::{BUFFER_BYTES, Hashing};

/// The file type bits of a Unix mode, and those of a regular file.
const MODE_TYPE: u32 = 0o170_000;
const MODE_REGULAR: u32 = 0o100_000;

/// Extracts `file` from the archive at `archive`, whose format follows from the end of `name`, into
/// a new file at `target`. Unpacks at most `limit` bytes. Returns the SHA-256 of the file.
pub(super) fn extract(
    archive: &Path,
    name: &str,
    file: &str,
    target: &Path,
    limit: u64,
) -> anyhow::Result<String> {
    let source =
        File::open(archive).with_context(|| format!("cannot open `{}`", archive.display()))?;
    let target = File::create_new(target)
        .with_context(|| format!("cannot create `{}`", target.display()))?;
    let gzip = Path::new(name).extension().is_some_and(|end| end == "gz");
    let taken = if gzip {
        from_tar_gz(source, file, target, limit)
    } else {
        from_zip(source, file, target, limit)
    };
    taken.with_context(|| format!("cannot take `{file}` out of `{name}`"))
}

fn from_tar_gz(source: File, file: &str, target: File, limit: u64) -> anyhow::Result<String> {
    let bounded = Bounded {
        inner: GzDecoder::new(io::BufReader::with_capacity(BUFFER_BYTES, source)),
        left: limit,
    };
    let mut tar = tar::Archive::new(bounded);
    for entry in tar.entries()? {
        let mut entry = entry?;
        let path = entry.path_bytes();
        let path = path.strip_prefix(b"./").unwrap_or(&path);
        if path != file.as_bytes() {
            continue;
        }
        let kind = entry.header().entry_type();
        if !kind.is_file() && !kind.is_contiguous() {
            bail!("it is not a regular file");
        }
        return copy(&mut entry, target);
    }
    bail!("it is not there")
}

fn from_zip(
    source: impl Read + Seek,
    file: &str,
    target: File,
    limit: u64,
) -> anyhow::Result<String> {
    let mut zip = zip::ZipArchive::new(source)?;
    let entry = match zip.by_name(file) {
        Err(zip::result::ZipError::FileNotFound) => bail!("it is not there"),
        entry => entry?,
    };
    let kind = entry.unix_mode().map_or(0, |mode| mode & MODE_TYPE);
    if entry.is_dir() || (kind != 0 && kind != MODE_REGULAR) {
        bail!("it is not a regular file");
    }
    let mut bounded = Bounded {
        inner: entry,
        left: limit,
    };
    copy(&mut bounded, target)
}

fn copy(source: &mut impl Read, target: File) -> anyhow::Result<String> {
    let mut writer = Hashing::new(target);
    let mut reader = io::BufReader::with_capacity(BUFFER_BYTES, source);
    io::copy(&mut reader, &mut writer)?;
    writer.flush()?;
    Ok(writer.finish().1)
}

/// A reader that returns an error, not the end, once more than the limit was read.
struct Bounded<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        match self.left.checked_sub(count as u64) {
            Some(left) => self.left = left,
            None => return Err(io::Error::other("it unpacks to more than is allowed")),
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dep::testing::{tar_gz, zip_with};
    use engine::base::digest;

    const LIMIT: u64 = 1 << 20;

    fn take(name: &str, archive: &[u8], file: &str, limit: u64) -> anyhow::Result<String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("archive");
        std::fs::write(&path, archive).unwrap();
        let target = dir.path().join("out");
        let sha256 = extract(&path, name, file, &target, limit)?;
        assert_eq!(sha256, digest::of_file(&target)?);
        Ok(std::fs::read_to_string(target)?)
    }

    #[test]
    fn one_file_is_taken_from_both_formats() {
        let files = [("other", "no"), ("dir/tool", "yes")];
        let tar = tar_gz(&files, None);
        assert_eq!(take("x.tar.gz", &tar, "dir/tool", LIMIT).unwrap(), "yes");
        let zip = zip_with(&files, None);
        assert_eq!(take("x.zip", &zip, "dir/tool", LIMIT).unwrap(), "yes");
        assert_eq!(take("x.whl", &zip, "other", LIMIT).unwrap(), "no");
    }

    #[test]
    fn links_missing_files_and_floods_are_refused() {
        let big = "x".repeat(1 << 16);
        let files = [("big", big.as_str())];
        let link = Some(("tool", "/etc/passwd"));
        let cases = [
            ("x.tar.gz", tar_gz(&files, link)),
            ("x.zip", zip_with(&files, link)),
        ];
        for (name, archive) in &cases {
            let refused = |file, limit, expected: &str| {
                let error = take(name, archive, file, limit).unwrap_err();
                let told = format!("{error:#}");
                assert!(told.contains(expected), "{name} {file}: {told}");
            };
            refused("tool", LIMIT, "not a regular file");
            refused("absent", LIMIT, "not there");
            refused("big", 1000, "more than is allowed");
        }
    }

    #[test]
    fn broken_archives_are_errors() {
        let files = [("tool", "yes")];
        let tar = tar_gz(&files, None);
        assert!(take("x.tar.gz", &tar[..tar.len() / 2], "tool", LIMIT).is_err());
        assert!(take("x.zip", b"no archive", "tool", LIMIT).is_err());
        assert!(take("x.tar.gz", b"", "tool", LIMIT).is_err());
    }
}
