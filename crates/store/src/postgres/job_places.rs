//! Limits how many transactions run on blocking threads at the same time, so that other work finds
//! a free thread. Also limits how many transactions wait for a thread. Renewals of leases have no
//! limit.
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use tokio::time::timeout;

use crate::contract::{StoreError, StoreResult};
use crate::failure::Failure;
use crate::limits::PG_POOL_WAIT;

use super::connect;

/// One of a limited number of places for transactions. A transaction has its place until the
/// transaction ends.
pub(super) type JobPlace = OwnedSemaphorePermit;

pub(super) struct JobPlaces {
    places: Arc<Semaphore>,
    threads: Semaphore,
}

impl JobPlaces {
    pub(super) fn new(jobs_max: usize, threads_max: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(jobs_max)), threads: Semaphore::new(threads_max) }
    }

    /// Reserves a place for a transaction. Returns an error if waiting and running transactions
    /// have all places.
    pub(super) fn enter(&self) -> StoreResult<JobPlace> {
        Arc::clone(&self.places).try_acquire_owned().map_err(|_| StoreError::busy())
    }

    /// Waits until a transaction may use a thread.
    pub(super) async fn thread(&self) -> Result<SemaphorePermit<'_>, Failure> {
        let free = timeout(PG_POOL_WAIT, self.threads.acquire()).await;
        free.ok().and_then(Result::ok).ok_or_else(connect::too_many_waiting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_over_the_bound_is_refused_at_once() {
        let places = JobPlaces::new(2, 1);
        let first = places.enter().expect("a free place");
        let _second = places.enter().expect("a free place");
        let refused = places.enter().expect_err("no place is free");
        assert!(
            matches!(refused, StoreError::Unavailable { may_have_happened: false, .. }),
            "{refused:?}"
        );
        drop(first);
        assert!(places.enter().is_ok());
    }
}
