//! Runs transactions on a thread that may block. A transaction runs to its end even if the caller
//! stops waiting. A failed transaction runs again if a retry is safe.
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use deadpool_postgres::Object;
use doorbuster_core::{Millis, Order};
use tokio::runtime::Handle;

use super::connect::TransactionSession;
use super::job_places::JobPlace;
use super::ledger::{LiveConnection, Params, PostgresLedger};
use super::prefetch::{BEGIN, NOW};
use super::row_cache::RowCache;
use super::shared::Shared;
use super::{Postgres, connect, flush};
use crate::contract::StoreError;
use crate::contract::StoreResult;
use crate::failure::{Done, Failure, FailureKind};
use crate::limits::{
    PG_ANSWER_WAIT, PG_CONFLICTS_MAX, PG_RETRY_PAUSE, PG_RETRY_PAUSE_MAX, PG_RETRY_WITHIN,
};
use crate::postgres::answer_wait::await_answer;
use crate::postgres::answer_wait::await_commit;
use crate::sql::{Row, Value, postgres_params};
use crate::{actions, failure};

pub(super) use crate::transaction::RetryUnknown;

/// The failed attempts of one transaction, and the pause before the next attempt.
pub(super) struct RetryState {
    began: Instant,
    conflicts: u32,
    pause: Duration,
    /// Whether an attempt may have been committed.
    unknown: bool,
}

impl RetryState {
    pub(super) fn new() -> Self {
        Self { began: Instant::now(), conflicts: 0, pause: PG_RETRY_PAUSE, unknown: false }
    }

    /// If the outcome of an attempt is unknown, commits a small row, because the standby may lack
    /// the attempt's commit. Once the row is durable, every earlier commit is durable too.
    pub(super) async fn confirm(&self, shared: &Shared) -> Result<(), Failure> {
        match self.unknown {
            true => shared.commit_check().await,
            false => Ok(()),
        }
    }

    /// Waits until the next attempt should begin. Returns the failure for the caller if there must
    /// be no further attempt.
    pub(super) async fn wait_to_retry(
        &mut self,
        shared: &Shared,
        failure: Failure,
        again: RetryUnknown,
    ) -> Result<(), Failure> {
        match failure.kind() {
            FailureKind::Conflict if self.conflicts < PG_CONFLICTS_MAX => {
                self.conflicts += 1;
                tokio::time::sleep(
                    PG_RETRY_PAUSE.mul_f64(rand::random::<f64>()) / 4 * self.conflicts.min(8),
                )
                .await;
                return Ok(());
            }
            FailureKind::Unknown => {
                self.unknown = true;
                if again == RetryUnknown::Never {
                    return Err(failure);
                }
            }
            FailureKind::Unreachable => {}
            FailureKind::Conflict | FailureKind::Bad | FailureKind::Damaged => return Err(failure),
        }
        if self.began.elapsed() >= PG_RETRY_WITHIN || shared.state.check_accepting().is_err() {
            return Err(if self.unknown { Failure::Unknown(failure.to_string()) } else { failure });
        }
        // This line has the level DEBUG, because the publisher already logs the outage, and retries
        // can cause many lines a second.
        tracing::debug!(%failure, "the database is unreachable; retrying");
        tokio::time::sleep(self.pause.mul_f64(0.5 + rand::random::<f64>() / 2.0)).await;
        self.pause = (self.pause * 2).min(PG_RETRY_PAUSE_MAX);
        Ok(())
    }
}

/// Runs `attempt` until it succeeds, or until its failure must be returned. Even after an attempt
/// with an unknown outcome, `attempt` may run again.
pub(super) async fn retry<T, F: Future<Output = Result<T, Failure>>>(
    shared: &Shared,
    attempt: impl Fn() -> F,
) -> StoreResult<(T, RetryState)> {
    let mut tries = RetryState::new();
    loop {
        match attempt().await {
            Ok(value) => return Ok((value, tries)),
            Err(failure) => tries
                .wait_to_retry(shared, failure, RetryUnknown::Allowed)
                .await
                .map_err(|failure| shared.state.store_error(failure))?,
        }
    }
}

/// The result of a committed transaction, and the changes to publish before the caller gets the
/// result.
pub(super) struct CommittedResult<T> {
    pub(super) value: T,
    pub(super) orders: Vec<Order>,
    pub(super) events: bool,
    pub(super) only_settled: bool,
    /// The id of the transaction, if its changes must be published.
    pub(super) transaction_id: Option<String>,
}

impl<T> CommittedResult<T> {
    pub(super) fn of(value: T, cache: &RowCache, transaction_id: Option<String>) -> Self {
        let (orders, events) = (cache.changed_orders(), !cache.events.is_empty());
        Self { value, orders, events, only_settled: false, transaction_id }
    }

    /// Publishes the commit and returns the result. If the outcome of an attempt is unknown, the
    /// caller waits for the next poll, which publishes the changes of that attempt.
    pub(super) async fn publish(self, shared: &Shared, tries: &RetryState) -> T {
        let Self { value, orders, events, only_settled, transaction_id } = self;
        if transaction_id.is_some() || tries.unknown {
            let (events, only_settled) = (events || tries.unknown, only_settled && !tries.unknown);
            shared.publish(transaction_id, orders, events, only_settled).await;
        }
        value
    }
}

impl Postgres {
    pub(crate) async fn job<T: Send + 'static>(
        &self,
        again: RetryUnknown,
        work: impl Fn(&mut PostgresLedger<'_>) -> Result<T, Failure> + Send + Sync + 'static,
    ) -> StoreResult<T> {
        let place = self.shared().jobs.enter()?;
        self.run_job(again, Some(place), work).await
    }

    /// Renews a lease with `work`, even if too many other transactions wait.
    pub(crate) async fn lease_job<T: Send + 'static>(
        &self,
        work: impl Fn(&mut PostgresLedger<'_>) -> Result<T, Failure> + Send + Sync + 'static,
    ) -> StoreResult<T> {
        self.run_job(RetryUnknown::Allowed, None, work).await
    }

    async fn run_job<T: Send + 'static>(
        &self,
        again: RetryUnknown,
        place: Option<JobPlace>,
        work: impl Fn(&mut PostgresLedger<'_>) -> Result<T, Failure> + Send + Sync + 'static,
    ) -> StoreResult<T> {
        self.shared().state.check_accepting()?;
        let action = actions::current();
        let work = move |ledger: &mut PostgresLedger<'_>| {
            ledger.action.clone_from(&action);
            work(ledger)
        };
        let (shared, work) = (Arc::clone(self.shared()), Arc::new(work));
        self.run_to_completion(async move {
            let mut tries = RetryState::new();
            loop {
                let failure = match attempt(&shared, &work, place.as_ref()).await {
                    Ok(done) => match tries.confirm(&shared).await {
                        Ok(()) => return Ok(done.publish(&shared, &tries).await),
                        Err(failure) => failure,
                    },
                    Err(failure) => failure,
                };
                tries
                    .wait_to_retry(&shared, failure, again)
                    .await
                    .map_err(|failure| shared.state.store_error(failure))?;
            }
        })
        .await
    }

    /// Runs `work` in a separate task, which continues if the caller stops waiting.
    pub(super) async fn run_to_completion<T: Send + 'static>(
        &self,
        work: impl Future<Output = StoreResult<T>> + Send + 'static,
    ) -> StoreResult<T> {
        let ended = tokio::spawn(work).await;
        ended.unwrap_or_else(|error| {
            Err(StoreError::Unexpected(format!("a transaction was dropped: {error}")))
        })
    }

    /// Returns every row of a query, from a new snapshot.
    pub(super) async fn all<T>(
        &self,
        sql: &str,
        params: Params<'_>,
        mut read: impl FnMut(Row<'_>) -> Result<T, Failure>,
    ) -> StoreResult<Vec<T>> {
        let shared = self.shared();
        shared.state.check_accepting()?;
        let (rows, _) = retry(shared, move || query(shared, sql, params)).await?;
        rows.iter()
            .map(|row| read(row.into()))
            .collect::<Result<_, _>>()
            .map_err(|failure| shared.state.store_error(failure))
    }

    pub(crate) async fn query<T>(
        &self,
        sql: &str,
        values: &[Value<'_>],
        read: impl FnMut(Row<'_>) -> Done<T>,
    ) -> StoreResult<Vec<T>> {
        self.all(sql, &postgres_params(values), read).await
    }

    pub(super) async fn one<T>(
        &self,
        sql: &str,
        params: Params<'_>,
        read: impl FnMut(Row<'_>) -> Result<T, Failure>,
    ) -> StoreResult<Option<T>> {
        Ok(self.all(sql, params, read).await?.into_iter().next())
    }
}

async fn query(
    shared: &Shared,
    sql: &str,
    params: Params<'_>,
) -> Result<Vec<tokio_postgres::Row>, Failure> {
    let session = connect::get_for_read(&shared.reads).await?;
    let rows = await_answer(async {
        Ok(session.query(&session.prepare_cached(sql).await?, params).await?)
    })
    .await;
    match rows.as_ref().is_err_and(|failure| !failure.keeps_connection_usable()) {
        true => session.discard(),
        false => session.return_to_pool(),
    }
    rows
}

/// Returns a session to its pool after a transaction. If a failure made the session unusable, ends
/// the session instead.
pub(super) async fn end_transaction(session: TransactionSession, failure: Option<&Failure>) {
    let has_ended = match failure {
        None => true,
        Some(failure) if !failure.keeps_connection_usable() => false,
        Some(_) => {
            let rollback = async { Ok(session.batch_execute("ROLLBACK").await?) };
            await_answer(rollback).await.is_ok()
        }
    };
    if has_ended {
        session.return_to_pool();
    }
}

/// Makes one attempt, on a thread that may block. The attempt gets the thread before it gets a
/// database session. In the other sequence, the attempt could wait for a thread while it keeps a
/// session that settling needs. For a renewal of a lease, `place` is `None`: the renewal does not
/// wait for the threads of other transactions.
async fn attempt<T, W>(
    shared: &Arc<Shared>,
    work: &Arc<W>,
    place: Option<&JobPlace>,
) -> Result<CommittedResult<T>, Failure>
where
    T: Send + 'static,
    W: Fn(&mut PostgresLedger<'_>) -> Result<T, Failure> + Send + Sync + 'static,
{
    let _thread = match place {
        Some(_) => Some(shared.jobs.thread().await?),
        None => None,
    };
    let (shared, work, runtime) = (Arc::clone(shared), Arc::clone(work), Handle::current());
    let (object, outcome) = tokio::task::spawn_blocking(move || {
        let object = runtime.block_on(connect::get_for_transaction(&shared.writes))?;
        let outcome = transaction(&shared, &object, &runtime, &*work);
        Ok::<_, Failure>((object, outcome))
    })
    .await
    .map_err(|error| Failure::Panicked(error.to_string()))??;
    end_transaction(object, outcome.as_ref().err()).await;
    outcome
}

fn transaction<T>(
    shared: &Shared,
    object: &Object,
    runtime: &Handle,
    work: &(impl Fn(&mut PostgresLedger<'_>) -> Result<T, Failure> + ?Sized),
) -> Result<CommittedResult<T>, Failure> {
    let wire =
        || LiveConnection { client: object, runtime: runtime.clone(), wait_max: PG_ANSWER_WAIT };
    let now = wire().wait(async {
        let now = object.prepare_cached(NOW).await?;
        let (begun, now) = tokio::join!(object.batch_execute(BEGIN), object.query_one(&now, &[]));
        begun?;
        now?.try_get(0)
    })?;
    let mut ledger = PostgresLedger::live(wire(), shared.clock.for_transaction(Millis(now)));
    let value = catch_unwind(AssertUnwindSafe(|| work(&mut ledger)))
        .unwrap_or_else(|panic| Err(Failure::Panicked(failure::panic_message(&*panic))))?;
    let is_published = ledger.catalogue || ledger.cache.has_changes();
    let queries = flush::queries(shared, &ledger.cache, ledger.now, ledger.catalogue);
    let transaction_id = runtime
        .block_on(async { await_commit(flush::commit(object, &queries, is_published)).await })?;
    Ok(CommittedResult::of(value, &ledger.cache, transaction_id))
}
