//! What happened, as it is written down and told: each change once, with the change; to each endpoint at least once, and in its order.
use doorbuster_core::event::{Event, EventType, Subject};
use doorbuster_core::model::Model;
use doorbuster_core::money::RefundCause;
use doorbuster_core::{OrderState, Stock, Verdict};
use hashbrown::HashSet;

use super::Judge;
use super::money::Before;
use crate::truth::{Truth, Tx};

/// A change that must have been written down by the transaction that made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Due {
    what: EventType,
    about: String,
}

/// What the judge knows of telling.
#[derive(Debug, Default)]
pub(super) struct Telling {
    /// Events that were judged.
    events: usize,
    /// Returned tickets that were judged.
    resolutions: usize,
    due: Vec<Due>,
    /// What each endpoint took.
    heard: HashSet<(usize, usize), foldhash::fast::FixedState>,
    refused: hashbrown::HashMap<(usize, usize), u32, foldhash::fast::FixedState>,
}

/// What an event is about, in one word.
pub(crate) fn about(event: &Event) -> String {
    match &event.subject {
        Subject::Order(order) => order.id.to_string(),
        Subject::Ticket { id, .. } => id.to_string(),
        Subject::Payment { order, .. } | Subject::Reversal { order, .. } => order.clone(),
        Subject::Item(item) => format!("item {item}"),
        Subject::Sale(sale) => format!("sale {sale}"),
    }
}

impl Judge {
    /// An order was changed by the commit that is judged.
    pub(super) fn must_be_told(&mut self, what: EventType, about: String) {
        self.telling.due.push(Due { what, about });
    }

    pub(super) fn state_told(state: OrderState) -> EventType {
        match state {
            OrderState::Reserved => EventType::OrderReserved,
            OrderState::Paid => EventType::OrderPaid,
            OrderState::Cancelled => EventType::OrderCancelled,
            OrderState::Expired => EventType::OrderExpired,
            OrderState::Refunded => EventType::OrderRefunded,
        }
    }

    /// Every change of this commit has its event, and every event its change.
    pub(super) fn events(&mut self, truth: &Truth, tx: &Tx, before: &Before) {
        let model = &truth.model;
        self.other_changes(model, tx, before);
        let new = &model.events[self.telling.events..];
        for event in new {
            let written = Due { what: event.what, about: about(event) };
            match self.telling.due.iter().position(|due| *due == written) {
                Some(at) => drop(self.telling.due.swap_remove(at)),
                None => {
                    self.find("history", || format!("{written:?} was written, and nothing changed"))
                }
            }
            if let Subject::Order(order) = &event.subject {
                let same = model.orders.get(&order.id) == Some(order);
                self.check(same, "history", || format!("{order:?} was written, and is not so"));
            }
            self.reach(event.what.as_str());
        }
        self.telling.events = model.events.len();
        if let Some(due) = self.telling.due.pop() {
            self.find("history", || format!("{due:?} was not written"));
        }
        self.telling.due.clear();
    }

    fn other_changes(&mut self, model: &Model, tx: &Tx, before: &Before) {
        if model.resolutions.len() != self.telling.resolutions {
            self.telling.resolutions = model.resolutions.len();
            for resolution in model.resolutions.values() {
                if self.decided.insert(resolution.ticket)
                    && !matches!(resolution.verdict, Verdict::Order(_))
                {
                    self.must_be_told(EventType::OrderRefused, resolution.ticket.to_string());
                }
            }
        }
        for id in self.new_refunds(model, tx) {
            let Some(refund) = model.refunds.get(&id).filter(|r| r.cause != RefundCause::Operator)
            else {
                continue;
            };
            self.must_be_told(EventType::PaymentRefunded, refund.order.clone());
        }
        let Some((was, is)) =
            before.item.as_ref().and_then(|was| Some((was, model.items.get(&was.id)?)))
        else {
            return;
        };
        let lowered = matches!(tx, Tx::Adjust(_, delta, _) if *delta < 0) && was.total != is.total;
        let all_paid = is.paid > 0 && is.total == Stock::Counted(is.paid);
        if all_paid && (is.paid > was.paid || lowered) {
            self.must_be_told(EventType::ItemSoldOut, format!("item {}", is.id));
        }
    }

    /// An endpoint took an event. Whatever happened before to the same order was taken before, or is a dead letter.
    pub(crate) fn heard_of(
        &mut self,
        events: &[Event],
        endpoint: usize,
        event: usize,
        dead: &[usize],
    ) {
        self.telling.heard.insert((endpoint, event));
        let word = about(&events[event]);
        for (earlier, it) in events[..event].iter().enumerate() {
            let fine = about(it) != word
                || self.telling.heard.contains(&(endpoint, earlier))
                || dead.contains(&earlier);
            self.check(fine, "order of events", || {
                format!(
                    "endpoint {endpoint} heard {:?} of {word} before {:?}",
                    events[event].what, it.what
                )
            });
        }
        self.reach("told an endpoint");
    }

    /// An endpoint refused an event.
    pub(crate) fn refused_tale(&mut self, endpoint: usize, event: usize) {
        *self.telling.refused.entry((endpoint, event)).or_default() += 1;
    }

    /// An endpoint's position moved.
    pub(crate) fn advanced(&mut self, back: bool, pending: usize, bound: usize) {
        self.check(!back, "position", || "an endpoint's position went back".into());
        self.check(pending <= bound, "I9", || {
            format!("{pending} events wait for one endpoint, bound {bound}")
        });
    }

    /// What came of a try is written down.
    pub(crate) fn noted(&mut self, was_dead: bool) {
        self.check(!was_dead, "dead letter", || "a dead letter was changed by a worker".into());
    }

    /// At rest every endpoint took every event, but for dead letters that it refused for long.
    pub(crate) fn told_at_rest(&mut self, events: &[Event], endpoint: usize, dead: &[usize]) {
        for (event, it) in events.iter().enumerate() {
            let heard = self.telling.heard.contains(&(endpoint, event));
            let is_dead = dead.contains(&event);
            self.check(heard || is_dead, "told", || {
                format!("endpoint {endpoint} never heard of {:?} of {}", it.what, about(it))
            });
            if is_dead {
                self.reach("dead letter");
            }
        }
    }
}
