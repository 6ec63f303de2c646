//! The store's methods as jobs for the writer or a reader.
use std::sync::Arc;

use doorbuster_core::event::Attribution;
use doorbuster_core::order::{self, ChangeOutcome, EndReason, PayOutcome};
use doorbuster_core::sale::PhaseStep;
use doorbuster_core::settle::{self, TicketVerdict};
use doorbuster_core::{
    BuyerId, CloseCause, Counter, FeedRow, Grant, GrantId, ItemId, Ledger, Millis, NodeId, Order,
    Recall, RecallId, RecallTarget, RequestKey, Seq, SlotKey, Spread, Ticket, TicketId,
    TicketParts, recall, stock,
};

use crate::actions;
use crate::contract::{
    ActionQuery, ActionRow, AdjustOutcome, Adjustment, AdminKey, CatalogueRows, Check,
    DeadLetterTicket, DeleteOutcome, GrantTransfers, ItemCounts, NewSale, OpenError, OrderPage,
    OrderQuery, PatchOutcome, SalePatch, SaleRow, SpreadOutcome, StepOutcome, StoreHistoryRow,
};
use crate::history::check_key;
use crate::limits::HISTORY_ROWS_MAX;
use crate::store::StoreResult;

use super::failure::Failure;
use super::ledger::SqliteLedger;
use super::{Sqlite, check, history, operators, orders, read, sales};

impl Sqlite {
    /// Runs a job that succeeds or fails as a whole.
    pub(super) async fn job<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut SqliteLedger<'_>) -> Result<T, Failure> + Send + 'static,
    ) -> StoreResult<T> {
        let action = actions::current();
        self.write(1, move |txn| {
            txn.attempt(|ledger| {
                ledger.action = action;
                work(ledger)
            })
        })
        .await
    }

    pub(crate) async fn catalogue(&self) -> StoreResult<CatalogueRows> {
        Ok(CatalogueRows { version: String::new(), sales: self.read(sales::all).await? })
    }

    pub(crate) async fn sale(&self, id: &str) -> StoreResult<Option<SaleRow>> {
        let id = id.to_owned();
        self.read(move |sql| sales::one(sql, &id)).await
    }

    pub(crate) async fn create_sale(&self, sale: NewSale) -> StoreResult<Option<SaleRow>> {
        self.job(move |ledger| sales::create(ledger, &sale)).await
    }

    pub(crate) async fn patch_sale(
        &self,
        id: &str,
        v: Option<u64>,
        patch: SalePatch,
    ) -> StoreResult<PatchOutcome> {
        let id = id.to_owned();
        self.job(move |ledger| sales::patch(ledger, &id, v, patch)).await
    }

    pub(crate) async fn delete_sale(&self, id: &str, v: Option<u64>) -> StoreResult<DeleteOutcome> {
        let id = id.to_owned();
        self.job(move |ledger| sales::delete(ledger, &id, v)).await
    }

    pub(crate) async fn step_sale(&self, id: &str, step: PhaseStep) -> StoreResult<StepOutcome> {
        let id = id.to_owned();
        self.job(move |ledger| sales::step(ledger, &id, step)).await
    }

    pub(crate) async fn set_spread(
        &self,
        item: ItemId,
        spread: Spread,
        if_version: Option<u64>,
    ) -> StoreResult<SpreadOutcome> {
        self.job(move |ledger| sales::set_spread(ledger, item, &spread, if_version)).await
    }

    pub(crate) async fn counts(&self, items: Option<Vec<ItemId>>) -> StoreResult<Vec<ItemCounts>> {
        self.read(move |sql| read::counts(sql, items.as_deref())).await
    }

    pub(crate) async fn adjust(&self, adjustment: Adjustment) -> StoreResult<AdjustOutcome> {
        self.job(move |ledger| sales::adjust(ledger, &adjustment)).await
    }

    pub(crate) async fn adjusted_units(&self, item: ItemId, key: &str) -> StoreResult<Option<i64>> {
        let key = key.to_owned();
        self.read(move |sql| sales::adjusted_units(sql, item, &key)).await
    }

    pub(crate) async fn open_grant(
        &self,
        slot: SlotKey,
        id: GrantId,
        units: u64,
    ) -> StoreResult<Option<Grant>> {
        self.job(move |ledger| stock::open(ledger, slot, id, units)).await
    }

    pub(crate) async fn acknowledge_init(&self, id: GrantId) -> StoreResult<()> {
        self.job(move |ledger| stock::acknowledge_init(ledger, id)).await
    }

    pub(crate) async fn refill(
        &self,
        id: GrantId,
        units: u64,
        counter: Counter,
    ) -> StoreResult<u64> {
        self.job(move |ledger| stock::refill(ledger, id, units, counter)).await
    }

    pub(crate) async fn close_grant(&self, id: GrantId, cause: CloseCause) -> StoreResult<bool> {
        self.job(move |ledger| stock::close(ledger, id, cause)).await
    }

    pub(crate) async fn open_grants(&self) -> StoreResult<Vec<Grant>> {
        self.read(read::open_grants).await
    }

    pub(crate) async fn grant(&self, id: GrantId) -> StoreResult<Option<Grant>> {
        self.read(move |sql| read::grant(sql, id)).await
    }

    pub(crate) async fn grants(&self, item: ItemId) -> StoreResult<Vec<Grant>> {
        self.read(move |sql| read::grants(sql, item)).await
    }

    pub(crate) async fn grant_transfers(&self, item: ItemId) -> StoreResult<Vec<GrantTransfers>> {
        self.read(move |sql| read::grant_transfers(sql, item)).await
    }

    pub(crate) async fn feed_after(
        &self,
        id: GrantId,
        seq: Seq,
        limit: usize,
    ) -> StoreResult<Vec<FeedRow>> {
        self.read(move |sql| read::feed_after(sql, id, seq, limit)).await
    }

    pub(crate) async fn begin_recall(
        &self,
        id: RecallId,
        grant: GrantId,
        target: RecallTarget,
        units: u64,
    ) -> StoreResult<Option<Recall>> {
        self.job(move |ledger| recall::begin(ledger, id, grant, target, units)).await
    }

    pub(crate) async fn finish_recall(&self, id: RecallId, taken: u64) -> StoreResult<u64> {
        self.job(move |ledger| recall::finish(ledger, id, taken)).await
    }

    pub(crate) async fn pending_recalls(&self) -> StoreResult<Vec<Recall>> {
        self.read(read::pending_recalls).await
    }

    pub(crate) async fn closings(&self) -> StoreResult<Vec<(CloseCause, u64)>> {
        self.read(read::closings).await
    }

    pub(crate) async fn settle(
        &self,
        tickets: Vec<Arc<Ticket>>,
    ) -> StoreResult<Vec<TicketVerdict>> {
        let key = self.0.shared.id_key.clone();
        self.write(tickets.len().max(1), move |txn| orders::settle(txn, &key, &tickets)).await
    }

    pub(crate) async fn force_verdict(
        &self,
        id: TicketId,
        parts: TicketParts,
        buyer: BuyerId,
    ) -> StoreResult<Option<TicketVerdict>> {
        let key = self.0.shared.id_key.clone();
        self.job(move |ledger| {
            let now = ledger.now;
            settle::force_verdict(ledger, &key, id, &parts, &buyer, now)
        })
        .await
    }

    pub(crate) async fn verdict(&self, id: TicketId) -> StoreResult<Option<TicketVerdict>> {
        self.read(move |sql| read::verdict(sql, &id)).await
    }

    pub(crate) async fn order(&self, id: TicketId) -> StoreResult<Option<Order>> {
        self.read(move |sql| read::order(sql, &id)).await
    }

    pub(crate) async fn order_of(
        &self,
        buyer: BuyerId,
        key: RequestKey,
    ) -> StoreResult<Option<Order>> {
        self.read(move |sql| read::order_of(sql, &buyer, &key)).await
    }

    pub(crate) async fn orders(&self, query: OrderQuery) -> StoreResult<OrderPage> {
        self.read(move |sql| orders::page(sql, &query, orders::PageOrder::Newest)).await
    }

    pub(crate) async fn orders_oldest_first(&self, query: OrderQuery) -> StoreResult<OrderPage> {
        self.read(move |sql| orders::page(sql, &query, orders::PageOrder::Oldest)).await
    }

    pub(crate) async fn extend_order(
        &self,
        id: TicketId,
        pay_by: Millis,
        by: Attribution,
    ) -> StoreResult<ChangeOutcome> {
        self.job(move |ledger| {
            let (now, before) = (ledger.now, ledger.order(&id)?);
            let changed = order::extend(ledger, &id, pay_by, &by, now)?;
            if let Some(fields) = actions::changed_order(before.as_ref(), &changed) {
                ledger.record(&fields)?;
            }
            Ok(changed)
        })
        .await
    }

    pub(crate) async fn end_order(
        &self,
        id: TicketId,
        how: EndReason,
        by: Attribution,
    ) -> StoreResult<ChangeOutcome> {
        self.job(move |ledger| {
            let (now, before) = (ledger.now, ledger.order(&id)?);
            let changed = order::end(ledger, &id, how, &by, now)?;
            if let Some(fields) = actions::changed_order(before.as_ref(), &changed) {
                ledger.record(&fields)?;
            }
            Ok(changed)
        })
        .await
    }

    pub(crate) async fn pay_order(&self, id: TicketId) -> StoreResult<PayOutcome> {
        self.job(move |ledger| {
            let now = ledger.now;
            order::pay(ledger, &id, Attribution::ENGINE, now)
        })
        .await
    }

    pub(crate) async fn expire_due(&self, limit: usize) -> StoreResult<Vec<Order>> {
        self.job(move |ledger| orders::expire_due(ledger, limit)).await
    }

    pub(crate) async fn next_due(&self) -> StoreResult<Option<Millis>> {
        self.read(read::next_due).await
    }

    pub(crate) async fn request_hashes_of(
        &self,
        items: &[ItemId],
        after: i64,
        limit: usize,
    ) -> StoreResult<(Vec<u64>, Option<i64>)> {
        let (key, items) = (self.0.shared.id_key.clone(), items.to_vec());
        self.read(move |sql| orders::request_hashes_of(sql, &key, &items, after, limit)).await
    }

    pub(crate) async fn dead_letter_tickets(
        &self,
        limit: usize,
    ) -> StoreResult<Vec<DeadLetterTicket>> {
        self.read(move |sql| orders::dead_letter_tickets(sql, limit)).await
    }

    pub(crate) async fn bind_key(&self) -> Result<(), OpenError> {
        let given = self.0.shared.id_key.fingerprint();
        let key = given.clone();
        let expected = self.job(move |ledger| history::bind_key(ledger, &key)).await;
        let expected = expected.map_err(|error| OpenError::Failed(error.to_string()))?;
        check_key(&given, expected)
    }

    pub(crate) async fn commit_check(&self) -> StoreResult<()> {
        self.job(history::commit_check).await
    }

    pub(crate) async fn store_history(&self) -> StoreResult<Vec<StoreHistoryRow>> {
        self.read(|reader| history::newest(reader, HISTORY_ROWS_MAX)).await
    }

    pub(crate) async fn keys(&self) -> StoreResult<Vec<AdminKey>> {
        self.read(operators::keys).await
    }

    pub(crate) async fn insert_key(&self, key: AdminKey) -> StoreResult<()> {
        self.job(move |ledger| operators::insert_key(ledger, &key)).await
    }

    pub(crate) async fn delete_key(&self, id: &str) -> StoreResult<bool> {
        let id = id.to_owned();
        self.job(move |ledger| operators::delete_key(ledger, &id)).await
    }

    pub(crate) async fn actions(&self, query: ActionQuery) -> StoreResult<Vec<ActionRow>> {
        self.read(move |sql| operators::actions(sql, operators::NEWEST_ACTIONS_FIRST, &query)).await
    }

    pub(crate) async fn actions_oldest_first(
        &self,
        query: ActionQuery,
    ) -> StoreResult<Vec<ActionRow>> {
        self.read(move |sql| operators::actions(sql, operators::OLDEST_ACTIONS_FIRST, &query)).await
    }

    pub(crate) async fn take_leader_lease(&self, node: u32, lease_ms: i64) -> StoreResult<bool> {
        self.job(move |ledger| operators::take_leader_lease(ledger, node, lease_ms)).await
    }

    pub(crate) async fn live_nodes(&self) -> StoreResult<Vec<NodeId>> {
        let now = self.now();
        self.read(move |sql| operators::live_nodes(sql, now)).await
    }

    pub(crate) async fn quota(&self, item: ItemId, buyer: BuyerId) -> StoreResult<u32> {
        self.read(move |sql| read::quota(sql, item, &buyer)).await
    }

    pub(crate) async fn check(&self) -> StoreResult<Check> {
        let now = self.now();
        self.read(move |sql| check::check(sql, now)).await
    }
}
