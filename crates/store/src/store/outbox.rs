//! The outbox: events in their order of delivery, endpoints and their progress, and dead letters.
use doorbuster_core::NodeId;
use doorbuster_core::outbox::{PendingDelivery, PositionAdvance, RowChange};

use crate::contract::{
    DeadLetter, DeadLetterContent, DeadLetterCounts, DeadLetterId, DeadLetterKind,
    DeadLetterOutcome, Delivery, DeliveryQuery, Endpoint, EndpointChange, EndpointStatus,
    EventRead, NewEndpoint, OutboxPage, Redelivery, RetentionCutoffs,
};

use super::{Store, StoreResult};

/// Events in order.
impl Store {
    /// Assigns positions to at most `limit` committed events, and returns their number. Does
    /// nothing if the commit itself assigns positions.
    pub async fn sequence_events(&self, limit: usize) -> StoreResult<usize> {
        match self {
            Self::Sqlite(_) => Ok(0),
            Self::Postgres(s) => Box::pin(s.sequence_events(limit)).await,
        }
    }

    /// Returns the position of the last event that has one, or 0 if no event has a position.
    pub async fn last_position(&self) -> StoreResult<i64> {
        match self {
            Self::Sqlite(s) => s.last_position().await,
            Self::Postgres(s) => Box::pin(s.last_position()).await,
        }
    }

    /// Returns at most `limit` events after this position, in order. A later call never returns an
    /// event before one that was already read. A row that cannot be read hides no other row.
    pub async fn events_after(&self, position: i64, limit: usize) -> StoreResult<Vec<EventRead>> {
        match self {
            Self::Sqlite(s) => s.events_after(position, limit).await,
            Self::Postgres(s) => Box::pin(s.events_after(position, limit)).await,
        }
    }

    /// Returns the event at this position, or nothing if the event was deleted.
    pub async fn event_at(&self, position: i64) -> StoreResult<Option<EventRead>> {
        match self {
            Self::Sqlite(s) => s.event_at(position).await,
            Self::Postgres(s) => Box::pin(s.event_at(position)).await,
        }
    }

    /// Deletes at most `limit` rows of each kind that are not needed any more, and returns their
    /// number.
    pub async fn delete_expired(&self, what: RetentionCutoffs, limit: usize) -> StoreResult<usize> {
        match self {
            Self::Sqlite(s) => s.delete_expired(what, limit).await,
            Self::Postgres(s) => Box::pin(s.delete_expired(what, limit)).await,
        }
    }
}

/// Endpoints.
impl Store {
    /// Returns every endpoint, oldest first.
    pub async fn endpoints(&self) -> StoreResult<Vec<Endpoint>> {
        match self {
            Self::Sqlite(s) => s.endpoints().await,
            Self::Postgres(s) => Box::pin(s.endpoints()).await,
        }
    }

    /// Adds an endpoint, which receives the events that happen from now on. Returns `None` if there
    /// are already `most` endpoints.
    pub async fn insert_endpoint(
        &self,
        new: NewEndpoint,
        most: usize,
    ) -> StoreResult<Option<Endpoint>> {
        match self {
            Self::Sqlite(s) => s.insert_endpoint(new, most).await,
            Self::Postgres(s) => Box::pin(s.insert_endpoint(new, most)).await,
        }
    }

    /// Changes an endpoint. Returns `None` if the endpoint does not exist.
    pub async fn update_endpoint(
        &self,
        id: &str,
        change: EndpointChange,
    ) -> StoreResult<Option<Endpoint>> {
        match self {
            Self::Sqlite(s) => s.update_endpoint(id, change).await,
            Self::Postgres(s) => Box::pin(s.update_endpoint(id, change)).await,
        }
    }

    /// Removes an endpoint with all its deliveries. Returns false if the endpoint does not exist.
    pub async fn delete_endpoint(&self, id: &str) -> StoreResult<bool> {
        match self {
            Self::Sqlite(s) => s.delete_endpoint(id).await,
            Self::Postgres(s) => Box::pin(s.delete_endpoint(id)).await,
        }
    }

    /// Takes or renews the lease of an endpoint for this node; 0 releases the lease. The lease only
    /// saves work. If two nodes deliver to the endpoint, it gets events twice and misses none.
    pub async fn lease_endpoint(&self, id: &str, node: NodeId, lease_ms: i64) -> StoreResult<bool> {
        match self {
            Self::Sqlite(s) => s.lease_endpoint(id, node, lease_ms).await,
            Self::Postgres(s) => Box::pin(s.lease_endpoint(id, node, lease_ms)).await,
        }
    }

    /// Returns the progress of each endpoint, oldest endpoint first.
    pub async fn endpoint_statuses(&self) -> StoreResult<Vec<EndpointStatus>> {
        match self {
            Self::Sqlite(s) => s.endpoint_statuses().await,
            Self::Postgres(s) => Box::pin(s.endpoint_statuses()).await,
        }
    }
}

/// Pending deliveries.
impl Store {
    /// Moves an endpoint's position, and inserts the deliveries that failed before the new
    /// position. Returns false if the endpoint is not at the position that the caller expects.
    pub async fn advance_endpoint(&self, id: &str, progress: PositionAdvance) -> StoreResult<bool> {
        match self {
            Self::Sqlite(s) => s.advance_endpoint(id, progress).await,
            Self::Postgres(s) => Box::pin(s.advance_endpoint(id, progress)).await,
        }
    }

    /// Returns at most `limit` pending deliveries of an endpoint, by position.
    pub async fn pending_deliveries(
        &self,
        id: &str,
        limit: usize,
    ) -> StoreResult<Vec<PendingDelivery>> {
        match self {
            Self::Sqlite(s) => s.pending_deliveries(id, limit).await,
            Self::Postgres(s) => Box::pin(s.pending_deliveries(id, limit)).await,
        }
    }

    /// Records the results of attempts. A delivery that is no longer pending does not change.
    pub async fn record_deliveries(&self, id: &str, notes: Vec<RowChange>) -> StoreResult<()> {
        match self {
            Self::Sqlite(s) => s.record_deliveries(id, notes).await,
            Self::Postgres(s) => Box::pin(s.record_deliveries(id, notes)).await,
        }
    }

    /// Returns a page of the deliveries of an endpoint.
    pub async fn deliveries(&self, query: DeliveryQuery) -> StoreResult<OutboxPage<Delivery>> {
        match self {
            Self::Sqlite(s) => s.deliveries(query).await,
            Self::Postgres(s) => Box::pin(s.deliveries(query)).await,
        }
    }

    /// Delivers one event to an endpoint again, whatever its state is. At most `most` deliveries
    /// may be pending.
    pub async fn redeliver(&self, id: &str, position: i64, most: usize) -> StoreResult<Redelivery> {
        match self {
            Self::Sqlite(s) => s.redeliver(id, position, most).await,
            Self::Postgres(s) => Box::pin(s.redeliver(id, position, most)).await,
        }
    }
}

/// Dead letters of every kind.
impl Store {
    /// Returns a page of the unresolved dead letters of one kind, newest first.
    pub async fn list_dead_letters(
        &self,
        kind: DeadLetterKind,
        after: Option<i64>,
        limit: usize,
    ) -> StoreResult<OutboxPage<DeadLetter>> {
        match self {
            Self::Sqlite(s) => s.list_dead_letters(kind, after, limit).await,
            Self::Postgres(s) => Box::pin(s.list_dead_letters(kind, after, limit)).await,
        }
    }

    /// Returns one dead letter with its content, or `None` if it does not exist or an operator has
    /// resolved it.
    pub async fn dead_letter(
        &self,
        id: DeadLetterId,
    ) -> StoreResult<Option<(DeadLetter, DeadLetterContent)>> {
        match self {
            Self::Sqlite(s) => s.dead_letter(id).await,
            Self::Postgres(s) => Box::pin(s.dead_letter(id)).await,
        }
    }

    /// Retries a dead letter, starting from the first attempt. At most `most` deliveries may be
    /// pending at its endpoint.
    pub async fn retry_dead_letter(
        &self,
        id: DeadLetterId,
        most: usize,
    ) -> StoreResult<DeadLetterOutcome> {
        if let DeadLetterId::Refund(refund) = id {
            let retried = self.retry_refund(refund).await?;
            return Ok(if retried.is_some() {
                DeadLetterOutcome::Done
            } else {
                DeadLetterOutcome::NotFound
            });
        }
        match self {
            Self::Sqlite(s) => s.retry_dead_letter(id, most).await,
            Self::Postgres(s) => Box::pin(s.retry_dead_letter(id, most)).await,
        }
    }

    /// Discards a dead letter, and stores the reason. Returns false if it does not exist, or an
    /// operator has resolved it.
    pub async fn discard_dead_letter(&self, id: DeadLetterId, why: String) -> StoreResult<bool> {
        if let DeadLetterId::Refund(refund) = id {
            return self.discard_refund(refund, why).await;
        }
        match self {
            Self::Sqlite(s) => s.discard_dead_letter(id, why).await,
            Self::Postgres(s) => Box::pin(s.discard_dead_letter(id, why)).await,
        }
    }

    /// Returns the number of unresolved dead letters of each kind.
    pub async fn dead_letter_counts(&self) -> StoreResult<DeadLetterCounts> {
        match self {
            Self::Sqlite(s) => s.dead_letter_counts().await,
            Self::Postgres(s) => Box::pin(s.dead_letter_counts()).await,
        }
    }
}
