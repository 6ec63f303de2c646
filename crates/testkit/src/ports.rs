//! Finds free TCP ports for private servers. The ports are below the range of ephemeral ports, so
//! no outgoing connection takes the port of a server that restarts.
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::{Mutex, PoisonError};

use rand::RngExt;

/// Each server of a Redis cluster has a second port for the other servers. Its number is the first
/// port's number plus this number.
const BUS_PORT_OFFSET: u16 = 10_000;

/// The reservations of this process.
static RESERVED: Mutex<Vec<UnixListener>> = Mutex::new(Vec::new());

/// Returns different free ports, and reserves them for this process.
///
/// # Panics
///
/// Panics if no port is free.
#[must_use]
pub fn free_ports<const N: usize>() -> [u16; N] {
    [(); N].map(|()| take(30_000..32_700, &[0]))
}

/// Returns a free port `p` below 20,000, and reserves `p` and `p + 10_000` for this process.
///
/// # Panics
///
/// Panics if no port is free.
#[must_use]
pub fn free_pair() -> u16 {
    take(10_000..20_000, &[0, BUS_PORT_OFFSET])
}

/// Finds a number `port` such that the port `port + offset` is free for each of `offsets`, and
/// reserves all these ports.
fn take(range: std::ops::Range<u16>, offsets: &[u16]) -> u16 {
    let mut rng = rand::rng();
    let reserved = |port: u16| {
        let all =
            offsets.iter().map(|offset| reserve(port + offset)).collect::<Option<Vec<_>>>()?;
        Some((port, all))
    };
    let (port, all) = std::iter::repeat_with(|| rng.random_range(range.clone()))
        .take(10_000)
        .find_map(reserved)
        .expect("a free port");
    RESERVED.lock().unwrap_or_else(PoisonError::into_inner).extend(all);
    port
}

/// Reserves a port for this process, or returns `None` if the port is not free. While a server is
/// stopped or does not listen yet, the system does not know that the server's port is in use. So
/// the reservation is a socket whose abstract name contains the port. `doorbuster_harness::cluster`
/// uses the same names. The kernel removes the socket when this process ends.
fn reserve(port: u16) -> Option<UnixListener> {
    let name = SocketAddr::from_abstract_name(format!("doorbuster-port-{port}")).ok()?;
    let reservation = UnixListener::bind_addr(&name).ok()?;
    TcpListener::bind(("127.0.0.1", port)).is_ok().then_some(reservation)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{BUS_PORT_OFFSET, free_pair, free_ports};

    #[test]
    fn a_port_is_given_only_once_although_nothing_listens_on_it() {
        // Without reservations, 300 ports out of 2,700 would almost certainly contain one port
        // twice.
        let ports: Vec<u16> = (0..300).flat_map(|_| free_ports::<1>()).collect();
        assert_eq!(ports.iter().collect::<BTreeSet<_>>().len(), ports.len());
    }

    #[test]
    fn another_process_cannot_reserve_either_port_of_a_pair() {
        let port = free_pair();
        for port in [port, port + BUS_PORT_OFFSET] {
            // A second reservation by the same process is refused, like a reservation by another
            // process.
            assert!(super::reserve(port).is_none());
        }
    }
}
