//! Appends events to the ledger of a transaction.

use doorbuster_types::EventType;

use crate::event::{Attribution, Event, Subject};
use crate::ledger::Ledger;
use crate::rows::Order;
use crate::rules::{Rule, enforces};
use crate::value::Millis;

pub(crate) fn append_order_event<L: Ledger + ?Sized>(
    ledger: &mut L,
    order: &Order,
    by: &Attribution,
    at: Millis,
) -> Result<(), L::Error> {
    append(ledger, EventType::from_order_state(order.state), Subject::Order(order.clone()), by, at)
}

pub(crate) fn append<L: Ledger + ?Sized>(
    ledger: &mut L,
    what: EventType,
    subject: Subject,
    by: &Attribution,
    at: Millis,
) -> Result<(), L::Error> {
    if enforces(Rule::EventWithChange) {
        ledger.append_event(&Event { what, subject, by: by.clone(), at })?;
    }
    Ok(())
}
