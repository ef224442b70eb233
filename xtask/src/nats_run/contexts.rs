//! Contexts for the `nats` CLI: files with the addresses and logins of the running servers.
//!
//! They are in a separate configuration directory: the user's contexts are not touched.

use std::fs;
use std::path::PathBuf;

use anyhow::Context as _;
use kit::files::{self, PRIVATE_FILE_MODE};
use serde::Serialize;
use service_nats::credentials::{self, Login};
use service_nats::topology::{Facts, Node, Role};

use engine::checkout::context::Ctx;
use engine::checkout::paths::Paths;
use engine::plan::stack::Stack;

/// The context of the hub, and the suffix for that of its system account.
const HUB: &str = "core-hub";
const SYSTEM: &str = "-system";

/// A context in the format of the CLI: github.com/nats-io/jsm.go, natscontext.
#[derive(Debug, Serialize)]
struct Context {
    description: String,
    url: String,
    user: String,
    password: String,
}

/// Returns the value for `XDG_CONFIG_HOME`.
fn config_home(paths: &Paths) -> PathBuf {
    paths.state().join("cli")
}

/// Writes a context for each account of the hub and for each leaf node.
pub(super) fn write(ctx: &Ctx, stack: &Stack, facts: &Facts) -> anyhow::Result<()> {
    let nodes = facts.nodes();
    let first = nodes.first().context("the topology has no node")?;
    let logins = credentials::read(&ctx.paths.data().join(&first.directory))?;
    let app = chosen(stack, first).unwrap_or(logins.app);
    let hub: Vec<&Node> = nodes.iter().filter(|node| node.role == Role::Hub).collect();
    let urls: Vec<String> = hub.iter().filter_map(|node| url(stack, node)).collect();
    let urls = urls.join(",");
    let mut contexts = vec![
        (HUB.to_owned(), context("the hub", &urls, &app)),
        (
            format!("{HUB}{SYSTEM}"),
            context("the system account of the hub", &urls, &logins.sys),
        ),
    ];
    for node in nodes.iter().filter(|node| node.role == Role::Leaf) {
        let what = format!("the leaf node in {}", node.region);
        let url = url(stack, node).unwrap_or_default();
        contexts.push((format!("core-{}", node.name), context(&what, &url, &app)));
    }
    let directory = config_home(&ctx.paths).join("nats/context");
    files::create_private_dir(&directory)?;
    for (name, context) in contexts {
        let text = serde_json::to_vec_pretty(&context)?;
        let file = directory.join(format!("{name}.json"));
        files::write_if_changed(&file, &text, PRIVATE_FILE_MODE)?;
    }
    Ok(())
}

/// Removes them: their servers are about to stop.
pub(super) fn remove(paths: &Paths) {
    let _ = fs::remove_dir_all(config_home(paths));
}

/// Explains how a user uses them.
pub(super) fn how_to_use(paths: &Paths) -> String {
    let home = config_home(paths).to_string_lossy().into_owned();
    let home = engine::plan::stack::words::join(&[home]);
    format!(
        "for the `nats` CLI:\n  export XDG_CONFIG_HOME={home}\n  \
         nats --context {HUB}{SYSTEM} server ls"
    )
}

fn context(what: &str, url: &str, login: &Login) -> Context {
    Context {
        description: format!("{what}, run by cargo xtask nats run"),
        url: url.to_owned(),
        user: login.user.clone(),
        password: login.password.clone(),
    }
}

/// Returns the user in `NATS_USER`, if it is set.
fn chosen(stack: &Stack, node: &Node) -> Option<Login> {
    let env = &stack.processes.get(&node.process)?.env;
    let text = |name: &str| {
        let value = env.get(name)?;
        (!value.text.is_empty()).then(|| value.text.clone())
    };
    Some(Login {
        user: text("NATS_USER")?,
        password: text("NATS_PASSWORD")?,
    })
}

fn url(stack: &Stack, node: &Node) -> Option<String> {
    stack.processes.get(&node.process)?.url()
}
