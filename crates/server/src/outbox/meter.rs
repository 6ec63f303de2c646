//! What is counted of telling others.
use std::sync::atomic::{AtomicU64, Ordering};

use doorbuster_store::EndpointKind;

/// What came of one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// The endpoint took it.
    Told,
    /// It did not; it is tried again.
    Failed,
    /// It did not, and was tried as often as it may be.
    Dead,
}

impl Sent {
    /// Every outcome.
    pub(crate) const ALL: [Self; 3] = [Self::Told, Self::Failed, Self::Dead];

    /// The word for it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Told => "told",
            Self::Failed => "failed",
            Self::Dead => "dead",
        }
    }
}

/// Counts of this node.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    sent: [[AtomicU64; 3]; 2],
    forgotten: AtomicU64,
}

impl Meter {
    pub(super) fn count(&self, kind: EndpointKind, sent: Sent) {
        self.sent[at(kind)][sent as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn forget(&self, rows: usize) {
        self.forgotten.fetch_add(rows as u64, Ordering::Relaxed);
    }

    /// Attempts of this kind with this outcome.
    pub(crate) fn sent(&self, kind: EndpointKind, sent: Sent) -> u64 {
        self.sent[at(kind)][sent as usize].load(Ordering::Relaxed)
    }

    /// Rows that were forgotten.
    pub(crate) fn forgotten(&self) -> u64 {
        self.forgotten.load(Ordering::Relaxed)
    }
}

fn at(kind: EndpointKind) -> usize {
    match kind {
        EndpointKind::Webhook => 0,
        EndpointKind::Broker => 1,
    }
}
