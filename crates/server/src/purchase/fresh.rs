//! A request that holds nothing yet: it is put to a slot, and waits a moment where the slot cannot
//! serve it, until it can be answered.
use doorbuster_core::limits::DECIDE_WITHIN_MS;
use doorbuster_core::slot::{TicketAnswer, TicketRequest};
use doorbuster_core::{SlotKey, Token};
use std::time::Duration;
use tokio::time::Instant;

use super::park::{News, Places, Until, serves};
use super::{Attempt, Bought, OVERLOADED, Purchase, Tries, UNAVAILABLE};
use crate::catalogue::ItemState;
use crate::engine::Engine;
use crate::waiters::About;

/// Whoever waits for something to be decided has its item tended when nothing was heard for so
/// long: what was decided before it came is told of no more.
const UNDECIDED_FOR: Duration = Duration::from_millis(200);

impl Engine {
    pub(super) async fn buy_fresh(
        &self,
        purchase: &Purchase,
        request: &mut TicketRequest,
    ) -> Bought {
        if let Some(bought) = self.at_limit(purchase, request).await {
            return bought;
        }
        let item = &purchase.item;
        let mut until = Until::from_now(purchase.wait);
        let mut places = Places::default();
        let mut asked_again = false;
        let mut undecided = 0;
        let mut waits = 0;
        let mut was_short = false;
        let mut tries =
            Tries { verdict: until.verdict, told: item.work.feed.told(), unsure: false };
        loop {
            // Made before the slot is asked: what happens after its answer is not missed.
            let news = News::of(item);
            let is_short = match self.attempt(purchase, request, &mut tries, &mut places).await {
                Attempt::Answer(bought) => return bought,
                Attempt::NotReady => false,
                Attempt::Undecided => {
                    places.leave_waitlist();
                    undecided += 1;
                    // Decided by now, perhaps, and what was given back is on its way to the slot:
                    // any node may bring it.
                    if undecided == 2 {
                        self.control().wake(item.row.id);
                    }
                    false
                }
                Attempt::Short => true,
                // Once is enough: a ticket that is returned twice is not the slot's fault.
                Attempt::AskAgain if asked_again => return UNAVAILABLE,
                Attempt::AskAgain => {
                    asked_again = true;
                    self.meter().ask_again();
                    request.token = Token(rand::random::<u64>() >> 16);
                    request.decide_by = self.now().plus(DECIDE_WITHIN_MS);
                    // The slot's next epoch takes a moment, however long the ticket took to die.
                    until.parked = Until::from_now(purchase.wait).parked;
                    waits = waits.max(1);
                    false
                }
            };
            item.gauge.park(purchase.units.get());
            if let Some(bought) = self.refuse_short(purchase, request).await {
                return bought;
            }
            if !places.stand(self, item, request, is_short) {
                return OVERLOADED;
            }
            // Whoever is not short asks once more in the last moment: what it waits for may have
            // happened without a word.
            let is_late = Instant::now() >= until.parked;
            let patience = match undecided {
                1 if !is_short => until.parked.min(Instant::now() + UNDECIDED_FOR),
                _ => until.parked,
            };
            // Boxed: whoever waits for a verdict keeps no room for it.
            let news = Box::pin(news.worth_another_try(is_short, places.is_gathered_for(), waits));
            if is_late || tokio::time::timeout_at(patience, news).await.is_err() && is_short {
                // Who was never short before has not waited for units: that there are none is not
                // told.
                tries.unsure |= is_short && is_late && !was_short;
                return Box::pin(self.parked_too_long(
                    purchase,
                    request,
                    (tries, &mut places),
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
        tries: &mut Tries,
        places: &mut Places<'a>,
    ) -> Attempt {
        let Some(home) = purchase.item.home(request) else {
            tries.unsure = true;
            return Attempt::NotReady;
        };
        let waiter = self.waiters().open(request.token, About::of(purchase.item.row.id, request));
        let answer = self.ask(&purchase.item, home, request, tries).await;
        places.leave_with(&answer.1);
        self.heed(purchase, request, &answer, waiter, tries).await
    }

    /// Asks the request's own slot, and another one when that cannot serve it now. Which one
    /// answered so.
    async fn ask(
        &self,
        item: &ItemState,
        home: SlotKey,
        request: &TicketRequest,
        tries: &mut Tries,
    ) -> (SlotKey, TicketAnswer) {
        let first = self.slots().ticket(home, request).await.unwrap_or(TicketAnswer::NoEpoch);
        tries.unsure |= first == TicketAnswer::NoEpoch;
        if serves(&first) {
            return (home, first);
        }
        let Some(other) = item.elsewhere(home, request) else { return (home, first) };
        let second = self.slots().ticket(other, request).await.unwrap_or(TicketAnswer::NoEpoch);
        tries.unsure |= second == TicketAnswer::NoEpoch;
        // If either is short, units may yet be gathered.
        match serves(&second) || matches!(second, TicketAnswer::Short { .. }) {
            true => (other, second),
            false => (home, first),
        }
    }
}
