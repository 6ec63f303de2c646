//! The peers: installed programs with which the benches compare the server. Each bench starts its
//! own instance of a peer. The instance stops when its Rust value is dropped.

pub mod cache;
pub mod naive;
pub mod nginx;
pub mod postgres;
pub mod redis;
pub mod sqlite;
