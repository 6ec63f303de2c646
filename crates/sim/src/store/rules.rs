//! Runs one transaction of the rules over a ledger, either the model's or a real store's.
use std::sync::Arc;

use doorbuster_core::event::Attribution;
use doorbuster_core::limits::WAITLIST_BATCH_MAX;
use doorbuster_core::settle::{self, Resolved};
use doorbuster_core::{IdKey, Ledger, Millis, Ticket, money, order, recall, stock, waitlist};

use super::{Done, Tx};
use doorbuster_core::{CloseCause, Phase};

/// The name of the only provider.
pub const PROVIDER: &str = "sandbox";

/// Runs the transaction. It does not change rows outside of the rules (phases).
pub fn run<L: Ledger>(ledger: &mut L, key: &IdKey, tx: &Tx) -> Result<Done, L::Error> {
    Ok(match tx {
        Tx::Open(slot, id, units) => Done::Opened(stock::open(ledger, *slot, *id, *units)?),
        Tx::AckInit(id) => {
            stock::acknowledge_init(ledger, *id)?;
            Done::Nothing
        }
        Tx::Refill(id, units, counter) => {
            Done::Moved(stock::refill(ledger, *id, *units, *counter)?)
        }
        Tx::Close(id, cause) => Done::Closed(stock::close(ledger, *id, *cause)?),
        Tx::Adjust(item, delta, now) => {
            Done::AdjustResult(stock::adjust(ledger, *item, *delta, *now)?)
        }
        Tx::Settle(tickets, now) => Done::Settled(settle_all(ledger, key, tickets, *now)?),
        Tx::Force(id, parts, buyer, now) => {
            Done::Forced(settle::force_verdict(ledger, key, *id, parts, buyer, *now)?)
        }
        Tx::End(id, how, by, now) => Done::Ended(order::end(ledger, id, *how, by, *now)?),
        Tx::Extend(id, pay_by, now) => {
            Done::Ended(order::extend(ledger, id, *pay_by, Attribution::ENGINE, *now)?)
        }
        Tx::Capture(capture, last, now) => {
            Done::CaptureOutcome(money::capture(ledger, capture, *now, *last)?)
        }
        Tx::FailPayment(capture, now) => Done::Taken(money::record_failure(ledger, capture, *now)?),
        Tx::SettleRefund(event, id, news, now) => Done::Taken(
            money::settle_refund(ledger, PROVIDER, event, id, news, *now)?
                == money::RefundMessageOutcome::Applied,
        ),
        Tx::AnswerRefund(asked, news, now) => {
            Done::Refund(money::answer_refund(ledger, asked, news, *now)?)
        }
        Tx::RetryRefund(id, now) => Done::Refund(money::retry_refund(ledger, id, *now)?),
        Tx::KeepCheckout(checkout) => Done::Kept(money::keep_checkout(ledger, checkout)?),
        Tx::CloseCheckout(id, session) => Done::Taken(money::close_checkout(ledger, id, session)?),
        Tx::RecordUnanswered(id, session, now) => {
            Done::Taken(money::record_unanswered_check(ledger, id, session, *now)?)
        }
        Tx::RecallBegin(id, grant, target, units) => {
            Done::Recall(recall::begin(ledger, *id, *grant, *target, *units)?)
        }
        Tx::RecallFinish(id, taken) => Done::Moved(recall::finish(ledger, *id, *taken)?),
        Tx::Join(item, joiner, now) => {
            Done::JoinOutcome(waitlist::join(ledger, key, *item, joiner, *now)?)
        }
        Tx::Leave(id, now) => Done::LeaveOutcome(waitlist::leave(ledger, id, *now)?),
        Tx::Serve(item, now) => {
            let kept = ledger.item(*item)?.map_or(0, |item| item.kept_for_waitlist());
            let places = usize::try_from(kept).unwrap_or(usize::MAX).min(WAITLIST_BATCH_MAX);
            Done::Served(waitlist::serve(ledger, *item, places, *now)?)
        }
        Tx::EndWaitlist(item, now) => {
            Done::WaitlistEnded(waitlist::end_with_sale(ledger, *item, WAITLIST_BATCH_MAX, *now)?)
        }
        Tx::Show(item, Some((Phase::Closed, _))) => {
            Done::Moved(stock::close_item_grants(ledger, *item, CloseCause::Ended)?)
        }
        Tx::Show(item, Some(_)) => {
            Done::Moved(stock::close_item_grants(ledger, *item, CloseCause::Rolled)?)
        }
        Tx::Show(_, None) | Tx::Intend(..) => Done::Nothing,
    })
}

fn settle_all<L: Ledger>(
    ledger: &mut L,
    key: &IdKey,
    tickets: &[Arc<Ticket>],
    now: Millis,
) -> Result<Vec<Resolved>, L::Error> {
    tickets.iter().map(|ticket| settle::settle(ledger, key, ticket, now)).collect()
}
