//! What every part of one store shares: pools, clock, who is told, and whether it still works.
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use deadpool_postgres::Pool;
use tokio::sync::{Notify, mpsc, oneshot};

use doorbuster_core::{IdKey, NodeId, Order};
use doorbuster_postgres_tls::Address;

use crate::contract::{CommitSink, StoreError};

use super::clock::Clock;
use super::failure::Failure;

/// A commit of this node that is to be told.
pub(super) enum CommitMessage {
    /// Its transaction, its orders, whether events were written, and who waits until they, and the
    /// counts after them, were told.
    Committed(Option<String>, Vec<Order>, bool, oneshot::Sender<()>),
    /// Tell what waits, then end.
    Stop,
}

pub(super) struct Shared {
    pub(super) id_key: IdKey,
    pub(super) node: NodeId,
    pub(super) clock: Clock,
    pub(super) sink: CommitSink,
    pub(super) on_fatal: Arc<dyn Fn(&str) + Send + Sync>,
    pub(super) address: Address,
    pub(super) writes: Pool,
    pub(super) reads: Pool,
    pub(super) commits: mpsc::Sender<CommitMessage>,
    /// Another node said that it committed something.
    pub(super) wake: Notify,
    /// It said that events were written, and nobody here was told yet.
    pub(super) events: AtomicBool,
    /// Held from finding what is due to its commit: the next transaction that expires finds it
    /// ended, and begins while it is still told of.
    pub(super) expiring: tokio::sync::Mutex<()>,
    /// By what verdicts that this node's settlers gave, and its own changes of the catalogue, are
    /// known.
    writer: i32,
    /// Why the database cannot be used now, if it cannot.
    unavailable: Mutex<Option<String>>,
    /// Why nothing may be done any more.
    failed: OnceLock<String>,
    closed: AtomicBool,
}

pub(super) struct Parts {
    pub(super) id_key: IdKey,
    pub(super) node: NodeId,
    pub(super) clock: Clock,
    pub(super) sink: CommitSink,
    pub(super) on_fatal: Arc<dyn Fn(&str) + Send + Sync>,
    pub(super) address: Address,
    pub(super) writes: Pool,
    pub(super) reads: Pool,
    pub(super) commits: mpsc::Sender<CommitMessage>,
}

impl Shared {
    pub(super) fn new(parts: Parts) -> Self {
        let Parts { id_key, node, clock, sink, on_fatal, address, writes, reads, commits } = parts;
        let (writer, wake, unavailable) = (random_writer(), Notify::new(), Mutex::new(None));
        let expiring = tokio::sync::Mutex::new(());
        let (failed, closed, events) =
            (OnceLock::new(), AtomicBool::new(false), AtomicBool::new(false));
        Self {
            id_key,
            node,
            clock,
            sink,
            on_fatal,
            address,
            writes,
            reads,
            commits,
            wake,
            events,
            expiring,
            writer,
            unavailable,
            failed,
            closed,
        }
    }

    pub(super) fn writer(&self) -> i32 {
        self.writer
    }

    /// Tells a commit of this node, and returns when it was told.
    pub(super) async fn publish(
        &self,
        transaction: Option<String>,
        orders: Vec<Order>,
        events: bool,
    ) {
        let (told, heard) = oneshot::channel();
        if self
            .commits
            .send(CommitMessage::Committed(transaction, orders, events, told))
            .await
            .is_ok()
        {
            // An error means that the store ends: nobody is told anything any more.
            let _ = heard.await;
        }
    }

    pub(super) fn set_unavailable(&self, why: Option<String>) {
        *self.unavailable.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }

    /// Whether the database was there when it was looked at last.
    pub(super) fn health(&self) -> Result<(), StoreError> {
        self.check_accepting()?;
        match &*self.unavailable.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(reason) => {
                Err(StoreError::Unavailable { reason: reason.clone(), may_have_happened: false })
            }
            None => Ok(()),
        }
    }

    /// Whether something new may be asked.
    pub(super) fn check_accepting(&self) -> Result<(), StoreError> {
        if let Some(reason) = self.failed.get() {
            return Err(StoreError::Fatal(reason.clone()));
        }
        if self.closed.load(Ordering::Acquire) { Err(StoreError::closed()) } else { Ok(()) }
    }

    pub(super) fn stop_accepting(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// The first to say so tells the program; from then on everything is refused.
    pub(super) fn fail(&self, reason: &str) {
        if self.failed.set(reason.to_owned()).is_ok() {
            tracing::error!(reason, "the store failed and is not used further");
            (self.on_fatal)(reason);
        }
    }

    /// What a failure means to the caller. A fatal one ends the store.
    pub(super) fn store_error(&self, failure: Failure) -> StoreError {
        let error = StoreError::from(failure);
        if let StoreError::Fatal(reason) = &error {
            self.fail(reason);
        }
        error
    }
}

/// A writer's number: never 0, which is the migrations'.
fn random_writer() -> i32 {
    rand::random_range(1..=i32::MAX)
}
