//! R5: how many requests per second become durable orders without HTTP, compared with SQLite
//! inserts of the same rows.
//!
//! Our side does what the server does behind its HTTP layer: while it settles one batch of tickets,
//! it issues the tickets of the next batch. The peer is a program with the same schema, which
//! inserts the rows that our side wrote.
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use doorbuster_core::limits::{DECIDE_WITHIN_MS, SETTLE_BATCH_MAX};
use doorbuster_core::sale::PhaseStep;
use doorbuster_core::slot::{GrantTerms, SlotBounds, TicketAnswer, TicketRequest};
use doorbuster_core::{
    BuyerId, GrantId, IdKey, Millis, NodeId, RequestKey, SlotKey, Stock, Token, Units, Verdict,
};
use doorbuster_harness::audit;
use doorbuster_slots::{DequeuedTicket, Slots};
use doorbuster_store::conformance::{new_item, new_sale};
use doorbuster_store::{NewItem, NewSale, SqliteOptions, Store};
use tokio::sync::Semaphore;

use super::figure_or_invalid;
use crate::config::BenchConfig;
use crate::figure::{Figure, Target, compare_alternating};
use crate::limits::{PEER_BATCH, TICKETS, TICKETS_QUICK};
use crate::peer::sqlite;

const TARGET: Target = Target::AtLeast { floor: 1.0, goal: 1.5 };
const MEASURED: &str = "durable reservations without HTTP";
/// The largest number of tickets that wait for a verdict at the same time. In a server, each of
/// these tickets would belong to a different connection.
const UNDER_WAY: usize = 4 * SETTLE_BATCH_MAX;
const KEY: [u8; 32] = [7; 32];

/// Measures R5.
pub fn measure(config: &BenchConfig, _ids: &[&'static str]) -> Vec<Figure> {
    vec![figure_or_invalid("R5", MEASURED, TARGET, against_inserts(config))]
}

fn against_inserts(config: &BenchConfig) -> Result<Figure> {
    let count = if config.quick { TICKETS_QUICK } else { TICKETS };
    let names: Vec<(BuyerId, RequestKey)> = (0..count).filter_map(|n| names(n as u64)).collect();
    let source = config.temp_dir("rows")?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(settle(source.path(), &names))?;
    let rows = sqlite::Rows::read(&sqlite::file_in(source.path())?)?;
    let ours = || {
        let dir = config.temp_dir("settling")?;
        let time = runtime.block_on(settle(dir.path(), &names))?;
        let report = audit::run(&audit::StoreLocation::Sqlite(sqlite::file_in(dir.path())?), None)?;
        ensure!(report.audit.ok, "the auditor found {:?}", report.audit.findings);
        ensure!(
            report.orders_checked == count as u64,
            "{count} tickets were settled, but the store has {} orders",
            report.orders_checked
        );
        Ok(count as f64 / time.as_secs_f64())
    };
    let peer = || {
        let dir = config.temp_dir("inserts")?;
        Ok(count as f64 / rows.insert(&dir.path().join("peer.sqlite3"), PEER_BATCH)?.as_secs_f64())
    };
    let comparison = compare_alternating(config.rounds, ours, peer)?;
    Ok(Figure::new("R5", MEASURED, TARGET).comparison(&comparison, "/s", "inserts /s").note(format!(
        "{count} buyers; our side settles batches of at most {SETTLE_BATCH_MAX} tickets, the peer \
         inserts {PEER_BATCH} orders at once; both write the same rows; the audits are clean"
    )))
}

/// Returns a buyer's id and a request key. They are like the ids and keys of real shops: long, and
/// not in ascending order. Short or ascending keys would make the inserts faster.
fn names(number: u64) -> Option<(BuyerId, RequestKey)> {
    let mixed = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    Some((
        BuyerId::new(&format!("buyer-{:08}-{number}", mixed % 100_000_000))?,
        RequestKey::new(&format!("{mixed:016x}{number:016x}"))?,
    ))
}

/// Issues and settles a ticket for each name. Returns the time from the first ticket to the last
/// verdict.
async fn settle(dir: &Path, names: &[(BuyerId, RequestKey)]) -> Result<Duration> {
    let key = IdKey::new(KEY);
    let store = Store::open_sqlite(SqliteOptions {
        dir: dir.to_owned(),
        id_key: key.clone(),
        clock: Arc::new(now),
        sink: Arc::new(|_| {}),
        on_fatal: Arc::new(|reason| eprintln!("bench: the store failed: {reason}")),
    })?;
    let slots = Slots::local(key.clone(), SlotBounds::default());
    let slot = open(&store, &slots, names.len() as u64).await?;
    let places = Arc::new(Semaphore::new(UNDER_WAY));
    let start = Instant::now();
    let settler = tokio::spawn(settler(store.clone(), slots.clone(), places.clone(), names.len()));
    for batch in names.chunks(SETTLE_BATCH_MAX / 4) {
        places.acquire_many(batch.len() as u32).await?.forget();
        for (buyer, request_key) in batch {
            let answer = slots.ticket(slot, &request(&key, buyer, request_key)).await?;
            ensure!(matches!(answer, TicketAnswer::Issued(_)), "a ticket was refused: {answer:?}");
        }
    }
    settler.await??;
    let time = start.elapsed();
    let counts = store.counts(None).await?;
    ensure!(
        counts.iter().map(|c| c.held).sum::<u64>() == names.len() as u64,
        "not every unit is held: {counts:?}"
    );
    store.close().await;
    Ok(time)
}

fn now() -> Millis {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// Opens a sale with this many units, and grants all of them to one slot.
async fn open(store: &Store, slots: &Slots, units: u64) -> Result<SlotKey> {
    let item = NewItem {
        price_minor: 10,
        currency: "CNY".into(),
        list_price_minor: None,
        hold_ms: 900_000,
        ..new_item("item", Stock::Counted(units), 1)
    };
    let sale = NewSale { front_door: "{}".into(), ..new_sale("spring", vec![item]) };
    let sale = store.create_sale(sale).await?.context("the new store already has this sale")?;
    store.step_sale("spring", PhaseStep::Open).await?;
    let slot = SlotKey { item: sale.items[0].id, index: 0 };
    let grant =
        store.open_grant(slot, GrantId(1), units).await?.context("the item does not exist")?;
    let terms = GrantTerms {
        grant: grant.id,
        epoch: grant.epoch,
        counted: true,
        available: grant.granted,
        threshold: 0,
    };
    slots.init(slot, terms).await?;
    store.acknowledge_init(grant.id).await?;
    Ok(slot)
}

fn request(key: &IdKey, buyer: &BuyerId, request_key: &RequestKey) -> TicketRequest {
    TicketRequest {
        token: Token(rand::random::<u64>() >> 16),
        buyer: buyer.clone(),
        key: request_key.clone(),
        buyer_hash: key.buyer_hash(buyer.as_str()),
        request: key.request_hash(buyer.as_str(), request_key.as_str()),
        units: Units::new(1).expect("one is in range"),
        limit: 1,
        decide_by: now().plus(DECIDE_WITHIN_MS),
        node: NodeId(1),
    }
}

async fn settler(
    store: Store,
    slots: Slots,
    places: Arc<Semaphore>,
    mut left: usize,
) -> Result<()> {
    while left > 0 {
        let taken = slots.take(SETTLE_BATCH_MAX).await?;
        let tickets = taken.iter().map(|t| t.delivery.ticket.clone()).collect();
        let resolved = store.settle(tickets).await?;
        ensure!(
            resolved.iter().all(|r| r.verdict == Verdict::Reserved),
            "not every ticket became an order"
        );
        let done: Vec<_> = taken.iter().map(DequeuedTicket::delivery_ref).collect();
        slots.acknowledge(&done).await?;
        left -= taken.len();
        places.add_permits(taken.len());
    }
    Ok(())
}
