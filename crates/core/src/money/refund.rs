//! Refunds: a payment gets at most one refund. The server requests the refund until the provider
//! accepts it. The refund is settled when the money arrives at the buyer.
use super::{Payment, Refund, RefundCause, RefundId, RefundState};
use crate::backoff::{backoff_ms, with_jitter};
use crate::ledger::Ledger;
use crate::limits::REFUND_TRIES_MAX;
use crate::rules::{Rule, enforces};
use crate::value::Millis;

/// A refund's error begins with this prefix while the money is back in the shop. The prefix stays
/// until the provider accepts the refund again.
const CAME_BACK_PREFIX: &str = "came back: ";
/// The prefix of a refund's error after the money came back and the provider then accepted the
/// refund again. The prefix shows that there was an earlier attempt, and that a late webhook may be
/// about it. When the money arrives at the buyer, the server deletes the error.
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
    /// Returns the idempotency key of a request to refund the money. All requests of one try have
    /// the same key, so the provider sends the money once.
    ///
    /// If the first answer to a key was an error, a provider may repeat this answer for every
    /// request with that key. So after an error, the next try has a new key. Before the next try,
    /// the caller must ask the provider whether an earlier try already sent the money.
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
    /// The provider accepted the request. Later, the server must ask for the progress of the
    /// refund.
    Accepted {
        /// The pause before the next query, in milliseconds.
        again_ms: i64,
    },
    /// The money arrived.
    Settled,
    /// This amount arrived, in minor units. If this amount is less than the amount of the refund, a
    /// person refunded the rest by hand. Then the server must query the provider to learn the
    /// refund's state.
    Arrived(i64),
    /// The provider refused the request, or did not answer. If this report comes from a webhook,
    /// the refund fails at once. Otherwise, the server tries again, until [`REFUND_TRIES_MAX`]
    /// tries have failed.
    Failed(String),
    /// The provider had accepted the request, but then the money came back or was never sent. The
    /// provider does not try again by itself. This report can come even after a report that the
    /// money arrived.
    CameBack(String),
    /// The report does not show the refund's state: a person refunded money by hand, or the webhook
    /// may be about an earlier attempt. The server must query the provider.
    CheckAgain {
        /// Whether money that was sent to the buyer came back to the shop. If so, the server also
        /// queries the provider about a refund that is already settled.
        lost: bool,
    },
}

/// The result of a provider's webhook about a refund.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefundMessageOutcome {
    /// The message was applied.
    Applied,
    /// The message was handled before.
    Repeated,
    /// No such refund exists, so nothing was changed.
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
    // A refund that failed because its money came back waits for an operator. A settled refund
    // changes only if a report says that money came back, because this may be the refund's money.
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
            // If the refund was in a final state, the server now only queries the provider. The
            // tries restart at 0, so that one failed query does not make the refund fail.
            if refund.state != RefundState::Pending {
                refund.accepted = true;
                refund.tries = 0;
            }
            refund.state = RefundState::Pending;
            refund.settled_at = None;
            refund.next_at = now;
        }
        RefundUpdate::Accepted { again_ms } => {
            // The server may have marked the refund as failed before it got this answer.
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

/// Applies the provider's answer to a request or query about a refund. `requested` is the refund as
/// it was when the server contacted the provider. If the refund has changed since then, the answer
/// may be outdated. In this case, only a failure is recorded. Any other answer is ignored, or makes
/// the server query the provider again. Returns the new state of the refund, or `None` if no such
/// refund exists.
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
        // The answer is older than the failure: the provider first accepted the request, and then
        // reported the failure in a message.
        RefundUpdate::Accepted { .. } if has_failed_by_message(&refund) => return Ok(Some(refund)),
        // Both `Accepted` and `Settled` say that the provider accepted the request. But the answer
        // may be outdated, so the server queries the provider about the progress.
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

/// Returns whether a message made the refund fail. A refund can also fail because the last of the
/// server's tries failed.
fn has_failed_by_message(refund: &Refund) -> bool {
    refund.state == RefundState::Failed && refund.tries < REFUND_TRIES_MAX
}

/// Returns the prefix with which the refund's error begins: one of the two prefixes, or an empty
/// text.
fn error_prefix(refund: &Refund) -> &'static str {
    let begins = |mark: &&str| refund.error.as_deref().is_some_and(|error| error.starts_with(mark));
    [CAME_BACK_PREFIX, CAME_BACK_ONCE_PREFIX].into_iter().find(begins).unwrap_or_default()
}

/// Returns the error that shows that the money once came back. The refund keeps this error until
/// the money arrives at the buyer. Returns `None` if the money never came back.
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

/// Applies a provider's webhook about a refund. The webhook names the refund, or the payment of the
/// refund.
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
    // The webhook may be about a reversal instead, which the caller processes.
    let Some(refund) = ledger.refund(id)? else { return Ok(RefundMessageOutcome::NoRefund) };
    ledger.insert_inbox(provider, event, now)?;
    let question = RefundUpdate::CheckAgain { lost: matches!(update, RefundUpdate::CameBack(_)) };
    let update = if may_be_old(&refund, update) { &question } else { update };
    let after = apply_refund_update(ledger, id, update, now)?;
    // The provider reports a failure in a message only after its last attempt, so a query would not
    // help.
    if let (RefundUpdate::Failed(_), Some(mut refund)) = (update, after)
        && refund.state == RefundState::Pending
    {
        refund.state = RefundState::Failed;
        ledger.put_refund(&refund)?;
    }
    Ok(RefundMessageOutcome::Applied)
}

/// Returns whether a webhook may be about an earlier attempt of this refund. If so, the server
/// queries the provider.
fn may_be_old(refund: &Refund, update: &RefundUpdate) -> bool {
    let came_back_before = || came_back_once_error(refund).is_some() && enforces(Rule::OldNewsAsk);
    match update {
        RefundUpdate::Accepted { .. } | RefundUpdate::Settled | RefundUpdate::Arrived(_) => {
            refund.state != RefundState::Settled && came_back_before()
        }
        // A provider can send several webhooks about one failed attempt. A settled refund has no
        // error, so it does not show whether an earlier attempt failed. So each of these webhooks
        // may be about an earlier attempt.
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
