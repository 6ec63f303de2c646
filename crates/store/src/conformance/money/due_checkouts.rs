//! Tests that many due checkouts are read in pages, in the sequence in which they became due. The
//! environment variable `DOORBUSTER_DUE_CHECKOUTS` sets the number of checkouts. The test prints
//! how long it takes to read one page, for example with a million checkouts.
use std::collections::HashSet;
use std::time::{Duration, Instant};

use doorbuster_core::money::Checkout;
use futures_util::{StreamExt, stream};

use super::{PROVIDER, later};
use crate::conformance::{Fixture, HOLD_MS};
use crate::contract::CheckoutDeferral;

/// The number of checkouts if `DOORBUSTER_DUE_CHECKOUTS` is not set.
const CHECKOUTS: u64 = 1_200;
const PAGE_SIZE: usize = 1_024;
const DEFER_AT_ONCE: usize = 100;
const BATCH: u64 = 500;

async fn create(fixture: &Fixture, orders: u64) {
    let grant = fixture.slot(orders, orders, 1).await;
    let numbers: Vec<u64> = (1..=orders).collect();
    for batch in numbers.chunks(BATCH as usize) {
        let ticket = |n: &u64| fixture.ticket(&grant, *n, &format!("b{n}"), &format!("k{n}"), 1);
        let settled = fixture.store.settle(batch.iter().map(ticket).collect()).await;
        let keep = stream::iter(settled.expect("settles")).map(|resolved| async move {
            let order = resolved.order.expect("an order").id;
            let checkout = Checkout {
                order,
                provider: PROVIDER.to_owned(),
                session: order.to_string(),
                url: "https://pay.example/".to_owned(),
                expires_at: later(fixture, HOLD_MS),
                open: true,
                at: fixture.clock.now(),
                asked_at: None,
            };
            fixture.store.keep_checkout(checkout).await.expect("writes");
        });
        keep.buffer_unordered(64).collect::<Vec<()>>().await;
        fixture.clock.advance(1);
    }
}

/// Each due checkout is read once. The checkout that became due first is read first. A postponed
/// checkout is not read again.
pub async fn many_due_checkouts_are_read_in_turn(fixture: Fixture) {
    let orders = std::env::var("DOORBUSTER_DUE_CHECKOUTS")
        .map_or(CHECKOUTS, |number| number.parse().expect("a number of checkouts"));
    create(&fixture, orders).await;
    fixture.clock.advance(HOLD_MS);
    let (mut seen, mut reads) = (HashSet::new(), Vec::<Duration>::new());
    let mut newest = None;
    loop {
        let started = Instant::now();
        let page = fixture.store.checkouts_to_close(PAGE_SIZE).await.expect("reads");
        reads.push(started.elapsed());
        let Some((_, last)) = page.last() else { break };
        assert!(newest <= Some(page[0].1.pay_by), "the earliest due time must come first");
        newest = Some(last.pay_by);
        let deferral = |(checkout, order): &(Checkout, doorbuster_core::Order)| CheckoutDeferral {
            order: order.id,
            session: checkout.session.clone(),
            ms: 60_000,
            unanswered: false,
        };
        let deferrals: Vec<_> = page.iter().map(deferral).collect();
        for some in deferrals.chunks(DEFER_AT_ONCE) {
            fixture.store.defer_checkouts(some.to_vec()).await.expect("writes");
        }
        for (checkout, _) in page {
            assert!(seen.insert(checkout.session), "a checkout was read twice");
        }
    }
    assert_eq!(seen.len() as u64, orders);
    let pages = reads.len() - 1;
    println!(
        "{orders} due checkouts: first page {:?}, slowest page {:?}, last full page {:?}",
        reads[0],
        reads.iter().max().expect("a page"),
        reads[pages.saturating_sub(2)],
    );
}
