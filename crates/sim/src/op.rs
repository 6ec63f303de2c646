//! What a simulated sale is made of: the setup, and the operations as small integers, so that a list of them shrinks and is stored as JSON.
//!
//! Every argument is read modulo what exists at that moment, so that each list means something and stays meaningful when parts of it are removed.
use serde::{Deserialize, Serialize};

/// One item on sale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemSetup {
    /// Counted stock; `None`: unlimited.
    pub total: Option<u8>,
    /// Units that one buyer may hold.
    pub limit: u8,
    /// Payment window in seconds.
    pub hold_secs: u8,
    /// How a request finds its slot: by buyer, by chance, in turn.
    #[serde(default)]
    pub choose: u8,
    /// Sub-domains: units that a slot is opened with, below which it asks for more, and of one refill. Not in use unless all are above 0.
    #[serde(default)]
    pub initial: u8,
    /// See `initial`.
    #[serde(default)]
    pub threshold: u8,
    /// See `initial`.
    #[serde(default)]
    pub refill: u8,
}

/// One slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotSetup {
    /// Whose units it hands out.
    pub item: u8,
    /// The node in whose memory it lives; `None`: it stands by itself and every node reaches it.
    pub node: Option<u8>,
    /// Units that it is opened with, if sub-domains are not in use.
    pub first: u8,
}

/// The parts of a simulated sale.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setup {
    /// Items: one or two.
    pub items: Vec<ItemSetup>,
    /// Their slots.
    pub slots: Vec<SlotSetup>,
    /// How many nodes answer buyers.
    pub nodes: u8,
    /// How much a slot may hold; 0: as much as in the program.
    #[serde(default)]
    pub tight: u8,
}

impl Setup {
    /// Whether every node reaches a slot of every item.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let reaches = |item: usize, node: u8| {
            let here = |s: &&SlotSetup| usize::from(s.item) == item && s.node.is_none_or(|n| n == node);
            self.slots.iter().any(|s| here(&s))
        };
        let nodes = 0..self.nodes;
        let items = 0..self.items.len();
        let known = self.slots.iter().all(|s| usize::from(s.item) < self.items.len());
        known && self.nodes > 0 && items.into_iter().all(|item| nodes.clone().all(|node| reaches(item, node)))
    }
}

/// A setup and what happens in it: what a seed becomes, what is shrunk, and what is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Case {
    /// The parts.
    pub setup: Setup,
    /// What happens, in order.
    pub ops: Vec<Op>,
}

/// One step. Everything that travels does so as a message in flight, and arrives when [`Op::Deliver`] picks it.
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
    /// A buyer or operator gives up an unpaid order.
    Cancel {
        /// Among all orders.
        order: u8,
    },
    /// A captured payment is reported.
    Pay {
        /// Among all orders.
        order: u8,
        /// Event id; a repeated one is a repeated report.
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
    /// The oldest messages arrive, with all that they cause.
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
    /// A leader serves the parked request that has waited longest: refill, then recall, into its slot.
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
    /// Fault: a slot and its kept copy change places (an old snapshot comes back, or two primaries take turns).
    Swap {
        /// Which slot.
        slot: u8,
    },
}
