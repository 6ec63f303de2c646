//! Joins the parts of the server into one process: starts and stops them, and maintains its files.

pub mod boot;
pub mod maintenance;
pub mod version;
