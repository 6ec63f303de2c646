//! The line of an item that is held out: who waits there has a unit that comes back before others.
//!
//! A place is for one unit. While places wait, as many units of the pool are kept for them ([`Item::kept`]): no slot is granted these. Whoever is first
//! in line is then served out of the pool, by an order with a short payment window. Orders out of a line belong to the line's own grant, which no slot
//! has and which was never open, so that everything that holds for other orders holds for them: their units come back to the pool when they end.
use crate::event::{self, Actor, By, EventType, Subject};
use crate::id::{IdKey, TicketId, TicketParts};
use crate::ledger::Ledger;
use crate::limits::LINE_HOLD_MS;
use crate::rows::{Cause, Grant, Item, Order, OrderState, Place, PlaceState, Resolution, Verdict};
use crate::rules::{Rule, keeps};
use crate::value::{
    BuyerId, Epoch, GrantId, ItemId, Millis, RequestKey, Seq, SlotKey, Stock, TicketN, Token, Units,
};

/// What joining a line came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Joined {
    /// A new place.
    Done(Place),
    /// The place that the buyer had.
    Already(Place),
    /// The order that the buyer's key holds, of one unit: the place was served, or the unit bought.
    Order(Order),
    /// A unit may be had without waiting.
    NotHeldOut,
    /// Nothing is held that could come back.
    SoldOut,
    /// The buyer let this order out of the line lapse, or gave it up: whoever was served in vain does not stand there again.
    Lapsed(Order),
    /// The buyer holds as much as the limit allows.
    LimitReached,
    /// The buyer's key belongs to an order of something else.
    KeyReused,
    /// The line is as long as it may be, or no unit may come back for one more.
    Full,
    /// The sale is not announced or open.
    NotOnSale,
    /// No such item.
    NotFound,
}

/// What leaving a line came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Left {
    /// The place is given up.
    Done(Place),
    /// It ended before, as it says.
    Already(Place),
    /// No such place.
    NotFound,
}

/// What serving the first in line came to.
enum First {
    /// An order for them.
    Order(Order),
    /// They were passed over: they hold as much as the limit allows, or their key holds an order.
    PassedOver(Place),
    /// Nobody waits, or there is nothing to give.
    Nothing,
}

/// What serving a line came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LineServed {
    /// Orders for those who had waited longest, by turn.
    pub orders: Vec<Order>,
    /// Places that ended without one.
    pub passed_over: Vec<Place>,
    /// Somebody still waits while the pool holds a unit: serve again.
    pub more: bool,
}

/// What ending a line with its sale came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LineEnded {
    /// Places that ended, by turn.
    pub places: Vec<Place>,
    /// Somebody still stands there: end it again.
    pub more: bool,
}

/// Who asks for a place, and what was drawn for it.
#[derive(Clone, Debug)]
pub struct Joiner {
    /// The buyer.
    pub buyer: BuyerId,
    /// The key of the request, and of the order that the place may become.
    pub key: RequestKey,
    /// Random: the id of the line's grant, should it have none yet.
    pub grant: GrantId,
    /// Random: the token of the place.
    pub token: Token,
    /// So many may stand in the line: [`crate::limits::LINE_PLACES_MAX`], or fewer where it is tried out.
    pub places_max: u64,
}

/// Puts a buyer in an item's line, for one unit.
pub fn join<L: Ledger>(
    ledger: &mut L,
    key: &IdKey,
    id: ItemId,
    joiner: &Joiner,
    now: Millis,
) -> Result<Joined, L::Error> {
    let Joiner { buyer, key: request, .. } = joiner;
    let on_sale = ledger.on_sale(id)?;
    let line = ledger.line(id)?;
    if let Some(place) = ledger.place_of(id, buyer)?
        && keeps(Rule::OnePlace)
    {
        return Ok(Joined::Already(place));
    }
    let used = ledger.quota(id, buyer)?;
    if let Some(order) = ledger.order_of(buyer, request)? {
        let same = order.item == id && order.units == ONE;
        return Ok(if same { Joined::Order(order) } else { Joined::KeyReused });
    }
    let Some(mut item) = ledger.item(id)? else { return Ok(Joined::NotFound) };
    if !on_sale {
        return Ok(Joined::NotOnSale);
    }
    let free = item.pool - item.kept() + ledger.in_slots(id)?;
    if !item.total.is_counted() || (free > 0 && keeps(Rule::JoinWhenNothingFree)) {
        return Ok(Joined::NotHeldOut);
    }
    if item.total == Stock::Counted(item.paid) {
        return Ok(Joined::SoldOut);
    }
    if let Some(order) = lapsed(ledger, line.as_ref(), buyer)? {
        return Ok(Joined::Lapsed(order));
    }
    if used >= item.limit {
        return Ok(Joined::LimitReached);
    }
    if is_full(&item, joiner.places_max) {
        return Ok(Joined::Full);
    }
    let mut line = line.unwrap_or_else(|| line_grant(joiner.grant, id));
    line.max_n = TicketN(line.max_n.0 + 1);
    let parts = TicketParts {
        decide_by: now,
        token: joiner.token,
        grant: line.id,
        n: line.max_n,
        units: ONE,
        request: key.request_hash(buyer.as_str(), request.as_str()).short(),
    };
    let place = Place {
        id: key.seal(&parts, buyer.as_str()),
        item: id,
        n: line.max_n,
        buyer: buyer.clone(),
        key: request.clone(),
        state: PlaceState::Waiting,
        joined_at: now,
        ended_at: None,
    };
    item.waiting += 1;
    ledger.put_item(&item)?;
    ledger.put_grant(&line)?;
    ledger.put_place(&place)?;
    Ok(Joined::Done(place))
}

/// The order that a buyer got out of this line and let lapse, or gave up: what somebody else cancelled is not their doing. Under the line's lock no order
/// of it changes.
fn lapsed<L: Ledger>(
    ledger: &mut L,
    line: Option<&Grant>,
    buyer: &BuyerId,
) -> Result<Option<Order>, L::Error> {
    let Some(line) = line.filter(|_| keeps(Rule::LapsedStaysOut)) else { return Ok(None) };
    let by = Some(&Actor::Buyer).filter(|_| keeps(Rule::OwnDoingStaysOut));
    ledger.first_unpaid(line.id, buyer, by)
}

/// Whether a line takes nobody more. With nothing free, what is not paid for is held or kept: more places than that are places for nothing.
fn is_full(item: &Item, places_max: u64) -> bool {
    let may_come = match item.total {
        Stock::Counted(total) => total.saturating_sub(item.paid),
        Stock::Unlimited => 0,
    };
    (item.waiting >= places_max && keeps(Rule::LineBounded))
        || (item.waiting >= may_come && keeps(Rule::LineWithinReturns))
}

/// Gives a place up.
pub fn leave<L: Ledger>(ledger: &mut L, id: &TicketId, now: Millis) -> Result<Left, L::Error> {
    let Some(place) = ledger.place(id)? else { return Ok(Left::NotFound) };
    let Some(mut line) = ledger.line(place.item)? else { return Ok(Left::NotFound) };
    // Again, under the line's lock.
    let Some(mut place) = ledger.place(id)? else { return Ok(Left::NotFound) };
    if place.state != PlaceState::Waiting && keeps(Rule::PlaceEndsOnce) {
        return Ok(Left::Already(place));
    }
    let Some(mut item) = ledger.item(place.item)? else { return Ok(Left::NotFound) };
    end(ledger, &mut line, &mut item, &mut place, PlaceState::Left, now)?;
    return_unserved(ledger, &line, &place, Verdict::Unavailable, now)?;
    ledger.put_item(&item)?;
    ledger.put_grant(&line)?;
    Ok(Left::Done(place))
}

/// Serves those who have waited longest with units of the pool: at most so many places, one after the other.
pub fn serve<L: Ledger>(
    ledger: &mut L,
    id: ItemId,
    places: usize,
    now: Millis,
) -> Result<LineServed, L::Error> {
    let mut served = LineServed::default();
    if !ledger.on_sale(id)? && keeps(Rule::LineOnSale) {
        return Ok(served);
    }
    for _ in 0..places {
        match serve_first(ledger, id, now)? {
            First::Order(order) => served.orders.push(order),
            First::PassedOver(place) => served.passed_over.push(place),
            First::Nothing => return Ok(served),
        }
    }
    served.more = ledger.item(id)?.is_some_and(|item| item.kept() > 0);
    Ok(served)
}

/// Serves the first in line with a unit of the pool.
fn serve_first<L: Ledger>(ledger: &mut L, id: ItemId, now: Millis) -> Result<First, L::Error> {
    let Some(mut line) = ledger.line(id)? else { return Ok(First::Nothing) };
    let turn = if keeps(Rule::LineInTurn) { 1 } else { 2 };
    let Some(mut place) = ledger.in_line(id, turn)?.pop() else { return Ok(First::Nothing) };
    let used = ledger.quota(id, &place.buyer)?;
    let existing = ledger.order_of(&place.buyer, &place.key)?;
    let Some(mut item) = ledger.item(id)? else { return Ok(First::Nothing) };
    if item.pool == 0 {
        return Ok(First::Nothing);
    }
    let beyond = used >= item.limit && keeps(Rule::LineHoldsLimit);
    if beyond || (existing.is_some() && keeps(Rule::LineFindsOrder)) {
        end(ledger, &mut line, &mut item, &mut place, PlaceState::PassedOver, now)?;
        let verdict = existing.map_or(Verdict::LimitReached, |order| Verdict::Order(order.id));
        return_unserved(ledger, &line, &place, verdict, now)?;
        ledger.put_item(&item)?;
        ledger.put_grant(&line)?;
        return Ok(First::PassedOver(place));
    }
    end(ledger, &mut line, &mut item, &mut place, PlaceState::Served, now)?;
    let order = Order {
        id: place.id,
        item: id,
        buyer: place.buyer,
        key: place.key,
        units: ONE,
        state: OrderState::Reserved,
        grant: line.id,
        n: place.n,
        reserved_at: now,
        pay_by: now.plus(item.hold_ms.min(LINE_HOLD_MS)),
        paid_at: None,
        ended_at: None,
    };
    if keeps(Rule::LineTakesFromPool) {
        item.pool -= ONE.wide();
    }
    line.granted += ONE.wide();
    line.settled += ONE.wide();
    ledger.put_quota(id, &order.buyer, used + ONE.get())?;
    ledger.insert_order(&order)?;
    event::of_order(ledger, &order, &By::engine(event::FROM_LINE), now)?;
    ledger.put_item(&item)?;
    ledger.put_grant(&line)?;
    Ok(First::Order(order))
}

/// Ends the places of a line whose sale has ended, by turn: at most so many at once. Nobody is served after a sale's end, so none of them can become an
/// order. What is left is read from the rows: whoever ends the line again, after whatever happened, goes on behind what ended before.
pub fn end_with_sale<L: Ledger>(
    ledger: &mut L,
    id: ItemId,
    places: usize,
    now: Millis,
) -> Result<LineEnded, L::Error> {
    let mut ended = LineEnded::default();
    let is_over = ledger.has_ended(id)? || !keeps(Rule::PauseKeepsLine);
    if !is_over || !keeps(Rule::LineEndsWithSale) {
        return Ok(ended);
    }
    let Some(mut line) = ledger.line(id)? else { return Ok(ended) };
    let first = ledger.in_line(id, places)?;
    if first.is_empty() {
        return Ok(ended);
    }
    let Some(mut item) = ledger.item(id)? else { return Ok(ended) };
    for mut place in first {
        end(ledger, &mut line, &mut item, &mut place, PlaceState::PassedOver, now)?;
        return_unserved(ledger, &line, &place, Verdict::Unavailable, now)?;
        ended.places.push(place);
    }
    ended.more = item.waiting > 0;
    ledger.put_item(&item)?;
    ledger.put_grant(&line)?;
    Ok(ended)
}

/// What a place is for.
const ONE: Units = Units::ONE;

/// The grant of a line that has none yet.
fn line_grant(id: GrantId, item: ItemId) -> Grant {
    Grant {
        id,
        slot: SlotKey::line(item),
        epoch: Epoch(1),
        granted: 0,
        settled: 0,
        counted: true,
        open: false,
        acked: false,
        max_n: TicketN(0),
        resolved: 0,
        feed_len: Seq(0),
        closed: Some(Cause::Line),
    }
}

/// Ends a place; the caller writes the line and the item.
fn end<L: Ledger>(
    ledger: &mut L,
    line: &mut Grant,
    item: &mut Item,
    place: &mut Place,
    state: PlaceState,
    now: Millis,
) -> Result<(), L::Error> {
    (place.state, place.ended_at) = (state, Some(now));
    ledger.put_place(place)?;
    line.resolved += 1;
    item.waiting = item.waiting.saturating_sub(1);
    Ok(())
}

/// The record that a place did not become an order, and who is told of it.
fn return_unserved<L: Ledger>(
    ledger: &mut L,
    line: &Grant,
    place: &Place,
    verdict: Verdict,
    now: Millis,
) -> Result<(), L::Error> {
    let (id, item, buyer) = (place.id, place.item, place.buyer.clone());
    ledger.insert_resolution(&Resolution {
        ticket: id,
        grant: line.id,
        n: Some(place.n),
        verdict,
    })?;
    if let Verdict::Order(_) = verdict {
        // The request has its answer.
        return Ok(());
    }
    let subject = Subject::Ticket { id, item, buyer, units: ONE.wide(), verdict };
    let by = match (place.state, verdict) {
        (PlaceState::Left, _) => By::BUYER.clone(),
        // A turn that came is refused for the limit alone.
        (_, Verdict::Unavailable) => By::engine(event::LINE_ENDED),
        _ => By::ENGINE.clone(),
    };
    event::append(ledger, EventType::OrderRefused, subject, &by, now)
}

#[cfg(test)]
mod tests;
