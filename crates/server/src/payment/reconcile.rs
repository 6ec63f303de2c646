//! Asks the provider about checkouts that are over: of orders that are due, before their units return, and of orders that ended. Run by the leader.
//!
//! What the provider says decides: it took money (then the order is paid, whatever became of the message), or it closes the checkout. While it
//! cannot be asked, a due order waits, for as long as the rules have it and no longer.
use std::collections::HashSet;
use std::time::Duration;

use doorbuster_core::limits::spread_out;
use doorbuster_core::money::Checkout;
use doorbuster_core::{Millis, Order, OrderState};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::Payments;
use super::provider::Standing;
use crate::engine::EngineError;
use crate::failpoint::{self, Point};

/// Checkouts that are read at once.
const PAGE: usize = 256;
/// Checkouts that are asked about at the same time.
const AT_ONCE: usize = 32;
/// Between two looks, unless there was more to see than a page. A hold that ended is told within two seconds.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long nobody is asked after an answer that could not be written down.
const REST: Duration = Duration::from_secs(1);
/// Between two questions about a checkout of a due order, when its provider cannot be asked or does not know yet.
const AGAIN_MS: i64 = 2_000;
/// The same of an order that ended, at first: nothing waits for it. Later after an eighth of the time since its end.
const AGAIN_LATER_MS: i64 = 60_000;
/// And at most.
const AGAIN_MS_MAX: i64 = 6 * 3_600_000;
/// How long a provider that does not decide is asked about an order that ended: longer than any bank takes. Of money that comes after that only a message
/// tells.
const ASK_FOR_MS: i64 = 30 * 86_400_000;

impl Payments {
    /// Asks until the program stops. What waits longest for its answer keeps its own place, and no other's.
    pub(super) async fn reconcile(&self) {
        let (mut asking, mut asked) = (FuturesUnordered::new(), HashSet::new());
        loop {
            let mut waiting = match self.leads() {
                true => self.to_ask().await.unwrap_or_else(|error| {
                    tracing::warn!(%error, "checkouts that are over could not be looked for");
                    Vec::new()
                }),
                false => {
                    self.meter.lag(0);
                    Vec::new()
                }
            };
            let is_full = waiting.len() == PAGE;
            // They are told until they are answered: those that are asked about already are left out.
            waiting.retain(|(checkout, _): &(Checkout, Order)| !asked.contains(&checkout.session));
            waiting.reverse();
            let mut all_noted = true;
            let look = tokio::time::sleep(LOOK_EVERY);
            tokio::pin!(look);
            loop {
                while asking.len() < AT_ONCE
                    && let Some((checkout, order)) = waiting.pop()
                {
                    let session = checkout.session.clone();
                    if asked.insert(session.clone()) {
                        asking.push(async move { (session, self.ask(checkout, order).await) });
                    }
                }
                if reads_on(is_full, waiting.len(), asking.len()) {
                    break;
                }
                tokio::select! {
                    Some((session, answered)) = asking.next(), if !asking.is_empty() => {
                        asked.remove(&session);
                        if let Err(error) = answered {
                            all_noted = false;
                            tracing::warn!(%error, "what a provider said of a checkout could not be written down");
                        }
                    }
                    () = &mut look => break,
                }
            }
            if !all_noted {
                // They are over still: without a rest the provider would hear of them as fast as it answers.
                tokio::time::sleep(REST).await;
            }
        }
    }

    /// Checkouts that are over, those of orders that wait for it first.
    async fn to_ask(&self) -> Result<Vec<(Checkout, Order)>, EngineError> {
        let found = self.engine.store().checkouts_to_close(PAGE).await?;
        self.meter.lag(lag_ms(found.iter().map(|(_, order)| order), self.engine.now()));
        Ok(found)
    }

    /// Has a checkout asked about once more, later.
    async fn put_off(&self, checkout: Checkout, order: &Order) -> Result<(), EngineError> {
        let ms = again_ms(order.state, waits_since(order, self.engine.now()));
        self.engine.store().put_off_checkout(order.id, checkout.session, spread_out(ms, rand::random())).await?;
        Ok(())
    }

    /// Whether the order ended longer ago than a bank takes to decide. By a clock that was set, everything may have.
    fn is_long_over(&self, order: &Order) -> bool {
        let waited_ms = waits_since(order, self.engine.store().careful_now());
        order.state != OrderState::Reserved && waited_ms >= ASK_FOR_MS && !self.engine.clock_was_set()
    }

    async fn ask(&self, checkout: Checkout, order: Order) -> Result<(), EngineError> {
        let store = self.engine.store();
        if checkout.provider != self.provider.name() {
            if self.is_long_over(&order) {
                let (order, session, provider) = (order.id.to_string(), &checkout.session, &checkout.provider);
                tracing::warn!(order, session, provider, "nobody can be asked about a checkout of another provider");
            }
            return self.put_off(checkout, &order).await;
        }
        let said = self.provider.close(&order.id, &checkout.session).await;
        failpoint::pass(Point::ReconcileAsked);
        self.meter.ask(said.is_err());
        match said {
            Ok(Standing::Closed) => {}
            Ok(Standing::Paid(found)) => {
                self.found(found).await?;
                failpoint::pass(Point::ReconcileCaptured);
            }
            Ok(Standing::Undecided) if self.is_long_over(&order) => {
                let (order, session) = (order.id.to_string(), &checkout.session);
                tracing::error!(order, session, "a provider did not decide about a checkout, and is not asked again");
            }
            Ok(Standing::Undecided) => return self.put_off(checkout, &order).await,
            Err(error) => {
                tracing::warn!(%error, provider = checkout.provider, "a provider could not be asked about a checkout");
                return self.put_off(checkout, &order).await;
            }
        }
        store.close_checkout(order.id, checkout.session).await?;
        failpoint::pass(Point::ReconcileClosed);
        Ok(())
    }
}

/// Whether the next page is read at once: there is more than this one had, and more can be asked about.
fn reads_on(is_full: bool, waiting: usize, asking: usize) -> bool {
    is_full && waiting == 0 && asking < AT_ONCE
}

/// How long a checkout that is over waits for its provider's word.
fn waits_since(order: &Order, now: Millis) -> i64 {
    now.0 - order.ended_at.or(order.paid_at).unwrap_or(order.pay_by).0
}

/// How long units have waited for it. An order that ended gave its units back: its provider may be silent for weeks.
fn lag_ms<'a>(orders: impl Iterator<Item = &'a Order>, now: Millis) -> i64 {
    orders
        .filter(|order| order.state == OrderState::Reserved)
        .map(|order| waits_since(order, now))
        .max()
        .unwrap_or(0)
        .max(0)
}

/// When to ask again about a checkout that has waited for so long.
fn again_ms(state: OrderState, waited_ms: i64) -> i64 {
    match state {
        OrderState::Reserved => AGAIN_MS,
        _ => (waited_ms / 8).clamp(AGAIN_LATER_MS, AGAIN_MS_MAX),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, Ordering};

    use doorbuster_core::money::CheckoutKept;
    use doorbuster_core::sale::Step;
    use doorbuster_core::{BuyerId, IdKey, NodeId, RequestKey, Spread, Stock, Units};
    use doorbuster_store::{NewItem, NewSale};
    use secrecy::SecretString;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::sync::Notify;

    use super::*;
    use crate::clock::Clock;
    use crate::config::{Roles, StripeSettings};
    use crate::engine::{Engine, EngineOptions, Place};
    use crate::payment::Meter;
    use crate::payment::provider::Provider;
    use crate::payment::stripe::{self, Stripe};
    use crate::purchase::{Bought, Purchase};
    use crate::scratch::Scratch;

    #[test]
    fn a_full_page_is_followed_by_the_next_as_soon_as_somebody_can_ask() {
        assert!(reads_on(true, 0, AT_ONCE - 1) && reads_on(true, 0, 0));
        assert!(!reads_on(true, 1, 0), "what was read is asked about first");
        assert!(!reads_on(true, 0, AT_ONCE), "nobody could ask");
        assert!(!reads_on(false, 0, 0), "there is no more");
        const { assert!(AT_ONCE < PAGE, "a full page has what is not asked about yet") };
    }

    #[test]
    fn who_says_nothing_is_asked_more_and_more_seldom() {
        let day = 86_400_000;
        for (waited, again) in [
            (-1, AGAIN_LATER_MS),
            (480_000, 60_000),
            (960_000, 120_000),
            (day, day / 8),
            (29 * day, day / 4),
            (300 * day, day / 4),
        ] {
            assert_eq!(again_ms(OrderState::Cancelled, waited), again, "{waited}");
            assert_eq!(again_ms(OrderState::Reserved, waited), AGAIN_MS, "its units wait");
        }
        let (mut waited, mut questions) = (0, 0);
        while waited < ASK_FOR_MS {
            (waited, questions) = (waited + again_ms(OrderState::Paid, waited), questions + 1);
        }
        assert!((100..300).contains(&questions), "{questions}");
    }

    /// An engine with an order that waits for its payment at a checkout of Stripe.
    async fn engine_with_checkout(dir: &Scratch, clock: Clock) -> (Arc<Engine>, Checkout, Order) {
        let engine = Engine::start(EngineOptions {
            place: Place::Directory(dir.path().to_owned()),
            roles: Roles::ALL,
            id_key: IdKey::new([3; 32]),
            clock,
            node: NodeId(1),
            bounds: doorbuster_core::slot::Bounds::default(),
            leads_regardless: false,
            allow_fsync_off: false,
            on_fatal: Arc::new(|reason| panic!("the store failed: {reason}")),
        });
        let engine = engine.await.expect("a fresh directory opens");
        let item = NewItem {
            name: "phone".into(),
            title: "Phone".into(),
            description: String::new(),
            image: None,
            price_minor: 10,
            currency: "CNY".into(),
            list_price_minor: None,
            limit: 1,
            hold_ms: 900_000,
            stock: Stock::Counted(1),
            spread: Spread::default(),
        };
        let sale = NewSale {
            id: "spring".into(),
            title: "Spring".into(),
            starts_at: None,
            ends_at: None,
            front_door: "{}".into(),
            items: vec![item],
        };
        engine.create_sale(sale).await.expect("writes").expect("the id is free");
        engine.step_sale("spring", Step::Open).await.expect("writes");
        let sale = engine.catalogue().sale("spring").cloned().expect("created");
        let item = sale.items[0].clone();
        let (buyer, key) = (BuyerId::new("anna").expect("a buyer"), RequestKey::new("k").expect("a key"));
        let wait = Duration::from_secs(5);
        let bought = engine.buy(&Purchase { buyer, key, sale, item, units: Units::ONE, wait, door: None }).await;
        let Bought::Created(order) = bought else { panic!("{bought:?}") };
        let checkout = Checkout {
            order: order.id,
            provider: stripe::NAME.to_owned(),
            session: "cs_1".to_owned(),
            url: "/".to_owned(),
            expires_at: order.pay_by,
            open: true,
            at: engine.now(),
        };
        let kept = engine.store().keep_checkout(checkout.clone()).await.expect("writes");
        assert_eq!(kept, CheckoutKept::Kept(checkout.clone()));
        (engine, checkout, order)
    }

    #[tokio::test]
    async fn units_that_wait_make_the_lag_and_silence_about_ended_orders_does_not() {
        let dir = Scratch::new();
        let (engine, _, order) = engine_with_checkout(&dir, Clock::default()).await;
        let now = order.pay_by.plus(7_000);
        let ended = Order { state: OrderState::Cancelled, ended_at: Some(now.plus(-3_600_000)), ..order.clone() };
        assert_eq!(lag_ms([&ended].into_iter(), now), 0);
        assert_eq!(lag_ms([&ended, &order].into_iter(), now), 7_000);
        assert_eq!(lag_ms([&order].into_iter(), order.pay_by.plus(-1)), 0, "its time is not over");
        engine.stop().await;
    }

    /// Stripe at this address, which says of every session that it is not decided.
    async fn undecided() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it listens");
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut head = [0; 4096];
                drop(stream.read(&mut head).await);
                let said = r#"{"status":"complete","payment_status":"unpaid"}"#;
                let length = said.len();
                let text = format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{said}"
                );
                drop(stream.write_all(text.as_bytes()).await);
            }
        });
        format!("http://{address}")
    }

    #[tokio::test]
    async fn only_who_does_not_decide_for_very_long_is_not_asked_again() {
        let (dir, wall) = (Scratch::new(), Arc::new(AtomicI64::new(1_000_000_000_000)));
        let read = wall.clone();
        let clock = Clock::with_wall(Arc::new(move || read.load(Ordering::Relaxed)));
        let (engine, checkout, order) = engine_with_checkout(&dir, clock).await;
        let payments = |api_url: String| {
            let secret_key = SecretString::from("sk_test_1");
            let stripe = Stripe::new(&StripeSettings { api_url, secret_key, webhook_secrets: Vec::new() }, "m1".into());
            Payments {
                engine: engine.clone(),
                provider: Provider::Stripe(stripe),
                meter: Meter::default(),
                controls: true,
                pages_at: None,
                sandbox_page: false,
                here: None,
                refunds: Notify::new(),
            }
        };
        let (away, undecided) = (payments("http://127.0.0.1:1".to_owned()), payments(undecided().await));
        let ended = |ago: i64| {
            let ended_at = Some(engine.now().plus(-ago));
            Order { state: OrderState::Cancelled, ended_at, ..order.clone() }
        };
        let stays = async |payments: &Payments, checkout: &Checkout, ago: i64| {
            payments.ask(checkout.clone(), ended(ago)).await.expect("writes");
            engine.store().checkout(order.id).await.expect("reads").expect("it is kept").open
        };
        assert!(stays(&away, &checkout, 2 * ASK_FOR_MS).await, "it may have taken money");
        let foreign = Checkout { provider: "another".to_owned(), ..checkout.clone() };
        assert!(stays(&undecided, &foreign, 2 * ASK_FOR_MS).await, "another provider was never asked");
        assert!(stays(&undecided, &checkout, ASK_FOR_MS - 60_000).await, "a bank may take long");
        wall.fetch_add(3_600_000, Ordering::Relaxed);
        engine.clock().discipline();
        assert!(stays(&undecided, &checkout, ASK_FOR_MS).await, "by a clock that was set");
        wall.fetch_sub(3_600_000, Ordering::Relaxed);
        engine.clock().discipline();
        assert!(!stays(&undecided, &checkout, ASK_FOR_MS).await);
        engine.stop().await;
    }
}
