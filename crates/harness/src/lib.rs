//! Tests from outside: a load generator (`load`, run as `storm`), an independent auditor (`audit`),
//! a complete local installation (`cluster`), and fault injection (`chaos`).
//!
//! The harness uses only HTTP and SQL, and shares no code with the server that it tests. Its rules
//! about orders, limits and stock come from the documents. From `doorbuster-api` it takes only the
//! shapes of its reports.

pub mod audit;
pub mod chaos;
pub mod cluster;
pub mod draw;
pub mod generator;
pub mod load;
