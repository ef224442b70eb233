//! Checks that the addresses that services are configured to listen on belong to this machine.
//!
//! Must not listen: it only binds, to port 0, so no other program is affected.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use kit::{Exit, Failure};
use rustix::net::{AddressFamily, SocketType, bind, socket};

use crate::plan::stack::Stack;

/// Refuses a stack with an address that no server could bind: the server would only fail after its
/// start, and be restarted until the deadline.
pub(crate) fn check(stack: &Stack) -> anyhow::Result<()> {
    let mut refused = BTreeSet::new();
    for process in stack.processes.values().filter(|it| !it.disabled) {
        for (name, port) in &process.ports {
            if let Some(why) = refusal(port.listen) {
                refused.insert((process.service.clone(), port.listen, name.clone(), why));
            }
        }
    }
    // Several ports of a service usually share its address.
    let mut told = BTreeSet::new();
    let lines = refused.into_iter().filter_map(|(service, ip, _, why)| {
        let line = format!("`{service}` cannot listen on {ip}, its `listen`: {why}");
        told.insert((service, ip)).then_some(line)
    });
    let lines: Vec<String> = lines.collect();
    if lines.is_empty() {
        return Ok(());
    }
    let hint = "nothing was started; name an address of this machine: 127.0.0.1, ::1, 0.0.0.0 ...";
    Err(Failure::new(Exit::Invalid, lines.join("\n"))
        .hint(hint)
        .into())
}

/// Returns why no program on this machine can bind an address, if none can.
fn refusal(ip: IpAddr) -> Option<String> {
    let family = match ip {
        IpAddr::V4(_) => AddressFamily::INET,
        IpAddr::V6(_) => AddressFamily::INET6,
    };
    let bound =
        socket(family, SocketType::STREAM, None).and_then(|it| bind(&it, &SocketAddr::new(ip, 0)));
    bound.err().map(|error| match error {
        rustix::io::Errno::ADDRNOTAVAIL => "no network interface has this address".to_owned(),
        rustix::io::Errno::AFNOSUPPORT => "this machine has no IPv6".to_owned(),
        error => error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_this_machine_can_be_bound() {
        for (ip, fine) in [
            ("127.0.0.1", true),
            ("0.0.0.0", true),
            // Reserved for documentation: no machine has them.
            ("192.0.2.1", false),
            ("2001:db8::1", false),
        ] {
            assert_eq!(refusal(ip.parse().unwrap()).is_none(), fine, "{ip}");
        }
    }
}
