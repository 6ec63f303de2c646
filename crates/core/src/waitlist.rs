//! The waitlist of an item whose units are all held or paid. If units are returned, the buyers on
//! the waitlist get them before other buyers.
//!
//! For each waiting entry, the pool keeps one unit, as long as the pool has units
//! ([`Item::kept_for_waitlist`]). Slots get only the other units of the pool. The oldest entry gets
//! a kept unit: the entry becomes an order with a short payment window. Each order belongs to a
//! grant. For orders from the waitlist, this is the waitlist's own grant, which no slot has and
//! which is never open.
use crate::event::{Actor, Attribution, EventType, FROM_WAITLIST, Subject, WAITLIST_ENDED};
use crate::event_log;
use crate::id::{IdKey, TicketId, TicketParts};
use crate::ledger::Ledger;
use crate::limits::WAITLIST_HOLD_MS;
use crate::rows::{
    CloseCause, Grant, Item, Order, OrderState, Resolution, Verdict, WaitlistEntry, WaitlistState,
};
use crate::rules::{Rule, enforces};
use crate::value::{
    BuyerId, Epoch, GrantId, ItemId, Millis, RequestKey, Seq, SlotKey, Stock, TicketN, Token, Units,
};

/// The result of joining a waitlist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JoinOutcome {
    /// The buyer has a new entry.
    Done(WaitlistEntry),
    /// The buyer already has this entry in the waitlist.
    Already(WaitlistEntry),
    /// The buyer already has this order of one unit with the same request key, from the waitlist or
    /// from a purchase.
    Order(Order),
    /// The buyer can buy a unit directly, without waiting.
    UnitsFree,
    /// All units are paid, so no held unit can be returned.
    SoldOut,
    /// The buyer cannot join again, because the buyer's earlier order from this waitlist expired,
    /// or the buyer cancelled that order.
    Lapsed(Order),
    /// The buyer's limit is reached.
    LimitReached,
    /// The buyer's request key already holds an order of another item, or of more than one unit.
    KeyReused,
    /// The waitlist has no room for more entries, or already has an entry for each unit that may be
    /// returned.
    Full,
    /// The sale is neither announced nor open.
    NotOnSale,
    /// No such item exists.
    NotFound,
}

/// The result of leaving a waitlist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaveOutcome {
    /// The buyer left.
    Done(WaitlistEntry),
    /// The entry had already ended. Its state says how.
    Already(WaitlistEntry),
    /// No such entry exists.
    NotFound,
}

enum FirstOutcome {
    Order(Order),
    /// The entry ended without an order: the buyer's limit is reached, or the request key already
    /// holds an order.
    PassedOver(WaitlistEntry),
    /// The waitlist is empty, or no unit is available.
    Nothing,
}

/// The result of serving a waitlist.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WaitlistServed {
    /// The new orders, in the sequence in which the buyers joined.
    pub orders: Vec<Order>,
    /// Entries that ended without an order.
    pub passed_over: Vec<WaitlistEntry>,
    /// Whether the pool still has units for waiting entries. If so, the caller must call [`serve`]
    /// again.
    pub more: bool,
}

/// The result of ending a waitlist with its sale.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WaitlistEnded {
    /// Entries that ended, in the sequence in which the buyers joined.
    pub entries: Vec<WaitlistEntry>,
    /// Whether entries still wait. If so, the caller must call [`end_with_sale`] again.
    pub more: bool,
}

/// A buyer's request to join, with the random values that it needs.
#[derive(Clone, Debug)]
pub struct JoinRequest {
    /// The buyer.
    pub buyer: BuyerId,
    /// The key of the buyer's request. If the entry becomes an order, the order has the same key.
    pub key: RequestKey,
    /// A random id for the waitlist's grant, if the waitlist has no grant yet.
    pub grant: GrantId,
    /// A random token for the entry.
    pub token: Token,
    /// The largest number of entries in the waitlist: [`crate::limits::WAITLIST_ENTRIES_MAX`], or
    /// less in a test.
    pub entries_max: u64,
}

/// Adds a buyer to an item's waitlist, for one unit.
pub fn join<L: Ledger + ?Sized>(
    ledger: &mut L,
    key: &IdKey,
    id: ItemId,
    joiner: &JoinRequest,
    now: Millis,
) -> Result<JoinOutcome, L::Error> {
    let JoinRequest { buyer, key: request, .. } = joiner;
    let (on_sale, waitlist) = (ledger.on_sale(id)?, ledger.waitlist(id)?);
    if let Some(entry) = ledger.waitlist_entry_of(id, buyer)?
        && enforces(Rule::OnePlace)
    {
        return Ok(JoinOutcome::Already(entry));
    }
    let used = ledger.quota(id, buyer)?;
    if let Some(order) = ledger.order_of(buyer, request)? {
        let same = order.is_for(id, ONE_UNIT);
        return Ok(if same { JoinOutcome::Order(order) } else { JoinOutcome::KeyReused });
    }
    let Some(mut item) = ledger.item(id)? else { return Ok(JoinOutcome::NotFound) };
    if !on_sale {
        return Ok(JoinOutcome::NotOnSale);
    }
    let free = item.pool - item.kept_for_waitlist() + ledger.in_slots(id)?;
    if !item.total.is_counted() || (free > 0 && enforces(Rule::JoinWhenNothingFree)) {
        return Ok(JoinOutcome::UnitsFree);
    }
    if item.total == Stock::Counted(item.paid) {
        return Ok(JoinOutcome::SoldOut);
    }
    if let Some(order) = unpaid_order_of(ledger, waitlist.as_ref(), buyer)? {
        return Ok(JoinOutcome::Lapsed(order));
    }
    if used >= item.limit {
        return Ok(JoinOutcome::LimitReached);
    }
    if is_full(&item, joiner.entries_max) {
        return Ok(JoinOutcome::Full);
    }
    let mut waitlist = waitlist.unwrap_or_else(|| new_waitlist_grant(joiner.grant, id));
    waitlist.max_n = TicketN(waitlist.max_n.0 + 1);
    let parts = TicketParts {
        decide_by: now,
        token: joiner.token,
        grant: waitlist.id,
        n: waitlist.max_n,
        units: ONE_UNIT,
        request: key.request_hash(buyer.as_str(), request.as_str()).id_bits(),
    };
    let entry = WaitlistEntry {
        id: key.sign(&parts, buyer.as_str()),
        item: id,
        n: waitlist.max_n,
        buyer: buyer.clone(),
        key: request.clone(),
        state: WaitlistState::Waiting,
        joined_at: now,
        ended_at: None,
    };
    item.waiting += 1;
    ledger.put_item(&item)?;
    ledger.put_grant(&waitlist)?;
    ledger.put_waitlist_entry(&entry)?;
    Ok(JoinOutcome::Done(entry))
}

/// Returns the buyer's order from this waitlist, if the order expired or was cancelled by the
/// buyer. The caller has locked the waitlist, so its orders cannot change during this transaction.
fn unpaid_order_of<L: Ledger + ?Sized>(
    ledger: &mut L,
    waitlist: Option<&Grant>,
    buyer: &BuyerId,
) -> Result<Option<Order>, L::Error> {
    let Some(waitlist) = waitlist.filter(|_| enforces(Rule::LapsedStaysOut)) else {
        return Ok(None);
    };
    let by = Some(&Actor::Buyer).filter(|_| enforces(Rule::OwnDoingStaysOut));
    ledger.first_unpaid(waitlist.id, buyer, by)
}

/// Returns whether the waitlist is full. It is full if it has `entries_max` entries, or an entry
/// for each unpaid unit. More entries would be useless, because only unpaid units can be returned.
fn is_full(item: &Item, entries_max: u64) -> bool {
    let may_come = match item.total {
        Stock::Counted(total) => total.saturating_sub(item.paid),
        Stock::Unlimited => 0,
    };
    (item.waiting >= entries_max && enforces(Rule::LineBounded))
        || (item.waiting >= may_come && enforces(Rule::LineWithinReturns))
}

/// Removes an entry because its buyer leaves the waitlist.
pub fn leave<L: Ledger + ?Sized>(
    ledger: &mut L,
    id: &TicketId,
    now: Millis,
) -> Result<LeaveOutcome, L::Error> {
    let Some(entry) = ledger.waitlist_entry(id)? else { return Ok(LeaveOutcome::NotFound) };
    let Some(mut waitlist) = ledger.waitlist(entry.item)? else {
        return Ok(LeaveOutcome::NotFound);
    };
    // The entry may have changed before the waitlist was locked, so read it again.
    let Some(mut entry) = ledger.waitlist_entry(id)? else { return Ok(LeaveOutcome::NotFound) };
    if entry.state != WaitlistState::Waiting && enforces(Rule::PlaceEndsOnce) {
        return Ok(LeaveOutcome::Already(entry));
    }
    let Some(mut item) = ledger.item(entry.item)? else { return Ok(LeaveOutcome::NotFound) };
    end_entry(ledger, &mut waitlist, &mut item, &mut entry, WaitlistState::Left, now)?;
    record_unserved(ledger, &waitlist, &entry, Verdict::Unavailable, now)?;
    ledger.put_item(&item)?;
    ledger.put_grant(&waitlist)?;
    Ok(LeaveOutcome::Done(entry))
}

/// Serves at most `at_most` entries, oldest first, each with one unit of the pool.
pub fn serve<L: Ledger + ?Sized>(
    ledger: &mut L,
    id: ItemId,
    at_most: usize,
    now: Millis,
) -> Result<WaitlistServed, L::Error> {
    let mut served = WaitlistServed::default();
    if !ledger.on_sale(id)? && enforces(Rule::LineOnSale) {
        return Ok(served);
    }
    for _ in 0..at_most {
        match serve_first(ledger, id, now)? {
            FirstOutcome::Order(order) => served.orders.push(order),
            FirstOutcome::PassedOver(entry) => served.passed_over.push(entry),
            FirstOutcome::Nothing => return Ok(served),
        }
    }
    served.more = ledger.item(id)?.is_some_and(|item| item.kept_for_waitlist() > 0);
    Ok(served)
}

fn serve_first<L: Ledger + ?Sized>(
    ledger: &mut L,
    id: ItemId,
    now: Millis,
) -> Result<FirstOutcome, L::Error> {
    let Some(mut waitlist) = ledger.waitlist(id)? else { return Ok(FirstOutcome::Nothing) };
    let turn = if enforces(Rule::LineInTurn) { 1 } else { 2 };
    let Some(mut entry) = ledger.waiting_entries(id, turn)?.pop() else {
        return Ok(FirstOutcome::Nothing);
    };
    let used = ledger.quota(id, &entry.buyer)?;
    let existing = ledger.order_of(&entry.buyer, &entry.key)?;
    let Some(mut item) = ledger.item(id)?.filter(|item| item.pool > 0) else {
        return Ok(FirstOutcome::Nothing);
    };
    let beyond = used >= item.limit && enforces(Rule::LineHoldsLimit);
    if beyond || (existing.is_some() && enforces(Rule::LineFindsOrder)) {
        end_entry(ledger, &mut waitlist, &mut item, &mut entry, WaitlistState::PassedOver, now)?;
        let verdict = match existing {
            Some(order) if order.is_for(id, ONE_UNIT) => Verdict::Order(order.id),
            Some(_) => Verdict::KeyReused,
            None => Verdict::LimitReached,
        };
        record_unserved(ledger, &waitlist, &entry, verdict, now)?;
        ledger.put_item(&item)?;
        ledger.put_grant(&waitlist)?;
        return Ok(FirstOutcome::PassedOver(entry));
    }
    end_entry(ledger, &mut waitlist, &mut item, &mut entry, WaitlistState::Served, now)?;
    let order = Order {
        id: entry.id,
        item: id,
        buyer: entry.buyer,
        key: entry.key,
        units: ONE_UNIT,
        state: OrderState::Reserved,
        grant: waitlist.id,
        n: entry.n,
        reserved_at: now,
        pay_by: now.plus(item.hold_ms.min(WAITLIST_HOLD_MS)),
        paid_at: None,
        ended_at: None,
    };
    if enforces(Rule::LineTakesFromPool) {
        item.pool -= ONE_UNIT.to_u64();
    }
    waitlist.granted += ONE_UNIT.to_u64();
    waitlist.settled += ONE_UNIT.to_u64();
    ledger.put_quota(id, &order.buyer, used + ONE_UNIT.get())?;
    ledger.insert_order(&order)?;
    event_log::append_order_event(ledger, &order, &Attribution::from_engine(FROM_WAITLIST), now)?;
    ledger.put_item(&item)?;
    ledger.put_grant(&waitlist)?;
    Ok(FirstOutcome::Order(order))
}

/// If the sale has ended, ends at most `at_most` entries of its waitlist, oldest first, because no
/// entry can become an order any more. A repeated call continues with the next entries.
pub fn end_with_sale<L: Ledger + ?Sized>(
    ledger: &mut L,
    id: ItemId,
    at_most: usize,
    now: Millis,
) -> Result<WaitlistEnded, L::Error> {
    let mut ended = WaitlistEnded::default();
    let is_over = ledger.has_ended(id)? || !enforces(Rule::PauseKeepsLine);
    if !is_over || !enforces(Rule::LineEndsWithSale) {
        return Ok(ended);
    }
    let Some(mut waitlist) = ledger.waitlist(id)? else { return Ok(ended) };
    let first = ledger.waiting_entries(id, at_most)?;
    if first.is_empty() {
        return Ok(ended);
    }
    let Some(mut item) = ledger.item(id)? else { return Ok(ended) };
    for mut entry in first {
        end_entry(ledger, &mut waitlist, &mut item, &mut entry, WaitlistState::PassedOver, now)?;
        record_unserved(ledger, &waitlist, &entry, Verdict::Unavailable, now)?;
        ended.entries.push(entry);
    }
    ended.more = item.waiting > 0;
    ledger.put_item(&item)?;
    ledger.put_grant(&waitlist)?;
    Ok(ended)
}

const ONE_UNIT: Units = Units::ONE;

fn new_waitlist_grant(id: GrantId, item: ItemId) -> Grant {
    Grant {
        id,
        slot: SlotKey::waitlist(item),
        epoch: Epoch(1),
        granted: 0,
        settled: 0,
        counted: true,
        open: false,
        acked: false,
        max_n: TicketN(0),
        resolved: 0,
        feed_len: Seq(0),
        closed: Some(CloseCause::Waitlist),
    }
}

/// Ends an entry. Afterwards, the caller must store the changed grant of the waitlist and the
/// changed item.
fn end_entry<L: Ledger + ?Sized>(
    ledger: &mut L,
    waitlist: &mut Grant,
    item: &mut Item,
    entry: &mut WaitlistEntry,
    state: WaitlistState,
    now: Millis,
) -> Result<(), L::Error> {
    (entry.state, entry.ended_at) = (state, Some(now));
    ledger.put_waitlist_entry(entry)?;
    waitlist.resolved += 1;
    item.waiting = item.waiting.saturating_sub(1);
    Ok(())
}

fn record_unserved<L: Ledger + ?Sized>(
    ledger: &mut L,
    waitlist: &Grant,
    entry: &WaitlistEntry,
    verdict: Verdict,
    now: Millis,
) -> Result<(), L::Error> {
    let (id, item, buyer) = (entry.id, entry.item, entry.buyer.clone());
    ledger.insert_resolution(&Resolution {
        ticket: id,
        grant: waitlist.id,
        n: Some(entry.n),
        verdict,
    })?;
    if let Verdict::Order(_) = verdict {
        // The buyer needs no event about the entry, because the request already holds an order.
        return Ok(());
    }
    let subject = Subject::Ticket { id, item, buyer, units: ONE_UNIT.to_u64(), verdict };
    let by = match (entry.state, verdict) {
        (WaitlistState::Left, _) => Attribution::BUYER.clone(),
        // The buyer did not leave the waitlist. So the sale has ended, and `end_with_sale` ended
        // the entry.
        (_, Verdict::Unavailable) => Attribution::from_engine(WAITLIST_ENDED),
        _ => Attribution::ENGINE.clone(),
    };
    event_log::append(ledger, EventType::OrderRefused, subject, &by, now)
}

#[cfg(test)]
mod tests;
