//! Transactions with money. They run as functions of `doorbuster-core` or as methods of a store.
use doorbuster_core::event::{Actor, Attribution};
use doorbuster_core::limits::REFUND_TRIES_MAX;
use doorbuster_core::money::{
    self, Capture, Checkout, Money, PaymentId, RefundId, RefundUpdate, ReversalKind,
    ReversalReport, apply_refund_message, apply_refund_update, capture, close_checkout,
    keep_checkout, record_reversal, record_unanswered_check, retry_refund,
};
use doorbuster_core::order;
use doorbuster_core::{Ledger, Millis, Ticket, TicketId};
use doorbuster_store::conformance::{HOLD_MS, id_key};
use doorbuster_store::{CheckoutDeferral, Store};
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::text;

/// One transaction with money. Each `u8` stands for a name. The numbers are from small ranges, so
/// that the names repeat.
#[derive(Clone, Debug)]
pub enum Op {
    Capture { event: u8, payment: u8, how: How, last: bool },
    Fail { event: u8, payment: u8 },
    Extend(i64),
    Checkout(u8),
    CloseCheckout(u8),
    CheckoutDeferral { n: u8, unanswered: bool },
    Refund(u8, RefundUpdate),
    GiveUpRefund(u8),
    SettleRefund { event: u8, payment: u8, update: RefundUpdate },
    RetryRefund(u8),
    Reverse(ReversalReport),
}

/// What is wrong with a provider's message. `Right` means that nothing is wrong.
#[derive(Clone, Copy, Debug)]
pub enum How {
    Right,
    Amount,
    Currency,
    Order,
}

fn update() -> impl Strategy<Value = RefundUpdate> {
    prop_oneof![
        Just(RefundUpdate::Accepted { again_ms: 30 }),
        Just(RefundUpdate::Settled),
        select(vec![1, 100_000]).prop_map(RefundUpdate::Arrived),
        Just(RefundUpdate::Failed("no answer".to_owned())),
        Just(RefundUpdate::CameBack("the account is closed".to_owned())),
        any::<bool>().prop_map(|lost| RefundUpdate::CheckAgain { lost }),
    ]
}

/// Generates a report about a reversal. The caller replaces the report's payment and event.
fn reversal() -> impl Strategy<Value = ReversalReport> {
    let kind = select(vec![ReversalKind::Returned, ReversalKind::Disputed]);
    let minor = select(vec![None, Some(500), Some(1_999)]);
    let (at, dispute) =
        (prop::option::of(0..3_i64), prop::option::of(select(vec!["dp_1", "dp_2"])));
    (any::<bool>(), kind, minor, any::<bool>(), at, dispute).prop_map(
        |(has_event, kind, minor, stands, at, dispute)| ReversalReport {
            event: has_event.then(String::new),
            provider: PROVIDER.to_owned(),
            payment: payment_id(0),
            kind,
            money: minor.map(|minor| Money { minor, ..price() }),
            stands,
            reported_at: at.map(Millis),
            dispute: dispute.map(str::to_owned),
        },
    )
}

/// Generates a transaction, and the index that chooses its ticket.
pub fn ops() -> impl Strategy<Value = (Index, Op)> {
    let (event, payment) = (|| 0..12_u8, || 0..8_u8);
    let how = select(vec![
        How::Right,
        How::Right,
        How::Right,
        How::Right,
        How::Amount,
        How::Currency,
        How::Order,
    ]);
    let op = prop_oneof![
        8 => (event(), payment(), how, any::<bool>())
            .prop_map(|(event, payment, how, last)| Op::Capture { event, payment, how, last }),
        1 => (event(), payment()).prop_map(|(event, payment)| Op::Fail { event, payment }),
        2 => select(vec![-1, 0, 1, 50, HOLD_MS]).prop_map(Op::Extend),
        4 => (0..3_u8).prop_map(Op::Checkout),
        2 => (0..3_u8).prop_map(Op::CloseCheckout),
        3 => (0..3_u8, prop::bool::weighted(0.8))
            .prop_map(|(n, unanswered)| Op::CheckoutDeferral { n, unanswered }),
        2 => (payment(), update()).prop_map(|(payment, update)| Op::Refund(payment, update)),
        1 => payment().prop_map(Op::GiveUpRefund),
        1 => (event(), payment(), update())
            .prop_map(|(event, payment, update)| Op::SettleRefund { event, payment, update }),
        1 => payment().prop_map(Op::RetryRefund),
        3 => (event(), payment(), reversal()).prop_map(|(event, of, report)| {
            let event = report.event.map(|_| format!("evt_{event}"));
            Op::Reverse(ReversalReport { event, payment: payment_id(of), ..report })
        }),
    ];
    (any::<Index>(), op)
}

/// Returns the price of a unit.
pub fn price() -> Money {
    Money { minor: 1_999, currency: "EUR".to_owned() }
}

const PROVIDER: &str = "paybank";

fn payment_id(n: u8) -> PaymentId {
    PaymentId(format!("pay_{n}"))
}

fn refund(n: u8) -> RefundId {
    RefundId::for_payment(&payment_id(n))
}

fn message(ticket: &Ticket, event: u8, of: u8, how: How) -> Capture {
    let mut money = Money { minor: price().minor * i64::from(ticket.units.get()), ..price() };
    let mut order = id_key().id_of(ticket).to_string();
    match how {
        How::Right => {}
        How::Amount => money.minor -= 1,
        How::Currency => money.currency = "USD".to_owned(),
        How::Order => order = "ord_of_nobody".to_owned(),
    }
    Capture {
        event: format!("evt_{event}"),
        provider: PROVIDER.to_owned(),
        payment: payment_id(of),
        order,
        money,
    }
}

fn session(order: TicketId, n: u8, now: Millis) -> Checkout {
    let (provider, session) = (PROVIDER.to_owned(), format!("session_{n}"));
    let (url, expires_at) = (format!("https://pay.example/{session}"), now.plus(HOLD_MS));
    Checkout { order, provider, session, url, expires_at, open: true, at: now, asked_at: None }
}

fn operator() -> Attribution {
    Attribution { actor: Actor::Operator("key_1".to_owned()), why: Some("they asked".to_owned()) }
}

pub fn by_the_rules<L: Ledger>(
    ledger: &mut L,
    op: &Op,
    ticket: &Ticket,
    now: Millis,
) -> Result<String, L::Error> {
    let id = id_key().id_of(ticket);
    Ok(match op {
        Op::Capture { event, payment, how, last } => {
            text(capture(ledger, &message(ticket, *event, *payment, *how), now, *last)?)
        }
        Op::Fail { event, payment } => text(money::record_failure(
            ledger,
            &message(ticket, *event, *payment, How::Right),
            now,
        )?),
        Op::Extend(ms) => {
            let pay_by = ledger.order(&id)?.map_or(now, |order| order.pay_by.plus(*ms));
            text(order::extend(ledger, &id, pay_by, &operator(), now)?)
        }
        Op::Checkout(n) => text(keep_checkout(ledger, &session(id, *n, now))?),
        Op::CloseCheckout(n) => text(close_checkout(ledger, &id, &session(id, *n, now).session)?),
        Op::CheckoutDeferral { n, unanswered: true } => {
            text(record_unanswered_check(ledger, &id, &session(id, *n, now).session, now)?)
        }
        Op::CheckoutDeferral { n, unanswered: false } => {
            let kept = ledger.checkout(&id)?.filter(|kept| kept.open);
            text(kept.is_some_and(|kept| kept.session == session(id, *n, now).session))
        }
        Op::Refund(payment, update) => {
            text(apply_refund_update(ledger, &refund(*payment), update, now)?)
        }
        Op::GiveUpRefund(payment) => {
            let mut last = None;
            for _ in 0..REFUND_TRIES_MAX {
                last = apply_refund_update(
                    ledger,
                    &refund(*payment),
                    &RefundUpdate::Failed("no".to_owned()),
                    now,
                )?;
            }
            text(last)
        }
        Op::SettleRefund { event, payment, update } => text(apply_refund_message(
            ledger,
            PROVIDER,
            &format!("evt_{event}"),
            &refund(*payment),
            update,
            now,
        )?),
        Op::RetryRefund(payment) => text(retry_refund(ledger, &refund(*payment), now)?),
        Op::Reverse(report) => text(record_reversal(ledger, report, now)?),
    })
}

pub async fn by_the_store(store: &Store, op: &Op, ticket: &Ticket, now: Millis) -> String {
    let id = id_key().id_of(ticket);
    match op.clone() {
        Op::Capture { event, payment, how, last } => {
            text(store.capture(message(ticket, event, payment, how), last).await.expect("writes"))
        }
        Op::Fail { event, payment } => text(
            store.fail_payment(message(ticket, event, payment, How::Right)).await.expect("writes"),
        ),
        Op::Extend(ms) => {
            let pay_by =
                store.order(id).await.expect("reads").map_or(now, |order| order.pay_by.plus(ms));
            text(store.extend_order(id, pay_by, operator()).await.expect("writes"))
        }
        Op::Checkout(n) => text(store.keep_checkout(session(id, n, now)).await.expect("writes")),
        Op::CloseCheckout(n) => {
            text(store.close_checkout(id, session(id, n, now).session).await.expect("writes"))
        }
        Op::CheckoutDeferral { n, unanswered } => {
            let it = CheckoutDeferral {
                order: id,
                session: session(id, n, now).session,
                ms: 50,
                unanswered,
            };
            text(store.defer_checkouts(vec![it]).await.expect("writes") == 1)
        }
        Op::Refund(payment, update) => {
            text(store.apply_refund_update(refund(payment), update).await.expect("writes"))
        }
        Op::GiveUpRefund(payment) => {
            let mut last = None;
            for _ in 0..REFUND_TRIES_MAX {
                let no = RefundUpdate::Failed("no".to_owned());
                last = store.apply_refund_update(refund(payment), no).await.expect("writes");
            }
            text(last)
        }
        Op::SettleRefund { event, payment, update } => {
            let (provider, event) = (PROVIDER.to_owned(), format!("evt_{event}"));
            text(
                store
                    .settle_refund(provider, event, refund(payment), update)
                    .await
                    .expect("writes"),
            )
        }
        Op::RetryRefund(payment) => {
            text(store.retry_refund(refund(payment)).await.expect("writes"))
        }
        Op::Reverse(report) => text(store.record_reversal(report).await.expect("writes")),
    }
}
