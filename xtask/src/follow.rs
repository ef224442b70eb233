//! Following the log files of a running stack.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use anyhow::Context as _;

use crate::logs;
use crate::paths::Paths;
use crate::ui::Ui;

/// How often the files are looked at.
const POLL: Duration = Duration::from_millis(50);

/// The sizes of all log files at one moment, to follow them from there.
#[derive(Debug, Default)]
pub struct LogSizes(BTreeMap<PathBuf, u64>);

impl LogSizes {
    /// The present sizes.
    pub fn now(paths: &Paths) -> Self {
        let entries = fs::read_dir(paths.logs()).into_iter().flatten().flatten();
        Self(
            entries
                .map(|entry| (entry.path(), logs::size(&entry.path())))
                .collect(),
        )
    }
}

/// Follows log files.
#[derive(Debug)]
pub struct Follow {
    files: Vec<Followed>,
    width: usize,
}

#[derive(Debug)]
struct Followed {
    name: String,
    path: PathBuf,
    offset: u64,
    /// The begin of a line whose end was not written yet.
    rest: Vec<u8>,
}

impl Follow {
    /// Follows the logs of these processes from where they ended at `begin`.
    pub fn new<'a>(
        paths: &Paths,
        names: impl Iterator<Item = &'a String>,
        begin: &LogSizes,
    ) -> Self {
        let followed = |name: &String| Followed {
            name: name.clone(),
            path: paths.process_log(name),
            offset: begin.0.get(&paths.process_log(name)).copied().unwrap_or(0),
            rest: Vec::new(),
        };
        let files: Vec<Followed> = names.map(followed).collect();
        let width = files.iter().map(|file| file.name.len()).max().unwrap_or(0);
        Self { files, width }
    }

    /// Prints new lines on stdout, each with its process in front, until `ended` says so or nobody
    /// reads them any more.
    pub fn until(&mut self, ui: &Ui, ended: impl Fn() -> bool) -> anyhow::Result<()> {
        loop {
            let last = ended();
            let width = self.width;
            for file in &mut self.files {
                for line in file.read()? {
                    if ui.stream(format!("{:width$} | {line}", file.name)).is_err() {
                        return Ok(());
                    }
                }
            }
            if last {
                return Ok(());
            }
            thread::sleep(POLL);
        }
    }
}

impl Followed {
    fn read(&mut self) -> anyhow::Result<Vec<String>> {
        let size = logs::size(&self.path);
        if size == self.offset {
            return Ok(Vec::new());
        }
        if size < self.offset {
            // It was rotated: a new file begins.
            self.offset = 0;
        }
        let context = || format!("cannot read `{}`", self.path.display());
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            // It is just being rotated.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error).with_context(context),
        };
        file.seek(SeekFrom::Start(self.offset))
            .with_context(context)?;
        let mut new = Vec::new();
        file.take(size - self.offset)
            .read_to_end(&mut new)
            .with_context(context)?;
        self.offset = size;
        self.rest.extend(new);
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else {
            return Ok(Vec::new());
        };
        let whole: Vec<u8> = self.rest.drain(..=end).collect();
        Ok(whole[..end]
            .split(|byte| *byte == b'\n')
            .map(logs::shown)
            .collect())
    }
}
