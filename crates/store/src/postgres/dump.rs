//! Reads whole tables as the model that tests compare with the rules.
use tokio_postgres::{Client, Row};

use doorbuster_core::event::Subject;
use doorbuster_core::model::Model;
use doorbuster_core::money::Money;
use doorbuster_core::{BuyerId, ItemId, Millis};

use crate::store::StoreResult;

use super::Postgres;
use super::check::snapshot;
use super::failure::Failure;
use super::rows::{self, money};
use super::{events, waitlist};

impl Postgres {
    pub(crate) async fn dump(&self) -> StoreResult<Model> {
        let shared = self.shared();
        shared.check_accepting()?;
        snapshot(shared, dump).await.map_err(|failure| shared.store_error(failure))
    }
}

async fn all<T>(
    client: &Client,
    sql: &str,
    read: impl Fn(&Row) -> Result<T, Failure>,
) -> Result<Vec<T>, Failure> {
    client.query(sql, &[]).await?.iter().map(read).collect()
}

async fn dump(client: &Client) -> Result<Model, Failure> {
    let mut model = Model::default();
    for item in
        all(client, concat!("SELECT ", rows::item_columns!(), " FROM item"), rows::item).await?
    {
        model.items.insert(item.id, item);
    }
    let stopped = "SELECT i.id FROM item i JOIN sale s ON s.id = i.sale_id
                   WHERE s.phase NOT IN ('scheduled', 'open')";
    model.stopped.extend(all(client, stopped, |row| Ok(ItemId(row.try_get(0)?))).await?);
    let over = "SELECT i.id FROM item i JOIN sale s ON s.id = i.sale_id WHERE s.phase = 'closed'";
    model.over.extend(all(client, over, |row| Ok(ItemId(row.try_get(0)?))).await?);
    for grant in
        all(client, concat!("SELECT ", rows::grant_columns!(), " FROM slot_grant"), rows::grant)
            .await?
    {
        model.grants.insert(grant.id, grant);
    }
    for row in
        all(client, concat!("SELECT ", rows::feed_columns!(), " FROM feed"), rows::feed).await?
    {
        model.feed.insert((row.grant, row.seq), row);
    }
    let resolutions = concat!("SELECT ", rows::resolution_columns!(), " FROM resolution r");
    for row in all(client, resolutions, rows::resolution).await? {
        model.numbers.extend(row.n.map(|n| ((row.grant, n), row.ticket)));
        model.resolutions.insert(row.ticket, row);
    }
    for order in
        all(client, concat!("SELECT ", rows::order_columns!(), " FROM orders o"), rows::order)
            .await?
    {
        model.numbers.insert((order.grant, order.n), order.id);
        model.requests.insert((order.buyer.clone(), order.key.clone()), order.id);
        model.orders.insert(order.id, order);
    }
    let quotas = all(client, "SELECT item_id, buyer, used FROM quota", |row| {
        let buyer = rows::parse_text(row, 1, "buyer", BuyerId::new)?;
        Ok(((ItemId(row.try_get(0)?), buyer), rows::small(row, 2, "quota")?))
    });
    model.quotas.extend(quotas.await?);
    for recall in
        all(client, concat!("SELECT ", rows::recall_columns!(), " FROM recall"), rows::recall)
            .await?
    {
        model.recalls.insert(recall.id, recall);
    }
    for entry in all(
        client,
        concat!("SELECT ", waitlist::entry_columns!(), " FROM waitlist w"),
        waitlist::row,
    )
    .await?
    {
        model.waitlist.insert((entry.item, entry.n), entry);
    }
    dump_money(client, &mut model).await?;
    Ok(model)
}

/// Reads events, prices, messages, payments, refunds and checkouts. Events of sales are left out,
/// because the rules do not know sales.
async fn dump_money(client: &Client, model: &mut Model) -> Result<(), Failure> {
    let sql = concat!(
        "SELECT ",
        events::event_columns!(),
        " FROM ",
        events::event_rows!(),
        " ORDER BY e.seq"
    );
    let events = all(client, sql, events::stored_event).await?.into_iter().map(|row| row.event);
    model.events.extend(events.filter(|event| !matches!(event.subject, Subject::Sale(_))));
    let prices = all(client, "SELECT id, price_minor, currency FROM item", |row| {
        Ok((ItemId(row.try_get(0)?), Money { minor: row.try_get(1)?, currency: row.try_get(2)? }))
    });
    model.prices.extend(prices.await?);
    let inbox = all(client, "SELECT provider, event_id, at FROM inbox", |row| {
        Ok(((row.try_get(0)?, row.try_get(1)?), Millis(row.try_get(2)?)))
    });
    model.inbox.extend(inbox.await?);
    let payments = concat!("SELECT ", money::payment_columns!(), " FROM payment p");
    for row in all(client, payments, money::payment).await? {
        model.payments.insert(row.id.clone(), row);
    }
    for row in
        all(client, concat!("SELECT ", money::refund_columns!(), " FROM refund r"), money::refund)
            .await?
    {
        model.refunds.insert(row.id.clone(), row);
    }
    let checkouts = concat!("SELECT ", money::checkout_columns!(), " FROM checkout c");
    for row in all(client, checkouts, money::checkout).await? {
        model.checkouts.insert(row.order, row);
    }
    Ok(())
}
