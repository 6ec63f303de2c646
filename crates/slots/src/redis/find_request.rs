//! Finds the requests of tickets in a slot's memory. This search is needed only if the store
//! decided a ticket from its id alone and the ticket has left the queue. In all other cases, the
//! feed row or the queue has the request. The search takes small steps, so that the server handles
//! other calls in between. One search finds the requests of many tickets.
use doorbuster_core::{SlotKey, Token};
use redis::{Cmd, Value};

use super::calls::{FoundRequests, RowsByToken};
use super::codec::{array, text};
use super::failure::{RedisFailure, unexpected_reply};
use super::keys::Keys;
use super::limits::SEARCH_STEP;
use super::routes::Routes;

/// A search begins with this cursor. The search is complete when a step returns this cursor again.
const START: &str = "0";
/// Tells the script that the caller searched for the request and did not find it.
const MISSING: &[u8] = b"-";

/// A search for the requests of several tickets.
pub(super) struct Search {
    /// The rows of the tickets that are not found yet.
    rows: RowsByToken,
    found: FoundRequests,
    cursor: String,
}

impl Search {
    pub(super) fn new(rows: RowsByToken) -> Self {
        Self { rows, found: FoundRequests::new(), cursor: START.to_owned() }
    }

    pub(super) fn next_step(&self, keys: &Keys) -> Cmd {
        let mut call = Cmd::new();
        call.arg("HSCAN").arg(keys.requests()).arg(&self.cursor).arg("COUNT").arg(SEARCH_STEP);
        call
    }

    /// Takes the reply to a step. Returns whether the search has ended.
    pub(super) fn take(&mut self, reply: Value) -> Result<bool, RedisFailure> {
        let mut parts = array(reply)?.into_iter();
        self.cursor = text(&parts.next().unwrap_or_default())?.to_owned();
        let mut words = array(parts.next().unwrap_or_default())?.into_iter();
        while let (Some(hash), Some(value)) = (words.next(), words.next()) {
            // The ticket's token is the last word of the value.
            let token = text(&value)?.rsplit(' ').next().and_then(|token| token.parse().ok());
            let Some(rows) = token.and_then(|token| self.rows.remove(&Token(token))) else {
                continue;
            };
            let Value::BulkString(hash) = hash else { return Err(unexpected_reply(&hash)) };
            self.found.extend(rows.into_iter().map(|row| (row, hash.clone())));
        }
        Ok(self.rows.is_empty() || self.cursor == START)
    }

    /// Returns the hash of each row's request.
    pub(super) fn into_found(mut self) -> FoundRequests {
        let missing = self.rows.into_values().flatten();
        self.found.extend(missing.map(|row| (row, MISSING.to_vec())));
        self.found
    }
}

/// Returns the hashes of the requests whose tickets have these tokens.
pub(super) async fn find_requests(
    routes: &Routes,
    slot: SlotKey,
    keys: &Keys,
    rows: RowsByToken,
) -> Result<FoundRequests, RedisFailure> {
    let mut search = Search::new(rows);
    loop {
        let reply = routes.server(slot)?.link.ask(&search.next_step(keys)).await?;
        if search.take(reply)? {
            return Ok(search.into_found());
        }
    }
}
