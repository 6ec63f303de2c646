//! The operations of a simulated sale. An argument may be the index of an order, a slot or another
//! object. The simulator takes each index modulo the number of existing objects of this kind. So
//! every index is valid, and each part of a list of operations is a valid list.
pub mod spread;
pub mod waitlist;
pub use crate::setup::{Case, ItemSetup, Setup, SlotSetup};
use serde::{Deserialize, Serialize};

/// If this bit of `more` in [`Op::Replay`] is set, the front door refuses the request.
pub const REFUSED_AT_DOOR: u8 = 4;

/// One operation. A message stays in flight until an operation such as [`Op::Deliver`] delivers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names explain the fields")]
pub enum Op {
    /// A buyer requests units under a key.
    Buy { node: u8, buyer: u8, key: u8, item: u8, units: u8 },
    /// A buyer repeats the request of an earlier attempt, and asks for additional units: `more`
    /// modulo 4. If the bit [`REFUSED_AT_DOOR`] of `more` is set, the front door refuses the
    /// request.
    Replay { node: u8, attempt: u8, more: u8 },
    /// A node answers `202` to a request whose ticket has no verdict yet. `attempt` is an index
    /// among the attempts that wait for a verdict.
    HandOut { attempt: u8 },
    /// A buyer asks for the verdict of an id that the buyer received before.
    Get { id: u8 },
    /// A node that waits for a verdict reads the verdict from the store. `attempt` is an index
    /// among the attempts that wait for a verdict or were answered `202`.
    Poll { attempt: u8 },
    /// A node retries a parked request, which waits for units or for a commit.
    Retry { attempt: u8 },
    /// A buyer cancels an unpaid order. `order` is an index among all orders. The cancellation by
    /// an operator is [`waitlist::WaitlistOp::TakeAway`].
    Cancel { order: u8 },
    /// A provider captures the price of an order, and a node handles the provider's message
    /// immediately. `order` is an index among all orders, and `event` is the number of the payment.
    /// If this payment already exists, the provider repeats the payment's message instead.
    Pay { order: u8, event: u8 },
    /// An operator refunds a paid order. `order` is an index among all orders.
    Refund { order: u8 },
    /// The leader tries to expire an order. The order expires only after its payment window.
    /// `order` is an index among the reserved orders.
    Expire { order: u8 },
    /// A message in flight arrives. The oldest message has the index 0.
    Deliver { message: u8 },
    /// This many messages arrive, beginning with the oldest message in flight.
    DeliverMany { count: u8 },
    /// A message in flight is lost.
    Lose { message: u8 },
    /// A message in flight is delayed. It arrives with [`Op::Late`], or at the end of the run.
    Delay { message: u8 },
    /// A delayed message arrives.
    Late { message: u8 },
    /// A message in flight arrives, and a copy of it is delayed, so that it may arrive a second
    /// time.
    Repeat { message: u8 },
    /// A settler takes at most this many tickets from a slot's queue.
    Take { slot: u8, at_most: u8 },
    /// Another settler takes over a slot's queue. The slot delivers all unacknowledged tickets
    /// again, to the new settler.
    Redeliver { slot: u8 },
    /// One ticket of a batch in flight cannot be settled, so this ticket is returned. `message` is
    /// an index among the batches in flight.
    Poison { message: u8 },
    /// A leader opens the slot's next grant with this many units from the pool. If the slot has an
    /// open grant, the leader sends this grant again.
    Open { leader: u8, slot: u8, units: u8 },
    /// A leader moves units from the pool to a slot's grant. `counter` is the counter that gets the
    /// units.
    Refill {
        leader: u8,
        slot: u8,
        units: u8,
        #[serde(default)]
        counter: u8,
    },
    /// A leader sends a slot its missing feed rows.
    Feed { leader: u8, slot: u8 },
    /// A leader begins to check whether a slot lost its memory.
    Look { leader: u8, slot: u8 },
    /// A leader recalls at most this many units from a slot. If `target` is 0, the units go to the
    /// pool. Otherwise, the units go to the slot with the index `target - 1`.
    Recall { leader: u8, slot: u8, units: u8, target: u8 },
    /// A leader sends a pending recall again.
    RecallAgain { leader: u8, recall: u8 },
    /// A node reconciles the slots of an item.
    Round { node: u8, item: u8 },
    /// An operator raises or lowers the total by this many units.
    Adjust { item: u8, delta: i8 },
    /// An operator pauses the sale of an item.
    Pause { item: u8 },
    /// An operator resumes the sale of an item.
    Resume { item: u8 },
    /// An operator closes the sale of an item.
    Close { item: u8 },
    /// A leader opens an item's sale if the sale's start time has come.
    TakeDueStep { leader: u8, item: u8 },
    /// An operator moves the start of an item's sale to this number of tenths of a second from now.
    /// If the sale has opened, nothing changes.
    MoveStart { item: u8, tenths: u8 },
    /// A leader waits until an item's slots are drained, and then shows buyers the item's new
    /// phase.
    Drain { leader: u8, item: u8 },
    /// A leader moves a slot to a new epoch: the leader stops and drains the slot, closes the
    /// grant, and opens the next grant.
    Roll { leader: u8, slot: u8 },
    /// The store sends a snapshot to a node.
    Snapshot { node: u8 },
    /// Time passes, in tenths of a second.
    Tick { tenths: u8 },
    /// The store's clock is set forward or back by this many minutes. The monotonic clock does not
    /// change.
    Step { minutes: i8 },
    /// A node's clock is set to the store's time plus this many tenths of a second.
    Skew { node: u8, tenths: i8 },
    /// A node's process ends and starts again. The slots in its memory are lost.
    CrashNode { node: u8 },
    /// A node's process ends and does not start again.
    Die { node: u8 },
    /// The process of a dead node starts again.
    Rise { node: u8 },
    /// A node renews its lease.
    Beat { node: u8 },
    /// A leader closes the grants of nodes whose leases have lapsed.
    Leases { leader: u8 },
    /// A leader's process ends. Its pending steps are lost.
    CrashLeader { leader: u8 },
    /// A leader treats a slot's lease as lapsed, although the slot may still run.
    Lapse { leader: u8, slot: u8 },
    /// Fault: a slot loses all its data.
    Forget { slot: u8 },
    /// Saves a copy of a slot.
    Save { slot: u8 },
    /// Fault: a slot's data is exchanged with its saved copy, as if an old snapshot was restored.
    Swap { slot: u8 },
    /// A buyer asks for the checkout of an order. `order` is an index among the reserved orders.
    Checkout { order: u8 },
    /// A buyer pays at a checkout. The server must have sent its URL to a buyer before. If `how` is
    /// 0 or 1, the payment succeeds. If `how` is 2, the payment fails and then succeeds. If `how`
    /// is 3, the payment fails.
    PayAt { session: u8, how: u8 },
    /// A provider captures money that was not paid at a checkout, and sends a message about it.
    /// `order` is an index among all orders. The values of `how`:
    ///
    /// - 0: the order's price; 1: another amount; 2: another currency
    /// - 3: the money is for a valid id without an order; 4: the money is for an invalid id
    /// - 5: the payment fails; 6: the payment fails and then succeeds
    Charge { order: u8, how: u8 },
    /// A provider repeats the message about a payment. If `how` is even and no node has answered
    /// the message yet, the copy has the same message id. Otherwise the copy has another id.
    TellAgain { payment: u8, how: u8 },
    /// An action that waits for units stops waiting and continues: a payment, or a change of a
    /// total.
    EndWait { action: u8 },
    /// The behavior of the provider changes. If `how` is 0, the provider becomes available. If
    /// `how` is 1, the provider becomes unavailable. If `how` is greater, the provider refuses the
    /// next `how` refunds.
    Provider { how: u8 },
    /// A leader asks the provider to close a checkout that should be closed, and to report this
    /// checkout's payments.
    Reconcile { leader: u8, checkout: u8 },
    /// A leader requests a pending refund from the provider. If the provider has already accepted
    /// the refund, the leader asks for its state.
    AskRefund { leader: u8, refund: u8 },
    /// The provider sends a message about a refund that the provider accepted. The values of `how`:
    ///
    /// - 3: the payout failed, and the provider tries it again
    /// - 5: the money arrived, and the message about it is delayed
    /// - 7: the money came back
    /// - any other value: the money arrived
    RefundArrives {
        refund: u8,
        #[serde(default)]
        how: u8,
    },
    /// A captured payment is reversed at the provider, or a reversal ends. The provider sends a
    /// report about it. `payment` is an index among the captured payments. The values of `how`:
    ///
    /// - 0: the buyer disputes the payment; 1: the buyer disputes half of it
    /// - 2 or 3: a person refunds the rest of the payment; 4: a person refunds half of the rest
    /// - 5: a dispute ends; 6: a refund by a person fails
    /// - 7, or if the payment has no such reversal: the provider repeats its newest report
    Reverse { payment: u8, how: u8 },
    /// An operator retries a refund that the server no longer retries. If there is no such refund,
    /// the operator tries to retry another refund.
    RetryRefund { refund: u8 },
    /// An operator extends an order's payment window to this many seconds from now. `order` is an
    /// index among all orders.
    Extend { order: u8, secs: u8 },
    /// A long time passes, in units of ten seconds.
    Wait { tens: u8 },
    /// A delivery worker begins its next turn for an endpoint.
    Tell { worker: u8, endpoint: u8 },
    /// The behavior of an endpoint changes. The values of `mood`:
    ///
    /// - 0: the endpoint accepts events; 1: the endpoint fails; 2: the endpoint accepts events, but
    ///   its answers never arrive
    /// - 3 or more: the endpoint refuses one event, which `mood` selects
    Endpoint { endpoint: u8, mood: u8 },
    /// A delivery worker ends.
    CrashTeller { worker: u8 },
    /// A standby of the database stops receiving commits.
    StandbyStops,
    /// The standby becomes the primary. The commits that the standby did not receive are lost.
    FailOver,
    /// A node pauses the open sales after a failover, because the new primary may lack commits.
    PauseAfterFailover,
    /// An operation on a waitlist.
    Waitlist(waitlist::WaitlistOp),
    /// An operation on a spread.
    Respread(spread::SpreadOp),
}
