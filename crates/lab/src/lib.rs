//! The lab compares every known way to deduct stock. All of them run on real servers.
//!
//! Each file of [`strategies`] is one strategy. A worker process serves the strategy over HTTP, and
//! a driver sends the same buyers to each strategy. The lab also injects faults into the servers
//! and connections. A checker, which is the same for all strategies, compares the buyers' answers
//! with the orders at the end. The lab is not part of the product. The product's three shapes take
//! part over HTTP, as child processes.

mod backends;
mod checker;
mod contract;
pub mod direct;
mod driver;
mod fault;
pub mod headline;
pub mod incident;
pub mod limits;
mod machine;
pub mod order;
mod product;
pub mod redis_link;
pub mod registry;
pub mod report;
mod result;
pub mod run;
mod servers;
pub mod shape;
mod strategies;
pub mod system;
pub mod worker;

pub use contract::{Answer, Claim, Family};
pub use fault::Fault;
pub use result::{LatencyMs, Machine, RunFailure, RunReport, RunResult, Verdict};
