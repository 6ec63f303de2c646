//! Checks every commit and every answer against the checker's own records. The checker uses none of
//! the rules in `core`.
mod answers;
mod checkouts;
mod events;
mod money;
mod quiescence;
mod rows;
mod spread;
mod waitlist;

pub(crate) use answers::AnswerContext;
pub(crate) use events::ordering_key;
pub(crate) use money::RowsBefore;

use std::collections::BTreeMap;

use doorbuster_core::model::Model;
use doorbuster_core::money::{Refund, RefundId};
use doorbuster_core::sold_out::SoldOut;
use doorbuster_core::{
    BuyerId, GrantId, ItemId, Millis, OrderState, Phase, RecallId, RequestKey, Seq, TicketId,
    TicketN, Units, Verdict,
};
use hashbrown::{HashMap, HashSet};

use crate::world::NAMES;
use events::DeliveryLog;
use waitlist::Waitlists;

type Map<K, V> = HashMap<K, V, foldhash::fast::FixedState>;

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The name of the broken promise: an invariant of the protocol such as `I5`, or a short name.
    pub what: &'static str,
    /// The values that show the fault.
    pub detail: String,
}

/// One request of a buyer as it arrived at a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BuyerRequest {
    /// The node.
    pub node: u8,
    /// The buyer.
    pub buyer: u8,
    /// The request key.
    pub key: u8,
    /// The item.
    pub item: ItemId,
    /// The units.
    pub units: Units,
    /// The last commit before the request arrived.
    pub began: u64,
    /// The number of the attempt.
    pub attempt: usize,
}

impl BuyerRequest {
    pub(crate) fn buyer(&self) -> BuyerId {
        NAMES.buyers[usize::from(self.buyer)].clone()
    }

    pub(crate) fn key(&self) -> RequestKey {
        NAMES.keys[usize::from(self.key)].clone()
    }

    fn request(&self) -> RequestNumbers {
        (self.buyer, self.key)
    }
}

/// An answer to a buyer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BuyerAnswer {
    /// The request's order.
    Order(TicketId),
    /// The purchase is queued. The server does not promise an order yet.
    Queued(TicketId),
    /// Not enough units are free.
    SoldOut {
        /// The refusal.
        refusal: SoldOut,
        /// The commit of the snapshot that the answer uses.
        as_of: u64,
        /// Whether the request was parked (waited) for the longest time allowed.
        parked: bool,
    },
    /// The buyer would exceed the limit.
    LimitReached,
    /// The key was used with other content.
    KeyReused,
    /// The sale is not open.
    Phase {
        /// The phase.
        phase: Phase,
        /// The commit of the snapshot that the answer uses.
        as_of: u64,
    },
    /// The buyer must repeat the request with the same key.
    Retry,
}

impl BuyerAnswer {
    fn name(self) -> &'static str {
        match self {
            Self::Order(_) => "answered order",
            Self::Queued(_) => "answered queued",
            Self::SoldOut { parked: true, .. } => "answered sold_out after parking",
            Self::SoldOut { refusal: SoldOut { may_return: true, .. }, .. } => {
                "answered sold_out, may return"
            }
            Self::SoldOut { .. } => "answered sold_out",
            Self::LimitReached => "answered limit_reached",
            Self::KeyReused => "answered key_reused",
            Self::Phase { phase: Phase::Paused, .. } => "answered paused",
            Self::Phase { .. } => "answered ended",
            Self::Retry => "answered retry",
        }
    }
}

/// How often each covered case happened.
pub type Coverage = BTreeMap<&'static str, u64>;

type RequestNumbers = (u8, u8);

/// The checker's record of a ticket, made when the ticket was issued.
#[derive(Clone, Copy, Debug)]
struct SeenTicket {
    purchase: BuyerRequest,
    units: Units,
    grant: GrantId,
    version: u64,
}

/// The checker's record of an order, made when the order appeared.
#[derive(Clone, Copy, Debug)]
struct SeenOrder {
    version: u64,
    state: OrderState,
    pay_by: Millis,
    /// Whether the order was paid after it had ended.
    revived: bool,
}

/// The counts of an item at one commit.
#[derive(Clone, Copy, Debug, Default)]
struct ItemCounts {
    free: Option<u64>,
    reserved: u64,
}

/// The store at one commit, with sums that the checker computed.
#[derive(Clone, Copy, Debug)]
struct CommitState {
    version: u64,
    /// When the commit happened, in monotonic time.
    at: Millis,
    items: [ItemCounts; 2],
    phases: [Phase; 2],
}

/// The checker.
#[derive(Clone, Debug)]
pub struct Checker {
    /// The first broken promise.
    pub finding: Option<Finding>,
    /// The covered cases, and how often each happened. A case that never happens is not tested.
    pub reached: Coverage,
    faulty: bool,
    history: Vec<CommitState>,
    issued: Map<TicketId, SeenTicket>,
    tickets: Map<RequestNumbers, Vec<TicketId>>,
    orders: Map<TicketId, SeenOrder>,
    requests: Map<RequestNumbers, TicketId>,
    numbers: Map<(GrantId, TicketN), TicketId>,
    /// Committed verdicts with their commits.
    verdicts: Map<TicketId, (Verdict, u64)>,
    /// Verdicts that buyers received.
    reported: Map<TicketId, Verdict>,
    handed: Vec<(TicketId, u8)>,
    /// For each attempt that got the answer `Queued`: the id in the answer.
    handed_by: Map<usize, TicketId>,
    /// The orders that each node has named in its answers.
    answered_orders: HashSet<(u8, TicketId), foldhash::fast::FixedState>,
    /// The intended phase of each item, and the commit that recorded this intention.
    stopping: [Option<(Phase, u64)>; 2],
    answers: Map<usize, BuyerAnswer>,
    /// Closed grants with the length of their feeds.
    closed: Map<GrantId, Seq>,
    /// Recalls that moved units.
    recalls: HashSet<RecallId, foldhash::fast::FixedState>,
    /// Returned tickets that were checked.
    decided: HashSet<TicketId, foldhash::fast::FixedState>,
    /// Refunds as they were at their last check.
    sent: Map<RefundId, Refund>,
    deliveries: DeliveryLog,
    waitlists: Waitlists,
}

impl Checker {
    pub(crate) fn new(model: &Model) -> Self {
        let mut checker = Self {
            finding: None,
            reached: Coverage::default(),
            faulty: false,
            history: Vec::with_capacity(128),
            issued: Map::default(),
            tickets: Map::default(),
            orders: Map::default(),
            requests: Map::default(),
            numbers: Map::default(),
            verdicts: Map::default(),
            reported: Map::default(),
            handed: Vec::new(),
            handed_by: Map::default(),
            answered_orders: HashSet::default(),
            stopping: [None; 2],
            answers: Map::default(),
            closed: Map::default(),
            recalls: HashSet::default(),
            decided: HashSet::default(),
            sent: Map::default(),
            deliveries: DeliveryLog::default(),
            waitlists: Waitlists::default(),
        };
        checker.record_commit(model, 0, Millis(0), [Phase::Open; 2]);
        checker
    }

    pub(crate) fn has_finding(&self) -> bool {
        self.finding.is_some()
    }

    /// Returns the ids from the answers `Queued`, each with its buyer.
    pub(crate) fn handed(&self) -> &[(TicketId, u8)] {
        &self.handed
    }

    /// Notes an injected slot fault. After the first such fault, grants may be closed to repair
    /// slots.
    pub(crate) fn slot_fault(&mut self) {
        self.faulty = true;
    }

    pub(crate) fn purchase_arrived(&mut self, purchase: &BuyerRequest) {
        self.answers.remove(&purchase.attempt);
        self.count_case("request");
    }

    /// Records a broken promise. Only the first broken promise is kept.
    pub(crate) fn find(&mut self, what: &'static str, detail: impl FnOnce() -> String) {
        if self.finding.is_none() {
            self.finding = Some(Finding { what, detail: detail() });
        }
    }

    fn check(&mut self, holds: bool, what: &'static str, detail: impl FnOnce() -> String) {
        if !holds {
            self.find(what, detail);
        }
    }

    pub(crate) fn count_case(&mut self, what: &'static str) {
        *self.reached.entry(what).or_default() += 1;
    }

    /// Returns the free units of the item at the latest commit, or `None` if the stock is
    /// unlimited.
    pub(crate) fn free(&self, item: ItemId) -> Option<u64> {
        self.history.last().and_then(|m| m.items[item.0 as usize - 1].free)
    }

    /// Returns the last answer to this attempt.
    pub(crate) fn last_answer(&self, attempt: usize) -> Option<BuyerAnswer> {
        self.answers.get(&attempt).copied()
    }

    /// Returns the store at a commit.
    fn state_at(&self, version: u64) -> &CommitState {
        let at = self.history.partition_point(|m| m.version <= version);
        &self.history[at.saturating_sub(1)]
    }

    /// Returns the time of the first commit after `version`, or `mono` if there is no such commit.
    fn until(&self, version: u64, mono: Millis) -> Millis {
        let next = self.history.partition_point(|m| m.version <= version);
        self.history.get(next).map_or(mono, |m| m.at)
    }
}

impl Checker {
    /// Returns whether the request has this order, and asks for the order's item and units.
    pub(crate) fn holds(&self, purchase: &BuyerRequest, id: TicketId) -> bool {
        let ticket = self.issued.get(&id);
        self.requests.get(&purchase.request()) == Some(&id)
            && ticket.is_some_and(|c| c.purchase.item == purchase.item && c.units == purchase.units)
    }

    /// Returns whether this request holds an order.
    pub(crate) fn holds_any(&self, purchase: &BuyerRequest) -> bool {
        self.requests.contains_key(&purchase.request())
    }
}
