//! The variables by which apps and tests find a stack: those that its services export.
//!
//! Owns whose variables they are. Must not know a service: manifests declare them.

use std::fs::OpenOptions;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use anyhow::Context as _;
use kit::{Exit, Failure};

use crate::checkout::applied::Applied;
use crate::checkout::context::Ctx;
use crate::operations::inputs::Inputs;
use crate::plan::render::variables::Variables;
use crate::plan::stack::Stack;

/// Returns the variables of the running stack; with `declared`, of the stack that would run.
pub fn exports(ctx: &Ctx, declared: bool) -> anyhow::Result<Variables> {
    if declared {
        return Ok(of(&Inputs::load(ctx)?.stack));
    }
    of_running(ctx)?.ok_or_else(|| {
        let failure = Failure::new(Exit::NotRunning, "there is no running stack to tell of");
        let hint = "start it with `cargo xtask up`, or say `--declared` for what would run";
        failure.hint(hint).into()
    })
}

/// Returns the variables of the running stack, if there is one.
pub fn of_running(ctx: &Ctx) -> anyhow::Result<Option<Variables>> {
    Ok(Applied::running(ctx)?.map(|applied| of(&applied.stack)))
}

/// Returns the secret variables of the running stack, if there is one. They are in no record but
/// that of its inputs, which is private.
pub fn secrets_of_running(ctx: &Ctx) -> anyhow::Result<Option<Variables>> {
    if !ctx.is_running()? {
        return Ok(None);
    }
    let stack = match Applied::recorded(&ctx.paths) {
        Some(recorded) => recorded.stack,
        None => Inputs::load(&ctx.with_dotenv()?)?.stack,
    };
    let enabled = stack.processes.into_values();
    let enabled = enabled.filter(|process| !process.disabled);
    let secrets = enabled.flat_map(|process| process.secret_exports);
    Ok(Some(
        secrets.map(|(name, value)| (name, value.text)).collect(),
    ))
}

/// Returns the variables of every enabled process.
pub fn of(stack: &Stack) -> Variables {
    let processes = stack.processes.values();
    let enabled = processes.filter(|process| !process.disabled);
    enabled
        .flat_map(|process| process.exports.clone())
        .collect()
}

/// Appends entries to a file such as that of `GITHUB_ENV`, on lines of their own.
pub fn append(path: &Path, text: &str) -> anyhow::Result<()> {
    let append = || -> io::Result<()> {
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(path)?;
        let mut last = [b'\n'];
        if file.metadata()?.len() > 0 {
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
        }
        let begin = if last == [b'\n'] { "" } else { "\n" };
        file.write_all(format!("{begin}{text}").as_bytes())
    };
    append().with_context(|| format!("cannot write to `{}`", path.display()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::append;

    #[test]
    fn entries_begin_on_a_line_of_their_own() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("env");
        for (before, after) in [("", "A=1\n"), ("x", "x\nA=1\n"), ("x\n", "x\nA=1\n")] {
            fs::write(&path, before).unwrap();
            append(&path, "A=1\n").unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), after);
        }
    }
}
