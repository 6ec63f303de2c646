//! Tests the product from outside: sends load, injects faults, and audits the result independently.
//!
//! The harness uses only HTTP and SQL, and shares no code with the server that it tests. The
//! harness takes its rules about orders, limits and stock from the documents. From the crate
//! `doorbuster-api`, the harness uses only the types of reports.

pub mod audit;
pub mod chaos;
pub mod cluster;
pub mod draw;
pub mod generator;
pub mod load;
pub mod soak;
