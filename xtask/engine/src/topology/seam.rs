//! The steps of NATS in a change: before a stop, in which order, after all is ready, and during a
//! rollback.
//!
//! The only connection from the generic steps of `up` to those of NATS. Must not stop, start or
//! wait for a process.

use std::collections::BTreeSet;

use service_nats::topology::{Facts, SERVICE};

use super::Topology;
use super::leave::Leaving;
use super::link::Link;
use super::turns::Turns;
use crate::base::interrupt::Interrupt;
use crate::checkout::paths::Paths;
use crate::plan::stack::Stack;
use crate::supervisor::client::Client;

/// A stack that is changed or started.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seam<'a> {
    pub(crate) paths: &'a Paths,
    pub(crate) stack: &'a Stack,
    pub(crate) topology: &'a Topology,
    pub(crate) client: &'a Client,
    pub(crate) interrupt: &'a Interrupt,
}

impl<'a> Seam<'a> {
    /// Before any stop: writes the facts, and disconnects a first server without a link from the
    /// hub, so that it never tries to reach missing nodes. Returns whether it did.
    pub(crate) fn before_stops(&self) -> anyhow::Result<bool> {
        self.topology.write(self.paths)?;
        let link = self.link(&self.topology.now);
        Ok(link.is_alone() && self.relink(&link)?)
    }

    /// Returns the processes that are restarted one by one: the nodes of the hub.
    pub(crate) fn one_by_one(&self) -> BTreeSet<String> {
        Turns::members(&self.topology.now)
            .into_iter()
            .map(|(process, _)| process)
            .collect()
    }

    /// Returns the turns of those processes.
    pub(crate) fn turns(&self) -> anyhow::Result<Turns<'a>> {
        Turns::begin(&self.topology.now, self.interrupt)
    }

    /// Returns their turns while a change is rolled back.
    pub(crate) fn turns_back(&self) -> anyhow::Result<Turns<'a>> {
        Turns::begin_back(&self.topology.now)
    }

    /// After all is ready: joins the first server to the hub. Returns the process whose
    /// configuration was reloaded, also if it `left` by [`Seam::before_stops`].
    pub(crate) fn after_ready(&self, left: bool) -> anyhow::Result<Option<String>> {
        let relinked = self.relink(&self.link(&self.topology.now))? || left;
        Ok(relinked.then(|| SERVICE.to_owned()))
    }

    /// Waits until all servers are connected with each other.
    pub(crate) fn wait_until_joined(&self) -> anyhow::Result<()> {
        self.link(&self.topology.now)
            .wait_until_joined(self.interrupt)
    }

    /// Moves the streams away from the first node that leaves the hub, if one does: the last step
    /// that can be rolled back.
    pub(crate) fn empty_first_leaving(&self) -> anyhow::Result<()> {
        match Leaving::first(self.paths, self.stack, &self.topology.now, self.interrupt)? {
            Some(leaving) => leaving.empty(),
            None => Ok(()),
        }
    }

    /// Rolls back: writes the earlier facts, and returns them.
    pub(crate) fn undo(&self) -> anyhow::Result<Facts> {
        self.topology.write_before(self.paths)
    }

    /// The last step of a rollback: restores the link of the earlier facts.
    pub(crate) fn after_undo(&self, before: &Facts) -> anyhow::Result<()> {
        self.relink(&self.link(before)).map(drop)
    }

    /// Returns the link of the first server.
    fn link<'b>(&'b self, facts: &'b Facts) -> Link<'b> {
        Link::new(self.paths, self.stack, facts)
    }

    /// Reloads the first server if its link differs. Returns whether it did.
    fn relink(&self, link: &Link<'_>) -> anyhow::Result<bool> {
        let is_stale = !link.is_current();
        if is_stale {
            link.reload(self.client)?;
        }
        Ok(is_stale)
    }
}
