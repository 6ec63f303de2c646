//! Money that goes back: decided once for a payment, asked for until the provider took it, settled
//! when it arrived.
use super::{Payment, Refund, RefundCause, RefundId, RefundState};
use crate::ledger::Ledger;
use crate::limits::{REFUND_TRIES_MAX, backoff_ms, with_jitter};
use crate::rules::{Rule, enforces};
use crate::value::Millis;

/// What the error of a refund begins with whose money came back, until the provider takes it anew.
const CAME_BACK_PREFIX: &str = "came back: ";
/// And from then on until the money arrived: a message that comes late may be about what came back.
const CAME_BACK_ONCE_PREFIX: &str = "came back once: ";

/// Decides the one refund of a payment.
pub(crate) fn refund<L: Ledger>(
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

/// What a provider said of a refund.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RefundUpdate {
    /// It took the request; it is asked again how far that is, after so many milliseconds.
    Accepted {
        /// When it is asked next, from now.
        again_ms: i64,
    },
    /// The money arrived.
    Settled,
    /// So much of it arrived, in minor units. If that is less than all of it, the rest was given
    /// back by hand: how far all of it is, only the provider's answer to a question says.
    Arrived(i64),
    /// It refused, or could not be reached.
    Failed(String),
    /// It took the request, and the money came back, or never left: it does nothing more by itself,
    /// even if it said before that the money arrived.
    CameBack(String),
    /// Somebody gave back some or all of its payment by hand: how far the refund is, only the
    /// provider's answer to a question says.
    CheckAgain {
        /// That came to nothing, and may have been counted as this refund.
        lost: bool,
    },
}

/// What a provider's message about a refund came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefundMessageOutcome {
    /// It was taken.
    Applied,
    /// It was taken before.
    Repeated,
    /// There is no such refund: the message was not taken.
    NoRefund,
}

/// Takes what a provider said of a refund. `None`: there is no such refund; else the refund as it
/// is now.
pub fn apply_refund_update<L: Ledger>(
    ledger: &mut L,
    id: &RefundId,
    news: &RefundUpdate,
    now: Millis,
) -> Result<Option<Refund>, L::Error> {
    let Some(mut refund) = ledger.refund(id)? else { return Ok(None) };
    let news = match news {
        RefundUpdate::Arrived(minor) if *minor < refund.money.minor => {
            &RefundUpdate::Accepted { again_ms: 0 }
        }
        news => news,
    };
    let came_back = has_come_back(&refund);
    let is_over = match refund.state {
        RefundState::Pending => false,
        RefundState::Settled => enforces(Rule::SettledStays),
        RefundState::Failed => came_back,
    };
    // Money that came back is the one thing that can follow on money that arrived, and nothing
    // follows on that but an operator.
    let undoes = match news {
        RefundUpdate::CameBack(_) => enforces(Rule::CameBackUndoes),
        RefundUpdate::CheckAgain { lost } => *lost && refund.state == RefundState::Settled,
        _ => false,
    };
    if is_over && !undoes {
        return Ok(Some(refund));
    }
    match news {
        RefundUpdate::CheckAgain { .. } => {
            // What was over is only looked at: nothing of it is sent anew without an operator. One
            // question in vain is not the last one.
            if refund.state != RefundState::Pending {
                refund.accepted = true;
                refund.tries = 0;
            }
            refund.state = RefundState::Pending;
            refund.settled_at = None;
            refund.next_at = now;
        }
        RefundUpdate::Accepted { again_ms } => {
            // One that was given up because no answer came: it is on its way after all.
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

/// Takes what a provider answered about a refund that it was asked about as it was `asked`. What
/// was said of the refund meanwhile may be newer than the answer: that stays, and the provider is
/// asked again where the two differ. A try in vain says nothing that could be old, and counts.
/// `None`: there is no such refund; else the refund as it is now.
pub fn answer_refund<L: Ledger>(
    ledger: &mut L,
    asked: &Refund,
    news: &RefundUpdate,
    now: Millis,
) -> Result<Option<Refund>, L::Error> {
    let Some(refund) = ledger.refund(&asked.id)? else { return Ok(None) };
    if refund == *asked || !enforces(Rule::AnswerMayBeOld) {
        return apply_refund_update(ledger, &asked.id, news, now);
    }
    let news = match news {
        RefundUpdate::Failed(_) => news,
        // The provider took the request at any rate: how far that is, is the question from now on.
        RefundUpdate::Accepted { .. } | RefundUpdate::Settled if !has_come_back(&refund) => {
            &RefundUpdate::Accepted { again_ms: 0 }
        }
        RefundUpdate::CameBack(_) if refund.state == RefundState::Settled => {
            &RefundUpdate::CheckAgain { lost: true }
        }
        _ => return Ok(Some(refund)),
    };
    apply_refund_update(ledger, &asked.id, news, now)
}

/// Chance enough for one try of one refund, and the same for whoever notes it.
fn retry_jitter(refund: &Refund) -> u32 {
    let hash = blake3::hash(format!("{} {}", refund.id.0, refund.tries).as_bytes());
    let [a, b, c, d, ..] = *hash.as_bytes();
    u32::from_be_bytes([a, b, c, d])
}

/// Whether its money came back, and the provider did not take it anew since.
fn has_come_back(refund: &Refund) -> bool {
    error_prefix(refund) == CAME_BACK_PREFIX
}

/// What a refund's error begins with that says whether its money came back, and whether the
/// provider took it anew since.
fn error_prefix(refund: &Refund) -> &'static str {
    let begins = |mark: &&str| refund.error.as_deref().is_some_and(|error| error.starts_with(mark));
    [CAME_BACK_PREFIX, CAME_BACK_ONCE_PREFIX].into_iter().find(begins).unwrap_or_default()
}

/// What is kept of the word that money came back, while the provider sends it anew. `None`: it
/// never did.
fn came_back_once_error(refund: &Refund) -> Option<String> {
    let error = refund.error.as_deref()?;
    let why = error
        .strip_prefix(CAME_BACK_PREFIX)
        .or_else(|| error.strip_prefix(CAME_BACK_ONCE_PREFIX))?;
    Some(format!("{CAME_BACK_ONCE_PREFIX}{why}"))
}

/// Asks the provider once more for a refund that was given up: anew, whatever it once took. `None`:
/// there is none that was.
pub fn retry_refund<L: Ledger>(
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

/// Takes a provider's message about a refund, by the refund's id or its payment's.
pub fn settle_refund<L: Ledger>(
    ledger: &mut L,
    provider: &str,
    event: &str,
    id: &RefundId,
    news: &RefundUpdate,
    now: Millis,
) -> Result<RefundMessageOutcome, L::Error> {
    if ledger.inbox(provider, event)? && enforces(Rule::InboxOnce) {
        return Ok(RefundMessageOutcome::Repeated);
    }
    // What names no refund of ours may be news of something else, which is taken once by itself.
    let Some(refund) = ledger.refund(id)? else { return Ok(RefundMessageOutcome::NoRefund) };
    ledger.insert_inbox(provider, event, now)?;
    // It may be news of what came back.
    let may_be_old = refund.state != RefundState::Settled
        && came_back_once_error(&refund).is_some()
        && enforces(Rule::OldNewsAsk);
    let is_old = may_be_old
        && matches!(
            news,
            RefundUpdate::Accepted { .. } | RefundUpdate::Settled | RefundUpdate::Arrived(_)
        );
    let news = if is_old { &RefundUpdate::CheckAgain { lost: false } } else { news };
    apply_refund_update(ledger, id, news, now)?;
    Ok(RefundMessageOutcome::Applied)
}
