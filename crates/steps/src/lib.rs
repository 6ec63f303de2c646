//! Steps of the server as plain values: each type is a sequence of actions, without IO, async code,
//! clock or randomness.
//!
//! - [`applied_payments`] remembers payments, to apply them again after a failover.
//! - [`checkout`] closes a checkout at the payment provider.
//! - [`delivery`] delivers events to an endpoint of a shop.
//! - [`feed`] sends a slot its missing feed rows.
//! - [`late_payment`] applies a payment that arrives after its order ended.
//! - [`memory`] refuses a request if the node's memory shows that the request cannot succeed.
//! - [`pool_recall`] moves units from an item's slots to its pool.
//! - [`publication`] publishes a commit or a snapshot to a node's memory.
//! - [`purchase`] handles a request that [`memory`] did not refuse, from the first slot to the
//!   answer.
//! - [`sale_stop`] pauses or closes a sale.
//! - [`settlement`] settles a batch of tickets.
//! - [`slot_check`] checks whether a slot lost its memory.
//! - [`slot_drain`] drains a slot that left its item's spread.
//! - [`slot_reconciliation`] brings an item's slots up to date with the store.
//! - [`slot_start`] opens a slot's grant and gives it to the slot.
//! - [`takeover`] closes the grants of nodes whose leases have lapsed.
//! - [`total_change`] changes an item's total.
//!
//! A step tells its *driver* the next effect, and the driver passes the effect's result to the
//! step. The server is a driver with real slots and a real store. The simulator is a driver with
//! simulated slots and a simulated store.
#![forbid(unsafe_code)]

pub mod applied_payments;
pub mod checkout;
pub mod delivery;
pub mod feed;
#[cfg(test)]
mod fixture;
pub mod late_payment;
pub mod memory;
pub mod pool_recall;
pub mod publication;
pub mod purchase;
pub mod sale_stop;
pub mod settlement;
pub mod slot_check;
pub mod slot_drain;
pub mod slot_reconciliation;
pub mod slot_start;
pub mod takeover;
pub mod total_change;
