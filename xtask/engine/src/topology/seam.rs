//! What NATS asks for around the generic steps of a change: before a stop, in which order, after
//! all is ready, and when it is taken back.
//!
//! The one way from the steps of `up` to the particulars of NATS. Must not stop, start or wait for
//! a process.

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

/// A stack that changes, or starts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seam<'a> {
    pub(crate) paths: &'a Paths,
    pub(crate) stack: &'a Stack,
    pub(crate) topology: &'a Topology,
    pub(crate) client: &'a Client,
    pub(crate) interrupt: &'a Interrupt,
}

impl<'a> Seam<'a> {
    /// Before anything is stopped: writes the facts, and lets a server that is to be alone leave
    /// the hub, so that it never looks for what is no longer there. Says whether it left.
    pub(crate) fn before_stops(&self) -> anyhow::Result<bool> {
        self.topology.write(self.paths)?;
        let link = self.link(&self.topology.now);
        Ok(link.is_alone() && self.relink(&link)?)
    }

    /// Processes that are restarted one by one: the nodes of the hub.
    pub(crate) fn one_by_one(&self) -> BTreeSet<String> {
        Turns::members(&self.topology.now)
            .into_iter()
            .map(|(process, _)| process)
            .collect()
    }

    /// Whose turn it is among them.
    pub(crate) fn turns(&self) -> anyhow::Result<Turns<'a>> {
        Turns::new(&self.topology.now)
    }

    /// After all is ready: joins the first server to the hub. Returns the process that had to read
    /// its configuration anew, `left` by [`Seam::before_stops`] included.
    pub(crate) fn after_ready(&self, left: bool) -> anyhow::Result<Option<String>> {
        let relinked = self.relink(&self.link(&self.topology.now))? || left;
        Ok(relinked.then(|| SERVICE.to_owned()))
    }

    /// Waits until all servers have found each other.
    pub(crate) fn wait_until_joined(&self) -> anyhow::Result<()> {
        self.link(&self.topology.now)
            .wait_until_joined(self.interrupt)
    }

    /// Has the first node that leaves the hub, if one does, give away what it holds: the last step
    /// that can be taken back.
    pub(crate) fn empty_first_leaving(&self) -> anyhow::Result<()> {
        match Leaving::first(self.paths, self.stack, &self.topology.now, self.interrupt)? {
            Some(leaving) => leaving.empty(),
            None => Ok(()),
        }
    }

    /// Takes back: writes the facts that were before, and returns them.
    pub(crate) fn undo(&self) -> anyhow::Result<Facts> {
        self.topology.write_before(self.paths)
    }

    /// The last step of taking back: the link that the facts of before ask for.
    pub(crate) fn after_undo(&self, before: &Facts) -> anyhow::Result<()> {
        self.relink(&self.link(before)).map(drop)
    }

    /// The link of the first server.
    fn link<'b>(&'b self, facts: &'b Facts) -> Link<'b> {
        Link::new(self.paths, self.stack, facts)
    }

    /// Lets the first server take the link if it has another one. Says whether it had.
    fn relink(&self, link: &Link<'_>) -> anyhow::Result<bool> {
        let is_stale = !link.is_current();
        if is_stale {
            link.reload(self.client)?;
        }
        Ok(is_stale)
    }
}
