//! Deterministic simulation of the protocol under faults.
//!
//! A seed determines a list of operations ([`op::Op`]) on nodes, slots, settlers, leaders, a clock,
//! a network and a store. A checker, which uses none of the rules in `core`, checks each step. If
//! the checker finds a fault, the list is shrunk and stored as a file.
//!
//! To test the simulation itself, each rule of the protocol ([`doorbuster_core::rules::Rule`]) is
//! removed in turn. The checker must then find a fault.
#![forbid(unsafe_code)]

pub mod checker;
pub mod explore;
pub mod mutants;
mod names;
pub mod op;
pub mod profile;
pub mod recorded;
pub mod reproduction;
pub mod request;
pub mod rng;
pub mod run;
mod setup;
pub mod shrink;
pub mod state;
pub mod store;
pub mod world;
