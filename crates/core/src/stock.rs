//! Transactions that move units between an item's pool and the grants of its slots, or that change
//! the item's total.
use crate::ledger::Ledger;
use crate::order;
use crate::rows::FeedCause;
use crate::rows::{CloseCause, FeedRow, Grant, Item, Recall, RecallTarget};
use crate::rules::{Rule, enforces};
use crate::spread::Counter;
use crate::value::{Epoch, GrantId, ItemId, Millis, Seq, SlotKey, Stock, TicketN};

/// Opens a grant of at most `units` for the slot's next epoch, or returns the slot's open grant.
/// The caller then sends the grant and its units to the slot with `init`.
///
/// Returns `None` if the item does not exist, or if its sale is neither announced nor open. Also
/// returns `None` if a grant with this id was opened before and is now closed. Such a grant can
/// exist if the caller repeats a transaction whose outcome the caller does not know.
pub fn open<L: Ledger + ?Sized>(
    ledger: &mut L,
    slot: SlotKey,
    id: GrantId,
    units: u64,
) -> Result<Option<Grant>, L::Error> {
    if let Some(grant) = ledger.open_grant(slot)? {
        return Ok(Some(grant));
    }
    let used = ledger.grant(id)?.is_some() && enforces(Rule::OpenOnce);
    if used || (!ledger.on_sale(slot.item)? && enforces(Rule::OpenOnSale)) {
        return Ok(None);
    }
    let Some(mut item) = ledger.item(slot.item)? else { return Ok(None) };
    let granted = take_from_pool(&mut item, units);
    let Epoch(last) = ledger.last_epoch(slot)?;
    let grant = Grant {
        id,
        slot,
        epoch: Epoch(last + 1),
        granted,
        settled: 0,
        counted: item.total.is_counted(),
        open: true,
        acked: false,
        max_n: TicketN(0),
        resolved: 0,
        feed_len: Seq(0),
        closed: None,
    };
    ledger.put_item(&item)?;
    ledger.put_grant(&grant)?;
    Ok(Some(grant))
}

/// Records that the slot accepted this grant.
pub fn acknowledge_init<L: Ledger + ?Sized>(ledger: &mut L, id: GrantId) -> Result<(), L::Error> {
    if let Some(mut grant) = ledger.grant(id)?
        && !grant.acked
    {
        grant.acked = true;
        ledger.put_grant(&grant)?;
    }
    Ok(())
}

/// Moves at most `units` from the pool to an open grant, for the slot's counter `counter`. Returns
/// the number of moved units. Moves no units until the slot has accepted the grant, because `init`
/// gives the slot all units that were granted before.
pub fn refill<L: Ledger + ?Sized>(
    ledger: &mut L,
    id: GrantId,
    units: u64,
    counter: Counter,
) -> Result<u64, L::Error> {
    let Some(mut grant) = ledger.grant(id)? else { return Ok(0) };
    if !grant.open || !grant.counted || !accepts_feed(&grant) {
        return Ok(0);
    }
    let Some(mut item) = ledger.item(grant.slot.item)? else { return Ok(0) };
    let given = take_from_pool(&mut item, units);
    if given == 0 {
        return Ok(0);
    }
    grant.granted += given;
    append_feed_row(
        ledger,
        &mut grant,
        FeedRow { units: given, counter, ..blank_feed_row(FeedCause::Refill) },
    )?;
    ledger.put_item(&item)?;
    ledger.put_grant(&grant)?;
    Ok(given)
}

fn accepts_feed(grant: &Grant) -> bool {
    grant.acked || !enforces(Rule::RefillAfterInit)
}

/// Closes a grant: its unsettled units go back to the pool, and its recalls are finished. Returns
/// false if the grant was already closed.
pub fn close<L: Ledger + ?Sized>(
    ledger: &mut L,
    id: GrantId,
    cause: CloseCause,
) -> Result<bool, L::Error> {
    let Some(mut grant) = ledger.grant(id)? else { return Ok(false) };
    if !grant.open && enforces(Rule::CloseOnce) {
        return Ok(false);
    }
    close_locked(ledger, &mut grant, cause)?;
    ledger.put_grant(&grant)?;
    Ok(true)
}

/// Closes every open grant of an item, in the transaction that shows the item as paused or ended.
/// Returns the number of closed grants. The grants must be closed because a slot may issue further
/// tickets: the slot can miss the call that stops it, or a delayed call can resume it. Tickets
/// under a closed grant are returned, so the item sells nothing.
pub fn close_item_grants<L: Ledger + ?Sized>(
    ledger: &mut L,
    item: ItemId,
    cause: CloseCause,
) -> Result<u64, L::Error> {
    let mut closed = 0;
    if enforces(Rule::PhaseClosesGrants) {
        for grant in ledger.open_grants(item)? {
            closed += u64::from(close(ledger, grant.id, cause)?);
        }
    }
    Ok(closed)
}

/// Closes a grant that the caller has locked. Afterwards, the caller must write the changed grant.
pub(crate) fn close_locked<L: Ledger + ?Sized>(
    ledger: &mut L,
    grant: &mut Grant,
    cause: CloseCause,
) -> Result<(), L::Error> {
    if enforces(Rule::CloseFinishesRecalls) {
        for recall in ledger.pending_recalls(grant.id)? {
            ledger.put_recall(&Recall { taken: 0, done: true, ..recall })?;
        }
    }
    grant.open = false;
    grant.closed = Some(cause);
    if grant.counted && enforces(Rule::CloseReturns) {
        add_to_pool(ledger, grant.slot.item, grant.unsettled())?;
    }
    Ok(())
}

/// The result of a change of an item's total.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdjustResult {
    /// The total was changed. The value is the changed item.
    Done(Item),
    /// The total was not changed. The pool has only this many units, which are fewer than the call
    /// would remove. The caller can recall units from slots and try again.
    NotInPool(u64),
    /// The total would exceed [`crate::limits::STOCK_MAX`].
    TooMuch,
    /// Unlimited stock cannot be adjusted.
    Unlimited,
    /// The item's sale has ended, so its total cannot change any more.
    Closed,
    /// No such item exists.
    NotFound,
}

/// Raises or lowers the item's total. A negative `delta` takes units only from the pool.
pub fn adjust<L: Ledger + ?Sized>(
    ledger: &mut L,
    id: ItemId,
    delta: i64,
    now: Millis,
) -> Result<AdjustResult, L::Error> {
    let Some(mut item) = ledger.item(id)? else { return Ok(AdjustResult::NotFound) };
    if ledger.has_ended(id)? {
        return Ok(AdjustResult::Closed);
    }
    let Stock::Counted(total) = item.total else { return Ok(AdjustResult::Unlimited) };
    let by = delta.unsigned_abs();
    if delta >= 0 {
        let Some(more) = Stock::counted(total.saturating_add(by)) else {
            return Ok(AdjustResult::TooMuch);
        };
        item.total = more;
        item.pool += by;
    } else {
        if by > item.pool && enforces(Rule::LowerOnlyFree) {
            return Ok(AdjustResult::NotInPool(item.pool));
        }
        item.total = Stock::Counted(total.saturating_sub(by));
        item.pool = item.pool.saturating_sub(by);
    }
    ledger.put_item(&item)?;
    if delta < 0 {
        order::append_if_sold_out(ledger, &item, now)?;
    }
    Ok(AdjustResult::Done(item))
}

/// Moves recalled units from their grant to the recall's target. If the target is a grant that
/// accepts no units, moves the units to the pool instead. The caller makes sure that each recall
/// moves its units only once.
pub(crate) fn move_recalled<L: Ledger + ?Sized>(
    ledger: &mut L,
    recall: &Recall,
    units: u64,
) -> Result<(), L::Error> {
    let Some(mut from) = ledger.grant(recall.grant)? else { return Ok(()) };
    from.granted = from.granted.saturating_sub(units);
    ledger.put_grant(&from)?;
    if let RecallTarget::Grant(target) = recall.target
        && enforces(Rule::RecallTarget)
        && let Some(mut to) = ledger.grant(target)?
        && to.open
        && accepts_feed(&to)
        && units > 0
    {
        to.granted += units;
        append_feed_row(ledger, &mut to, FeedRow { units, ..blank_feed_row(FeedCause::Recalled) })?;
        return ledger.put_grant(&to);
    }
    add_to_pool(ledger, from.slot.item, units)
}

/// Appends a row to the feed of a grant that the caller has locked. Afterwards, the caller must
/// write the changed grant.
pub(crate) fn append_feed_row<L: Ledger + ?Sized>(
    ledger: &mut L,
    grant: &mut Grant,
    row: FeedRow,
) -> Result<(), L::Error> {
    grant.feed_len = Seq(grant.feed_len.0 + 1);
    ledger.append_feed(&FeedRow { grant: grant.id, seq: grant.feed_len, ..row })
}

/// Returns a feed row that changes nothing. The caller sets the fields that it needs.
pub(crate) fn blank_feed_row(cause: FeedCause) -> FeedRow {
    let (grant, seq, counter) = (GrantId(0), Seq(0), Counter::A);
    FeedRow {
        grant,
        seq,
        ticket: None,
        buyer: None,
        key: None,
        units: 0,
        counter,
        quota_delta: 0,
        cause,
    }
}

pub(crate) fn add_to_pool<L: Ledger + ?Sized>(
    ledger: &mut L,
    id: ItemId,
    units: u64,
) -> Result<(), L::Error> {
    if units > 0
        && let Some(mut item) = ledger.item(id)?
    {
        item.pool += units;
        ledger.put_item(&item)?;
    }
    Ok(())
}

fn take_from_pool(item: &mut Item, units: u64) -> u64 {
    let kept = if enforces(Rule::LineKeepsUnits) { item.kept_for_waitlist() } else { 0 };
    let taken = units.min(item.pool - kept);
    if enforces(Rule::RefillFromPool) {
        item.pool -= taken;
    }
    taken
}
