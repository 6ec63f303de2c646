//! Finds free TCP ports.

use std::collections::HashMap;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::{Mutex, PoisonError};

use rand::RngExt;

use super::error::ClusterError;
use super::limits::{BUS_PORT_OFFSET, PORT_TRIES_MAX, PORTS};

/// The ports that this process has given to servers, each with its reservation. Without the
/// reservation, a port would look free while its server is stopped or does not listen yet.
static ALLOCATED: Mutex<Option<HashMap<u16, UnixListener>>> = Mutex::new(None);

pub(super) fn free() -> Result<u16, ClusterError> {
    allocate(&[0])
}

/// Returns a free port whose cluster bus port is free too.
pub(super) fn free_pair() -> Result<u16, ClusterError> {
    allocate(&[0, BUS_PORT_OFFSET])
}

/// Finds a `port` for which `port + offset` is a free port for each of `offsets`, and reserves all
/// of these ports. Returns `port`.
fn allocate(offsets: &[u16]) -> Result<u16, ClusterError> {
    let mut given = ALLOCATED.lock().unwrap_or_else(PoisonError::into_inner);
    let given = given.get_or_insert_default();
    let mut dice = rand::rng();
    let mut tries = std::iter::repeat_with(|| dice.random_range(PORTS)).take(PORT_TRIES_MAX);
    let reserved = |port: u16| {
        let all = offsets.iter().map(|above| Some((port + above, reserve(port + above)?)));
        Some((port, all.collect::<Option<Vec<_>>>()?))
    };
    let (port, all) = tries
        .find_map(reserved)
        .ok_or_else(|| ClusterError::failed("finding a port", "no port is free"))?;
    given.extend(all);
    Ok(port)
}

/// Reserves a port for this process. Returns `None` if the port is reserved or in use. The
/// reservation is a socket whose abstract name contains the port, so another process of the harness
/// cannot reserve the same port. The kernel removes the socket when this process ends.
fn reserve(port: u16) -> Option<UnixListener> {
    let name = SocketAddr::from_abstract_name(format!("doorbuster-port-{port}")).ok()?;
    let reservation = UnixListener::bind_addr(&name).ok()?;
    is_free(port).then_some(reservation)
}

fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
}
