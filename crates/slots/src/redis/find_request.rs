//! Finds a request in a slot's memory by its ticket. The store can decide a ticket from the
//! ticket's id alone. If that ticket has left the queue, only this search finds the request. The
//! memory may be large, so the search takes small steps, and the server answers other calls between
//! them.
use doorbuster_core::{SlotKey, Token};
use redis::{Cmd, Value};

use super::codec::{array, text};
use super::failure::{RedisFailure, unexpected_reply};
use super::keys::Keys;
use super::limits::SEARCH_STEP;
use super::routes::Routes;

/// Returns the hash of the request that got the ticket with this token.
pub(super) async fn find_request(
    routes: &Routes,
    slot: SlotKey,
    keys: &Keys,
    token: Token,
) -> Result<Option<Vec<u8>>, RedisFailure> {
    let ends_with = format!(" {token}");
    let mut cursor = "0".to_owned();
    loop {
        let mut call = Cmd::new();
        call.arg("HSCAN").arg(keys.requests()).arg(&cursor).arg("COUNT").arg(SEARCH_STEP);
        let mut parts = array(routes.server(slot)?.link.ask(&call).await?)?.into_iter();
        cursor = text(&parts.next().unwrap_or_default())?.to_owned();
        let mut words = array(parts.next().unwrap_or_default())?.into_iter();
        while let (Some(hash), Some(value)) = (words.next(), words.next()) {
            if text(&value)?.ends_with(&ends_with) {
                return match hash {
                    Value::BulkString(hash) => Ok(Some(hash)),
                    other => Err(unexpected_reply(&other)),
                };
            }
        }
        if cursor == "0" {
            return Ok(None);
        }
    }
}
