//! What the user wrote: `.env`, the manifests and the settings in them. Names are told, values
//! never.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use super::check::{Check, Id};
use super::scene::Scene;
use crate::context::Ctx;
use crate::env::{doubts, input};
use crate::manifests;
use crate::preflight;
use crate::stack::{Process, Service, Stack};

/// Parts of a variable's name by which it holds a secret, whatever uses it.
const SECRET_WORDS: [&str; 6] = [
    "PASSWORD",
    "PASSWD",
    "SECRET",
    "TOKEN",
    "CREDENTIAL",
    "PRIVATE_KEY",
];

/// The variable of the superuser's address.
const EMAIL: &str = "CORE_POCKETBASE_ADMIN_EMAIL";

/// How long an `.env` that is no file may take to be written.
const PIPE_WAIT: Duration = Duration::from_secs(2);

/// Bits of a file's mode by which others than the owner may touch it.
const OTHERS: u32 = 0o077;

pub(super) fn check(scene: &Scene<'_>) -> Vec<Check> {
    let mut checks = vec![syntax(scene), mode(scene)];
    checks.push(valid_manifests(scene));
    let services = scene.services.as_deref().unwrap_or_default();
    checks.extend(judge_without_effect(&manifests::without_effect(services)));
    checks.push(match &scene.env {
        Ok(env) => judge_email(env.non_empty(EMAIL)),
        Err(_) => Check::skipped(Id::SuperuserEmail, UNREADABLE),
    });
    checks.push(settings(scene));
    checks
}

/// Why a check that needs `.env` was not made.
const UNREADABLE: &str = "`.env` cannot be read";

fn syntax(scene: &Scene<'_>) -> Check {
    let id = Id::DotenvSyntax;
    match &scene.env {
        Err(error) => Check::failed(id, error),
        Ok(env) if scene.paths().dotenv().exists() => {
            let services = scene.services.as_deref().unwrap_or_default();
            judge_doubts(&doubts::warnings(env, services))
        }
        Ok(_) => Check::ok(id, "there is no `.env`"),
    }
}

pub(super) fn judge_doubts(warnings: &[String]) -> Check {
    let id = Id::DotenvSyntax;
    if warnings.is_empty() {
        return Check::ok(id, "`.env` can be read");
    }
    Check::warning(id, warnings.join("\n")).fix("correct these lines of `.env`")
}

/// `.env` as it lies there.
pub(crate) struct Dotenv {
    /// Its permissions.
    pub(super) mode: u32,
    /// The names of its variables, as far as lines can be told apart.
    pub(super) names: Vec<String>,
}

impl Dotenv {
    /// `None` when there is none.
    pub(crate) fn look(path: &Path) -> io::Result<Option<Self>> {
        let meta = match fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            meta => meta?,
        };
        let text = String::from_utf8_lossy(&input::read(path, PIPE_WAIT)?).into_owned();
        Ok(Some(Self {
            mode: meta.permissions().mode() & 0o7777,
            names: names(&text),
        }))
    }

    /// The variables that hold secrets, when others may read them.
    pub(crate) fn exposed(&self, secrets: &BTreeSet<String>) -> Vec<&str> {
        let is_secret = |name: &&String| {
            let name = name.to_ascii_uppercase();
            secrets.contains(&name) || SECRET_WORDS.iter().any(|word| name.contains(word))
        };
        let exposed = self.names.iter().filter(is_secret);
        let exposed = exposed.filter(|_| self.mode & OTHERS != 0);
        exposed.map(String::as_str).collect()
    }
}

/// What stands before `=`: works on a file that cannot be parsed, too.
fn names(text: &str) -> Vec<String> {
    let name = |line: &str| {
        let (name, _) = line.split_once('=')?;
        let name = name.trim().trim_start_matches("export ").trim();
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        (!name.is_empty() && name.chars().all(plain)).then(|| name.to_owned())
    };
    text.lines().filter_map(name).collect()
}

/// The variables that manifests put into a secret of a process.
pub(crate) fn secret_variables(services: &[Service]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for service in services {
        let process = &service.document.manifest.process;
        for value in process
            .secrets
            .iter()
            .filter_map(|name| process.env.get(name))
        {
            for rest in value.split("${env.").skip(1) {
                let plain = |c: &char| c.is_ascii_alphanumeric() || *c == '_';
                found.insert(rest.chars().take_while(plain).collect());
            }
        }
    }
    found
}

fn mode(scene: &Scene<'_>) -> Check {
    let secrets = secret_variables(scene.services.as_deref().unwrap_or_default());
    match Dotenv::look(&scene.paths().dotenv()) {
        Ok(dotenv) => judge_mode(dotenv.as_ref(), &secrets),
        Err(error) => Check::skipped(Id::DotenvMode, format!("cannot look at `.env`: {error}")),
    }
}

pub(super) fn judge_mode(dotenv: Option<&Dotenv>, secrets: &BTreeSet<String>) -> Check {
    let id = Id::DotenvMode;
    let Some(dotenv) = dotenv else {
        return Check::ok(id, "there is no `.env`");
    };
    let mode = dotenv.mode;
    let exposed = dotenv.exposed(secrets);
    if exposed.is_empty() {
        return Check::ok(
            id,
            format!("mode {mode:04o}, no secret that others can read"),
        );
    }
    let found = format!("mode {mode:04o}: others can read {}", exposed.join(", "));
    Check::warning(id, found).fix("chmod 600 .env")
}

fn valid_manifests(scene: &Scene<'_>) -> Check {
    let id = Id::Manifests;
    match (&scene.services, &scene.stack) {
        (Err(error), _) | (_, Some(Err(error))) => Check::failed(id, error),
        (Ok(services), Some(Ok(_))) => Check::ok(
            id,
            format!("{} are valid with their variables", services.len()),
        ),
        (Ok(services), None) => {
            let found = format!("{} are valid by themselves; {UNREADABLE}", services.len());
            Check::ok(id, found)
        }
    }
}

/// Keys that do nothing are no fault, but somebody may count on them.
pub(super) fn judge_without_effect(keys: &[String]) -> Option<Check> {
    let found = format!("{}: does nothing", keys.join(", "));
    let check = Check::info(Id::Manifests, found).fix("remove these keys from the manifests");
    (!keys.is_empty()).then_some(check)
}

/// What is told of an address; PocketBase's own check, among the settings, has the last word.
pub(super) fn judge_email(email: Option<&str>) -> Check {
    let id = Id::SuperuserEmail;
    let Some(email) = email else {
        return Check::ok(id, "not chosen: an account is generated once");
    };
    let domain = email.split_once('@').filter(|(local, _)| !local.is_empty());
    let domain = domain.map(|(_, domain)| domain);
    let dotted = |domain: &str| {
        let labels: Vec<&str> = domain.split('.').collect();
        let blank = |c: char| c.is_whitespace() || c == '@';
        labels.len() > 1 && labels.iter().all(|l| !l.is_empty() && !l.contains(blank))
    };
    if domain.is_some_and(dotted) {
        return Check::ok(id, "an address that PocketBase takes");
    }
    let found = format!("{EMAIL} is `{email}`, no address that PocketBase takes");
    Check::error(id, found).fix(format!(
        "give it a domain with a dot: {EMAIL}=admin@core.local"
    ))
}

fn settings(scene: &Scene<'_>) -> Check {
    let id = Id::Settings;
    let (Ok(env), Some(Ok(stack))) = (&scene.env, &scene.stack) else {
        return Check::skipped(id, "manifests or `.env` cannot be read");
    };
    let ctx = Ctx {
        paths: scene.paths().clone(),
        env: env.clone(),
        ui: scene.ctx.ui.clone(),
    };
    if let Some(reason) = unusable(scene, stack) {
        return Check::skipped(id, reason);
    }
    judge_settings(preflight::check_settings(&ctx, stack))
}

/// Why the programs that check settings cannot be run now: they are not there, or not ours.
fn unusable(scene: &Scene<'_>, stack: &Stack) -> Option<String> {
    let root = scene.paths().root();
    let damaged = scene.damaged();
    for (name, process) in stack.processes.iter().filter(|(_, p)| !p.disabled) {
        let Some(program) = process.check.as_ref().and_then(|words| words.first()) else {
            continue;
        };
        let path = Process::program(&process.directory(root), program);
        if program.contains('/') && !path.exists() {
            return Some(format!(
                "the program that checks `{name}` is not installed yet"
            ));
        }
        if damaged
            .iter()
            .any(|damaged| path.ends_with(Path::new(".dep").join(damaged)))
        {
            return Some(format!("the program that checks `{name}` is damaged"));
        }
    }
    None
}

pub(super) fn judge_settings(checked: anyhow::Result<()>) -> Check {
    let id = Id::Settings;
    match checked {
        Ok(()) => Check::ok(id, "no service refuses its settings"),
        Err(error) => Check::failed(id, &error),
    }
}
