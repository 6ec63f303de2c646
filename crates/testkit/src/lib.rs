//! Private servers, a stopwatch and other help for the tests of several crates.
//!
//! Only tests depend on this crate. Each server runs in its own directory on free ports, and ends
//! with the test program. If a program is missing, the test fails and names the program's Debian
//! package.

#[cfg(feature = "bucket")]
mod bucket;
#[cfg(feature = "brokers")]
pub mod keeper;
#[cfg(feature = "brokers")]
pub mod nats_server;
pub mod ports;
pub mod postgres;
#[cfg(feature = "brokers")]
pub mod proxy;
#[cfg(feature = "brokers")]
pub mod rabbit;
#[cfg(feature = "challenges")]
pub mod sealed;
mod temp_dir;
pub mod tool;
pub mod watch;

#[cfg(feature = "bucket")]
pub use bucket::BucketService;
pub use temp_dir::TempDir;
