//! The operations of a simulated sale. If an argument names an object, the object's index is the
//! argument modulo the number of such objects. So any part of a list is a valid list.
pub mod spread;
pub mod waitlist;
pub use crate::setup::{Case, ItemSetup, Setup, SlotSetup};
use serde::{Deserialize, Serialize};

/// The bit of `more` in [`Op::Replay`] that makes the front door refuse the request.
pub const REFUSED_AT_DOOR: u8 = 4;

/// One operation. A message stays in flight until an operation such as [`Op::Deliver`] delivers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    /// A buyer requests units under a key.
    Buy {
        /// The node.
        node: u8,
        /// The buyer.
        buyer: u8,
        /// The request key.
        key: u8,
        /// The item.
        item: u8,
        /// The units.
        units: u8,
    },
    /// A buyer repeats an earlier request.
    Replay {
        /// The node.
        node: u8,
        /// The index of the attempt that is repeated.
        attempt: u8,
        /// The number of units to add to the units of the earlier request, modulo 4. If this number
        /// is above 0, the repeated request has other content. If the bit [`REFUSED_AT_DOOR`] is
        /// set, the front door refuses the repeated request.
        more: u8,
    },
    /// A node answers `202` to a request that has a ticket.
    HandOut {
        /// The index among the attempts that wait for a verdict.
        attempt: u8,
    },
    /// A buyer asks for the verdict of an id.
    Get {
        /// The index among the ids that buyers received.
        id: u8,
    },
    /// A node that waits for a verdict reads the verdict from the store.
    Poll {
        /// The index among the attempts that wait for a verdict or were answered `202`.
        attempt: u8,
    },
    /// A node retries a parked request, which waits for units or for a commit.
    Retry {
        /// The index among the parked attempts.
        attempt: u8,
    },
    /// A buyer cancels an unpaid order. An operator uses [`waitlist::WaitlistOp::TakeAway`].
    Cancel {
        /// The index among all orders.
        order: u8,
    },
    /// A provider captures the price of an order. The provider's message is handled immediately.
    Pay {
        /// The index among all orders.
        order: u8,
        /// The number of the payment. If the payment exists, its message is repeated.
        event: u8,
    },
    /// An operator refunds a paid order.
    Refund {
        /// The index among all orders.
        order: u8,
    },
    /// The leader expires a due order.
    Expire {
        /// The index among the reserved orders.
        order: u8,
    },
    /// A message arrives.
    Deliver {
        /// The index among the messages in flight, oldest first.
        message: u8,
    },
    /// Several messages arrive one after another. Each time, the oldest message in flight arrives.
    DeliverMany {
        /// The number of messages.
        count: u8,
    },
    /// A message is lost.
    Lose {
        /// The index among the messages in flight.
        message: u8,
    },
    /// A message is delayed. It arrives after any number of later messages.
    Delay {
        /// The index among the messages in flight.
        message: u8,
    },
    /// A delayed message arrives.
    Late {
        /// The index among the delayed messages.
        message: u8,
    },
    /// A message arrives, and a copy of it is delayed.
    Repeat {
        /// The index among the messages in flight.
        message: u8,
    },
    /// A settler takes tickets from a slot's queue.
    Take {
        /// The slot.
        slot: u8,
        /// The maximum number of tickets.
        at_most: u8,
    },
    /// Another settler takes over. Tickets without an acknowledgement are delivered again.
    Redeliver {
        /// The slot.
        slot: u8,
    },
    /// A ticket cannot be settled, so it is returned. The other tickets of its batch are settled.
    Poison {
        /// The index among the batches in flight.
        message: u8,
    },
    /// A leader opens the slot's next grant, or sends the open grant again.
    Open {
        /// The leader.
        leader: u8,
        /// The slot.
        slot: u8,
        /// The number of units that the grant gets from the pool.
        units: u8,
    },
    /// A leader moves units from the pool to a slot's grant.
    Refill {
        /// The leader.
        leader: u8,
        /// The slot.
        slot: u8,
        /// The number of units.
        units: u8,
        /// The counter that gets the units.
        #[serde(default)]
        counter: u8,
    },
    /// A leader sends a slot its missing feed rows.
    Feed {
        /// The leader.
        leader: u8,
        /// The slot.
        slot: u8,
    },
    /// A leader starts to check whether a slot lost its memory.
    Look {
        /// The leader.
        leader: u8,
        /// The slot.
        slot: u8,
    },
    /// A leader recalls units.
    Recall {
        /// The leader.
        leader: u8,
        /// The slot that gives the units.
        slot: u8,
        /// The maximum number of units.
        units: u8,
        /// The target: 0 is the pool, and another number `n` is the slot with the index `n - 1`.
        target: u8,
    },
    /// A leader sends a pending recall again.
    RecallAgain {
        /// The leader.
        leader: u8,
        /// The index among the pending recalls.
        recall: u8,
    },
    /// A node reconciles the slots of an item.
    Round {
        /// The node.
        node: u8,
        /// The item.
        item: u8,
    },
    /// An operator raises or lowers the total.
    Adjust {
        /// The item.
        item: u8,
        /// The change in units.
        delta: i8,
    },
    /// An operator pauses the sale of an item.
    Pause {
        /// The item.
        item: u8,
    },
    /// An operator resumes the sale of an item.
    Resume {
        /// The item.
        item: u8,
    },
    /// An operator closes the sale of an item.
    Close {
        /// The item.
        item: u8,
    },
    /// A leader waits until an item's slots are drained, and then shows the item's new phase.
    Drain {
        /// The leader.
        leader: u8,
        /// The item.
        item: u8,
    },
    /// A leader moves a slot to a new epoch: it stops, drains, closes and opens the slot.
    Roll {
        /// The leader.
        leader: u8,
        /// The slot.
        slot: u8,
    },
    /// The store sends a node a snapshot.
    Snapshot {
        /// The node.
        node: u8,
    },
    /// Time passes.
    Tick {
        /// Tenths of a second.
        tenths: u8,
    },
    /// The store's clock is set to another time. Monotonic time does not change.
    Step {
        /// The number of minutes.
        minutes: i8,
    },
    /// A node's clock is set to another time.
    Skew {
        /// The node.
        node: u8,
        /// The distance from the store's clock in tenths of a second.
        tenths: i8,
    },
    /// A node's process ends and starts again. The slots in its memory are lost.
    CrashNode {
        /// The node.
        node: u8,
    },
    /// A node's process ends and does not start again.
    Die {
        /// The node.
        node: u8,
    },
    /// The process of a dead node starts again.
    Rise {
        /// The node.
        node: u8,
    },
    /// A node renews its lease.
    Beat {
        /// The node.
        node: u8,
    },
    /// A leader closes the grants of nodes whose leases have lapsed.
    Leases {
        /// The leader.
        leader: u8,
    },
    /// A leader's process ends. Its pending steps are lost.
    CrashLeader {
        /// The leader.
        leader: u8,
    },
    /// A leader treats a slot's lease as lapsed, although the slot may still run.
    Lapse {
        /// The leader.
        leader: u8,
        /// The slot.
        slot: u8,
    },
    /// Fault: a slot loses all its data.
    Forget {
        /// The slot.
        slot: u8,
    },
    /// Saves a copy of a slot.
    Save {
        /// The slot.
        slot: u8,
    },
    /// Fault: a slot's data and its saved copy are exchanged, as if an old snapshot was restored.
    Swap {
        /// The slot.
        slot: u8,
    },
    /// A buyer asks for the checkout of an order.
    Checkout {
        /// The index among the reserved orders.
        order: u8,
    },
    /// A buyer pays at a checkout that was handed out.
    PayAt {
        /// The index among the checkouts that were handed out.
        session: u8,
        /// 0 and 1: the payment succeeds. 2: it fails, then succeeds. 3: it fails.
        how: u8,
    },
    /// A provider captures money outside of any checkout and sends its message.
    Charge {
        /// The index among all orders.
        order: u8,
        /// 0: the order's price. 1: another amount. 2: another currency. 3: a valid id without an
        /// order. 4: an invalid id. 5: the payment fails. 6: the payment fails, then succeeds.
        how: u8,
    },
    /// A provider repeats the message about a payment.
    TellAgain {
        /// The index among the payments.
        payment: u8,
        /// Which message is sent. Even: the same message. Odd: a message with another id.
        how: u8,
    },
    /// An action that waited for units continues.
    EndWait {
        /// The index among the waiting actions.
        action: u8,
    },
    /// The provider becomes available, becomes unavailable, or refuses the next refunds.
    Provider {
        /// 0: available. 1: unavailable. From 2: the number of refused refunds.
        how: u8,
    },
    /// A leader asks the provider to close a checkout and to report its payments.
    Reconcile {
        /// The leader.
        leader: u8,
        /// The index among the checkouts that should be closed.
        checkout: u8,
    },
    /// A leader requests a due refund from the provider, or asks for the refund's state.
    AskRefund {
        /// The leader.
        leader: u8,
        /// The index among the due refunds.
        refund: u8,
    },
    /// The provider sends a message about a refund.
    RefundArrives {
        /// The index among the refunds that the provider accepted.
        refund: u8,
        /// 3: the payout failed and is tried again. 5: the money arrived, but the message is late.
        /// 7: the money came back. Any other value: the money arrived.
        #[serde(default)]
        how: u8,
    },
    /// An operator retries a refund that was given up.
    RetryRefund {
        /// The index among the refunds that were given up, or among all refunds if none was given
        /// up.
        refund: u8,
    },
    /// An operator extends an order's payment window.
    Extend {
        /// The index among all orders.
        order: u8,
        /// The new end, in seconds from now.
        secs: u8,
    },
    /// A long time passes.
    Wait {
        /// The time in units of ten seconds.
        tens: u8,
    },
    /// A worker continues to deliver events to an endpoint.
    Tell {
        /// The worker.
        worker: u8,
        /// The endpoint.
        endpoint: u8,
    },
    /// The behavior of an endpoint changes.
    Endpoint {
        /// The endpoint.
        endpoint: u8,
        /// 0: the endpoint accepts events. 1: the endpoint fails. 2: the endpoint accepts events
        /// but its answers never arrive. 3 or more: the endpoint refuses one event.
        mood: u8,
    },
    /// A delivery worker ends.
    CrashTeller {
        /// The worker.
        worker: u8,
    },
    /// An operation on a waitlist.
    Waitlist(waitlist::WaitlistOp),
    /// An operation on a spread.
    Respread(spread::SpreadOp),
}
