//! The judge: checks every commit and every word that a buyer hears, with records of its own. It
//! calls no rule of `core`.
mod answers;
mod checkouts;
mod events;
mod money;
mod rest;
mod rows;
mod spread;
mod waitlist;

pub(crate) use answers::AnswerContext;
pub(crate) use events::ordering_key;
pub(crate) use money::RowsBefore;

use std::collections::BTreeMap;

use doorbuster_core::model::Model;
use doorbuster_core::money::{Refund, RefundId};
use doorbuster_core::refusal::SoldOut;
use doorbuster_core::{
    BuyerId, GrantId, ItemId, Millis, OrderState, Phase, RecallId, RequestKey, Seq, TicketId,
    TicketN, Units, Verdict,
};
use hashbrown::{HashMap, HashSet};

use crate::world::NAMES;
use events::DeliveryLog;
use waitlist::Waitlists;

type Map<K, V> = HashMap<K, V, foldhash::fast::FixedState>;

/// What the judge saw that must never be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which promise: an invariant, or a short name.
    pub what: &'static str,
    /// How it was broken.
    pub detail: String,
}

/// One request of a buyer as it arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BuyerRequest {
    /// At which node.
    pub node: u8,
    /// Who.
    pub buyer: u8,
    /// Under which key.
    pub key: u8,
    /// What.
    pub item: ItemId,
    /// How many.
    pub units: Units,
    /// Commits before it arrived.
    pub began: u64,
    /// Number of the attempt.
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

/// What a buyer hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BuyerAnswer {
    /// The request's order.
    Order(TicketId),
    /// A place, no promise.
    Queued(TicketId),
    /// None sellable now.
    SoldOut {
        /// What exactly.
        refusal: SoldOut,
        /// The commit of the snapshot that says so.
        as_of: u64,
        /// Said because the request was parked as long as it may be.
        parked: bool,
    },
    /// The buyer holds too many.
    LimitReached,
    /// The key was used for other content.
    KeyReused,
    /// The sale is not open.
    Phase {
        /// What it is instead.
        phase: Phase,
        /// The commit of the snapshot that says so.
        as_of: u64,
    },
    /// Refused for a reason that lies in us.
    Unavailable,
    /// Send it again with the same key.
    Retry,
}

impl BuyerAnswer {
    fn name(self) -> &'static str {
        match self {
            Self::Order(_) => "told order",
            Self::Queued(_) => "told queued",
            Self::SoldOut { parked: true, .. } => "told sold_out after parking",
            Self::SoldOut { refusal: SoldOut { may_return: true, .. }, .. } => {
                "told sold_out, may return"
            }
            Self::SoldOut { .. } => "told sold_out",
            Self::LimitReached => "told limit_reached",
            Self::KeyReused => "told key_reused",
            Self::Phase { phase: Phase::Paused, .. } => "told paused",
            Self::Phase { .. } => "told ended",
            Self::Unavailable => "told unavailable",
            Self::Retry => "told retry",
        }
    }

    /// What a refusing verdict is called in an answer.
    pub(crate) fn from_verdict(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Reserved | Verdict::Order(_) | Verdict::Unavailable => Self::Unavailable,
            Verdict::KeyReused => Self::KeyReused,
            Verdict::LimitReached => Self::LimitReached,
        }
    }
}

/// How often each interesting thing happened.
pub type Coverage = BTreeMap<&'static str, u64>;

type RequestNumbers = (u8, u8);

/// A ticket that the judge saw being cut.
#[derive(Clone, Copy, Debug)]
struct SeenTicket {
    asked: BuyerRequest,
    units: Units,
    grant: GrantId,
    version: u64,
}

/// An order that the judge saw appear.
#[derive(Clone, Copy, Debug)]
struct SeenOrder {
    version: u64,
    state: OrderState,
    pay_by: Millis,
    /// It ended and was paid after all.
    revived: bool,
}

/// An item at one commit.
#[derive(Clone, Copy, Debug, Default)]
struct ItemCounts {
    free: Option<u64>,
    reserved: u64,
}

/// The truth at one commit, in the judge's own sums.
#[derive(Clone, Copy, Debug)]
struct CommitState {
    version: u64,
    /// In time that never steps.
    at: Millis,
    items: [ItemCounts; 2],
    phases: [Phase; 2],
}

/// The judge.
#[derive(Debug)]
pub struct Checker {
    /// The first thing that must never be.
    pub finding: Option<Finding>,
    /// What was reached, and how often: a simulation that reaches nothing finds nothing.
    pub reached: Coverage,
    faulty: bool,
    history: Vec<CommitState>,
    cuts: Map<TicketId, SeenTicket>,
    tickets: Map<RequestNumbers, Vec<TicketId>>,
    orders: Map<TicketId, SeenOrder>,
    requests: Map<RequestNumbers, TicketId>,
    numbers: Map<(GrantId, TicketN), TicketId>,
    /// Verdicts as committed, with their commit.
    verdicts: Map<TicketId, (Verdict, u64)>,
    /// Verdicts as told.
    told: Map<TicketId, Verdict>,
    handed: Vec<(TicketId, u8)>,
    /// Attempts with the id that they were answered with.
    handed_by: Map<usize, TicketId>,
    /// Orders that a buyer was told of, by the node that did so.
    told_orders: HashSet<(u8, TicketId), foldhash::fast::FixedState>,
    /// The phase that each item was asked to stop for, and by which commit.
    stopping: [Option<(Phase, u64)>; 2],
    answers: Map<usize, BuyerAnswer>,
    /// Closed grants with the length of their feed.
    closed: Map<GrantId, Seq>,
    /// Recalls that moved units.
    recalls: HashSet<RecallId, foldhash::fast::FixedState>,
    /// Returned tickets whose return was judged.
    decided: HashSet<TicketId, foldhash::fast::FixedState>,
    /// Refunds as they were judged.
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
            cuts: Map::default(),
            tickets: Map::default(),
            orders: Map::default(),
            requests: Map::default(),
            numbers: Map::default(),
            verdicts: Map::default(),
            told: Map::default(),
            handed: Vec::new(),
            handed_by: Map::default(),
            told_orders: HashSet::default(),
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

    /// Ids handed out, with their buyers.
    pub(crate) fn handed(&self) -> &[(TicketId, u8)] {
        &self.handed
    }

    /// A slot was made to fail on purpose: from now on grants may be closed for a fault.
    pub(crate) fn slot_fault(&mut self) {
        self.faulty = true;
    }

    pub(crate) fn asked(&mut self, asked: &BuyerRequest) {
        self.answers.remove(&asked.attempt);
        self.count_case("request");
    }

    /// The first finding counts.
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

    /// What the item had free at the latest commit, in the judge's own sums; `None`: without end.
    pub(crate) fn free(&self, item: ItemId) -> Option<u64> {
        self.history.last().and_then(|m| m.items[item.0 as usize - 1].free)
    }

    /// What this attempt heard last.
    pub(crate) fn last_answer(&self, attempt: usize) -> Option<BuyerAnswer> {
        self.answers.get(&attempt).copied()
    }

    /// The truth at a commit.
    fn state_at(&self, version: u64) -> &CommitState {
        let at = self.history.partition_point(|m| m.version <= version);
        &self.history[at.saturating_sub(1)]
    }

    /// When the truth stopped being what it was at this commit.
    fn until(&self, version: u64, mono: Millis) -> Millis {
        let next = self.history.partition_point(|m| m.version <= version);
        self.history.get(next).map_or(mono, |m| m.at)
    }
}

impl Checker {
    /// Whether this request, with this content, holds that order.
    pub(crate) fn holds(&self, asked: &BuyerRequest, id: TicketId) -> bool {
        let cut = self.cuts.get(&id);
        self.requests.get(&asked.request()) == Some(&id)
            && cut.is_some_and(|c| c.asked.item == asked.item && c.units == asked.units)
    }

    /// Whether this request holds an order.
    pub(crate) fn holds_any(&self, asked: &BuyerRequest) -> bool {
        self.requests.contains_key(&asked.request())
    }
}
