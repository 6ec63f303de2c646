//! Tests the erasure of a buyer in SQLite and in PostgreSQL. Afterwards no column of any table may
//! contain the buyer's id, and only the id and the request keys may have changed. The columns come
//! from the database's catalogue, so the test also covers columns that are added later.
use std::collections::BTreeSet;

use doorbuster_core::event::Attribution;
use doorbuster_core::gate::draw::DrawSeed;
use doorbuster_core::money::{
    Capture, CaptureOutcome, Checkout, CheckoutOutcome, Money, PaymentId, RefundId, RefundUpdate,
};
use doorbuster_core::order::{ChangeOutcome, EndReason};
use doorbuster_core::sale::PhaseStep;
use doorbuster_core::waitlist::{JoinOutcome, LeaveOutcome};
use doorbuster_core::{
    BuyerId, Grant, ItemId, NodeId, Order, OrderState, RequestKey, SlotKey, Stock, Verdict,
};
use doorbuster_store::conformance::{Fixture, HOLD_MS, id_key, new_item, new_sale};
use doorbuster_store::limits::ERASE_ROWS_MAX;
use doorbuster_store::{
    BlockKind, BuyerTraces, CodesOutcome, Erased, OrderQuery, PushSubscription, RetainReason,
    RetainedRows, RoomKey,
};

use crate::cluster;
use crate::fixture::{Dir, open, open_postgres};

mod again;
mod drawn;
mod quota;
pub mod shell;

use shell::Shell;

/// The buyer's id. No other value contains this text.
const BUYER: &str = "anna-rosa.1970:42";
const SEED: [u8; 32] = [3; 32];
/// The database refuses a ticket with this many units, so the ticket cannot be settled.
const POISON: u32 = 4;

pub async fn on_sqlite<F: Future<Output = Shell>>(body: impl FnOnce(Fixture, Shell) -> F) {
    let dir = Dir::new();
    let fixture = open(dir.path());
    let store = fixture.store.clone();
    let shell = body(fixture, Shell::Sqlite(dir)).await;
    store.close().await;
    drop(shell);
}

pub async fn on_postgres<F: Future<Output = Shell>>(body: impl FnOnce(Fixture, Shell) -> F) {
    let cluster = cluster::shared();
    let database = cluster.database();
    let fixture = open_postgres(&cluster.url(&database), 1).await;
    let store = fixture.store.clone();
    body(fixture, Shell::Postgres(database)).await;
    store.close().await;
}

fn anna() -> BuyerId {
    BuyerId::new(BUYER).expect("a name")
}

fn other_name() -> BuyerId {
    id_key().erased_buyer(&anna())
}

/// Returns a request key that contains the buyer's id, as some shops' keys do.
fn key(n: u64) -> String {
    format!("cart-of-{BUYER}-{n}")
}

async fn reserve(fixture: &Fixture, grant: &Grant, n: u64) -> Order {
    fixture.settle(&fixture.ticket(grant, n, BUYER, &key(n), 1)).await.order.expect("an order")
}

async fn pay(fixture: &Fixture, order: &Order) {
    let paid = Capture {
        event: format!("evt_{}", order.id),
        provider: "paybank".to_owned(),
        payment: PaymentId(format!("pay_{}", order.id)),
        order: order.id.to_string(),
        money: Money { minor: 1_999 * i64::from(order.units.get()), currency: "EUR".to_owned() },
    };
    assert!(matches!(fixture.store.capture(paid, false).await, Ok(CaptureOutcome::Paid(_))));
}

async fn end(fixture: &Fixture, order: &Order, how: EndReason) {
    let ended = fixture.store.end_order(order.id, how, Attribution::BUYER.clone()).await;
    assert!(matches!(ended, Ok(ChangeOutcome::Done(_))), "{ended:?}");
}

async fn step(fixture: &Fixture, sale: &str, step: PhaseStep) {
    fixture.store.step_sale(sale, step).await.expect("writes");
}

async fn sale(fixture: &Fixture, id: &str) -> Vec<ItemId> {
    let items =
        vec![new_item("phone", Stock::Counted(20), 6), new_item("rare", Stock::Counted(1), 6)];
    let sale =
        fixture.store.create_sale(new_sale(id, items)).await.expect("writes").expect("a free id");
    sale.items.iter().map(|item| item.id).collect()
}

async fn grant(fixture: &Fixture, item: ItemId, units: u64) -> Grant {
    fixture.open(SlotKey { item, index: 0 }, units).await
}

async fn erase(fixture: &Fixture) -> Erased {
    let mut all = Erased::default();
    loop {
        let some = fixture.store.erase_batch(&anna()).await.expect("writes");
        assert!(some.orders <= ERASE_ROWS_MAX as u64, "{some:?}");
        // The erasure commits in batches. The rows must be consistent after each commit.
        fixture.check_invariants().await;
        if some == Erased::default() {
            return all;
        }
        (all.orders, all.other) = (all.orders + some.orders, all.other + some.other);
    }
}

async fn traces(fixture: &Fixture) -> BuyerTraces {
    fixture.store.traces(&anna()).await.expect("reads")
}

fn held(sale: &str, why: RetainReason, orders: u64, other: u64) -> RetainedRows {
    RetainedRows { sale: sale.to_owned(), why, orders, other }
}

/// The buyer's orders. Each field is named after what happened to the order.
struct Orders {
    paid: Order,
    cancelled: Order,
    reserved: Order,
    refunded: Order,
    at_provider: Order,
}

impl Orders {
    fn all(&self) -> [&Order; 5] {
        [&self.paid, &self.cancelled, &self.reserved, &self.refunded, &self.at_provider]
    }
}

async fn buy(fixture: &Fixture, grant: &Grant) -> Orders {
    let orders = Orders {
        paid: reserve(fixture, grant, 1).await,
        cancelled: reserve(fixture, grant, 2).await,
        reserved: reserve(fixture, grant, 3).await,
        refunded: reserve(fixture, grant, 4).await,
        at_provider: reserve(fixture, grant, 5).await,
    };
    pay(fixture, &orders.paid).await;
    end(fixture, &orders.cancelled, EndReason::Cancel).await;
    pay(fixture, &orders.refunded).await;
    end(fixture, &orders.refunded, EndReason::Refund).await;
    let checkout = Checkout {
        order: orders.at_provider.id,
        provider: "paybank".to_owned(),
        session: "one".to_owned(),
        url: "https://pay.example/one".to_owned(),
        expires_at: fixture.clock.now().plus(HOLD_MS),
        open: true,
        at: fixture.clock.now(),
        asked_at: None,
    };
    assert!(matches!(fixture.store.keep_checkout(checkout).await, Ok(CheckoutOutcome::Kept(_))));
    end(fixture, &orders.at_provider, EndReason::Cancel).await;
    orders
}

/// Adds the buyer to every table that can contain a buyer, in the sale `spring`.
async fn everywhere(fixture: &Fixture, shell: &Shell) -> Orders {
    let items = sale(fixture, "spring").await;
    assert_eq!(
        fixture.store.add_codes("spring", vec![(String::new(), [1; 32])], 3).await.expect("writes"),
        CodesOutcome::Done
    );
    assert!(fixture.store.spend_code("spring", [1; 32], &anna()).await.expect("writes"));
    let crowd = ["bert", BUYER, "carl"].map(|name| BuyerId::new(name).expect("a name"));
    for (item, seed) in [(None, SEED), (Some(items[0]), [4; 32])] {
        let room = RoomKey { item, ..RoomKey::of_sale("spring") };
        let entered = fixture.store.enter_room(&room, DrawSeed::new(seed), crowd.to_vec()).await;
        entered.expect("writes").expect("a sale");
    }
    step(fixture, "spring", PhaseStep::Open).await;
    let phone = grant(fixture, items[0], 15).await;
    let orders = buy(fixture, &phone).await;
    let refused = fixture.settle(&fixture.ticket(&phone, 6, BUYER, &key(6), 7)).await;
    assert_eq!(refused.verdict, Verdict::LimitReached);
    shell.poison(POISON);
    let lost = fixture.settle(&fixture.ticket(&phone, 7, BUYER, &key(7), POISON)).await;
    assert_eq!(lost.verdict, Verdict::Unavailable);
    let letter = &fixture.dead_tickets().await[0];
    assert!(
        letter.reason.contains("poison") && !letter.reason.contains(BUYER),
        "{}",
        letter.reason
    );
    let rare = grant(fixture, items[1], 1).await;
    fixture.reserve(&rare, 1, "bert", 1).await;
    let join = async |n| {
        let key = RequestKey::new(&key(n)).expect("a key");
        let joined = fixture.store.join_waitlist(items[1], anna(), key).await;
        let Ok(JoinOutcome::Done(entry)) = joined else { panic!("{joined:?}") };
        entry
    };
    let left = join(8).await;
    assert!(matches!(fixture.store.leave_waitlist(left.id).await, Ok(LeaveOutcome::Done(_))));
    join(10).await;
    let endpoint = "https://push.example/1".to_owned();
    let browser = PushSubscription { buyer: anna(), endpoint, public_key: [1; 65], auth: [2; 16] };
    fixture.store.put_push_subscription(NodeId(1), browser, HOLD_MS, 9).await.expect("writes");
    fixture
        .store
        .insert_block(BlockKind::Buyer, BUYER, None, "a robot", 9)
        .await
        .expect("writes")
        .expect("there is room");
    orders
}

const FILLED: [&str; 14] = [
    "access_code_use.buyer",
    "block.value",
    "dead_letter.buyer",
    "dead_letter.request_key",
    "event.data",
    "feed.buyer",
    "feed.request_key",
    "orders.buyer",
    "orders.request_key",
    "push_subscription.buyer",
    "quota.buyer",
    "waiting_room_visitor.buyer",
    "waitlist.buyer",
    "waitlist.request_key",
];

async fn a_buyer_is_left_in_no_column(fixture: Fixture, shell: Shell) -> Shell {
    let orders = everywhere(&fixture, &shell).await;
    assert_eq!(shell.holding(BUYER), FILLED.map(str::to_owned).into());
    for column in shell
        .columns()
        .iter()
        .filter(|column| column.ends_with(".buyer") || column.ends_with(".request_key"))
    {
        assert!(
            FILLED.contains(&column.as_str()),
            "{column} can contain a buyer and has no value here"
        );
    }
    a_finding_contains_no_buyers_id(&fixture, &shell).await;
    let autumn = sale(&fixture, "autumn").await;
    step(&fixture, "autumn", PhaseStep::Open).await;
    let last = reserve(&fixture, &grant(&fixture, autumn[0], 2).await, 9).await;
    end(&fixture, &last, EndReason::Cancel).await;

    // Rows of open sales must stay. The push subscription belongs to no sale, so the subscription
    // is erased.
    let on = traces(&fixture).await;
    assert_eq!((on.orders, on.other, on.blocked), (0, 1, true));
    assert_eq!(
        on.held_back,
        [
            held("autumn", RetainReason::NotClosed, 1, 1),
            held("spring", RetainReason::NotClosed, 5, 14)
        ],
        "{on:?}"
    );
    assert_eq!(erase(&fixture).await, Erased { orders: 0, other: 1 });

    step(&fixture, "spring", PhaseStep::Close).await;
    let waits = |why| held("spring", why, 1, 0);
    let expected = [
        held("autumn", RetainReason::NotClosed, 1, 1),
        waits(RetainReason::OpenCheckout),
        waits(RetainReason::RefundDue),
        waits(RetainReason::Unpaid),
    ];
    let closed = traces(&fixture).await;
    assert_eq!((closed.orders, closed.other, &closed.held_back[..]), (2, 14, &expected[..]));
    assert_eq!(erase(&fixture).await, Erased { orders: 2, other: 14 });
    assert_eq!(traces(&fixture).await, BuyerTraces { orders: 0, other: 0, ..closed });
    let item = orders.paid.item;
    let shares = async |buyer: BuyerId| fixture.store.quota(item, buyer).await.expect("reads");
    assert_eq!(
        (shares(anna()).await, shares(other_name()).await),
        (1, 1),
        "the reserved order must count for the old id, and the paid order for the new id"
    );

    end(&fixture, &orders.reserved, EndReason::Cancel).await;
    assert!(
        fixture
            .store
            .close_checkout(orders.at_provider.id, "one".to_owned())
            .await
            .expect("writes")
    );
    let refund = RefundId::for_payment(&PaymentId(format!("pay_{}", orders.refunded.id)));
    fixture
        .store
        .apply_refund_update(refund, RefundUpdate::Settled)
        .await
        .expect("writes")
        .expect("a refund");
    assert_eq!(erase(&fixture).await, Erased { orders: 3, other: 0 });
    step(&fixture, "autumn", PhaseStep::Close).await;
    assert_eq!(erase(&fixture).await, Erased { orders: 1, other: 1 });
    assert_eq!(shell.holding(BUYER), ["block.value".to_owned()].into(), "only a block must stay");
    let soon = fixture.clock.now().plus(1_000);
    fixture
        .store
        .insert_block(BlockKind::Buyer, BUYER, Some(soon), "", 9)
        .await
        .expect("writes")
        .expect("there is room");
    fixture.clock.advance(2_000);
    assert!(!traces(&fixture).await.blocked, "an ended block must not block the buyer");
    assert_eq!(erase(&fixture).await, Erased { orders: 0, other: 1 });
    assert_eq!(shell.holding(BUYER), BTreeSet::new());
    assert_eq!(traces(&fixture).await, BuyerTraces::default());

    is_all_there(&fixture, &orders).await;
    shell
}

/// The audit's findings are written to the log. So they must not contain the buyer's id.
async fn a_finding_contains_no_buyers_id(fixture: &Fixture, shell: &Shell) {
    for (change, is_sound) in [('+', false), ('-', true)] {
        shell.ask(&format!("UPDATE quota SET used = used {change} 1 WHERE buyer = '{BUYER}'"));
        let found = fixture.store.check().await.expect("reads").findings;
        assert_eq!(found.is_empty(), is_sound, "{found:?}");
        assert!(
            found.iter().all(|it| it.detail.contains("ord_") && !it.detail.contains(BUYER)),
            "{found:?}"
        );
    }
}

/// Asserts that only the buyer's id and the request keys of the orders were replaced.
async fn is_all_there(fixture: &Fixture, orders: &Orders) {
    let query = |buyer| OrderQuery { buyer: Some(buyer), limit: 100, ..OrderQuery::default() };
    assert_eq!(fixture.store.orders(query(anna())).await.expect("reads").rows, []);
    let found = fixture.store.orders(query(other_name())).await.expect("reads").rows;
    assert_eq!(found.len(), 6);
    for before in orders.all() {
        let now = fixture.store.order(before.id).await.expect("reads").expect("the order exists");
        assert_eq!(now.buyer, other_name());
        assert!(now.key.as_str().starts_with(BuyerId::ERASED), "{now:?}");
        assert_eq!(
            (now.item, now.units, now.reserved_at),
            (before.item, before.units, before.reserved_at)
        );
        let events = fixture.store.history(before.id).await.expect("reads");
        assert!(events.len() >= 2, "{events:?}");
        let found =
            fixture.store.order_of(now.buyer.clone(), now.key.clone()).await.expect("reads");
        assert_eq!(found, Some(now));
    }
    // Each lot is computed from the replacement id, so no lot reveals the erased id.
    let rooms = fixture.store.waiting_rooms(vec!["spring".into()]).await.expect("reads");
    assert_eq!(rooms.len(), 2);
    for room in rooms {
        let drawn = fixture.store.drawn_after(&room.key, None, 9).await.expect("reads");
        assert_eq!(drawn.iter().filter(|(_, buyer)| *buyer == other_name()).count(), 1);
        assert!(drawn.iter().all(|(lot, buyer)| *lot == room.lot(buyer)), "{drawn:?}");
        assert_eq!((drawn.len(), room.seed), (3, DrawSeed::new(SEED)));
    }
    // After the erasure, an operator can still refund the paid order.
    end(fixture, &orders.paid, EndReason::Refund).await;
    assert_eq!(fixture.store.quota(orders.paid.item, other_name()).await.expect("reads"), 0);
    fixture.check_invariants().await;
}

async fn many_orders_take_several_batches(fixture: Fixture, shell: Shell) -> Shell {
    let many = ERASE_ROWS_MAX as u64 + 50;
    let item = fixture.item(Stock::Counted(many), 1_000).await;
    let grant = grant(&fixture, item, many).await;
    let tickets = (1..=many).map(|n| fixture.ticket(&grant, n, BUYER, &key(n), 1)).collect();
    fixture.store.settle(tickets).await.expect("settles");
    fixture.clock.advance(HOLD_MS + 1);
    while !fixture.store.expire_due(100).await.expect("writes").is_empty() {}
    step(&fixture, "sale-0", PhaseStep::Close).await;
    assert_eq!(traces(&fixture).await.orders, many);
    let first = fixture.store.erase_batch(&anna()).await.expect("writes");
    assert_eq!(first.orders, ERASE_ROWS_MAX as u64);
    let rest = erase(&fixture).await;
    assert_eq!(
        (rest.orders, first.other + rest.other),
        (50, many),
        "each expired order has one feed row, which must be erased too"
    );
    assert_eq!(shell.holding(BUYER), BTreeSet::new());
    shell
}

async fn erasures_and_refunds_agree(fixture: Fixture, shell: Shell) -> Shell {
    const ORDERS: u64 = 20;
    let item = fixture.item(Stock::Counted(ORDERS), 100).await;
    let grant = grant(&fixture, item, ORDERS).await;
    let mut orders = Vec::new();
    for n in 1..=ORDERS {
        orders.push(reserve(&fixture, &grant, n).await);
        pay(&fixture, &orders[orders.len() - 1]).await;
    }
    step(&fixture, "sale-0", PhaseStep::Close).await;
    let erase = async || {
        while fixture.store.erase_batch(&anna()).await.expect("writes") != Erased::default() {}
    };
    let refund = async || {
        for order in &orders {
            end(&fixture, order, EndReason::Refund).await;
        }
    };
    tokio::join!(erase(), erase(), refund());
    fixture.check_invariants().await;
    for order in &orders {
        let refund = RefundId::for_payment(&PaymentId(format!("pay_{}", order.id)));
        fixture
            .store
            .apply_refund_update(refund, RefundUpdate::Settled)
            .await
            .expect("writes")
            .expect("a refund");
    }
    erase().await;
    assert_eq!(shell.holding(BUYER), BTreeSet::new());
    for order in &orders {
        let now = fixture.store.order(order.id).await.expect("reads").expect("an order");
        assert_eq!((now.state, now.buyer), (OrderState::Refunded, other_name()));
    }
    assert_eq!(fixture.store.quota(item, other_name()).await.expect("reads"), 0);
    fixture.check_invariants().await;
    shell
}

macro_rules! both {
    ($($body:ident),+) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $body() {
                super::on_sqlite(super::$body).await;
            })+
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $body() {
                super::on_postgres(super::$body).await;
            })+
        }
    };
}

both!(a_buyer_is_left_in_no_column, many_orders_take_several_batches, erasures_and_refunds_agree);

/// Free pages of the file may still contain the erased id. `VACUUM` removes these pages.
#[tokio::test]
async fn a_rewritten_file_does_not_contain_the_erased_name() {
    let dir = Dir::new();
    let fixture = open(dir.path());
    let item = fixture.item(Stock::Counted(300), 1_000).await;
    let grant = grant(&fixture, item, 300).await;
    let tickets = (1..=300).map(|n| fixture.ticket(&grant, n, BUYER, &key(n), 1)).collect();
    fixture.store.settle(tickets).await.expect("settles");
    fixture.clock.advance(HOLD_MS + 1);
    while !fixture.store.expire_due(100).await.expect("writes").is_empty() {}
    step(&fixture, "sale-0", PhaseStep::Close).await;
    erase(&fixture).await;
    fixture.store.close().await;
    dir.shell()
        .execute_batch("VACUUM; PRAGMA wal_checkpoint(TRUNCATE);")
        .expect("no other connection is open");
    for entry in std::fs::read_dir(dir.path()).expect("reads") {
        let path = entry.expect("reads").path();
        let bytes = std::fs::read(&path).expect("reads");
        let found = bytes.windows(BUYER.len()).any(|part| part == BUYER.as_bytes());
        assert!(!found, "{} contains the name", path.display());
    }
    let again = open(dir.path());
    again.check_invariants().await;
    again.store.close().await;
}
