//! The store's methods as transactions that run the rules. Each transaction first takes its locks.
use doorbuster_core::event::Attribution;
use doorbuster_core::order::{self, ChangeOutcome, EndReason, PayOutcome};
use doorbuster_core::settle::{self, TicketVerdict};
use doorbuster_core::{
    BuyerId, CloseCause, Counter, Grant, GrantId, Ledger, Order, Recall, RecallId, RecallTarget,
    SlotKey, TicketId, TicketParts, recall, stock,
};

use crate::actions;
use crate::store::StoreResult;

use super::Postgres;
use super::failure::Failure;
use super::ledger::PostgresLedger;
use super::transaction::RetryUnknown;

impl Postgres {
    pub(crate) async fn open_grant(
        &self,
        slot: SlotKey,
        id: GrantId,
        units: u64,
    ) -> StoreResult<Option<Grant>> {
        self.job(RetryUnknown::Allowed, move |ledger| stock::open(ledger, slot, id, units)).await
    }

    pub(crate) async fn acknowledge_init(&self, id: GrantId) -> StoreResult<()> {
        self.job(RetryUnknown::Allowed, move |ledger| stock::acknowledge_init(ledger, id)).await
    }

    pub(crate) async fn refill(
        &self,
        id: GrantId,
        units: u64,
        counter: Counter,
    ) -> StoreResult<u64> {
        self.job(RetryUnknown::Never, move |ledger| stock::refill(ledger, id, units, counter)).await
    }

    pub(crate) async fn close_grant(&self, id: GrantId, cause: CloseCause) -> StoreResult<bool> {
        self.job(RetryUnknown::Never, move |ledger| stock::close(ledger, id, cause)).await
    }

    pub(crate) async fn begin_recall(
        &self,
        id: RecallId,
        grant: GrantId,
        target: RecallTarget,
        units: u64,
    ) -> StoreResult<Option<Recall>> {
        let begin = move |ledger: &mut PostgresLedger<'_>| {
            ledger.lock_grants(&[grant])?;
            recall::begin(ledger, id, grant, target, units)
        };
        self.job(RetryUnknown::Allowed, begin).await
    }

    pub(crate) async fn finish_recall(&self, id: RecallId, taken: u64) -> StoreResult<u64> {
        let finish = move |ledger: &mut PostgresLedger<'_>| {
            // The grants of a recall never change, so they can be found before they are locked. All
            // other rows are read after the grants are locked.
            let sql = "SELECT grant_id, target_grant FROM recall WHERE id = $1";
            let found = ledger.one(sql, &[&super::rows::int(id.0)], |row| {
                Ok((row.try_get::<_, i64>(0)?, row.try_get::<_, Option<i64>>(1)?))
            })?;
            let Some((from, to)) = found else { return Ok(0) };
            let grants: Vec<GrantId> = [Some(from), to]
                .into_iter()
                .flatten()
                .map(|g| GrantId(g.cast_unsigned()))
                .collect();
            ledger.lock_grants(&grants)?;
            recall::finish(ledger, id, taken)
        };
        self.job(RetryUnknown::Never, finish).await
    }

    pub(crate) async fn force_verdict(
        &self,
        id: TicketId,
        parts: TicketParts,
        buyer: BuyerId,
    ) -> StoreResult<Option<TicketVerdict>> {
        let key = self.shared().id_key.clone();
        let force = move |ledger: &mut PostgresLedger<'_>| {
            if let Some(grant) = ledger.grant(parts.grant)? {
                // Another settler of this buyer and item has either finished or waits for this
                // lock.
                ledger.quota(grant.slot.item, &buyer)?;
            }
            let now = ledger.now;
            settle::force_verdict(ledger, &key, id, &parts, &buyer, now)
        };
        self.job(RetryUnknown::Allowed, force).await
    }

    pub(crate) async fn end_order(
        &self,
        id: TicketId,
        how: EndReason,
        by: Attribution,
    ) -> StoreResult<ChangeOutcome> {
        let end = move |ledger: &mut PostgresLedger<'_>| {
            if how == EndReason::Refund {
                // The lock order requires that the payments of the order come before its item.
                lock_order(ledger, &id)?;
                ledger.payments_of(&id)?;
            }
            let (now, before) = (ledger.now, order_before(ledger, &id)?);
            let changed = order::end(ledger, &id, how, &by, now)?;
            record_order(ledger, before.as_ref(), changed)
        };
        self.job(RetryUnknown::Never, end).await
    }

    pub(crate) async fn pay_order(&self, id: TicketId) -> StoreResult<PayOutcome> {
        let pay = move |ledger: &mut PostgresLedger<'_>| {
            lock_order(ledger, &id)?;
            let now = ledger.now;
            order::pay(ledger, &id, Attribution::ENGINE, now)
        };
        self.job(RetryUnknown::Never, pay).await
    }
}

/// Locks the order and returns it as it was before an operator's change. Returns `None` if no
/// operator makes the change.
pub(super) fn order_before(
    ledger: &mut PostgresLedger<'_>,
    id: &TicketId,
) -> Result<Option<Order>, Failure> {
    if ledger.action.is_none() {
        return Ok(None);
    }
    lock_order(ledger, id)?;
    ledger.order(id)
}

/// Records an operator's change of an order.
pub(super) fn record_order(
    ledger: &PostgresLedger<'_>,
    before: Option<&Order>,
    changed: ChangeOutcome,
) -> Result<ChangeOutcome, Failure> {
    if let Some(fields) = actions::changed_order(before, &changed) {
        ledger.record(&fields)?;
    }
    Ok(changed)
}

/// Locks an order's rows in lock order, because the rules of a payment read the item before the
/// quota.
fn lock_order(ledger: &mut PostgresLedger<'_>, id: &TicketId) -> Result<(), Failure> {
    if let Some(seen) = ledger.order(id)? {
        ledger.grant(seen.grant)?;
        ledger.quota(seen.item, &seen.buyer)?;
    }
    Ok(())
}
