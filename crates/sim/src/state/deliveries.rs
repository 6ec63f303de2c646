//! The state of event deliveries: endpoints, workers, and messages between them.
use std::collections::BTreeMap;

use doorbuster_core::outbox::{
    DeliveryQueue, PendingDelivery, PositionAdvance, RowChange, SendOutcome,
};
use doorbuster_steps::delivery::Effect;

/// The number of endpoints of one simulated sale.
pub(crate) const ENDPOINTS: usize = 2;
/// The number of workers that may deliver to one endpoint at the same time. Two workers are
/// allowed, because a worker's lease only avoids double work. Correctness must not depend on the
/// lease.
pub(crate) const WORKERS: usize = 2;
/// The behavior of an endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum EndpointMode {
    /// The endpoint accepts events.
    #[default]
    Accepts,
    /// The endpoint fails.
    Fails,
    /// The endpoint accepts events, but its answer never arrives.
    Hangs,
    /// The endpoint refuses this event.
    Refuses(usize),
}

/// An endpoint, with its position and its rows in the store.
#[derive(Clone, Debug, Default)]
pub(crate) struct Endpoint {
    pub(crate) position: i64,
    /// The rows, each with the position of its event. There is one row for each event that the
    /// endpoint's position has passed and that was not delivered.
    pub(crate) rows: BTreeMap<i64, PendingDelivery>,
    pub(crate) mode: EndpointMode,
}

/// The memory of a worker.
#[derive(Clone, Debug, Default)]
pub(crate) struct Worker {
    pub(crate) memories: [Option<EndpointMemory>; ENDPOINTS],
    /// For each event that the worker is sending: the number of the current try. The key is the
    /// endpoint and the event's position.
    pub(crate) sendings: BTreeMap<(usize, i64), u64>,
}

/// What a worker remembers about one endpoint.
#[derive(Clone, Debug)]
pub(crate) struct EndpointMemory {
    pub(crate) queue: DeliveryQueue,
    /// Outcomes of tries. The worker handles these outcomes when its next turn starts.
    pub(crate) outcomes: Vec<(i64, SendOutcome)>,
    /// Changes of rows that are not stored yet.
    pub(crate) results: Vec<RowChange>,
    /// The transaction that the current turn waits for, and the effects after it. `None` means that
    /// no turn is running.
    pub(crate) waits_for: Option<(u64, &'static [Effect])>,
    /// The transaction that moves the position.
    pub(crate) advancing: Option<u64>,
}

/// A transaction of a worker.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WorkerTransaction {
    pub(crate) worker: usize,
    pub(crate) endpoint: usize,
    pub(crate) number: u64,
}

/// A message between workers, endpoints and the store.
#[derive(Clone, Debug)]
pub(crate) enum DeliveryMessage {
    /// A request to an endpoint.
    Send { from: Sending, event: usize },
    /// The endpoint's answer, or the lack of an answer.
    Answer { from: Sending, outcome: SendOutcome },
    /// A worker's transaction that moves the position.
    Advance { by: WorkerTransaction, progress: PositionAdvance },
    /// A worker's transaction that stores results.
    StoreResults { by: WorkerTransaction, results: Vec<RowChange> },
}

/// One try to send an event.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sending {
    pub(crate) worker: usize,
    pub(crate) endpoint: usize,
    pub(crate) position: i64,
    pub(crate) sending: u64,
}

/// The state of all deliveries: endpoints, workers and positions.
#[derive(Clone, Debug, Default)]
pub(crate) struct Deliveries {
    pub(crate) endpoints: [Endpoint; ENDPOINTS],
    pub(crate) workers: [Worker; WORKERS],
    /// The indexes of the events, sorted by the events' positions. Positions begin at 1.
    pub(crate) placed: Vec<usize>,
    pub(crate) sendings: u64,
    pub(crate) transactions: u64,
}
