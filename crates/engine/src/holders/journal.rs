//! The requests that were added to the set since this node last wrote the edge feed.
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// The maximum number of requests in the journal. If one more request arrives, the journal becomes
/// incomplete. The node must then write the whole set to the edge feed again.
const JOURNAL_MAX: usize = 262_144;

/// The newest requests of the set. Recorded only while this node writes the edge feed.
#[derive(Debug, Default)]
pub struct Journal {
    is_active: AtomicBool,
    /// `None` if the journal is incomplete.
    newest: Mutex<Option<Vec<u64>>>,
}

impl Journal {
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

    /// Makes the journal incomplete, so that its reader reads the whole set of requests again.
    /// Called when the set is emptied.
    pub(super) fn invalidate(&self) {
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Takes the requests that were recorded since the last call. Returns `None` if the journal is
    /// incomplete, so that the caller must read the whole set again.
    pub fn take(&self) -> Option<Vec<u64>> {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        newest.as_mut().map(std::mem::take)
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

    #[test]
    fn each_request_is_in_the_set_or_in_the_journal() {
        let holders = RequestsWithOrders::default();
        holders.insert(1);
        assert_eq!(holders.begin_journal(), [1]);
        holders.insert(2);
        holders.insert(1);
        assert_eq!(holders.journal.take(), Some(vec![2]));
        assert_eq!(holders.journal.take(), Some(vec![]));
        holders.begin_rebuild();
        holders.insert(3);
        assert_eq!(holders.journal.take(), None);
        assert_eq!(holders.begin_journal(), [3]);
        assert_eq!(holders.journal.take(), Some(vec![]));
        holders.journal.end();
        holders.insert(4);
        assert_eq!(holders.journal.take(), None, "a journal that has ended must not seem complete");
    }
}
