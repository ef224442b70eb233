//! The lines of one process, from its rotated files to the current one.

use std::collections::{BTreeSet, VecDeque};
use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::{files, line, since};

/// Bytes of one read.
const BLOCK: usize = 256 * 1024;

/// Longest line; a longer one is split.
const LINE_LENGTH_MAX: usize = 1024 * 1024;

/// Whether an incomplete last line counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rest {
    /// As a line: nothing more is expected.
    Counts,
    /// Not yet: it is still being written.
    Waits,
}

/// The result of one read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// More bytes.
    Bytes,
    /// A file was read to its end; another one may follow.
    FileEnded,
    /// Nothing, for now.
    Nothing,
}

/// The log of one process. Survives rotation: the old file is read to its end first.
#[derive(Debug)]
pub struct Source {
    directory: PathBuf,
    process: String,
    /// Files that follow the open one, each with its start offset.
    next: VecDeque<(PathBuf, u64)>,
    /// Rotated files that are in `next`, or came before it: a new one was the current file.
    known: BTreeSet<PathBuf>,
    file: Option<File>,
    buffer: Vec<u8>,
    /// The current line, and the end of the bytes that were read.
    begin: usize,
    end: usize,
    filled: usize,
    has_line: bool,
    /// The time of the current line, or of the last one that had a time.
    time: i64,
}

impl Source {
    /// Reads all files of `process` in `directory`.
    pub fn whole(directory: &Path, process: &str) -> Self {
        let chain = files::chain(directory, process);
        let next = chain.iter().map(|path| (path.clone(), 0)).collect();
        Self::new(directory, process, &chain, next)
    }

    /// Reads from the byte `offset` of the current file on; the whole file when it is shorter.
    pub fn after(directory: &Path, process: &str, offset: u64) -> Self {
        let chain = files::chain(directory, process);
        let current = chain.last().cloned();
        let next = current.into_iter().map(|path| (path, offset)).collect();
        Self::new(directory, process, &chain, next)
    }

    /// Reads only the last `lines` that exist.
    pub fn last(directory: &Path, process: &str, lines: usize) -> io::Result<Self> {
        let mut source = Self::whole(directory, process);
        let mut missing = lines;
        for index in (0..source.next.len()).rev() {
            let (path, offset) = &mut source.next[index];
            let Some(mut file) = open(path)? else {
                continue;
            };
            let found;
            (*offset, found) = last_lines(&mut file, missing)?;
            missing = missing.saturating_sub(found);
            if missing == 0 {
                source.next.drain(..index);
                break;
            }
        }
        Ok(source)
    }

    fn new(
        directory: &Path,
        process: &str,
        chain: &[PathBuf],
        next: VecDeque<(PathBuf, u64)>,
    ) -> Self {
        Self {
            known: rotated(chain).iter().cloned().collect(),
            directory: directory.to_path_buf(),
            process: process.to_owned(),
            next,
            file: None,
            buffer: Vec::new(),
            begin: 0,
            end: 0,
            filled: 0,
            has_line: false,
            time: i64::MIN,
        }
    }

    /// Returns the process.
    pub fn process(&self) -> &str {
        &self.process
    }

    /// Skips lines that are older than `millis`: files that were not written to since, and what is
    /// found to be older by bisection.
    pub fn skip_before(&mut self, millis: i64) -> io::Result<()> {
        let is_old = |path: &Path| {
            let meta = fs::metadata(path);
            meta.is_ok_and(|meta| meta.mtime() * 1000 + 999 < millis)
        };
        while self.next.len() > 1 && is_old(&self.next[0].0) {
            self.next.pop_front();
        }
        self.skip_lines_before(millis, BLOCK as u64)
    }

    /// Skips lines older than `millis` but for the last `window` bytes of them.
    pub(crate) fn skip_lines_before(&mut self, millis: i64, window: u64) -> io::Result<()> {
        // Lines ahead of the first time are shown always.
        let mut begins_with_time = None;
        for (path, _) in &self.next {
            if begins_with_time.is_none()
                && let Some(mut file) = open(path)?
            {
                begins_with_time = since::begins_with_time(&mut file)?;
            }
        }
        if begins_with_time == Some(false) {
            return Ok(());
        }
        for index in (0..self.next.len()).rev() {
            let (path, offset) = &mut self.next[index];
            let Some(mut file) = open(path)? else {
                continue;
            };
            if let Some(position) = since::position(&mut file, millis, window)? {
                *offset = position;
                self.next.drain(..index);
                break;
            }
        }
        Ok(())
    }

    /// Returns the time of the current line; of a line without one, that of the line before.
    pub(crate) fn time(&self) -> i64 {
        self.time
    }

    /// Returns the current line, without its end.
    pub(crate) fn line(&self) -> &[u8] {
        &self.buffer[self.begin..self.end]
    }

    /// Moves to the next line.
    pub(crate) fn advance(&mut self) {
        let has_end = self.buffer[..self.filled].get(self.end) == Some(&b'\n');
        self.begin = self.end + usize::from(has_end);
        self.has_line = false;
    }

    /// Reads until there is a current line. Returns whether there is one.
    pub(crate) fn fill(&mut self, rest: Rest) -> io::Result<bool> {
        if self.has_line {
            return Ok(true);
        }
        let mut searched = self.begin;
        loop {
            // Where a long line is split depends on its begin alone, not on the reads.
            let limit = self.begin + LINE_LENGTH_MAX;
            let until = self.filled.min(limit + 1);
            if let Some(at) = memchr::memchr(b'\n', &self.buffer[searched..until]) {
                return Ok(self.found(searched + at));
            }
            if self.filled > limit {
                return Ok(self.found(limit));
            }
            searched = self.filled - self.begin;
            self.make_room();
            match self.read(rest)? {
                // The last line of a file ends with the file.
                Step::FileEnded if self.filled > 0 => return Ok(self.found(self.filled)),
                Step::Nothing if self.filled > 0 && rest == Rest::Counts => {
                    return Ok(self.found(self.filled));
                }
                Step::Bytes | Step::FileEnded => {}
                Step::Nothing => return Ok(false),
            }
        }
    }

    fn found(&mut self, end: usize) -> bool {
        self.end = end;
        self.has_line = true;
        if let Some((time, _)) = line::time(self.line()) {
            self.time = time;
        }
        true
    }

    /// Moves the remaining bytes to the front of the buffer.
    fn make_room(&mut self) {
        self.buffer.copy_within(self.begin..self.filled, 0);
        self.filled -= self.begin;
        self.begin = 0;
        if self.buffer.len() < self.filled + BLOCK {
            self.buffer.resize(self.filled + BLOCK, 0);
        }
    }

    fn read(&mut self, rest: Rest) -> io::Result<Step> {
        if self.file.is_none() {
            self.open_next(rest)?;
        }
        let Some(file) = &mut self.file else {
            return Ok(Step::Nothing);
        };
        let read = file.read(&mut self.buffer[self.filled..])?;
        self.filled += read;
        if read > 0 {
            return Ok(Step::Bytes);
        }
        if rest == Rest::Waits && !self.has_moved_on()? {
            return Ok(Step::Nothing);
        }
        self.file = None;
        Ok(Step::FileEnded)
    }

    /// Opens the next existing file. The last one may still be created.
    fn open_next(&mut self, rest: Rest) -> io::Result<()> {
        while let Some((path, offset)) = self.next.pop_front() {
            if self.next.is_empty() && self.was_rotated(&path, offset) {
                continue;
            }
            if let Some(mut file) = open(&path)? {
                // Also between the check and the opening.
                if self.next.is_empty() && self.was_rotated(&path, offset) {
                    continue;
                }
                // A shorter file is a new one: all of it is new.
                let is_new = file.metadata()?.len() < offset;
                file.seek(SeekFrom::Start(if is_new { 0 } else { offset }))?;
                self.file = Some(file);
                return Ok(());
            }
            if rest == Rest::Waits && self.next.is_empty() {
                self.next.push_back((path, offset));
                return Ok(());
            }
        }
        Ok(())
    }

    /// Whether the current file was rotated since it was found at `path`, once or several times.
    /// The renamed file is then next, followed by later ones.
    fn was_rotated(&mut self, path: &Path, offset: u64) -> bool {
        let chain = files::chain(&self.directory, &self.process);
        let is_current = chain.last().is_some_and(|last| last == path);
        let new = rotated(&chain).iter();
        let new: Vec<PathBuf> = new.filter(|p| !self.known.contains(*p)).cloned().collect();
        if !is_current || new.is_empty() {
            return false;
        }
        let offsets = std::iter::once(offset).chain(std::iter::repeat(0));
        self.next.extend(new.iter().cloned().zip(offsets));
        self.next.push_back((path.to_path_buf(), 0));
        self.known.extend(new);
        true
    }

    /// Whether the open file, read to its end, is no longer the current one. The later ones are
    /// then next.
    fn has_moved_on(&mut self) -> io::Result<bool> {
        let Some(file) = &mut self.file else {
            return Ok(false);
        };
        if !self.next.is_empty() {
            return Ok(true);
        }
        let chain = files::chain(&self.directory, &self.process);
        let own = file.metadata()?;
        let is_own =
            |path: &PathBuf| fs::metadata(path).is_ok_and(|meta| identity(&meta) == identity(&own));
        match chain.iter().rposition(is_own) {
            Some(at) if at + 1 == chain.len() => {
                if own.len() < file.stream_position()? {
                    // It was truncated in place.
                    file.rewind()?;
                }
                Ok(false)
            }
            Some(at) => {
                // The new one may not exist yet, in the middle of a rotation.
                self.known.extend(rotated(&chain).iter().cloned());
                let files = chain.into_iter().skip(at + 1);
                self.next = files.map(|path| (path, 0)).collect();
                Ok(true)
            }
            None => {
                self.next = chain
                    .into_iter()
                    .next_back()
                    .map(|path| (path, 0))
                    .into_iter()
                    .collect();
                Ok(true)
            }
        }
    }
}

/// Returns the files of a chain that are no longer written to.
fn rotated(chain: &[PathBuf]) -> &[PathBuf] {
    chain.split_last().map_or(&[], |(_, rotated)| rotated)
}

fn identity(meta: &Metadata) -> (u64, u64) {
    (meta.dev(), meta.ino())
}

/// Opens a file that may be gone.
fn open(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Returns the offset of the last `lines` lines of a file, and how many there are, at most `lines`.
fn last_lines(file: &mut File, lines: usize) -> io::Result<(u64, usize)> {
    let size = file.metadata()?.len();
    let mut block = vec![0; BLOCK];
    let (mut at, mut found) = (size, 0);
    while at > 0 {
        let length = at.min(BLOCK as u64);
        at -= length;
        let block = &mut block[..usize::try_from(length).unwrap_or(BLOCK)];
        file.seek(SeekFrom::Start(at))?;
        file.read_exact(block)?;
        // The end of the last line starts no further one.
        let mut end = block.len();
        if at + length == size && block.last() == Some(&b'\n') {
            end -= 1;
        }
        while let Some(newline) = memchr::memrchr(b'\n', &block[..end]) {
            found += 1;
            if found == lines {
                return Ok((at + newline as u64 + 1, lines));
            }
            end = newline;
        }
    }
    Ok((0, found + usize::from(size > 0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_rotated_before_it_was_opened_is_not_missed() {
        let dir = tempfile::tempdir().unwrap();
        let mut source = Source::whole(dir.path(), "x");
        assert!(!source.fill(Rest::Waits).unwrap());
        for (name, text) in [
            ("x-2026-11-24T13-59-22.000.log", "1\n"),
            ("x-2026-11-24T13-59-22.020.log", "2\n"),
            ("x.log", "3\n"),
        ] {
            fs::write(dir.path().join(name), text).unwrap();
        }
        let mut lines = Vec::new();
        while source.fill(Rest::Waits).unwrap() {
            lines.push(String::from_utf8(source.line().to_vec()).unwrap());
            source.advance();
        }
        assert_eq!(lines, ["1", "2", "3"]);
    }
}
