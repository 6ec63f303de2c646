//! The peers: programs from the distribution, started privately in a directory of their own, on a
//! free port or a socket there.
//!
//! A peer ends with its value, also when a measurement fails.

pub mod cache;
pub mod naive;
pub mod nginx;
pub mod postgres;
pub mod redis;
pub mod sqlite;
