//! The store's tests. The conformance suite runs on each backend. Other tests check behaviour that
//! only one backend has, and compare a store with the model.

#[path = "it/again.rs"]
mod again;
#[path = "it/ahead.rs"]
mod ahead;
#[path = "it/audit.rs"]
mod audit;
#[path = "it/challenge.rs"]
mod challenge;
#[path = "it/cluster.rs"]
mod cluster;
#[path = "it/commit_copy.rs"]
mod commit_copy;
#[path = "it/conformance.rs"]
mod conformance;
#[path = "it/disk.rs"]
mod disk;
#[path = "it/erase.rs"]
mod erase;
#[path = "it/events.rs"]
mod events;
#[path = "it/failover.rs"]
mod failover;
#[path = "it/faults.rs"]
mod faults;
#[path = "it/fixture.rs"]
mod fixture;
#[path = "it/gone.rs"]
mod gone;
#[path = "it/grace.rs"]
mod grace;
#[path = "it/group.rs"]
mod group;
#[path = "it/letters.rs"]
mod letters;
#[path = "it/model.rs"]
mod model;
#[path = "it/nodes.rs"]
mod nodes;
#[path = "it/open.rs"]
mod open;
#[path = "it/payments.rs"]
mod payments;
#[path = "it/poison.rs"]
mod poison;
#[path = "it/rate.rs"]
mod rate;
#[path = "it/reconciliation.rs"]
mod reconciliation;
#[path = "it/restore.rs"]
mod restore;
#[path = "it/tls.rs"]
mod tls;
#[path = "it/unreadable.rs"]
mod unreadable;
#[path = "it/waitlist.rs"]
mod waitlist;
#[path = "it/watch.rs"]
mod watch;
