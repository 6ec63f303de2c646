//! The peers: installed programs that are compared with the server. The bench starts its own
//! instance of each peer, in a directory that only this instance uses. The peer listens on a free
//! port, or on a socket in this directory.
//!
//! A peer stops when its value is dropped, even if a measurement fails.

pub mod cache;
pub mod naive;
pub mod nginx;
pub mod postgres;
pub mod redis;
pub mod sqlite;
