//! PURE: the addresses that services listen on, and the addresses at which clients reach them.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use kit::server::reachable;

use super::template::{Scope, Template};
use super::{Finding, Service};
use crate::plan::env::Env;

/// The address for a service that configures none.
pub(super) const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// The addresses that the services listen on, by name.
pub(super) type Hosts = BTreeMap<String, IpAddr>;

/// Resolves `listen` of every manifest.
pub(super) fn resolve(services: &[Service], env: &Env, findings: &mut Vec<Finding>) -> Hosts {
    let mut hosts = Hosts::new();
    for service in services {
        let text = service.document.manifest.listen.as_deref();
        let host = one(service, "listen", text, LOOPBACK, env, findings);
        hosts.insert(service.name.clone(), host);
    }
    hosts
}

/// Returns the address that a port of a service listens on.
pub(super) fn of_port(
    service: &Service,
    port: &str,
    hosts: &Hosts,
    env: &Env,
    findings: &mut Vec<Finding>,
) -> IpAddr {
    let own = hosts.get(&service.name).copied().unwrap_or(LOOPBACK);
    let declared = service.document.manifest.ports.get(port);
    let text = declared.and_then(|port| port.listen.as_deref());
    one(
        service,
        &format!("ports.{port}.listen"),
        text,
        own,
        env,
        findings,
    )
}

/// Returns the address at which this machine reaches a server that listens on `host`.
pub(super) fn dialled(host: IpAddr) -> IpAddr {
    reachable(host, 0).ip()
}

fn one(
    service: &Service,
    path: &str,
    text: Option<&str>,
    default: IpAddr,
    env: &Env,
    findings: &mut Vec<Finding>,
) -> IpAddr {
    let Some(text) = text else {
        return default;
    };
    let parsed = Template::parse(text).map_err(|problem| vec![problem]);
    let found = parsed.and_then(|template| {
        let value = template.resolve(&Variables(env))?;
        address(&value).ok_or_else(|| {
            let by = template.variables().into_iter();
            let by = by.filter(|name| env.get(name).is_some());
            let by: Vec<String> = by.map(|name| format!("`{name}`")).collect();
            let by = match by.as_slice() {
                [] => String::new(),
                names => format!(" by {}", names.join(" and ")),
            };
            vec![format!(
                "is `{value}`{by}, which is no IP address (127.0.0.1, 0.0.0.0, ::1 ...)"
            )]
        })
    });
    found.unwrap_or_else(|problems| {
        findings.extend(
            problems
                .into_iter()
                .map(|message| service.finding(path, message)),
        );
        default
    })
}

/// Parses an IP address in any usual notation. An IPv4 address in IPv6 notation becomes IPv4.
fn address(text: &str) -> Option<IpAddr> {
    if text == "localhost" {
        return Some(LOOPBACK);
    }
    let ip: IpAddr = text.parse().ok()?;
    Some(ip.to_canonical())
}

/// Resolves variables only: ports and paths are resolved later.
struct Variables<'a>(&'a Env);

impl Variables<'_> {
    const ONLY: &'static str = "may hold no placeholder but `${env.VAR}`";
}

impl Scope for Variables<'_> {
    fn dep(&self, _: &str) -> Result<String, String> {
        Err(Self::ONLY.to_owned())
    }
    fn data(&self) -> Result<String, String> {
        Err(Self::ONLY.to_owned())
    }
    fn state(&self) -> Result<String, String> {
        Err(Self::ONLY.to_owned())
    }
    fn env(&self, name: &str) -> Option<String> {
        self.0.get(name).map(str::to_owned)
    }
    fn port(&self, _: Option<&str>, _: &str) -> Result<u16, String> {
        Err(Self::ONLY.to_owned())
    }
    fn listen(&self) -> Result<IpAddr, String> {
        Err(Self::ONLY.to_owned())
    }
    fn routes(&self) -> Result<String, String> {
        Err(Self::ONLY.to_owned())
    }
    fn origins(&self) -> Result<String, String> {
        Err(Self::ONLY.to_owned())
    }
    fn host(&self, _: &str, _: Option<&str>) -> Result<IpAddr, String> {
        Err(Self::ONLY.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (text, expected) in [
            ("localhost", "127.0.0.1"),
            ("127.0.0.2", "127.0.0.2"),
            ("::1", "::1"),
            ("::ffff:127.0.0.1", "127.0.0.1"),
            ("0:0:0:0:0:0:0:1", "::1"),
        ] {
            assert_eq!(address(text).unwrap().to_string(), expected, "{text}");
        }
        for text in [
            "",
            "example.com",
            "127.1",
            "[::1]",
            "127.0.0.1:80",
            "fe80::1%eth0",
            " ::1",
            "127.0.0.1,::1",
        ] {
            assert_eq!(address(text), None, "{text}");
        }
    }

    #[test]
    fn every_address_is_reached_by_loopback() {
        let dial = |text: &str| dialled(text.parse().unwrap()).to_string();
        assert_eq!(dial("0.0.0.0"), "127.0.0.1");
        assert_eq!(dial("::"), "::1");
        assert_eq!(dial("192.0.2.1"), "192.0.2.1");
    }
}
