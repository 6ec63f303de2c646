//! Payments, refunds, checkouts, the history of an order, and documents of the built-in provider.
use doorbuster_core::event::Attribution;
use doorbuster_core::money::{
    Capture, CaptureOutcome, Checkout, CheckoutOutcome, Payment, Refund, RefundId,
    RefundMessageOutcome, RefundUpdate,
};
use doorbuster_core::order::ChangeOutcome;
use doorbuster_core::{Millis, Order, TicketId};

use crate::contract::{
    CheckoutDeferral, MoneyPage, MoneyQuery, Reversal, ReversalOutcome, ReversedPayment,
    StoredEvent,
};

use super::{Store, StoreResult};

/// Payments and refunds.
impl Store {
    /// Handles a captured payment (see [`doorbuster_core::money::capture`]). After
    /// [`CaptureOutcome::UnitsMissing`] nothing was written.
    pub async fn capture(&self, report: Capture, last: bool) -> StoreResult<CaptureOutcome> {
        match self {
            Self::Sqlite(s) => s.capture(report, last).await,
            Self::Postgres(s) => Box::pin(s.capture(report, last)).await,
        }
    }

    /// Records a failed payment (see [`doorbuster_core::money::record_failure`]).
    pub async fn fail_payment(&self, report: Capture) -> StoreResult<bool> {
        match self {
            Self::Sqlite(s) => s.fail_payment(report).await,
            Self::Postgres(s) => Box::pin(s.fail_payment(report)).await,
        }
    }

    /// Applies a provider's message about a refund (see [`doorbuster_core::money::settle_refund`]).
    pub async fn settle_refund(
        &self,
        provider: String,
        event: String,
        id: RefundId,
        news: RefundUpdate,
    ) -> StoreResult<RefundMessageOutcome> {
        match self {
            Self::Sqlite(s) => s.settle_refund(provider, event, id, news).await,
            Self::Postgres(s) => Box::pin(s.settle_refund(provider, event, id, news)).await,
        }
    }

    /// Applies a report about a refund (see [`doorbuster_core::money::apply_refund_update`]).
    pub async fn apply_refund_update(
        &self,
        id: RefundId,
        news: RefundUpdate,
    ) -> StoreResult<Option<Refund>> {
        match self {
            Self::Sqlite(s) => s.apply_refund_update(id, news).await,
            Self::Postgres(s) => Box::pin(s.apply_refund_update(id, news)).await,
        }
    }

    /// Applies an answer to a query about a refund (see [`doorbuster_core::money::answer_refund`]).
    pub async fn answer_refund(
        &self,
        requested: Refund,
        news: RefundUpdate,
    ) -> StoreResult<Option<Refund>> {
        match self {
            Self::Sqlite(s) => s.answer_refund(requested, news).await,
            Self::Postgres(s) => Box::pin(s.answer_refund(requested, news)).await,
        }
    }

    /// Requests a failed refund again (see [`doorbuster_core::money::retry_refund`]), even a
    /// discarded one.
    pub async fn retry_refund(&self, id: RefundId) -> StoreResult<Option<Refund>> {
        match self {
            Self::Sqlite(s) => s.retry_refund(id).await,
            Self::Postgres(s) => Box::pin(s.retry_refund(id)).await,
        }
    }

    /// Discards a failed refund that an operator has resolved, with the operator's reason. Returns
    /// false if there is no such failed refund, or it was discarded before.
    pub async fn discard_refund(&self, id: RefundId, why: String) -> StoreResult<bool> {
        match self {
            Self::Sqlite(s) => s.discard_refund(id, why).await,
            Self::Postgres(s) => Box::pin(s.discard_refund(id, why)).await,
        }
    }

    /// Returns at most `limit` pending refunds that are due for a request to the provider. The
    /// refund that is due longest comes first.
    pub async fn refunds_due(&self, limit: usize) -> StoreResult<Vec<Refund>> {
        match self {
            Self::Sqlite(s) => s.refunds_due(limit).await,
            Self::Postgres(s) => Box::pin(s.refunds_due(limit)).await,
        }
    }

    /// Returns when the next pending refund is due.
    pub async fn next_refund_due(&self) -> StoreResult<Option<Millis>> {
        match self {
            Self::Sqlite(s) => s.next_refund_due().await,
            Self::Postgres(s) => Box::pin(s.next_refund_due()).await,
        }
    }

    /// Returns the number of pending refunds.
    pub async fn refunds_pending(&self) -> StoreResult<u64> {
        match self {
            Self::Sqlite(s) => s.refunds_pending().await,
            Self::Postgres(s) => Box::pin(s.refunds_pending()).await,
        }
    }

    /// Returns a page of payments. With `notices`, only payments whose refund is a notice.
    pub async fn payments(&self, query: MoneyQuery) -> StoreResult<MoneyPage<Payment>> {
        match self {
            Self::Sqlite(s) => s.payments(query).await,
            Self::Postgres(s) => Box::pin(s.payments(query)).await,
        }
    }

    /// Returns a page of refunds.
    pub async fn refunds(&self, query: MoneyQuery) -> StoreResult<MoneyPage<Refund>> {
        match self {
            Self::Sqlite(s) => s.refunds(query).await,
            Self::Postgres(s) => Box::pin(s.refunds(query)).await,
        }
    }
}

/// Money that a provider reversed without a request by this server.
impl Store {
    /// Records a provider's report that a captured payment was reversed. The payment and its order
    /// do not change. A refund by this server is not a reversal.
    pub async fn record_reversal(&self, reversal: Reversal) -> StoreResult<ReversalOutcome> {
        match self {
            Self::Sqlite(s) => s.record_reversal(reversal).await,
            Self::Postgres(s) => Box::pin(s.record_reversal(reversal)).await,
        }
    }

    /// Returns the reversals that an operator should see, newest first, at most
    /// [`crate::limits::NOTICES_MAX`].
    pub async fn reversals(&self) -> StoreResult<Vec<ReversedPayment>> {
        match self {
            Self::Sqlite(s) => s.reversals().await,
            Self::Postgres(s) => Box::pin(s.reversals()).await,
        }
    }
}

/// Checkouts.
impl Store {
    /// Keeps a checkout with its order (see [`doorbuster_core::money::keep_checkout`]).
    pub async fn keep_checkout(&self, checkout: Checkout) -> StoreResult<CheckoutOutcome> {
        match self {
            Self::Sqlite(s) => s.keep_checkout(checkout).await,
            Self::Postgres(s) => Box::pin(s.keep_checkout(checkout)).await,
        }
    }

    /// Returns the order's checkout, open or closed.
    pub async fn checkout(&self, order: TicketId) -> StoreResult<Option<Checkout>> {
        match self {
            Self::Sqlite(s) => s.checkout(order).await,
            Self::Postgres(s) => Box::pin(s.checkout(order)).await,
        }
    }

    /// Records that a checkout is closed (see [`doorbuster_core::money::close_checkout`]).
    pub async fn close_checkout(&self, order: TicketId, session: String) -> StoreResult<bool> {
        match self {
            Self::Sqlite(s) => s.close_checkout(order, session).await,
            Self::Postgres(s) => Box::pin(s.close_checkout(order, session)).await,
        }
    }

    /// Returns at most `limit` open checkouts that must be closed at their provider, each with its
    /// current order. Either the order no longer waits for a payment, or its `pay_by` has passed.
    /// The checkout that is due longest comes first.
    pub async fn checkouts_to_close(&self, limit: usize) -> StoreResult<Vec<(Checkout, Order)>> {
        match self {
            Self::Sqlite(s) => s.checkouts_to_close(limit).await,
            Self::Postgres(s) => Box::pin(s.checkouts_to_close(limit)).await,
        }
    }

    /// Postpones checkouts in [`Store::checkouts_to_close`]. Each one is left out for a while from
    /// now, at least until its order is due. A change of its order ends the delay. The call also
    /// records which queries got no answer of the provider. Everything is one transaction. Returns
    /// how many of the checkouts are still open.
    pub async fn defer_checkouts(&self, all: Vec<CheckoutDeferral>) -> StoreResult<usize> {
        match self {
            Self::Sqlite(s) => s.defer_checkouts(all).await,
            Self::Postgres(s) => Box::pin(s.defer_checkouts(all)).await,
        }
    }
}

/// Extensions and histories of orders.
impl Store {
    /// Extends the payment window of an order (see [`doorbuster_core::order::extend`]).
    pub async fn extend_order(
        &self,
        id: TicketId,
        pay_by: Millis,
        by: Attribution,
    ) -> StoreResult<ChangeOutcome> {
        match self {
            Self::Sqlite(s) => s.extend_order(id, pay_by, by).await,
            Self::Postgres(s) => Box::pin(s.extend_order(id, pay_by, by)).await,
        }
    }

    /// Returns the events of an order, and of payments that named it, oldest first.
    pub async fn history(&self, id: TicketId) -> StoreResult<Vec<StoredEvent>> {
        match self {
            Self::Sqlite(s) => s.history(id).await,
            Self::Postgres(s) => Box::pin(s.history(id)).await,
        }
    }
}

/// Documents of the built-in provider, under keys. The store does not interpret them.
impl Store {
    /// Returns the document under this key.
    pub async fn sandbox_get(&self, key: &str) -> StoreResult<Option<String>> {
        match self {
            Self::Sqlite(s) => s.sandbox_get(key).await,
            Self::Postgres(s) => Box::pin(s.sandbox_get(key)).await,
        }
    }

    /// Writes `new` if the current document is `old` (`None` means no document). Returns false if
    /// the current document differs.
    pub async fn sandbox_swap(
        &self,
        key: String,
        old: Option<String>,
        new: String,
    ) -> StoreResult<bool> {
        match self {
            Self::Sqlite(s) => s.sandbox_swap(key, old, new).await,
            Self::Postgres(s) => Box::pin(s.sandbox_swap(key, old, new)).await,
        }
    }

    /// Deletes each of these documents if it has the given content. Returns the number of deleted
    /// documents.
    pub async fn sandbox_delete(&self, documents: Vec<(String, String)>) -> StoreResult<usize> {
        match self {
            Self::Sqlite(s) => s.sandbox_delete(documents).await,
            Self::Postgres(s) => Box::pin(s.sandbox_delete(documents)).await,
        }
    }

    /// Returns at most `limit` documents whose keys begin with `prefix` and are greater than
    /// `after`, by key.
    pub async fn sandbox_list(
        &self,
        prefix: String,
        after: String,
        limit: usize,
    ) -> StoreResult<Vec<(String, String)>> {
        match self {
            Self::Sqlite(s) => s.sandbox_list(prefix, after, limit).await,
            Self::Postgres(s) => Box::pin(s.sandbox_list(prefix, after, limit)).await,
        }
    }
}
