//! Handles a request that holds no order yet. Asks a slot for a ticket. If the slot cannot serve
//! the request, waits a moment and asks again.
use doorbuster_core::limits::DECIDE_WITHIN_MS;
use doorbuster_core::slot::{TicketAnswer, TicketRequest};
use doorbuster_core::{SlotKey, Token};
use doorbuster_steps::purchase::{UNDECIDED_WAIT_MS, is_served};
use std::time::Duration;
use tokio::time::Instant;

use super::park::{Deadlines, ItemSignals, ParkedResources};
use super::{Attempt, AttemptContext, OVERLOADED, Purchase, PurchaseOutcome, UNAVAILABLE};
use crate::catalogue::ItemState;
use crate::engine::Engine;
use crate::waiters::TicketInfo;

const UNDECIDED_WAIT: Duration = Duration::from_millis(UNDECIDED_WAIT_MS);

impl Engine {
    pub(super) async fn buy_new(
        &self,
        purchase: &Purchase,
        request: &mut TicketRequest,
    ) -> PurchaseOutcome {
        if let Some(bought) = self.refuse_at_limit(purchase, request).await {
            return bought;
        }
        let item = &purchase.item;
        let mut until = Deadlines::from_now(purchase.wait);
        let mut places = ParkedResources::default();
        let mut was_retried = false;
        let mut undecided = 0;
        let mut waits = 0;
        let mut was_short = false;
        let mut context = AttemptContext {
            verdict: until.verdict,
            endings: item.work.feed.endings(),
            is_uncertain: false,
        };
        loop {
            // The signals exist before the request goes to the slot, so they show every change.
            let signals = ItemSignals::for_item(item);
            let is_short = match self.attempt(purchase, request, &mut context, &mut places).await {
                Attempt::Answer(bought) => return bought,
                Attempt::NotReady => false,
                Attempt::Undecided => {
                    places.leave_demand();
                    undecided += 1;
                    // The store may have decided by now, but the slot may not have the returned
                    // units and quota yet. Any node may deliver them.
                    if undecided == 2 {
                        self.control().wake(item.row.id);
                    }
                    false
                }
                Attempt::Short => true,
                // One retry is enough. If the second ticket is returned too, another retry would
                // not help.
                Attempt::Retry if was_retried => return UNAVAILABLE,
                Attempt::Retry => {
                    was_retried = true;
                    self.meter().count_new_ticket_request();
                    request.token = Token(rand::random::<u64>() >> 16);
                    request.decide_by = self.now().plus(DECIDE_WITHIN_MS);
                    // The slot's next epoch takes a moment, so the request may be parked for the
                    // full time again.
                    until.parked = Deadlines::from_now(purchase.wait).parked;
                    waits = waits.max(1);
                    false
                }
            };
            item.gauge.note_parked(purchase.units.get());
            if let Some(bought) = self.refuse_if_sold_out(purchase, request).await {
                return bought;
            }
            if !places.reserve(self, item, request, is_short) {
                return OVERLOADED;
            }
            // A request that is not short tries once more at the end: it may have missed a change.
            let is_late = Instant::now() >= until.parked;
            let retry_until = match undecided {
                1 if !is_short => until.parked.min(Instant::now() + UNDECIDED_WAIT),
                _ => until.parked,
            };
            // The future is boxed, so that the future of a waiting request stays small.
            let signals = Box::pin(signals.wait_for_retry(is_short, places.has_demand(), waits));
            if is_late || tokio::time::timeout_at(retry_until, signals).await.is_err() && is_short {
                // The request became short only now, so it has not waited for units. The answer
                // must not claim that no units are left.
                context.is_uncertain |= is_short && is_late && !was_short;
                return Box::pin(self.parked_too_long(
                    purchase,
                    request,
                    (context, &mut places),
                    is_short,
                ))
                .await;
            }
            waits += 1;
            was_short |= is_short;
        }
    }

    async fn attempt<'a>(
        &'a self,
        purchase: &'a Purchase,
        request: &TicketRequest,
        context: &mut AttemptContext,
        places: &mut ParkedResources<'a>,
    ) -> Attempt {
        // The spread may have changed since the first attempt.
        let item = match places.is_parked() {
            true => self.current_item(purchase),
            false => purchase.item.clone(),
        };
        let Some(home) = item.home(request) else {
            context.is_uncertain = true;
            return Attempt::NotReady;
        };
        let waiter = self
            .waiters()
            .register(request.token, TicketInfo::from_request(purchase.item.row.id, request));
        let answer = self.request_ticket(&item, home, request, context).await;
        places.release_if_issued(&answer.1);
        self.handle_answer(purchase, request, &answer, waiter, context).await
    }

    /// Asks the request's own slot. If that slot cannot serve the request now, asks another slot.
    /// Returns the slot that answered.
    async fn request_ticket(
        &self,
        item: &ItemState,
        home: SlotKey,
        request: &TicketRequest,
        context: &mut AttemptContext,
    ) -> (SlotKey, TicketAnswer) {
        let first = self.slots().ticket(home, request).await.unwrap_or(TicketAnswer::NoEpoch);
        context.is_uncertain |= first == TicketAnswer::NoEpoch;
        if is_served(&first) {
            return (home, first);
        }
        let Some(other) = item.second_slot(home, request) else { return (home, first) };
        let second = self.slots().ticket(other, request).await.unwrap_or(TicketAnswer::NoEpoch);
        context.is_uncertain |= second == TicketAnswer::NoEpoch;
        // If either slot is short, units may still be gathered.
        match is_served(&second) || matches!(second, TicketAnswer::Short { .. }) {
            true => (other, second),
            false => (home, first),
        }
    }
}
