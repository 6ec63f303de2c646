//! Tests reconciliation: the state changes of all orders add up to the item's counts, and the
//! totals of units and money agree.
use doorbuster_core::event::Attribution;
use doorbuster_core::money::{Capture, CaptureOutcome, Money, PaymentId};
use doorbuster_core::order::EndReason;
use doorbuster_core::{Order, OrderState, Stock};

use super::{Fixture, HOLD_MS};
use crate::contract::{AdjustOutcome, Adjustment, MoneyTotals, OrderTransition, Reconciliation};

async fn pay(fixture: &Fixture, order: &Order, payment: &str, minor: i64) -> CaptureOutcome {
    let report = Capture {
        event: payment.to_owned(),
        provider: "paybank".to_owned(),
        payment: PaymentId(payment.to_owned()),
        order: order.id.to_string(),
        money: Money { minor, currency: "EUR".to_owned() },
    };
    fixture.store.capture(report, true).await.expect("writes")
}

async fn reconcile(fixture: &Fixture, sale: Option<&str>) -> Reconciliation {
    fixture.store.reconcile(sale.map(str::to_owned), None).await.expect("reads")
}

async fn order_transitions(fixture: &Fixture, sale: Option<&str>) -> Vec<OrderTransition> {
    while fixture.store.sequence_events(100).await.expect("writes") > 0 {}
    let (mut all, mut after) = (Vec::new(), 0);
    loop {
        let page = fixture
            .store
            .order_transitions(sale.map(str::to_owned), after, 3)
            .await
            .expect("reads");
        assert!(page.rows.len() <= 3);
        all.extend(page.rows);
        match page.next {
            Some(next) => after = next,
            None => return all,
        }
    }
}

/// Creates reserved, paid, refunded and cancelled orders of two items. One of the paid orders was
/// cancelled first, so its payment was late.
async fn a_busy_sale(fixture: &Fixture) -> Vec<Order> {
    let grant = fixture.slot(20, 12, 3).await;
    let other = fixture.slot(5, 5, 3).await;
    let mut orders = Vec::new();
    for (n, who) in ["anna", "bert", "carl", "dora", "emil"].iter().enumerate() {
        orders.push(fixture.reserve(&grant, n as u64 + 1, who, 2).await);
    }
    orders.push(fixture.reserve(&other, 1, "fred", 1).await);
    fixture.clock.advance(10);
    let raise = Adjustment {
        item: grant.slot.item,
        units: 4,
        reason: "found, \"behind\" a shelf".to_owned(),
        key: "a".to_owned(),
    };
    assert!(matches!(fixture.store.adjust(raise).await.expect("writes"), AdjustOutcome::Done(_)));
    assert!(matches!(pay(fixture, &orders[0], "pay_anna", 3_998).await, CaptureOutcome::Paid(_)));
    assert!(matches!(pay(fixture, &orders[1], "pay_bert", 3_998).await, CaptureOutcome::Paid(_)));
    fixture
        .store
        .end_order(orders[1].id, EndReason::Refund, Attribution::ENGINE.clone())
        .await
        .expect("writes");
    for late in [2, 3] {
        fixture
            .store
            .end_order(orders[late].id, EndReason::Cancel, Attribution::BUYER.clone())
            .await
            .expect("writes");
    }
    assert!(matches!(pay(fixture, &orders[2], "pay_carl", 3_998).await, CaptureOutcome::Paid(_)));
    assert!(matches!(pay(fixture, &orders[5], "pay_less", 1).await, CaptureOutcome::Refund(_)));
    assert!(matches!(pay(fixture, &orders[5], "pay_more", 9_999).await, CaptureOutcome::Refund(_)));
    orders
}

/// The opening stock, the adjustments and the state changes of orders add up to the counts.
pub async fn movements_end_at_the_counts(fixture: Fixture) {
    use OrderState::{Cancelled, Expired, Paid, Refunded, Reserved};
    let orders = a_busy_sale(&fixture).await;
    fixture.clock.advance(HOLD_MS);
    assert_eq!(fixture.store.expire_due(10).await.expect("writes").len(), 2);
    let item = orders[0].item;
    let steps: Vec<_> = order_transitions(&fixture, Some("sale-0"))
        .await
        .iter()
        .map(|m| (m.order, m.before, m.after))
        .collect();
    let [anna, bert, carl, dora, emil, other] = [0, 1, 2, 3, 4, 5].map(|n: usize| orders[n].id);
    let begun = [anna, bert, carl, dora, emil].map(|id| (id, None, Reserved));
    let ended = [
        (anna, Some(Reserved), Paid),
        (bert, Some(Reserved), Paid),
        (bert, Some(Paid), Refunded),
        (carl, Some(Reserved), Cancelled),
        (dora, Some(Reserved), Cancelled),
        (carl, Some(Cancelled), Paid),
        (emil, Some(Reserved), Expired),
    ];
    assert_eq!(steps, [&begun[..], &ended[..]].concat());
    let all = order_transitions(&fixture, None).await;
    assert_eq!(all.len(), steps.len() + 2, "the other item must have two state changes: {all:?}");
    assert!(
        all.iter()
            .any(|m| (m.order, m.units, &*m.by) == (other, 1, "engine") && m.after == Expired),
        "{all:?}"
    );
    let openings = fixture.store.opening_stocks(Some("sale-0".to_owned())).await.expect("reads");
    assert_eq!(
        openings.iter().map(|o| (o.item, o.total)).collect::<Vec<_>>(),
        [(item, Stock::Counted(20))]
    );
    assert_eq!(fixture.store.opening_stocks(None).await.expect("reads").len(), 2);
    let adjusted = fixture.store.stock_adjustments(None, 0, 10).await.expect("reads");
    assert_eq!((adjusted.rows.len(), adjusted.next), (1, None));
    assert_eq!((adjusted.rows[0].item, adjusted.rows[0].units), (item, 4));
    assert_eq!(adjusted.rows[0].reason, "found, \"behind\" a shelf");
    assert_eq!(
        fixture
            .store
            .stock_adjustments(Some("sale-1".to_owned()), 0, 10)
            .await
            .expect("reads")
            .rows,
        []
    );
    fixture.expect_units(item, 18, 2, 0, 4).await;
}

/// A reconciliation shows the units and money of each item, and finds no difference.
pub async fn a_reconciliation_adds_up(fixture: Fixture) {
    let orders = a_busy_sale(&fixture).await;
    let found = reconcile(&fixture, None).await;
    assert_eq!((&found.differences[..], &found.more[..]), (&[][..], &[][..]));
    let [one, two] = &found.items[..] else { panic!("expected two items: {found:?}") };
    assert_eq!(
        (one.item, &*one.sale, &*one.name, one.total),
        (orders[0].item, "sale-0", "item", Stock::Counted(24))
    );
    assert_eq!((one.held, one.paid, one.ended), (2, 4, 4));
    assert_eq!(one.pool + one.in_slots, 18);
    let eur = |captured, standing, pending| MoneyTotals {
        currency: "EUR".to_owned(),
        captured,
        standing,
        pending,
        ..MoneyTotals::default()
    };
    assert_eq!(one.money, [eur(3 * 3_998, 2 * 3_998, 3_998)]);
    assert_eq!(two.money, [eur(10_000, 0, 10_000)]);
    assert_eq!(found.unattributed, []);
    let of_one = reconcile(&fixture, Some("sale-1")).await;
    assert_eq!((of_one.items.len(), &of_one.items[0]), (1, two));
    assert_eq!(reconcile(&fixture, Some("none")).await.items, []);
}

/// Money for unknown orders appears only in the report of all sales.
pub async fn money_for_unknown_orders_is_listed_separately(fixture: Fixture) {
    fixture.item(Stock::Unlimited, 1).await;
    let report = Capture {
        event: "evt".to_owned(),
        provider: "paybank".to_owned(),
        payment: PaymentId("pay".to_owned()),
        order: "no order".to_owned(),
        money: Money { minor: 7, currency: "EUR".to_owned() },
    };
    assert!(matches!(
        fixture.store.capture(report.clone(), true).await.expect("writes"),
        CaptureOutcome::Refund(_)
    ));
    let found = reconcile(&fixture, None).await;
    assert_eq!(
        found.unattributed.iter().map(|sums| (sums.captured, sums.pending)).collect::<Vec<_>>(),
        [(7, 7)]
    );
    assert_eq!(found.differences, []);
    assert_eq!(reconcile(&fixture, Some("sale-0")).await.unattributed, []);
    // The sum of all amounts may exceed the range of a single amount.
    for payment in ["most", "more"] {
        let money = Money { minor: i64::MAX, currency: "EUR".to_owned() };
        let (event, payment) = (payment.to_owned(), PaymentId(payment.to_owned()));
        let report = Capture { event, payment, money, ..report.clone() };
        assert!(matches!(
            fixture.store.capture(report, true).await.expect("writes"),
            CaptureOutcome::Refund(_)
        ));
    }
    let found = reconcile(&fixture, None).await;
    let all = 2 * i128::from(i64::MAX) + 7;
    assert_eq!(
        found.unattributed.iter().map(|sums| (sums.captured, sums.pending)).collect::<Vec<_>>(),
        [(all, all)]
    );
}
