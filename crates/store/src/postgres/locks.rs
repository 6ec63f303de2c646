//! The row locks that one transaction takes, in lock order.
use doorbuster_core::{GrantId, Ledger, Order, OrderState, RecallId, TicketId};

use crate::failure::{Done, Failure};
use crate::rows;
use crate::sql::to_i64;

use super::ledger::PostgresLedger;

impl PostgresLedger<'_> {
    /// Locks grants in the order of their ids. Always use this function to lock several grants.
    pub(crate) fn lock_grants(&mut self, ids: &[GrantId]) -> Done<()> {
        let ids: Vec<i64> = ids.iter().map(|id| to_i64(id.0)).collect();
        for grant in self.all(super::prefetch::GRANTS, &[&ids], rows::grant)? {
            self.cache.grants.read(grant);
        }
        Ok(())
    }

    /// Locks the grants of a recall. The ids of these grants never change, so this function reads
    /// the ids without a lock. It reads all other rows after it has locked the grants.
    pub(crate) fn lock_recall(&mut self, id: RecallId) -> Done<()> {
        let sql = "SELECT grant_id, target_grant FROM recall WHERE id = $1";
        let found =
            self.one(sql, &[&to_i64(id.0)], |row| Ok((row.number_opt(0)?, row.number_opt(1)?)))?;
        let (from, to) = found.unwrap_or_default();
        let grants: Vec<GrantId> = [from, to].into_iter().flatten().map(GrantId).collect();
        self.lock_grants(&grants)
    }

    /// Locks an order's grant, and then the quota of the order's buyer. Call this function before
    /// the payment functions of `doorbuster-core`. Without this call, these functions would lock
    /// the item before the quota, but other transactions lock in the opposite sequence.
    pub(crate) fn lock_order(&mut self, id: &TicketId) -> Done<()> {
        if let Some(seen) = self.order(id)? {
            self.grant(seen.grant)?;
            self.quota(seen.item, &seen.buyer)?;
        }
        Ok(())
    }

    /// Locks the grant of an order that a payment names, and then the buyer's quota, like
    /// [`Self::lock_order`].
    ///
    /// If the order has ended, the payment functions read all slots of its item, to find units to
    /// recall. So in this case, this call also locks the grants of those slots. If the order ends
    /// while this call waits for the first lock, the transaction must begin again, because locks
    /// are taken in the order of the grants' ids.
    pub(crate) fn lock_order_named(&mut self, order: &str) -> Done<()> {
        let Some(id) = TicketId::parse(order) else { return Ok(()) };
        let Some(seen) = self.order(&id)? else { return Ok(()) };
        let has_ended =
            |order: &Order| matches!(order.state, OrderState::Cancelled | OrderState::Expired);
        let mut grants = vec![seen.grant];
        if has_ended(&seen) {
            let open = "SELECT id FROM slot_grant WHERE item_id = $1 AND open";
            grants.extend(self.all(open, &[&seen.item.0], |row| Ok(GrantId(row.number(0)?)))?);
        }
        self.lock_grants(&grants)?;
        if !has_ended(&seen) && self.order(&id)?.as_ref().is_some_and(has_ended) {
            return Err(Failure::Changed);
        }
        self.quota(seen.item, &seen.buyer)?;
        Ok(())
    }

    /// Caches an order without a lock. The caller may use only those fields of the order that never
    /// change.
    pub(super) fn remember_order(&mut self, id: &TicketId) -> Done<()> {
        if let Some(order) = self.order(id)? {
            self.cache.cache_order(order);
        }
        Ok(())
    }
}
