//! The truth in SQLite: one writer that commits whole groups, readers apart.
#![allow(unused_variables)]
use std::path::Path;
use std::sync::Arc;

use doorbuster_core::order::{Changed, Ending, Paid};
use doorbuster_core::sale::Step;
use doorbuster_core::settle::Resolved;
use doorbuster_core::{
    BuyerId, Cause, Feed, Grant, GrantId, ItemId, Millis, Order, Recall, RecallId, RecallTarget, RequestKey, Seq,
    SlotKey, Ticket, TicketId, TicketParts,
};

use crate::contract::{
    AdjustOutcome, Adjustment, AdminKey, BackupError, DeadLetter, DeleteOutcome, ItemCounts, NewSale, OpenError,
    OrderPage, OrderQuery, PatchOutcome, SalePatch, SaleRow, SqliteOptions, StepOutcome, StoreError,
};
use crate::store::StoreResult;

/// A store in SQLite.
#[derive(Clone)]
pub struct Sqlite(Arc<SqliteOptions>);

fn not_yet<T>() -> StoreResult<T> {
    Err(StoreError::Unexpected("not built yet".into()))
}

impl Sqlite {
    pub(crate) fn open(options: SqliteOptions) -> Result<Self, OpenError> {
        Ok(Self(Arc::new(options)))
    }
    pub(crate) fn now(&self) -> Millis {
        (self.0.clock)()
    }
    pub(crate) fn health(&self) -> StoreResult<()> {
        not_yet()
    }
    pub(crate) async fn close(&self) {}
    pub(crate) async fn backup(&self, path: &Path) -> Result<(), BackupError> {
        Err(BackupError::Failed("not built yet".into()))
    }
    pub(crate) async fn sales(&self) -> StoreResult<Vec<SaleRow>> {
        not_yet()
    }
    pub(crate) async fn sale(&self, id: &str) -> StoreResult<Option<SaleRow>> {
        not_yet()
    }
    pub(crate) async fn create_sale(&self, sale: NewSale) -> StoreResult<Option<SaleRow>> {
        not_yet()
    }
    pub(crate) async fn patch_sale(
        &self,
        id: &str,
        if_version: Option<u64>,
        patch: SalePatch,
    ) -> StoreResult<PatchOutcome> {
        not_yet()
    }
    pub(crate) async fn delete_sale(&self, id: &str, if_version: Option<u64>) -> StoreResult<DeleteOutcome> {
        not_yet()
    }
    pub(crate) async fn step_sale(&self, id: &str, step: Step) -> StoreResult<StepOutcome> {
        not_yet()
    }
    pub(crate) async fn counts(&self, items: Option<Vec<ItemId>>) -> StoreResult<Vec<ItemCounts>> {
        not_yet()
    }
    pub(crate) async fn adjust(&self, adjustment: Adjustment) -> StoreResult<AdjustOutcome> {
        not_yet()
    }
    pub(crate) async fn open_grant(&self, slot: SlotKey, id: GrantId, units: u64) -> StoreResult<Option<Grant>> {
        not_yet()
    }
    pub(crate) async fn acknowledge_init(&self, id: GrantId) -> StoreResult<()> {
        not_yet()
    }
    pub(crate) async fn refill(&self, id: GrantId, units: u64) -> StoreResult<u64> {
        not_yet()
    }
    pub(crate) async fn close_grant(&self, id: GrantId, cause: Cause) -> StoreResult<bool> {
        not_yet()
    }
    pub(crate) async fn open_grants(&self) -> StoreResult<Vec<Grant>> {
        not_yet()
    }
    pub(crate) async fn grant(&self, id: GrantId) -> StoreResult<Option<Grant>> {
        not_yet()
    }
    pub(crate) async fn grants(&self, item: ItemId) -> StoreResult<Vec<Grant>> {
        not_yet()
    }
    pub(crate) async fn feed_after(&self, id: GrantId, seq: Seq, limit: usize) -> StoreResult<Vec<Feed>> {
        not_yet()
    }
    pub(crate) async fn begin_recall(
        &self,
        id: RecallId,
        grant: GrantId,
        target: RecallTarget,
        asked: u64,
    ) -> StoreResult<Option<Recall>> {
        not_yet()
    }
    pub(crate) async fn finish_recall(&self, id: RecallId, taken: u64) -> StoreResult<u64> {
        not_yet()
    }
    pub(crate) async fn pending_recalls(&self) -> StoreResult<Vec<Recall>> {
        not_yet()
    }
    pub(crate) async fn closings(&self) -> StoreResult<Vec<(Cause, u64)>> {
        not_yet()
    }
    pub(crate) async fn settle(&self, tickets: Vec<Arc<Ticket>>) -> StoreResult<Vec<Resolved>> {
        not_yet()
    }
    pub(crate) async fn force(
        &self,
        id: TicketId,
        parts: TicketParts,
        buyer: BuyerId,
    ) -> StoreResult<Option<Resolved>> {
        not_yet()
    }
    pub(crate) async fn verdict(&self, id: TicketId) -> StoreResult<Option<Resolved>> {
        not_yet()
    }
    pub(crate) async fn order(&self, id: TicketId) -> StoreResult<Option<Order>> {
        not_yet()
    }
    pub(crate) async fn order_of(&self, buyer: BuyerId, key: RequestKey) -> StoreResult<Option<Order>> {
        not_yet()
    }
    pub(crate) async fn orders(&self, query: OrderQuery) -> StoreResult<OrderPage> {
        not_yet()
    }
    pub(crate) async fn end_order(&self, id: TicketId, how: Ending) -> StoreResult<Changed> {
        not_yet()
    }
    pub(crate) async fn pay_order(&self, id: TicketId) -> StoreResult<Paid> {
        not_yet()
    }
    pub(crate) async fn expire_due(&self, limit: usize) -> StoreResult<Vec<Order>> {
        not_yet()
    }
    pub(crate) async fn next_due(&self) -> StoreResult<Option<Millis>> {
        not_yet()
    }
    pub(crate) async fn requests_since(
        &self,
        since: Millis,
        after: i64,
        limit: usize,
    ) -> StoreResult<(Vec<u64>, Option<i64>)> {
        not_yet()
    }
    pub(crate) async fn dead_letters(&self, limit: usize) -> StoreResult<Vec<DeadLetter>> {
        not_yet()
    }
    pub(crate) async fn keys(&self) -> StoreResult<Vec<AdminKey>> {
        not_yet()
    }
    pub(crate) async fn insert_key(&self, key: AdminKey) -> StoreResult<()> {
        not_yet()
    }
    pub(crate) async fn delete_key(&self, id: &str) -> StoreResult<bool> {
        not_yet()
    }
    pub(crate) async fn log_action(&self, actor: &str, action: &str, detail: &str) -> StoreResult<()> {
        not_yet()
    }
    pub(crate) async fn lead(&self, node: u32, lease_ms: i64) -> StoreResult<bool> {
        not_yet()
    }
    pub(crate) async fn quota(&self, item: ItemId, buyer: BuyerId) -> StoreResult<u32> {
        not_yet()
    }
    pub(crate) async fn check(&self) -> StoreResult<crate::contract::Check> {
        not_yet()
    }
}
