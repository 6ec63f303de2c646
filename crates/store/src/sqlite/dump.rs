//! Reads whole tables as the model that tests compare with the rules.
use rusqlite::{Connection, params};

use doorbuster_core::model::Model;
use doorbuster_core::money::Money;
use doorbuster_core::{BuyerId, Item, ItemId, Millis, Phase, Stock};

use crate::contract::StoreError;
use crate::limits::STATEMENTS_MAX;
use crate::store::StoreResult;

use super::Sqlite;
use super::failure::Failure;
use super::ledger::SqliteLedger;
use super::money::{payment_columns, payment_row, refund_columns, refund_row};
use super::rows::{self, int};
use super::statements::Statements;
use super::txn::Txn;
use super::{checkouts, events, open, read::Reader, waitlist};

type Done<T> = Result<T, Failure>;

/// Reads every row.
fn dump(sql: &mut Reader<'_>) -> Done<Model> {
    let mut model = Model::default();
    for item in sql.all(concat!("SELECT ", rows::item_columns!(), " FROM item"), [], rows::item)? {
        model.items.insert(item.id, item);
    }
    model.stopped.extend(sql.all(
        "SELECT item.id FROM item JOIN sale ON sale.id = item.sale_id WHERE phase NOT IN \
         ('scheduled', 'open')",
        [],
        |row| Ok(ItemId(row.get(0)?)),
    )?);
    let over =
        "SELECT item.id FROM item JOIN sale ON sale.id = item.sale_id WHERE phase = 'closed'";
    model.over.extend(sql.all(over, [], |row| Ok(ItemId(row.get(0)?)))?);
    for grant in
        sql.all(concat!("SELECT ", rows::grant_columns!(), " FROM slot_grant"), [], rows::grant)?
    {
        model.grants.insert(grant.id, grant);
    }
    for row in sql.all(concat!("SELECT ", rows::feed_columns!(), " FROM feed"), [], rows::feed)? {
        model.feed.insert((row.grant, row.seq), row);
    }
    for row in sql.all(
        concat!("SELECT ", rows::resolution_columns!(), " FROM resolution"),
        [],
        rows::resolution,
    )? {
        model.numbers.extend(row.n.map(|n| ((row.grant, n), row.ticket)));
        model.resolutions.insert(row.ticket, row);
    }
    for order in
        sql.all(concat!("SELECT ", rows::order_columns!(), " FROM orders"), [], rows::order)?
    {
        model.numbers.insert((order.grant, order.n), order.id);
        model.requests.insert((order.buyer.clone(), order.key.clone()), order.id);
        model.orders.insert(order.id, order);
    }
    let quotas = sql.all("SELECT item_id, buyer, used FROM quota", [], |row| {
        let buyer = row.get_ref(1)?.as_str().ok().and_then(BuyerId::new);
        let buyer = buyer.ok_or_else(|| Failure::Row("a quota row has no buyer".to_owned()))?;
        Ok(((ItemId(row.get(0)?), buyer), row.get(2)?))
    })?;
    model.quotas.extend(quotas);
    for recall in
        sql.all(concat!("SELECT ", rows::recall_columns!(), " FROM recall"), [], rows::recall)?
    {
        model.recalls.insert(recall.id, recall);
    }
    for entry in sql.all(
        concat!("SELECT ", waitlist::entry_columns!(), " FROM waitlist"),
        [],
        waitlist::row,
    )? {
        model.waitlist.insert((entry.item, entry.n), entry);
    }
    money(sql, &mut model)?;
    Ok(model)
}

/// Reads events, prices, messages, payments, refunds and checkouts.
fn money(sql: &mut Reader<'_>, model: &mut Model) -> Done<()> {
    let events = sql.all(
        concat!(
            "SELECT ",
            events::event_columns!(),
            " FROM ",
            events::event_rows!(),
            " WHERE e.sale_id IS NULL ORDER BY e.seq"
        ),
        [],
        events::stored_event,
    )?;
    model.events.extend(events.into_iter().map(|stored| stored.event));
    model.prices.extend(sql.all("SELECT id, price_minor, currency FROM item", [], |row| {
        Ok((ItemId(row.get(0)?), Money { minor: row.get(1)?, currency: row.get(2)? }))
    })?);
    model.inbox.extend(sql.all("SELECT provider, event_id, at FROM inbox", [], |row| {
        Ok(((row.get(0)?, row.get(1)?), Millis(row.get(2)?)))
    })?);
    let payments = concat!("SELECT ", payment_columns!(), " FROM payment");
    model
        .payments
        .extend(sql.all(payments, [], payment_row)?.into_iter().map(|row| (row.id.clone(), row)));
    let refunds = concat!("SELECT ", refund_columns!(), " FROM refund");
    model
        .refunds
        .extend(sql.all(refunds, [], refund_row)?.into_iter().map(|row| (row.id.clone(), row)));
    let checkouts = concat!("SELECT ", checkouts::checkout_columns!(), " FROM checkout c");
    model
        .checkouts
        .extend(sql.all(checkouts, [], checkouts::row)?.into_iter().map(|row| (row.order, row)));
    Ok(())
}

impl Sqlite {
    pub(crate) async fn dump(&self) -> StoreResult<Model> {
        self.read(dump).await
    }
}

/// A store in memory, without threads.
pub struct Memory(Connection);

impl Memory {
    pub(crate) fn open() -> StoreResult<Self> {
        let mut conn = Connection::open_in_memory().map_err(Failure::from)?;
        conn.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
        open::migrate(&mut conn).map_err(|e| StoreError::Unexpected(e.to_string()))?;
        Ok(Self(conn))
    }

    pub(crate) fn insert_item(&mut self, item: &Item) -> Done<()> {
        let total = match item.total {
            Stock::Counted(units) => Some(int(units)),
            Stock::Unlimited => None,
        };
        self.0.execute(
            "INSERT INTO sale (id, title, phase, front_door, version, created_at) VALUES (?1, '', \
             'open', '{}', 1, 0)",
            params![item.id.0.to_string()],
        )?;
        self.0.execute(
            "INSERT INTO item (id, sale_id, name, title, description, price_minor, currency,
             limit_per_buyer, hold_ms, initial_total,
                               total, pool, ended, paid)
             VALUES (?1, ?1, ?1, '', '', 0, 'CNY', ?2, ?3, ?4, ?4, ?5, ?6, ?7)",
            params![
                item.id.0,
                item.limit,
                item.hold_ms,
                total,
                int(item.pool),
                int(item.ended),
                int(item.paid)
            ],
        )?;
        Ok(())
    }

    pub(crate) fn set_price(&mut self, item: ItemId, price: &Money) -> Done<()> {
        let text = "UPDATE item SET price_minor = ?2, currency = ?3 WHERE id = ?1";
        self.0.execute(text, params![item.0, price.minor, price.currency])?;
        Ok(())
    }

    pub(crate) fn set_phase(&mut self, item: ItemId, phase: Phase) -> Done<()> {
        self.0.execute(
            "UPDATE sale SET phase = ?2 WHERE id = ?1",
            params![item.0.to_string(), phase.as_str()],
        )?;
        Ok(())
    }

    pub(crate) fn run<T>(
        &mut self,
        now: Millis,
        work: impl FnOnce(&mut SqliteLedger<'_>) -> Done<T>,
    ) -> Done<T> {
        let mut txn = Txn::new(Statements::new(&self.0));
        txn.begin()?;
        txn.set_now(now);
        let outcome = txn.attempt(work);
        txn.commit()?;
        outcome
    }

    pub(crate) fn dump(&mut self) -> Done<Model> {
        dump(&mut Statements::new(&self.0))
    }
}
