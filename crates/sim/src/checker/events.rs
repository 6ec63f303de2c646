//! Checks events. The transaction that makes a change also writes exactly one event about it. Each
//! endpoint receives each event at least once. The events about one subject arrive in sequence.
use std::sync::Arc;

use doorbuster_core::event::{Event, EventType, Subject};
use doorbuster_core::model::Model;
use doorbuster_core::money::RefundCause;
use doorbuster_core::{OrderState, Stock, TicketId, Verdict};

use super::Checker;
use super::records::ExpectedEvent;
use super::rows_before::RowsBefore;
use crate::store::{SimStore, Tx};

fn ordering_key(event: &Event) -> String {
    match &event.subject {
        Subject::Order(order) => order.id.to_string(),
        Subject::Ticket { id, .. } => id.to_string(),
        Subject::Payment { order, .. } | Subject::Reversal { order, .. } => order.clone(),
        Subject::Item(item) => format!("item {item}"),
        Subject::Sale(sale) => format!("sale {sale}"),
    }
}

impl Checker {
    /// Notes that the current commit must write this event. `events` then checks whether it did.
    pub(super) fn expect_event(&mut self, what: EventType, about: String) {
        self.deliveries.due.push(ExpectedEvent { what, about });
    }

    pub(super) fn event_of_state(state: OrderState) -> EventType {
        match state {
            OrderState::Reserved => EventType::OrderReserved,
            OrderState::Paid => EventType::OrderPaid,
            OrderState::Cancelled => EventType::OrderCancelled,
            OrderState::Expired => EventType::OrderExpired,
            OrderState::Refunded => EventType::OrderRefunded,
        }
    }

    pub(super) fn events(&mut self, store: &SimStore, tx: &Tx, before: &RowsBefore) {
        let model = &store.model;
        self.other_changes(model, tx, before);
        let new = &model.events[self.deliveries.events..];
        for event in new {
            let written = ExpectedEvent { what: event.what, about: ordering_key(event) };
            self.deliveries.keys.push(written.about.as_str().into());
            match self.deliveries.due.iter().position(|due| *due == written) {
                Some(at) => drop(self.deliveries.due.swap_remove(at)),
                None => self.record_finding("history", || {
                    format!("nothing changed, but the event {written:?} was written")
                }),
            }
            if let Subject::Order(order) = &event.subject {
                let same = model.orders.get(&order.id) == Some(order);
                self.check(same, "history", || {
                    format!(
                        "an event contains the order {order:?}, which differs from the stored \
                         order"
                    )
                });
            }
            self.count_case(event.what.as_str());
        }
        self.deliveries.events = model.events.len();
        if let Some(due) = self.deliveries.due.pop() {
            self.record_finding("history", || format!("the event {due:?} was not written"));
        }
        self.deliveries.due.clear();
    }

    fn other_changes(&mut self, model: &Model, tx: &Tx, before: &RowsBefore) {
        if model.resolutions.len() != self.deliveries.resolutions {
            self.deliveries.resolutions = model.resolutions.len();
            for resolution in model.resolutions.values() {
                if self.decided.insert(resolution.ticket)
                    && !matches!(resolution.verdict, Verdict::Order(_))
                {
                    self.expect_event(EventType::OrderRefused, resolution.ticket.to_string());
                }
            }
        }
        for id in self.new_refunds(model, tx) {
            let Some(refund) = model.refunds.get(&id).filter(|r| r.cause != RefundCause::Operator)
            else {
                continue;
            };
            self.expect_event(EventType::PaymentRefunded, refund.order.clone());
        }
        let Some((was, is)) =
            before.item.as_ref().and_then(|was| Some((was, model.items.get(&was.id)?)))
        else {
            return;
        };
        let lowered = matches!(tx, Tx::Adjust(_, delta, _) if *delta < 0) && was.total != is.total;
        let all_paid = is.paid > 0 && is.total == Stock::Counted(is.paid);
        if all_paid && (is.paid > was.paid || lowered) {
            self.expect_event(EventType::ItemSoldOut, format!("item {}", is.id));
        }
    }

    /// Checks a delivery. The endpoint must already have accepted all earlier events with the same
    /// subject, except for dead letters.
    pub(crate) fn event_delivered(
        &mut self,
        events: &[Event],
        endpoint: usize,
        event: usize,
        dead: &[usize],
    ) {
        self.deliveries.delivered.insert((endpoint, event));
        let key = self.event_key(event);
        // If a failover lost an order, one transaction may refund its payment, and another may
        // refuse its ticket. The events of these two transactions may be delivered out of sequence.
        if TicketId::parse(&key).is_some_and(|id| self.lost.contains(&id)) {
            return;
        }
        for (earlier, it) in events[..event].iter().enumerate() {
            let fine = self.deliveries.keys[earlier] != key
                || self.deliveries.delivered.contains(&(endpoint, earlier))
                || dead.contains(&earlier)
                || self.deliveries.may_be_dead.contains(&(endpoint, earlier));
            self.check(fine, "order of events", || {
                format!(
                    "endpoint {endpoint} received the event {:?} of {key} before the event {:?}",
                    events[event].what, it.what
                )
            });
        }
        self.count_case("event delivered");
    }

    /// Returns the key of an event. An endpoint gets all events that have the same key in sequence.
    pub(crate) fn event_key(&self, event: usize) -> Arc<str> {
        self.deliveries.keys[event].clone()
    }

    pub(crate) fn event_tried(&mut self, endpoint: usize, event: usize) {
        self.deliveries.tried.insert((endpoint, event));
    }

    pub(crate) fn event_refused(&mut self, endpoint: usize, event: usize) {
        *self.deliveries.refused.entry((endpoint, event)).or_default() += 1;
    }

    pub(crate) fn endpoint_position_moved(&mut self, back: bool, pending: usize, bound: usize) {
        self.check(!back, "position", || "an endpoint's position went back".into());
        // After a failover, the store may again have an endpoint's rows that the worker had already
        // deleted. A real worker reads the rows again every two seconds, and so stays within the
        // bound. A simulated worker does not.
        self.check(pending <= bound || self.has_failed_over, "I9", || {
            format!("{pending} events wait for one endpoint, but the bound is {bound}")
        });
    }

    pub(crate) fn row_changed(&mut self, was_dead: bool) {
        self.check(!was_dead, "dead letter", || "a worker changed a dead letter".into());
    }

    pub(crate) fn delivered_at_rest(&mut self, events: &[Event], endpoint: usize, dead: &[usize]) {
        for (event, it) in events.iter().enumerate() {
            let delivered = self.deliveries.delivered.contains(&(endpoint, event));
            let is_dead = dead.contains(&event);
            self.check(delivered || is_dead, "delivery", || {
                format!(
                    "endpoint {endpoint} never received the event {:?} of {}",
                    it.what,
                    ordering_key(it)
                )
            });
            if is_dead {
                self.count_case("dead letter");
            }
        }
    }
}
