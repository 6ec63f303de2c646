//! Checks the servers' identities each second, and at once after a broken connection. A server that
//! starts again, or a replica that takes over, has another identity, and its slots may have lost
//! their memory. So the leader notices such a loss soon.
//!
//! A changed identity does not prove that a slot lost its memory. The change only makes the leader
//! check the slots at once. A slot can also lose its memory without such a change, because
//! `FLUSHALL` does not change the identity. The watch task also reports a change if a server can no
//! longer hold slots. The cause can be a failover to an unsuitable server, or an operator's change
//! of a server's settings.
use std::sync::{Arc, PoisonError, RwLock};

use redis::Cmd;
use tokio::sync::watch::{self, Receiver, Sender};

use super::codec::text;
use super::health::{self, Health};
use super::limits::{WATCH_INTERVAL, WATCH_PAUSE};
use super::routes::Routes;
use crate::{LossEvidence, ServerIdentity};

/// The last observations of the servers.
#[derive(Debug)]
pub(super) struct ServerWatch {
    healths: RwLock<Vec<Health>>,
    changes: Sender<u64>,
}

impl ServerWatch {
    pub(super) fn new(first: Vec<Health>) -> Self {
        Self { healths: RwLock::new(first), changes: watch::channel(0).0 }
    }

    /// Returns a receiver of the number of changes.
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

    /// Checks the servers until the slots are dropped.
    pub(super) async fn run(self: Arc<Self>, routes: Arc<Routes>) {
        loop {
            drop(tokio::time::timeout(WATCH_INTERVAL, routes.broken().notified()).await);
            self.check_servers(&routes).await;
            tokio::time::sleep(WATCH_PAUSE).await;
        }
    }

    async fn check_servers(&self, routes: &Routes) {
        // A server that does not answer keeps its entry, because only a later answer can show a
        // change.
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
