//! The simulated store. Every change of the store is one [`Tx`] value with one [`TxResult`]. So the
//! same transactions can run against a real store for comparison.
mod phases;
pub mod rules;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use doorbuster_core::event::Attribution;
use doorbuster_core::model::Model;
use doorbuster_core::money::{
    Capture, CaptureOutcome, Checkout, CheckoutOutcome, Refund, RefundId, RefundUpdate,
    ReversalOutcome, ReversalReport,
};
use doorbuster_core::order::{ChangeOutcome, EndReason};
use doorbuster_core::rows::{OrderState, RecallTarget, Verdict};
use doorbuster_core::sale::TimedStep;
use doorbuster_core::settle::TicketVerdict;
use doorbuster_core::sold_out::FreeUnits;
use doorbuster_core::stock::AdjustResult;
use doorbuster_core::waitlist::{
    JoinOutcome, JoinRequest, LeaveOutcome, WaitlistEnded, WaitlistServed,
};
use doorbuster_core::{
    BuyerId, CloseCause, Counter, Grant, GrantId, IdKey, ItemId, Millis, Order, Phase, Recall,
    RecallId, RequestKey, SlotKey, Ticket, TicketId, TicketParts,
};
use hashbrown::HashMap;

pub use phases::PhaseRow;

/// A transaction.
#[derive(Clone, Debug)]
pub enum Tx {
    /// Opens a grant ([`doorbuster_core::stock::open`]).
    Open(SlotKey, GrantId, u64),
    /// Records an acknowledged `init` ([`doorbuster_core::stock::acknowledge_init`]).
    AckInit(GrantId),
    /// Refills a grant ([`doorbuster_core::stock::refill`]).
    Refill(GrantId, u64, Counter),
    /// Closes a grant ([`doorbuster_core::stock::close`]).
    Close(GrantId, CloseCause),
    /// Changes an item's total ([`doorbuster_core::stock::adjust`]).
    Adjust(ItemId, i64, Millis),
    /// Settles tickets in one transaction ([`doorbuster_core::settle::settle`]).
    Settle(Vec<Arc<Ticket>>, Millis),
    /// Forces a verdict ([`doorbuster_core::settle::force_verdict`]).
    Force(TicketId, TicketParts, BuyerId, Millis),
    /// Ends an order ([`doorbuster_core::order::end`]).
    End(TicketId, EndReason, Attribution, Millis),
    /// Extends an order ([`doorbuster_core::order::extend`]). The first time is the new `pay_by`.
    Extend(TicketId, Millis, Millis),
    /// Applies a captured payment ([`doorbuster_core::money::capture`]). The flag is true in the
    /// last try: the payment is then refunded if the pool has too few units.
    Capture(Capture, bool, Millis),
    /// Records a failed payment ([`doorbuster_core::money::record_failure`]).
    FailPayment(Capture, Millis),
    /// Applies the message with this id to a refund
    /// ([`doorbuster_core::money::apply_refund_message`]).
    SettleRefund(String, RefundId, RefundUpdate, Millis),
    /// Applies the provider's answer about a refund
    /// ([`doorbuster_core::money::apply_refund_answer`]). The first value is the refund as it was
    /// when the server queried the provider.
    AnswerRefund(Refund, RefundUpdate, Millis),
    /// Makes the server request a failed refund again ([`doorbuster_core::money::retry_refund`]).
    RetryRefund(RefundId, Millis),
    /// Records a provider's report about a reversal ([`doorbuster_core::money::record_reversal`]).
    RecordReversal(ReversalReport, Millis),
    /// Stores a new checkout if the order has no open checkout
    /// ([`doorbuster_core::money::keep_checkout`]).
    KeepCheckout(Checkout),
    /// Records that a checkout is closed ([`doorbuster_core::money::close_checkout`]).
    CloseCheckout(TicketId, String),
    /// Records that the provider did not answer a query about a checkout
    /// ([`doorbuster_core::money::record_unanswered_check`]).
    RecordUnanswered(TicketId, String, Millis),
    /// Begins a recall ([`doorbuster_core::recall::begin`]).
    RecallBegin(RecallId, GrantId, RecallTarget, u64),
    /// Finishes a recall ([`doorbuster_core::recall::finish`]).
    RecallFinish(RecallId, u64),
    /// Adds a waitlist entry ([`doorbuster_core::waitlist::join`]).
    Join(ItemId, JoinRequest, Millis),
    /// Ends a waiting entry whose buyer leaves ([`doorbuster_core::waitlist::leave`]).
    Leave(TicketId, Millis),
    /// Serves as many entries as the pool has units ([`doorbuster_core::waitlist::serve`]).
    Serve(ItemId, Millis),
    /// Ends waitlist entries after the end of their sale
    /// ([`doorbuster_core::waitlist::end_with_sale`]).
    EndWaitlist(ItemId, Millis),
    /// Records in the database's history that a standby became the primary.
    Promote,
    /// Records that an item is going to change to this phase. From then on, the item gets no new
    /// grants, and its slots are stopped.
    Intend(ItemId, Phase),
    /// Shows buyers a new phase. `None` opens the sale again after a pause. `Some` pauses or ends
    /// the sale: its values are the intended phase, and the number of the commit that recorded this
    /// phase.
    Show(ItemId, Option<(Phase, u64)>),
    /// Takes a step of an item's sale whose time has come, such as the opening.
    TakeStep(ItemId, TimedStep),
    /// Moves the start of an item's sale, if the sale has not opened yet.
    MoveStart(ItemId, Millis),
}

/// The result of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TxResult {
    /// The result of [`Tx::Open`].
    Opened(Option<Grant>),
    /// The transaction has no result.
    Nothing,
    /// The number of units moved.
    Moved(u64),
    /// Whether this transaction closed the grant (for [`Tx::Close`]), or changed the phase that
    /// buyers see.
    Closed(bool),
    /// The result of [`Tx::Adjust`].
    AdjustResult(AdjustResult),
    /// The result of [`Tx::Settle`].
    Settled(Vec<TicketVerdict>),
    /// The result of [`Tx::Force`].
    Forced(Option<TicketVerdict>),
    /// The result of [`Tx::End`] and [`Tx::Extend`].
    Ended(ChangeOutcome),
    /// The result of [`Tx::Capture`].
    CaptureOutcome(CaptureOutcome),
    /// Whether the transaction had an effect. For example, a message that was handled before has no
    /// effect.
    Taken(bool),
    /// The result of [`Tx::AnswerRefund`] and [`Tx::RetryRefund`].
    Refund(Option<Refund>),
    /// The result of [`Tx::RecordReversal`].
    Reversal(ReversalOutcome),
    /// The result of [`Tx::KeepCheckout`].
    Kept(CheckoutOutcome),
    /// The result of [`Tx::RecallBegin`].
    Recall(Option<Recall>),
    /// The result of [`Tx::Join`].
    JoinOutcome(JoinOutcome),
    /// The result of [`Tx::Leave`].
    LeaveOutcome(LeaveOutcome),
    /// The result of [`Tx::Serve`].
    Served(WaitlistServed),
    /// The result of [`Tx::EndWaitlist`].
    WaitlistEnded(WaitlistEnded),
}

/// A request that holds an order.
#[derive(Clone, Copy, Debug)]
pub struct OrderHolder {
    /// The low 64 bits of the request's hash.
    pub half: u64,
    /// The transaction that created the order.
    pub xid: u64,
    /// The number of the commit of that transaction.
    pub version: u64,
}

/// The simulated store. It has the rows that the rules in `core` use, and the rows about phases,
/// which `core` does not use.
#[derive(Clone, Debug)]
pub struct SimStore {
    /// The rows of the rules.
    pub model: Model,
    /// The phases by item.
    pub phases: BTreeMap<ItemId, PhaseRow>,
    /// The transaction that wrote each event.
    pub writer_xids: Vec<u64>,
    /// The number of commits so far.
    pub version: u64,
    /// The closed grants, each with the number of the commit that closed it.
    closed: HashMap<GrantId, u64, foldhash::fast::FixedState>,
    /// The requests that hold an order, in the sequence of their commits.
    winners: Vec<OrderHolder>,
    /// The number of the running transaction. A transaction gets its number when it begins, so
    /// transactions may commit in another order than the order of their numbers.
    pub xid: u64,
    key: IdKey,
    /// Set if the run is recorded: every transaction that ran the rules of `core`, with its result.
    pub trace: Option<Vec<(Tx, TxResult)>>,
}

fn unwrap_infallible<T>(result: Result<T, Infallible>) -> T {
    match result {
        Ok(value) => value,
    }
}

impl SimStore {
    /// Returns a store with these rows. If `starts_at` is given, all sales open at that time.
    /// Otherwise, all sales are already open.
    #[must_use]
    pub fn new(model: Model, key: IdKey, starts_at: Option<Millis>) -> Self {
        let shown = if starts_at.is_some() { Phase::Scheduled } else { Phase::Open };
        let row = PhaseRow { shown, intent: None, starts_at };
        let phases = model.items.keys().map(|&item| (item, row)).collect();
        let (closed, winners) = (HashMap::default(), Vec::new());
        Self {
            model,
            phases,
            writer_xids: Vec::new(),
            version: 0,
            closed,
            winners,
            xid: 0,
            key,
            trace: None,
        }
    }

    /// Replaces the rows by the rows of a standby. The commit number does not go back, so that each
    /// number is used only once.
    pub fn continue_from(&mut self, standby: Self) {
        *self = Self { version: self.version, trace: self.trace.take(), ..standby };
    }

    /// Runs one transaction and commits it.
    pub fn commit(&mut self, tx: &Tx) -> TxResult {
        self.version += 1;
        let done = match tx {
            Tx::Intend(item, phase) => {
                if let Some(row) = self.phases.get_mut(item) {
                    row.intent = Some((*phase, self.version));
                }
                TxResult::Nothing
            }
            Tx::Promote => TxResult::Nothing,
            Tx::TakeStep(item, step) => TxResult::Closed(self.take_step(*item, *step)),
            Tx::MoveStart(item, at) => {
                self.move_start(*item, *at);
                TxResult::Nothing
            }
            Tx::Show(item, intent) if !self.show_phase(*item, *intent) => TxResult::Closed(false),
            _ => self.run_rules(tx),
        };
        let closes = matches!(
            tx,
            Tx::Open(..)
                | Tx::Close(..)
                | Tx::Settle(..)
                | Tx::Force(..)
                | Tx::RecallFinish(..)
                | Tx::Show(..)
        );
        if closes {
            for grant in self.model.grants.values().filter(|g| !g.open) {
                self.closed.entry(grant.id).or_insert(self.version);
            }
        }
        done
    }

    fn run_rules(&mut self, tx: &Tx) -> TxResult {
        let done = unwrap_infallible(rules::run(&mut self.model, &self.key, tx));
        let events = self.model.events.len();
        self.writer_xids.resize(events.max(self.writer_xids.len()), self.xid);
        if let Some(trace) = &mut self.trace {
            trace.push((tx.clone(), done.clone()));
        }
        match (tx, &done) {
            (Tx::Show(..), _) => return TxResult::Closed(true),
            (Tx::Settle(..), TxResult::Settled(all)) => {
                all.iter()
                    .filter_map(|resolved| resolved.order.as_ref())
                    .for_each(|order| self.note_winner(order));
            }
            (Tx::Serve(..), TxResult::Served(served)) => {
                served.orders.iter().for_each(|order| self.note_winner(order))
            }
            _ => {}
        }
        done
    }

    fn note_winner(&mut self, order: &Order) {
        let half = self.key.request_hash(order.buyer.as_str(), order.key.as_str()).low_64_bits();
        if self.winners.iter().all(|w| w.half != half) {
            self.winners.push(OrderHolder { half, xid: self.xid, version: self.version });
        }
    }

    /// Returns the committed grant.
    #[must_use]
    pub fn grant(&self, id: GrantId) -> Option<&Grant> {
        self.model.grants.get(&id)
    }

    /// Returns the slot's open grant.
    #[must_use]
    pub fn open_grant(&self, slot: SlotKey) -> Option<&Grant> {
        self.model.grants.values().find(|g| g.open && g.slot == slot)
    }

    /// Returns whether the commit `version` or an earlier commit closed the grant.
    #[must_use]
    pub fn closed_by(&self, id: GrantId, version: u64) -> bool {
        self.closed.get(&id).is_some_and(|&at| at <= version)
    }

    /// Returns the order of the request with this buyer and key.
    #[must_use]
    pub fn order_of(&self, buyer: &BuyerId, key: &RequestKey) -> Option<&doorbuster_core::Order> {
        let id = self.model.requests.get(&(buyer.clone(), key.clone()))?;
        self.model.orders.get(id)
    }

    /// Returns a ticket's verdict, if it has one.
    #[must_use]
    pub fn verdict(&self, id: &TicketId) -> Option<Verdict> {
        match self.model.orders.contains_key(id) {
            true => Some(Verdict::Reserved),
            false => self.model.resolutions.get(id).map(|r| r.verdict),
        }
    }

    /// Returns the requests that hold an order, in the sequence of their commits.
    #[must_use]
    pub fn winners(&self) -> &[OrderHolder] {
        &self.winners
    }

    /// Returns the units in an item's pool, without the units that are kept for the waitlist.
    #[must_use]
    pub fn pool(&self, item: ItemId) -> u64 {
        self.model.items.get(&item).map_or(0, |i| i.pool - i.kept_for_waitlist())
    }

    /// Returns the item's free and reserved units, computed only from items and grants, as a real
    /// store does. `in_flight` are the units of unsettled tickets.
    #[must_use]
    pub fn free(&self, id: ItemId, in_flight: u64) -> FreeUnits {
        let Some(item) = self.model.items.get(&id) else { return FreeUnits::default() };
        let (mut in_slots, mut settled) = (0, 0);
        for grant in self.model.grants.values().filter(|g| g.slot.item == id) {
            settled += grant.settled;
            in_slots += if grant.open { grant.unsettled() } else { 0 };
        }
        let reserved = settled.saturating_sub(item.ended + item.paid);
        match item.total.is_counted() {
            true => FreeUnits::from_parts(
                item.pool - item.kept_for_waitlist(),
                in_slots,
                in_flight,
                reserved + item.kept_for_waitlist(),
            ),
            false => FreeUnits { free: None, reserved },
        }
    }

    /// Returns the unfinished recalls, sorted by id.
    pub fn pending(&self) -> impl Iterator<Item = &Recall> {
        self.model.recalls.values().filter(|r| !r.done)
    }

    /// Returns the orders that have this state, sorted by id.
    pub fn orders_in(&self, state: OrderState) -> impl Iterator<Item = &doorbuster_core::Order> {
        self.model.orders.values().filter(move |o| o.state == state)
    }
}
