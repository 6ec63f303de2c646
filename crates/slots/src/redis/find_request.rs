//! Finds a request in a slot's memory by its ticket. The store can decide a ticket from the
//! ticket's id alone. If that ticket has left the queue, only this search finds the request. The
//! memory may be large, so the search takes small steps, and the server answers other calls between
//! the steps.
use doorbuster_core::{SlotKey, Token};
use redis::{Cmd, Value};

use super::codec::{array, text};
use super::failure::{RedisFailure, unexpected_reply};
use super::keys::Keys;
use super::limits::SEARCH_STEP;
use super::routes::Routes;

/// The cursor with which a search begins. The search is complete when a step returns this cursor.
pub(super) const START: &str = "0";

/// The result of one step.
pub(super) struct Page {
    /// The hash of the request, if this step found it.
    pub(super) found: Option<Vec<u8>>,
    /// The cursor of the next step.
    pub(super) next: String,
}

/// Builds one step.
pub(super) fn scan(keys: &Keys, cursor: &str) -> Cmd {
    let mut call = Cmd::new();
    call.arg("HSCAN").arg(keys.requests()).arg(cursor).arg("COUNT").arg(SEARCH_STEP);
    call
}

/// Parses the reply to a step. `token` is the ticket's token.
pub(super) fn read_page(reply: Value, token: Token) -> Result<Page, RedisFailure> {
    let ends_with = format!(" {token}");
    let mut parts = array(reply)?.into_iter();
    let next = text(&parts.next().unwrap_or_default())?.to_owned();
    let mut words = array(parts.next().unwrap_or_default())?.into_iter();
    while let (Some(hash), Some(value)) = (words.next(), words.next()) {
        if text(&value)?.ends_with(&ends_with) {
            return match hash {
                Value::BulkString(hash) => Ok(Page { found: Some(hash), next }),
                other => Err(unexpected_reply(&other)),
            };
        }
    }
    Ok(Page { found: None, next })
}

/// Returns the hash of the request that got the ticket with this token.
pub(super) async fn find_request(
    routes: &Routes,
    slot: SlotKey,
    keys: &Keys,
    token: Token,
) -> Result<Option<Vec<u8>>, RedisFailure> {
    let mut cursor = START.to_owned();
    loop {
        let reply = routes.server(slot)?.link.ask(&scan(keys, &cursor)).await?;
        let page = read_page(reply, token)?;
        if page.found.is_some() || page.next == START {
            return Ok(page.found);
        }
        cursor = page.next;
    }
}
