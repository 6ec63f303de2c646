//! The lab compares many known ways to deduct stock, on real servers. It is not part of the
//! product.
//!
//! Each file of [`strategies`] is one strategy. Worker processes serve the strategy over HTTP. A
//! driver sends the requests of the same buyers to each strategy, while faults occur. Then one
//! checker compares the buyers' answers with the orders. The product takes part too, as child
//! processes.

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
