//! The requests that this node remembered since it last wrote the edge feed.
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// The maximum number of requests that wait to be written. At this bound the whole set is written
/// again.
const JOURNAL_MAX: usize = 262_144;

/// The content of the journal since the last call of [`Journal::take`].
#[derive(Debug, PartialEq, Eq)]
pub enum JournalPart {
    /// All requests since the last call.
    Requests(Vec<u64>),
    /// The journal is incomplete, because it was full or the set was emptied. The whole set must be
    /// read again.
    Incomplete,
}

/// The newest requests. They are recorded only while the writer of the edge feed needs them.
#[derive(Debug, Default)]
pub struct Journal {
    is_active: AtomicBool,
    /// The requests. `None` means that the journal is incomplete.
    newest: Mutex<Option<Vec<u64>>>,
}

impl Journal {
    /// Begins to record requests, with an empty journal.
    pub(super) fn begin(&self) {
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner) = Some(Vec::new());
        self.is_active.store(true, Ordering::SeqCst);
    }

    pub(super) fn record(&self, request: u64) {
        if !self.is_active.load(Ordering::SeqCst) {
            return;
        }
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        match newest.as_mut() {
            Some(requests) if requests.len() < JOURNAL_MAX => requests.push(request),
            _ => *newest = None,
        }
    }

    /// Marks the journal as incomplete, because the set was emptied.
    pub(super) fn invalidate(&self) {
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Takes the requests that were recorded since the last call.
    pub fn take(&self) -> JournalPart {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        match newest.as_mut() {
            Some(requests) => JournalPart::Requests(std::mem::take(requests)),
            None => JournalPart::Incomplete,
        }
    }

    /// Stops recording requests.
    pub fn end(&self) {
        self.is_active.store(false, Ordering::SeqCst);
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

#[cfg(test)]
mod tests {
    use super::super::RequestsWithOrders;
    use super::*;

    #[test]
    fn each_request_is_in_the_set_or_in_the_journal() {
        let holders = RequestsWithOrders::default();
        holders.insert(1);
        assert_eq!(holders.begin_journal(), [1]);
        holders.insert(2);
        holders.insert(1);
        assert_eq!(holders.journal.take(), JournalPart::Requests(vec![2]));
        assert_eq!(holders.journal.take(), JournalPart::Requests(vec![]));
        holders.begin_rebuild();
        holders.insert(3);
        assert_eq!(holders.journal.take(), JournalPart::Incomplete);
        assert_eq!(holders.begin_journal(), [3]);
        assert_eq!(holders.journal.take(), JournalPart::Requests(vec![]));
        holders.journal.end();
        holders.insert(4);
        assert_eq!(
            holders.journal.take(),
            JournalPart::Incomplete,
            "a journal that has ended must be incomplete"
        );
    }
}
