//! Checks the identities of the servers each second, and at once when a connection breaks. A server
//! that restarted, or a replica that took over, may have lost the memory of its slots. So after
//! such a change, the leader checks the slots at once.
//!
//! But a changed identity does not prove a loss, and `FLUSHALL` deletes a slot's memory without a
//! change of the identity. The watch also reports a server that can no longer hold slots, for
//! example because another server took over.
use std::sync::{Arc, PoisonError, RwLock};

use redis::Cmd;
use tokio::sync::watch::{self, Receiver, Sender};

use super::codec::text;
use super::health::{self, Health};
use super::limits::{WATCH_INTERVAL, WATCH_PAUSE};
use super::routes::Routes;
use crate::{LossEvidence, ServerIdentity};

#[derive(Debug)]
pub(super) struct ServerWatch {
    healths: RwLock<Vec<Health>>,
    changes: Sender<u64>,
}

impl ServerWatch {
    pub(super) fn new(first: Vec<Health>) -> Self {
        Self { healths: RwLock::new(first), changes: watch::channel(0).0 }
    }

    pub(super) fn changes(&self) -> Receiver<u64> {
        self.changes.subscribe()
    }

    pub(super) fn evidence(&self) -> LossEvidence {
        let healths = self.healths.read().unwrap_or_else(PoisonError::into_inner);
        let server = |h: &Health| ServerIdentity {
            address: h.address.clone(),
            run_id: h.run_id.clone(),
            replication_id: h.replication_id.clone(),
            is_up: h.is_up,
            is_replica: h.is_replica,
        };
        let refusals = healths.iter().filter_map(|h| health::check_usable(h).err()).collect();
        LossEvidence {
            changes: *self.changes.borrow(),
            servers: healths.iter().map(server).collect(),
            refusals,
        }
    }

    /// Checks the servers repeatedly. The task that runs this function ends when the slots are
    /// dropped.
    pub(super) async fn run(self: Arc<Self>, routes: Arc<Routes>) {
        loop {
            drop(tokio::time::timeout(WATCH_INTERVAL, routes.broken().notified()).await);
            self.check_servers(&routes).await;
            tokio::time::sleep(WATCH_PAUSE).await;
        }
    }

    async fn check_servers(&self, routes: &Routes) {
        // If a server does not answer, its last known entry stays. Only a later answer can show
        // that the server changed.
        drop(routes.refresh().await);
        let mut next = Vec::new();
        for server in routes.servers() {
            let address = &server.link.address;
            let reply = server.link.ask(Cmd::new().arg("INFO")).await;
            match reply.as_ref().map(text) {
                Ok(Ok(info)) => next.push(Health::read(address, info)),
                _ => next.extend(self.last(address).map(|last| Health { is_up: false, ..last })),
            }
        }
        let identities = |all: &[Health]| {
            let id = |h: &Health| {
                (
                    h.address.clone(),
                    h.run_id.clone(),
                    h.replication_id.clone(),
                    health::check_usable(h).err(),
                )
            };
            let mut ids: Vec<_> = all.iter().map(id).collect();
            ids.sort();
            ids
        };
        let before = std::mem::replace(
            &mut *self.healths.write().unwrap_or_else(PoisonError::into_inner),
            next.clone(),
        );
        if identities(&before) != identities(&next) {
            self.changes.send_modify(|n| *n += 1);
        }
    }

    fn last(&self, address: &str) -> Option<Health> {
        let healths = self.healths.read().unwrap_or_else(PoisonError::into_inner);
        healths.iter().find(|h| h.address == address).cloned()
    }
}
