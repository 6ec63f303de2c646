//! Converts the store's rows to the types of the API's contract.

mod money;

use doorbuster_api::admin::sale::{AdminItem, AdminSale};
use doorbuster_api::admin::stock::StockRow;
use doorbuster_api::order::{
    Order, OrderedItem, QueuedOrder, RefusalCode, RefusedOrder, WaitingOrder,
};
use doorbuster_api::sale::{Item, Sale};
use doorbuster_api::value::{Currency, Money, Stock, Time};
use doorbuster_core as core;
use doorbuster_core::{Millis, TicketId, Units, Verdict, WaitlistEntry};
use doorbuster_store::{ItemCounts, ItemRow, SaleRow};

use crate::catalogue::{self, Catalogue, ItemState, SaleState};
use crate::page_document;
pub use money::{history, order_refund, payment, refund};

/// Converts a time of the store to a time of the API.
pub fn time(millis: Millis) -> Time {
    Time::from_millis(millis.0)
}

/// Converts an amount of money. `currency` is the currency's code as the store has it.
pub fn amount(amount_minor: i64, currency: &str) -> Money {
    let currency = Currency::parse(currency)
        .expect("the store has only currencies that `Currency::parse` accepts");
    Money { amount_minor, currency }
}

/// Converts an order. `item` is the order's item.
pub fn order(order: &core::Order, item: &ItemState) -> Order {
    Order {
        id: order.id.to_string(),
        sale: item.sale.to_string(),
        item: item.row.name.clone(),
        buyer: order.buyer.to_string(),
        units: order.units.get(),
        // A price does not change after its sale has opened, so the item's present price is the
        // order's price. The price and the units are bounded, so their product cannot overflow.
        amount: amount(
            item.row.price_minor.saturating_mul(i64::from(order.units.get())),
            &item.row.currency,
        ),
        state: order.state,
        reserved_at: time(order.reserved_at),
        pay_by: time(order.pay_by),
        paid_at: order.paid_at.map(time),
        ended_at: order.ended_at.map(time),
    }
}

/// Returns what a list of orders shows of the item: the sale, the name, the title and the image.
pub fn ordered_item(item: &ItemState) -> OrderedItem {
    OrderedItem {
        sale: item.sale.to_string(),
        item: item.row.name.clone(),
        title: page_document::item_texts(&item.row).title,
        image: item.row.image.clone(),
    }
}

/// Converts an order, and finds its item in the catalogue. The catalogue has the item of every
/// order, because the server deletes only draft sales, and a draft has no orders.
pub fn order_in(catalogue: &Catalogue, row: &core::Order) -> Option<Order> {
    catalogue.item_by_id(row.item).map(|item| order(row, item))
}

/// Converts a purchase request that has no verdict yet.
pub fn queued(
    id: TicketId,
    buyer: &str,
    item: &ItemState,
    units: Units,
    decide_by: Millis,
) -> QueuedOrder {
    QueuedOrder {
        id: id.to_string(),
        sale: item.sale.to_string(),
        item: item.row.name.clone(),
        buyer: buyer.to_owned(),
        units: units.get(),
        state: Default::default(),
        decide_by: time(decide_by),
    }
}

/// Converts a waitlist entry that waits for a unit.
pub fn waiting(item: &ItemState, entry: &WaitlistEntry, ahead: u64) -> WaitingOrder {
    WaitingOrder {
        id: entry.id.to_string(),
        sale: item.sale.to_string(),
        item: item.row.name.clone(),
        buyer: entry.buyer.to_string(),
        units: Units::ONE.get(),
        state: Default::default(),
        ahead,
        joined_at: time(entry.joined_at),
    }
}

/// Converts a refused purchase request, or a waitlist entry that ended without an order.
pub fn refused(
    id: TicketId,
    buyer: &str,
    item: &ItemState,
    units: Units,
    code: RefusalCode,
) -> RefusedOrder {
    RefusedOrder {
        id: id.to_string(),
        sale: item.sale.to_string(),
        item: item.row.name.clone(),
        buyer: buyer.to_owned(),
        units: units.get(),
        state: Default::default(),
        code,
    }
}

/// Returns the API's refusal code for a verdict that refuses a request.
pub fn refusal_code(verdict: Verdict) -> RefusalCode {
    match verdict {
        Verdict::LimitReached => RefusalCode::LimitReached,
        Verdict::KeyReused => RefusalCode::IdempotencyKeyReused,
        // For `Reserved` and `Order`, the API shows an order, so this code is only a fallback.
        Verdict::Reserved | Verdict::Order(_) | Verdict::Unavailable => RefusalCode::Unavailable,
    }
}

/// Converts a sale for buyers.
pub fn sale(row: &SaleRow) -> Sale {
    Sale {
        id: row.id.clone(),
        title: page_document::sale_title(row),
        starts_at: row.starts_at.map(time),
        ends_at: row.ends_at.map(time),
        items: row.items.iter().map(item).collect(),
    }
}

fn item(row: &ItemRow) -> Item {
    let texts = page_document::item_texts(row);
    Item {
        id: row.name.clone(),
        title: texts.title,
        description: texts.description,
        image: row.image.clone(),
        gallery: texts.gallery,
        facts: texts.facts,
        price: amount(row.price_minor, &row.currency),
        list_price: row.list_price_minor.map(|minor| amount(minor, &row.currency)),
        limit_per_buyer: row.limit,
        hold_secs: hold_secs(row),
    }
}

fn hold_secs(row: &ItemRow) -> u32 {
    u32::try_from(row.hold_ms / 1_000).unwrap_or(u32::MAX)
}

/// Converts a sale for operators. `row` has just been read from the store. `known` is the sale in
/// this node's catalogue. `known` may be older than `row`, but only `known` has the items' stock.
pub fn admin_sale(row: &SaleRow, known: Option<&SaleState>) -> AdminSale {
    let stock = |id: core::ItemId| {
        let item = known.and_then(|sale| sale.items.iter().find(|item| item.row.id == id));
        item.map_or(Stock::Counted(0), |item| stock(item.gauge.counts().total))
    };
    AdminSale {
        id: row.id.clone(),
        title: page_document::sale_title(row),
        phase: row.phase,
        starts_at: row.starts_at.map(time),
        ends_at: row.ends_at.map(time),
        items: row
            .items
            .iter()
            .map(|row| {
                let public = item(row);
                AdminItem {
                    id: public.id,
                    title: public.title,
                    price: public.price,
                    stock: stock(row.id),
                    limit_per_buyer: public.limit_per_buyer,
                    hold_secs: public.hold_secs,
                    description: public.description,
                    image: public.image,
                    gallery: public.gallery,
                    facts: public.facts,
                    list_price: public.list_price,
                }
            })
            .collect(),
        front_door: catalogue::front_door(row),
    }
}

/// Converts stock.
pub fn stock(stock: core::Stock) -> Stock {
    match stock {
        core::Stock::Counted(units) => Stock::Counted(u32::try_from(units).unwrap_or(u32::MAX)),
        core::Stock::Unlimited => Stock::UNLIMITED,
    }
}

/// Converts an item's counts of units: in the pool, in slots, held, paid and kept.
pub fn stock_row(item: &str, counts: &ItemCounts) -> StockRow {
    let counted = |units: u64| counts.total.is_counted().then_some(units);
    StockRow {
        item: item.to_owned(),
        total: match counts.total {
            core::Stock::Counted(units) => Some(units),
            core::Stock::Unlimited => None,
        },
        pool: counted(counts.pool),
        in_slots: counted(counts.in_slots),
        held: counts.held,
        paid: counts.paid,
        kept: counts.kept,
        waiting: counts.waiting,
    }
}
