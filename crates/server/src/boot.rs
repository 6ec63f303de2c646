//! Starts and stops the server. Reads the settings, runs the server, and answers every accepted
//! request before the server stops.

mod announce;
mod demo;
mod file_limit;
mod parts;
mod reload;
mod without_http;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use doorbuster_store::{HistoryMemory, OpenError};
use sd_notify::NotifyState;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use announce::{announce, local_address};
use parts::{continuous_backup, engine_options, publish_keys, stock_location};
pub use without_http::{DirectAnswer, DirectSale, without_http};

pub use reload::Reloader;

use crate::auth::{Buyers, ExpectedClaims, JwksError, Operators};
use crate::backup::{ContinuousBackup, PlaceError};
use crate::config::{BuyerKeys, Settings, Shape};
use crate::database::{HistoryFileError, load_history};
use crate::edge::keys;
use crate::engine::{Engine, EngineError, expose_urls};
use crate::secrets::{self, Secrets, SecretsError};
use crate::trace;
use crate::web::{self, App};

/// How long the engine may take to settle the accepted tickets after every request was answered.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(4);
/// How long purchases and operators' changes of disconnected clients may continue.
const FINISH_TIMEOUT: Duration = Duration::from_secs(1);
/// The number of threads for blocking work, such as key files. Other threads serve HTTP.
const BLOCKING_THREADS_MAX: usize = 20;

/// Why a server did not start or did not stop cleanly.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A secret can be neither read nor created.
    #[error(transparent)]
    Secrets(#[from] SecretsError),
    /// The data directory does not exist and cannot be created.
    #[error(
        "data_dir: cannot use {}: {error}; name another directory with --data-dir",
        path.display()
    )]
    DataDir {
        /// The directory.
        path: PathBuf,
        /// The file system's error.
        error: io::Error,
    },
    /// The file of the database's history cannot be used.
    #[error(transparent)]
    History(#[from] HistoryFileError),
    /// The buyers' public keys cannot be read.
    #[error("auth.buyer_jwks: {0}")]
    Keys(#[from] JwksError),
    /// The engine did not start.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The address cannot be used.
    #[error("listen: cannot serve on {address}: {error}; choose another address with --listen")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The operating system's error.
        error: io::Error,
    },
    /// The target of the continuous backup cannot be used.
    #[error("backup.to: {0}")]
    Backup(#[from] PlaceError),
    /// The limit of open files is too low for a server.
    #[error(
        "the limit of open files is {allowed}, too low for a server; raise it (ulimit -n) to at \
         least {needed}"
    )]
    Handles {
        /// The limit.
        allowed: u64,
        /// The lowest limit that works.
        needed: u64,
    },
    /// The store failed permanently while the server ran.
    #[error("the store failed, so the server ended: {0}")]
    Fatal(String),
    /// Accepted tickets were not settled in time. Their units are returned at the next start, or
    /// other nodes settle the tickets.
    #[error(
        "accepted tickets did not settle within {} s; their units are returned at the next start, \
         or other nodes settle them",
        SETTLE_TIMEOUT.as_secs()
    )]
    Unsettled,
}

impl ServeError {
    /// Returns whether an operator must correct the settings, the secrets or the data directory
    /// before a restart.
    #[must_use]
    pub fn is_caused_by_settings(&self) -> bool {
        use io::ErrorKind::{NotFound, PermissionDenied, ReadOnlyFilesystem};
        match self {
            Self::Keys(_) | Self::DataDir { .. } | Self::History(_) | Self::Backup(_) => true,
            Self::Secrets(
                SecretsError::IdKeyMissing(_)
                | SecretsError::Writable(_)
                | SecretsError::EdgeKeys(_),
            ) => true,
            Self::Secrets(SecretsError::InDirectory { error, .. }) => {
                matches!(error.kind(), PermissionDenied | ReadOnlyFilesystem | NotFound)
            }
            Self::Engine(EngineError::Open(error)) => {
                matches!(error, OpenError::WrongIdKey { .. } | OpenError::IsBackup(_))
            }
            _ => false,
        }
    }
}

/// Creates the server's event loop, with the number of threads in the settings.
///
/// # Errors
/// If the threads cannot be created.
pub fn runtime(settings: &Settings) -> io::Result<Runtime> {
    event_loop(settings.workers.get())
}

fn event_loop(workers: usize) -> io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .thread_name("doorbuster")
        // Before each task, a worker checks for tasks that other threads woke. The settler is such
        // a task. If workers checked less often, a flood of requests would delay the settler by
        // tens of milliseconds. The store's writer would be idle in that time.
        .global_queue_interval(1)
        .enable_all()
        .build()
}

/// Serves until `asked_to_stop` completes, or until the store fails permanently. The caller sets up
/// logging.
/// `reloader` loads the settings again on request.
///
/// When the server is ready, it prints the line `doorbuster listening on http://HOST:PORT` on
/// standard output. It also notifies the service manager.
///
/// # Errors
///
/// Why the server did not start or did not stop cleanly.
pub async fn serve(
    settings: Settings,
    reloader: Option<Reloader>,
    asked_to_stop: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let print_address = |address| {
        // The parent process may have closed the output. In this case nobody reads the line.
        let mut out = io::stdout().lock();
        let _ =
            writeln!(out, "doorbuster listening on http://{address}").and_then(|()| out.flush());
    };
    serve_and_reload(settings, reloader, print_address, asked_to_stop).await
}

/// Like [`serve`], but gives the address to `ready`. Prints nothing, and reloads no settings.
///
/// # Errors
///
/// Like [`serve`].
pub async fn serve_with(
    settings: Settings,
    ready: impl FnOnce(SocketAddr),
    asked_to_stop: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    serve_and_reload(settings, None, ready, asked_to_stop).await
}

async fn serve_and_reload(
    mut settings: Settings,
    reloader: Option<Reloader>,
    ready: impl FnOnce(SocketAddr),
    asked_to_stop: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    settings.connections_max = file_limit::raise(settings.connections_max)?;
    let StartedEngine { engine, secrets, fatal, backup } = start_engine(&settings).await?;
    let backup_stop = CancellationToken::new();
    let backup = backup.map(|backup| tokio::spawn(backup.run(backup_stop.clone())));
    let parts = ServerParts { settings: &settings, secrets: &secrets, engine: &engine };
    let run = run(parts, reloader, ready, asked_to_stop, fatal).await;
    if let Err(ServeError::Fatal(_)) = &run {
        // From here on the store must not write. Confirmed orders are on the disk. Units of other
        // tickets are returned at the next start.
        return run;
    }
    notify_service_manager(&[NotifyState::Stopping]);
    let stopped = tokio::time::timeout(SETTLE_TIMEOUT, engine.stop()).await;
    backup_stop.cancel();
    if let Some(backup) = backup
        && backup.await.is_err()
    {
        tracing::error!(event = "backup.panicked", "the task of the continuous backup panicked");
    }
    // The flush blocks until the collector has the last traces. Without tracing, it returns at
    // once.
    drop(tokio::time::timeout(FINISH_TIMEOUT, tokio::task::spawn_blocking(trace::flush)).await);
    match stopped {
        Ok(()) => run,
        Err(_) => run.and(Err(ServeError::Unsettled)),
    }
}

/// An engine that runs, without connections.
struct StartedEngine {
    engine: Arc<Engine>,
    secrets: Secrets,
    /// Gets the reason when the store fails permanently.
    fatal: oneshot::Receiver<String>,
    /// The continuous backup of an embedded store. Its task does not run yet.
    backup: Option<ContinuousBackup>,
}

/// Prepares the directory and the secrets, and starts the engine.
async fn start_engine(settings: &Settings) -> Result<StartedEngine, ServeError> {
    if let Shape::Embedded = &settings.shape {
        let path = settings.data_dir.clone();
        secrets::create_directory(&path)
            .map_err(|error| ServeError::DataDir { path: path.clone(), error })?;
        secrets::check_directory(&path)?;
    }
    let history = match settings.shape {
        Shape::Embedded | Shape::Edge { .. } => HistoryMemory::default(),
        Shape::Postgres { .. } | Shape::Cluster { .. } => load_history(&settings.data_dir)?,
    };
    let secrets = match &settings.shape {
        Shape::Edge { slots, .. } => keys::load(settings, &expose_urls(slots)).await?,
        _ => secrets::load_or_create_all(settings, &history).await?,
    };
    let (failed, fatal) = oneshot::channel();
    let backup = continuous_backup(settings)?;
    let location = stock_location(settings, &secrets, backup.as_ref())?;
    let engine =
        Engine::start(engine_options(settings, &secrets, (location, history), failed)).await?;
    Ok(StartedEngine { engine, secrets, fatal, backup })
}

/// The parts of a server.
#[derive(Clone, Copy)]
struct ServerParts<'a> {
    settings: &'a Settings,
    secrets: &'a Secrets,
    engine: &'a Arc<Engine>,
}

/// Runs a started engine until it must stop.
async fn run(
    parts: ServerParts<'_>,
    reloader: Option<Reloader>,
    ready: impl FnOnce(SocketAddr),
    asked_to_stop: impl Future<Output = ()>,
    fatal: oneshot::Receiver<String>,
) -> Result<(), ServeError> {
    let ServerParts { settings, secrets, engine } = parts;
    let app = build_app(settings, secrets, engine).await?;
    let at = |error| ServeError::Listen { address: settings.listen, error };
    let listener = web::bind(settings.listen).map_err(at)?;
    let address = listener.address().map_err(at)?;
    app.set_server_address(&format!(
        "http://{}",
        SocketAddr::new(local_address(address.ip()), address.port())
    ));
    announce(parts, address).await?;
    notify_service_manager(&[NotifyState::Ready]);
    ready(address);
    let (version, shape) = (env!("CARGO_PKG_VERSION"), settings.shape.name());
    let workers = settings.workers;
    tracing::info!(version, shape, %address, workers, event = "server.started", "serving");
    let stop = CancellationToken::new();
    let serving = async {
        let reloading = async {
            tokio::select! {
                () = stop.cancelled() => {}
                () = reload_on_request(reloader, &app) => {}
            }
        };
        let served = listener.serve(&app, &stop);
        tokio::join!(served, app.run_jobs(), publish_keys(parts, &stop), reloading);
    };
    let mut serving = std::pin::pin!(serving);
    let asked_to_stop = async {
        asked_to_stop.await;
        let notice = app.stop_notice();
        if !notice.is_zero() {
            tracing::info!(
                for_secs = notice.as_secs(),
                event = "server.stop_requested",
                "stop requested; reporting not ready while still serving"
            );
            app.mark_not_ready();
            tokio::time::sleep(notice).await;
        }
    };
    let ended = tokio::select! {
        () = serving.as_mut() => Ok(()),
        () = asked_to_stop => Ok(()),
        // The store has the sender and drops it only when the store itself is dropped.
        Ok(reason) = fatal => Err(ServeError::Fatal(reason)),
    };
    tracing::info!(event = "server.stopping", "stopping; requests in progress are finished");
    app.begin_shutdown();
    stop.cancel();
    // The stop runs at the same time as the current requests. It is bounded, because an operator's
    // change may lock an item while the disk hangs.
    tokio::join!(serving, tokio::time::timeout(FINISH_TIMEOUT, engine.begin_stop())).0;
    if ended.is_ok() {
        // A request that needs more time gets no answer now. Its buyer can repeat it with the same
        // key after the next start.
        drop(tokio::time::timeout(FINISH_TIMEOUT, app.finish()).await);
    }
    ended
}

async fn reload_on_request(reloader: Option<Reloader>, app: &Arc<App>) {
    match reloader {
        Some(reloader) => reloader.run(app.clone()).await,
        None => std::future::pending().await,
    }
}

async fn build_app(
    settings: &Settings,
    secrets: &Secrets,
    engine: &Arc<Engine>,
) -> Result<Arc<App>, ServeError> {
    let expected = ExpectedClaims {
        issuer: settings.auth.issuer.clone(),
        audience: settings.auth.audience.clone(),
    };
    let buyers = match (&secrets.buyer, &settings.auth.buyers) {
        (Some(secret), _) => Buyers::with_secret(secret, expected),
        (None, Some(keys @ (BuyerKeys::JwksFile(_) | BuyerKeys::JwksUrl(_)))) => {
            Buyers::with_keys(keys, expected).await?
        }
        (None, _) => unreachable!("without public keys there is a secret"),
    };
    let operators = Operators::new(&secrets.admin_key);
    let is_edge = engine.edge().is_some();
    if !is_edge {
        operators.replace_keys(engine.store().keys().await.map_err(EngineError::from)?);
    }
    let guests = settings.demo.then(|| secrets.buyer.clone()).flatten();
    let app = App::new(
        settings,
        engine.clone(),
        buyers,
        operators,
        guests,
        secrets.pass_keys.clone(),
        &secrets.webhook,
    );
    if !is_edge {
        // The blocks are loaded before the first request.
        app.load_blocks().await.map_err(EngineError::from)?;
    }
    Ok(app)
}

fn notify_service_manager(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(
            %error, event = "server.notify_failed",
            "failed to notify the service manager"
        );
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::task::Poll;

    use super::*;

    /// The number of tasks that are ready at once. A worker's own queue has less room.
    const BUSY: usize = 512;
    const ASKED: usize = 50;

    #[test]
    fn a_flood_of_tasks_does_not_delay_a_task_that_another_thread_wakes() {
        let polled: &'static AtomicU64 = Box::leak(Box::default());
        let runtime = event_loop(1).expect("a thread");
        for _ in 0..BUSY {
            drop(runtime.spawn(poll_fn(|context| {
                polled.fetch_add(1, Ordering::Relaxed);
                context.waker().wake_by_ref();
                Poll::<()>::Pending
            })));
        }
        let (ask, mut asked) = tokio::sync::mpsc::channel(1);
        let (answer, answers) = std::sync::mpsc::sync_channel(1);
        drop(runtime.spawn(async move {
            while let Some(at) = asked.recv().await {
                let _ = answer.send(polled.load(Ordering::Relaxed) - at);
            }
        }));
        let mut waits: Vec<u64> = std::iter::repeat_with(|| {
            ask.blocking_send(polled.load(Ordering::Relaxed)).expect("the task listens");
            answers.recv().expect("the task answers")
        })
        .take(ASKED)
        .collect();
        waits.sort_unstable();
        // A wait is counted in polls of other tasks. Without the interval, it is 32,000 polls.
        assert!(waits[ASKED / 2] <= 4 * BUSY as u64, "{waits:?}");
        runtime.shutdown_background();
    }
}
