//! The operations of a simulated sale. Their arguments are small integers, taken modulo the number
//! of existing objects: any part of a list is valid, and lists can be shrunk and stored as JSON.
pub mod spread;
pub mod waitlist;
pub use crate::setup::{Case, ItemSetup, Setup, SlotSetup};
use serde::{Deserialize, Serialize};

/// One operation. Every message is first in flight and arrives when [`Op::Deliver`] picks it.
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
        /// The attempt to repeat.
        attempt: u8,
        /// Units more than before (other content unless 0).
        more: u8,
    },
    /// A node answers `202` to a request that has a ticket.
    HandOut {
        /// Among the attempts that wait for a verdict.
        attempt: u8,
    },
    /// A buyer asks for the verdict of an id.
    Get {
        /// Among the ids handed out.
        id: u8,
    },
    /// A node reads the verdict that it waits for from the store.
    Poll {
        /// Among the attempts that wait for a verdict.
        attempt: u8,
    },
    /// A node retries a parked request.
    Retry {
        /// Among the parked attempts.
        attempt: u8,
    },
    /// A buyer cancels an unpaid order. An operator does so by [`waitlist::Waitlist::TakeAway`].
    Cancel {
        /// Among all orders.
        order: u8,
    },
    /// A provider captures the price of an order, and its message is handled at once.
    Pay {
        /// Among all orders.
        order: u8,
        /// The number of the payment; an existing payment's message is repeated.
        event: u8,
    },
    /// An operator refunds a paid order.
    Refund {
        /// Among all orders.
        order: u8,
    },
    /// The leader expires a due order.
    Expire {
        /// Among the reserved orders.
        order: u8,
    },
    /// A message arrives.
    Deliver {
        /// Among the messages in flight, oldest first.
        message: u8,
    },
    /// The oldest messages arrive, with all messages that they cause.
    DeliverMany {
        /// The number of messages.
        count: u8,
    },
    /// A message is lost.
    Lose {
        /// Among the messages in flight.
        message: u8,
    },
    /// A message is delayed: it arrives after any number of later ones.
    Delay {
        /// Among the messages in flight.
        message: u8,
    },
    /// A delayed message arrives.
    Late {
        /// Among the delayed messages.
        message: u8,
    },
    /// A message arrives, and a copy of it is delayed.
    Repeat {
        /// Among the messages in flight.
        message: u8,
    },
    /// A settler takes tickets from a slot's queue.
    Take {
        /// The slot.
        slot: u8,
        /// The maximum number of tickets.
        at_most: u8,
    },
    /// Another settler takes over: tickets without an acknowledgement are delivered again.
    Redeliver {
        /// The slot.
        slot: u8,
    },
    /// A ticket cannot be settled: it is returned, and the rest of its batch is settled.
    Poison {
        /// Among the batches in flight.
        message: u8,
    },
    /// A leader opens the slot's next grant, or sends the open grant again.
    Open {
        /// The leader.
        leader: u8,
        /// The slot.
        slot: u8,
        /// The units from the pool.
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
        /// The counter that gets them.
        #[serde(default)]
        counter: u8,
    },
    /// A leader checks whether a slot is low, and refills it by the rules.
    Tend {
        /// The leader.
        leader: u8,
        /// The slot.
        slot: u8,
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
        /// 0: the pool; otherwise the slot of this number.
        target: u8,
    },
    /// A leader sends a pending recall again.
    RecallAgain {
        /// The leader.
        leader: u8,
        /// Among the pending recalls.
        recall: u8,
    },
    /// A leader refills and recalls units for the parked request that has waited longest.
    ServeParked {
        /// The leader.
        leader: u8,
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
    /// A leader checks slot by slot whether a stopping item is drained, and then shows the phase.
    Drain {
        /// The leader.
        leader: u8,
        /// The item.
        item: u8,
    },
    /// A leader rolls a slot to a new epoch: stop, drain, close, open.
    Roll {
        /// The leader.
        leader: u8,
        /// The slot.
        slot: u8,
    },
    /// A leader lets a stopped slot issue tickets again although its item sells.
    Unstop {
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
    /// The store's clock steps; monotonic time does not.
    Step {
        /// The number of minutes.
        minutes: i8,
    },
    /// A node's clock steps.
    Skew {
        /// The node.
        node: u8,
        /// The distance from the store's clock in tenths of a second.
        tenths: i8,
    },
    /// A node's process ends and starts again; the slots in its memory are lost.
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
    /// A leader's process ends: its pending steps are lost.
    CrashLeader {
        /// The leader.
        leader: u8,
    },
    /// A leader treats a slot's lease as lapsed although the slot may live.
    Lapse {
        /// The leader.
        leader: u8,
        /// The slot.
        slot: u8,
    },
    /// Fault: a slot loses all data.
    Forget {
        /// The slot.
        slot: u8,
    },
    /// Saves a copy of a slot.
    Save {
        /// The slot.
        slot: u8,
    },
    /// Fault: a slot and its saved copy are exchanged: an old snapshot, or a second primary.
    Swap {
        /// The slot.
        slot: u8,
    },
    /// A buyer asks for the checkout of an order.
    Checkout {
        /// Among the reserved orders.
        order: u8,
    },
    /// A buyer pays at a checkout that was handed out.
    PayAt {
        /// Among the checkouts that were handed out.
        session: u8,
        /// 0, 1: pays once; 2: fails and then succeeds; 3: fails.
        how: u8,
    },
    /// A provider captures money outside of any checkout and sends its message.
    Charge {
        /// Among all orders.
        order: u8,
        /// 0: the price; 1: another amount; 2: another currency; 3: a valid id of no order; 4: a
        /// text that is no id; 5: fails; 6: fails and then succeeds.
        how: u8,
    },
    /// A provider repeats the message about a payment.
    TellAgain {
        /// Among the payments.
        payment: u8,
        /// Even: the same message; odd: a message with another id.
        how: u8,
    },
    /// A node tries a captured payment again that waited for units.
    CaptureAgain {
        /// Among the waiting payments.
        payment: u8,
    },
    /// The provider is available (0) or not (1), or refuses the next refunds (from 2: how many).
    Provider {
        /// See above.
        how: u8,
    },
    /// A leader asks the provider about a checkout that should be closed.
    Reconcile {
        /// The leader.
        leader: u8,
        /// Among the checkouts that should be closed.
        checkout: u8,
    },
    /// A leader requests a due refund from the provider, or asks for its state.
    AskRefund {
        /// The leader.
        leader: u8,
        /// Among the due refunds.
        refund: u8,
    },
    /// A refund arrives, and the provider sends its message.
    RefundArrives {
        /// Among the refunds that the provider accepted.
        refund: u8,
        /// 3: the message says that the payout has failed and will be retried; 5: the message is
        /// late; 7: the money came back, whatever the provider said before.
        #[serde(default)]
        how: u8,
    },
    /// An operator retries a refund that was given up.
    RetryRefund {
        /// Among the refunds that were given up, or all refunds without one.
        refund: u8,
    },
    /// An operator extends an order's payment window.
    Extend {
        /// Among all orders.
        order: u8,
        /// The new end, in seconds from now.
        secs: u8,
    },
    /// Much time passes.
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
    /// An endpoint accepts events (0), fails (1), accepts but never answers (2), or refuses one
    /// event (from 3).
    Endpoint {
        /// The endpoint.
        endpoint: u8,
        /// See above.
        mood: u8,
    },
    /// A delivery worker ends.
    CrashTeller {
        /// Which worker.
        worker: u8,
    },
    /// See [`waitlist::Waitlist`].
    Waitlist(waitlist::Waitlist),
    /// See [`spread::Respread`].
    Respread(spread::Respread),
}
