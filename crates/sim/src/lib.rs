//! Deterministic simulation of the protocol under faults.
//!
//! A seed becomes a list of operations ([`op::Op`]) over nodes, slots, settlers, leaders, a clock,
//! a network and the truth; a judge that shares no rule with `core` checks each step; a list that
//! breaks a promise is shrunk and kept as a file. Removing any one rule of the protocol
//! ([`doorbuster_core::rules::Rule`]) must be noticed.
#![forbid(unsafe_code)]

pub mod checker;
pub mod mutants;
pub mod op;
pub mod profile;
#[cfg(feature = "real")]
pub mod real;
pub mod reproduction;
pub mod rng;
pub mod run;
mod setup;
pub mod shrink;
pub mod truth;
pub mod world;
