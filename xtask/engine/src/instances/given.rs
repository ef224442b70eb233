//! The ports of an instance: what its services request, and what they receive.

use std::collections::{BTreeMap, BTreeSet};

use super::leases::{self, Ask, Lease, Policy, Present};
use super::range::{RANGE_VARIABLE, candidates, is_free};
use super::register::{Others, Register};
use crate::checkout::context::Ctx;
use crate::checkout::paths::Paths;
use crate::checkout::recorded::Recorded;
use crate::plan::env::{Env, Origin};
use crate::plan::stack::{self, Service};
use crate::supervisor::alive;

/// What an instance receives.
#[derive(Debug, Clone, Default)]
pub struct Given {
    /// The variables, with one for each port whose number differs from the requested one.
    pub env: Env,
    /// The requested numbers of those ports, by `SERVICE.PORT`.
    pub leased: BTreeMap<String, u16>,
    /// The ports of other instances.
    pub others: Others,
}

impl Given {
    /// Chooses the ports of all `services`, none of which are among the `kept`. Writes nothing: the
    /// choice may be outdated when the instance starts, unless the register is locked.
    pub fn choose(
        ctx: &Ctx,
        services: &[Service],
        register: &Register,
        kept: BTreeSet<u16>,
    ) -> anyhow::Result<Self> {
        let policy = Policy::of(&ctx.env)?;
        let others = register.others(&ctx.paths);
        let asks = asks(&ctx.paths, services, &ctx.env);
        let present = Present {
            held: held(&ctx.paths)?,
            last: register.last(&ctx.paths),
            living: others.living.keys().copied().collect(),
            resting: others.resting.clone(),
            kept,
        };
        let candidates = candidates(&ctx.env, &[RANGE_VARIABLE], &ctx.paths)?;
        let given = leases::assign(policy, &asks, &present, candidates, is_free)?;
        let mut env = ctx.env.clone();
        let mut leased = BTreeMap::new();
        for Ask { key, wanted, .. } in asks {
            if given[&key] != wanted {
                let (service, port) = key.split_once('.').unwrap_or((&key, ""));
                let variable = stack::port_variable(service, port);
                env.set_by(Origin::Lease, &variable, &given[&key].to_string());
                leased.insert(key, wanted);
            }
        }
        Ok(Self {
            env,
            leased,
            others,
        })
    }

    /// Returns what the running instance received.
    pub fn recorded(ctx: &Ctx, recorded: &Recorded, register: &Register) -> Self {
        Self {
            env: ctx.env.clone(),
            leased: recorded.leased().clone(),
            others: register.others(&ctx.paths),
        }
    }
}

/// Returns what the services request: the numbers of manifests or variables. A variable is binding,
/// but one in `.env`, which all instances of a checkout read, only for the default instance.
fn asks(paths: &Paths, services: &[Service], env: &Env) -> Vec<Ask> {
    let mut asks = Vec::new();
    for (service, name, declared) in declared(services) {
        let variable = stack::port_variable(service, name);
        // A value that is no number is refused when the stack is built.
        let number = env.non_empty(&variable).map(str::parse::<u16>);
        let insists = env.origin(&variable) == Some(Origin::Process) || paths.is_default();
        asks.push(Ask {
            key: format!("{service}.{name}"),
            wanted: number.clone().and_then(Result::ok).unwrap_or(declared),
            pinned: number.is_some_and(|number| insists || number.is_err()),
        });
    }
    asks
}

/// Returns the ports of the running instance; empty if it is not running.
fn held(paths: &Paths) -> anyhow::Result<BTreeMap<String, Lease>> {
    if !alive::is_held(&paths.alive_lock())? {
        return Ok(BTreeMap::new());
    }
    // It may be stopping, and may have removed its record.
    let Ok(recorded) = Recorded::load(paths) else {
        return Ok(BTreeMap::new());
    };
    let lease = |(key, given): (&String, &u16)| {
        let wanted = recorded.leased().get(key).copied().unwrap_or(*given);
        let given = *given;
        (key.clone(), Lease { wanted, given })
    };
    Ok(recorded.ports().iter().map(lease).collect())
}

/// Returns every port that the manifests declare: service, name and number.
fn declared(services: &[Service]) -> impl Iterator<Item = (&str, &str, u16)> {
    services.iter().flat_map(|service| {
        let ports = service.document.manifest.ports.iter();
        ports.map(|(name, port)| (service.name.as_str(), name.as_str(), port.port))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service() -> Service {
        let text = r#"{"process": {"command": "x"}, "ports": {"http": {"port": 80}}}"#;
        Service::parse("a", text).unwrap()
    }

    #[test]
    fn a_variable_is_an_order_but_in_the_file_that_instances_share() {
        let default = Paths::new("/checkout".into());
        let named = default.of_instance("b").unwrap();
        let ask = |paths: &Paths, origin: Option<Origin>, text: &str| {
            let mut env = Env::default();
            if let Some(origin) = origin {
                env.set_by(origin, &stack::port_variable("a", "http"), text);
            }
            let asks = asks(paths, &[service()], &env);
            (asks[0].wanted, asks[0].pinned)
        };
        assert_eq!(ask(&default, None, ""), (80, false));
        assert_eq!(ask(&default, Some(Origin::DotEnv), "81"), (81, true));
        assert_eq!(ask(&named, Some(Origin::DotEnv), "81"), (81, false));
        assert_eq!(ask(&named, Some(Origin::Process), "81"), (81, true));
        assert_eq!(ask(&named, Some(Origin::DotEnv), "none"), (80, true));
        assert_eq!(ask(&named, Some(Origin::DotEnv), ""), (80, false));
    }
}
