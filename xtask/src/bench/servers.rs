//! The upstream servers exactly as the wrappers run them, read from a running stack.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, bail};

use engine::checkout::context::Ctx;
use engine::operations::inputs::Inputs;
use engine::plan::stack::ReadinessCheck;

/// One server without its wrapper.
#[derive(Debug, Clone)]
pub(super) struct Server {
    pub(super) name: String,
    pub(super) command: Vec<String>,
    pub(super) env: BTreeMap<String, String>,
    pub(super) directory: PathBuf,
    /// Answers 200 as soon as the server is healthy.
    pub(super) url: String,
}

/// Reads the servers of the running stack from `/proc`, in start order.
pub(super) fn read(ctx: &Ctx) -> anyhow::Result<Vec<Server>> {
    let inputs = Inputs::load(ctx)?;
    let states = ctx.client()?.processes()?;
    let mut servers = Vec::new();
    for name in &inputs.stack.order {
        let process = &inputs.stack.processes[name];
        let state = states
            .get(name)
            .with_context(|| format!("`{name}` does not run"))?;
        let check = process.readiness.as_ref().map(|readiness| &readiness.check);
        if matches!(check, Some(ReadinessCheck::Lock { .. })) {
            // A process without a server.
            continue;
        }
        let Some(ReadinessCheck::Http { url, .. }) = check else {
            bail!("`{name}` has no HTTP readiness probe");
        };
        let mut server = read_child(state.pid, name, url)?;
        if name != "pocketbase" {
            // Caddy's socket belongs to its wrapper; bare, Caddy listens by itself.
            let address = format!("127.0.0.1:{}", process.ports["http"].port);
            keep_configuration(&mut server, ctx, &address)?;
        }
        servers.push(server);
    }
    Ok(servers)
}

fn read_child(wrapper: i32, name: &str, url: &str) -> anyhow::Result<Server> {
    let children = fs::read_to_string(format!("/proc/{wrapper}/task/{wrapper}/children"));
    let children = children.context("cannot read the children of a wrapper")?;
    let pid = children.split_whitespace().next();
    let pid = pid.with_context(|| format!("the wrapper of `{name}` has no child"))?;
    let words = |file: &str| -> anyhow::Result<Vec<String>> {
        let bytes = fs::read(format!("/proc/{pid}/{file}")).context("cannot read a server")?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Ok(text.split_terminator('\0').map(str::to_owned).collect())
    };
    let env = words("environ")?;
    let pair = |line: &String| {
        let (name, value) = line.split_once('=')?;
        Some((name.to_owned(), value.to_owned()))
    };
    let mut command = words("cmdline")?;
    // The path by which it was started, whatever the program calls itself.
    let program = fs::read_link(format!("/proc/{pid}/exe")).context("cannot read a server")?;
    command[0] = program.to_string_lossy().into_owned();
    Ok(Server {
        name: name.to_owned(),
        command,
        env: env.iter().filter_map(pair).collect(),
        directory: fs::read_link(format!("/proc/{pid}/cwd")).context("cannot read a server")?,
        url: url.to_owned(),
    })
}

/// Copies the configuration file of a server, which a wrapper removes when it ends, with the
/// `address` instead of an inherited socket.
fn keep_configuration(server: &mut Server, ctx: &Ctx, address: &str) -> anyhow::Result<()> {
    let name = &server.name;
    let is_option = |word: &String| word == "--config" || word == "-c";
    let position = server.command.iter().position(is_option);
    let word = position.and_then(|position| server.command.get_mut(position + 1));
    let word = word.with_context(|| format!("`{name}` runs without a configuration file"))?;
    let text = fs::read_to_string(server.directory.join(&*word)).context("cannot read it")?;
    let file = ctx.paths.state().join(name).join("bench.conf");
    fs::write(&file, text.replace("fd/0", address)).context("cannot write a configuration")?;
    *word = file.to_string_lossy().into_owned();
    Ok(())
}
