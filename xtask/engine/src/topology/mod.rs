//! The topology of NATS in effect: its durable facts, and the steps of a change besides those of
//! the supervisor.
//!
//! Owns `.data/nats/topology.json`: only this module writes it, under the operation lock. The
//! meaning of a topology is defined in `service_nats::topology` and in `stack`.

pub mod ask;
pub mod events;
pub mod guard;
pub mod hub;
pub mod leave;
pub mod link;
mod ports;
pub mod record;
pub mod replicate;
mod retired;
pub(crate) mod seam;
pub(crate) mod streams;
mod turns;
pub mod wrapper;

use std::collections::BTreeSet;

use kit::files;
use kit::kept;
use service_nats::topology::{self, Facts, Origin, SERVICE, Spec};

use crate::base::interrupt::Interrupt;
use crate::checkout::paths::Paths;
use crate::instances::{Given, range};
use crate::plan::stack::{CONTROLLER, Service, Stack};
use crate::supervisor::client::Client;
use crate::supervisor::control::Control;
use crate::supervisor::{alive, reload};
use ports::Taken;
pub(crate) use retired::remove_directories;

/// The directory of a topology that runs beside the stack: `cargo xtask nats run --nodes`.
pub const NATS_RUN: &str = "nats-run";

/// The topology that was applied last, and the one that the inputs request.
#[derive(Debug, Clone, Default)]
pub struct Topology {
    /// The content of the file.
    pub before: Facts,
    /// Its future content.
    pub now: Facts,
    /// What the manifest requests, if a user has requested something else.
    pub overridden: Option<Spec>,
}

/// The requested topology.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The topology of the manifest, or of the variable that replaces it.
    pub declared: Spec,
    /// The present request; without it, the declared one, unless a user decided otherwise before.
    pub change: Option<(Spec, Origin)>,
}

impl Topology {
    /// Reads the facts and adds what is `wanted`: every new node receives ports that are free now,
    /// that no service of `alone`, the stack without nodes, declares, and that no other instance
    /// has. Writes nothing.
    pub fn prepare(
        paths: &Paths,
        given: &Given,
        services: &[Service],
        wanted: Wanted,
        alone: &Stack,
    ) -> anyhow::Result<Self> {
        let before = topology::read(&paths.topology())?;
        let Wanted { declared, change } = wanted;
        let (spec, origin) = change.unwrap_or_else(|| match before.origin {
            Origin::Manifest => (declared.clone(), Origin::Manifest),
            Origin::User => (before.spec.clone(), Origin::User),
        });
        let overridden = (spec != declared).then_some(declared);
        let mut now = before.with_spec(spec);
        now.origin = origin;
        let nats = services.iter().find(|service| service.name == SERVICE);
        let names = nats.map(|service| service.document.manifest.ports.keys());
        let names: Vec<&String> = names.into_iter().flatten().collect();
        let mut taken: BTreeSet<u16> = alone
            .processes
            .values()
            .flat_map(|process| process.ports.values().map(|port| port.port))
            .collect();
        taken.extend(given.others.living.keys());
        let claimed = taken.clone();
        taken.extend(&given.others.resting);
        taken.extend(ports_beside(paths)?);
        let mut running = BTreeSet::new();
        if alive::is_held(&paths.alive_lock())? {
            running.extend(before.nodes().into_iter().map(|node| node.process));
        }
        let others = Taken {
            refused: taken,
            claimed,
            running,
        };
        let variables = [ports::RANGE_VARIABLE, range::RANGE_VARIABLE];
        let candidates = range::candidates(&given.env, &variables, paths)?;
        ports::allocate(&mut now, &names, &others, candidates)?;
        Ok(Self {
            before,
            now,
            overridden,
        })
    }

    /// Whether the inputs request another topology than was applied last.
    pub fn changes(&self) -> bool {
        self.before != self.now
    }

    /// Whether another program wrote the file since it was read.
    pub fn is_stale(&self, paths: &Paths) -> anyhow::Result<bool> {
        Ok(topology::read(&paths.topology())? != self.before)
    }

    /// Generates the passwords that a first hub needs.
    pub fn complete(&mut self) -> anyhow::Result<()> {
        if self.now.spec == Spec::SingleNode {
            return Ok(());
        }
        for password in [&mut self.now.route_password, &mut self.now.leaf_password] {
            if password.is_empty() {
                *password = kit::secret::generate()?;
            }
        }
        Ok(())
    }

    /// Writes the new facts. Without a change nothing is written, so that a stack of one server
    /// needs no file.
    pub fn write(&self, paths: &Paths) -> anyhow::Result<()> {
        if self.changes() {
            return write(paths, &self.now);
        }
        kept::mend::<Facts>(&paths.topology(), files::PRIVATE_FILE_MODE)
    }

    /// Records that the first of the leaving nodes has left the hub. This cannot be rolled back.
    pub fn note_left(&mut self, paths: &Paths) -> anyhow::Result<()> {
        let facts = self.now.without_first_leaving();
        write(paths, &facts)?;
        self.now = facts.clone();
        self.before = facts;
        Ok(())
    }

    /// Writes the earlier facts, except for what is kept for good.
    pub fn write_before(&self, paths: &Paths) -> anyhow::Result<Facts> {
        let facts = Facts {
            spec: self.before.spec.clone(),
            origin: self.before.origin,
            hub_generation: self.before.hub_generation,
            hub_held: self.before.hub_held,
            ..self.now.clone()
        };
        if self.changes() {
            write(paths, &facts)?;
        }
        Ok(facts)
    }
}

/// Returns all ports reserved for nodes of this checkout: of this instance, and of those that run
/// beside the stack.
pub(crate) fn kept_ports(paths: &Paths) -> anyhow::Result<BTreeSet<u16>> {
    let mut ports = ports_beside(paths)?;
    let facts = topology::read(&paths.topology())?;
    ports.extend(facts.ports.values().flat_map(|ports| ports.values()));
    Ok(ports)
}

/// Returns the ports of the other topology of this checkout, whether it is running or not.
fn ports_beside(paths: &Paths) -> anyhow::Result<BTreeSet<u16>> {
    let own = paths.topology();
    let stack = Paths::new(paths.root().to_path_buf());
    let mut ports = BTreeSet::new();
    for file in [stack.topology(), stack.beside(NATS_RUN).topology()] {
        if file != own {
            let facts = topology::read(&file)?;
            ports.extend(facts.ports.values().flat_map(|ports| ports.values()));
        }
    }
    Ok(ports)
}

/// Notifies the controller, if there is one, that the facts have changed.
pub fn announce(paths: &Paths, client: &Client, stack: &Stack) -> anyhow::Result<()> {
    let controller = stack.processes.get(CONTROLLER);
    if controller.is_some_and(|process| !process.disabled) {
        let never = Interrupt::default();
        Control::new(paths, client, &never).signal(CONTROLLER, reload::SIGNAL)?;
    }
    Ok(())
}

fn write(paths: &Paths, facts: &Facts) -> anyhow::Result<()> {
    let path = paths.topology();
    if let Some(directory) = path.parent() {
        files::create_private_dir(directory)?;
    }
    let mut text = serde_json::to_vec_pretty(facts)?;
    text.push(b'\n');
    kept::write(&path, &text, files::PRIVATE_FILE_MODE)
}

#[cfg(test)]
mod tests {
    use service_nats::topology::HubSpoke;

    use super::*;
    use crate::plan::stack::fixture;

    fn hub(regions: &[&str]) -> Spec {
        Spec::HubSpoke(HubSpoke {
            hub_region: "iad".to_owned(),
            hub_nodes: 3,
            leaf_regions: regions.iter().map(|name| (*name).to_owned()).collect(),
            leaf_nodes_per_region: 1,
        })
    }

    fn prepare(paths: &Paths, spec: Spec) -> Topology {
        let text = r#"{"process": {"command": "x"}, "ports": {"client": {"port": 4222}}}"#;
        let service = Service::parse(SERVICE, text).unwrap();
        let alone = fixture::stack([]);
        let wanted = Wanted {
            declared: spec,
            change: None,
        };
        let mut topology =
            Topology::prepare(paths, &Given::default(), &[service], wanted, &alone).unwrap();
        topology.complete().unwrap();
        topology
    }

    #[test]
    fn one_server_needs_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(dir.path().to_path_buf());
        let topology = prepare(&paths, Spec::SingleNode);
        topology.write(&paths).unwrap();
        assert!(!paths.data().exists());
    }

    #[test]
    fn ports_and_passwords_are_kept_while_regions_come_and_go() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths::new(dir.path().to_path_buf());
        let first = prepare(&paths, hub(&["lhr", "nrt"]));
        assert!(first.changes());
        first.write(&paths).unwrap();
        assert!(first.is_stale(&paths).unwrap());
        let fewer = prepare(&paths, hub(&["nrt"]));
        fewer.write(&paths).unwrap();
        let again = prepare(&paths, hub(&["syd", "lhr", "nrt"]));
        for (process, ports) in &first.now.ports {
            assert_eq!(again.now.ports.get(process), Some(ports), "{process}");
        }
        assert_eq!(first.now.leaf_urls(), again.now.leaf_urls());
        assert_eq!(again.now.ports.len(), 6);
        again.write_before(&paths).unwrap();
        assert_eq!(prepare(&paths, hub(&["nrt"])).before.spec, hub(&["nrt"]));
    }
}
