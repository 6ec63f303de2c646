//! Checks every commit and every answer to a buyer against the checker's own records. The checker
//! does not use the rules in `core`, so the checker also finds an error in such a rule.
mod answers;
mod checkouts;
mod events;
mod money;
mod phases;
mod quiescence;
mod records;
mod refunds;
mod reversals;
mod rows;
mod rows_before;
mod spread;
mod waitlist;

pub(crate) use answers::AnswerContext;
pub(crate) use money::is_applied;
pub(crate) use rows_before::RowsBefore;

use std::collections::{BTreeMap, BTreeSet};

use doorbuster_core::model::Model;
use doorbuster_core::money::{PaymentId, Refund, RefundId};
use doorbuster_core::{GrantId, ItemId, Millis, Phase, RecallId, Seq, TicketId, TicketN, Verdict};
use hashbrown::{HashMap, HashSet};

use crate::request::{BuyerAnswer, BuyerRequest, RequestNumbers};
use records::{CommitState, DeliveryLog, SeenOrder, SeenTicket, Waitlists};

type Map<K, V> = HashMap<K, V, foldhash::fast::FixedState>;

/// A broken promise: the protocol or the server did something that must never happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The broken promise: the number of an invariant of the protocol, such as `I5`, or a short
    /// name for another promise.
    pub what: &'static str,
    /// The values that show the fault.
    pub detail: String,
}

/// The names of the cases that happened in a run, and how often each happened.
pub type Coverage = BTreeMap<&'static str, u64>;

/// The checker. It has its own records of what happened, and compares each step with them.
#[derive(Clone, Debug, Default)]
pub struct Checker {
    /// The first broken promise.
    pub finding: Option<Finding>,
    /// The cases that happened, and how often each happened. They show what a run tests: a case
    /// that never happens is not tested.
    pub reached: Coverage,
    /// The grants that the checker excuses. Either a simulated fault made the grant's slot fail, or
    /// slots and the store may disagree about the grant after a failover.
    faulty: HashSet<GrantId, foldhash::fast::FixedState>,
    /// The tickets whose verdicts were lost in a failover.
    lost: HashSet<TicketId, foldhash::fast::FixedState>,
    /// The grants that were lost in a failover.
    lost_grants: HashSet<GrantId, foldhash::fast::FixedState>,
    history: Vec<CommitState>,
    issued: Map<TicketId, SeenTicket>,
    tickets: Map<RequestNumbers, Vec<TicketId>>,
    orders: Map<TicketId, SeenOrder>,
    requests: Map<RequestNumbers, TicketId>,
    numbers: Map<(GrantId, TicketN), TicketId>,
    /// Committed verdicts, each with the number of the commit that decided it.
    verdicts: Map<TicketId, (Verdict, u64)>,
    /// Verdicts that buyers received.
    reported: Map<TicketId, Verdict>,
    handed: Vec<(TicketId, u8)>,
    /// The id in each attempt's answer `Queued`, by the number of the attempt.
    handed_by: Map<usize, TicketId>,
    /// For each node and request: the ticket in the node's answer `Queued`. If a node dies, its
    /// entries are removed, because the node forgets its tickets.
    queued_at: Map<(u8, RequestNumbers), TicketId>,
    /// The orders that each node has named in its answers.
    answered_orders: HashSet<(u8, TicketId), foldhash::fast::FixedState>,
    /// For each item, the phase that the item gets after the drain of its slots, and the number of
    /// the commit that recorded this phase.
    stopping: [Option<(Phase, u64)>; 2],
    /// For each item, the time at which a scheduled sale opens by itself, in monotonic time.
    starts_at: [Option<Millis>; 2],
    answers: Map<usize, BuyerAnswer>,
    /// The closed grants, each with the length of its feed when the grant was closed.
    closed: Map<GrantId, Seq>,
    /// Recalls that moved units.
    recalls: HashSet<RecallId, foldhash::fast::FixedState>,
    /// Returned tickets that were checked.
    decided: HashSet<TicketId, foldhash::fast::FixedState>,
    /// The store's refunds after the previous commit. With them, the checker finds new and changed
    /// refunds.
    sent: Map<RefundId, Refund>,
    has_failed_over: bool,
    /// Payments that the store may lack: a failover lost them, and no node remembers them.
    excused_payments: BTreeSet<PaymentId>,
    /// Payments with a refund that a failover lost. The provider may already have sent the money
    /// back.
    excused_refunds: BTreeSet<PaymentId>,
    deliveries: DeliveryLog,
    waitlists: Waitlists,
}

impl Checker {
    /// Creates a checker. If `starts_at` is given, all sales open at that time. Without
    /// `starts_at`, all sales are open from the beginning.
    pub(crate) fn new(model: &Model, starts_at: Option<Millis>) -> Self {
        let history = Vec::with_capacity(128);
        let mut checker = Self { history, starts_at: [starts_at; 2], ..Self::default() };
        let phase = if starts_at.is_some() { Phase::Scheduled } else { Phase::Open };
        checker.record_commit(model, 0, Millis(0), [phase; 2]);
        checker
    }

    pub(crate) fn has_finding(&self) -> bool {
        self.finding.is_some()
    }

    /// Returns the ids that buyers received in the answers `Queued`, each with its buyer.
    pub(crate) fn handed(&self) -> &[(TicketId, u8)] {
        &self.handed
    }

    /// Notes that the simulation made a slot fail. `grants` are the slot's grants before and after
    /// the fault. Because of this fault, the server may close these grants for a repair, but no
    /// other grants.
    pub(crate) fn slot_fault(&mut self, grants: [Option<GrantId>; 2]) {
        self.faulty.extend(grants.into_iter().flatten());
    }

    /// Notes that the server may close these grants for a repair: after a failover, slots and the
    /// store may disagree about them.
    pub(crate) fn excuse_grants(&mut self, grants: impl IntoIterator<Item = GrantId>) {
        self.faulty.extend(grants);
    }

    pub(crate) fn excuse_payments(&mut self, payments: Vec<PaymentId>) {
        self.excused_payments.extend(payments);
    }

    pub(crate) fn excuse_refunds(&mut self, payments: Vec<PaymentId>) {
        self.excused_refunds.extend(payments);
    }

    /// Notes a failover to a standby that lacks commits. This checker keeps its own records of
    /// slots and of buyers, but removes answers that named lost verdicts. It takes the records of
    /// commits from `standby`.
    ///
    /// - `standby` is a copy of this checker, made at the last commit that the standby received.
    /// - `grants` has all grants. The flag of a grant is true if the standby lacks the grant.
    /// - `in_memory` has the events that workers have in memory, each with its endpoint.
    pub(crate) fn failed_over(
        &mut self,
        standby: Self,
        grants: Vec<(GrantId, bool)>,
        in_memory: &[(usize, usize)],
    ) {
        self.has_failed_over = true;
        let is_lost = |(grant, is_lost): &(GrantId, bool)| is_lost.then_some(*grant);
        self.lost_grants.extend(grants.iter().filter_map(is_lost));
        self.excuse_grants(grants.into_iter().map(|(grant, _)| grant));
        self.lost.extend(self.verdicts.keys().filter(|id| !standby.verdicts.contains_key(*id)));
        let Self { orders, requests, numbers, verdicts, stopping, closed, starts_at, .. } = standby;
        (self.orders, self.requests, self.numbers) = (orders, requests, numbers);
        (self.verdicts, self.stopping, self.closed) = (verdicts, stopping, closed);
        self.starts_at = starts_at;
        (self.recalls, self.decided, self.sent) = (standby.recalls, standby.decided, standby.sent);
        let mut deliveries = standby.deliveries;
        deliveries.keep_deliveries(&self.deliveries, in_memory);
        (self.deliveries, self.waitlists) = (deliveries, standby.waitlists);
        self.reported.retain(|id, _| self.verdicts.contains_key(id));
        self.answered_orders.retain(|(_, id)| self.orders.contains_key(id));
    }

    pub(crate) fn node_fault(&mut self, node: u8) {
        self.queued_at.retain(|(at, _), _| *at != node);
    }

    /// Returns whether the checker excuses this grant, because its slot failed or because of a
    /// failover.
    fn is_faulty(&self, grant: GrantId) -> bool {
        self.faulty.contains(&grant)
    }

    pub(crate) fn purchase_arrived(&mut self, purchase: &BuyerRequest) {
        self.answers.remove(&purchase.attempt);
        self.count_case("request");
    }

    /// Records a broken promise. Does nothing if an earlier one is recorded.
    pub(crate) fn record_finding(&mut self, what: &'static str, detail: impl FnOnce() -> String) {
        if self.finding.is_none() {
            self.finding = Some(Finding { what, detail: detail() });
        }
    }

    fn check(&mut self, holds: bool, what: &'static str, detail: impl FnOnce() -> String) {
        if !holds {
            self.record_finding(what, detail);
        }
    }

    pub(crate) fn count_case(&mut self, what: &'static str) {
        *self.reached.entry(what).or_default() += 1;
    }

    /// Returns the item's free units at the latest commit, or `None` if the stock is unlimited.
    pub(crate) fn free(&self, item: ItemId) -> Option<u64> {
        self.history.last().and_then(|m| m.items[item.0 as usize - 1].free)
    }

    pub(crate) fn last_answer(&self, attempt: usize) -> Option<BuyerAnswer> {
        self.answers.get(&attempt).copied()
    }

    /// Returns the checker's record of the store as it was after the commit `version`.
    fn state_at(&self, version: u64) -> &CommitState {
        let at = self.history.partition_point(|m| m.version <= version);
        &self.history[at.saturating_sub(1)]
    }

    /// Returns the time of the commit after `version`, or `mono` if there is none.
    fn until(&self, version: u64, mono: Millis) -> Millis {
        let next = self.history.partition_point(|m| m.version <= version);
        self.history.get(next).map_or(mono, |m| m.at)
    }
}

impl Checker {
    /// Returns whether this order belongs to the request, and has the requested item and units.
    pub(crate) fn holds(&self, purchase: &BuyerRequest, id: TicketId) -> bool {
        let ticket = self.issued.get(&id);
        self.requests.get(&purchase.request()) == Some(&id)
            && ticket.is_some_and(|c| c.purchase.item == purchase.item && c.units == purchase.units)
    }

    pub(crate) fn holds_any(&self, purchase: &BuyerRequest) -> bool {
        self.requests.contains_key(&purchase.request())
    }
}
