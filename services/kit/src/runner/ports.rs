//! Checks that the ports of a program are free before it is started: another program that listens
//! there would answer its probe.

use std::net::SocketAddr;

use rustix::net::{AddressFamily, SocketType, bind, socket, sockopt};

use crate::{Exit, Failure};

/// Fails with the holder's name when a program listens at one of `addresses`. Does not listen for
/// that, so no client is accepted and dropped.
pub(super) fn check(name: &str, addresses: &[SocketAddr]) -> anyhow::Result<()> {
    for address in addresses {
        if is_taken(address) {
            let by = holder(address.port());
            let message = format!("port {} of `{name}` is taken by {by}", address.port());
            return Err(Failure::new(Exit::PortTaken, message)
                .hint("end that program, or choose another port")
                .into());
        }
    }
    Ok(())
}

/// Whether an address cannot be bound because a program listens there. Other errors are left to the
/// program, which may listen elsewhere.
fn is_taken(address: &SocketAddr) -> bool {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let Ok(socket) = socket(family, SocketType::STREAM, None) else {
        return false;
    };
    // Connections that were closed a moment ago do not count.
    let _ = sockopt::set_socket_reuseaddr(&socket, true);
    bind(&socket, address) == Err(rustix::io::Errno::ADDRINUSE)
}

fn holder(port: u16) -> String {
    let unseen = || "a program that cannot be seen from here".to_owned();
    crate::process::listener(port).map_or_else(unseen, |process| process.to_string())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::failure::exit_of;

    #[test]
    fn a_port_that_is_listened_on_is_refused_with_its_holder() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let error = check("web", &[address]).unwrap_err();
        assert_eq!(exit_of(&error), Exit::PortTaken);
        let own = format!("(pid {})", std::process::id());
        assert!(error.to_string().contains(&own), "{error:#}");
        drop(listener);
        check("web", &[address]).unwrap();
        check("web", &["192.0.2.1:1".parse().unwrap()]).unwrap();
    }

    #[test]
    fn a_listener_on_every_address_takes_each() {
        let listener = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        check("web", &[SocketAddr::from(([127, 0, 0, 1], port))]).unwrap_err();
    }
}
