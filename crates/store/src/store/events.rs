//! Reads events in the order in which they are delivered.
use doorbuster_core::TicketId;

use crate::contract::{EventRead, StoredEvent};
use crate::rows::events;
use crate::rows::events::select_events;
use crate::sql::{Statement, as_limit, values};

use super::{Store, StoreResult};

pub(super) const LAST_POSITION: Statement =
    Statement { sqlite: "SELECT max(seq) FROM event", postgres: "SELECT position FROM event_turn" };
const EVENTS_AFTER: Statement = Statement {
    sqlite: select_events!("e.seq", "WHERE e.seq > $1 ORDER BY e.seq LIMIT $2"),
    postgres: select_events!("e.position", "WHERE e.position > $1 ORDER BY e.position LIMIT $2"),
};
pub(super) const EVENT_AT: Statement = Statement {
    sqlite: select_events!("e.seq", "WHERE e.seq = $1"),
    postgres: select_events!("e.position", "WHERE e.position = $1"),
};
macro_rules! history {
    ($position:literal) => {
        select_events!(
            $position,
            "WHERE e.grant_id IS NOT NULL AND e.grant_id = $1 AND e.n = $2 AND o.id = $3
             ORDER BY e.seq"
        )
    };
}
const HISTORY: Statement =
    Statement { sqlite: history!("e.seq"), postgres: history!("e.position") };

impl Store {
    /// Assigns positions to at most `limit` committed events, and returns their number. Does
    /// nothing in SQLite, where the commit itself assigns positions.
    pub async fn sequence_events(&self, limit: usize) -> StoreResult<usize> {
        match self {
            Self::Sqlite(_) => Ok(0),
            Self::Postgres(s) => Box::pin(s.sequence_events(limit)).await,
        }
    }

    /// Returns at most `limit` events after this position, sorted by position. After an event was
    /// read, no new event gets a lower position. If a row cannot be read, the other rows are still
    /// returned.
    pub async fn events_after(&self, position: i64, limit: usize) -> StoreResult<Vec<EventRead>> {
        self.all(EVENTS_AFTER, values![position, as_limit(limit)], events::read).await
    }

    /// Returns the event at this position, or `None` if the event was deleted.
    pub async fn event_at(&self, position: i64) -> StoreResult<Option<EventRead>> {
        self.one(EVENT_AT, values![position], events::read).await
    }

    /// Returns the events of an order, and of the payments that named the order, oldest first. The
    /// list lacks rows that cannot be read.
    pub async fn history(&self, id: TicketId) -> StoreResult<Vec<StoredEvent>> {
        let Some(parts) = id.parts() else { return Ok(Vec::new()) };
        let found = self.all(HISTORY, values![parts.grant, parts.n, id], events::read).await?;
        Ok(found.into_iter().filter_map(EventRead::ok).collect())
    }
}
