//! The peers: installed programs with which the benches compare the server. A bench starts its own
//! instance of a peer, and the instance stops when the bench drops its value.

pub mod cache;
pub mod naive;
pub mod nginx;
pub mod postgres;
pub mod redis;
pub mod sqlite;
