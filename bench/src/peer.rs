//! The peers: installed programs that are compared with the server. The bench starts its own
//! instance of each peer. The instance stops when the bench drops the value that stands for it.

pub mod cache;
pub mod naive;
pub mod nginx;
pub mod postgres;
pub mod redis;
pub mod sqlite;
