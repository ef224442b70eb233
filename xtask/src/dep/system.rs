//! A program of the system on PATH, only with `--system`: the named exception to "nothing runs that
//! was not verified".

use std::fs;
use std::path::Path;
use std::process::Command;

use super::context::Context;
use super::got::{self, Got, Miss, Wanted};
use super::progress::Task;
use super::record::Source;
use super::store::Guard;
use engine::base::tool;

pub(super) fn get(
    context: &Context<'_>,
    guard: &Guard,
    wanted: Wanted<'_>,
    task: &mut Task<'_>,
) -> Result<Option<Got>, Miss> {
    if !context.options.system {
        return Ok(None);
    }
    let upstreams = context.upstreams()?;
    let system = upstreams.programs.get(wanted.name);
    let Some(system) = system.and_then(|upstream| upstream.system.as_ref()) else {
        return Ok(None);
    };
    // Our own wrappers have the same names.
    let root = context.paths.root();
    let found = context.find_all(&system.program);
    let Some(program) = found.into_iter().find(|path| !path.starts_with(root)) else {
        return Err(Miss::Skip(format!("no `{}` on PATH", system.program)));
    };
    let shown = program.display().to_string();
    if !has_version(context, &program, &system.args, wanted.version, task)? {
        let line = format!("`{shown}` is not version {}", wanted.version);
        return Err(Miss::Skip(line));
    }
    task.stage("copying", Source::System);
    let file = guard.work().join("binary");
    fs::copy(&program, &file)
        .map_err(|error| Miss::Told(format!("cannot copy `{shown}`: {error}")))?;
    got::of_file(file, None).map(Some)
}

fn has_version(
    context: &Context<'_>,
    program: &Path,
    args: &[String],
    version: &str,
    task: &Task<'_>,
) -> Result<bool, Miss> {
    let mut command = Command::new(program);
    command.args(args).env("PATH", context.path());
    let detail = |line: &str| task.detail(line);
    let finished = tool::run(
        &mut command,
        context.limits.version,
        &context.cancel,
        &detail,
    );
    match finished {
        Ok(finished) => Ok(finished.success() && names(&finished.tail, version)),
        Err(error) if super::is_cancelled(&error) => Err(Miss::Fatal(error)),
        Err(error) => Err(Miss::Skip(format!("{error:#}"))),
    }
}

/// Whether a word of the output is this version, with or without a `v`.
fn names(lines: &[String], version: &str) -> bool {
    lines
        .iter()
        .flat_map(|line| line.split_whitespace())
        .any(|word| word.strip_prefix('v').unwrap_or(word) == version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_is_a_whole_word() {
        for (line, version, same) in [
            ("nats-server: v2.15.0", "2.15.0", true),
            ("pocketbase version 0.40.4", "0.40.4", true),
            ("v2.11.7 h1:abc=", "2.11.7", true),
            ("Version:        v1.120.0", "1.120.0", true),
            ("v2.11.70 h1:abc=", "2.11.7", false),
            ("v2.11.7-beta.1", "2.11.7", false),
        ] {
            assert_eq!(names(&[line.to_owned()], version), same, "{line}");
        }
    }
}
