//! What a request hears that its slots were short for: never "sold out" while it holds an order, or
//! an earlier try of it may be undecided.
use std::time::Duration;

use doorbuster_core::refusal::SoldOut;
use doorbuster_core::slot::{TicketAnswer, TicketRequest};
use tokio::time::{Instant, timeout};

use super::park::Places;
use super::{Attempt, Bought, Purchase, Refusal, Tries, UNAVAILABLE};
use crate::engine::Engine;
use crate::waiters::About;

/// How long a request that asks all slots waits for each: one that hangs is passed over, as one
/// that cannot be asked is.
const ASK_ONE_WITHIN: Duration = Duration::from_millis(250);
/// And for all of them. Who may have a ticket in one that was not asked hears nothing final.
const ASK_ALL_WITHIN: Duration = Duration::from_secs(1);

/// The time for asking all slots.
#[derive(Default)]
struct Asking {
    spent: Duration,
}

impl Asking {
    fn is_over(&self) -> bool {
        self.spent >= ASK_ALL_WITHIN
    }

    /// One slot's answer; `None`: it did not come in time.
    async fn one<T>(&mut self, answer: impl Future<Output = T>) -> Option<T> {
        let asked = Instant::now();
        let heard = timeout(ASK_ONE_WITHIN, answer).await;
        self.spent += asked.elapsed();
        heard.ok()
    }
}

impl Engine {
    /// The last word to a request that was parked as long as it may be. One that its slots were
    /// short for is put to all of them once more: units may have come that nobody told of, and an
    /// earlier try of it may be undecided in any. One that a slot refused may have its ticket in
    /// another.
    pub(super) async fn parked_too_long(
        &self,
        purchase: &Purchase,
        request: &TicketRequest,
        (mut tries, places): (Tries, &mut Places<'_>),
        mut is_short: bool,
    ) -> Bought {
        if is_short {
            match self.ask_everywhere(purchase, request, &mut tries, places).await {
                Attempt::Answer(bought) => return bought,
                Attempt::Short => {}
                Attempt::NotReady | Attempt::Undecided | Attempt::AskAgain => is_short = false,
            }
        } else if !tries.unsure
            && let Some(bought) = self.ticket_anywhere(purchase, request, tries).await
        {
            return bought;
        }
        if let Some(refused) = self.refuse_short(purchase, request).await {
            return refused;
        }
        let left = purchase.item.gauge.free().parked_too_long(purchase.units);
        let sale = self.catalogue().sale(&purchase.sale.row.id).cloned();
        match sale.and_then(|sale| self.refusal_of_phase(&sale)) {
            Some(refusal) => Bought::Refused(self.if_recent(refusal)),
            // A slot that cannot be asked from here may know the request.
            None if is_short && !tries.unsure && self.layout().reaches_all() => {
                self.refuse(purchase, request, left).await
            }
            None => {
                // A slot without an epoch for so long may have lost it, and whoever leads may not
                // reach it.
                if tries.unsure {
                    self.control().suspect();
                }
                UNAVAILABLE
            }
        }
    }

    /// Puts the request to every slot of its item that this node reaches, its own first, until one
    /// serves it.
    async fn ask_everywhere(
        &self,
        purchase: &Purchase,
        request: &TicketRequest,
        tries: &mut Tries,
        places: &mut Places<'_>,
    ) -> Attempt {
        let mut asking = Asking::default();
        for slot in purchase.item.every_slot(request) {
            if asking.is_over() {
                tries.unsure = true;
                break;
            }
            let (verdict, entry) =
                self.waiters().open(request.token, About::of(purchase.item.row.id, request));
            let answer = asking.one(self.slots().ticket(slot, request)).await;
            let answer = answer.and_then(Result::ok).unwrap_or(TicketAnswer::NoEpoch);
            places.leave_with(&answer);
            match self.heed(purchase, request, &(slot, answer), (verdict, entry), tries).await {
                Attempt::Short => {}
                Attempt::NotReady | Attempt::Undecided => tries.unsure = true,
                other => return other,
            }
        }
        Attempt::Short
    }

    /// What comes of the request's own ticket, if any slot that this node reaches has it. None cuts
    /// a new one: whoever may have nothing is told of no more than what is known.
    pub(super) async fn ticket_anywhere(
        &self,
        purchase: &Purchase,
        request: &TicketRequest,
        tries: Tries,
    ) -> Option<Bought> {
        let known = TicketRequest { limit: 0, ..request.clone() };
        let mut asking = Asking::default();
        for slot in purchase.item.every_slot(request) {
            if asking.is_over() {
                return Some(UNAVAILABLE);
            }
            if let Some(Ok(TicketAnswer::Repeated(cut))) =
                asking.one(self.slots().ticket(slot, &known)).await
                && let Attempt::Answer(bought) = self.again(purchase, &cut, tries).await
            {
                return Some(bought);
            }
        }
        None
    }

    /// Says "sold out" if the truth allows it.
    pub(super) async fn refuse_short(
        &self,
        purchase: &Purchase,
        request: &TicketRequest,
    ) -> Option<Bought> {
        let sold_out = purchase.item.gauge.free().refuses(purchase.units)?;
        Some(self.refuse(purchase, request, sold_out).await)
    }

    /// Says "sold out", by counts that were read before this, unless the request holds an order.
    async fn refuse(
        &self,
        purchase: &Purchase,
        request: &TicketRequest,
        sold_out: SoldOut,
    ) -> Bought {
        if self.may_hold(&purchase.sale, request.request)
            && let Some(bought) = Box::pin(self.held(purchase, request.request)).await
        {
            return bought;
        }
        Bought::Refused(self.if_recent(Refusal::SoldOut(sold_out)))
    }
}
