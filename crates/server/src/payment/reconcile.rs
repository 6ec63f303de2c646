//! Asks the provider about checkouts that are over: of orders that are due, before their units return, and of orders that ended. Run by the leader.
//!
//! What the provider says decides: it took money (then the order is paid, whatever became of the message), or it closes the checkout. While it
//! cannot be asked, a due order waits, for as long as the rules have it and no longer. While it does not answer at all (`silence`), whole pages are put off
//! as if each had been asked about.
use std::collections::HashSet;
use std::time::{Duration, Instant};

use doorbuster_core::limits::spread_out;
use doorbuster_core::money::Checkout;
use doorbuster_core::{Millis, Order, OrderState};
use doorbuster_store::PutOff;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::Payments;
use super::provider::Standing;
use super::silence::{Heard, Silence};
use crate::engine::EngineError;
use crate::failpoint::{self, Point};

/// Checkouts that are read at once: each reading looks through all that are over.
const PAGE: usize = 1_024;
/// Checkouts that one transaction puts off: purchases wait behind it.
const PUT_OFF_AT_ONCE: usize = 100;
/// Between two looks, unless there was more to see than a page, or orders that wait are yet to be asked about. A hold that ended is told within two seconds.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long nobody is asked after an answer that could not be written down.
const REST: Duration = Duration::from_secs(1);
/// How long whoever hears that the provider is asked too much asks nothing else.
const BUSY_REST: Duration = Duration::from_millis(250);
/// Between two questions about a checkout of a due order, when its provider cannot be asked or does not know yet.
const AGAIN_MS: i64 = 2_000;
/// The same at least while the provider is silent: it is put off with many others, and asked about several times within the grace.
const AGAIN_SILENT_MS: i64 = 30_000;
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
        let mut silence = Silence::default();
        loop {
            if !self.leads() {
                // What a leader before heard, or this one long ago, says nothing of now.
                silence = Silence::default();
            }
            let mut waiting = self.to_ask().await;
            let is_full = waiting.len() == PAGE;
            // They are told until they are answered: those that are asked about already are left out.
            waiting.retain(|(checkout, _): &(Checkout, Order)| !asked.contains(&checkout.session));
            waiting.reverse();
            let spared = silence.spare(&mut waiting, asking.len());
            let mut all_noted = self.spare(spared, silence.is_believed(Instant::now())).await;
            let look = tokio::time::sleep(LOOK_EVERY);
            tokio::pin!(look);
            loop {
                while silence.free(asking.len()) > 0
                    && let Some((checkout, order)) = waiting.pop()
                {
                    let session = checkout.session.clone();
                    if asked.insert(session.clone()) {
                        asking.push(async move { (session, self.ask(checkout, order).await) });
                    }
                }
                let goes_on = silence.lasts() || silence.free(asking.len()) > 0;
                // Those that are yet to be asked about are put off with the next page.
                let fell_silent = silence.lasts() && !waiting.is_empty();
                tokio::select! {
                    // Whoever is asked about is looked after in any case.
                    biased;
                    Some((session, heard)) = asking.next(), if !asking.is_empty() => {
                        asked.remove(&session);
                        match heard {
                            Ok(heard) => silence.hear(heard, Instant::now()),
                            Err(error) => {
                                all_noted = false;
                                tracing::warn!(%error, "what a provider said of a checkout could not be written down");
                            }
                        }
                    }
                    () = std::future::ready(()), if reads_on(is_full, waiting.len(), goes_on) || fell_silent => break,
                    () = &mut look, if !is_urgent(&waiting) => break,
                }
            }
            if !all_noted {
                // They are over still: without a rest the provider would hear of them as fast as it answers.
                tokio::time::sleep(REST).await;
            }
        }
    }

    /// Checkouts that are over, those of orders that wait for it first. None on a node that does not lead, or where they cannot be read.
    async fn to_ask(&self) -> Vec<(Checkout, Order)> {
        if !self.leads() {
            self.meter.lag(0);
            return Vec::new();
        }
        match self.engine.store().checkouts_to_close(PAGE).await {
            Ok(found) => {
                self.meter.lag(lag_ms(found.iter().map(|(_, order)| order), self.engine.now()));
                found
            }
            Err(error) => {
                tracing::warn!(%error, "checkouts that are over could not be looked for");
                Vec::new()
            }
        }
    }

    /// Puts those off that nobody is asked about while the provider is silent, many at once. False: that could not be written down.
    async fn spare(&self, spared: Vec<(Checkout, Order)>, in_vain: bool) -> bool {
        let later = spared
            .into_iter()
            .map(|(checkout, order)| self.later(checkout, &order, in_vain, AGAIN_SILENT_MS));
        for some in later.collect::<Vec<_>>().chunks(PUT_OFF_AT_ONCE) {
            if let Err(error) = self.engine.store().put_off_checkouts(some.to_vec()).await {
                tracing::warn!(%error, "checkouts of a silent provider could not be put off");
                return false;
            }
        }
        true
    }

    /// Has a checkout asked about once more, later. `in_vain`: its provider was asked, or cannot be.
    async fn put_off(
        &self,
        checkout: Checkout,
        order: &Order,
        in_vain: bool,
    ) -> Result<(), EngineError> {
        let later = self.later(checkout, order, in_vain, 0);
        self.engine.store().put_off_checkouts(vec![later]).await?;
        Ok(())
    }

    fn later(&self, checkout: Checkout, order: &Order, in_vain: bool, least_ms: i64) -> PutOff {
        let ms = again_ms(order.state, waits_since(order, self.engine.now())).max(least_ms);
        PutOff {
            order: order.id,
            session: checkout.session,
            ms: spread_out(ms, rand::random()),
            in_vain,
        }
    }

    /// Whether the order ended longer ago than a bank takes to decide. By a clock that was set, everything may have.
    fn is_long_over(&self, order: &Order) -> bool {
        let waited_ms = waits_since(order, self.engine.store().careful_now());
        order.state != OrderState::Reserved
            && waited_ms >= ASK_FOR_MS
            && !self.engine.clock_was_set()
    }

    async fn ask(&self, checkout: Checkout, order: Order) -> Result<Heard, EngineError> {
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
            self.put_off(checkout, &order, true).await?;
            return Ok(Heard::Unasked);
        }
        let said = self.provider.close(&order.id, &checkout.session).await;
        failpoint::pass(Point::ReconcileAsked);
        self.meter.ask(said.is_err());
        let heard = Heard::of(&said);
        match said {
            Ok(Standing::Closed) => {}
            Ok(Standing::Paid(found)) => {
                if let Err(error) = self.found(found).await {
                    // It keeps no place before others meanwhile.
                    self.put_off(checkout, &order, false).await?;
                    return Err(error);
                }
                failpoint::pass(Point::ReconcileCaptured);
            }
            Ok(Standing::Undecided) if self.is_long_over(&order) => {
                let (order, session) = (order.id.to_string(), &checkout.session);
                tracing::error!(
                    order,
                    session,
                    "a provider did not decide about a checkout, and is not asked again"
                );
            }
            Ok(Standing::Undecided) => {
                self.put_off(checkout, &order, true).await?;
                return Ok(heard);
            }
            Err(error) => {
                tracing::warn!(%error, provider = checkout.provider, "a provider could not be asked about a checkout");
                if error.is_busy {
                    tokio::time::sleep(BUSY_REST).await;
                }
                self.put_off(checkout, &order, !error.is_busy).await?;
                return Ok(heard);
            }
        }
        store.close_checkout(order.id, checkout.session).await?;
        failpoint::pass(Point::ReconcileClosed);
        Ok(heard)
    }
}

/// Whether the next page is read at once: there is more than this one had, and something can be done about it.
fn reads_on(is_full: bool, waiting: usize, goes_on: bool) -> bool {
    is_full && waiting == 0 && goes_on
}

/// Whether an order waits to be asked about next: those that were due later stand behind it in any page.
fn is_urgent(waiting: &[(Checkout, Order)]) -> bool {
    waiting.last().is_some_and(|(_, order)| order.state == OrderState::Reserved)
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
mod tests;
