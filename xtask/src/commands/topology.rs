//! `cargo xtask topology show|set|reset|history`.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use engine::Ctx;
use engine::SCHEMA_VERSION;
use engine::base::interrupt::Interrupt;
use engine::checkout::env::input;
use engine::checkout::hints;
use engine::supervisor::alive;
use engine::topology::ask::Records;
use engine::topology::record::{Edit, Entry, Record, State};
use kit::names::word;
use kit::{Exit, Failure};
use serde_json::{Value, json};
use service_nats::topology::{Facts, HubSpoke, Origin, SERVICE, Spec, read, spec};

use super::print_json;
use crate::cli::{Topology, TopologySet, WaitOptions};

/// What to do when no stack is running.
const START: &str = "run `cargo xtask up` first; without a running stack the topology is what \
     services/nats/service.json or the variable CORE_TOPOLOGY_NATS asks for";
/// The file name for stdin.
const STDIN: &str = "-";
/// How long the writer of a named pipe may take.
const FILE_WAIT: Duration = Duration::from_mins(1);
/// The name of a specification in errors.
const AT: &str = "topology";

pub(crate) fn run(instance: Option<&str>, command: &Topology) -> anyhow::Result<ExitCode> {
    let ctx = Ctx::without_dotenv(instance)?;
    match command {
        Topology::Show { json } => show(&ctx, *json),
        Topology::Set(args) => set(&ctx, args),
        Topology::Reset { wait } => {
            let mut records = Records::open(&ctx, START)?;
            somebody_applies(&ctx, wait)?;
            let before = running(&ctx)?;
            // From here on a signal must be reported.
            let interrupt = Interrupt::watch()?;
            let asked = records.change(|record| {
                Ok(Edit {
                    origin: Some(Origin::Manifest),
                    retry: record.state() == State::Failed,
                    ..Edit::default()
                })
            })?;
            finish(&ctx, &mut records, &asked, &before, wait, &interrupt)
        }
        Topology::History { limit, json } => history(&ctx, *limit, *json),
    }
}

fn show(ctx: &Ctx, as_json: bool) -> anyhow::Result<ExitCode> {
    let facts = read(&ctx.paths.topology())?;
    let running = alive::is_held(&ctx.paths.alive_lock())?;
    let record = if running {
        Some(Records::open(ctx, START)?.find()?)
    } else {
        None
    };
    if as_json {
        print_json(ctx, &document(&facts, record.as_ref(), running))?;
    } else {
        ctx.ui.data(describe(&facts, record.as_ref()))?;
    }
    if running {
        return Ok(ExitCode::SUCCESS);
    }
    ctx.ui.line(format!(
        "nothing runs: this was applied last\nhint: {}",
        hints::complete(START)
    ));
    Ok(Exit::NotRunning.into())
}

fn document(facts: &Facts, record: Option<&Record>, running: bool) -> Value {
    let record = record.map(|record| {
        json!({
            "spec": record.spec,
            "origin": record.origin,
            "generation": record.generation,
            "state": record.state(),
            "message": record.message(),
            "status": record.status,
        })
    });
    json!({
        "schema_version": SCHEMA_VERSION,
        "service": SERVICE,
        "running": running,
        "applied": {"spec": facts.spec, "origin": facts.origin},
        "record": record,
    })
}

fn describe(facts: &Facts, record: Option<&Record>) -> String {
    let by = match facts.origin {
        Origin::Manifest => "the manifest",
        Origin::User => "a user",
    };
    let mut lines = vec![
        format!("{SERVICE}: {}", in_words(&facts.spec)),
        format!("asked for by {by}"),
    ];
    let nodes = facts.nodes();
    if !nodes.is_empty() {
        let names: Vec<&str> = nodes.iter().map(|node| node.process.as_str()).collect();
        lines.push(format!("nodes: {}", names.join(", ")));
    }
    if let Some(record) = record {
        lines.push(format!(
            "record: generation {}, {}",
            record.generation,
            word(record.state())
        ));
        if !record.message().is_empty() {
            lines.push(record.message().to_owned());
        }
    }
    lines.join("\n")
}

fn in_words(spec: &Spec) -> String {
    let Spec::HubSpoke(HubSpoke {
        hub_region,
        hub_nodes,
        leaf_regions,
        leaf_nodes_per_region,
    }) = spec
    else {
        return "single-node".to_owned();
    };
    let leaves = match (leaf_regions.as_slice(), leaf_nodes_per_region) {
        ([], _) => "no leaf nodes".to_owned(),
        (regions, 1) => format!("a leaf node in {}", regions.join(", ")),
        (regions, count) => format!("{count} leaf nodes in each of {}", regions.join(", ")),
    };
    format!("hub-spoke, {hub_nodes} hub nodes in {hub_region}, {leaves}")
}

fn set(ctx: &Ctx, args: &TopologySet) -> anyhow::Result<ExitCode> {
    if args.service != SERVICE {
        let message = format!("`{}` has no topology", args.service);
        let hint = format!("cargo xtask topology set {SERVICE} --help");
        return Err(Failure::new(Exit::Usage, message).hint(hint).into());
    }
    let from_file = args.file.as_deref().map(read_file).transpose()?;
    let mut records = Records::open(ctx, START)?;
    somebody_applies(ctx, &args.wait)?;
    let before = running(ctx)?;
    // From here on a signal must be reported.
    let interrupt = Interrupt::watch()?;
    let asked = records.change(|record| {
        let spec = match &from_file {
            Some(text) => checked(text)?,
            None => checked(&edited(&record.spec, args).to_string())?,
        };
        Ok(Edit {
            spec: Some(serde_json::to_value(spec)?),
            origin: Some(Origin::User),
            move_streams: Some(args.move_streams),
            retry: record.state() == State::Failed,
        })
    })?;
    finish(ctx, &mut records, &asked, &before, &args.wait, &interrupt)
}

/// Returns an error if no controller would apply it. A request without waiting is kept.
fn somebody_applies(ctx: &Ctx, wait: &WaitOptions) -> anyhow::Result<()> {
    match Records::need_controller(ctx) {
        Err(error) if wait.no_wait => ctx.ui.line(format!("{error:#}: it waits until then")),
        result => return result,
    }
    Ok(())
}

fn read_file(path: &Path) -> anyhow::Result<String> {
    if path == Path::new(STDIN) {
        let mut text = String::new();
        let read = std::io::stdin().read_to_string(&mut text);
        return read.map(|_| text).context("cannot read stdin");
    }
    input::read_text(path, FILE_WAIT).map_err(|error| {
        let message = format!("cannot read `{}`", path.display());
        Failure::new(Exit::Invalid, message).source(error).into()
    })
}

fn checked(text: &str) -> anyhow::Result<Spec> {
    spec::from_json(text, AT).map_err(|problems| {
        let lines = problems
            .iter()
            .map(|problem| format!("`{}` {}", problem.path, problem.message));
        let message = lines.collect::<Vec<_>>().join("\n");
        let hint = "nothing was changed; see docs/topology.md";
        Failure::new(Exit::Invalid, message).hint(hint).into()
    })
}

/// Returns the specification of the record with the values of the command line.
fn edited(spec: &Value, args: &TopologySet) -> Value {
    if args.single_node {
        return json!({"topology": "single-node"});
    }
    let mut spec = if spec["topology"] == "hub-spoke" {
        spec.clone()
    } else {
        json!({"topology": "hub-spoke", "hub_nodes": spec::HUB_NODES_MIN})
    };
    if let Some(nodes) = args.hub_nodes {
        spec["hub_nodes"] = json!(nodes);
    }
    if let Some(region) = &args.hub_region {
        spec["hub_region"] = json!(region);
    }
    if args.no_leaf {
        spec["leaf_regions"] = json!([]);
    } else if !args.leaf.is_empty() {
        spec["leaf_regions"] = json!(args.leaf);
    }
    if let Some(nodes) = args.leaf_nodes {
        spec["leaf_nodes_per_region"] = json!(nodes);
    }
    spec
}

/// Returns the names of the running processes.
fn running(ctx: &Ctx) -> anyhow::Result<BTreeSet<String>> {
    let states = ctx.client()?.processes()?.into_values();
    let running = states.filter(|state| state.is_running);
    Ok(running.map(|state| state.name).collect())
}

fn finish(
    ctx: &Ctx,
    records: &mut Records,
    asked: &Record,
    before: &BTreeSet<String>,
    wait: &WaitOptions,
    interrupt: &Interrupt,
) -> anyhow::Result<ExitCode> {
    let (record, started) = if wait.no_wait {
        (asked.clone(), Vec::new())
    } else {
        let timeout = Duration::from_secs(wait.timeout);
        let record = records.wait(asked, timeout, interrupt)?;
        // Additional output: if it is unavailable, the command does not fail.
        let now = running(ctx).unwrap_or_default();
        (record, now.difference(before).cloned().collect())
    };
    let facts = read(&ctx.paths.topology())?;
    if wait.json {
        let mut document = document(&facts, Some(&record), true);
        document["started"] = json!(started);
        print_json(ctx, &document)?;
    } else if wait.no_wait {
        let show = ctx.paths.command("topology show");
        ctx.ui.line(format!("asked for; see `{show}`"));
    } else {
        ctx.ui.line(format!("applied: {}", in_words(&facts.spec)));
        if !started.is_empty() {
            ctx.ui.line(format!("started: {}", started.join(", ")));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn history(ctx: &Ctx, limit: usize, as_json: bool) -> anyhow::Result<ExitCode> {
    let entries = Records::open(ctx, START)?.history(limit)?;
    if as_json {
        let document = json!({"schema_version": SCHEMA_VERSION, "history": entries});
        return print_json(ctx, &document);
    }
    for entry in &entries {
        ctx.ui.data(line(entry))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn line(entry: &Entry) -> String {
    let spec = spec::from_json(&entry.spec.to_string(), AT);
    let spec = spec.map_or_else(|_| entry.spec.to_string(), |spec| in_words(&spec));
    let reason = entry.message.lines().next().unwrap_or_default();
    let reason = match reason {
        "" => String::new(),
        reason => format!(" ({reason})"),
    };
    format!(
        "{}  {:>3}  {}  {spec}{reason}",
        entry.created,
        entry.generation,
        word(entry.state)
    )
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    fn after(spec: &Value, words: &str) -> Value {
        let line = format!("xtask topology set nats {words}");
        let cli = Cli::try_parse_from(line.split_whitespace()).unwrap();
        let Some(Command::Topology(Topology::Set(args))) = cli.command else {
            panic!("not `topology set`: {line}");
        };
        edited(spec, &args)
    }

    #[test]
    fn what_is_not_named_stays() {
        let alone = json!({"topology": "single-node"});
        let hub = after(&alone, "--hub-nodes 5 --leaf nrt,lhr");
        let expected = json!({"topology": "hub-spoke", "hub_nodes": 5,
            "leaf_regions": ["nrt", "lhr"]});
        assert_eq!(hub, expected);
        let less = after(&hub, "--hub-nodes 3");
        assert_eq!(less["leaf_regions"], json!(["nrt", "lhr"]));
        assert_eq!(less["hub_nodes"], 3);
        assert_eq!(after(&hub, "--no-leaf")["leaf_regions"], json!([]));
        assert_eq!(after(&hub, "--single-node"), alone);
    }

    #[test]
    fn the_arguments_of_a_specification_ask_for_it() {
        let other = json!({"topology": "hub-spoke", "hub_nodes": 9, "hub_region": "x",
            "leaf_regions": ["y"], "leaf_nodes_per_region": 4});
        for text in [
            r#"{"topology": "single-node"}"#,
            r#"{"topology": "hub-spoke", "hub_nodes": 3}"#,
            r#"{"topology": "hub-spoke", "hub_nodes": 5, "hub_region": "iad",
                "leaf_regions": ["lhr", "nrt"], "leaf_nodes_per_region": 2}"#,
        ] {
            let spec = spec::from_json(text, AT).unwrap();
            for before in [&json!({"topology": "single-node"}), &other] {
                let asked = after(before, &spec.arguments());
                assert_eq!(spec::from_json(&asked.to_string(), AT).unwrap(), spec);
            }
        }
    }

    #[test]
    fn a_bad_specification_is_refused_with_all_problems() {
        let text = r#"{"topology": "hub-spoke", "hub_nodes": 4, "leaf_regions": ["hub"]}"#;
        let error = checked(text).unwrap_err();
        assert_eq!(kit::failure::exit_of(&error), Exit::Invalid);
        let message = error.to_string();
        assert!(message.contains("`topology.hub_nodes` is 4"), "{message}");
        assert!(message.contains("`topology.leaf_regions[0]`"), "{message}");
    }

    #[test]
    fn a_topology_in_words() {
        let spec = |text| spec::from_json(text, AT).unwrap();
        assert_eq!(
            in_words(&spec(r#"{"topology": "single-node"}"#)),
            "single-node"
        );
        let hub = r#"{"topology": "hub-spoke", "hub_region": "iad", "hub_nodes": 3,
            "leaf_regions": ["lhr", "nrt"]}"#;
        assert_eq!(
            in_words(&spec(hub)),
            "hub-spoke, 3 hub nodes in iad, a leaf node in lhr, nrt"
        );
    }
}
