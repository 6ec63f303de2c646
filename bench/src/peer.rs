//! The peers: installed programs that are compared with the server. The bench starts each peer for
//! itself, in a directory that only this peer uses. The peer listens on a free port, or on a socket
//! in its directory.
//!
//! A peer stops when its value is dropped, even if a measurement fails.

pub mod cache;
pub mod naive;
pub mod nginx;
pub mod postgres;
pub mod redis;
pub mod sqlite;
