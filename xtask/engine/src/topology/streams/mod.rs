//! The streams of nodes that leave: which exist nowhere else, and moving them to nodes that stay.
//!
//! Owns `.data/nats/moving.json`. Everything here happens before the topology changes, and under
//! the operation lock. Until the point of no return every move can be rolled back; after it, the
//! same command continues. Must not start, stop or reload anything.

pub(crate) mod carry;
pub(crate) mod content;
mod journal;
pub(crate) mod places;
pub(crate) mod plan;
pub(crate) mod safe;
mod survey;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::future::Future;
use std::time::Duration;

use anyhow::Context as _;
use kit::{Exit, Failure};
use service_nats::jetstream::JetStream;
use service_nats::topology::{Facts, Origin, SERVICE};

use super::Topology;
use crate::base::interrupt::Interrupt;
use crate::checkout::context::Ctx;
use carry::Carry;
use places::{Place, Places};
use plan::{Move, Plan};
use survey::{Holding, Survey};

/// How often to check whether the user interrupts.
const INTERRUPT_POLL: Duration = Duration::from_millis(50);
/// The flag that requests moving streams.
const FLAG: &str = "--move-streams";

/// Refuses a change that would lose streams that exist nowhere else. `running` says whether the
/// servers can be asked; otherwise their files are read.
pub(crate) fn check(ctx: &Ctx, topology: &Topology, running: bool) -> anyhow::Result<()> {
    let plan = look(ctx, topology, running)?;
    if plan.moves.is_empty() && plan.obstacles.is_empty() {
        return Ok(());
    }
    Err(refusal(&plan, running, &with_moving(ctx, topology)))
}

/// Moves every stream that would be lost, or leaves all of them unchanged.
pub(crate) fn move_all(
    ctx: &Ctx,
    topology: &Topology,
    interrupt: &Interrupt,
) -> anyhow::Result<()> {
    let plan = look(ctx, topology, true)?;
    if !plan.obstacles.is_empty() {
        let lines = plan.obstacles.iter();
        let lines: Vec<String> = lines
            .map(|obstacle| format!("cannot move the stream {obstacle}"))
            .collect();
        let hint = "nothing was changed; put that right, or delete the stream there";
        return Err(Failure::new(Exit::Invalid, lines.join("\n"))
            .hint(hint)
            .into());
    }
    if plan.moves.is_empty() {
        return Ok(());
    }
    let facts = &topology.before;
    let runtime = kit::runtime::current_thread()?;
    runtime.block_on(async {
        let ends = Ends::connect(ctx, facts, &plan.moves).await?;
        carry_all(ctx, &ends, &plan.moves, interrupt).await
    })?;
    // Finds streams that were created meanwhile.
    check(ctx, topology, true)
}

/// Finishes or rolls back the moves of a command that was killed. `facts` has the places of
/// streams; a move from or to a place that is gone by now is dropped.
pub(crate) fn recover(ctx: &Ctx, facts: &Facts) -> anyhow::Result<()> {
    let moves = journal::read(&ctx.paths, |text| ctx.ui.line(text))?;
    if moves.is_empty() {
        return Ok(());
    }
    let runtime = kit::runtime::current_thread()?;
    let settled = runtime.block_on(async {
        let places = Places {
            paths: &ctx.paths,
            facts,
        };
        let there = places.all();
        let (moves, gone): (Vec<Move>, Vec<Move>) = moves
            .into_iter()
            .filter(|step| there.contains(&step.to))
            .partition(|step| there.contains(&step.from));
        let ends = Ends::connect(ctx, facts, &moves).await?;
        for step in &moves {
            let carry = ends.carry(step);
            carry.recover().await.with_context(|| told(step))?;
        }
        for step in &gone {
            let to = places.connect(&step.to).await?;
            let carry = Carry {
                step,
                from: &to,
                to: &to,
                replicas_max: 1,
            };
            carry.unmark_copy().await.with_context(|| told(step))?;
        }
        journal::clear(&ctx.paths)
    });
    settled.map_err(|error| {
        let what = "streams that were being moved could not be recovered";
        let hint = "when all nodes are healthy, run the same command again";
        let failure = Failure::new(Exit::Unexpected, what).source(error);
        failure.hint(hint).into()
    })
}

/// The connections to both ends of all moves.
struct Ends<'a> {
    places: Places<'a>,
    connections: BTreeMap<Place, JetStream>,
}

impl<'a> Ends<'a> {
    async fn connect(ctx: &'a Ctx, facts: &'a Facts, moves: &[Move]) -> anyhow::Result<Self> {
        let places = Places {
            paths: &ctx.paths,
            facts,
        };
        let mut connections = BTreeMap::new();
        for place in moves.iter().flat_map(|step| [&step.from, &step.to]) {
            if !connections.contains_key(place) {
                connections.insert(place.clone(), places.connect(place).await?);
            }
        }
        Ok(Self {
            places,
            connections,
        })
    }

    fn carry<'b>(&'b self, step: &'b Move) -> Carry<'b> {
        Carry {
            step,
            from: &self.connections[&step.from],
            to: &self.connections[&step.to],
            replicas_max: self.places.replicas_max(&step.to),
        }
    }
}

/// Copies all streams, then makes all copies count at once.
async fn carry_all(
    ctx: &Ctx,
    ends: &Ends<'_>,
    moves: &[Move],
    interrupt: &Interrupt,
) -> anyhow::Result<()> {
    journal::write(&ctx.paths, moves)?;
    let copied = unless_interrupted(interrupt, async {
        let mut copied = Vec::new();
        for step in moves {
            let carry = ends.carry(step);
            carry.park().await.with_context(|| told(step))?;
            copied.push(carry.copy().await.with_context(|| told(step))?);
        }
        Ok(copied)
    });
    let copied = match copied.await {
        Ok(copied) => copied,
        Err(error) => return Err(give_back(ctx, ends, moves, error).await),
    };
    let forward = async {
        // On disk, before the only other copy is deleted.
        sync(ctx)?;
        for step in moves {
            ends.carry(step)
                .commit()
                .await
                .with_context(|| told(step))?;
        }
        for step in moves {
            ends.carry(step)
                .finish()
                .await
                .with_context(|| told(step))?;
        }
        journal::clear(&ctx.paths)
    };
    forward.await.map_err(|error| {
        let what = "streams are copied, and some of them are moved by now";
        let failure = Failure::new(Exit::Unexpected, what).source(error);
        failure.hint("run the same command again: it goes on from here")
    })?;
    for (step, moved) in moves.iter().zip(copied) {
        ctx.ui.line(format!(
            "moved the stream `{}` from {} to {}: {} messages, {} consumers",
            step.name,
            step.from.shown(),
            step.to.shown(),
            moved.messages,
            moved.consumers
        ));
    }
    Ok(())
}

/// Rolls back what was begun, and says so in the error.
async fn give_back(
    ctx: &Ctx,
    ends: &Ends<'_>,
    moves: &[Move],
    error: anyhow::Error,
) -> anyhow::Error {
    let mut problems = Vec::new();
    for step in moves {
        if let Err(again) = ends.carry(step).take_back().await {
            problems.push(format!("`{}`: {again:#}", step.name));
        }
    }
    if problems.is_empty()
        && let Err(again) = journal::clear(&ctx.paths)
    {
        problems.push(format!("{again:#}"));
    }
    let what = if problems.is_empty() {
        "streams could not be moved, and all of them are as they were".to_owned()
    } else {
        format!(
            "streams could not be moved, nor given back: {}",
            problems.join(", ")
        )
    };
    let failure = Failure::new(Exit::ReloadFailed, what).source(error);
    failure
        .hint("correct what is named above, then run the same command again")
        .into()
}

/// Does `work`, unless the user interrupts.
pub(crate) async fn unless_interrupted<T>(
    interrupt: &Interrupt,
    work: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    let interrupted = async {
        loop {
            if let Some(interrupted) = interrupt.signal() {
                return interrupted;
            }
            tokio::time::sleep(INTERRUPT_POLL).await;
        }
    };
    tokio::select! {
        result = work => result,
        interrupted = interrupted => Err(interrupted.into()),
    }
}

/// Returns the effect of the requested change on streams.
fn look(ctx: &Ctx, topology: &Topology, running: bool) -> anyhow::Result<Plan> {
    let Topology { before, now, .. } = topology;
    let places = |facts| Places {
        paths: &ctx.paths,
        facts,
    };
    let stay = places(now).all();
    let before = places(before);
    let all = before.all();
    if all.is_subset(&stay) {
        return Ok(Plan::default());
    }
    let survey = if running {
        kit::runtime::current_thread()?.block_on(survey::survey(&before, &stay))
    } else {
        on_disk(&before, &all)
    };
    Ok(plan::plan(&survey, &stay))
}

fn on_disk(places: &Places<'_>, all: &BTreeSet<Place>) -> Survey {
    let reason = "it does not run";
    let holding = |place: &Place| {
        let holding = Holding::on_disk(places, place, reason.to_owned());
        (place.clone(), holding)
    };
    all.iter().map(holding).collect()
}

/// Returns the command that makes this change and moves streams: `reload` cannot make a change that
/// a user requested by the record, nor return to the manifest.
fn with_moving(ctx: &Ctx, topology: &Topology) -> String {
    let Topology { before, now, .. } = topology;
    let set = || {
        let arguments = now.spec.arguments();
        let set = format!("topology set {SERVICE} {arguments} {FLAG}");
        ctx.paths.command(&set)
    };
    match (before.origin, now.origin) {
        (_, Origin::User) => set(),
        (Origin::User, Origin::Manifest) => {
            format!("{}`, then `{}", set(), ctx.paths.command("topology reset"))
        }
        (Origin::Manifest, Origin::Manifest) => ctx.paths.command(&format!("reload {FLAG}")),
    }
}

/// Returns the error that says which places hold what, and what to do about it.
fn refusal(plan: &Plan, running: bool, command: &str) -> anyhow::Error {
    let mut held: BTreeMap<&Place, BTreeSet<&str>> = BTreeMap::new();
    for step in &plan.moves {
        held.entry(&step.from).or_default().insert(&step.name);
    }
    for (place, name) in &plan.unknown {
        held.entry(place).or_default().insert(name);
    }
    let line = |(place, names): (&Place, BTreeSet<&str>)| {
        let names: Vec<&str> = names.into_iter().collect();
        format!(
            "{} would be removed and holds the streams `{}`",
            place.shown(),
            names.join("`, `")
        )
    };
    let mut lines: Vec<String> = held.into_iter().map(line).collect();
    let hint = if running {
        let obstacles = plan.obstacles.iter();
        lines.extend(obstacles.map(|obstacle| format!("cannot be moved: {obstacle}")));
        format!("nothing was changed; `{command}` moves them, or delete them there")
    } else {
        format!("nothing was changed; start the stack as it was, then `{command}`")
    };
    let failure = Failure::new(Exit::Invalid, lines.join("\n"));
    failure.hint(hint).into()
}

fn told(step: &Move) -> String {
    format!(
        "cannot move the stream `{}` from {} to {}",
        step.name,
        step.from.shown(),
        step.to.shown()
    )
}

/// Syncs the files that the servers wrote to the disk.
pub(crate) fn sync(ctx: &Ctx) -> anyhow::Result<()> {
    let data = ctx.paths.data();
    let directory = File::open(&data);
    let directory = directory.with_context(|| format!("cannot open `{}`", data.display()))?;
    #[cfg(target_os = "linux")]
    rustix::fs::syncfs(&directory)
        .with_context(|| format!("cannot write `{}` through", data.display()))?;
    #[cfg(not(target_os = "linux"))]
    directory
        .sync_all()
        .with_context(|| format!("cannot write `{}` through", data.display()))?;
    Ok(())
}
