//! Starts, runs and stops the server as one process, and maintains the files of a store.

pub mod boot;
pub mod maintenance;
pub mod version;
