//! What a server needs for its start: its context, the engine's options, and the keys for edges.

use std::sync::{Arc, Mutex, PoisonError};

use doorbuster_backup::{BackupKey, BackupTarget, ContinuousBackup};
use doorbuster_base::clock::Clock;
use doorbuster_config::{BackupSettings, Settings, Shape};
use doorbuster_core::NodeId;
use doorbuster_engine::edge::EdgeNode;
use doorbuster_engine::edge::keys::{self, NodeSettings};
use doorbuster_engine::error::{EngineError, FatalError};
use doorbuster_engine::node::Node;
use doorbuster_engine::start::{DatabaseOptions, EngineOptions, StockLocation, expose_urls};
use doorbuster_secrets::{self as secrets, Secrets};
use doorbuster_store::{CommitBuffer, KnownHistories};
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

use super::error::ServeError;

#[derive(Clone, Copy)]
pub(super) struct StartContext<'a> {
    pub(super) settings: &'a Settings,
    pub(super) secrets: &'a Secrets,
    pub(super) node: &'a Node,
}

/// Publishes the keys for edges in the shared Redis, if there is one, until `stop` is cancelled.
/// Edges also get some settings with the keys. A node without the role `api` may lack these
/// settings, so it publishes nothing. `sign_in_url` always has the newest value of
/// `auth.sign_in_url`. The other settings change only at a restart.
pub(super) async fn publish_keys(
    context: StartContext<'_>,
    sign_in_url: watch::Receiver<Option<String>>,
    stop: &CancellationToken,
) {
    let Some(shared) = context.node.shared() else { return };
    if !context.settings.roles.api {
        return;
    }
    let settings = || NodeSettings {
        sign_in_url: sign_in_url.borrow().clone(),
        ..NodeSettings::new(context.settings)
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = keys::publish(shared, context.secrets, settings) => {}
    }
}

pub(super) fn stock_location(
    settings: &Settings,
    (secrets, nodes): (&Secrets, NodeSettings),
    backup: Option<&ContinuousBackup>,
) -> Result<StockLocation, EngineError> {
    Ok(match &settings.shape {
        Shape::Embedded => match backup {
            Some(backup) => {
                StockLocation::CopiedDirectory(settings.data_dir.clone(), backup.copy.clone())
            }
            None => StockLocation::Directory(settings.data_dir.clone()),
        },
        Shape::Postgres { store } => StockLocation::Postgres(store.clone()),
        Shape::Cluster { store, slots, wait_replicas } => StockLocation::Cluster {
            store: store.clone(),
            slots: slots.clone(),
            wait_replicas: *wait_replicas,
        },
        Shape::Edge { slots, upstreams } => {
            let urls = expose_urls(slots);
            StockLocation::Edge(EdgeNode::new(upstreams, &urls, &secrets.id_key, nodes)?)
        }
    })
}

/// Prepares the continuous backup. Returns `None` if the settings name no backup. `clock` is the
/// store's clock.
pub(super) fn continuous_backup(
    settings: &Settings,
    clock: &Clock,
) -> Result<Option<ContinuousBackup>, ServeError> {
    let Some(BackupSettings { place, kept_for, passphrase }) = &settings.backup else {
        return Ok(None);
    };
    let key = passphrase.as_ref().map(BackupKey::new).transpose();
    Ok(Some(ContinuousBackup {
        copy: CommitBuffer::default(),
        target: BackupTarget::open(place)?,
        data_dir: settings.data_dir.clone(),
        files: secrets::backup_files(&settings.data_dir)?,
        key: key.map_err(ServeError::BackupKey)?.map(Arc::new),
        kept_for: *kept_for,
        clock: clock.clone(),
    }))
}

pub(super) fn engine_options(
    settings: &Settings,
    secrets: &Secrets,
    (location, history): (StockLocation, KnownHistories),
    clock: Clock,
    failed: oneshot::Sender<FatalError>,
) -> EngineOptions {
    let failed = Mutex::new(Some(failed));
    EngineOptions {
        location,
        roles: settings.roles,
        id_key: secrets.id_key.clone(),
        pass_key: secrets.pass_key_file.clone(),
        clock,
        node: match settings.shape {
            Shape::Embedded => NodeId(1),
            // Each start uses a new id, so that the node does not mistake data of an earlier
            // process for its own.
            Shape::Postgres { .. } | Shape::Cluster { .. } | Shape::Edge { .. } => {
                NodeId(rand::random_range(1..1 << 31))
            }
        },
        bounds: doorbuster_core::slot::SlotBounds::default(),
        always_leads: false,
        allow_fsync_off: false,
        database: DatabaseOptions { history, peers: settings.peers.clone() },
        on_fatal: Arc::new(move |error: &FatalError| {
            match error {
                FatalError::Store(reason) => tracing::error!(
                    reason,
                    event = "store.failed",
                    "the store failed permanently; the server stops"
                ),
                FatalError::JobEnded(job) => tracing::error!(
                    job,
                    event = "server.job_ended",
                    "a job ended too early; the server stops"
                ),
            }
            if let Some(failed) = failed.lock().unwrap_or_else(PoisonError::into_inner).take() {
                // If the server is already stopping, nothing receives the reason.
                let _ = failed.send(error.clone());
            }
        }),
    }
}
