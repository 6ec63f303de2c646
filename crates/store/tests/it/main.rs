//! The store's tests. The conformance suite runs on each backend. Other tests check behaviour that
//! only one backend has. The tests in `model` compare a store with the in-memory model of
//! `doorbuster-core`.

mod again;
mod ahead;
mod audit;
mod challenge;
mod clock_step;
mod commit_copy;
mod conformance;
mod dead_letter_retention;
mod disk;
mod erase;
mod events;
mod failover;
mod faults;
mod fixture;
mod gone;
mod grace;
mod group;
mod model;
mod nodes;
mod open;
mod payments;
mod poison;
mod rate;
mod reconciliation;
mod restore;
mod tls;
mod unreadable;
mod waitlist;

use doorbuster_testkit::{postgres as cluster, watch};
