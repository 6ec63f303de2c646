//! Finds free TCP ports.

use std::collections::HashSet;
use std::net::TcpListener;
use std::sync::{Mutex, PoisonError};

use rand::RngExt;

use super::error::ClusterError;
use super::limits::{BUS_PORT_OFFSET, PORT_TRIES_MAX, PORTS};

/// The ports that this process has handed out. A server needs some time until it listens on its
/// port, so such a port may still look free.
static ALLOCATED: Mutex<Option<HashSet<u16>>> = Mutex::new(None);

/// A free port.
pub(super) fn free() -> Result<u16, ClusterError> {
    allocate(&[0])
}

/// A free port whose cluster bus port is free too. Redis servers use that port among themselves.
pub(super) fn free_pair() -> Result<u16, ClusterError> {
    allocate(&[0, BUS_PORT_OFFSET])
}

/// A port that is free and not handed out, together with the ports at these offsets.
fn allocate(offsets: &[u16]) -> Result<u16, ClusterError> {
    let mut given = ALLOCATED.lock().unwrap_or_else(PoisonError::into_inner);
    let given = given.get_or_insert_default();
    let mut dice = rand::rng();
    let mut tries = std::iter::repeat_with(|| dice.random_range(PORTS)).take(PORT_TRIES_MAX);
    let good = |port: &u16| {
        offsets.iter().all(|above| !given.contains(&(port + above)) && is_free(port + above))
    };
    let port = tries
        .find(good)
        .ok_or_else(|| ClusterError::failed("finding a port", "no port is free"))?;
    given.extend(offsets.iter().map(|above| port + above));
    Ok(port)
}

fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
}
