//! Tickets and orders: settling, verdicts, changes of an order, and lists.
use std::sync::Arc;

use doorbuster_core::event::Attribution;
use doorbuster_core::order::{ChangeOutcome, EndReason, PayOutcome};
use doorbuster_core::settle::TicketVerdict;
use doorbuster_core::{BuyerId, ItemId, Millis, Order, RequestKey, Ticket, TicketId, TicketParts};

use crate::contract::{DeadLetterTicket, OrderPage, OrderQuery};

use super::{Store, StoreResult};

/// Tickets and orders.
impl Store {
    /// Resolves each ticket, all in one transaction at one instant
    /// ([`doorbuster_core::settle::settle`]). The answers have the order of the tickets.
    ///
    /// If the statement for a ticket fails, that ticket is returned and becomes a dead letter. The
    /// other tickets are settled.
    pub async fn settle(&self, tickets: Vec<Arc<Ticket>>) -> StoreResult<Vec<TicketVerdict>> {
        match self {
            Self::Sqlite(s) => s.settle(tickets).await,
            Self::Postgres(s) => Box::pin(s.settle(tickets)).await,
        }
    }

    /// Forces a verdict (see [`doorbuster_core::settle::force_verdict`]). Returns `None` if the
    /// ticket may still be settled.
    pub async fn force_verdict(
        &self,
        id: TicketId,
        parts: TicketParts,
        buyer: BuyerId,
    ) -> StoreResult<Option<TicketVerdict>> {
        match self {
            Self::Sqlite(s) => s.force_verdict(id, parts, buyer).await,
            Self::Postgres(s) => Box::pin(s.force_verdict(id, parts, buyer)).await,
        }
    }

    /// Returns a ticket's verdict, if it has one.
    pub async fn verdict(&self, id: TicketId) -> StoreResult<Option<TicketVerdict>> {
        match self {
            Self::Sqlite(s) => s.verdict(id).await,
            Self::Postgres(s) => Box::pin(s.verdict(id)).await,
        }
    }

    /// Returns the order of this id.
    pub async fn order(&self, id: TicketId) -> StoreResult<Option<Order>> {
        match self {
            Self::Sqlite(s) => s.order(id).await,
            Self::Postgres(s) => Box::pin(s.order(id)).await,
        }
    }

    /// Returns the order that a request holds.
    pub async fn order_of(&self, buyer: BuyerId, key: RequestKey) -> StoreResult<Option<Order>> {
        match self {
            Self::Sqlite(s) => s.order_of(buyer, key).await,
            Self::Postgres(s) => Box::pin(s.order_of(buyer, key)).await,
        }
    }

    /// Returns a page of orders, newest first.
    pub async fn orders(&self, query: OrderQuery) -> StoreResult<OrderPage> {
        match self {
            Self::Sqlite(s) => s.orders(query).await,
            Self::Postgres(s) => Box::pin(s.orders(query)).await,
        }
    }

    /// Returns a page of orders, oldest first, for an export. Orders that are created meanwhile
    /// come last.
    pub async fn orders_oldest_first(&self, query: OrderQuery) -> StoreResult<OrderPage> {
        match self {
            Self::Sqlite(s) => s.orders_oldest_first(query).await,
            Self::Postgres(s) => Box::pin(s.orders_oldest_first(query)).await,
        }
    }

    /// Ends an order (see [`doorbuster_core::order::end`]).
    pub async fn end_order(
        &self,
        id: TicketId,
        how: EndReason,
        by: Attribution,
    ) -> StoreResult<ChangeOutcome> {
        match self {
            Self::Sqlite(s) => s.end_order(id, how, by).await,
            Self::Postgres(s) => Box::pin(s.end_order(id, how, by)).await,
        }
    }

    /// Marks an order as paid (see [`doorbuster_core::order::pay`]).
    pub async fn pay_order(&self, id: TicketId) -> StoreResult<PayOutcome> {
        match self {
            Self::Sqlite(s) => s.pay_order(id).await,
            Self::Postgres(s) => Box::pin(s.pay_order(id)).await,
        }
    }

    /// Expires at most `limit` reserved orders whose `pay_by` has passed, and returns them. The
    /// order that is due longest comes first. An order with an open checkout first waits for its
    /// provider, for [`doorbuster_core::money::Checkout::provider_wait_ms`].
    ///
    /// A second concurrent call begins when the first call has committed. It does not wait until
    /// that commit is published.
    pub async fn expire_due(&self, limit: usize) -> StoreResult<Vec<Order>> {
        match self {
            Self::Sqlite(s) => s.expire_due(limit).await,
            Self::Postgres(s) => Box::pin(s.expire_due(limit)).await,
        }
    }

    /// Returns when the next reserved order will expire: the earliest `pay_by`. If a checkout is
    /// open, the time that the order waits for its provider is added.
    pub async fn next_due(&self) -> StoreResult<Option<Millis>> {
        match self {
            Self::Sqlite(s) => s.next_due().await,
            Self::Postgres(s) => Box::pin(s.next_due()).await,
        }
    }

    /// Returns the requests ([`doorbuster_core::RequestHash::low_64_bits`]) of at most `limit`
    /// orders of these items, oldest first. Also returns the position for the next call's `after`,
    /// or `None` if there is no further page. `after` is 0 in the first call.
    pub async fn request_hashes_of(
        &self,
        items: &[ItemId],
        after: i64,
        limit: usize,
    ) -> StoreResult<(Vec<u64>, Option<i64>)> {
        match self {
            Self::Sqlite(s) => s.request_hashes_of(items, after, limit).await,
            Self::Postgres(s) => Box::pin(s.request_hashes_of(items, after, limit)).await,
        }
    }

    /// Returns at most `limit` dead letters, newest first.
    pub async fn dead_letter_tickets(&self, limit: usize) -> StoreResult<Vec<DeadLetterTicket>> {
        match self {
            Self::Sqlite(s) => s.dead_letter_tickets(limit).await,
            Self::Postgres(s) => Box::pin(s.dead_letter_tickets(limit)).await,
        }
    }
}
