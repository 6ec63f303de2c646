//! Builds the arguments of the scripts, and parses the replies, without a connection. For
//! `ticket.lua` and `view.lua`, the module `codec` does this.
use std::collections::HashMap;

use doorbuster_core::rows::FeedCause;
use doorbuster_core::slot::{ApplyOutcome, GrantTerms, RecallOutcome};
use doorbuster_core::{Epoch, FeedRow, GrantId, IdKey, RecallId, Seq, SlotKey, TicketParts, Token};
use redis::{Cmd, Value};

use super::codec::{self, number};
use super::failure::{RedisFailure, unexpected_reply};
use super::limits::{EPOCH_MAX, RETIRED_KEEP};
use crate::{DeliveryRef, SlotError};

/// For each feed row that the caller searched for, by the row's index: the hash of the row's
/// request, or "-" if the request was not found.
pub(super) type FoundRequests = HashMap<usize, Vec<u8>>;

/// Indices of feed rows, by the tokens of the rows' tickets.
pub(super) type RowsByToken = HashMap<Token, Vec<usize>>;

pub(super) fn check_epoch(slot: SlotKey, epoch: Epoch) -> Result<(), SlotError> {
    if epoch.0 <= EPOCH_MAX {
        return Ok(());
    }
    let reason = format!("epoch {epoch} of slot {slot} is above the maximum, {EPOCH_MAX}");
    Err(SlotError { reason, may_have_happened: false })
}

pub(super) fn init(call: &mut Cmd, terms: GrantTerms) {
    let GrantTerms { grant, epoch, counted, available, threshold } = terms;
    call.arg(grant.0).arg(epoch.0).arg(u8::from(counted)).arg(available).arg(threshold);
}

/// Adds the arguments of a call of `apply.lua`. All rows are of one grant.
pub(super) fn apply(
    call: &mut Cmd,
    key: &IdKey,
    epoch: Epoch,
    rows: &[FeedRow],
    found: &FoundRequests,
) {
    call.arg(rows[0].grant.0).arg(epoch.0);
    for (i, row) in rows.iter().enumerate() {
        feed_row(call, key, row, found.get(&i));
    }
}

/// Adds the arguments for one row. The row's ticket was issued for a request. `found` is that
/// request's hash. It is `None` if the caller did not search for the request.
fn feed_row(call: &mut Cmd, key: &IdKey, row: &FeedRow, found: Option<&Vec<u8>>) {
    let brings = matches!(row.cause, FeedCause::Refill | FeedCause::Recalled);
    call.arg(row.seq.0).arg(row.units).arg(row.counter.as_str()).arg(u8::from(brings));
    match &row.buyer {
        Some(buyer) => call.arg(&key.buyer_hash(buyer.as_str()).to_be_bytes()[..]),
        None => call.arg(""),
    };
    call.arg(row.quota_delta);
    let Some(parts) = returned_ticket(row) else {
        call.arg("").arg("").arg("");
        return;
    };
    call.arg(parts.token.0).arg(parts.n.0);
    match (&row.buyer, &row.key, found) {
        (.., Some(hash)) => call.arg(hash),
        (Some(buyer), Some(request), None) => {
            call.arg(&key.request_hash(buyer.as_str(), request.as_str()).0.to_be_bytes()[..])
        }
        _ => call.arg(""),
    };
}

/// If the row makes the slot forget the request of a returned ticket, returns this ticket.
fn returned_ticket(row: &FeedRow) -> Option<TicketParts> {
    row.ticket.filter(|_| row.cause == FeedCause::Returned)?.parts()
}

pub(super) enum Applied {
    /// Either the rows were applied, or nothing was applied because the slot has another grant or
    /// epoch.
    Outcome(ApplyOutcome),
    /// Nothing was applied yet, because the script needs the request of a ticket that is not in the
    /// queue. The map has all rows that lack their request, so the caller searches only once.
    NeedsRequests(RowsByToken),
}

pub(super) fn parse_apply_reply(
    reply: &Value,
    rows: &[FeedRow],
    found: &FoundRequests,
) -> Result<Applied, RedisFailure> {
    let unknown = match reply {
        Value::Array(values) => values.get(1).map(number).transpose()?,
        _ => None,
    };
    let Some(i) = unknown else { return outcome(reply).map(Applied::Outcome) };
    let needed = usize::try_from(i).unwrap_or(0).wrapping_sub(1);
    let mut unknown = RowsByToken::new();
    for (i, row) in rows.iter().enumerate() {
        let is_unknown = row.buyer.is_none() || row.key.is_none();
        if let Some(parts) = returned_ticket(row)
            && is_unknown
            && !found.contains_key(&i)
        {
            unknown.entry(parts.token).or_default().push(i);
        }
    }
    match unknown.values().flatten().any(|&row| row == needed) {
        true => Ok(Applied::NeedsRequests(unknown)),
        false => Err(unexpected_reply(reply)),
    }
}

/// Parses the reply of `init.lua`, or a reply of `apply.lua` that does not ask for requests.
pub(super) fn outcome(reply: &Value) -> Result<ApplyOutcome, RedisFailure> {
    match reply {
        Value::Array(values) => match values.first() {
            Some(seq) => Ok(ApplyOutcome::At(Seq(number(seq)?))),
            None => Ok(ApplyOutcome::Foreign),
        },
        other => Err(unexpected_reply(other)),
    }
}

/// Adds the arguments of a recall. `recalls_max` is the largest number of recalls that the slot
/// remembers.
pub(super) fn recall(
    call: &mut Cmd,
    id: RecallId,
    grant: GrantId,
    epoch: Epoch,
    units: u64,
    recalls_max: usize,
) {
    call.arg(id.0).arg(grant.0).arg(epoch.0).arg(units).arg(recalls_max);
}

pub(super) fn parse_recall_reply(reply: Value) -> Result<RecallOutcome, RedisFailure> {
    Ok(match codec::array(reply)?.first() {
        Some(taken) => RecallOutcome::Taken(number(taken)?),
        None => RecallOutcome::Refused,
    })
}

/// Adds the tickets to acknowledge. The tickets must be sorted by position.
pub(super) fn acknowledge(call: &mut Cmd, tickets: &[DeliveryRef]) {
    for ticket in tickets {
        call.arg(codec::entry_id(ticket.at)).arg(ticket.token.0);
    }
}

pub(super) fn stop(call: &mut Cmd, stopped: bool) {
    call.arg(u8::from(stopped));
}

pub(super) fn retire(call: &mut Cmd, closed: Option<Epoch>) {
    call.arg(RETIRED_KEEP.as_millis() as u64).arg(closed.map_or(EPOCH_MAX, |epoch| epoch.0));
}
