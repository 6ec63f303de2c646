//! Reads whole tables into a [`Model`]. Tests compare the result with a `Model` that the functions
//! of `doorbuster-core` changed in memory.
use doorbuster_core::event::Subject;
use doorbuster_core::model::Model;
use doorbuster_core::money::Money;
use doorbuster_core::{BuyerId, ItemId, Millis};

use crate::failure::Done;
use crate::rows::events::{select_events, stored_event};
use crate::rows::money::{
    checkout_columns, dispute_columns, payment_columns, refund_columns, returned_columns,
};
use crate::rows::waitlist::{entry, entry_columns};
use crate::rows::{self, money};
use crate::sql::Row;

pub(crate) struct Table {
    pub(crate) sql: &'static str,
    pub(crate) add: fn(&mut Model, Row<'_>) -> Done<()>,
}

const fn table(sql: &'static str, add: fn(&mut Model, Row<'_>) -> Done<()>) -> Table {
    Table { sql, add }
}

fn add_reversal(model: &mut Model, row: Row<'_>) -> Done<()> {
    let reversal = money::reversal(row)?;
    model.reversals.insert(reversal.key.clone(), reversal);
    Ok(())
}

/// SQLite and PostgreSQL run the same queries.
pub(crate) const TABLES: &[Table] = &[
    table(concat!("SELECT ", rows::item_columns!(), " FROM item"), |model, row| {
        let item = rows::item(row)?;
        model.items.insert(item.id, item);
        Ok(())
    }),
    table(
        "SELECT i.id FROM item i JOIN sale s ON s.id = i.sale_id
         WHERE s.phase NOT IN ('scheduled', 'open')",
        |model, row| {
            model.stopped.insert(ItemId(row.get(0)?));
            Ok(())
        },
    ),
    table(
        "SELECT i.id FROM item i JOIN sale s ON s.id = i.sale_id WHERE s.phase = 'closed'",
        |model, row| {
            model.over.insert(ItemId(row.get(0)?));
            Ok(())
        },
    ),
    table(concat!("SELECT ", rows::grant_columns!(), " FROM slot_grant"), |model, row| {
        let grant = rows::grant(row)?;
        model.grants.insert(grant.id, grant);
        Ok(())
    }),
    table(concat!("SELECT ", rows::feed_columns!(), " FROM feed"), |model, row| {
        let row = rows::feed(row)?;
        model.feed.insert((row.grant, row.seq), row);
        Ok(())
    }),
    table(concat!("SELECT ", rows::resolution_columns!(), " FROM resolution r"), |model, row| {
        let row = rows::resolution(row)?;
        model.numbers.extend(row.n.map(|n| ((row.grant, n), row.ticket)));
        model.resolutions.insert(row.ticket, row);
        Ok(())
    }),
    table(concat!("SELECT ", rows::order_columns!(), " FROM orders o"), |model, row| {
        let order = rows::order(row)?;
        model.numbers.insert((order.grant, order.n), order.id);
        model.requests.insert((order.buyer.clone(), order.key.clone()), order.id);
        model.orders.insert(order.id, order);
        Ok(())
    }),
    table("SELECT item_id, buyer, used FROM quota", |model, row| {
        let buyer = row.parse(1, "buyer", BuyerId::new)?;
        model.quotas.insert((ItemId(row.get(0)?), buyer), row.number_u32(2, "quota")?);
        Ok(())
    }),
    table(concat!("SELECT ", rows::recall_columns!(), " FROM recall"), |model, row| {
        let recall = rows::recall(row)?;
        model.recalls.insert(recall.id, recall);
        Ok(())
    }),
    table(concat!("SELECT ", entry_columns!(), " FROM waitlist w"), |model, row| {
        let entry = entry(row)?;
        model.waitlist.insert((entry.item, entry.n), entry);
        Ok(())
    }),
    // The model has no sales, so events of sales are left out. The model has no positions of
    // events, so the query selects `seq` in place of the position.
    table(select_events!("e.seq", "ORDER BY e.seq"), |model, row| {
        let event = stored_event(row)?.event;
        model.events.extend(Some(event).filter(|e| !matches!(e.subject, Subject::Sale(_))));
        Ok(())
    }),
    table("SELECT id, price_minor, currency FROM item", |model, row| {
        let price = Money { minor: row.get(1)?, currency: row.get(2)? };
        model.prices.insert(ItemId(row.get(0)?), price);
        Ok(())
    }),
    table("SELECT provider, event_id, at FROM inbox", |model, row| {
        model.inbox.insert((row.get(0)?, row.get(1)?), Millis(row.get(2)?));
        Ok(())
    }),
    table(concat!("SELECT ", payment_columns!(), " FROM payment p"), |model, row| {
        let payment = money::payment(row)?;
        model.payments.insert(payment.id.clone(), payment);
        Ok(())
    }),
    table(concat!("SELECT ", refund_columns!(), " FROM refund r"), |model, row| {
        let refund = money::refund(row)?;
        model.refunds.insert(refund.id.clone(), refund);
        Ok(())
    }),
    table(
        concat!("SELECT ", returned_columns!(), " FROM reversal r WHERE r.kind = 'returned'"),
        add_reversal,
    ),
    table(concat!("SELECT ", dispute_columns!(), " FROM dispute d"), add_reversal),
    table(concat!("SELECT ", checkout_columns!(), " FROM checkout c"), |model, row| {
        let checkout = money::checkout(row)?;
        model.checkouts.insert(checkout.order, checkout);
        Ok(())
    }),
];
