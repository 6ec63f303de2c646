//! Settles tickets: a batch is one transaction of two round trips.
//!
//! The first round trip locks and reads every row that the batch can need. Then the rules of
//! `doorbuster-core` run in memory. The second round trip writes all changes and commits. A single
//! round trip would need a copy of the rules in SQL.
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use doorbuster_core::settle::TicketVerdict;
use doorbuster_core::{IdKey, Order, Ticket, Verdict, settle};

use crate::contract::StoreError;
use crate::contract::StoreResult;
use crate::failure::{Failure, FailureKind, panic_message};

use super::answer_wait::{await_answer, await_commit};
use super::flush::Query;
use super::ledger::PostgresLedger;
use super::prefetch::NewBuyerInsert;
use super::shared::Shared;
use super::transaction::{CommittedResult, RetryState, RetryUnknown, end_transaction};
use super::{Postgres, connect, flush, prefetch};

impl Postgres {
    pub(crate) async fn settle(
        &self,
        tickets: Vec<Arc<Ticket>>,
    ) -> StoreResult<Vec<TicketVerdict>> {
        let shared = Arc::clone(self.shared());
        shared.state.check_accepting()?;
        if tickets.is_empty() {
            return Ok(Vec::new());
        }
        self.run_to_completion(async move { batch(&shared, &tickets).await }).await
    }
}

/// What one transaction does with its tickets. The text in a variant is the reason that the dead
/// letter records.
#[derive(Clone, Copy)]
enum SettleTask<'a> {
    Settle,
    /// Return the ticket, and record a dead letter.
    GiveUp(&'a str),
    /// Only record a dead letter.
    DeadLetter(&'a str),
}

/// Settles tickets in one transaction. If a ticket fails, the batch is halved until the failing
/// ticket is alone and becomes a dead letter.
async fn batch(shared: &Shared, tickets: &[Arc<Ticket>]) -> StoreResult<Vec<TicketVerdict>> {
    let failure = match run_with_retries(shared, tickets, SettleTask::Settle).await {
        Ok(resolved) => return Ok(resolved),
        Err(failure) => failure,
    };
    match failure.kind() {
        FailureKind::Bad | FailureKind::Conflict => {}
        FailureKind::Unreachable | FailureKind::Unknown | FailureKind::Damaged => {
            return Err(shared.state.store_error(failure));
        }
    }
    if let [ticket] = tickets {
        return settle_poisoned(shared, ticket, &failure).await.map(|resolved| vec![resolved]);
    }
    tracing::warn!(
        %failure,
        tickets = tickets.len(),
        event = "settle.split",
        "failed to settle a batch; settling its halves separately"
    );
    let (first, second) = tickets.split_at(tickets.len() / 2);
    let mut resolved = Box::pin(batch(shared, first)).await?;
    resolved.extend(Box::pin(batch(shared, second)).await?);
    Ok(resolved)
}

/// Lets the rules return a ticket that cannot be settled, and records a dead letter. The rules get
/// a time after the ticket's `decide_by`. At such a time, the only possible verdict is to return
/// the ticket.
async fn settle_poisoned(
    shared: &Shared,
    ticket: &Arc<Ticket>,
    failure: &Failure,
) -> Result<TicketVerdict, StoreError> {
    let id = shared.id_key.id_of(ticket);
    let reason = failure.to_string();
    tracing::error!(
        %reason,
        ticket = %id,
        event = "settle.dead_letter",
        "failed to settle a ticket; recording it as a dead letter"
    );
    let one = std::slice::from_ref(ticket);
    let failure = match run_with_retries(shared, one, SettleTask::GiveUp(&reason)).await {
        Ok(mut resolved) if !resolved.is_empty() => return Ok(resolved.swap_remove(0)),
        Ok(_) => Failure::Row("the ticket got no verdict".to_owned()),
        Err(failure) if matches!(failure.kind(), FailureKind::Bad | FailureKind::Conflict) => {
            failure
        }
        Err(failure) => return Err(shared.state.store_error(failure)),
    };
    // The attempt to return the ticket failed too. The ticket's units return to the pool when the
    // grant is closed.
    let reason = format!("{reason}; the ticket could not be returned either: {failure}");
    if let Err(failure) = run_with_retries(shared, one, SettleTask::DeadLetter(&reason)).await {
        if !matches!(failure.kind(), FailureKind::Bad | FailureKind::Conflict) {
            return Err(shared.state.store_error(failure));
        }
        tracing::error!(
            %failure,
            ticket = %id,
            event = "settle.dead_letter_unwritten",
            "failed to write a dead letter"
        );
    }
    Ok(TicketVerdict { id, verdict: Verdict::Unavailable, order: None, fresh: true })
}

/// Runs the transaction of a batch, with retries. A batch with an unknown outcome is settled again.
/// This is safe, because a ticket with a verdict keeps its verdict.
async fn run_with_retries(
    shared: &Shared,
    tickets: &[Arc<Ticket>],
    task: SettleTask<'_>,
) -> Result<Vec<TicketVerdict>, Failure> {
    let mut tries = RetryState::new();
    let mut new = NewBuyerInsert::WithCommit;
    loop {
        let failure = match attempt(shared, tickets, task, new).await {
            Ok(done) => match tries.confirm(shared).await {
                Ok(()) => {
                    acknowledge_earlier_orders(shared, &done.value);
                    return Ok(done.publish(shared, &tries).await);
                }
                Err(failure) => failure,
            },
            Err(failure) => failure,
        };
        if failure.kind() == FailureKind::Conflict {
            new = NewBuyerInsert::First;
        }
        tries.wait_to_retry(shared, failure, RetryUnknown::Allowed).await?;
    }
}

/// An earlier attempt may have created orders for some of these tickets. Adds these orders to the
/// acknowledged orders. They may be missing there if the answer to that attempt's COMMIT was lost.
fn acknowledge_earlier_orders(shared: &Shared, resolved: &[TicketVerdict]) {
    let is_earlier = |one: &&TicketVerdict| !one.fresh && one.verdict == Verdict::Reserved;
    let orders: Vec<Order> =
        resolved.iter().filter(is_earlier).filter_map(|one| one.order.clone()).collect();
    shared.acknowledged.add(&orders);
}

async fn attempt(
    shared: &Shared,
    tickets: &[Arc<Ticket>],
    task: SettleTask<'_>,
    new: NewBuyerInsert,
) -> Result<CommittedResult<Vec<TicketVerdict>>, Failure> {
    let object = connect::get_for_transaction(&shared.writes).await?;
    let outcome = async {
        let (cache, publish) =
            await_answer(prefetch::tickets(&object, &shared.id_key, tickets, new)).await?;
        let mut ledger = PostgresLedger::prefetched(cache, shared.clock.for_transaction(publish));
        let resolved =
            catch_unwind(AssertUnwindSafe(|| resolve(&mut ledger, &shared.id_key, tickets, task)));
        let resolved =
            resolved.unwrap_or_else(|panic| Err(Failure::Panicked(panic_message(&*panic))))?;
        let mut queries = flush::queries(shared, &ledger.cache, ledger.now, false);
        if let SettleTask::GiveUp(reason) | SettleTask::DeadLetter(reason) = task {
            queries.extend(
                tickets
                    .iter()
                    .map(|t| Query::dead_letter(&shared.id_key.id_of(t), t, reason, ledger.now)),
            );
        }
        let transaction_id =
            await_commit(flush::commit(&object, &queries, ledger.cache.has_changes())).await?;
        Ok(CommittedResult {
            only_settled: ledger.cache.changed.is_empty(),
            ..CommittedResult::of(resolved, &ledger.cache, transaction_id)
        })
    }
    .await;
    end_transaction(object, outcome.as_ref().err()).await;
    outcome
}

fn resolve(
    ledger: &mut PostgresLedger<'_>,
    key: &IdKey,
    tickets: &[Arc<Ticket>],
    task: SettleTask<'_>,
) -> Result<Vec<TicketVerdict>, Failure> {
    let mut resolved = Vec::with_capacity(tickets.len());
    for ticket in tickets {
        ledger.node = Some(ticket.node);
        let now = match task {
            SettleTask::Settle => ledger.now,
            SettleTask::GiveUp(_) => ticket.decide_by.plus(1).max(ledger.now),
            SettleTask::DeadLetter(_) => break,
        };
        resolved.push(settle::settle(ledger, key, ticket, now)?);
    }
    Ok(resolved)
}
