//! Decides the last answer to a request whose slots had too few units. The answer is never "sold
//! out" while the request holds an order or an earlier attempt may be undecided.
use std::time::Duration;

use doorbuster_core::slot::{TicketAnswer, TicketRequest};
use doorbuster_core::sold_out::SoldOut;
use doorbuster_steps::purchase::{ALL_SLOTS_QUERY_MAX_MS, SLOT_QUERY_MAX_MS};
use tokio::time::{Instant, timeout};

use super::park::ParkedResources;
use super::{Attempt, AttemptContext, Purchase, PurchaseOutcome, Refusal, UNAVAILABLE};
use crate::engine::Engine;
use crate::waiters::TicketInfo;

const SLOT_QUERY_MAX: Duration = Duration::from_millis(SLOT_QUERY_MAX_MS);
const ALL_SLOTS_QUERY_MAX: Duration = Duration::from_millis(ALL_SLOTS_QUERY_MAX_MS);

/// The time that is left for asking all slots.
#[derive(Default)]
struct SlotQueryBudget {
    spent: Duration,
}

impl SlotQueryBudget {
    fn is_over(&self) -> bool {
        self.spent >= ALL_SLOTS_QUERY_MAX
    }

    /// Returns one slot's answer. `None`: the slot did not answer within [`SLOT_QUERY_MAX`].
    async fn query<T>(&mut self, answer: impl Future<Output = T>) -> Option<T> {
        let begun = Instant::now();
        let received = timeout(SLOT_QUERY_MAX, answer).await;
        self.spent += begun.elapsed();
        received.ok()
    }
}

impl Engine {
    /// Returns the final answer to a request that was parked for the full time. If its slots were
    /// short, the node asks all slots once more, because units may have arrived without a signal.
    /// Any slot may also have an undecided ticket of an earlier attempt. If a slot refused the
    /// request, the node looks for the request's ticket in the other slots.
    pub(super) async fn parked_too_long(
        &self,
        purchase: &Purchase,
        request: &TicketRequest,
        (mut context, places): (AttemptContext, &mut ParkedResources<'_>),
        mut is_short: bool,
    ) -> PurchaseOutcome {
        if is_short {
            match self.try_every_slot(purchase, request, &mut context, places).await {
                Attempt::Answer(bought) => return bought,
                Attempt::Short => {}
                Attempt::NotReady | Attempt::Undecided | Attempt::Retry => is_short = false,
            }
        } else if !context.is_uncertain
            && let Some(bought) = self.find_issued_ticket(purchase, request, context).await
        {
            return bought;
        }
        if let Some(refused) = self.refuse_if_sold_out(purchase, request).await {
            return refused;
        }
        let left = purchase.item.gauge.free().parked_too_long(purchase.units);
        let sale = self.catalogue().sale(&purchase.sale.row.id).cloned();
        match sale.and_then(|sale| self.phase_refusal(&sale)) {
            // An earlier attempt of this request may have an order.
            Some(refusal) => match self.find_remembered(purchase, request).await {
                Some(bought) => bought,
                None => PurchaseOutcome::Refused(self.unless_stale(refusal)),
            },
            // A slot that this node cannot reach may have a ticket of this request. So the node
            // refuses only if it reaches all slots.
            None if is_short && !context.is_uncertain && self.layout().reaches_all_slots() => {
                self.refuse_sold_out(purchase, request, left).await
            }
            None => {
                // A slot without an epoch for so long may have lost its memory. The leader may be
                // unable to reach that slot.
                if context.is_uncertain {
                    self.control().suspect_loss();
                }
                UNAVAILABLE
            }
        }
    }

    /// Sends the request to every slot of its item that this node reaches, until one serves it. The
    /// request's own slot comes first.
    async fn try_every_slot(
        &self,
        purchase: &Purchase,
        request: &TicketRequest,
        context: &mut AttemptContext,
        places: &mut ParkedResources<'_>,
    ) -> Attempt {
        let mut budget = SlotQueryBudget::default();
        for slot in self.current_item(purchase).every_slot(request) {
            if budget.is_over() {
                context.is_uncertain = true;
                break;
            }
            let (verdict, entry) = self
                .waiters()
                .register(request.token, TicketInfo::from_request(purchase.item.row.id, request));
            let answer = budget.query(self.slots().ticket(slot, request)).await;
            let answer = answer.and_then(Result::ok).unwrap_or(TicketAnswer::NoEpoch);
            places.release_if_issued(&answer);
            match self
                .handle_answer(purchase, request, &(slot, answer), (verdict, entry), context)
                .await
            {
                Attempt::Short => {}
                Attempt::NotReady | Attempt::Undecided => context.is_uncertain = true,
                other => return other,
            }
        }
        Attempt::Short
    }

    /// Returns the result of the request's own ticket, if a slot that this node reaches has it. The
    /// call sends the limit 0, so no slot issues a new ticket.
    pub(super) async fn find_issued_ticket(
        &self,
        purchase: &Purchase,
        request: &TicketRequest,
        context: AttemptContext,
    ) -> Option<PurchaseOutcome> {
        let known = TicketRequest { limit: 0, ..request.clone() };
        let mut budget = SlotQueryBudget::default();
        for slot in self.current_item(purchase).every_slot(request) {
            if budget.is_over() {
                return Some(UNAVAILABLE);
            }
            if let Some(Ok(TicketAnswer::Repeated(ticket))) =
                budget.query(self.slots().ticket(slot, &known)).await
                && let Attempt::Answer(bought) =
                    self.join_earlier_ticket(purchase, &ticket, context).await
            {
                return Some(bought);
            }
        }
        None
    }

    /// Answers "sold out" if the store's counts allow it.
    pub(super) async fn refuse_if_sold_out(
        &self,
        purchase: &Purchase,
        request: &TicketRequest,
    ) -> Option<PurchaseOutcome> {
        let sold_out = purchase.item.gauge.free().refuses(purchase.units)?;
        Some(self.refuse_sold_out(purchase, request, sold_out).await)
    }

    /// Answers "sold out" from counts that were read before this call. If the request holds an
    /// order, answers with that order.
    async fn refuse_sold_out(
        &self,
        purchase: &Purchase,
        request: &TicketRequest,
        sold_out: SoldOut,
    ) -> PurchaseOutcome {
        if self.may_hold(&purchase.sale, request.request)
            && let Some(bought) = Box::pin(self.held_order(purchase, request.request)).await
        {
            return bought;
        }
        PurchaseOutcome::Refused(self.unless_stale(Refusal::SoldOut(sold_out)))
    }
}
