//! The state of event deliveries: endpoints, workers, and messages between them.
use std::collections::BTreeMap;

use doorbuster_core::outbox::{
    self, DeliveryQueue, PendingDelivery, PositionAdvance, RowChange, SendOutcome,
};
use doorbuster_steps::delivery::Effect;

/// The number of endpoints of one simulated sale.
pub(crate) const ENDPOINTS: usize = 2;
/// The number of workers. All workers may deliver to one endpoint at the same time. In the server,
/// a lease usually prevents this, but correctness must not depend on the lease.
pub(crate) const WORKERS: usize = 2;
/// The behavior of an endpoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum EndpointMode {
    #[default]
    Accepts,
    Fails,
    /// The endpoint accepts events, but its answer never reaches the worker.
    Hangs,
    /// The endpoint refuses this event.
    Refuses(usize),
}

/// An endpoint, with its position and its rows in the store.
#[derive(Clone, Debug, Default)]
pub(crate) struct Endpoint {
    pub(crate) position: i64,
    /// The stored rows, by event position. If the endpoint's position passes an event that is not
    /// delivered yet, this event gets a row.
    pub(crate) rows: BTreeMap<i64, PendingDelivery>,
    pub(crate) mode: EndpointMode,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Worker {
    pub(crate) memories: [Option<EndpointMemory>; ENDPOINTS],
    /// The number of the latest try to send each event, by endpoint and event position. The worker
    /// ignores the outcomes of earlier tries.
    pub(crate) sendings: BTreeMap<(usize, i64), u64>,
}

/// What a worker has in memory about one endpoint.
#[derive(Clone, Debug)]
pub(crate) struct EndpointMemory {
    pub(crate) queue: DeliveryQueue,
    /// The outcomes of tries, by event position. The worker handles these outcomes in its next
    /// turn.
    pub(crate) outcomes: Vec<(i64, SendOutcome)>,
    /// Changes of rows that are not stored yet.
    pub(crate) results: Vec<RowChange>,
    /// The transaction that the current turn waits for, and the effects that follow it. `None` if
    /// no turn is running.
    pub(crate) waits_for: Option<(u64, &'static [Effect])>,
    /// The running transaction that moves the position. `None` if there is none.
    pub(crate) advancing: Option<u64>,
    /// The events that the worker has read, by position. `None` stands for an event that a failover
    /// lost.
    pub(crate) read: BTreeMap<i64, Option<usize>>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct WorkerTransaction {
    pub(crate) worker: usize,
    pub(crate) endpoint: usize,
    pub(crate) number: u64,
}

#[derive(Clone, Debug)]
pub(crate) enum DeliveryMessage {
    /// A request to an endpoint.
    Send { from: Sending, event: usize },
    /// The outcome of a try: the endpoint's answer, or the fact that no answer arrived.
    Answer { from: Sending, outcome: SendOutcome },
    /// A worker's transaction that moves the endpoint's position.
    Advance { by: WorkerTransaction, progress: PositionAdvance },
    /// A worker's transaction that stores the results of tries.
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

#[derive(Clone, Debug, Default)]
pub(crate) struct Deliveries {
    pub(crate) endpoints: [Endpoint; ENDPOINTS],
    pub(crate) workers: [Worker; WORKERS],
    /// The positions of the events, in ascending order, each with the event's index.
    pub(crate) placed: Vec<(i64, usize)>,
    pub(crate) last_position: i64,
    pub(crate) sendings: u64,
    pub(crate) transactions: u64,
}

impl Deliveries {
    /// Returns the events that workers have in memory, each with its endpoint. Considers only the
    /// first `events` events.
    pub(crate) fn in_memory(&self, events: usize) -> Vec<(usize, usize)> {
        let memories = self.workers.iter().flat_map(|worker| worker.memories.iter().enumerate());
        let of = |(endpoint, memory): (usize, &Option<EndpointMemory>)| {
            let read = memory.iter().flat_map(|memory| memory.read.values().flatten());
            let read = read.filter(|event| **event < events);
            read.map(move |event| (endpoint, *event)).collect::<Vec<_>>()
        };
        memories.flat_map(of).collect()
    }

    /// Continues after a failover, with the endpoints' rows of the standby. Each worker loses its
    /// memory of the endpoints, and reads their rows again before its next effect. Transactions
    /// that a worker has begun may still run.
    pub(crate) fn fail_over(&mut self, standby: Self) {
        self.placed = standby.placed;
        self.last_position = outbox::last_position_after_failover(standby.last_position);
        for (endpoint, stored) in self.endpoints.iter_mut().zip(standby.endpoints) {
            (endpoint.position, endpoint.rows) = (stored.position, stored.rows);
        }
        for worker in &mut self.workers {
            worker.memories = Default::default();
        }
    }
}
