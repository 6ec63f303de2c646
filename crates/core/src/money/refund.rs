//! Refunds: a payment gets at most one refund. The server requests the refund until the provider
//! accepts it. The refund is settled when the money arrives at the buyer.
use super::{Payment, Refund, RefundCause, RefundId, RefundState};
use crate::backoff::{backoff_ms, with_jitter};
use crate::ledger::Ledger;
use crate::limits::REFUND_TRIES_MAX;
use crate::rules::{Rule, enforces};
use crate::value::Millis;

/// The error of a refund begins with this prefix if the money came back to the shop and the
/// provider has not accepted the refund again.
const CAME_BACK_PREFIX: &str = "came back: ";
/// The error of a refund begins with this prefix if the provider has accepted the refund again
/// after the money came back. The prefix shows that a late message may be about the earlier
/// attempt. The server deletes the error when the money arrives.
const CAME_BACK_ONCE_PREFIX: &str = "came back once: ";

/// Creates the refund of a payment, or returns the refund that the payment already has.
pub(crate) fn refund<L: Ledger + ?Sized>(
    ledger: &mut L,
    payment: &Payment,
    cause: RefundCause,
    now: Millis,
) -> Result<Refund, L::Error> {
    let id = RefundId::for_payment(&payment.id);
    if let Some(refund) = ledger.refund(&id)?
        && enforces(Rule::RefundOnce)
    {
        return Ok(refund);
    }
    let refund = Refund {
        id,
        payment: payment.id.clone(),
        provider: payment.provider.clone(),
        order: payment.order.clone(),
        money: payment.money.clone(),
        cause,
        state: RefundState::Pending,
        accepted: false,
        tries: 0,
        next_at: now,
        error: None,
        at: now,
        settled_at: None,
    };
    ledger.put_refund(&refund)?;
    Ok(refund)
}

impl Refund {
    /// Returns the idempotency key of a request to refund the money. Within one try the key stays
    /// the same, so the provider sends the money once.
    ///
    /// A provider may always repeat its first answer to a key, even if this answer was an error. So
    /// a new try after an error has a new key. Before the new try, the caller must ask the provider
    /// whether an earlier try already sent the money.
    #[must_use]
    pub fn request_key(&self) -> String {
        let id = if enforces(Rule::RefundUnderItsKey) { &self.id.0 } else { "refund" };
        match self.error {
            None => id.to_owned(),
            Some(_) => format!("{id}_{}", self.next_at.0),
        }
    }
}

/// A provider's report about a refund.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RefundUpdate {
    /// The provider accepted the request. The server must query the refund's progress later.
    Accepted {
        /// The pause before the next query, in milliseconds.
        again_ms: i64,
    },
    /// The money arrived.
    Settled,
    /// This amount arrived, in minor units. If it is less than the refund, a person returned the
    /// rest by hand. Then only a query to the provider tells the state of the refund.
    Arrived(i64),
    /// The provider refused the request, or did not answer.
    Failed(String),
    /// The provider accepted the request, but the money came back or was never sent. The provider
    /// does not send the money again by itself. This report can come even after a report that the
    /// money arrived.
    CameBack(String),
    /// A person returned money by hand, or a message may be about an earlier attempt. Only a query
    /// to the provider tells the state of the refund.
    CheckAgain {
        /// Whether money that was sent to the buyer came back to the shop. If so, even a settled
        /// refund is checked again.
        lost: bool,
    },
}

/// The result of a provider's message about a refund.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefundMessageOutcome {
    /// The message was applied.
    Applied,
    /// The message was handled before.
    Repeated,
    /// No such refund exists, so the message was not handled.
    NoRefund,
}

/// Applies a provider's report about a refund. Returns the new state of the refund, or `None` if no
/// such refund exists.
pub fn apply_refund_update<L: Ledger + ?Sized>(
    ledger: &mut L,
    id: &RefundId,
    update: &RefundUpdate,
    now: Millis,
) -> Result<Option<Refund>, L::Error> {
    let Some(mut refund) = ledger.refund(id)? else { return Ok(None) };
    let update = match update {
        RefundUpdate::Arrived(minor) if *minor < refund.money.minor => {
            &RefundUpdate::Accepted { again_ms: 0 }
        }
        update => update,
    };
    let came_back = has_come_back(&refund);
    let is_over = match refund.state {
        RefundState::Pending => false,
        RefundState::Settled => enforces(Rule::SettledStays),
        RefundState::Failed => came_back,
    };
    // A settled refund changes only if money came back, and this money is or may be the money of
    // the refund. A failed refund whose money came back waits for an operator.
    let undoes = match update {
        RefundUpdate::CameBack(_) => enforces(Rule::CameBackUndoes),
        RefundUpdate::CheckAgain { lost } => *lost && refund.state == RefundState::Settled,
        _ => false,
    };
    if is_over && !undoes {
        return Ok(Some(refund));
    }
    match update {
        RefundUpdate::CheckAgain { .. } => {
            // The server only queries a refund in a final state, and does not request it again. The
            // tries start at 0 again, so that one failed query does not make the refund fail.
            if refund.state != RefundState::Pending {
                refund.accepted = true;
                refund.tries = 0;
            }
            refund.state = RefundState::Pending;
            refund.settled_at = None;
            refund.next_at = now;
        }
        RefundUpdate::Accepted { again_ms } => {
            // The server may have given up this refund before it learned of the acceptance.
            refund.state = RefundState::Pending;
            refund.accepted = true;
            refund.tries = 0;
            refund.error = came_back_once_error(&refund);
            refund.next_at = now.plus(*again_ms);
        }
        RefundUpdate::Settled | RefundUpdate::Arrived(_) => {
            refund.state = RefundState::Settled;
            refund.error = None;
            refund.settled_at = Some(now);
        }
        RefundUpdate::Failed(error) => {
            refund.tries += 1;
            refund.error = Some(format!("{}{error}", error_prefix(&refund)));
            refund.next_at = now.plus(with_jitter(backoff_ms(refund.tries), retry_jitter(&refund)));
            if refund.tries >= REFUND_TRIES_MAX && enforces(Rule::RefundTriesBounded) {
                refund.state = RefundState::Failed;
            }
        }
        RefundUpdate::CameBack(why) => {
            refund.state = RefundState::Failed;
            refund.accepted = false;
            refund.tries = 0;
            refund.error = Some(format!("{CAME_BACK_PREFIX}{why}"));
            refund.settled_at = None;
        }
    }
    ledger.put_refund(&refund)?;
    Ok(Some(refund))
}

/// Applies the provider's answer about `requested`, the refund as it was when the server contacted
/// the provider. If the refund has changed since then, the answer may be outdated. An outdated
/// failure is recorded, and any other outdated answer is ignored or leads to a new query. Returns
/// the new state of the refund, or `None` if no such refund exists.
pub fn apply_refund_answer<L: Ledger + ?Sized>(
    ledger: &mut L,
    requested: &Refund,
    update: &RefundUpdate,
    now: Millis,
) -> Result<Option<Refund>, L::Error> {
    let Some(refund) = ledger.refund(&requested.id)? else { return Ok(None) };
    if refund == *requested || !enforces(Rule::AnswerMayBeOld) {
        return apply_refund_update(ledger, &requested.id, update, now);
    }
    let update = match update {
        RefundUpdate::Failed(_) => update,
        // `Accepted` and `Settled` both say that the provider accepted the request. So the server
        // only queries the refund's progress.
        RefundUpdate::Accepted { .. } | RefundUpdate::Settled if !has_come_back(&refund) => {
            &RefundUpdate::Accepted { again_ms: 0 }
        }
        RefundUpdate::CameBack(_) if refund.state == RefundState::Settled => {
            &RefundUpdate::CheckAgain { lost: true }
        }
        _ => return Ok(Some(refund)),
    };
    apply_refund_update(ledger, &requested.id, update, now)
}

/// Returns the number that determines the jitter of the next pause. All nodes compute the same
/// number.
fn retry_jitter(refund: &Refund) -> u32 {
    let hash = blake3::hash(format!("{} {}", refund.id.0, refund.tries).as_bytes());
    let [a, b, c, d, ..] = *hash.as_bytes();
    u32::from_be_bytes([a, b, c, d])
}

fn has_come_back(refund: &Refund) -> bool {
    error_prefix(refund) == CAME_BACK_PREFIX
}

/// Returns which of the two prefixes the refund's error has, or an empty text.
fn error_prefix(refund: &Refund) -> &'static str {
    let begins = |mark: &&str| refund.error.as_deref().is_some_and(|error| error.starts_with(mark));
    [CAME_BACK_PREFIX, CAME_BACK_ONCE_PREFIX].into_iter().find(begins).unwrap_or_default()
}

/// Returns the error that the refund keeps until the money arrives at the buyer. Returns `None` if
/// the money never came back.
fn came_back_once_error(refund: &Refund) -> Option<String> {
    let error = refund.error.as_deref()?;
    let why = error
        .strip_prefix(CAME_BACK_PREFIX)
        .or_else(|| error.strip_prefix(CAME_BACK_ONCE_PREFIX))?;
    Some(format!("{CAME_BACK_ONCE_PREFIX}{why}"))
}

/// Makes the server request a failed refund again. Returns `None` if no failed refund has this id.
pub fn retry_refund<L: Ledger + ?Sized>(
    ledger: &mut L,
    id: &RefundId,
    now: Millis,
) -> Result<Option<Refund>, L::Error> {
    let Some(mut refund) = ledger.refund(id)?.filter(|r| r.state == RefundState::Failed) else {
        return Ok(None);
    };
    refund.state = RefundState::Pending;
    refund.accepted = false;
    refund.tries = 0;
    refund.next_at = now;
    ledger.put_refund(&refund)?;
    Ok(Some(refund))
}

/// Applies a provider's message about a refund. The message has the id of the refund or of its
/// payment.
pub fn apply_refund_message<L: Ledger + ?Sized>(
    ledger: &mut L,
    provider: &str,
    event: &str,
    id: &RefundId,
    update: &RefundUpdate,
    now: Millis,
) -> Result<RefundMessageOutcome, L::Error> {
    if ledger.inbox(provider, event)? && enforces(Rule::InboxOnce) {
        return Ok(RefundMessageOutcome::Repeated);
    }
    // If no such refund exists, the message may be about a reversal, which the caller handles.
    let Some(refund) = ledger.refund(id)? else { return Ok(RefundMessageOutcome::NoRefund) };
    ledger.insert_inbox(provider, event, now)?;
    let question = RefundUpdate::CheckAgain { lost: matches!(update, RefundUpdate::CameBack(_)) };
    let update = if may_be_old(&refund, update) { &question } else { update };
    apply_refund_update(ledger, id, update, now)?;
    Ok(RefundMessageOutcome::Applied)
}

/// Returns whether a message may be about an earlier attempt. If so, the server queries the
/// provider.
fn may_be_old(refund: &Refund, update: &RefundUpdate) -> bool {
    let came_back_before = || came_back_once_error(refund).is_some() && enforces(Rule::OldNewsAsk);
    match update {
        RefundUpdate::Accepted { .. } | RefundUpdate::Settled | RefundUpdate::Arrived(_) => {
            refund.state != RefundState::Settled && came_back_before()
        }
        // A provider can send several messages about one failed attempt. The error of a settled
        // refund does not show whether there was an earlier attempt. So each such message may be
        // about an earlier attempt.
        RefundUpdate::CameBack(_) => match refund.state {
            RefundState::Pending => came_back_before(),
            RefundState::Settled => enforces(Rule::CameBackUndoes),
            RefundState::Failed => false,
        },
        RefundUpdate::Failed(_) | RefundUpdate::CheckAgain { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::money::{Money, PaymentId};

    fn refund(payment: &str, error: Option<&str>, next_at: i64) -> Refund {
        let payment = PaymentId(payment.to_owned());
        Refund {
            id: RefundId::for_payment(&payment),
            payment,
            provider: "sandbox".into(),
            order: "ord_1".into(),
            money: Money { minor: 700, currency: "EUR".into() },
            cause: RefundCause::Operator,
            state: RefundState::Pending,
            accepted: false,
            tries: 0,
            next_at: Millis(next_at),
            error: error.map(str::to_owned),
            at: Millis(0),
            settled_at: None,
        }
    }

    #[test]
    fn each_try_of_a_refund_has_one_key_of_its_own() {
        let first = refund("pay_1", None, 10).request_key();
        assert_eq!(first, refund("pay_1", None, 20).request_key());
        let second = refund("pay_1", Some("refused"), 30).request_key();
        assert_eq!(second, refund("pay_1", Some("refused"), 30).request_key());
        let third = refund("pay_1", Some("refused"), 40).request_key();
        let other = refund("pay_2", None, 10).request_key();
        let keys = std::collections::BTreeSet::from([first, second, third, other]);
        assert_eq!(keys.len(), 4, "{keys:?}");
    }
}
