//! Fixtures for the sandbox's tests.
use std::sync::Arc;

use doorbuster_core::{IdKey, NodeId};

use super::Session;
use crate::clock::Clock;
use crate::config::Roles;
use crate::engine::{DatabaseOptions, Engine, EngineOptions, StockLocation};
use crate::temp_dir::TempDir;

/// Starts an engine in this directory.
pub(super) async fn engine(dir: &TempDir) -> Arc<Engine> {
    let engine = Engine::start(EngineOptions {
        location: StockLocation::Directory(dir.path().to_owned()),
        roles: Roles::ALL,
        id_key: IdKey::new([3; 32]),
        clock: Clock::default(),
        node: NodeId(1),
        bounds: doorbuster_core::slot::SlotBounds::default(),
        always_leads: false,
        allow_fsync_off: false,
        database: DatabaseOptions::default(),
        on_fatal: Arc::new(|reason| panic!("the store failed: {reason}")),
    });
    engine.await.expect("a fresh directory opens")
}

/// Returns a checkout without payments.
pub(super) fn session(expires_at: i64) -> Session {
    Session {
        order: String::new(),
        title: String::new(),
        units: 1,
        amount_minor: 1,
        currency: "CNY".to_owned(),
        expires_at,
        return_url: String::new(),
        closed: false,
        payments: Vec::new(),
        posts: Vec::new(),
    }
}
