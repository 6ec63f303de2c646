//! Closes the checkouts of orders whose payment window has ended, and of orders that have ended.
//! The leader asks the provider about each of these checkouts.
//!
//! * An order is due when its payment window has ended. Its units return only after the provider
//!   has answered. If the provider cannot be reached, the units return after a grace period.
//! * The other checkouts belong to orders that have ended. No units wait for the provider's answers
//!   about these checkouts.
//! * If the provider took money, the order becomes paid, even if the provider's message about the
//!   payment was lost. Otherwise, the provider closes the checkout.
//! * If the provider is silent (`silence`), the server asks about a few checkouts and postpones all
//!   others. If the provider stays silent, a postponed checkout counts as a failed request, which
//!   starts the grace period.
mod closing;
mod pacer;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use doorbuster_core::backoff::with_jitter;
use doorbuster_core::money::Checkout;
use doorbuster_core::{Millis, Order, OrderState};
use doorbuster_engine::error::EngineError;
use doorbuster_engine::outage_log;
use doorbuster_engine::scheduler::{NextRun, Turn, Work};
use doorbuster_store::CheckoutDeferral;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;

use super::Payments;
use super::silence::{ProbeResult, ProviderSilence};
use pacer::QueryPacer;

const PAGE_SIZE: usize = 1_024;
/// One transaction postpones at most this many checkouts. The number is small, because purchases
/// wait while the transaction runs.
const PUT_OFF_AT_ONCE: usize = 100;
/// The normal pause between two reads of due checkouts. It is short, because the server must
/// publish the end of a hold within two seconds. If the last page was full, the next read is
/// earlier. While the server has not yet asked the provider about some due orders of this page, the
/// next read is later.
const POLL_INTERVAL: Duration = Duration::from_millis(250);
/// The longest time between two reads of due checkouts. The due checkouts in memory become out of
/// date, because orders change and another node may become the leader.
const READ_WITHIN: Duration = Duration::from_secs(2);
const ERROR_PAUSE: Duration = Duration::from_secs(1);
/// The pause between two requests about a due order. The server repeats a request if the provider
/// could not be reached, or if a payment is pending.
const RETRY_MS: i64 = 2_000;
/// The shortest pause for a checkout that was postponed because the provider is silent. The grace
/// period is several times as long.
const SILENT_RETRY_MIN_MS: i64 = 30_000;
/// The shortest pause between two requests about an order that has ended. This pause can be long,
/// because no units wait for the answer. Later, a pause is an eighth of the time since the order's
/// end.
const ENDED_RETRY_MIN_MS: i64 = 60_000;
/// The longest pause between two requests about an order that has ended.
const ENDED_RETRY_MAX_MS: i64 = 6 * 3_600_000;
/// How long after the end of an order the server asks about its pending payment. No bank needs more
/// time to decide. After this time, the server learns of the payment only if the provider sends a
/// message.
const GIVE_UP_AFTER_MS: i64 = 30 * 86_400_000;

/// The values that are kept between two calls of `run_page`: the running requests, the provider's
/// silence, and the rate limit.
struct CheckoutQueries<'a> {
    payments: &'a Payments,
    asking: FuturesUnordered<BoxFuture<'a, (String, Result<ProbeResult, EngineError>)>>,
    /// The provider's ids of the checkouts in `asking`.
    in_progress: HashSet<String>,
    silence: ProviderSilence,
    pacer: QueryPacer,
}

impl<'a> CheckoutQueries<'a> {
    fn new(payments: &'a Payments) -> Self {
        Self {
            payments,
            asking: FuturesUnordered::new(),
            in_progress: HashSet::new(),
            silence: ProviderSilence::default(),
            pacer: QueryPacer::new(payments.provider.queries_per_sec(), Instant::now()),
        }
    }

    /// Reads one page of due checkouts. Sends requests about them until it is time to read the next
    /// page.
    async fn run_page(&mut self) -> NextRun {
        let payments = self.payments;
        let (mut waiting, is_full) = payments.next_page(&self.in_progress).await;
        let held_back = self.silence.split_off_waiting(&mut waiting, self.asking.len());
        let unanswered = self.silence.is_confirmed(Instant::now());
        let mut all_noted = payments.postpone_all(held_back, unanswered).await;
        let next_read = tokio::time::sleep(POLL_INTERVAL);
        let latest_read = tokio::time::sleep(READ_WITHIN);
        tokio::pin!(next_read, latest_read);
        loop {
            self.start_requests(&mut waiting);
            let free = self.silence.requests_allowed(self.asking.len());
            let is_paced = free > 0 && !waiting.is_empty();
            let pause = self.pacer.wait(Instant::now()).unwrap_or_default();
            let goes_on = self.silence.is_silent() || free > 0;
            // If the provider has become silent, this call ends, and the next call postpones the
            // remaining checkouts.
            let fell_silent = self.silence.is_silent() && waiting.len() > free;
            tokio::select! {
                // The running requests are polled first. Otherwise, another branch that is always
                // ready could stop their progress.
                biased;
                Some(answer) = self.asking.next(), if !self.asking.is_empty() => {
                    all_noted &= self.note(answer);
                }
                () = std::future::ready(()),
                    if reads_next_page(is_full, waiting.len(), goes_on) || fell_silent =>
                {
                    break
                }
                () = tokio::time::sleep(pause), if is_paced => {}
                () = &mut next_read, if !is_urgent(&waiting) => break,
                () = &mut latest_read => break,
            }
        }
        // After a failure of the store, the checkouts are still due. Without a pause, the server
        // would repeat its requests at once.
        if all_noted { NextRun::Now } else { NextRun::After(ERROR_PAUSE) }
    }

    async fn drive_until(&mut self, turn: impl Future<Output = Turn>) -> Turn {
        tokio::pin!(turn);
        loop {
            tokio::select! {
                turn = &mut turn => return turn,
                Some(answer) = self.asking.next(), if !self.asking.is_empty() => {
                    self.note(answer);
                }
            }
        }
    }

    /// Starts requests that close checkouts, and takes the checkouts from the end of `waiting`.
    /// Stops at the rate limit or at the limit of running requests.
    fn start_requests(&mut self, waiting: &mut Vec<(Checkout, Order)>) {
        let payments = self.payments;
        while self.silence.requests_allowed(self.asking.len()) > 0
            && self.pacer.wait(Instant::now()).is_none()
            && let Some((checkout, order)) = waiting.pop()
        {
            let session = checkout.session.clone();
            if self.in_progress.insert(session.clone()) {
                self.pacer.count_queries(1);
                self.asking.push(Box::pin(async move {
                    (session, payments.close_checkout(checkout, order).await)
                }));
            }
        }
    }

    /// Records that a request about a checkout has ended, and whether the provider answered.
    /// Returns `false` if the store failed.
    fn note(&mut self, (session, result): (String, Result<ProbeResult, EngineError>)) -> bool {
        self.in_progress.remove(&session);
        self.pacer.count_queries(self.payments.provider.take_further_requests());
        match result {
            Ok(result) => self.silence.record(result, Instant::now()),
            Err(ref error) => self.payments.log_unstored(error),
        }
        result.is_ok()
    }
}

impl Payments {
    /// Asks about due checkouts until the program stops. The requests run concurrently, so a slow
    /// answer does not delay the others.
    pub(super) async fn close_ended_checkouts(&self) {
        let mut queries = CheckoutQueries::new(self);
        let (mut turns, mut next) = (self.node.turns(Work::Checkouts), NextRun::Now);
        loop {
            let turn = queries.drive_until(turns.wait(next)).await;
            if turn == Turn::First {
                // This node has just become the leader. If it was the leader before, it may
                // remember a silence of the provider that is over now.
                queries.silence = ProviderSilence::default();
            }
            next = queries.run_page().await;
        }
    }

    /// Reads a page of due checkouts. Returns the checkouts without a running request, and whether
    /// the page was full. The most urgent checkout is the last one.
    async fn next_page(&self, in_progress: &HashSet<String>) -> (Vec<(Checkout, Order)>, bool) {
        let mut waiting = self.due_checkouts().await;
        let is_full = waiting.len() == PAGE_SIZE;
        // A checkout stays due in the store until the provider's answer is stored.
        waiting.retain(|(checkout, _)| !in_progress.contains(&checkout.session));
        waiting.reverse();
        (waiting, is_full)
    }

    fn log_unstored(&self, error: &EngineError) {
        outage_log::warn!(
            self.node.outage_log(),
            error,
            event = "payment.checkout_unstored",
            "failed to store a provider's answer about a checkout; will retry"
        );
    }

    /// Reads the due checkouts; those of orders that hold units come first. Returns no checkouts if
    /// the read fails.
    async fn due_checkouts(&self) -> Vec<(Checkout, Order)> {
        match self.node.store().checkouts_to_close(PAGE_SIZE).await {
            Ok(due) => {
                let now = self.node.store().monotonic_now();
                self.meter.set_lag(lag_ms(due.iter().map(|(_, order)| order), now));
                due
            }
            Err(error) => {
                outage_log::warn!(
                    self.node.outage_log(),
                    error,
                    event = "payment.checkouts_unread",
                    "failed to read expired checkouts; will retry"
                );
                Vec::new()
            }
        }
    }

    /// Postpones these checkouts without a query to the provider, because the provider is silent.
    /// Returns `false` if the store failed.
    async fn postpone_all(&self, held_back: Vec<(Checkout, Order)>, unanswered: bool) -> bool {
        let later = held_back.into_iter().map(|(checkout, order)| {
            self.postponement(checkout, &order, unanswered, SILENT_RETRY_MIN_MS)
        });
        for some in later.collect::<Vec<_>>().chunks(PUT_OFF_AT_ONCE) {
            if let Err(error) = self.node.store().defer_checkouts(some.to_vec()).await {
                outage_log::warn!(
                    self.node.outage_log(),
                    error,
                    event = "payment.postpone_failed",
                    "failed to postpone the checkouts of a silent provider; will retry"
                );
                return false;
            }
        }
        true
    }

    /// Postpones the next request about a checkout. If `unanswered` is true and the order is due,
    /// its grace period begins.
    async fn postpone(
        &self,
        checkout: Checkout,
        order: &Order,
        unanswered: bool,
    ) -> Result<(), EngineError> {
        let later = self.postponement(checkout, order, unanswered, 0);
        self.node.store().defer_checkouts(vec![later]).await?;
        Ok(())
    }

    fn postponement(
        &self,
        checkout: Checkout,
        order: &Order,
        unanswered: bool,
        least_ms: i64,
    ) -> CheckoutDeferral {
        let ms = retry_after_ms(order.state, waiting_ms(order, self.node.now())).max(least_ms);
        CheckoutDeferral {
            order: order.id,
            session: checkout.session,
            ms: with_jitter(ms, rand::random()),
            unanswered,
        }
    }

    /// Returns whether the order ended so long ago that no bank can still be deciding about its
    /// payment. Returns `false` after a jump of the clock, because every order may then seem old.
    fn is_long_over(&self, order: &Order) -> bool {
        let waited_ms = waiting_ms(order, self.node.store().monotonic_now());
        order.state != OrderState::Reserved
            && waited_ms >= GIVE_UP_AFTER_MS
            && !self.node.clock_stepped()
    }
}

fn reads_next_page(is_full: bool, waiting: usize, goes_on: bool) -> bool {
    is_full && waiting == 0 && goes_on
}

/// Returns whether the next request is about an order that holds units. Requests about such orders
/// start first: they are at the end of `waiting`.
fn is_urgent(waiting: &[(Checkout, Order)]) -> bool {
    waiting.last().is_some_and(|(_, order)| order.state == OrderState::Reserved)
}

/// Returns how long the server has waited for the provider's answer, in milliseconds. The wait
/// begins when the order ended or was paid. If neither has happened, the wait begins at the end of
/// the order's payment window.
fn waiting_ms(order: &Order, now: Millis) -> i64 {
    now.0 - order.ended_at.or(order.paid_at).unwrap_or(order.pay_by).0
}

/// Returns the longest time for which an order has held units after its payment window, in
/// milliseconds. Orders that have ended do not count, because their units have returned.
fn lag_ms<'a>(orders: impl Iterator<Item = &'a Order>, now: Millis) -> i64 {
    orders
        .filter(|order| order.state == OrderState::Reserved)
        .map(|order| waiting_ms(order, now))
        .max()
        .unwrap_or(0)
        .max(0)
}

fn retry_after_ms(state: OrderState, waited_ms: i64) -> i64 {
    match state {
        OrderState::Reserved => RETRY_MS,
        _ => (waited_ms / 8).clamp(ENDED_RETRY_MIN_MS, ENDED_RETRY_MAX_MS),
    }
}

#[cfg(test)]
mod tests;
