//! The store's tests: the conformance suite on each backend, tests of single backends, and
//! comparisons with the in-memory model of `doorbuster-core` (`model`).

mod again;
mod ahead;
mod audit;
mod challenge;
mod clock_step;
mod commit_copy;
mod conformance;
mod dead_letter_retention;
mod disk;
mod dropped_reads;
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
mod rooms;
mod tls;
mod unreadable;
mod waiting_jobs;
mod waitlist;

use doorbuster_testkit::{postgres as cluster, watch};
