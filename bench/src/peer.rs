//! The peers: installed programs that are compared with the server. The bench starts its own
//! instance of each peer, which stops when its value is dropped.

pub mod cache;
pub mod naive;
pub mod nginx;
pub mod postgres;
pub mod redis;
pub mod sqlite;
