//! Finds the request of a ticket in a slot's memory. Usually the slot finds the request in the
//! queue. But the store can also decide a ticket from its id alone. If such a ticket has left the
//! queue, only this search finds its request. The search takes small steps, so that the server
//! handles other calls in between.
use doorbuster_core::{SlotKey, Token};
use redis::{Cmd, Value};

use super::codec::{array, text};
use super::failure::{RedisFailure, unexpected_reply};
use super::keys::Keys;
use super::limits::SEARCH_STEP;
use super::routes::Routes;

/// A search begins with this cursor, and is complete when a step returns it.
pub(super) const START: &str = "0";

pub(super) struct Page {
    /// The hash of the request, if this step found it.
    pub(super) found: Option<Vec<u8>>,
    pub(super) next: String,
}

pub(super) fn scan(keys: &Keys, cursor: &str) -> Cmd {
    let mut call = Cmd::new();
    call.arg("HSCAN").arg(keys.requests()).arg(cursor).arg("COUNT").arg(SEARCH_STEP);
    call
}

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

/// Returns the hash of the request whose ticket has this token, or `None` if there is no such
/// request.
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
