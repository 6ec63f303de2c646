//! What happens in a simulated sale: small integers, read modulo what exists then, so that lists
//! shrink, mean something in part, and are stored as JSON.
pub mod waitlist;
pub use crate::setup::{Case, ItemSetup, Setup, SlotSetup};
use serde::{Deserialize, Serialize};

/// One step. Everything that travels does so as a message in flight, and arrives when
/// [`Op::Deliver`] picks it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    /// A buyer asks for units under a key.
    Buy {
        /// At which node.
        node: u8,
        /// Who.
        buyer: u8,
        /// Under which key.
        key: u8,
        /// What.
        item: u8,
        /// How many.
        units: u8,
    },
    /// A buyer sends an earlier request again.
    Replay {
        /// At which node.
        node: u8,
        /// Which attempt is repeated.
        attempt: u8,
        /// How many units more than the first time (other content unless 0).
        more: u8,
    },
    /// A node answers `202` to a request whose ticket is cut.
    HandOut {
        /// Among the attempts that wait for a verdict.
        attempt: u8,
    },
    /// A buyer asks for an id's verdict.
    Get {
        /// Among the ids handed out.
        id: u8,
    },
    /// A node looks in the truth for the verdict that it waits for.
    Poll {
        /// Among the attempts that wait for a verdict.
        attempt: u8,
    },
    /// A node asks again for a parked request.
    Retry {
        /// Among the parked attempts.
        attempt: u8,
    },
    /// A buyer gives up an unpaid order; an operator does by [`line::Waitlist::TakeAway`].
    Cancel {
        /// Among all orders.
        order: u8,
    },
    /// A provider captures what an order costs, and its message is taken at once.
    Pay {
        /// Among all orders.
        order: u8,
        /// Which payment; of one that was captured before the message is repeated.
        event: u8,
    },
    /// An operator refunds a paid order.
    Refund {
        /// Among all orders.
        order: u8,
    },
    /// The leader expires the orders that are due, one transaction each.
    Expire {
        /// Among the reserved orders.
        order: u8,
    },
    /// A message arrives.
    Deliver {
        /// Among the messages in flight, oldest first.
        message: u8,
    },
    /// The oldest arrive, with all that they cause.
    DeliverMany {
        /// How many.
        count: u8,
    },
    /// A message is lost.
    Lose {
        /// Among the messages in flight.
        message: u8,
    },
    /// A message is held up: it arrives late, after any number of later ones.
    Delay {
        /// Among the messages in flight.
        message: u8,
    },
    /// A message that was held up arrives.
    Late {
        /// Among the messages held up.
        message: u8,
    },
    /// A message arrives, and a copy of it is held up.
    Repeat {
        /// Among the messages in flight.
        message: u8,
    },
    /// A settler takes tickets from a slot's queue.
    Take {
        /// Which slot.
        slot: u8,
        /// At most how many.
        at_most: u8,
    },
    /// Another settler takes over: what was delivered and not acknowledged is deliverable again.
    Redeliver {
        /// Which slot.
        slot: u8,
    },
    /// A ticket cannot be settled: it is given up, and the rest of its batch settles.
    Poison {
        /// Among the batches in flight.
        message: u8,
    },
    /// A leader opens the slot's next grant, or sends the open one again.
    Open {
        /// Which leader.
        leader: u8,
        /// Which slot.
        slot: u8,
        /// Units out of the pool.
        units: u8,
    },
    /// A leader moves units from the pool to a slot's grant.
    Refill {
        /// Which leader.
        leader: u8,
        /// Which slot.
        slot: u8,
        /// How many.
        units: u8,
        /// For which counter.
        #[serde(default)]
        counter: u8,
    },
    /// A leader looks whether a slot is low, and refills it as the rules say.
    Tend {
        /// Which leader.
        leader: u8,
        /// Which slot.
        slot: u8,
    },
    /// A leader sends a slot the feed rows that it lacks.
    Feed {
        /// Which leader.
        leader: u8,
        /// Which slot.
        slot: u8,
    },
    /// A leader starts to look whether a slot lost its memory.
    Look {
        /// Which leader.
        leader: u8,
        /// Which slot.
        slot: u8,
    },
    /// A leader recalls units.
    Recall {
        /// Which leader.
        leader: u8,
        /// Out of which slot.
        slot: u8,
        /// At most how many.
        units: u8,
        /// 0: to the pool; else to the slot of this number.
        target: u8,
    },
    /// A leader sends a pending recall again.
    RecallAgain {
        /// Which leader.
        leader: u8,
        /// Among the pending recalls.
        recall: u8,
    },
    /// A leader serves the parked request that has waited longest: refill, then recall, into its
    /// slot.
    ServeParked {
        /// Which leader.
        leader: u8,
        /// Of which item.
        item: u8,
    },
    /// An operator raises or lowers the total.
    Adjust {
        /// Which item.
        item: u8,
        /// By how many units.
        delta: i8,
    },
    /// An operator pauses the sale of an item.
    Pause {
        /// Which item.
        item: u8,
    },
    /// An operator lets it go on.
    Resume {
        /// Which item.
        item: u8,
    },
    /// An operator ends it.
    Close {
        /// Which item.
        item: u8,
    },
    /// A leader looks whether a stopping item is drained, slot by slot, and then shows the phase.
    Drain {
        /// Which leader.
        leader: u8,
        /// Which item.
        item: u8,
    },
    /// A leader rolls a slot to a new epoch: stop, drain, close, open.
    Roll {
        /// Which leader.
        leader: u8,
        /// Which slot.
        slot: u8,
    },
    /// A leader lets a slot that stands still for no reason cut again.
    Unstop {
        /// Which leader.
        leader: u8,
        /// Which slot.
        slot: u8,
    },
    /// A node is sent a snapshot of the truth.
    Snapshot {
        /// Which node.
        node: u8,
    },
    /// Time passes.
    Tick {
        /// Tenths of a second.
        tenths: u8,
    },
    /// The store's clock steps; monotonic time does not.
    Step {
        /// By so many minutes.
        minutes: i8,
    },
    /// A node's clock steps.
    Skew {
        /// Which node.
        node: u8,
        /// To so many tenths of a second away from the store's.
        tenths: i8,
    },
    /// A node's process dies and starts again; the slots in its memory die with it.
    CrashNode {
        /// Which node.
        node: u8,
    },
    /// A node's process dies and stays dead.
    Die {
        /// Which node.
        node: u8,
    },
    /// A dead node's process starts again.
    Rise {
        /// Which node.
        node: u8,
    },
    /// A node renews its lease.
    Beat {
        /// Which node.
        node: u8,
    },
    /// A leader closes the grants of nodes whose leases have lapsed.
    Leases {
        /// Which leader.
        leader: u8,
    },
    /// A leader's process dies: what it was about to do is not done.
    CrashLeader {
        /// Which leader.
        leader: u8,
    },
    /// A slot's lease is taken for lapsed, while it may well live.
    Lapse {
        /// Which leader.
        leader: u8,
        /// Which slot.
        slot: u8,
    },
    /// Fault: a slot loses everything.
    Forget {
        /// Which slot.
        slot: u8,
    },
    /// A copy of a slot is kept.
    Save {
        /// Which slot.
        slot: u8,
    },
    /// Fault: a slot and its kept copy change places (an old snapshot comes back, or two primaries
    /// take turns).
    Swap {
        /// Which slot.
        slot: u8,
    },
    /// A buyer asks where to pay for an order.
    Checkout {
        /// Among the reserved orders.
        order: u8,
    },
    /// A buyer pays at a checkout that was handed out.
    PayAt {
        /// Among the checkouts that were handed out.
        session: u8,
        /// 0, 1: once; 2: it fails, and then succeeds; 3: it fails.
        how: u8,
    },
    /// A provider captures money outside of any checkout, and sends its message.
    Charge {
        /// Among all orders.
        order: u8,
        /// 0: what it costs; 1: another amount; 2: another currency; 3: for no order of ours; 4:
        /// for no order's id; 5: it fails; 6: it fails, then succeeds.
        how: u8,
    },
    /// A provider tells of a payment again.
    TellAgain {
        /// Among the payments.
        payment: u8,
        /// Even: the same message; odd: under another id.
        how: u8,
    },
    /// A node tries a captured payment again that had waited for units.
    CaptureAgain {
        /// Among those that wait.
        payment: u8,
    },
    /// The provider comes back (0), is away (1), or refuses the next refunds (as many, from 2).
    Provider {
        /// See above.
        how: u8,
    },
    /// A leader asks the provider about a checkout that should be closed.
    Reconcile {
        /// Which leader.
        leader: u8,
        /// Among those that should be.
        checkout: u8,
    },
    /// A leader asks the provider for a refund that is due, or how far it is.
    AskRefund {
        /// Which leader.
        leader: u8,
        /// Among those that are due.
        refund: u8,
    },
    /// A refund arrives, and the provider sends its message.
    RefundArrives {
        /// Among those that the provider took.
        refund: u8,
        /// 3: it could not be paid out so far, says the message; 5: the message comes late; 7: it
        /// came back, whatever it said before.
        #[serde(default)]
        how: u8,
    },
    /// An operator has a refund that was given up asked for once more.
    RetryRefund {
        /// Among those that were given up, or all if none was.
        refund: u8,
    },
    /// An operator puts an order's payment window off.
    Extend {
        /// Among all orders.
        order: u8,
        /// To so many seconds from now.
        secs: u8,
    },
    /// Much time passes.
    Wait {
        /// So many times ten seconds.
        tens: u8,
    },
    /// A worker goes on with telling an endpoint what happened.
    Tell {
        /// Which worker.
        worker: u8,
        /// Which endpoint.
        endpoint: u8,
    },
    /// An endpoint takes what it is told (0), fails (1), takes it and never answers (2), or refuses
    /// one event (from 3).
    Endpoint {
        /// Which endpoint.
        endpoint: u8,
        /// See above.
        mood: u8,
    },
    /// A worker that tells dies.
    CrashTeller {
        /// Which worker.
        worker: u8,
    },
    /// See [`line::Waitlist`].
    Waitlist(waitlist::Waitlist),
}
