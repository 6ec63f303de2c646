//! The rows that a transaction uses, as they were before the transaction.
use doorbuster_core::money::{Checkout, Money, Payment, Refund, RefundId, Reversal};
use doorbuster_core::{Item, ItemId, Order, TicketId};

use crate::store::{SimStore, Tx};

#[derive(Clone, Debug, Default)]
pub(crate) struct RowsBefore {
    pub(super) item: Option<Item>,
    pub(super) order: Option<Order>,
    pub(super) in_slots: u64,
    pub(super) used: u32,
    pub(super) price: Option<Money>,
    /// Whether an earlier transaction already processed the provider's message.
    pub(super) taken: bool,
    pub(super) payment: Option<Payment>,
    pub(super) refund: Option<Refund>,
    pub(super) reversal: Option<Reversal>,
    pub(super) checkout: Option<Checkout>,
}

impl RowsBefore {
    pub(crate) fn for_tx(store: &SimStore, tx: &Tx) -> Self {
        let mut before = Self::default();
        match tx {
            Tx::Adjust(item, ..) | Tx::Serve(item, _) => {
                before.item = store.model.items.get(item).cloned()
            }
            Tx::Open(slot, ..) => before.item = store.model.items.get(&slot.item).cloned(),
            Tx::Refill(grant, ..) => {
                let of = store.model.grants.get(grant).map(|grant| grant.slot.item);
                before.item = of.and_then(|item| store.model.items.get(&item)).cloned();
            }
            Tx::Join(item, ..) => {
                before.item = store.model.items.get(item).cloned();
                before.in_slots = in_slots(store, *item);
            }
            Tx::End(id, ..)
            | Tx::Extend(id, ..)
            | Tx::CloseCheckout(id, _)
            | Tx::RecordUnanswered(id, ..) => before.read_order(store, id),
            Tx::KeepCheckout(checkout) => before.read_order(store, &checkout.order),
            Tx::Capture(capture, ..) | Tx::FailPayment(capture, _) => {
                let named = store
                    .model
                    .orders
                    .values()
                    .find(|o| o.id.to_string() == capture.order)
                    .map(|o| o.id);
                if let Some(id) = named {
                    before.read_order(store, &id);
                }
                before.taken = store
                    .model
                    .inbox
                    .contains_key(&(capture.provider.clone(), capture.event.clone()));
                before.payment = store.model.payments.get(&capture.payment).cloned();
            }
            Tx::SettleRefund(event, id, ..) => {
                let mut taken = store.model.inbox.keys();
                before.taken = taken.any(|(_, e)| e == event);
                before.refund = store.model.refunds.get(id).cloned();
            }
            Tx::AnswerRefund(sent, ..) => {
                before.refund = store.model.refunds.get(&sent.id).cloned()
            }
            Tx::RecordReversal(report, _) => {
                let model = &store.model;
                let message =
                    report.event.as_ref().map(|event| (report.provider.clone(), event.clone()));
                before.taken = message.is_some_and(|message| model.inbox.contains_key(&message));
                before.payment = model.payments.get(&report.payment).cloned();
                before.refund = model.refunds.get(&RefundId::for_payment(&report.payment)).cloned();
                before.reversal = model.reversals.get(&report.key()).cloned();
            }
            Tx::RetryRefund(id, _) => before.refund = store.model.refunds.get(id).cloned(),
            _ => {}
        }
        before
    }

    pub(super) fn read_order(&mut self, store: &SimStore, id: &TicketId) {
        let model = &store.model;
        self.checkout = model.checkouts.get(id).cloned();
        let Some(order) = model.orders.get(id) else { return };
        self.item = model.items.get(&order.item).cloned();
        self.in_slots = in_slots(store, order.item);
        self.used = model.quotas.get(&(order.item, order.buyer.clone())).copied().unwrap_or(0);
        let each = model.prices.get(&order.item);
        self.price = each.map(|p| Money {
            minor: p.minor * i64::from(order.units.get()),
            currency: p.currency.clone(),
        });
        self.order = Some(order.clone());
    }
}

fn in_slots(store: &SimStore, item: ItemId) -> u64 {
    let open = store.model.grants.values().filter(|g| g.open && g.slot.item == item);
    open.map(|g| g.granted.saturating_sub(g.settled)).sum()
}
