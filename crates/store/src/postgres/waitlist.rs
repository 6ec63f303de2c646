//! Reads, caches and locks waitlist entries for the PostgreSQL ledger.
//!
//! A waitlist is stored as a grant. An entry changes only while this grant is locked. An entry that
//! was read without the lock may soon be out of date, so such an entry is not cached. Every
//! transaction locks in this sequence: the sale, the waitlist, the quotas of the first waiting
//! buyers, the item.
use doorbuster_core::{
    BuyerId, Grant, ItemId, Ledger, SlotKey, TicketId, WaitlistEntry, WaitlistState,
};

use crate::failure::Done;
use crate::rows::waitlist::entry as row;
use crate::sql::{Row, as_limit};
use crate::{queries, rows};

use super::ledger::PostgresLedger;
use super::prefetch::QUOTAS;
use super::row_cache::CachedQuota;

pub(super) fn unsettled_units(ledger: &PostgresLedger<'_>, item: ItemId) -> Done<u64> {
    const SQL: &str =
        concat!("SELECT ", rows::grant_columns!(), " FROM slot_grant WHERE item_id = $1 AND open");
    let mut units: u64 = 0;
    for grant in ledger.all(SQL, &[&item.0], rows::grant)? {
        units += if ledger.cache.grants.get(&grant.id).is_some() { 0 } else { grant.unsettled() };
    }
    let cache = ledger.cache.grants.values();
    Ok(units + cache.filter(|g| g.open && g.slot.item == item).map(Grant::unsettled).sum::<u64>())
}

fn is_locked(ledger: &PostgresLedger<'_>, item: ItemId) -> bool {
    ledger.cache.grants.values().any(|kept| kept.slot == SlotKey::waitlist(item))
}

/// Returns the grant that stores an item's waitlist, if it exists. If two transactions create an
/// item's waitlist at once, the second insertion fails, and the second transaction runs again.
pub(super) fn waitlist(ledger: &mut PostgresLedger<'_>, item: ItemId) -> Done<Option<Grant>> {
    if let Some(kept) =
        ledger.cache.grants.values().find(|kept| kept.slot == SlotKey::waitlist(item))
    {
        return Ok(Some(kept.clone()));
    }
    let found = ledger.one(
        queries::WAITLIST.postgres,
        &[&item.0, &i64::from(SlotKey::WAITLIST)],
        rows::grant,
    )?;
    Ok(found.map(|row| ledger.cache.grants.read(row)))
}

fn cache_if_locked(ledger: &mut PostgresLedger<'_>, entry: WaitlistEntry) -> WaitlistEntry {
    match is_locked(ledger, entry.item) {
        true => ledger.cache.waitlist.read(entry),
        false => entry,
    }
}

pub(super) fn waitlist_entry(
    ledger: &mut PostgresLedger<'_>,
    id: &TicketId,
) -> Done<Option<WaitlistEntry>> {
    if let Some(kept) = ledger.cache.waitlist.values().find(|kept| kept.id == *id) {
        return Ok(Some(kept.clone()));
    }
    let found = ledger.one(queries::ENTRY.postgres, &[&id.text().as_str()], row)?;
    Ok(found.map(|entry| cache_if_locked(ledger, entry)))
}

pub(super) fn waitlist_entry_of(
    ledger: &mut PostgresLedger<'_>,
    item: ItemId,
    buyer: &BuyerId,
) -> Done<Option<WaitlistEntry>> {
    let waits = |entry: &WaitlistEntry| {
        entry.item == item && entry.buyer == *buyer && entry.state == WaitlistState::Waiting
    };
    if let Some(kept) = ledger.cache.waitlist.values().find(|kept| waits(kept)) {
        return Ok(Some(kept.clone()));
    }
    let found = ledger.one(queries::ENTRY_OF.postgres, &[&item.0, &buyer.as_str()], row)?;
    // The table does not have the changes of this transaction yet. So the query may find an entry
    // that this transaction has ended. The filter drops such an entry, because the cache has the
    // entry's new state.
    Ok(found.map(|entry| cache_if_locked(ledger, entry)).filter(waits))
}

pub(super) fn waiting_entries(
    ledger: &mut PostgresLedger<'_>,
    item: ItemId,
    limit: usize,
) -> Done<Vec<WaitlistEntry>> {
    // Cached entries may have ended in this transaction, so the query reads one more row for each
    // cached entry.
    let among = as_limit(limit.saturating_add(ledger.cache.waitlist.len()));
    let mut entries = ledger.all(queries::WAITING_ENTRIES.postgres, &[&item.0, &among], row)?;
    entries.retain(|entry| ledger.cache.waitlist.get(&(entry.item, entry.n)).is_none());
    let cache = ledger.cache.waitlist.values();
    entries.extend(cache.filter(|p| p.item == item && p.state == WaitlistState::Waiting).cloned());
    entries.sort_unstable_by_key(|entry| entry.n);
    entries.truncate(limit);
    Ok(entries.into_iter().map(|entry| cache_if_locked(ledger, entry)).collect())
}

impl PostgresLedger<'_> {
    /// Locks the sale, the waitlist, and the quotas of the first buyers in the waitlist.
    pub(crate) fn lock_waitlist(&mut self, item: ItemId, at_most: usize) -> Done<()> {
        self.on_sale(item)?;
        lock_waitlist(self, item, at_most)
    }
}

fn lock_waitlist(ledger: &mut PostgresLedger<'_>, item: ItemId, at_most: usize) -> Done<()> {
    if ledger.waitlist(item)?.is_none() {
        return Ok(());
    }
    let entries = ledger.waiting_entries(item, at_most)?;
    let buyers: Vec<&str> = entries.iter().map(|entry| entry.buyer.as_str()).collect();
    let items = vec![item.0; buyers.len()];
    let quota =
        |row: Row<'_>| Ok((row.parse(0, "buyer", BuyerId::new)?, row.number_u32(2, "quota")?));
    for (buyer, used) in ledger.all(QUOTAS, &[&buyers, &items], quota)? {
        ledger.cache.quotas.insert((buyer, item), CachedQuota { used, read: Some(used) });
    }
    for entry in entries {
        // A missing quota row cannot be locked. If another transaction inserts the row first, the
        // insertion of this transaction fails, and this transaction runs again.
        ledger
            .cache
            .quotas
            .entry((entry.buyer, item))
            .or_insert(CachedQuota { used: 0, read: None });
    }
    Ok(())
}
