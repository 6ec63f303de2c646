//! The store's methods as jobs for the writer or a reader.
use std::sync::Arc;

use doorbuster_core::settle::TicketVerdict;
use doorbuster_core::{Order, Ticket};

use crate::actions;
use crate::contract::StoreResult;
use crate::contract::{Check, OpenError};
use crate::failure::{Done, Failure};
use crate::history::check_key;

use super::ledger::SqliteLedger;
use super::{Sqlite, check, history, orders};

impl Sqlite {
    /// Runs a job that succeeds or fails as a whole.
    pub(crate) async fn job<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut SqliteLedger<'_>) -> Result<T, Failure> + Send + 'static,
    ) -> StoreResult<T> {
        self.weighed_job(1, work).await
    }

    /// Like [`Sqlite::job`]. `weight` is the number of tickets or visitors that the job handles.
    pub(crate) async fn weighed_job<T: Send + 'static>(
        &self,
        weight: usize,
        work: impl FnOnce(&mut SqliteLedger<'_>) -> Done<T> + Send + 'static,
    ) -> StoreResult<T> {
        let action = actions::current();
        self.write(weight, move |txn| {
            txn.attempt(|ledger| {
                ledger.action = action;
                work(ledger)
            })
        })
        .await
    }

    pub(crate) async fn settle(
        &self,
        tickets: Vec<Arc<Ticket>>,
    ) -> StoreResult<Vec<TicketVerdict>> {
        let key = self.0.shared.id_key.clone();
        self.write(tickets.len().max(1), move |txn| orders::settle(txn, &key, &tickets)).await
    }

    pub(crate) async fn expire_due(&self, limit: usize) -> StoreResult<Vec<Order>> {
        self.job(move |ledger| orders::expire_due(ledger, limit)).await
    }

    pub(crate) async fn bind_key(&self) -> Result<(), OpenError> {
        let given = self.0.shared.id_key.fingerprint();
        let key = given.clone();
        let expected = self.job(move |ledger| history::bind_key(ledger, &key)).await;
        let expected = expected.map_err(|error| OpenError::Failed(error.to_string()))?;
        check_key(&given, expected)
    }

    pub(crate) async fn bind_pass_key(&self, given: &str, is_new: bool) -> Result<(), OpenError> {
        let key = given.to_owned();
        let bound = self.job(move |ledger| history::bind_pass_key(ledger, &key, is_new)).await;
        let expected = bound.map_err(|error| OpenError::Failed(error.to_string()))?;
        match given == expected {
            true => Ok(()),
            false => Err(OpenError::WrongPassKey { given: given.to_owned(), expected }),
        }
    }

    pub(crate) async fn commit_check(&self) -> StoreResult<()> {
        self.job(history::commit_check).await
    }

    pub(crate) async fn check(&self) -> StoreResult<Check> {
        let now = self.now();
        self.read(move |sql| check::check(sql, now)).await
    }
}
