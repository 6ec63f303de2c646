//! Code that all parts of the server share: the clock, counters, keys and their formats, encrypted
//! files, failpoints, and the client for outgoing HTTP requests.
//!
//! This crate contains no rules of sales. Only its module `clock` reads the system clock.

pub mod clock;
pub mod counter;
pub mod dns_lookups;
pub mod encryption;
pub mod failpoint;
pub mod key_set;
pub mod master_keys;
pub mod outgoing;
pub mod secret_format;
pub mod signing;
pub mod vapid;
