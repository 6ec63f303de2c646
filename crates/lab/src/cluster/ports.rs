//! Ports on which nobody listens.

use std::net::TcpListener;

use rand::RngExt;

use super::error::ClusterError;
use super::limits::{BUS_AFTER, PORT_TRIES_MAX, PORTS};

/// A free port.
pub(super) fn free() -> Result<u16, ClusterError> {
    one(is_free)
}

/// A free port whose companion, on which Redis servers talk to each other, is free as well.
pub(super) fn free_pair() -> Result<u16, ClusterError> {
    one(|port| is_free(port) && is_free(port + BUS_AFTER))
}

fn one(good: impl Fn(u16) -> bool) -> Result<u16, ClusterError> {
    let mut dice = rand::rng();
    let mut tries = std::iter::repeat_with(|| dice.random_range(PORTS)).take(PORT_TRIES_MAX);
    tries.find(|port| good(*port)).ok_or_else(|| ClusterError::failed("finding a port", "none is free"))
}

fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
}
