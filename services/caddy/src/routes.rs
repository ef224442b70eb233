//! The routing table: directories whose file names Caddy reads for each request.
//!
//! A table in the configuration would be loaded with each change, which closes idle connections and
//! cuts websockets. Owns the two directories below the state directory. Must not know how a request
//! is forwarded.
//!
//! `routes/HOST/SEGMENT/…/@/MODE,SERVICE,ADDRESS` is a route, with `_` as the host of those without
//! one; `origins/SCHEME:/HOST:PORT` is an origin whose pages may open the websocket of NATS.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use kit::files::create_private_dir;
use serde::Deserialize;

use crate::settings::Settings;

/// The directory of routes, in Caddy's working directory.
pub(crate) const ROUTES: &str = "routes";
/// The directory of origins, there.
pub(crate) const ORIGINS: &str = "origins";
/// The level below which a directory's routes are: no segment of a path has that name.
pub(crate) const LEAF: &str = "@";
/// The host of routes without one.
pub(crate) const ANY_HOST: &str = "_";
/// Exists if there is a route for any host, and if there is one for a host: without them, a request
/// costs one look each instead of four.
pub(crate) const SOME: &str = "@some";
pub(crate) const SOME_OF_HOSTS: &str = "@hosts";

/// A path that leads to a service.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct Route {
    pub(crate) service: String,
    pub(crate) path: String,
    pub(crate) host: Option<String>,
    #[serde(default)]
    pub(crate) strip_prefix: bool,
    /// `HOST:PORT`.
    pub(crate) address: String,
}

impl Route {
    /// Returns its file in the directory of routes.
    fn file(&self) -> PathBuf {
        let mode = if self.strip_prefix { "strip" } else { "keep" };
        let host = self.host.as_deref().unwrap_or(ANY_HOST);
        let mut file = PathBuf::from(host);
        file.extend(self.path.split('/').filter(|segment| !segment.is_empty()));
        file.push(LEAF);
        file.push(format!("{mode},{},{}", self.service, self.address));
        file
    }
}

/// Makes the directories those of the settings.
pub(crate) fn write(settings: &Settings) -> anyhow::Result<()> {
    let mut routes: BTreeSet<PathBuf> = settings.routes.iter().map(Route::file).collect();
    let hosts = settings.routes.iter().map(|route| route.host.is_some());
    let marks = hosts.map(|has_host| if has_host { SOME_OF_HOSTS } else { SOME });
    routes.extend(marks.map(PathBuf::from));
    let origins = settings.nats_ws_pages.iter();
    let origins = origins.map(|origin| PathBuf::from(origin.replacen("//", "/", 1)));
    for (name, files) in [(ROUTES, routes), (ORIGINS, origins.collect())] {
        let dir = settings.state_dir.join(name);
        create_private_dir(&dir)?;
        replace(&dir, &files).with_context(|| format!("cannot write `{}`", dir.display()))?;
    }
    Ok(())
}

/// Makes `files` the only ones in `dir`. What is new comes first, so a changed address leaves no
/// request without one.
fn replace(dir: &Path, files: &BTreeSet<PathBuf>) -> std::io::Result<()> {
    for file in files {
        let path = dir.join(file);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::File::create(&path)?;
    }
    prune(dir, dir, files).map(drop)
}

/// Removes all but `files` from a directory below `root`. Returns whether it is empty then.
fn prune(root: &Path, dir: &Path, files: &BTreeSet<PathBuf>) -> std::io::Result<bool> {
    let mut is_empty = true;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let path = entry.path();
        let gone = if entry.file_type()?.is_dir() {
            prune(root, &path, files)? && removed(fs::remove_dir(&path))?
        } else if path
            .strip_prefix(root)
            .is_ok_and(|file| files.contains(file))
        {
            false
        } else {
            removed(fs::remove_file(&path))?
        };
        is_empty &= gone;
    }
    Ok(is_empty)
}

fn removed(result: std::io::Result<()>) -> std::io::Result<bool> {
    match result {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::tests::settings;

    fn files(dir: &Path) -> Vec<String> {
        let mut found = Vec::new();
        let mut next = vec![dir.to_path_buf()];
        while let Some(here) = next.pop() {
            let entries: Vec<_> = fs::read_dir(&here).unwrap().collect();
            if entries.is_empty() {
                found.push(format!("{}/", here.display()));
            }
            for entry in entries {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    next.push(path);
                } else {
                    found.push(path.strip_prefix(dir).unwrap().display().to_string());
                }
            }
        }
        found.sort();
        found
    }

    #[test]
    fn the_directories_are_those_of_the_settings() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().display().to_string();
        let write_routes = |routes: &str| {
            let changes = [("CADDY_ROUTES", routes), ("CADDY_STATE_DIR", &state)];
            write(&settings(&changes).unwrap()).unwrap();
            files(&dir.path().join(ROUTES))
        };
        let web = r#"{"service":"web","path":"/","address":"localhost:5173"}"#;
        let api = r#"{"service":"api","path":"/app/v2","host":"a.localhost",
                      "strip_prefix":true,"address":"localhost:7001"}"#;
        let both = [
            "@hosts",
            "@some",
            "_/@/keep,web,localhost:5173",
            "a.localhost/app/v2/@/strip,api,localhost:7001",
        ];
        assert_eq!(write_routes(&format!("[{web},{api}]")), both);
        let moved = write_routes(&format!("[{}]", web.replace("5173", "5174")));
        assert_eq!(moved, ["@some", "_/@/keep,web,localhost:5174"]);
        let none = format!("{}/", dir.path().join(ROUTES).display());
        assert_eq!(write_routes(""), [none]);
        let origins = files(&dir.path().join(ORIGINS));
        assert_eq!(origins, ["http:/127.0.0.1:2015", "http:/localhost:2015"]);
    }
}
