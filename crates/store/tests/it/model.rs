//! Runs random lists of transactions on a backend and on the in-memory model of `doorbuster-core`.
//! After each transaction, the answers and the rows must be equal.
use std::cell::RefCell;
use std::sync::Arc;

use doorbuster_core::event::{Attribution, Event, Subject};
use doorbuster_core::limits::{PROVIDER_CHECK_WITHIN_MS, PROVIDER_GRACE_MS};
use doorbuster_core::model::Model;
use doorbuster_core::order::{self, ChangeOutcome, EndReason};
use doorbuster_core::sale::PhaseStep;
use doorbuster_core::{
    BuyerId, CloseCause, Counter, GrantId, Item, ItemId, Ledger, Millis, NodeId, Order, Phase,
    RecallId, RecallTarget, RequestKey, SlotKey, Stock, Ticket, TicketId, TicketN, Token, Units,
    Verdict, recall, settle, stock,
};
use doorbuster_store::conformance::{Clock, Fixture, HOLD_MS, id_key, new_item, new_sale};
use doorbuster_store::{Store, inspect};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::cluster;
use crate::fixture::{Dir, open, open_postgres};

mod money;

/// A ticket with values from a small range, so that the same numbers, buyers and keys repeat.
#[derive(Clone, Debug)]
struct Seed {
    grant: u64,
    n: u64,
    buyer: u8,
    key: u8,
    units: u32,
    late: bool,
}

#[derive(Clone, Debug)]
enum Op {
    Open { slot: u32, id: u64, units: u64 },
    Ack(u64),
    Refill(u64, u64),
    Close(u64, usize),
    BeginRecall { id: u64, grant: u64, to: Option<u64>, units: u64 },
    FinishRecall(u64, u64),
    Adjust(usize, i64),
    Settle(Vec<Seed>),
    Again(Index),
    Force(Index),
    End(Index, EndReason),
    Pay(Index),
    ExpireDue,
    OnSale(usize, bool),
    Money(Index, money::Op),
    Pass(i64),
}

const GRANTS: u64 = 5;

fn seeds() -> impl Strategy<Value = Seed> {
    (1..=GRANTS, 1..=9_u64, 0..3_u8, 0..4_u8, 1..=3_u32, prop::bool::weighted(0.1))
        .prop_map(|(grant, n, buyer, key, units, late)| Seed { grant, n, buyer, key, units, late })
}

fn ops() -> impl Strategy<Value = Op> {
    let grant = || 1..=GRANTS;
    prop_oneof![
        3 => (0..2_u32, grant(), 0..9_u64)
            .prop_map(|(slot, id, units)| Op::Open { slot, id, units }),
        2 => grant().prop_map(Op::Ack),
        2 => (grant(), 0..9_u64).prop_map(|(id, units)| Op::Refill(id, units)),
        1 => (grant(), 0..CloseCause::ALL.len()).prop_map(|(id, cause)| Op::Close(id, cause)),
        1 => (1..4_u64, grant(), prop::option::of(grant()), 0..6_u64)
            .prop_map(|(id, grant, to, units)| Op::BeginRecall { id, grant, to, units }),
        1 => (1..4_u64, 0..6_u64).prop_map(|(id, units)| Op::FinishRecall(id, units)),
        1 => (0..2_usize, -6..6_i64).prop_map(|(item, units)| Op::Adjust(item, units)),
        9 => vec(seeds(), 1..6).prop_map(Op::Settle),
        2 => any::<Index>().prop_map(Op::Again),
        2 => any::<Index>().prop_map(Op::Force),
        3 => (any::<Index>(), select(vec![EndReason::Cancel, EndReason::Expire, EndReason::Refund]))
            .prop_map(|(at, how)| Op::End(at, how)),
        3 => any::<Index>().prop_map(Op::Pay),
        1 => Just(Op::ExpireDue),
        1 => (0..2_usize, any::<bool>()).prop_map(|(item, on)| Op::OnSale(item, on)),
        9 => money::ops().prop_map(|(at, op)| Op::Money(at, op)),
        1 => select(vec![1, 40, HOLD_MS, PROVIDER_GRACE_MS, PROVIDER_CHECK_WITHIN_MS])
            .prop_map(Op::Pass),
    ]
}

/// The items of a run, and the tickets and orders that the run has made.
struct World {
    now: Millis,
    items: [ItemId; 2],
    tickets: Vec<Arc<Ticket>>,
    /// The orders, oldest first.
    made: Vec<TicketId>,
    /// The orders that the store has expired, in the store's sequence. If several orders become due
    /// at the same time, the model expires them in this sequence.
    expired: RefCell<Vec<TicketId>>,
}

impl World {
    fn item_of(&self, grant: u64) -> ItemId {
        self.items[usize::from(grant == GRANTS)]
    }

    fn ticket(&mut self, seed: &Seed) -> Arc<Ticket> {
        let ticket = Arc::new(Ticket {
            token: Token(u64::from(seed.units)),
            grant: GrantId(seed.grant),
            n: TicketN(seed.n),
            item: self.item_of(seed.grant),
            buyer: BuyerId::new(["anna", "bert", "cleo"][usize::from(seed.buyer)]).expect("a name"),
            key: RequestKey::new(["a", "b", "c", "d"][usize::from(seed.key)]).expect("a key"),
            units: Units::new(seed.units).expect("in range"),
            decide_by: self.now.plus(if seed.late { -1 } else { 60 }),
            node: NodeId(0),
        });
        self.tickets.push(Arc::clone(&ticket));
        ticket
    }

    fn some(&self, at: &Index) -> Option<Arc<Ticket>> {
        (!self.tickets.is_empty()).then(|| Arc::clone(at.get(&self.tickets)))
    }
}

fn text(answer: impl std::fmt::Debug) -> String {
    format!("{answer:?}")
}

/// Both counters get refills.
fn counter_of(units: u64) -> Counter {
    Counter::ALL[units as usize % 2]
}

/// Expires the due orders. The order that became due first expires first. An order with an open
/// checkout becomes due later, because the provider gets time to answer.
fn expire_due<L: Ledger>(world: &World, ledger: &mut L) -> Result<Vec<Order>, L::Error> {
    let mut due = Vec::new();
    for made in &world.made {
        let (checkout, order) = (ledger.checkout(made)?, ledger.order(made)?);
        due.extend(order.map(|o| {
            (
                o.pay_by.plus(checkout.map_or(0, |checkout| checkout.provider_wait_ms(o.pay_by))),
                o.id,
            )
        }));
    }
    let expired = world.expired.borrow();
    let place = |id: &TicketId| expired.iter().position(|it| it == id);
    due.sort_by_key(|(due, id)| (*due, place(id)));
    let mut expired = Vec::new();
    for (_, id) in due {
        if let ChangeOutcome::Done(order) =
            order::end(ledger, &id, EndReason::Expire, Attribution::ENGINE, world.now)?
        {
            expired.push(order);
        }
    }
    Ok(expired)
}

/// Runs one transaction on any ledger, with the functions of `doorbuster-core`.
fn by_the_rules<L: Ledger>(
    world: &World,
    ledger: &mut L,
    op: &Op,
    tickets: &[Arc<Ticket>],
) -> Result<String, L::Error> {
    let (now, key) = (world.now, id_key());
    let id = |t: &Arc<Ticket>| key.id_of(t);
    Ok(match op {
        Op::Open { slot, id, units } => {
            let slot = SlotKey { item: world.item_of(*id), index: *slot };
            text(stock::open(ledger, slot, GrantId(*id), *units)?)
        }
        Op::Ack(id) => {
            stock::acknowledge_init(ledger, GrantId(*id))?;
            String::new()
        }
        Op::Refill(id, units) => {
            text(stock::refill(ledger, GrantId(*id), *units, counter_of(*units))?)
        }
        Op::Close(id, cause) => text(stock::close(ledger, GrantId(*id), CloseCause::ALL[*cause])?),
        Op::BeginRecall { id, grant, to, units } => {
            let to = to.map_or(RecallTarget::Pool, |to| RecallTarget::Grant(GrantId(to)));
            text(recall::begin(ledger, RecallId(*id), GrantId(*grant), to, *units)?)
        }
        Op::FinishRecall(id, units) => text(recall::finish(ledger, RecallId(*id), *units)?),
        Op::Adjust(item, units) => text(stock::adjust(ledger, world.items[*item], *units, now)?),
        Op::Settle(_) | Op::Again(_) => {
            let mut resolved = Vec::new();
            for ticket in tickets {
                resolved.push(settle::settle(ledger, &key, ticket, now)?);
            }
            text(resolved)
        }
        Op::Force(_) => {
            let Some(ticket) = tickets.first() else { return Ok(String::new()) };
            let parts = id(ticket).parts().expect("a valid id");
            text(settle::force_verdict(ledger, &key, id(ticket), &parts, &ticket.buyer, now)?)
        }
        Op::End(_, how) => {
            let Some(ticket) = tickets.first() else { return Ok(String::new()) };
            text(order::end(ledger, &id(ticket), *how, Attribution::ENGINE, now)?)
        }
        Op::Pay(_) => {
            let Some(ticket) = tickets.first() else { return Ok(String::new()) };
            text(order::pay(ledger, &id(ticket), Attribution::ENGINE, now)?)
        }
        Op::ExpireDue => text(expire_due(world, ledger)?),
        Op::OnSale(item, false) => {
            stock::close_item_grants(ledger, world.items[*item], CloseCause::Rolled)?;
            String::new()
        }
        Op::Money(_, op) => match tickets.first() {
            Some(ticket) => money::by_the_rules(ledger, op, ticket, now)?,
            None => String::new(),
        },
        Op::OnSale(_, true) | Op::Pass(_) => String::new(),
    })
}

fn tickets_of(world: &mut World, op: &Op) -> Vec<Arc<Ticket>> {
    match op {
        Op::Settle(seeds) => seeds.iter().map(|seed| world.ticket(seed)).collect(),
        Op::Again(at) | Op::Force(at) | Op::End(at, _) | Op::Pay(at) | Op::Money(at, _) => {
            world.some(at).into_iter().collect()
        }
        _ => Vec::new(),
    }
}

async fn by_the_store(world: &World, store: &Store, op: &Op, tickets: &[Arc<Ticket>]) -> String {
    let id = |t: &Arc<Ticket>| id_key().id_of(t);
    let first = tickets.first();
    match op {
        Op::Open { slot, id, units } => {
            let slot = SlotKey { item: world.item_of(*id), index: *slot };
            text(store.open_grant(slot, GrantId(*id), *units).await.expect("writes"))
        }
        Op::Ack(id) => {
            store.acknowledge_init(GrantId(*id)).await.expect("writes");
            String::new()
        }
        Op::Refill(id, units) => {
            text(store.refill(GrantId(*id), *units, counter_of(*units)).await.expect("writes"))
        }
        Op::Close(id, cause) => {
            text(store.close_grant(GrantId(*id), CloseCause::ALL[*cause]).await.expect("writes"))
        }
        Op::BeginRecall { id, grant, to, units } => {
            let to = to.map_or(RecallTarget::Pool, |to| RecallTarget::Grant(GrantId(to)));
            text(
                store
                    .begin_recall(RecallId(*id), GrantId(*grant), to, *units)
                    .await
                    .expect("writes"),
            )
        }
        Op::FinishRecall(id, units) => {
            text(store.finish_recall(RecallId(*id), *units).await.expect("writes"))
        }
        Op::Settle(_) | Op::Again(_) => {
            text(store.settle(tickets.to_vec()).await.expect("settles"))
        }
        Op::Force(_) => match first {
            Some(t) => {
                let parts = id(t).parts().expect("a valid id");
                text(store.force_verdict(id(t), parts, t.buyer.clone()).await.expect("writes"))
            }
            None => String::new(),
        },
        Op::End(_, how) => match first {
            Some(t) => text(
                store.end_order(id(t), *how, Attribution::ENGINE.clone()).await.expect("writes"),
            ),
            None => String::new(),
        },
        Op::Pay(_) => match first {
            Some(t) => text(store.pay_order(id(t)).await.expect("writes")),
            None => String::new(),
        },
        Op::ExpireDue => {
            let expired = store.expire_due(1_000).await.expect("writes");
            world.expired.replace(expired.iter().map(|order| order.id).collect());
            text(expired)
        }
        Op::OnSale(item, on) => {
            let step = if *on { PhaseStep::Resume } else { PhaseStep::Pause };
            store.step_sale(&format!("sale-{item}"), step).await.expect("writes");
            String::new()
        }
        Op::Money(_, op) => match first {
            Some(t) => money::by_the_store(store, op, t, world.now).await,
            None => String::new(),
        },
        Op::Adjust(..) | Op::Pass(_) => String::new(),
    }
}

fn items(ids: [ItemId; 2]) -> [Item; 2] {
    let item = |id, total, pool, limit| Item {
        id,
        total,
        pool,
        limit,
        hold_ms: HOLD_MS,
        ended: 0,
        paid: 0,
        waiting: 0,
    };
    [item(ids[0], Stock::Counted(15), 15, 4), item(ids[1], Stock::Unlimited, 0, 3)]
}

fn world(ids: [ItemId; 2], now: Millis) -> (World, Model) {
    let mut model = Model::default();
    model.items.extend(items(ids).map(|item| (item.id, item)));
    model.prices.extend(ids.map(|id| (id, money::price())));
    (
        World {
            now,
            items: ids,
            tickets: Vec::new(),
            made: Vec::new(),
            expired: RefCell::default(),
        },
        model,
    )
}

/// Runs a transaction on the model. Records new orders in `world`, and stopped items in `model`.
fn on_model(world: &mut World, model: &mut Model, op: &Op, tickets: &[Arc<Ticket>]) -> String {
    let Ok(answer) = by_the_rules(world, model, op, tickets);
    for ticket in tickets {
        let id = id_key().id_of(ticket);
        let Ok(resolution) = model.resolution(&id);
        if resolution.is_some_and(|r| r.verdict == Verdict::Reserved) && !world.made.contains(&id) {
            world.made.push(id);
        }
    }
    if let Op::OnSale(item, on) = op {
        match on {
            true => model.stopped.remove(&world.items[*item]),
            false => model.stopped.insert(world.items[*item]),
        };
    }
    answer
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 400, failure_persistence: None, ..ProptestConfig::default()
    })]
    #[test]
    fn the_rules_do_the_same_to_sqlite_as_to_the_model(list in vec(ops(), 1..60)) {
        let (mut world, mut model) = world([ItemId(3), ItemId(8)], Clock::new().now());
        let mut sqlite = inspect::InMemory::open().expect("opens");
        for item in items(world.items) {
            sqlite.insert_item(&item).expect("a fresh number");
            sqlite.set_price(item.id, &money::price()).expect("writes");
        }
        for op in &list {
            world.now = world.now.plus(if let Op::Pass(ms) = op { *ms } else { 1 });
            let tickets = tickets_of(&mut world, op);
            let there = sqlite
                .run(world.now, |ledger| by_the_rules(&world, ledger, op, &tickets))
                .expect("runs");
            if let Op::OnSale(item, on) = op {
                let phase = if *on { Phase::Open } else { Phase::Paused };
                sqlite.set_phase(world.items[*item], phase).expect("an item");
            }
            let here = on_model(&mut world, &mut model, op, &tickets);
            prop_assert_eq!(&there, &here, "{:?}", op);
            prop_assert_eq!(&sqlite.dump().expect("reads"), &model, "after {:?}", op);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 24, failure_persistence: None, ..ProptestConfig::default()
    })]
    #[test]
    fn the_store_does_the_same_as_the_model(list in vec(ops(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let dir = Dir::new();
        runtime.block_on(on_a_store(open(dir.path()), list))?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 12, failure_persistence: None, ..ProptestConfig::default()
    })]
    #[test]
    fn a_store_in_postgresql_does_the_same_as_the_model(list in vec(ops(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let cluster = cluster::shared();
        let url = cluster.url(&cluster.database());
        runtime.block_on(async { on_a_store(open_postgres(&url, 1).await, list).await })?;
    }
}

async fn on_a_store(fixture: Fixture, list: Vec<Op>) -> Result<(), TestCaseError> {
    let mut ids = [ItemId(0); 2];
    for (at, item) in items(ids).into_iter().enumerate() {
        let (id, items) = (format!("sale-{at}"), vec![new_item("item", item.total, item.limit)]);
        ids[at] = fixture
            .store
            .create_sale(new_sale(&id, items))
            .await
            .expect("writes")
            .expect("a free id")
            .items[0]
            .id;
        fixture.store.step_sale(&id, PhaseStep::Open).await.expect("writes");
    }
    let (mut world, mut model) = world(ids, fixture.clock.now());
    // The model has no rows for adjustments. The conformance suite covers adjustments.
    for op in list.iter().filter(|op| !matches!(op, Op::Adjust(..))) {
        fixture.clock.advance(if let Op::Pass(ms) = op { *ms } else { 1 });
        world.now = fixture.clock.now();
        let tickets = tickets_of(&mut world, op);
        let there = by_the_store(&world, &fixture.store, op, &tickets).await;
        let here = on_model(&mut world, &mut model, op, &tickets);
        prop_assert_eq!(&there, &here, "{:?}", op);
        prop_assert_eq!(
            &inspect::dump(&fixture.store).await.expect("reads"),
            &model,
            "after {:?}",
            op
        );
    }
    for id in &world.made {
        let of: Vec<_> = fixture
            .store
            .history(*id)
            .await
            .expect("reads")
            .into_iter()
            .map(|row| row.event)
            .collect();
        let text = id.to_string();
        let about = |event: &&Event| match &event.subject {
            Subject::Order(order) => order.id == *id,
            Subject::Payment { order, .. } | Subject::Reversal { order, .. } => *order == text,
            _ => false,
        };
        // The store's history of an order begins with the event of the order's creation. If a
        // provider's report named this order earlier, the history does not contain the report.
        let is_before = |event: &&Event| !matches!(event.subject, Subject::Order(_));
        let expected = model.events.iter().filter(about).skip_while(is_before);
        prop_assert_eq!(of, expected.cloned().collect::<Vec<_>>());
    }
    fixture.check_invariants().await;
    fixture.store.close().await;
    Ok(())
}
