//! Builds the message of an event from three sources: the event's row, other data that never
//! changes, and the address of the sale pages. So every attempt and every receiver gets a message
//! with the same bytes.
use doorbuster_api::admin::payments::Reversal;
use doorbuster_api::notification::{
    self, ItemData, NotificationData, OrderData, PaymentData, RefusedData, ReversalData, SaleData,
};
use doorbuster_api::order::RefusalCode;
use doorbuster_core::event::{Actor, Event, EventType, Subject};
use doorbuster_core::money::{Payment, PaymentState, Refund, RefundId, RefundState};
use doorbuster_core::outbox::ordering_key;
use doorbuster_core::{IdKey, Millis, Units};
use doorbuster_engine::api_conversion;
use doorbuster_engine::catalogue::Catalogue;
use doorbuster_engine::order_link::order_link;
use doorbuster_store::StoredEvent;

use super::receiver::Message;

/// Returns the event's id.
pub fn event_id(stored: &StoredEvent) -> String {
    notification::event_id(
        stored.position,
        stored.event.what.as_str(),
        stored.event.at.0,
        &ordering_key(&stored.event),
    )
}

/// Returns the id of the event at `position`, as operators see it. If the event was deleted, the id
/// contains only the position.
pub fn visible_event_id(position: i64, event: Option<&(String, Millis)>, about: &str) -> String {
    let id = |(what, at): &(String, Millis)| notification::event_id(position, what, at.0, about);
    event.map_or_else(|| notification::event_id_prefix(position), id)
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Links<'a> {
    pub key: &'a IdKey,
    /// The address of the sale pages, if it is configured. The message of a new order contains a
    /// link to these pages.
    pub origin: Option<&'a str>,
}

/// Returns the event's message, or `None` if this node's catalogue does not contain the event's
/// item yet.
pub(super) fn message(
    catalogue: &Catalogue,
    links: Links<'_>,
    stored: &StoredEvent,
) -> Option<Message> {
    let (id, what, at) = (event_id(stored), stored.event.what, stored.event.at);
    let data = data(catalogue, links, &stored.event)?;
    let body = notification::Notification {
        id: &id,
        what: what.as_str(),
        timestamp: api_conversion::time(at),
        data,
    };
    let body = serde_json::to_vec(&body).expect("API types serialise into memory").into();
    Some(Message { id, what, key: ordering_key(&stored.event), at, body })
}

fn data(catalogue: &Catalogue, links: Links<'_>, event: &Event) -> Option<NotificationData> {
    Some(match &event.subject {
        Subject::Order(order) => {
            let from_waitlist = event.is_from_waitlist().then_some(true);
            let link = (event.what == EventType::OrderReserved)
                .then(|| order_link(links.key, links.origin, order.id));
            NotificationData::Order(OrderData {
                order: api_conversion::order_in(catalogue, order)?,
                from_waitlist,
                link,
            })
        }
        Subject::Ticket { id, item, buyer, units, verdict } => {
            let item = catalogue.item_by_id(*item)?;
            let units = Units::new(u32::try_from(*units).ok()?)?;
            // The event's subject is a ticket or a waitlist entry that ended without an order. A
            // subject that the buyer ended is always a waitlist entry: the buyer left the waitlist.
            let code = match event.by.actor {
                Actor::Buyer => RefusalCode::Left,
                Actor::Engine if event.is_end_of_waitlist() => RefusalCode::Ended,
                Actor::Provider(_) | Actor::Operator(_) | Actor::Engine => {
                    api_conversion::refusal_code(*verdict)
                }
            };
            NotificationData::Refused(RefusedData {
                order: api_conversion::refused(*id, buyer.as_str(), item, units, code),
            })
        }
        Subject::Payment { .. } => NotificationData::Payment(payment(event)?),
        Subject::Reversal { .. } => {
            NotificationData::Reversal(ReversalData { reversal: reversal(event)? })
        }
        Subject::Item(item) => {
            let item = catalogue.item_by_id(*item)?;
            NotificationData::Item(ItemData {
                sale: item.sale.to_string(),
                item: item.row.name.clone(),
            })
        }
        Subject::Sale(sale) => NotificationData::Sale(SaleData { sale: sale.clone() }),
    })
}

fn reversal(event: &Event) -> Option<Reversal> {
    let Subject::Reversal { payment, order, money, kind, dispute, stands } = &event.subject else {
        return None;
    };
    Some(Reversal {
        payment: payment.0.clone(),
        order: order.clone(),
        amount: api_conversion::amount(money.minor, &money.currency),
        kind: *kind,
        dispute: dispute.clone(),
        stands: *stands,
        provider: provider(event),
    })
}

fn provider(event: &Event) -> String {
    match &event.by.actor {
        Actor::Provider(name) => name.clone(),
        Actor::Buyer | Actor::Operator(_) | Actor::Engine => String::new(),
    }
}

fn payment(event: &Event) -> Option<PaymentData> {
    let Subject::Payment { payment, order, money, cause } = &event.subject else { return None };
    let provider = provider(event);
    let refund = Refund {
        id: RefundId::for_payment(payment),
        payment: payment.clone(),
        provider: provider.clone(),
        order: order.clone(),
        money: money.clone(),
        cause: *cause,
        state: RefundState::Pending,
        accepted: false,
        tries: 0,
        next_at: event.at,
        error: None,
        at: event.at,
        settled_at: None,
    };
    let payment = Payment {
        id: payment.clone(),
        provider,
        order: order.clone(),
        money: money.clone(),
        state: PaymentState::Refunded,
        at: event.at,
    };
    Some(PaymentData {
        payment: api_conversion::payment(&payment),
        refund: api_conversion::refund(&refund),
    })
}
