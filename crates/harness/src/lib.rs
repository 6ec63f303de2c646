//! Tests from outside: a load generator (`generator`), a crowd of buyers on it (`load`, run as
//! `storm`), an independent auditor (`audit`), a complete local installation (`cluster`), fault
//! injection (`chaos`), and long runs that are judged by slopes (`soak`).
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
pub mod soak;
