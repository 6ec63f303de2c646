//! Joins the parts of the server into one process, starts and stops these parts, and maintains the
//! files of a store.

pub mod boot;
pub mod maintenance;
pub mod version;
