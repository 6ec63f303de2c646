//! The peers: installed programs that are compared with the server. Each is started privately in
//! its own directory, on a free port or a socket there.
//!
//! A peer stops when its value is dropped, even if a measurement fails.

pub mod cache;
pub mod naive;
pub mod nginx;
pub mod postgres;
pub mod redis;
pub mod sqlite;
