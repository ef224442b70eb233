//! Checks of the user's files: `.env`, the manifests and the settings in them. They report names,
//! never values.

use std::collections::BTreeSet;
use std::path::Path;

use super::check::{Check, Id};
use super::scene::Scene;
use engine::checkout::env::exposed::{Dotenv, secret_variables};
use engine::checkout::manifests;
use engine::operations::preflight;
use engine::plan::doubts;
use engine::plan::stack::{Process, Stack};

/// The variable of the superuser's e-mail address.
const EMAIL: &str = "CORE_POCKETBASE_ADMIN_EMAIL";

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

/// Why a check that needs `.env` was skipped.
const UNREADABLE: &str = "`.env` cannot be read";

fn syntax(scene: &Scene<'_>) -> Check {
    let id = Id::DotenvSyntax;
    match &scene.env {
        Err(error) => Check::failed(id, error),
        Ok(env) => {
            let services = scene.services.as_deref().unwrap_or_default();
            let warnings = doubts::warnings(env, services);
            if warnings.is_empty() && !scene.paths().dotenv().exists() {
                return Check::ok(id, "there is no `.env`");
            }
            judge_doubts(&warnings)
        }
    }
}

pub(super) fn judge_doubts(warnings: &[String]) -> Check {
    let id = Id::DotenvSyntax;
    if warnings.is_empty() {
        return Check::ok(id, "`.env` can be read");
    }
    Check::warning(id, warnings.join("\n")).fix("correct these lines")
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

/// Keys without effect are no error, but a user may rely on them.
pub(super) fn judge_without_effect(keys: &[String]) -> Option<Check> {
    let found = format!("{}: does nothing", keys.join(", "));
    let check = Check::info(Id::Manifests, found).fix("remove these keys from the manifests");
    (!keys.is_empty()).then_some(check)
}

/// Judges an e-mail address; PocketBase's own check, among the settings, decides in the end.
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
    let Some(Ok(stack)) = &scene.stack else {
        return Check::skipped(id, "manifests or `.env` cannot be read");
    };
    if let Some(reason) = unusable(scene, stack) {
        return Check::skipped(id, reason);
    }
    judge_settings(preflight::check_settings(&scene.some_ctx(), stack))
}

/// Returns why the programs that check settings cannot run: they are missing or were changed.
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
