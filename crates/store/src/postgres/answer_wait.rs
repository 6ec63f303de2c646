//! Time limits for answers of the database.

use tokio::time::timeout;

use crate::failure::Failure;
use crate::limits::PG_ANSWER_WAIT;

pub(super) async fn await_answer<T>(
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    timeout(PG_ANSWER_WAIT, work).await.unwrap_or(Err(Failure::TimedOut))
}

/// Waits for the answer to COMMIT. If no answer arrives in time, returns [`Failure::Unknown`],
/// because the database may have committed the transaction.
pub(super) async fn await_commit<T>(
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let silent = || Err(Failure::Unknown("no answer to COMMIT".to_owned()));
    timeout(PG_ANSWER_WAIT, work).await.unwrap_or_else(|_| silent())
}
