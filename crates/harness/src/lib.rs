//! Tests the product from outside. `generator` is a load generator. `load` uses the generator to
//! send a crowd of buyers (the command `storm`). `audit` is an independent auditor. `cluster` is a
//! complete local installation, and `chaos` injects faults into it. `soak` runs an installation for
//! a long time, and checks that the installation's memory, files and data do not grow too fast.
//!
//! The harness uses only HTTP and SQL, and shares no code with the server that it tests. Its rules
//! about orders, limits and stock come from the documents. From the crate `doorbuster-api`, the
//! harness uses only the types of its reports.

pub mod audit;
pub mod chaos;
pub mod cluster;
pub mod draw;
pub mod generator;
pub mod load;
pub mod soak;
