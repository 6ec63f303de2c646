//! Payments, refunds and checkouts in PostgreSQL.
use doorbuster_core::event::By;
use doorbuster_core::money::{Capture, Captured, Checkout, CheckoutKept, Payment, Refund, RefundId, RefundNews};
use doorbuster_core::order::Changed;
use doorbuster_core::{Millis, Order, TicketId};

use crate::contract::{MoneyPage, MoneyQuery, StoreError, Told};
use crate::store::StoreResult;

use super::Postgres;

fn not_yet<T>() -> StoreResult<T> {
    Err(StoreError::Unexpected("not yet".to_owned()))
}

impl Postgres {
    pub(crate) async fn capture(&self, _told: Capture, _last: bool) -> StoreResult<Captured> {
        not_yet()
    }

    pub(crate) async fn fail_payment(&self, _told: Capture) -> StoreResult<bool> {
        not_yet()
    }

    pub(crate) async fn settle_refund(
        &self,
        _provider: String,
        _event: String,
        _id: RefundId,
        _news: RefundNews,
    ) -> StoreResult<bool> {
        not_yet()
    }

    pub(crate) async fn note_refund(&self, _id: RefundId, _news: RefundNews) -> StoreResult<Option<Refund>> {
        not_yet()
    }

    pub(crate) async fn retry_refund(&self, _id: RefundId) -> StoreResult<Option<Refund>> {
        not_yet()
    }

    pub(crate) async fn discard_refund(&self, _id: RefundId, _why: String) -> StoreResult<bool> {
        not_yet()
    }

    pub(crate) async fn refunds_due(&self, _limit: usize) -> StoreResult<Vec<Refund>> {
        not_yet()
    }

    pub(crate) async fn next_refund_due(&self) -> StoreResult<Option<Millis>> {
        not_yet()
    }

    pub(crate) async fn payments(&self, _query: MoneyQuery) -> StoreResult<MoneyPage<Payment>> {
        not_yet()
    }

    pub(crate) async fn refunds(&self, _query: MoneyQuery) -> StoreResult<MoneyPage<Refund>> {
        not_yet()
    }

    pub(crate) async fn keep_checkout(&self, _checkout: Checkout) -> StoreResult<CheckoutKept> {
        not_yet()
    }

    pub(crate) async fn checkout(&self, _order: TicketId) -> StoreResult<Option<Checkout>> {
        not_yet()
    }

    pub(crate) async fn close_checkout(&self, _order: TicketId, _session: String) -> StoreResult<bool> {
        not_yet()
    }

    pub(crate) async fn checkouts_to_close(&self, _limit: usize) -> StoreResult<Vec<(Checkout, Order)>> {
        not_yet()
    }

    pub(crate) async fn put_off_checkout(&self, _order: TicketId, _session: String, _ms: i64) -> StoreResult<bool> {
        not_yet()
    }

    pub(crate) async fn extend_order(&self, _id: TicketId, _pay_by: Millis, _by: By) -> StoreResult<Changed> {
        not_yet()
    }

    pub(crate) async fn history(&self, _id: TicketId) -> StoreResult<Vec<Told>> {
        not_yet()
    }

    pub(crate) async fn sandbox_get(&self, _key: &str) -> StoreResult<Option<String>> {
        not_yet()
    }

    pub(crate) async fn sandbox_swap(&self, _key: String, _old: Option<String>, _new: String) -> StoreResult<bool> {
        not_yet()
    }

    pub(crate) async fn sandbox_list(
        &self,
        _prefix: String,
        _after: String,
        _limit: usize,
    ) -> StoreResult<Vec<(String, String)>> {
        not_yet()
    }
}
