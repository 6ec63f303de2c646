//! Starts and stops the server. A stop finishes the requests in progress and settles the accepted
//! tickets.

mod announce;
mod demo;
mod error;
mod event_loop;
mod file_limit;
mod parts;
mod settings_reload;
mod without_http;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use doorbuster_base::clock::Clock;
use doorbuster_store::{KnownHistories, OpenError, check_unlocked};
use sd_notify::NotifyState;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) use announce::announce_key;
use announce::{announce, local_address};
use error::SETTLE_TIMEOUT;
pub use error::ServeError;
pub use event_loop::runtime;
use parts::{StartContext, continuous_backup, engine_options, publish_keys, stock_location};
pub use settings_reload::Reloader;
pub use without_http::{DirectAnswer, DirectSale, without_http};

use doorbuster_auth::{BuyerTokenVerifier, ExpectedClaims, OperatorKeyVerifier};
use doorbuster_backup::ContinuousBackup;
use doorbuster_config::{BuyerKeys, Settings, Shape};
use doorbuster_engine::database::{history_asker, load_history};
use doorbuster_engine::edge::keys::{self, NodeSettings};
use doorbuster_engine::error::{EngineError, FatalError};
use doorbuster_engine::start::{self, EngineParts, expose_urls};
use doorbuster_secrets::{self as secrets, Secrets};
use doorbuster_telemetry::trace;
use doorbuster_web::{self as web, App};

/// A stop waits at most this long for each of its steps. The settling of tickets has its own limit.
const FINISH_TIMEOUT: Duration = Duration::from_secs(1);

/// Serves until `asked_to_stop` completes, or until the engine cannot continue. Passes the address
/// to `ready` when the server is ready.
///
/// # Errors
///
/// If the server did not start, or if it did not stop cleanly.
pub async fn serve(
    mut settings: Settings,
    reloader: Option<Reloader>,
    ready: impl FnOnce(SocketAddr),
    asked_to_stop: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    settings.connections_max = file_limit::raise(settings.connections_max, &settings.shape)?;
    let StartedEngine { engine, secrets, fatal, backup } = start_engine(&settings).await?;
    let backup_stop = CancellationToken::new();
    let backup = backup.map(|backup| spawn_backup(backup.run(backup_stop.clone())));
    let (node, stock) = (engine.node.clone(), engine.stock.clone());
    let context = StartContext { settings: &settings, secrets: &secrets, node: &node };
    let run = run(context, engine, reloader, ready, asked_to_stop, fatal).await;
    if let Err(ServeError::Fatal(_) | ServeError::JobEnded(_)) = &run {
        // If the store failed, this process must write nothing more to it. If a job such as the
        // settler ended, the node cannot stop properly. So in both cases, the server ends at once.
        // The next start returns the units of all tickets without a confirmed order.
        return run;
    }
    notify_service_manager(&[NotifyState::Stopping]);
    let stopped = tokio::time::timeout(SETTLE_TIMEOUT, stock.stop_node()).await;
    backup_stop.cancel();
    if let Some(backup) = backup {
        backup.await.ok();
    }
    // The flush blocks its thread until the collector has the last traces.
    drop(tokio::time::timeout(FINISH_TIMEOUT, tokio::task::spawn_blocking(trace::flush)).await);
    match stopped {
        Ok(()) => run,
        Err(_) => run.and(Err(ServeError::Unsettled)),
    }
}

/// Runs the continuous backup in a task, and logs a panic of the task immediately.
fn spawn_backup(run: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    let backup = tokio::spawn(run);
    tokio::spawn(async move {
        if backup.await.is_err() {
            tracing::error!(
                event = "backup.panicked",
                "the continuous backup panicked and lacks all later commits; restart the server"
            );
        }
    })
}

struct StartedEngine {
    engine: EngineParts,
    secrets: Secrets,
    /// Receives the error if the engine cannot continue.
    fatal: oneshot::Receiver<FatalError>,
    /// The continuous backup of an embedded store. Its task does not run yet.
    backup: Option<ContinuousBackup>,
}

async fn start_engine(settings: &Settings) -> Result<StartedEngine, ServeError> {
    if let Shape::Embedded = &settings.shape {
        let path = settings.data_dir.clone();
        secrets::create_directory(&path)
            .map_err(|error| ServeError::DataDir { path: path.clone(), error })?;
        secrets::check_directory(&path)?;
        // This process must not write secrets into a directory that another process uses.
        check_unlocked(&path).map_err(EngineError::from)?;
    }
    let history = match settings.shape {
        Shape::Embedded | Shape::Edge { .. } => KnownHistories::default(),
        Shape::Postgres { .. } | Shape::Cluster { .. } => {
            secrets::warn_of_writable_directory(&settings.data_dir);
            let history = load_history(&settings.data_dir)?;
            // This node must know the database's newest history before it reads the shared secrets.
            // Otherwise it could read the secrets from an outdated database, such as an old
            // primary. Redis has the newest history too, but the names of the keys in Redis depend
            // on the secrets. So the node asks only its peers here.
            let ask = history_asker(&history, None, settings.peers.clone());
            for known in ask().await {
                history.learn_from_peer(known);
            }
            history
        }
    };
    let (secrets, nodes) = match &settings.shape {
        Shape::Edge { slots, .. } => keys::load(settings, &expose_urls(slots)).await?,
        _ => {
            let secrets = secrets::load_or_create_all(settings, &history).await?;
            // Announce a new key now. The next start does not show the key again, even if this
            // start fails.
            announce_key(settings, &secrets);
            (secrets, NodeSettings::default())
        }
    };
    let opened = async {
        let (failed, fatal) = oneshot::channel();
        let clock = Clock::default();
        let backup = continuous_backup(settings, &clock)?;
        let location = stock_location(settings, (&secrets, nodes), backup.as_ref())?;
        let options = engine_options(settings, &secrets, (location, history), clock, failed);
        Ok::<_, ServeError>((start::start(options).await?, fatal, backup))
    };
    match opened.await {
        Ok((engine, fatal, backup)) => Ok(StartedEngine { engine, secrets, fatal, backup }),
        Err(error) => {
            // If another process has locked the directory, that process may already use the new
            // key. So the key stays.
            if !matches!(error, ServeError::Engine(EngineError::Open(OpenError::Locked(_)))) {
                secrets::remove_new_pass_key(settings, &secrets);
            }
            Err(error)
        }
    }
}

async fn run(
    context: StartContext<'_>,
    engine: EngineParts,
    reloader: Option<Reloader>,
    ready: impl FnOnce(SocketAddr),
    asked_to_stop: impl Future<Output = ()>,
    fatal: oneshot::Receiver<FatalError>,
) -> Result<(), ServeError> {
    let settings = context.settings;
    let (stock, sales) = (engine.stock.clone(), engine.sales.clone());
    let app = build_app(settings, context.secrets, engine).await?;
    let at = |error| ServeError::Listen { address: settings.listen, error };
    let listener = web::bind(settings.listen).map_err(at)?;
    let address = listener.address().map_err(at)?;
    app.set_server_address(&format!(
        "http://{}",
        SocketAddr::new(local_address(address.ip()), address.port())
    ));
    announce(context, &sales, address).await?;
    notify_service_manager(&[NotifyState::Ready]);
    ready(address);
    let (version, shape) = (env!("CARGO_PKG_VERSION"), settings.shape.name());
    let workers = settings.workers;
    tracing::info!(version, shape, %address, workers, event = "server.started", "serving");
    let stop = CancellationToken::new();
    let (sign_in_url, live) = watch::channel(settings.auth.sign_in_url.clone());
    let serving = async {
        let reloading = async {
            tokio::select! {
                () = stop.cancelled() => {}
                () = reload_on_request(reloader, &app, sign_in_url) => {}
            }
        };
        let served = app.run_gate_during(listener.serve(&app, &stop));
        tokio::join!(served, app.run_jobs(), publish_keys(context, live, &stop), reloading);
    };
    let mut serving = std::pin::pin!(serving);
    let asked_to_stop = async {
        asked_to_stop.await;
        let notice = app.stop_notice();
        if !notice.is_zero() {
            tracing::info!(
                for_secs = notice.as_secs(),
                event = "server.stop_requested",
                "stop requested; /readyz reports not ready, but requests are still served"
            );
            app.mark_not_ready();
            tokio::time::sleep(notice).await;
        }
    };
    let ended = tokio::select! {
        () = serving.as_mut() => Ok(()),
        () = asked_to_stop => Ok(()),
        // The store keeps the sender, so this receiver gets no error while the server runs.
        Ok(error) = fatal => Err(error.into()),
    };
    tracing::info!(event = "server.stopping", "stopping; finishing the requests in progress");
    app.begin_shutdown();
    stop.cancel();
    // The node begins its stop while the current requests still run. This needs a timeout, because
    // the stop takes each item's lock. If the disk hangs, an operator's change may never release
    // such a lock.
    tokio::join!(serving, tokio::time::timeout(FINISH_TIMEOUT, stock.begin_node_stop())).0;
    if ended.is_ok() {
        // A request that does not finish in time gets no answer. After the next start, the buyer
        // can repeat the request with the same key.
        drop(tokio::time::timeout(FINISH_TIMEOUT, app.finish()).await);
    }
    ended
}

async fn reload_on_request(
    reloader: Option<Reloader>,
    app: &Arc<App>,
    sign_in_url: watch::Sender<Option<String>>,
) {
    match reloader {
        Some(reloader) => reloader.run(app.clone(), sign_in_url).await,
        None => std::future::pending().await,
    }
}

async fn build_app(
    settings: &Settings,
    secrets: &Secrets,
    engine: EngineParts,
) -> Result<Arc<App>, ServeError> {
    // An edge must refuse the tokens that the nodes refuse.
    let nodes = engine.node.edge().map(|edge| edge.nodes.clone()).unwrap_or_default();
    let expected = ExpectedClaims {
        issuer: settings.auth.issuer.clone().or(nodes.issuer),
        audience: settings.auth.audience.clone().or(nodes.audience),
    };
    let buyers = match (&secrets.buyer, &settings.auth.buyers) {
        (Some(secret), _) => BuyerTokenVerifier::with_secret(secret, expected),
        (None, Some(keys @ (BuyerKeys::JwksFile(_) | BuyerKeys::JwksUrl(_)))) => {
            BuyerTokenVerifier::with_keys(keys, expected).await?
        }
        (None, _) => unreachable!("without public keys there is a secret"),
    };
    let operators = OperatorKeyVerifier::new(&secrets.admin_key);
    let is_edge = engine.node.edge().is_some();
    if !is_edge {
        operators.replace_keys(engine.node.store().keys().await.map_err(EngineError::from)?);
    }
    let guests = settings.demo.then(|| secrets.buyer.clone()).flatten();
    let app = App::new(
        settings,
        engine,
        buyers,
        operators,
        guests,
        secrets.pass_keys.clone(),
        &secrets.webhook,
    );
    if !is_edge {
        // The blocks are loaded before the first request, so that no blocked buyer is served.
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
