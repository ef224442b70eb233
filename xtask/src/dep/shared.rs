//! The user's store of fetched binaries, which all checkouts on a machine share.
//!
//! Owns its layout: `objects/SHA256` are the files, `pins/` says which program each is. Nothing in
//! it is trusted: a copy is used when its content has the digest of its name, and `dep.lock` pins
//! it. So a killed writer and a damaged disk cost a download, nothing else. Must not fetch.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use kit::files::{FileLock, create_private_dir};
use kit::{Exit, Failure};

use super::context::Context;
use super::digest;
use super::fetch::allowed;
use super::got::{Got, Wanted};
use super::record::{Record, Source};
use engine::base::interrupt::Interrupt;
use engine::base::poll::wait_until;
use engine::checkout::levels::list;
use engine::plan::env::{Env, Origin};

/// The variable that names another directory, or none if it is empty.
const DIRECTORY_VARIABLE: &str = "CORE_STORE_DIR";
/// The directory, below the directory for caches.
const DIRECTORY: &str = "core-stack/binaries";
/// The files by digest, and the records about them.
const PARTS: [&str; 2] = ["objects", "pins"];
/// The sources whose binaries are kept, in the order in which they are tried.
const KEPT: [Source; 3] = [Source::Archive, Source::Wheel, Source::Go];
/// The bits of a mode that let others write.
const OTHERS_WRITE: u32 = 0o022;
/// How long to wait for another process that writes: it copies one file.
const LOCK_WAIT: Duration = Duration::from_secs(10);
/// How often the lock is tried.
const LOCK_POLL: Duration = Duration::from_millis(20);

/// The store of a user.
#[derive(Debug, Clone)]
pub struct Shared {
    directory: PathBuf,
}

impl Shared {
    /// Returns the store that the environment names; `None` when it is turned off, or when there is
    /// no home directory.
    pub fn of(env: &Env) -> Option<Self> {
        let own = |name: &str| {
            let value = env.get(name)?;
            (env.origin(name) == Some(Origin::Process)).then_some(value)
        };
        let absolute = |text: &str| Some(PathBuf::from(text)).filter(|path| path.is_absolute());
        if let Some(chosen) = own(DIRECTORY_VARIABLE) {
            let directory = absolute(chosen)?;
            return Some(Self { directory });
        }
        let cache = own("XDG_CACHE_HOME").and_then(absolute);
        let home = || Some(absolute(own("HOME")?)?.join(".cache"));
        let directory = cache.or_else(home)?.join(DIRECTORY);
        Some(Self { directory })
    }

    /// Returns its directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    fn object(&self, sha256: &str) -> PathBuf {
        self.directory.join("objects").join(sha256)
    }

    fn pin(&self, platform: &str, wanted: Wanted<'_>, source: Source) -> PathBuf {
        let Wanted { name, version, .. } = wanted;
        let file = format!("{name}-{version}-{platform}-{source}.json");
        self.directory.join("pins").join(file)
    }

    /// Copies a program that `dep.lock` pins into the directory `work`, if the store has it. `tell`
    /// receives a line about a damaged file.
    pub(super) fn get(
        &self,
        context: &Context<'_>,
        wanted: Wanted<'_>,
        work: &Path,
        tell: &dyn Fn(String),
    ) -> Option<(Source, Got)> {
        if !self.is_ours() {
            return None;
        }
        KEPT.into_iter().find_map(|source| {
            let record = Record::load(&self.pin(&context.platform, wanted, source))?;
            let is_digest = digest::is_sha256(&record.sha256);
            if record.source != source || !is_digest || !allowed(context, wanted, &record) {
                return None;
            }
            let object = self.object(&record.sha256);
            let file = work.join("shared");
            let is_file = object.symlink_metadata().is_ok_and(|meta| meta.is_file());
            if !is_file || fs::copy(&object, &file).is_err() {
                return None;
            }
            // Of the copy: the file may be replaced meanwhile.
            if digest::of_file(&file).is_ok_and(|found| found == record.sha256) {
                let (sha256, origin) = (record.sha256, record.origin);
                let got = Got {
                    file,
                    sha256,
                    origin,
                };
                return Some((source, got));
            }
            tell(format!("`{}` is damaged: not used", object.display()));
            None
        })
    }

    /// Whether nobody else can write to the store: not every binary has a pinned digest.
    fn is_ours(&self) -> bool {
        let meta = fs::metadata(&self.directory);
        let own = rustix::process::geteuid().as_raw();
        meta.is_ok_and(|meta| meta.uid() == own && meta.mode() & OTHERS_WRITE == 0)
    }

    /// Keeps an installed program. An older copy is replaced, as it may be damaged.
    pub(super) fn put(
        &self,
        context: &Context<'_>,
        wanted: Wanted<'_>,
        record: &Record,
    ) -> anyhow::Result<()> {
        if !KEPT.contains(&record.source) {
            return Ok(());
        }
        let _lock = self.lock()?;
        for part in PARTS {
            create_private_dir(&self.directory.join(part))?;
        }
        // What a killed process left here is replaced with it.
        let new = self.object("new");
        let object = self.object(&record.sha256);
        fs::copy(context.store.binary(wanted.name), &new)
            .and_then(|_| fs::rename(&new, &object))
            .with_context(|| format!("cannot write `{}`", object.display()))?;
        let pin = self.pin(&context.platform, wanted, record.source);
        let old = Record::load(&pin).filter(|old| old.sha256 != record.sha256);
        record.store(&pin)?;
        if let Some(old) = old.filter(|old| digest::is_sha256(&old.sha256)) {
            // Nothing else names it.
            _ = fs::remove_file(self.object(&old.sha256));
        }
        Ok(())
    }

    /// Returns the sizes of the binaries, by their names in `pins/`.
    pub fn sizes(&self) -> anyhow::Result<BTreeMap<String, u64>> {
        let size = |pin: PathBuf| {
            let object = self.object(&Record::load(&pin)?.sha256);
            let name = pin.file_stem()?.to_str()?.to_owned();
            Some((name, object.symlink_metadata().ok()?.len()))
        };
        let pins = list(&self.directory.join("pins"))?;
        Ok(pins.into_iter().filter_map(size).collect())
    }

    /// Deletes all binaries. The lock file stays.
    pub fn delete(&self) -> anyhow::Result<()> {
        if !self.directory.is_dir() {
            return Ok(());
        }
        let _lock = self.lock()?;
        for part in PARTS {
            let part = self.directory.join(part);
            match fs::remove_dir_all(&part) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(error)
                        .with_context(|| format!("cannot delete `{}`", part.display()));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Takes the right to write.
    fn lock(&self) -> anyhow::Result<FileLock> {
        create_private_dir(&self.directory)?;
        let file = self.directory.join("lock");
        let deadline = Instant::now() + LOCK_WAIT;
        let claim = || FileLock::try_exclusive(&file);
        let lock = wait_until(deadline, LOCK_POLL, &Interrupt::default(), claim)?;
        lock.done().ok_or_else(|| {
            let message = format!("`{}` is held by another process", file.display());
            Failure::new(Exit::Timeout, message).into()
        })
    }
}
