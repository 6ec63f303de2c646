//! Runs one transaction with the rules in `core`, on the simulator's model or on a real store.
use std::sync::Arc;

use doorbuster_core::event::Attribution;
use doorbuster_core::limits::WAITLIST_BATCH_MAX;
use doorbuster_core::settle::{self, TicketVerdict};
use doorbuster_core::{IdKey, Ledger, Millis, Ticket, money, order, recall, stock, waitlist};

use super::{Tx, TxResult};
use doorbuster_core::{CloseCause, Phase};

/// The name of the only provider.
pub const PROVIDER: &str = "sandbox";

/// Runs the transaction with the rules in `core`, and returns its result. `core` has no rows for
/// phases, so the caller must change these rows.
pub fn run<L: Ledger>(ledger: &mut L, key: &IdKey, tx: &Tx) -> Result<TxResult, L::Error> {
    Ok(match tx {
        Tx::Open(slot, id, units) => TxResult::Opened(stock::open(ledger, *slot, *id, *units)?),
        Tx::AckInit(id) => {
            stock::acknowledge_init(ledger, *id)?;
            TxResult::Nothing
        }
        Tx::Refill(id, units, into) => TxResult::Moved(stock::refill(ledger, *id, *units, *into)?),
        Tx::Close(id, cause) => TxResult::Closed(stock::close(ledger, *id, *cause)?),
        Tx::Adjust(item, delta, now) => {
            TxResult::AdjustResult(stock::adjust(ledger, *item, *delta, *now)?)
        }
        Tx::Settle(tickets, now) => TxResult::Settled(settle_all(ledger, key, tickets, *now)?),
        Tx::Force(id, parts, buyer, now) => {
            TxResult::Forced(settle::force_verdict(ledger, key, *id, parts, buyer, *now)?)
        }
        Tx::End(id, how, by, now) => TxResult::Ended(order::end(ledger, id, *how, by, *now)?),
        Tx::Extend(id, pay_by, now) => {
            TxResult::Ended(order::extend(ledger, id, *pay_by, Attribution::ENGINE, *now)?)
        }
        Tx::Capture(capture, last, now) => {
            TxResult::CaptureOutcome(money::capture(ledger, capture, *now, *last)?)
        }
        Tx::FailPayment(capture, now) => {
            TxResult::Taken(money::record_failure(ledger, capture, *now)?)
        }
        Tx::SettleRefund(event, id, update, now) => TxResult::Taken(
            money::apply_refund_message(ledger, PROVIDER, event, id, update, *now)?
                == money::RefundMessageOutcome::Applied,
        ),
        Tx::AnswerRefund(requested, update, now) => {
            TxResult::Refund(money::apply_refund_answer(ledger, requested, update, *now)?)
        }
        Tx::RetryRefund(id, now) => TxResult::Refund(money::retry_refund(ledger, id, *now)?),
        Tx::RecordReversal(report, now) => {
            TxResult::Reversal(money::record_reversal(ledger, report, *now)?)
        }
        Tx::KeepCheckout(checkout) => TxResult::Kept(money::keep_checkout(ledger, checkout)?),
        Tx::CloseCheckout(id, session) => {
            TxResult::Taken(money::close_checkout(ledger, id, session)?)
        }
        Tx::RecordUnanswered(id, session, now) => {
            TxResult::Taken(money::record_unanswered_check(ledger, id, session, *now)?)
        }
        Tx::RecallBegin(id, grant, target, units) => {
            TxResult::Recall(recall::begin(ledger, *id, *grant, *target, *units)?)
        }
        Tx::RecallFinish(id, taken) => TxResult::Moved(recall::finish(ledger, *id, *taken)?),
        Tx::Join(item, joiner, now) => {
            TxResult::JoinOutcome(waitlist::join(ledger, key, *item, joiner, *now)?)
        }
        Tx::Leave(id, now) => TxResult::LeaveOutcome(waitlist::leave(ledger, id, *now)?),
        Tx::Serve(item, now) => {
            let kept = ledger.item(*item)?.map_or(0, |item| item.kept_for_waitlist());
            let places = usize::try_from(kept).unwrap_or(usize::MAX).min(WAITLIST_BATCH_MAX);
            TxResult::Served(waitlist::serve(ledger, *item, places, *now)?)
        }
        Tx::EndWaitlist(item, now) => {
            let most = WAITLIST_BATCH_MAX;
            TxResult::WaitlistEnded(waitlist::end_with_sale(ledger, *item, most, *now)?)
        }
        Tx::Show(item, Some((phase, _))) => {
            let is_over = *phase == Phase::Closed;
            let cause = if is_over { CloseCause::Ended } else { CloseCause::Rolled };
            TxResult::Moved(stock::close_item_grants(ledger, *item, cause)?)
        }
        _ => TxResult::Nothing,
    })
}

fn settle_all<L: Ledger>(
    ledger: &mut L,
    key: &IdKey,
    tickets: &[Arc<Ticket>],
    now: Millis,
) -> Result<Vec<TicketVerdict>, L::Error> {
    tickets.iter().map(|ticket| settle::settle(ledger, key, ticket, now)).collect()
}
