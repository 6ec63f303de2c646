//! Asks the provider about checkouts that are over: of orders that are due, before their units
//! return, and of orders that ended. Run by the leader.
//!
//! What the provider says decides: it took money (then the order is paid, whatever became of the
//! message), or it closes the checkout. While it cannot be asked, a due order waits, for as long as
//! the rules have it and no longer. While it does not answer at all (`silence`), whole pages are
//! put off as if each had been asked about.
use std::collections::HashSet;
use std::time::{Duration, Instant};

use doorbuster_core::limits::with_jitter;
use doorbuster_core::money::Checkout;
use doorbuster_core::{Millis, Order, OrderState};
use doorbuster_store::CheckoutDeferral;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::Payments;
use super::provider::CheckoutStatus;
use super::silence::{ProbeResult, ProviderSilence};
use crate::engine::EngineError;
use crate::failpoint::{self, Point};

/// Checkouts that are read at once: each reading looks through all that are over.
const PAGE: usize = 1_024;
/// Checkouts that one transaction puts off: purchases wait behind it.
const PUT_OFF_AT_ONCE: usize = 100;
/// Between two looks, unless there was more to see than a page, or orders that wait are yet to be
/// asked about. A hold that ended is told within two seconds.
const POLL_EVERY: Duration = Duration::from_millis(250);
/// How long nobody is asked after an answer that could not be written down.
const ERROR_PAUSE: Duration = Duration::from_secs(1);
/// How long whoever hears that the provider is asked too much asks nothing else.
const BUSY_PAUSE: Duration = Duration::from_millis(250);
/// Between two questions about a checkout of a due order, when its provider cannot be asked or does
/// not know yet.
const RETRY_MS: i64 = 2_000;
/// The same at least while the provider is silent: it is put off with many others, and asked about
/// several times within the grace.
const SILENT_RETRY_MIN_MS: i64 = 30_000;
/// The same of an order that ended, at first: nothing waits for it. Later after an eighth of the
/// time since its end.
const ENDED_RETRY_MIN_MS: i64 = 60_000;
/// And at most.
const ENDED_RETRY_MAX_MS: i64 = 6 * 3_600_000;
/// How long a provider that does not decide is asked about an order that ended: longer than any
/// bank takes. Of money that comes after that only a message tells.
const GIVE_UP_AFTER_MS: i64 = 30 * 86_400_000;

impl Payments {
    /// Asks until the program stops. What waits longest for its answer keeps its own place, and no
    /// other's.
    pub(super) async fn reconcile(&self) {
        let (mut asking, mut asked) = (FuturesUnordered::new(), HashSet::new());
        let mut silence = ProviderSilence::default();
        loop {
            if !self.leads() {
                // What a leader before heard, or this one long ago, says nothing of now.
                silence = ProviderSilence::default();
            }
            let mut waiting = self.due_checkouts().await;
            let is_full = waiting.len() == PAGE;
            // They are told until they are answered: those that are asked about already are left
            // out.
            waiting.retain(|(checkout, _): &(Checkout, Order)| !asked.contains(&checkout.session));
            waiting.reverse();
            let spared = silence.split_off_waiting(&mut waiting, asking.len());
            let mut all_noted =
                self.postpone_all(spared, silence.is_confirmed(Instant::now())).await;
            let look = tokio::time::sleep(POLL_EVERY);
            tokio::pin!(look);
            loop {
                while silence.free_slots(asking.len()) > 0
                    && let Some((checkout, order)) = waiting.pop()
                {
                    let session = checkout.session.clone();
                    if asked.insert(session.clone()) {
                        asking.push(async move {
                            (session, self.check_checkout(checkout, order).await)
                        });
                    }
                }
                let goes_on = silence.is_silent() || silence.free_slots(asking.len()) > 0;
                // Those that are yet to be asked about are put off with the next page.
                let fell_silent = silence.is_silent() && !waiting.is_empty();
                tokio::select! {
                    // Whoever is asked about is looked after in any case.
                    biased;
                    Some((session, heard)) = asking.next(), if !asking.is_empty() => {
                        asked.remove(&session);
                        match heard {
                            Ok(heard) => silence.record(heard, Instant::now()),
                            Err(error) => {
                                all_noted = false;
                                tracing::warn!(%error, "what a provider said of a checkout could not be written down");
                            }
                        }
                    }
                    () = std::future::ready(()), if reads_next_page(is_full, waiting.len(), goes_on) || fell_silent => break,
                    () = &mut look, if !is_urgent(&waiting) => break,
                }
            }
            if !all_noted {
                // They are over still: without a rest the provider would hear of them as fast as it
                // answers.
                tokio::time::sleep(ERROR_PAUSE).await;
            }
        }
    }

    /// Checkouts that are over, those of orders that wait for it first. None on a node that does
    /// not lead, or where they cannot be read.
    async fn due_checkouts(&self) -> Vec<(Checkout, Order)> {
        if !self.leads() {
            self.meter.set_lag(0);
            return Vec::new();
        }
        match self.engine.store().checkouts_to_close(PAGE).await {
            Ok(apply_found) => {
                self.meter
                    .set_lag(lag_ms(apply_found.iter().map(|(_, order)| order), self.engine.now()));
                apply_found
            }
            Err(error) => {
                tracing::warn!(%error, "checkouts that are over could not be looked for");
                Vec::new()
            }
        }
    }

    /// Puts those off that nobody is asked about while the provider is silent, many at once. False:
    /// that could not be written down.
    async fn postpone_all(&self, spared: Vec<(Checkout, Order)>, no_answer: bool) -> bool {
        let later = spared.into_iter().map(|(checkout, order)| {
            self.postponement(checkout, &order, no_answer, SILENT_RETRY_MIN_MS)
        });
        for some in later.collect::<Vec<_>>().chunks(PUT_OFF_AT_ONCE) {
            if let Err(error) = self.engine.store().defer_checkouts(some.to_vec()).await {
                tracing::warn!(%error, "checkouts of a silent provider could not be put off");
                return false;
            }
        }
        true
    }

    /// Has a checkout asked about once more, later. `no_answer`: its provider was asked, or cannot
    /// be.
    async fn postpone(
        &self,
        checkout: Checkout,
        order: &Order,
        no_answer: bool,
    ) -> Result<(), EngineError> {
        let later = self.postponement(checkout, order, no_answer, 0);
        self.engine.store().defer_checkouts(vec![later]).await?;
        Ok(())
    }

    fn postponement(
        &self,
        checkout: Checkout,
        order: &Order,
        no_answer: bool,
        least_ms: i64,
    ) -> CheckoutDeferral {
        let ms = retry_after_ms(order.state, waiting_ms(order, self.engine.now())).max(least_ms);
        CheckoutDeferral {
            order: order.id,
            session: checkout.session,
            ms: with_jitter(ms, rand::random()),
            no_answer,
        }
    }

    /// Whether the order ended longer ago than a bank takes to decide. By a clock that was set,
    /// everything may have.
    fn is_long_over(&self, order: &Order) -> bool {
        let waited_ms = waiting_ms(order, self.engine.store().monotonic_now());
        order.state != OrderState::Reserved
            && waited_ms >= GIVE_UP_AFTER_MS
            && !self.engine.clock_stepped()
    }

    async fn check_checkout(
        &self,
        checkout: Checkout,
        order: Order,
    ) -> Result<ProbeResult, EngineError> {
        let store = self.engine.store();
        if checkout.provider != self.provider.name() {
            if self.is_long_over(&order) {
                let (order, session, provider) =
                    (order.id.to_string(), &checkout.session, &checkout.provider);
                tracing::warn!(
                    order,
                    session,
                    provider,
                    "nobody can be asked about a checkout of another provider"
                );
            }
            self.postpone(checkout, &order, true).await?;
            return Ok(ProbeResult::NotAsked);
        }
        let said = self.provider.close(&order.id, &checkout.session).await;
        failpoint::pass(Point::ReconcileAsked);
        self.meter.count_check(said.is_err());
        let heard = ProbeResult::from_answer(&said);
        match said {
            Ok(CheckoutStatus::Closed) => {}
            Ok(CheckoutStatus::Paid(apply_found)) => {
                if let Err(error) = self.apply_found(apply_found).await {
                    // It keeps no place before others meanwhile.
                    self.postpone(checkout, &order, false).await?;
                    return Err(error);
                }
                failpoint::pass(Point::ReconcileCaptured);
            }
            Ok(CheckoutStatus::Undecided) if self.is_long_over(&order) => {
                let (order, session) = (order.id.to_string(), &checkout.session);
                tracing::error!(
                    order,
                    session,
                    "a provider did not decide about a checkout, and is not asked again"
                );
            }
            Ok(CheckoutStatus::Undecided) => {
                self.postpone(checkout, &order, true).await?;
                return Ok(heard);
            }
            Err(error) => {
                tracing::warn!(%error, provider = checkout.provider, "a provider could not be asked about a checkout");
                if error.is_busy {
                    tokio::time::sleep(BUSY_PAUSE).await;
                }
                self.postpone(checkout, &order, !error.is_busy).await?;
                return Ok(heard);
            }
        }
        store.close_checkout(order.id, checkout.session).await?;
        failpoint::pass(Point::ReconcileClosed);
        Ok(heard)
    }
}

/// Whether the next page is read at once: there is more than this one had, and something can be
/// done about it.
fn reads_next_page(is_full: bool, waiting: usize, goes_on: bool) -> bool {
    is_full && waiting == 0 && goes_on
}

/// Whether an order waits to be asked about next: those that were due later stand behind it in any
/// page.
fn is_urgent(waiting: &[(Checkout, Order)]) -> bool {
    waiting.last().is_some_and(|(_, order)| order.state == OrderState::Reserved)
}

/// How long a checkout that is over waits for its provider's word.
fn waiting_ms(order: &Order, now: Millis) -> i64 {
    now.0 - order.ended_at.or(order.paid_at).unwrap_or(order.pay_by).0
}

/// How long units have waited for it. An order that ended gave its units back: its provider may be
/// silent for weeks.
fn lag_ms<'a>(orders: impl Iterator<Item = &'a Order>, now: Millis) -> i64 {
    orders
        .filter(|order| order.state == OrderState::Reserved)
        .map(|order| waiting_ms(order, now))
        .max()
        .unwrap_or(0)
        .max(0)
}

/// When to ask again about a checkout that has waited for so long.
fn retry_after_ms(state: OrderState, waited_ms: i64) -> i64 {
    match state {
        OrderState::Reserved => RETRY_MS,
        _ => (waited_ms / 8).clamp(ENDED_RETRY_MIN_MS, ENDED_RETRY_MAX_MS),
    }
}

#[cfg(test)]
mod tests;
