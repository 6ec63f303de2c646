//! Grants, feeds and recalls, by which units move to the slots and back.
use doorbuster_core::{
    CloseCause, Counter, FeedRow, Grant, GrantId, ItemId, Recall, RecallId, RecallTarget, Seq,
    SlotKey, recall, stock,
};

use crate::contract::GrantTransfers;
use crate::failure::Done;
use crate::rows;
use crate::sql::{Row, Statement, as_limit, dialects, statement, values};
use crate::transaction::RetryUnknown;

use super::{Store, StoreResult};

const OPEN_GRANTS: Statement = dialects!(
    concat!("SELECT ", rows::grant_columns!(), " FROM slot_grant WHERE "),
    "open = 1" | "open",
    " ORDER BY item_id, slot"
);
const GRANT: Statement =
    statement(concat!("SELECT ", rows::grant_columns!(), " FROM slot_grant WHERE id = $1"));
const GRANTS: Statement = statement(concat!(
    "SELECT ",
    rows::grant_columns!(),
    " FROM slot_grant WHERE item_id = $1 AND slot <> $2 ORDER BY slot, epoch DESC"
));
/// The query counts the refills of each grant separately, with an index that contains only refills.
/// If one query counted the refills of all grants together, PostgreSQL's planner might read all
/// rows of the feed.
const TRANSFERS: Statement = statement(
    "SELECT g.id,
         (SELECT count(*) FROM feed f WHERE f.grant_id = g.id AND f.cause = 'refill'),
         coalesce(r.times, 0)
     FROM slot_grant g
     LEFT JOIN (SELECT grant_id, count(*) AS times FROM recall WHERE done GROUP BY grant_id) r
               ON r.grant_id = g.id
     WHERE g.item_id = $1",
);
const GRANT_IDS: Statement = statement("SELECT id FROM slot_grant WHERE item_id = $1 ORDER BY id");
const FEED_AFTER: Statement = statement(concat!(
    "SELECT ",
    rows::feed_columns!(),
    " FROM feed WHERE grant_id = $1 AND seq > $2 ORDER BY seq LIMIT $3"
));
const PENDING_RECALLS: Statement = dialects!(
    concat!("SELECT ", rows::recall_columns!(), " FROM recall WHERE "),
    "done = 0" | "NOT done",
    " ORDER BY id"
);
const CLOSINGS: Statement = statement(
    "SELECT closed_cause, count(*) FROM slot_grant WHERE NOT open AND slot <> $1
     GROUP BY closed_cause ORDER BY closed_cause",
);

fn transfers(row: Row<'_>) -> Done<GrantTransfers> {
    let (refills, recalls) = (row.number(1)?, row.number(2)?);
    Ok(GrantTransfers { grant: GrantId(row.number(0)?), refills, recalls })
}

impl Store {
    /// Opens a grant (see [`doorbuster_core::stock::open`]). Returns `None` if the item does not
    /// exist or cannot be sold now.
    pub async fn open_grant(
        &self,
        slot: SlotKey,
        id: GrantId,
        units: u64,
    ) -> StoreResult<Option<Grant>> {
        self.job(RetryUnknown::Allowed, move |tx| stock::open(tx.ledger(), slot, id, units)).await
    }

    /// Records that the slot accepted the grant (see [`doorbuster_core::stock::acknowledge_init`]).
    pub async fn acknowledge_init(&self, id: GrantId) -> StoreResult<()> {
        self.job(RetryUnknown::Allowed, move |tx| stock::acknowledge_init(tx.ledger(), id)).await
    }

    /// Moves units from the pool to a grant (see [`doorbuster_core::stock::refill`]). Returns the
    /// number of moved units.
    pub async fn refill(&self, id: GrantId, units: u64, counter: Counter) -> StoreResult<u64> {
        self.job(RetryUnknown::Never, move |tx| stock::refill(tx.ledger(), id, units, counter))
            .await
    }

    /// Closes a grant (see [`doorbuster_core::stock::close`]). Returns false if the grant was
    /// already closed or never existed.
    pub async fn close_grant(&self, id: GrantId, cause: CloseCause) -> StoreResult<bool> {
        self.job(RetryUnknown::Never, move |tx| stock::close(tx.ledger(), id, cause)).await
    }

    /// Returns every open grant of every item, sorted by slot.
    pub async fn open_grants(&self) -> StoreResult<Vec<Grant>> {
        self.all(OPEN_GRANTS, [], rows::grant).await
    }

    /// Returns the grant with this id.
    pub async fn grant(&self, id: GrantId) -> StoreResult<Option<Grant>> {
        self.one(GRANT, values![id], rows::grant).await
    }

    /// Returns every open and closed grant of an item's slots, without the waitlist's grant. The
    /// grants are ordered by slot, newest first within a slot.
    pub async fn grants(&self, item: ItemId) -> StoreResult<Vec<Grant>> {
        self.all(GRANTS, values![item, SlotKey::WAITLIST], rows::grant).await
    }

    /// Returns the ids of all grants of an item, including the grant under which waitlist entries
    /// became orders.
    pub async fn grant_ids(&self, item: ItemId) -> StoreResult<Vec<GrantId>> {
        self.all(GRANT_IDS, values![item], |row| Ok(GrantId(row.number(0)?))).await
    }

    /// For each open or closed grant of an item, returns the number of refills and the number of
    /// finished recalls.
    pub async fn grant_transfers(&self, item: ItemId) -> StoreResult<Vec<GrantTransfers>> {
        self.all(TRANSFERS, values![item], transfers).await
    }

    /// Returns at most `limit` rows of a grant's feed after `seq`, sorted by `seq`.
    pub async fn feed_after(
        &self,
        id: GrantId,
        seq: Seq,
        limit: usize,
    ) -> StoreResult<Vec<FeedRow>> {
        self.all(FEED_AFTER, values![id, seq.0, as_limit(limit)], rows::feed).await
    }

    /// Begins a recall (see [`doorbuster_core::recall::begin`]). Returns `None` if there are no
    /// units to recall.
    pub async fn begin_recall(
        &self,
        id: RecallId,
        grant: GrantId,
        target: RecallTarget,
        units: u64,
    ) -> StoreResult<Option<Recall>> {
        self.job(RetryUnknown::Allowed, move |tx| {
            tx.lock_grants(&[grant])?;
            recall::begin(tx.ledger(), id, grant, target, units)
        })
        .await
    }

    /// Finishes a recall (see [`doorbuster_core::recall::finish`]). Returns the number of units
    /// that this call moved.
    pub async fn finish_recall(&self, id: RecallId, taken: u64) -> StoreResult<u64> {
        self.job(RetryUnknown::Never, move |tx| {
            tx.lock_recall(id)?;
            recall::finish(tx.ledger(), id, taken)
        })
        .await
    }

    /// Returns the recalls that are not finished, sorted by id.
    pub async fn pending_recalls(&self) -> StoreResult<Vec<Recall>> {
        self.all(PENDING_RECALLS, [], rows::recall).await
    }

    /// Returns the number of grants that were closed because their slot failed.
    pub async fn repairs(&self) -> StoreResult<u64> {
        let closings = self.closings().await?;
        Ok(closings
            .into_iter()
            .filter(|(cause, _)| cause.is_fault())
            .map(|(_, grants)| grants)
            .sum())
    }

    /// For each cause, returns how many grants of slots were closed for this cause. Causes without
    /// a closed grant are left out.
    pub async fn closings(&self) -> StoreResult<Vec<(CloseCause, u64)>> {
        let closing = |row: Row<'_>| Ok((rows::closing(row, 0)?, row.number(1)?));
        self.all(CLOSINGS, values![SlotKey::WAITLIST], closing).await
    }
}
