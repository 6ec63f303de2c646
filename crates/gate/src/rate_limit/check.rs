//! The check of one request against the sale's limits for the buyer, for the address, and for all
//! buyers together. If this node has no share of one of the limits, the check waits until the node
//! gets a share.

use doorbuster_api::problem::RateLimitScope;
use doorbuster_core::gate::gcra::{self, RateDecision};
use doorbuster_core::gate::shared_limit::{Counting, ShareDecision};
use doorbuster_engine::catalogue::SaleState;
use doorbuster_engine::sale_limits::LimitCell;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::sharing::{LimitTarget, QueuedUse, SHARE_WAIT_MAX, ShareGrant};
use super::status::RateLimitStatus;
use super::{Caller, LimitStep, RateLimitExceeded, RateLimiter, Route};

/// The result of a check.
pub enum LimitCheck {
    /// The request is within the limits, and the limits have counted it.
    Counted(RateLimitStatus),
    /// The request must wait for a share of a limit.
    Pending(Box<PendingLimit>),
}

/// A check that has not ended, because it must wait for a share of a limit.
#[derive(Debug)]
pub struct PendingLimit {
    progress: CheckProgress,
    step: LimitStep,
    share: oneshot::Receiver<ShareGrant>,
}

#[derive(Debug)]
struct CheckProgress {
    route: Route,
    counting: Counting,
    /// Where the check continues: an index into [`RateLimitScope::ALL`].
    next: usize,
    status: RateLimitStatus,
    /// How much of each limit the request used. `None` for a limit that has not counted the
    /// request.
    used: [Option<LimitStep>; RateLimitScope::ALL.len()],
}

impl RateLimiter {
    /// Checks one request against all limits, and counts it. If this node has no share of a limit,
    /// returns a check that the caller must finish or withdraw. An edge does not count a request
    /// that it passes on to a node.
    ///
    /// # Errors
    ///
    /// If the request exceeds a limit. In this case, no limit counts the request.
    pub fn acquire(
        &self,
        (route, counting): (Route, Counting),
        caller: Caller<'_>,
        sale: &SaleState,
    ) -> Result<LimitCheck, RateLimitExceeded> {
        if sale.limits_of(route).is_none() {
            return Ok(LimitCheck::Counted(RateLimitStatus::default()));
        }
        self.acquire_at((route, counting), caller, sale, self.now())
    }

    pub(super) fn acquire_at(
        &self,
        (route, counting): (Route, Counting),
        caller: Caller<'_>,
        sale: &SaleState,
        now: u64,
    ) -> Result<LimitCheck, RateLimitExceeded> {
        if self.is_passed_on(counting) {
            return Ok(LimitCheck::Counted(RateLimitStatus::default()));
        }
        let progress = CheckProgress {
            route,
            counting,
            next: 0,
            status: RateLimitStatus::default(),
            used: [None; RateLimitScope::ALL.len()],
        };
        self.proceed(progress, caller, sale, now)
    }

    /// Checks one request against all limits, and counts it. Waits for this node's shares if
    /// necessary.
    ///
    /// # Errors
    ///
    /// If the request exceeds a limit. In this case, no limit counts the request.
    pub async fn acquire_shared(
        &self,
        route: (Route, Counting),
        caller: Caller<'_>,
        sale: &SaleState,
    ) -> Result<RateLimitStatus, RateLimitExceeded> {
        match self.acquire(route, caller, sale)? {
            LimitCheck::Counted(status) => Ok(status),
            LimitCheck::Pending(pending) => self.finish(*pending, caller, sale).await,
        }
    }

    /// Waits for the shares that the check needs, and finishes the check.
    ///
    /// # Errors
    ///
    /// If the request exceeds a limit. In this case, no limit counts the request.
    pub async fn finish(
        &self,
        mut pending: PendingLimit,
        caller: Caller<'_>,
        sale: &SaleState,
    ) -> Result<RateLimitStatus, RateLimitExceeded> {
        loop {
            let PendingLimit { mut progress, step, share } = pending;
            let grant = wait_for_share(share).await;
            let now = self.now();
            match self.apply_grant(&step, sale, progress.route, grant, now) {
                Ok(charge) => self.record(&mut progress, step, charge, now),
                Err(over) => return Err(self.refuse(progress, sale, step, over, now)),
            }
            match self.proceed(progress, caller, sale, now)? {
                LimitCheck::Counted(status) => return Ok(status),
                LimitCheck::Pending(next) => pending = *next,
            }
        }
    }

    /// Ends a check without a result, because the request cannot wait for a share. Each limit that
    /// has already counted the request takes the count back.
    pub fn withdraw(&self, pending: PendingLimit, sale: &SaleState) {
        self.release(&pending.progress, sale);
    }

    fn proceed(
        &self,
        mut progress: CheckProgress,
        caller: Caller<'_>,
        sale: &SaleState,
        now: u64,
    ) -> Result<LimitCheck, RateLimitExceeded> {
        let CheckProgress { route, counting, .. } = progress;
        for &scope in &RateLimitScope::ALL[progress.next..] {
            let Some(pace) = sale.limits_of(route).pace(scope) else { continue };
            let pace = self.pace_of(pace);
            let cost = match scope {
                RateLimitScope::Ip => pace.cost(self.address_budgets(caller, now)),
                RateLimitScope::Buyer | RateLimitScope::Interface => pace.cost(1),
            };
            let key = self.key_of((route, scope), caller, sale);
            let step = LimitStep { scope, key, pace, cost, taken: cost };
            match self.charge(&step, route, sale, counting, now) {
                ChargeResult::Decided(Ok(charge)) => self.record(&mut progress, step, charge, now),
                ChargeResult::Decided(Err(over)) => {
                    return Err(self.refuse(progress, sale, step, over, now));
                }
                ChargeResult::Pending(share) => {
                    progress.next = scope as usize;
                    return Ok(LimitCheck::Pending(Box::new(PendingLimit {
                        progress,
                        step,
                        share,
                    })));
                }
            }
        }
        Ok(LimitCheck::Counted(progress.status))
    }

    fn record(&self, progress: &mut CheckProgress, step: LimitStep, charge: Charge, now: u64) {
        let Charge { state, taken } = charge;
        progress.status.record(step.scope, self.pace_now(step.pace), state, now);
        progress.used[step.scope as usize] = Some(LimitStep { taken, ..step });
        progress.next = step.scope as usize + 1;
    }

    /// Ends a check with a refusal. Each limit that has already counted the request takes the count
    /// back.
    fn refuse(
        &self,
        mut progress: CheckProgress,
        sale: &SaleState,
        step: LimitStep,
        (nanos, state): (u64, u64),
        now: u64,
    ) -> RateLimitExceeded {
        progress.status.record(step.scope, self.pace_now(step.pace), state, now);
        self.release(&progress, sale);
        for used in progress.used.iter().flatten() {
            let used_state = |cell: &mut LimitCell| cell.with_share(|node| node.used_state());
            let state = self.table.with_existing(used.key, used_state).unwrap_or(0);
            progress.status.record(used.scope, self.pace_now(used.pace), state, now);
        }
        sale.runtime.limits.count_refusal(progress.route, step.scope);
        exceeded(step.scope, nanos, progress.status)
    }

    fn release(&self, progress: &CheckProgress, sale: &SaleState) {
        for used in progress.used.iter().flatten() {
            self.give_back(used, progress.route, sale);
        }
    }

    pub(super) fn give_back(&self, used: &LimitStep, route: Route, sale: &SaleState) {
        let give_back = |cell: &mut LimitCell| match self.sharing {
            Some(_) => cell.with_share(|node| node.release(used.cost, used.taken)),
            None => cell.state = gcra::return_cost(cell.state, used.cost),
        };
        match used.scope {
            RateLimitScope::Buyer | RateLimitScope::Ip => {
                let _ = self.table.with_existing(used.key, give_back);
            }
            RateLimitScope::Interface => sale.runtime.limits.sale_wide(route).with(give_back),
        }
    }

    /// Checks one request against one limit, and counts it if the limit allows it.
    pub(super) fn charge(
        &self,
        step: &LimitStep,
        route: Route,
        sale: &SaleState,
        counting: Counting,
        now: u64,
    ) -> ChargeResult {
        if step.scope == RateLimitScope::Interface
            && let Some(over) =
                sale.runtime.limits.sale_wide(route).refused_nanos(self.pace_now(step.pace), now)
        {
            return ChargeResult::Decided(Err(over));
        }
        let (decision, charge) = self.with_cell_of(step, route, sale, now, |cell| {
            let (decision, taken) = self.decide(cell, step, counting, now);
            if decision == (ShareDecision::Allowed { report: true }) && !cell.is_queued {
                cell.is_queued = self.enqueue(step, route, sale, None);
            }
            (decision, Charge { state: cell.with_share(|node| node.used_state()), taken })
        });
        match decision {
            ShareDecision::Allowed { .. } => ChargeResult::Decided(Ok(charge)),
            ShareDecision::Wait(nanos) => ChargeResult::Decided(Err((nanos, charge.state))),
            ShareDecision::Ask => {
                let (waiter, share) = oneshot::channel();
                match self.enqueue(step, route, sale, Some(waiter)) {
                    true => ChargeResult::Pending(share),
                    false => ChargeResult::Decided(self.charge_alone(step, route, sale, now)),
                }
            }
        }
    }

    /// Decides one request under one limit. Also returns the amount by which an allowed request
    /// raises the limit's state.
    fn decide(
        &self,
        cell: &mut LimitCell,
        step: &LimitStep,
        counting: Counting,
        now: u64,
    ) -> (ShareDecision, u64) {
        let LimitStep { pace, cost, .. } = *step;
        let decision = match &self.sharing {
            None => {
                let (state, decision) = match pace.try_take(cell.state, now, cost) {
                    RateDecision::Allowed(state) => {
                        (state, ShareDecision::Allowed { report: false })
                    }
                    RateDecision::Wait { state, nanos } => (state, ShareDecision::Wait(nanos)),
                };
                cell.state = state;
                decision
            }
            Some(sharing) if sharing.is_unreachable() => {
                return decide_alone(cell, step, sharing.nodes(), now);
            }
            Some(sharing) => {
                let terms = sharing.terms();
                cell.with_share(|node| node.spend(pace, (now, cost), &terms, counting))
            }
        };
        (decision, cost)
    }

    fn charge_alone(
        &self,
        step: &LimitStep,
        route: Route,
        sale: &SaleState,
        now: u64,
    ) -> Result<Charge, (u64, u64)> {
        let nodes = self.sharing.as_ref().map_or(1, super::LimitSharing::nodes);
        self.with_cell_of(step, route, sale, now, |cell| {
            let (decision, taken) = decide_alone(cell, step, nodes, now);
            let state = cell.with_share(|node| node.used_state());
            match decision {
                ShareDecision::Wait(nanos) => Err((nanos, state)),
                ShareDecision::Allowed { .. } | ShareDecision::Ask => Ok(Charge { state, taken }),
            }
        })
    }

    pub(super) fn apply_grant(
        &self,
        step: &LimitStep,
        sale: &SaleState,
        route: Route,
        grant: ShareGrant,
        now: u64,
    ) -> Result<Charge, (u64, u64)> {
        match grant {
            ShareGrant::Granted { state } => Ok(Charge { state, taken: step.cost }),
            ShareGrant::Refused { nanos, state } => Err((nanos, state)),
            ShareGrant::Unreachable => self.charge_alone(step, route, sale, now),
        }
    }

    fn with_cell_of<T>(
        &self,
        step: &LimitStep,
        route: Route,
        sale: &SaleState,
        now: u64,
        change: impl FnOnce(&mut LimitCell) -> T,
    ) -> T {
        match step.scope {
            RateLimitScope::Buyer | RateLimitScope::Ip => {
                self.table.with_cell(step.key, now, change)
            }
            RateLimitScope::Interface => sale.runtime.limits.sale_wide(route).with(change),
        }
    }

    /// Queues a request that waits for a share, or, if `waiter` is `None`, a report of counted
    /// requests. Returns `false` if the queue is full, or if nodes do not share limits.
    fn enqueue(
        &self,
        step: &LimitStep,
        route: Route,
        sale: &SaleState,
        waiter: Option<oneshot::Sender<ShareGrant>>,
    ) -> bool {
        let Some(sharing) = &self.sharing else { return false };
        let target = match step.scope {
            RateLimitScope::Buyer | RateLimitScope::Ip => LimitTarget::Cell,
            RateLimitScope::Interface => LimitTarget::SaleWideLimit(sale.runtime.clone(), route),
        };
        sharing.enqueue(QueuedUse { step: *step, target, waiter })
    }
}

/// What one limit counted for an allowed request. `state` is the limit's new state. `taken` is the
/// amount by which the request raised it.
#[derive(Clone, Copy)]
pub(super) struct Charge {
    pub(super) state: u64,
    pub(super) taken: u64,
}

/// The decision of one limit. `Decided(Err)` is a refusal, with the nanoseconds until the limit
/// would allow the request, and with the limit's state.
pub(super) enum ChargeResult {
    Decided(Result<Charge, (u64, u64)>),
    Pending(oneshot::Receiver<ShareGrant>),
}

/// Waits for a share. If no share arrives in time, for example because the node stops, returns
/// [`ShareGrant::Unreachable`].
pub(super) async fn wait_for_share(share: oneshot::Receiver<ShareGrant>) -> ShareGrant {
    match timeout(SHARE_WAIT_MAX, share).await {
        Ok(Ok(grant)) => grant,
        Ok(Err(_)) | Err(_) => ShareGrant::Unreachable,
    }
}

/// Decides one request under this node's part of a limit. Also returns what the request costs under
/// this part: less than usual if many buyers use the request's address.
fn decide_alone(
    cell: &mut LimitCell,
    step: &LimitStep,
    nodes: u32,
    now: u64,
) -> (ShareDecision, u64) {
    let LimitStep { pace, cost, .. } = *step;
    let part = pace.split_between(nodes);
    let share = pace.cost(1) / cost.max(1);
    let taken = part.cost(u32::try_from(share).unwrap_or(u32::MAX));
    (cell.with_share(|node| node.spend_alone(part, (now, taken), cost)), taken)
}

pub(super) fn exceeded(
    scope: RateLimitScope,
    nanos: u64,
    status: RateLimitStatus,
) -> RateLimitExceeded {
    let secs = u32::try_from(gcra::secs_rounded_up(nanos)).unwrap_or(u32::MAX).max(1);
    RateLimitExceeded { scope, retry_after_secs: secs, status }
}
